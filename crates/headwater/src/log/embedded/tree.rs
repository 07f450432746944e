//! Walking the engine's tree by its pages, trusting nothing.
//!
//! A [`Cursor`] finds entries by key and steps to their neighbours. Every leaf that it enters is checked: its keys
//! rise, and lie between the separators above it, so that a branch that points to a wrong or an old page is noticed
//! where it matters. [`check_structure`] reads every branch and the free list, and accounts for each page once.

use super::page::{Damage, Data, Kind, Meta, NO_PAGE, Page, PageFile, Tree, u64_at};

/// A place in a tree.
pub(super) struct Cursor<'a> {
    file: &'a PageFile,
    tree: Tree,
    levels: Vec<Level>,
    /// How many levels, from the root, are loaded; all of them when the cursor stands on an entry.
    loaded: usize,
}

#[derive(Default)]
struct Level {
    page: Page,
    index: usize,
}

/// From which end a page is entered.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    First,
    Last,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a PageFile, tree: Tree) -> Self {
        let levels = std::iter::repeat_with(Level::default).take(tree.depth.into()).collect();
        Self { file, tree, levels, loaded: 0 }
    }

    /// Moves to the first entry at or after `key`; false if there is none.
    pub(super) fn seek(&mut self, key: &[u8]) -> Result<bool, Damage> {
        self.loaded = 0;
        if self.tree.root == NO_PAGE || self.levels.is_empty() {
            return Ok(false);
        }
        let mut number = self.tree.root;
        loop {
            self.load(number)?;
            let on_leaf = self.loaded == self.levels.len();
            let level = &mut self.levels[self.loaded - 1];
            level.index = if on_leaf { first_at(&level.page, key)? } else { child_of(&level.page, key)? };
            if on_leaf {
                break;
            }
            number = level.page.child(level.index)?;
        }
        let leaf = &self.levels[self.loaded - 1];
        if leaf.index < leaf.page.len() { Ok(true) } else { self.next() }
    }

    /// Moves to the next entry; false at the end. After [`Damage`] it moves past the page that is damaged.
    pub(super) fn next(&mut self) -> Result<bool, Damage> {
        for depth in (0..self.loaded).rev() {
            let level = &mut self.levels[depth];
            if level.index + 1 < level.page.len() {
                level.index += 1;
                self.loaded = depth + 1;
                return self.descend(Side::First);
            }
        }
        self.loaded = 0;
        Ok(false)
    }

    /// Moves to the entry before; false at the start.
    pub(super) fn prev(&mut self) -> Result<bool, Damage> {
        for depth in (0..self.loaded).rev() {
            let level = &mut self.levels[depth];
            if level.index > 0 {
                level.index -= 1;
                self.loaded = depth + 1;
                return self.descend(Side::Last);
            }
        }
        self.loaded = 0;
        Ok(false)
    }

    fn descend(&mut self, side: Side) -> Result<bool, Damage> {
        while self.loaded < self.levels.len() {
            let above = &self.levels[self.loaded - 1];
            self.load(above.page.child(above.index)?)?;
            let level = &mut self.levels[self.loaded - 1];
            level.index = if side == Side::First { 0 } else { level.page.len() - 1 };
        }
        Ok(true)
    }

    /// Loads the page for the next level; on damage the levels above stay.
    fn load(&mut self, number: u64) -> Result<(), Damage> {
        let on_leaf = self.loaded + 1 == self.levels.len();
        let (above, below) = self.levels.split_at_mut(self.loaded);
        let page = &mut below[0].page;
        self.file.read(number, if on_leaf { Kind::Leaf } else { Kind::Branch }, page)?;
        if on_leaf {
            check_keys(page, 0)?;
            check_bounds(page, separator_before(above)?, separator_after(above)?)?;
        }
        self.loaded += 1;
        Ok(())
    }

    /// The entry that the cursor stands on; `None` before a seek and at the end.
    pub(super) fn entry(&self) -> Result<Option<(&[u8], &[u8])>, Damage> {
        if self.loaded == 0 || self.loaded < self.levels.len() {
            return Ok(None);
        }
        let leaf = &self.levels[self.loaded - 1];
        match leaf.page.data(leaf.index)? {
            Data::Here(value) => Ok(Some((leaf.page.key(leaf.index)?, value))),
            Data::Long(..) => Err(Damage::Page(leaf.page.number(), "a value lies outside the tree")),
        }
    }

    /// The key that the cursor stands on.
    pub(super) fn key(&self) -> Result<Option<&[u8]>, Damage> {
        if self.loaded == 0 || self.loaded < self.levels.len() {
            return Ok(None);
        }
        let leaf = &self.levels[self.loaded - 1];
        leaf.page.key(leaf.index).map(Some)
    }

    /// Checks every entry of the leaf that the cursor stands on, as the engine will rely on them when it writes there.
    pub(super) fn check_leaf(&self) -> Result<(), Damage> {
        if self.loaded == 0 || self.loaded < self.levels.len() {
            return Ok(());
        }
        let page = &self.levels[self.loaded - 1].page;
        (0..page.len()).try_for_each(|index| match page.data(index)? {
            Data::Here(_) => Ok(()),
            Data::Long(..) => Err(Damage::Page(page.number(), "a value lies outside the tree")),
        })
    }

    /// The leaf that the cursor stands on, or nearest to where it failed.
    pub(super) fn page(&self) -> u64 {
        self.levels.get(self.loaded.saturating_sub(1)).map_or(self.tree.root, |level| level.page.number())
    }
}

