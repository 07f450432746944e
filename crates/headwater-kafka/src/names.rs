//! Names that only one thing of a process may bear at a time: members of groups, and producers that commit.
//!
//! The cluster knows a member by its instance's name and fences an earlier one of the same name. Two members of one
//! group in one process are two members: the first bears the instance's name, the second that name with `~2`, and so
//! on. A name is free again when what bore it is gone, so that a restart finds the names of the life before.

use std::collections::BTreeSet;

use parking_lot::Mutex;

static TAKEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A name that nothing else of this process bears in the same realm.
#[derive(Debug)]
pub(crate) struct OwnName {
    realm: String,
    name: String,
}

impl OwnName {
    /// Takes the first free name after `instance` in a realm, such as a group on a cluster.
    pub(crate) fn take(realm: impl Into<String>, instance: &str) -> Self {
        let realm = realm.into();
        let mut taken = TAKEN.lock();
        let mut name = instance.to_owned();
        let mut count = 1;
        while !taken.insert(entry(&realm, &name)) {
            count += 1;
            name = format!("{instance}~{count}");
        }
        Self { realm, name }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }
}

impl Drop for OwnName {
    fn drop(&mut self) {
        TAKEN.lock().remove(&entry(&self.realm, &self.name));
    }
}

fn entry(realm: &str, name: &str) -> String {
    format!("{realm}\0{name}")
}

#[cfg(test)]
mod tests {
    use super::OwnName;

    #[test]
    fn names_are_told_apart_in_a_realm_and_given_again() {
        let first = OwnName::take("a-realm", "me");
        let second = OwnName::take("a-realm", "me");
        let other = OwnName::take("another-realm", "me");
        assert_eq!([first.as_str(), second.as_str(), other.as_str()], ["me", "me~2", "me"]);
        drop(first);
        assert_eq!(OwnName::take("a-realm", "me").as_str(), "me");
    }
}
