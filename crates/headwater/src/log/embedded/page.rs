//! The engine's pages, read without the engine.
//!
//! LMDB has no page checksums and trusts what it maps: a flipped bit can send it out of its map. So the log never
//! lets it interpret a page for a read; pages are parsed here, every bound checked, from the file. LMDB keeps what
//! only it can: the copy-on-write tree, and snapshots whose pages are not reused while a read goes on.
//!
//! ```text
//! page    = pgno:u64 pad:u16 flags:u16 lower:u16 upper:u16 pointer:u16*    ... nodes, from upper to the page's end
//! node    = lo:u16 hi:u16 flags:u16 ksize:u16 key data
//!           in a branch: child = lo | hi << 16 | flags << 32, no data; in a leaf: data of lo | hi << 16 bytes
//! long    = pgno:u64 pad:u16 flags:u16 pages:u32 data                      a run of pages; only in the free list
//! meta    = page header(16) magic:u32 version:u32 address:u64 mapsize:u64
//!           tree(free list) tree(main) last_page:u64 txn:u64               at 16..152 of pages 0 and 1
//! tree    = pad:u32 flags:u16 depth:u16 branches:u64 leaves:u64 longs:u64 entries:u64 root:u64
//! seal    = "HWSL" crc32c(bytes 0..152):u32 txn:u64                        ours, at 256..272 of a meta page
//! ```
//!
//! Numbers are the machine's. Source: `MDB_page`, `MDB_node`, `MDB_meta`, `MDB_db` in `mdb.c` (LMDB 0.9.70,
//! `MDB_DATA_VERSION` 1); the pages' flags are exact, since LMDB clears its in-memory flags before it writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the tree is damaged.
#[derive(Debug)]
pub(super) enum Damage {
    /// A page is not what it must be.
    Page(u64, &'static str),
    /// The file cannot be read.
    Io(io::Error),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Page(page, what) => write!(f, "page {page}: {what}"),
            Self::Io(error) => write!(f, "the file cannot be read: {error}"),
        }
    }
}

/// No page: the root of an empty tree.
pub(super) const NO_PAGE: u64 = u64::MAX;

const HEADER: usize = 16;
const NODE_HEADER: usize = 8;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const LONG: u16 = 4;
const META: u16 = 8;
/// A node whose data lies on a run of pages.
const ON_LONG: u16 = 1;

const META_END: usize = 152;
const SEAL_AT: usize = 256;
const SEAL_BYTES: usize = 16;
const SEAL_MAGIC: &[u8; 4] = b"HWSL";
const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;

/// What the main tree's flags are: none. The free list's keys are integers.
const FREE_FLAGS: u16 = 0x08;

/// The data file and its page size.
#[derive(Debug)]
pub(super) struct PageFile {
    file: File,
    page_bytes: usize,
}

/// What kind of page a parent expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Leaf,
}