/// The separator at or below every key under the path.
fn separator_before(path: &[Level]) -> Result<Option<&[u8]>, Damage> {
    let level = path.iter().rev().find(|level| level.index > 0);
    level.map(|level| level.page.key(level.index)).transpose()
}

/// The separator above every key under the path.
fn separator_after(path: &[Level]) -> Result<Option<&[u8]>, Damage> {
    let level = path.iter().rev().find(|level| level.index + 1 < level.page.len());
    level.map(|level| level.page.key(level.index + 1)).transpose()
}

fn check_bounds(page: &Page, from: Option<&[u8]>, to: Option<&[u8]>) -> Result<(), Damage> {
    let below = from.is_some_and(|from| page.key(0).is_ok_and(|key| key < from));
    let above = to.is_some_and(|to| page.key(page.len() - 1).is_ok_and(|key| key >= to));
    if below || above {
        return Err(Damage::Page(page.number(), "its keys are not those that the pages above it name"));
    }
    Ok(())
}

fn check_keys(page: &Page, from: usize) -> Result<(), Damage> {
    let mut last: &[u8] = &[];
    for index in from..page.len() {
        let key = page.key(index)?;
        if key <= last {
            return Err(Damage::Page(page.number(), "its keys do not rise"));
        }
        last = key;
    }
    Ok(())
}

/// The index of the first entry of a leaf at or after `key`.
fn first_at(page: &Page, key: &[u8]) -> Result<usize, Damage> {
    search(page, 0, |found| found < key)
}

/// The index of the child of a branch under which `key` lies.
fn child_of(page: &Page, key: &[u8]) -> Result<usize, Damage> {
    Ok(search(page, 1, |found| found <= key)? - 1)
}

