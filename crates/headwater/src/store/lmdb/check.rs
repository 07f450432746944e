//! Every page of an environment, checked without the engine.
//!
//! LMDB has no page checksums and trusts what it maps: a flipped bit can make it answer an old page, miss a key, or leave
//! its map. So a file is walked before the engine sees it, with plain reads and every bound checked. One walk finds
//! whatever a flipped bit can change:
//!
//! - a page that is not what its parent says, or whose nodes do not tile it exactly;
//! - keys out of order, within a page, across pages, and against what the branches above say;
//! - a page reached twice, or neither reached nor free: so no branch can point to an old page unnoticed;
//! - numbers of rows and pages that differ from those in the meta page;
//! - a row whose seal is broken, or a meta page of another transaction than the last (both are for the caller).
//!
//! ```text
//! meta    page header, magic:u32 version:u32 address:u64 map_bytes:u64 free:tree main:tree last_page:u64 txn:u64
//! tree    page_bytes:u32 flags:u16 depth:u16 branches:u64 leaves:u64 overflows:u64 entries:u64 root:u64
//! page    number:u64 pad:u16 flags:u16 lower:u16 upper:u16, pointers:u16 up to lower, nodes from upper on
//! run     number:u64 pad:u16 flags:u16 pages:u32, data over all its pages
//! node    low:u16 high:u16 flags:u16 key_bytes:u16 key data, padded to an even length
//!         in a leaf, low and high are the data's length; in a branch, low, high and flags are the child's number
//! ```
//!
//! Numbers are the machine's own. See `MDB_meta`, `MDB_db`, `MDB_page` and `MDB_node` in LMDB 0.9.70, `mdb.c`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: u32 = 0xBEEF_C0DE;
const DATA_VERSION: u32 = 1;
const NO_PAGE: u64 = u64::MAX;
const METAS: u64 = 2;
const META_BYTES: usize = 136;
const PAGE_HEADER: usize = 16;
const NODE_HEADER: usize = 8;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;
/// The node's data lies in a run of pages of its own.
const BIG_DATA: u16 = 0x01;
/// As deep as a cursor of the engine can go.
const DEPTH_MAX: u16 = 32;
/// The free list's keys are numbers.
const INTEGER_KEY: u16 = 0x08;

/// Where an environment is damaged.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) page: u64,
    pub(super) what: String,
    /// The last sound key before it, which tells whose rows are hit.
    pub(super) after_key: Vec<u8>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}: {}", self.page, self.what)
    }
}

/// Why a check did not find an environment sound.
#[derive(Debug)]
pub(super) enum Unsound {
    /// It is damaged.
    Damaged(Damage),
    /// It cannot be read.
    Unreadable(io::Error),
    /// The check was told to stop.
    Stopped,
}

