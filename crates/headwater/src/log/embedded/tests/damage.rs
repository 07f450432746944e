//! Flipped bits: found and named, never served.

use std::collections::BTreeMap;
use std::fs;

use headwater_core::log::{Cleanup, LogErrorKind};

use super::super::page::{Data, Kind, Page, PageFile};
use super::super::{CheckReport, OpenErrorKind, check};
use super::*;

const PAGE: usize = 4_096;

/// A closed log with everything in it: small and long records, heads, an expired start, stubs, free pages.
struct Specimen {
    dir: tempfile::TempDir,
    data: Vec<u8>,
    /// What each partition holds.
    records: BTreeMap<TopicPartition, BTreeMap<u64, Record>>,
    heads: headwater_core::position::Position,
}

impl Specimen {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        create(&log, "events", TopicSettings::kept(2)).await;
        create(&log, "expiring", TopicSettings::kept(1).cleanup(Cleanup::Expire { after_ms: 1 })).await;
        create(&log, "table", TopicSettings::kept(1).cleanup(Cleanup::Compact { tombstones_ms: 1 })).await;
        create(&log, "gone", TopicSettings::kept(1)).await;
        fill(&log, &at("events", 0), 0..900, 300).await;
        fill(&log, &at("events", 1), 0..300, 30).await;
        fill(&log, &at("events", 1), 300..310, 9_000).await;
        fill(&log, &at("expiring", 0), 0..400, 300).await;
        fill(&log, &at("gone", 0), 0..1_200, 1_900).await;
        for round in 0..3 {
            fill(&log, &at("table", 0), 0..40 + round, 200).await;
        }
        let (_member, Opened { mut writer, .. }) = writer(&log, "app.x").await;
        let note: &'static str = Box::leak("n".repeat(5_000).into_boxed_str());
        writer.commit(transaction(vec![], (&at("events", 0), 7), note)).await.unwrap();
        log.delete(&topic("gone")).await.unwrap();
        let upkeep = log.clone();
        let now = Timestamp(1_000 + 250);
        tokio::task::spawn_blocking(move || upkeep.maintain(now)).await.unwrap().unwrap();

        let mut records = BTreeMap::new();
        for place in [at("events", 0), at("events", 1), at("expiring", 0), at("table", 0)] {
            records.insert(place.clone(), read_all(&log, &place).await.into_iter().collect());
        }
        let heads = log.committed("app.x").await.unwrap();
        drop((_member, writer, log));
        let data = fs::read(dir.path().join("log/data.mdb")).unwrap();
        Self { dir, data, records, heads }
    }

    /// The numbers of the pages in use of a kind.
    fn pages(&self, kind: u16) -> Vec<u64> {
        let file = PageFile::new(fs::File::open(self.dir.path().join("log/data.mdb")).unwrap(), PAGE);
        let newest = file.read_meta(self.newest() as u64).unwrap();
        let mut pages = vec![(META, 0), (META, 1)];
        for tree in [newest.main, newest.free] {
            let mut level = vec![tree.root];
            for depth in 1..=tree.depth {
                let (kind, flags) =
                    if depth == tree.depth { (Kind::Leaf, LEAF) } else { (Kind::Branch, BRANCH) };
                pages.extend(level.iter().map(|page| (flags, *page)));
                level = level.iter().flat_map(|number| below(&file, *number, kind)).collect();
            }
            pages.extend(level.into_iter().map(|page| (LONG, page)));
        }
        pages.into_iter().filter(|page| page.0 == kind).map(|page| page.1).collect()
    }

    fn newest(&self) -> usize {
        (0..2).max_by_key(|page| self.number(page * PAGE + 144)).unwrap()
    }

    fn last_page(&self) -> usize {
        self.number(self.newest() * PAGE + 136) as usize
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.data[at..at + 8].try_into().unwrap())
    }

    fn write(&self, data: &[u8]) {
        fs::write(self.dir.path().join("log/data.mdb"), data).unwrap();
        fs::write(self.dir.path().join("clean"), "").unwrap();
    }

    /// Opens what lies there and compares all of it with what it should be.
    async fn examine(&self) -> Found {
        let log = match EmbeddedLog::open(self.dir.path(), options()) {
            Ok(log) => log,
            Err(error) => {
                assert_eq!(error.kind(), OpenErrorKind::Corrupt, "{error}");
                assert!(
                    error.to_string().contains("page ") && error.to_string().contains("data.mdb"),
                    "{error}"
                );
                return Found::Refused;
            }
        };
        assert_eq!(log.committed("app.x").await.unwrap(), self.heads);
        let mut damaged = 0;
        for (place, records) in &self.records {
            damaged += self.examine_partition(&log, place, records).await;
        }
        let opened_damaged = log.damage().len();
        // Writing beside damage neither crashes nor loses: it is refused, or can be read.
        for place in self.records.keys() {
            if let Ok(offsets) = log.append(vec![append(place, 1, 100)]).await {
                let batch = log.read(place, offsets[0], ReadLimit::default(), Wait::No).await.unwrap();
                assert_eq!(batch.records[0].record, record(1, 100));
            }
        }
        assert!(damaged > 0 || opened_damaged == 0);
        if damaged == 0 { Found::Nothing } else { Found::Named(damaged) }
    }

    /// Reads from every offset; answers how many offsets are corrupt.
    async fn examine_partition(
        &self,
        log: &EmbeddedLog,
        place: &TopicPartition,
        records: &BTreeMap<u64, Record>,
    ) -> u64 {
        let bounds = log.bounds(place).await.unwrap();
        let (mut next, mut damaged) = (bounds.start, 0);
        while next < bounds.end {
            let limit = ReadLimit { records: 64, bytes: 1 << 20 };
            match log.read(place, next, limit, Wait::No).await {
                Ok(batch) => {
                    assert!(batch.next > next && batch.next <= bounds.end);
                    let found: BTreeMap<_, _> =
                        batch.records.into_iter().map(|stored| (stored.offset.0, stored.record)).collect();
                    let expected =
                        records.range(next.0..batch.next.0).map(|(o, r)| (*o, r.clone())).collect();
                    assert_eq!(found, expected, "{place} from {next}");
                    next = batch.next;
                }
                Err(error) => {
                    assert_eq!(error.kind(), LogErrorKind::Corrupt, "{error}");
                    assert!(error.to_string().contains(&format!("{place}@{next}")), "{error}");
                    damaged += 1;
                    next = next.next();
                }
            }
        }
        damaged
    }
}

