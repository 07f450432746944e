//! Word that another process goes by this instance's name: this one cannot go on, and its program ends.
//!
//! To join again would fence the other one, which would join again: neither would serve.

use std::sync::Arc;

use tokio::sync::watch;

/// What is told once and heard by whoever waits for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replaced(Arc<watch::Sender<Option<String>>>);

impl Replaced {
    /// Tells why; the first reason stays.
    pub(crate) fn tell(&self, reason: impl ToString) {
        self.0.send_if_modified(|told| {
            let is_first = told.is_none();
            told.get_or_insert_with(|| reason.to_string());
            is_first
        });
    }

    /// Waits for the reason.
    pub(crate) async fn told(&self) -> String {
        let mut reasons = self.0.subscribe();
        let told = reasons.wait_for(Option::is_some).await;
        told.ok()
            .and_then(|told| told.clone())
            .expect("the sender is held here, and what was waited for is there")
    }
}

#[cfg(test)]
mod tests {
    use super::Replaced;

    #[tokio::test]
    async fn the_first_reason_is_heard_before_and_after() {
        let replaced = Replaced::default();
        let early = tokio::spawn({
            let replaced = replaced.clone();
            async move { replaced.told().await }
        });
        tokio::task::yield_now().await;
        replaced.tell("one");
        replaced.tell("other");
        assert_eq!(early.await.expect("no panic"), "one");
        assert_eq!(replaced.told().await, "one");
    }
}
