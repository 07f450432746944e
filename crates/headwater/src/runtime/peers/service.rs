//! Answering the questions of other instances.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::question::{Question, Reply};
use super::{Frame, FrameError, PeerQuestion};
use crate::runtime::observe;
use crate::runtime::start::StartedApp;

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
        let deadline = Instant::now() + within;
        let reply = tokio::time::timeout_at(deadline, started.answer_peer(asked, deadline));
        let reply = reply.await.unwrap_or_else(|_| Ok(Reply::moved()));
        reply.and_then(|reply| reply.encode()).map_err(unreadable)
    }
}

fn unreadable(error: FrameError) -> NotServed {
    NotServed::Unreadable(error.to_string())
}