/// The pages that an entry of a branch, or a long value of a leaf, refers to.
fn below(file: &PageFile, number: u64, kind: Kind) -> Vec<u64> {
    let mut page = Page::default();
    file.read(number, kind, &mut page).unwrap();
    let mut pages = Vec::new();
    for index in 0..page.len() {
        if kind == Kind::Branch {
            pages.push(page.child(index).unwrap());
        } else if let Data::Long(run, len) = page.data(index).unwrap() {
            pages.extend(run..run + file.read_long(run, len).unwrap().1);
        }
    }
    pages
}

#[derive(Debug, PartialEq)]
enum Found {
    /// The directory was not opened.
    Refused,
    /// So many offsets are answered as corrupt.
    Named(u64),
    /// Everything is as it was: the bit means nothing.
    Nothing,
}

/// A generator that a failing seed repeats.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Flips one bit of a page of one kind, many times; answers how often it was found.
async fn flip(specimen: &Specimen, flags: u16, seeds: std::ops::Range<u64>, bytes: usize) -> usize {
    specimen.write(&specimen.data);
    let pages = specimen.pages(flags);
    assert!(!pages.is_empty(), "the specimen has pages of kind {flags}");
    let mut found = 0;
    for seed in seeds {
        let mut random = seed;
        let page = pages[next_random(&mut random) as usize % pages.len()] as usize;
        let byte = page * PAGE + next_random(&mut random) as usize % bytes;
        let bit = 1 << (next_random(&mut random) % 8);
        let mut data = specimen.data.clone();
        data[byte] ^= bit;
        specimen.write(&data);
        println!("kind {flags} seed {seed}: page {page} byte {} bit {bit}", byte % PAGE);
        found += usize::from(specimen.examine().await != Found::Nothing);
    }
    println!("kind {flags}: {found} found");
    found
}

const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const LONG: u16 = 4;
const META: u16 = 8;

#[tokio::test]
async fn a_sound_specimen_is_found_sound() {
    let specimen = Specimen::new().await;
    assert_eq!(specimen.examine().await, Found::Nothing);
    specimen.write(&specimen.data);
    let records: usize = specimen.records.values().map(BTreeMap::len).sum();
    let CheckReport { entries, damaged } = check(specimen.dir.path()).unwrap();
    assert_eq!(damaged, []);
    assert!(entries as usize > records, "{entries} records and stubs, {records} records");
}