impl From<io::Error> for Unsound {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

fn damaged<T>(page: u64, what: impl Into<String>) -> Result<T, Unsound> {
    Err(Unsound::Damaged(Damage { page, what: what.into(), after_key: Vec::new() }))
}

/// What a meta page says about its snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    page_bytes: usize,
    free: Tree,
    main: Tree,
    last_page: u64,
    pub(super) txn: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tree {
    depth: u16,
    pages: Pages,
    entries: u64,
    root: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Pages {
    branches: u64,
    leaves: u64,
    overflows: u64,
}

impl Snapshot {
    /// The snapshot that the engine will open; `None` for a file without contents.
    pub(super) fn newest(file: &File) -> Result<Option<Self>, Unsound> {
        if file.metadata()?.len() == 0 {
            return Ok(None);
        }
        let [first, second] = Self::both(file)?;
        // The engine takes the first of two equals, which only a fresh file has.
        let (place, newest) = if first.txn >= second.txn { (0, first) } else { (1, second) };
        if newest.txn > 0 && newest.txn % METAS != place {
            return damaged(place, "a meta page in the place of the other");
        }
        Ok(Some(newest))
    }

    /// The snapshot of a transaction whose pages are pinned.
    pub(super) fn of(file: &File, txn: u64) -> Result<Self, Unsound> {
        let found = Self::both(file)?.into_iter().find(|snapshot| snapshot.txn == txn);
        found
            .map_or_else(|| damaged(txn % METAS, "no meta page of the transaction that the engine reads"), Ok)
    }

    fn both(file: &File) -> Result<[Self; 2], Unsound> {
        let mut bytes = [0; PAGE_HEADER + META_BYTES];
        read_exactly(file, &mut bytes, 0, 0)?;
        let first = Self::parse(&bytes, 0)?;
        read_exactly(file, &mut bytes, first.page_bytes as u64, 1)?;
        let second = Self::parse(&bytes, 1)?;
        if first.page_bytes != second.page_bytes {
            return damaged(1, "the meta pages disagree about the size of a page");
        }
        Ok([first, second])
    }

    fn parse(bytes: &[u8], page: u64) -> Result<Self, Unsound> {
        let meta = &bytes[PAGE_HEADER..];
        let page_bytes = u32_at(meta, 24) as usize;
        let sound = [
            (u64_at(bytes, 0) == page && u16_at(bytes, 10) == META, "not a meta page"),
            (u32_at(meta, 0) == MAGIC, "not a file of the engine"),
            (u32_at(meta, 4) == DATA_VERSION, "a file of another version of the engine"),
            (u64_at(meta, 8) == 0, "a fixed address, which is never used"),
            (
                page_bytes.is_power_of_two() && (512..=1 << 16).contains(&page_bytes),
                "an impossible page size",
            ),
            (u16_at(meta, 28) == INTEGER_KEY && u16_at(meta, 76) == 0, "flags that are never used"),
        ];
        if let Some((_, what)) = sound.into_iter().find(|(sound, _)| !sound) {
            return damaged(page, what);
        }
        let (free, main) = (Tree::parse(&meta[24..72]), Tree::parse(&meta[72..120]));
        Ok(Self { page_bytes, free, main, last_page: u64_at(meta, 120), txn: u64_at(meta, 128) })
    }

    /// Whether it holds no row.
    pub(super) fn is_empty(&self) -> bool {
        self.main.root == NO_PAGE
    }
}

impl Tree {
    fn parse(bytes: &[u8]) -> Self {
        let pages =
            Pages { branches: u64_at(bytes, 8), leaves: u64_at(bytes, 16), overflows: u64_at(bytes, 24) };
        Self { depth: u16_at(bytes, 6), pages, entries: u64_at(bytes, 32), root: u64_at(bytes, 40) }
    }
}

/// Called with every row; says what is wrong with it, or `None`.
pub(super) type Judge<'a> = dyn FnMut(&[u8], &[u8]) -> Option<String> + 'a;

/// Walks every page of a snapshot, and shows every row to `judge`.
pub(super) fn walk(
    file: &File,
    snapshot: &Snapshot,
    stop: &dyn Fn() -> bool,
    judge: &mut Judge<'_>,
) -> Result<(), Unsound> {
    let mut walk = Walk::new(file, snapshot, stop)?;
    let mut free_pages = Vec::new();
    walk.tree(&snapshot.free, Order::Numbers, &mut |_, value| list_free(value, &mut free_pages))?;
    for page in free_pages {
        walk.mark(page)?;
    }
    walk.tree(&snapshot.main, Order::Bytes, judge)?;
    walk.nothing_is_lost()
}

/// Reads a file from its start to its end, so that a walk in the order of keys finds it in memory.
pub(super) fn warm(file: &File) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return Ok(()),
            read => at += read as u64,
        }
    }
}

/// A value of the free list: how many pages, then their numbers.
fn list_free(value: &[u8], pages: &mut Vec<u64>) -> Option<String> {
    let Some((count, numbers)) = value.split_first_chunk() else {
        return Some("a free list without a length".to_owned());
    };
    let count = usize::try_from(u64::from_ne_bytes(*count)).unwrap_or(usize::MAX);
    let Some(numbers) = count.checked_mul(8).and_then(|bytes| numbers.get(..bytes)) else {
        return Some("a free list longer than its value".to_owned());
    };
    pages.extend(numbers.chunks_exact(8).map(|number| u64_at(number, 0)));
    None
}

/// How a tree sorts its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Bytes,
    Numbers,
}

impl Order {
    fn ascends(self, before: &[u8], after: &[u8]) -> bool {
        match self {
            Self::Bytes => before < after,
            Self::Numbers => number(before) < number(after),
        }
    }

    fn allows(self, key: &[u8]) -> bool {
        self == Self::Bytes || key.len() == 8
    }
}

fn number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_ne_bytes)
}

struct Walk<'a> {
    file: &'a File,
    page_bytes: usize,
    stop: &'a dyn Fn() -> bool,
    /// One bit for each page, set when it is accounted for.
    seen: Vec<u64>,
    last_page: u64,
    found: Pages,
    entries: u64,
    /// The last key visited; every next one must be greater.
    last_key: Option<Vec<u8>>,
    /// What the branches say the next key is at least.
    floor: Option<Vec<u8>>,
}