fn search(page: &Page, from: usize, below: impl Fn(&[u8]) -> bool) -> Result<usize, Damage> {
    let (mut low, mut high) = (from, page.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if below(page.key(middle)?) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Reads every branch of both trees and the whole free list; each page must be there exactly once.
///
/// Afterwards the engine may allocate pages without overwriting one that is in use.
pub(super) fn check_structure(file: &PageFile, meta: &Meta) -> Result<(), Damage> {
    let mut pages = Pages::new(meta.last_page);
    walk_tree(file, &meta.main, &mut pages, false)?;
    walk_tree(file, &meta.free, &mut pages, true)?;
    pages.all_taken()
}

fn walk_tree(file: &PageFile, tree: &Tree, pages: &mut Pages, free: bool) -> Result<(), Damage> {
    let mut walk = Walk { file, pages, free, depth: tree.depth.into(), found: Tree::default() };
    if tree.root != NO_PAGE {
        walk.visit(tree.root, 1, None, None)?;
    }
    let found = walk.found;
    let same = (found.branches, found.leaves, found.longs) == (tree.branches, tree.leaves, tree.longs);
    let entries = !free || found.entries == tree.entries;
    if same && entries && (tree.root == NO_PAGE) == (tree.depth == 0) {
        Ok(())
    } else {
        Err(Damage::Page(tree.root, "the tree under it has not the pages that it should have"))
    }
}

struct Walk<'a> {
    file: &'a PageFile,
    pages: &'a mut Pages,
    free: bool,
    depth: usize,
    found: Tree,
}

impl Walk<'_> {
    fn visit(
        &mut self,
        number: u64,
        level: usize,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<(), Damage> {
        self.pages.take(number)?;
        if level < self.depth {
            return self.visit_branch(number, level, from, to);
        }
        self.found.leaves += 1;
        if self.free { self.visit_free(number) } else { Ok(()) }
    }

    fn visit_branch(
        &mut self,
        number: u64,
        level: usize,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<(), Damage> {
        let mut page = Page::default();
        self.file.read(number, Kind::Branch, &mut page)?;
        self.found.branches += 1;
        if !self.free {
            check_keys(&page, 1)?;
            let first = from.is_some_and(|from| page.key(1).is_ok_and(|key| key <= from));
            let last = to.is_some_and(|to| page.key(page.len() - 1).is_ok_and(|key| key >= to));
            if first || last {
                return Err(Damage::Page(number, "its keys are not those that the pages above it name"));
            }
        }
        for index in 0..page.len() {
            let below = if index == 0 { from } else { Some(page.key(index)?) };
            let above = if index + 1 < page.len() { Some(page.key(index + 1)?) } else { to };
            self.visit(page.child(index)?, level + 1, below, above)?;
        }
        Ok(())
    }

    fn visit_free(&mut self, number: u64) -> Result<(), Damage> {
        let mut page = Page::default();
        self.file.read(number, Kind::Leaf, &mut page)?;
        for index in 0..page.len() {
            self.found.entries += 1;
            match page.data(index)? {
                Data::Here(list) => self.take_list(number, list)?,
                Data::Long(run, len) => {
                    let (list, count) = self.file.read_long(run, len)?;
                    self.found.longs += count;
                    (run..run + count).try_for_each(|page| self.pages.take(page))?;
                    self.take_list(run, &list)?;
                }
            }
        }
        Ok(())
    }

    /// A list is its length and that many page numbers.
    fn take_list(&mut self, number: u64, list: &[u8]) -> Result<(), Damage> {
        let count = list.first_chunk().map(|len| u64::from_ne_bytes(*len));
        if count.is_none_or(|count| count.saturating_mul(8) > list.len() as u64 - 8) {
            return Err(Damage::Page(number, "a list of free pages is cut short"));
        }
        let count = count.unwrap_or_default() as usize;
        list.chunks_exact(8).skip(1).take(count).try_for_each(|page| self.pages.take(u64_at(page, 0)))
    }
}

/// Which pages have been accounted for.
struct Pages {
    bits: Vec<u64>,
    last: u64,
    taken: u64,
}

impl Pages {
    fn new(last: u64) -> Self {
        Self { bits: vec![0; last as usize / 64 + 1], last, taken: 0 }
    }

    fn take(&mut self, page: u64) -> Result<(), Damage> {
        if page < 2 || page > self.last {
            return Err(Damage::Page(page, "it is referred to and cannot exist"));
        }
        let (word, bit) = (&mut self.bits[page as usize / 64], 1 << (page % 64));
        if *word & bit != 0 {
            return Err(Damage::Page(page, "it is referred to twice"));
        }
        *word |= bit;
        self.taken += 1;
        Ok(())
    }

    fn all_taken(&self) -> Result<(), Damage> {
        let lost = (2..=self.last).find(|page| self.bits[*page as usize / 64] & (1 << (page % 64)) == 0);
        match lost {
            None => Ok(()),
            Some(page) => Err(Damage::Page(page, "it is neither in use nor free")),
        }
    }
}