impl PageFile {
    pub(super) fn new(file: File, page_bytes: usize) -> Self {
        Self { file, page_bytes }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Reads a branch or leaf page into `page`, checking its header.
    pub(super) fn read(&self, number: u64, kind: Kind, page: &mut Page) -> Result<(), Damage> {
        page.bytes.resize(self.page_bytes, 0);
        page.number = number;
        self.read_bytes(number, &mut page.bytes)?;
        page.check(if kind == Kind::Branch { BRANCH } else { LEAF })
    }

    fn read_bytes(&self, number: u64, bytes: &mut [u8]) -> Result<(), Damage> {
        let at = number
            .checked_mul(self.page_bytes as u64)
            .ok_or(Damage::Page(number, "no page has such a number"))?;
        match self.file.read_exact_at(bytes, at) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Damage::Page(number, "it lies beyond the end of the file"))
            }
            Err(error) => Err(Damage::Io(error)),
        }
    }

    /// Reads the `len` bytes that lie on a run of pages; answers how many pages that is, too.
    pub(super) fn read_long(&self, number: u64, len: usize) -> Result<(Vec<u8>, u64), Damage> {
        let pages = (len + HEADER).div_ceil(self.page_bytes);
        let mut bytes = vec![0; pages * self.page_bytes];
        self.read_bytes(number, &mut bytes)?;
        let header_fits = u64_at(&bytes, 0) == number && u16_at(&bytes, 10) == LONG;
        if !header_fits || u32_at(&bytes, 12) as usize != pages {
            return Err(Damage::Page(number, "it is not the run of pages that it should be"));
        }
        bytes.truncate(HEADER + len);
        bytes.drain(..HEADER);
        Ok((bytes, pages as u64))
    }

    /// Reads a meta page, 0 or 1.
    pub(super) fn read_meta(&self, number: u64) -> Result<Meta, Damage> {
        let mut bytes = [0; SEAL_AT + SEAL_BYTES];
        self.read_meta_bytes(number, &mut bytes)?;
        Meta::parse(number, &bytes, self.page_bytes)
    }

    fn read_meta_bytes(&self, number: u64, bytes: &mut [u8; SEAL_AT + SEAL_BYTES]) -> Result<(), Damage> {
        match self.file.read_exact_at(bytes, number * self.page_bytes as u64) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Damage::Page(number, "the file ends before it"))
            }
            Err(error) => Err(Damage::Io(error)),
        }
    }

    /// Writes our checksum into the unused part of a meta page, in the same sector as what it covers.
    pub(super) fn seal(&self, number: u64) -> Result<Meta, Damage> {
        let mut bytes = [0; SEAL_AT + SEAL_BYTES];
        self.read_meta_bytes(number, &mut bytes)?;
        let mut meta = Meta::parse(number, &bytes, self.page_bytes)?;
        let mut seal = [0; SEAL_BYTES];
        seal[..4].copy_from_slice(SEAL_MAGIC);
        seal[4..8].copy_from_slice(&crc32c::crc32c(&bytes[..META_END]).to_ne_bytes());
        seal[8..].copy_from_slice(&meta.txn.to_ne_bytes());
        self.file
            .write_all_at(&seal, number * self.page_bytes as u64 + SEAL_AT as u64)
            .map_err(Damage::Io)?;
        meta.seal = Seal::Whole;
        Ok(meta)
    }
}

/// One branch or leaf page in memory. Its header is checked; its nodes are checked as they are taken.
#[derive(Debug, Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    number: u64,
}

/// An entry of a leaf.
#[derive(Debug, Clone, Copy)]
pub(super) enum Data<'a> {
    /// The value itself.
    Here(&'a [u8]),
    /// A value of so many bytes, on the run of pages that starts there.
    Long(u64, usize),
}

impl Page {
    fn check(&self, flags: u16) -> Result<(), Damage> {
        let (lower, upper) = (self.lower(), usize::from(u16_at(&self.bytes, 14)));
        if u64_at(&self.bytes, 0) != self.number {
            return Err(self.damage("it bears another page's number"));
        }
        if u16_at(&self.bytes, 10) != flags {
            return Err(self.damage("it is of another kind than its place in the tree"));
        }
        if lower < HEADER || !lower.is_multiple_of(2) || lower > upper || upper > self.bytes.len() {
            return Err(self.damage("its free space is impossible"));
        }
        let least = if flags == BRANCH { 2 } else { 1 };
        if self.len() < least { Err(self.damage("it has too few entries")) } else { Ok(()) }
    }

    fn damage(&self, what: &'static str) -> Damage {
        Damage::Page(self.number, what)
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn lower(&self) -> usize {
        usize::from(u16_at(&self.bytes, 12))
    }

    /// How many entries the page has.
    pub(super) fn len(&self) -> usize {
        (self.lower() - HEADER) / 2
    }

    /// Where node `index` lies, with its header inside the page.
    fn node(&self, index: usize) -> Result<usize, Damage> {
        let at = usize::from(u16_at(&self.bytes, HEADER + 2 * index));
        let upper = usize::from(u16_at(&self.bytes, 14));
        if at < upper || at + NODE_HEADER > self.bytes.len() {
            return Err(self.damage("an entry lies outside it"));
        }
        Ok(at)
    }

    /// The key of entry `index`; that of a branch's first entry says nothing.
    pub(super) fn key(&self, index: usize) -> Result<&[u8], Damage> {
        let at = self.node(index)?;
        let len = usize::from(u16_at(&self.bytes, at + 6));
        self.bytes
            .get(at + NODE_HEADER..at + NODE_HEADER + len)
            .ok_or_else(|| self.damage("a key reaches beyond it"))
    }

    /// The child of a branch's entry.
    pub(super) fn child(&self, index: usize) -> Result<u64, Damage> {
        let at = self.node(index)?;
        let part = |i: usize| u64::from(u16_at(&self.bytes, at + 2 * i));
        Ok(part(0) | part(1) << 16 | part(2) << 32)
    }

    /// The data of a leaf's entry.
    pub(super) fn data(&self, index: usize) -> Result<Data<'_>, Damage> {
        let at = self.node(index)?;
        let len = usize::from(u16_at(&self.bytes, at)) | usize::from(u16_at(&self.bytes, at + 2)) << 16;
        let from = at + NODE_HEADER + self.key(index)?.len();
        match u16_at(&self.bytes, at + 4) {
            0 => {
                let data = self.bytes.get(from..from + len);
                data.map(Data::Here).ok_or_else(|| self.damage("a value reaches beyond it"))
            }
            ON_LONG => {
                let number = self.bytes.get(from..from + 8);
                let number = number.ok_or_else(|| self.damage("a value reaches beyond it"))?;
                Ok(Data::Long(u64_at(number, 0), len))
            }
            _ => Err(self.damage("an entry has an unknown flag")),
        }
    }
}

