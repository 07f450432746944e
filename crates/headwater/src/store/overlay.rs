//! Committed changes that are not flushed yet, over a store.