#[tokio::test]
async fn flipped_bits_in_leaves_are_never_served() {
    let specimen = Specimen::new().await;
    assert!(flip(&specimen, LEAF, 0..100, PAGE).await > 40);
    assert!(flip(&specimen, LEAF, 1_000..1_060, 64).await > 5, "flips of headers and pointers");
}

#[tokio::test]
async fn flipped_bits_in_branches_are_never_served() {
    let specimen = Specimen::new().await;
    assert!(flip(&specimen, BRANCH, 0..60, PAGE).await > 10);
    assert!(flip(&specimen, BRANCH, 1_000..1_060, 24).await > 20);
}

#[tokio::test]
async fn flipped_bits_in_overflow_pages_are_never_served() {
    let specimen = Specimen::new().await;
    assert!(flip(&specimen, LONG, 0..40, PAGE).await > 10);
    assert!(flip(&specimen, LONG, 1_000..1_040, 64).await > 10);
}

#[tokio::test]
async fn every_flipped_bit_that_counts_of_a_meta_page_is_found() {
    let specimen = Specimen::new().await;
    // The page's number, flags and roots; the two bytes of padding at 8 and the bounds at 12 mean nothing.
    for page in [0, 1] {
        for byte in (0..8).chain(10..12).chain(16..152) {
            let mut data = specimen.data.clone();
            data[page * PAGE + byte] ^= 1 << (byte % 8);
            specimen.write(&data);
            assert_eq!(specimen.examine().await, Found::Refused, "page {page} byte {byte}");
        }
    }
}

/// A process that is killed between the engine's write of a meta page and ours leaves an older seal on it, or none.
#[tokio::test]
async fn a_meta_page_without_its_seal_is_believed_if_the_last_commit_bears_it_out() {
    let specimen = Specimen::new().await;
    for byte in 256..264 {
        let mut data = specimen.data.clone();
        data[specimen.newest() * PAGE + byte] ^= 1;
        data[specimen.newest() * PAGE + 264] ^= 1;
        specimen.write(&data);
        assert_eq!(specimen.examine().await, Found::Nothing, "byte {byte}");
    }
}

#[tokio::test]
async fn an_older_meta_page_does_not_pass_for_the_last() {
    let specimen = Specimen::new().await;
    let newest = specimen.newest();
    let mut data = specimen.data.clone();
    data[newest * PAGE..(newest + 1) * PAGE].fill(0);
    specimen.write(&data);
    assert_eq!(specimen.examine().await, Found::Refused);
    let mut data = specimen.data.clone();
    data.copy_within((1 - newest) * PAGE + 16..(1 - newest) * PAGE + 272, newest * PAGE + 16);
    specimen.write(&data);
    assert_eq!(specimen.examine().await, Found::Refused);
}

#[tokio::test]
async fn a_file_that_is_cut_short_is_refused() {
    let specimen = Specimen::new().await;
    for pages in [0, 1, 2, 3, specimen.last_page() / 2, specimen.last_page()] {
        specimen.write(&specimen.data[..pages * PAGE]);
        assert_eq!(specimen.examine().await, Found::Refused, "{pages} pages");
    }
}

#[tokio::test]
async fn a_check_names_exactly_what_reads_refuse() {
    let specimen = Specimen::new().await;
    let leaves = specimen.pages(LEAF);
    let mut compared = 0;
    for seed in 0..400 {
        let mut random = seed;
        let byte = leaves[next_random(&mut random) as usize % leaves.len()] as usize * PAGE
            + next_random(&mut random) as usize % PAGE;
        let mut data = specimen.data.clone();
        data[byte] ^= 4;
        specimen.write(&data);
        let Ok(report) = check(specimen.dir.path()) else { continue };
        specimen.write(&data);
        let named: u64 = report.damaged.iter().map(|range| range.last.0 - range.first.0 + 1).sum();
        let refused = match specimen.examine().await {
            Found::Named(count) => count,
            Found::Nothing => 0,
            Found::Refused => continue,
        };
        assert_eq!(named, refused, "seed {seed}: {report:?}");
        compared += usize::from(named > 0);
        if compared == 12 {
            return;
        }
    }
    panic!("only {compared} flips were found");
}
