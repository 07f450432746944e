//! The embedded log: durable, in the same process.