/// Whether our checksum of a meta page fits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// It fits.
    Whole,
    /// It speaks of another transaction, or there is none yet.
    Other,
    /// It speaks of this transaction and does not fit.
    Broken,
}

/// One of the two roots of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) seal: Seal,
    pub(super) free: Tree,
    pub(super) main: Tree,
    pub(super) last_page: u64,
    pub(super) txn: u64,
}

/// The root of a tree, and what it should consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tree {
    pub(super) depth: u16,
    pub(super) branches: u64,
    pub(super) leaves: u64,
    pub(super) longs: u64,
    pub(super) entries: u64,
    pub(super) root: u64,
}

impl Meta {
    fn parse(number: u64, bytes: &[u8; SEAL_AT + SEAL_BYTES], page_bytes: usize) -> Result<Self, Damage> {
        let fits = u64_at(bytes, 0) == number
            && u16_at(bytes, 10) == META
            && u32_at(bytes, 16) == MAGIC
            && u32_at(bytes, 20) == VERSION
            && u32_at(bytes, 40) as usize == page_bytes
            && u16_at(bytes, 44) == FREE_FLAGS
            && u16_at(bytes, 92) == 0;
        if !fits {
            return Err(Damage::Page(number, "it is no meta page of this log"));
        }
        let txn = u64_at(bytes, 144);
        let meta = Self {
            seal: Self::seal_of(bytes, txn),
            free: Tree::parse(&bytes[40..88]),
            main: Tree::parse(&bytes[88..136]),
            last_page: u64_at(bytes, 136),
            txn,
        };
        meta.check(number)
    }

    fn seal_of(bytes: &[u8; SEAL_AT + SEAL_BYTES], txn: u64) -> Seal {
        let seal = &bytes[SEAL_AT..];
        if &seal[..4] == SEAL_MAGIC && u32_at(seal, 4) == crc32c::crc32c(&bytes[..META_END]) {
            Seal::Whole
        } else if u64_at(seal, 8) == txn && txn != 0 {
            Seal::Broken
        } else {
            Seal::Other
        }
    }

    fn check(self, number: u64) -> Result<Self, Damage> {
        let reachable = |tree: &Tree| tree.root == NO_PAGE || (2..=self.last_page).contains(&tree.root);
        let possible = |tree: &Tree| reachable(tree) && tree.depth <= 32 && tree.entries < 1 << 60;
        if possible(&self.free) && possible(&self.main) && self.last_page < 1 << 40 {
            Ok(self)
        } else {
            Err(Damage::Page(number, "the meta page's roots are impossible"))
        }
    }
}

impl Tree {
    fn parse(bytes: &[u8]) -> Self {
        Self {
            depth: u16_at(bytes, 6),
            branches: u64_at(bytes, 8),
            leaves: u64_at(bytes, 16),
            longs: u64_at(bytes, 24),
            entries: u64_at(bytes, 32),
            root: u64_at(bytes, 40),
        }
    }
}

/// The page size in the header of a file, if it can be one; read before anything else is trusted.
pub(super) fn page_bytes_of(file: &File) -> Option<usize> {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 40).ok()?;
    let size = u32::from_ne_bytes(bytes) as usize;
    (size.is_power_of_two() && (4_096..=32_768).contains(&size)).then_some(size)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
