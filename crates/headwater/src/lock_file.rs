//! The file in which LMDB keeps its readers, made whole before LMDB maps it.
//!
//! LMDB sets the file's length and then writes to it through a map. On a full disk such a write has no page to go to,
//! and ends the process with SIGBUS, so every byte of it is allocated first, where a refusal is an error like another.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// LMDB's name of the file.
const LOCK_FILE: &str = "lock.mdb";
/// Bytes of a reader's slot, and of what stands before the slots (at most).
const SLOT_BYTES: u64 = 64;
const HEAD_BYTES: u64 = 4_096;

/// Allocates the lock file of an environment in `dir` for so many readers; what it holds stays.
///
/// # Errors
///
/// If there is no space, or the directory cannot be written.
pub(crate) fn allocate(dir: &Path, readers_max: u32) -> io::Result<()> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let bytes = HEAD_BYTES + SLOT_BYTES * u64::from(readers_max);
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_beyond(&file, bytes),
        Err(errno) => Err(errno.into()),
    }
}

/// Writes zeros behind the file's end, where the file system cannot allocate.
fn write_beyond(file: &std::fs::File, bytes: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.write_all_at(&vec![0; bytes.saturating_sub(length) as usize], length)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn every_byte_has_its_place_and_what_was_there_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(LOCK_FILE);
        std::fs::write(&path, "readers").expect("it can be written");
        allocate(dir.path(), 1_024).expect("there is space");
        let kept = std::fs::read(&path).expect("it can be read");
        assert!(kept.starts_with(b"readers"));
        let metadata = std::fs::metadata(&path).expect("it is there");
        assert!(metadata.blocks() * 512 >= metadata.len(), "no hole: {metadata:?}");
    }
}
