//! Flaws in topics.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::wrap::{Flaw, lock};
use crate::log::TopicDescription;
use crate::topic::{TopicId, TopicName};

/// Knows topics by their names: the first id stays.
#[derive(Default)]
pub(super) struct SameTopicId(Mutex<BTreeMap<TopicName, TopicId>>);

impl Flaw for SameTopicId {
    fn described(&self, topic: &mut TopicDescription) {
        topic.id = *lock(&self.0).entry(topic.name.clone()).or_insert(topic.id);
    }
}