impl<'a> Walk<'a> {
    fn new(file: &'a File, snapshot: &Snapshot, stop: &'a dyn Fn() -> bool) -> Result<Self, Unsound> {
        // The last pages may be free and never written, but no honest number goes far beyond the file.
        let pages_max =
            (file.metadata()?.len() / snapshot.page_bytes as u64).saturating_mul(64).saturating_add(1 << 20);
        if snapshot.last_page < METAS - 1 || snapshot.last_page > pages_max {
            return damaged(snapshot.txn % METAS, "an impossible last page");
        }
        let words = usize::try_from(snapshot.last_page / 64 + 1).unwrap_or(usize::MAX);
        Ok(Self {
            file,
            page_bytes: snapshot.page_bytes,
            stop,
            seen: vec![0; words],
            last_page: snapshot.last_page,
            found: Pages::default(),
            entries: 0,
            last_key: None,
            floor: None,
        })
    }

    fn tree(&mut self, tree: &Tree, order: Order, judge: &mut Judge<'_>) -> Result<(), Unsound> {
        (self.found, self.entries, self.last_key, self.floor) = (Pages::default(), 0, None, None);
        if tree.depth > DEPTH_MAX || (tree.root == NO_PAGE) != (tree.depth == 0) {
            return damaged(0, "a tree of impossible depth");
        }
        if tree.root != NO_PAGE {
            let walked = self.page(tree.root, tree.depth, order, judge);
            walked.map_err(|unsound| self.place(unsound))?;
        }
        if self.found != tree.pages || self.entries != tree.entries {
            return damaged(0, format!("{} rows found where {} are expected", self.entries, tree.entries));
        }
        Ok(())
    }

    /// Adds the last sound key to a damage.
    fn place(&self, unsound: Unsound) -> Unsound {
        match unsound {
            Unsound::Damaged(damage) => {
                let after_key = self.last_key.clone().unwrap_or_default();
                Unsound::Damaged(Damage { after_key, ..damage })
            }
            other => other,
        }
    }

    fn mark(&mut self, page: u64) -> Result<(), Unsound> {
        if page < METAS || page > self.last_page {
            return damaged(page, "a page outside the file");
        }
        let (word, bit) = (&mut self.seen[(page / 64) as usize], 1 << (page % 64));
        if *word & bit != 0 {
            return damaged(page, "a page with two uses");
        }
        *word |= bit;
        Ok(())
    }

    fn nothing_is_lost(&self) -> Result<(), Unsound> {
        let lost =
            (METAS..=self.last_page).find(|page| self.seen[(page / 64) as usize] & (1 << (page % 64)) == 0);
        lost.map_or(Ok(()), |page| damaged(page, "a page that is neither used nor free"))
    }

    fn page(&mut self, number: u64, height: u16, order: Order, judge: &mut Judge<'_>) -> Result<(), Unsound> {
        if (self.stop)() {
            return Err(Unsound::Stopped);
        }
        self.mark(number)?;
        let mut bytes = vec![0; self.page_bytes];
        read_exactly(self.file, &mut bytes, number * self.page_bytes as u64, number)?;
        let kind = if height == 1 { LEAF } else { BRANCH };
        let nodes = nodes(&bytes, number, kind)?;
        if kind == LEAF {
            self.found.leaves += 1;
            nodes.iter().try_for_each(|node| self.row(node, number, order, judge))
        } else {
            self.found.branches += 1;
            nodes.iter().enumerate().try_for_each(|(index, node)| {
                self.enter(index, node, number, order)?;
                self.page(node.child(), height - 1, order, judge)
            })
        }
    }

    /// Checks a branch's key, which lies between what was walked and what comes; the first is never looked at.
    fn enter(&mut self, index: usize, node: &Node<'_>, page: u64, order: Order) -> Result<(), Unsound> {
        if index == 0 {
            return Ok(());
        }
        let above = self.last_key.as_deref().is_none_or(|last| order.ascends(last, node.key));
        if !above || !order.allows(node.key) {
            return damaged(page, "a branch whose keys are out of order");
        }
        self.floor = Some(node.key.to_vec());
        Ok(())
    }

    fn row(
        &mut self,
        node: &Node<'_>,
        page: u64,
        order: Order,
        judge: &mut Judge<'_>,
    ) -> Result<(), Unsound> {
        let above = self.last_key.as_deref().is_none_or(|last| order.ascends(last, node.key));
        let floored = self.floor.take().is_none_or(|floor| !order.ascends(node.key, &floor));
        if !above || !floored || !order.allows(node.key) {
            return damaged(page, "keys out of order");
        }
        let verdict = match node.data {
            Data::Here(data) => judge(node.key, data),
            Data::Run { page, bytes } => judge(node.key, &self.run(page, bytes)?),
            Data::None => return damaged(page, "a row without a value"),
        };
        if let Some(what) = verdict {
            let damage = Damage { page, what, after_key: node.key.to_vec() };
            self.last_key = Some(node.key.to_vec());
            return Err(Unsound::Damaged(damage));
        }
        self.entries += 1;
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(node.key);
        Ok(())
    }

