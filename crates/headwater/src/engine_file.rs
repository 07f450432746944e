//! Opening and growing the engine's environments: one of the two modules with `unsafe`.
//!
//! LMDB trusts its callers in three things, which the types here cannot check, so each caller of this module keeps them
//! and says how:
//!
//! - one process has the directory for writing, and it opens each environment once;
//! - flags that give up durability are made up for by syncs of the caller's own;
//! - nobody reads or writes through an environment while its map is moved.
#![allow(unsafe_code)]

use std::path::Path;

use heed::{Env, EnvFlags, EnvOpenOptions, WithoutTls};

/// Opens the environment of a directory.
///
/// The caller holds the directory's lock, and syncs after each commit whatever `flags` leave unsynced.
pub(crate) fn open(
    dir: &Path,
    map_bytes: usize,
    readers_max: u32,
    flags: EnvFlags,
) -> heed::Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_bytes).max_readers(readers_max);
    // SAFETY: the directory's lock makes this the only process that writes the file, and heed refuses a second
    // environment of one directory in a process. Of the flags, only those about syncing are unsafe, and the callers
    // sync themselves, so that the file stays whole after a loss of power.
    unsafe { options.flags(flags).open(dir) }
}

/// Moves the environment's map to another size.
///
/// The caller keeps every reader and writer of this process out meanwhile; a pinned snapshot through which nothing is
/// read may stay.
pub(crate) fn resize(env: &Env<WithoutTls>, map_bytes: usize) -> heed::Result<()> {
    // SAFETY: the callers hold their lock exclusively, under whose shared side every transaction of this process is
    // made. Other processes that read the file follow the size in its meta page.
    unsafe { env.resize(map_bytes) }
}
