//! Flaws in topics.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::super::wrapper::Answer;
use super::wrap::{Flaw, lock};
use crate::log::{Log, TopicDescription, TopicSettings};
use crate::topic::{TopicId, TopicName};

/// Knows topics by their names: the first id stays.
#[derive(Default)]
pub(super) struct SameTopicId(Mutex<BTreeMap<TopicName, TopicId>>);

impl Flaw for SameTopicId {
    fn described(&self, topic: &mut TopicDescription) {
        topic.id = *lock(&self.0).entry(topic.name.clone()).or_insert(topic.id);
    }
}

/// Answers an alteration as if it were made, and forgets it.
pub(super) struct ForgottenAlteration;

impl Flaw for ForgottenAlteration {
    fn alter<'a>(
        &'a self,
        log: &'a dyn Log,
        topic: &'a TopicName,
        settings: TopicSettings,
    ) -> Answer<'a, TopicDescription> {
        Box::pin(async move {
            match log.describe(topic).await? {
                Some(there) if there.settings.partitions == settings.partitions => {
                    Ok(TopicDescription { settings, ..there })
                }
                _ => log.alter(topic, settings).await,
            }
        })
    }
}