    /// The data of a run of pages.
    fn run(&mut self, first: u64, bytes: usize) -> Result<Vec<u8>, Unsound> {
        self.mark(first)?;
        let at = first * self.page_bytes as u64;
        let mut header = [0; PAGE_HEADER];
        read_exactly(self.file, &mut header, at, first)?;
        let pages = u64::from(u32_at(&header, 12));
        let needed = (PAGE_HEADER + bytes).div_ceil(self.page_bytes) as u64;
        if u64_at(&header, 0) != first || u16_at(&header, 10) != OVERFLOW || pages < needed {
            return damaged(first, "not the run of pages that its row says");
        }
        for page in first + 1..first.saturating_add(pages) {
            self.mark(page)?;
        }
        self.found.overflows += pages;
        let mut data = vec![0; bytes];
        read_exactly(self.file, &mut data, at + PAGE_HEADER as u64, first)?;
        Ok(data)
    }
}

struct Node<'a> {
    key: &'a [u8],
    data: Data<'a>,
    child: u64,
}

enum Data<'a> {
    None,
    Here(&'a [u8]),
    Run { page: u64, bytes: usize },
}

impl Node<'_> {
    fn child(&self) -> u64 {
        self.child
    }
}

/// The nodes of a page, which tile it from `upper` to its end.
fn nodes(bytes: &[u8], page: u64, kind: u16) -> Result<Vec<Node<'_>>, Unsound> {
    let (lower, upper) = (usize::from(u16_at(bytes, 12)), usize::from(u16_at(bytes, 14)));
    if u64_at(bytes, 0) != page || u16_at(bytes, 10) != kind {
        return damaged(page, "not the page that its parent says");
    }
    if lower <= PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > bytes.len() {
        return damaged(page, "impossible bounds of its free space");
    }
    let mut nodes = Vec::with_capacity((lower - PAGE_HEADER) / 2);
    let mut extents = Vec::with_capacity(nodes.capacity());
    for pointer in bytes[PAGE_HEADER..lower].chunks_exact(2) {
        let start = usize::from(u16_at(pointer, 0));
        let Some((node, length)) = bytes.get(start..).and_then(|rest| parse_node(rest, kind)) else {
            return damaged(page, "a node that leaves its page");
        };
        nodes.push(node);
        extents.push((start, start + length.next_multiple_of(2)));
    }
    extents.sort_unstable();
    let end = extents.iter().try_fold(upper, |at, (start, end)| (*start == at).then_some(*end));
    if end != Some(bytes.len()) {
        return damaged(page, "nodes that do not fill their page");
    }
    Ok(nodes)
}

/// A node and its length; `None` if it does not fit or has flags that are never used.
fn parse_node(bytes: &[u8], kind: u16) -> Option<(Node<'_>, usize)> {
    let header = bytes.get(..NODE_HEADER)?;
    let low = u64::from(u16_at(header, 0)) | u64::from(u16_at(header, 2)) << 16;
    let (flags, key_bytes) = (u16_at(header, 4), usize::from(u16_at(header, 6)));
    let (key, rest) = bytes[NODE_HEADER..].split_at_checked(key_bytes)?;
    let length = NODE_HEADER + key_bytes;
    if kind == BRANCH {
        return Some((Node { key, data: Data::None, child: low | u64::from(flags) << 32 }, length));
    }
    let data_bytes = usize::try_from(low).ok()?;
    let (data, stored) = match flags {
        0 => (Data::Here(rest.get(..data_bytes)?), data_bytes),
        BIG_DATA => (Data::Run { page: u64_at(rest.get(..8)?, 0), bytes: data_bytes }, 8),
        _ => return None,
    };
    Some((Node { key, data, child: NO_PAGE }, length + stored))
}

fn read_exactly(file: &File, out: &mut [u8], at: u64, page: u64) -> Result<(), Unsound> {
    match file.read_exact_at(out, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            damaged(page, "a page beyond the file's end")
        }
        read => Ok(read?),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(*bytes[at..].first_chunk().expect("the caller reads within the page"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(*bytes[at..].first_chunk().expect("the caller reads within the page"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(*bytes[at..].first_chunk().expect("the caller reads within the page"))
}
