//! The options of a piece of state.

/// The name of a piece of state, and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Store {
    pub(crate) name: String,
}

impl Store {
    /// A store with this name. The name alone decides where its state lies.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}
