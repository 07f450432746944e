//! The circuit breaker of a connection: what [`Circuit`] decides, done.
//!
//! Brokers are asked over connections of their own, all that are known at the same time, by the smallest thing that a
//! client does: it connects, and has the cluster described. A refusal is an answer, too: whoever refuses is there.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use headwater_core::log::{LogError, LogErrorKind};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::circuit::{Circuit, Next, PAUSE};
use crate::connection::Connection;

/// How long a write waits before anybody doubts.
const DOUBT_AFTER: Duration = Duration::from_secs(1);
/// How long a broker may take to answer. So the loss of one that hangs is known before a write's patience is over.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

/// What is known about the cluster's being there.
#[derive(Default)]
pub(crate) struct Breaker(Mutex<Circuit>);

impl Connection {
    /// Why nothing can be written now; `None` as long as it may be.
    pub(crate) fn cut_off(&self) -> Option<LogError> {
        let silence = self.breaker.0.lock().open_for(Instant::now())?;
        let message = format!(
            "no broker of the cluster at {} has answered for {} s; it is asked on",
            self.settings().servers,
            silence.as_secs()
        );
        Some(LogError::new(LogErrorKind::Unavailable, message))
    }

    /// Drives a write; brokers are asked whether they are there when it waits for long.
    pub(crate) async fn watched<T>(self: &Arc<Self>, write: impl Future<Output = T>) -> T {
        let mut write = std::pin::pin!(write);
        loop {
            match timeout(DOUBT_AFTER, write.as_mut()).await {
                Ok(answer) => return answer,
                Err(_) => self.doubt(),
            }
        }
    }

    /// A call failed or waits for long, and it may be the cluster's being away.
    pub(crate) fn doubt(self: &Arc<Self>) {
        if self.breaker.0.lock().doubt(Instant::now()) {
            tokio::spawn(ask_on(Arc::downgrade(self)));
        }
    }

    /// A broker has answered.
    pub(crate) fn heard(&self) {
        if let Some(silence) = self.breaker.0.lock().heard(Instant::now()) {
            tracing::info!(seconds = silence.as_secs(), "a broker answers again: writes are taken again");
        }
    }

    fn asked(&self) -> Next {
        let next = self.breaker.0.lock().asked(Instant::now());
        if next == Next::AskOpened {
            let servers = &self.settings().servers;
            tracing::warn!(%servers, "no broker answers: writes are refused at once until one does");
        }
        next
    }
}

/// Asks until nobody doubts any more, or the connection is gone.
async fn ask_on(connection: Weak<Connection>) {
    while let Some(connection) = connection.upgrade() {
        if answers(&connection).await {
            connection.heard();
        }
        if connection.asked() == Next::Rest {
            return;
        }
        drop(connection);
        sleep(PAUSE).await;
    }
}

/// Whether any broker answers.
async fn answers(connection: &Connection) -> bool {
    let mut asked: FuturesUnordered<_> = connection.reach_each(ANSWER_WITHIN).collect();
    let answered = async {
        while let Some(answers) = asked.next().await {
            if answers {
                return true;
            }
        }
        false
    };
    timeout(ANSWER_WITHIN, answered).await.unwrap_or(false)
}
