//! Planted bugs and failing disks, for tests only (feature `testing`).
//!
//! A kill with -9 leaves the page cache, so it cannot show that something acknowledged was not synced. What shows it is
//! an image: after every sync that really happens, [`Faults::keep_image`] copies the data file aside, so the image is
//! what a loss of power would leave at worst, and opening it must show everything that was acknowledged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Switches that a test keeps a clone of; all off at first.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Switches>);

#[derive(Debug, Default)]
struct Switches {
    skip_syncs: AtomicBool,
    fail_syncs: AtomicBool,
    no_space: AtomicBool,
    refuse_once: AtomicBool,
    syncs: AtomicU64,
    first_map: AtomicU64,
    image: Mutex<Option<PathBuf>>,
}

impl Faults {
    /// Plants the bug of a commit without sync; before the log is opened.
    pub fn skip_syncs(&self) {
        self.0.skip_syncs.store(true, Ordering::SeqCst);
    }

    /// Makes every sync fail from now on, or no more.
    pub fn fail_syncs(&self, fail: bool) {
        self.0.fail_syncs.store(fail, Ordering::SeqCst);
    }

    /// Fills the disk, or frees it again: the file can grow no more, and is written as far as it has grown.
    pub fn fill_disk(&self, full: bool) {
        self.0.no_space.store(full, Ordering::SeqCst);
    }

    /// Lets the next write, and only that, find no space.
    pub fn refuse_space_once(&self) {
        self.0.refuse_once.store(true, Ordering::SeqCst);
    }

    /// How often the file was really synced after a commit.
    pub fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// Keeps in `file` what a loss of power would leave: the data file as of the last real sync.
    pub fn keep_image(&self, file: PathBuf) {
        *self.0.image.lock() = Some(file);
    }

    /// Begins with a small map, which has to grow soon; before the log is opened.
    pub fn map_at_first(&self, bytes: u64) {
        self.0.first_map.store(bytes, Ordering::SeqCst);
    }

    pub(super) fn first_map(&self) -> Option<u64> {
        Some(self.0.first_map.load(Ordering::SeqCst)).filter(|bytes| *bytes > 0)
    }

    pub(super) fn skips_syncs(&self) -> bool {
        self.0.skip_syncs.load(Ordering::SeqCst)
    }

    /// Whether to sync; an error in place of one.
    pub(super) fn sync(&self) -> io::Result<bool> {
        if self.0.fail_syncs.load(Ordering::SeqCst) {
            return Err(io::Error::other("planted: the sync failed"));
        }
        Ok(!self.skips_syncs())
    }

    pub(super) fn synced(&self, data: &Path) {
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        self.take_image(data);
    }

    pub(super) fn take_image(&self, data: &Path) {
        if let Some(image) = &*self.0.image.lock() {
            // By a rename: a test that reads the image while the committer goes on gets a whole one.
            let next = image.with_extension("next");
            std::fs::copy(data, &next).expect("the image of the synced file can be written");
            std::fs::rename(&next, image).expect("the image of the synced file can be replaced");
        }
    }

    pub(super) fn make_room(&self) -> io::Result<()> {
        match self.0.refuse_once.swap(false, Ordering::SeqCst) {
            true => Err(no_space()),
            false => Ok(()),
        }
    }

    pub(super) fn allocate(&self) -> io::Result<()> {
        if self.0.no_space.load(Ordering::SeqCst) {
            return Err(no_space());
        }
        Ok(())
    }
}

fn no_space() -> io::Error {
    rustix::io::Errno::NOSPC.into()
}
