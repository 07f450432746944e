//! Answering the questions of other instances.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::BoxFuture;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::question::{AggregateAsk, Question, Reply};
use super::{Frame, FrameError, PeerQuestion};
use crate::runtime::observe;
use crate::runtime::start::StartedApp;

/// How much earlier than its deadline a question is answered.
const MARGIN: Duration = Duration::from_millis(200);

/// A kind of aggregate, as other instances ask it.
pub(crate) trait AnswersPeers: Send + Sync {
    /// Answers a question from what runs here.
    fn answer(
        &self,
        ask: AggregateAsk,
        parts: Vec<Option<Bytes>>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Bytes, FrameError>>;
}

/// The apps of a process that other instances may ask.
#[derive(Default)]
pub(crate) struct Registry(RwLock<HashMap<String, Arc<StartedApp>>>);

impl Registry {
    pub(crate) fn add(&self, app: &Arc<StartedApp>) {
        self.0.write().insert(app.name.clone(), app.clone());
    }

    pub(crate) fn remove(&self, app: &str) {
        self.0.write().remove(app);
    }
}

/// Answers other instances' questions to the apps that run here; a transport's server calls it. Cheap to clone.
#[derive(Clone)]
pub struct PeerService(pub(crate) Arc<Registry>);

/// Why a question was not served: nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotServed {
    /// No app of this name runs here.
    #[error("no app \"{0}\" runs here")]
    NoSuchApp(String),
    /// The question cannot be read: the two run programs that do not understand each other.
    #[error("the question cannot be read: {0}")]
    Unreadable(String),
}

impl PeerService {
    /// Answers one question, from what runs here alone: it is never asked on.
    ///
    /// # Errors
    ///
    /// [`NotServed`]: nothing happened.
    pub async fn answer(&self, question: PeerQuestion) -> Result<Bytes, NotServed> {
        let PeerQuestion { app, body, within, traceparent: _ } = question;
        let started = self.0.0.read().get(&app).cloned().ok_or(NotServed::NoSuchApp(app))?;
        let asked: Frame<Question> = Frame::decode(body).map_err(unreadable)?;
        observe::peer_question(asked.head.name());
        // A little earlier than it is waited for, so that the answer still arrives.
        let deadline = Instant::now() + within - (within / 10).min(MARGIN);
        let reply = tokio::time::timeout_at(deadline, started.answer_peer(asked, deadline)).await;
        reply.unwrap_or_else(|_| Reply::<()>::Late.with(vec![])).map_err(unreadable)
    }
}

impl StartedApp {
    async fn answer_peer(&self, asked: Frame<Question>, deadline: Instant) -> Result<Bytes, FrameError> {
        let Frame { head, parts } = asked;
        match head {
            Question::Aggregate { name, ask, .. } => match self.answering.get(name.as_str()) {
                Some(aggregate) => aggregate.answer(ask, parts, deadline).await,
                None => Reply::<()>::Moved.with(vec![]),
            },
            Question::View { name, version, shard, needed, ask } => {
                match self.views.get(&name).filter(|view| view.version == version) {
                    Some(view) => view.answer_peer(shard, needed, ask, &parts, deadline).await,
                    None => Reply::<()>::Moved.with(vec![]),
                }
            }
            Question::Reach { topology, shard, next, source } => match self.emitters.get(&topology) {
                Some(emitter) => emitter.answer_peer(shard, (source, next), deadline).await,
                None => Reply::<()>::Moved.with(vec![]),
            },
            Question::Copy { store, shard, ask } => self.answer_copy(&store, shard, ask, &parts).await,
        }
    }
}

fn unreadable(error: FrameError) -> NotServed {
    NotServed::Unreadable(error.to_string())
}
