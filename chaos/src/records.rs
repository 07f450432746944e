//! The raw topics, as Kafka's own Java consumer reads them, and the raw batches of the broker's log files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kafka_broker::{Broker, Jars, run};

/// Longest that a dump may take on a busy machine.
const DUMP_TIME_MAX: Duration = Duration::from_secs(180);

/// A record as a read-committed reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its key's bytes.
    pub key: Option<Vec<u8>>,
    /// Its value's bytes.
    pub value: Option<Vec<u8>>,
    /// Its headers; of those with one name the last.
    pub headers: BTreeMap<String, String>,
}

impl Record {
    /// Where it is, in words.
    pub fn place(&self) -> String {
        format!("{}-{} at offset {}", self.topic, self.partition, self.offset)
    }

    /// The key's text.
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Reads topics from their beginning to their end, committed records alone.
///
/// The text as the program printed it stays in `keep`, for whoever has to understand a failed run.
///
/// # Errors
/// When the program fails, or prints something else.
pub fn committed(jars: &Jars, bootstrap: &str, topics: &[&str], keep: &Path) -> Result<Vec<Record>, String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/Dump.java");
    let args: Vec<&str> = [bootstrap, "read_committed"].iter().chain(topics).copied().collect();
    let text = run(jars.source(&program, &args), DUMP_TIME_MAX).map_err(|error| error.to_string())?;
    fs::write(keep, &text).map_err(|error| format!("{}: {error}", keep.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Record>, String> {
    let body = text.trim_end().strip_suffix("end").ok_or("the dump was cut short")?;
    let lines = body.lines().filter(|line| !line.is_empty());
    lines.map(|line| record(line).ok_or_else(|| format!("no record: {line:?}"))).collect()
}

fn record(line: &str) -> Option<Record> {
    let [topic, partition, offset, _time, key, value, headers] =
        line.split('\t').collect::<Vec<_>>().try_into().ok()?;
    let headers = headers.split(',').filter(|header| !header.is_empty()).map(|header| {
        let (name, value) = header.split_once('=')?;
        let value = if value == "-" { Vec::new() } else { base64(value)? };
        Some((name.to_owned(), String::from_utf8_lossy(&value).into_owned()))
    });
    Some(Record {
        topic: topic.to_owned(),
        partition: partition.parse().ok()?,
        offset: offset.parse().ok()?,
        key: nullable(key)?,
        value: nullable(value)?,
        headers: headers.collect::<Option<_>>()?,
    })
}

fn nullable(text: &str) -> Option<Option<Vec<u8>>> {
    if text == "-" { Some(None) } else { base64(text).map(Some) }
}

/// The bytes of a text in base64 (RFC 4648, section 4).
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().try_fold(0u32, |bits, c| Some(bits << 6 | u32::from(digit(*c)?)))?;
        let aligned = (bits << (6 * (4 - group.len()))).to_be_bytes();
        bytes.extend(&aligned[1..group.len()]);
    }
    Some(bytes)
}

/// Bytes as a text in base64 (RFC 4648, section 4).
pub fn to_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * index)) as usize & 63];
            text.push(if index <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// A batch of a partition's log file: who appended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// `topic-partition`.
    pub place: String,
    /// The offset of its first record.
    pub offset: u64,
    /// The producer's id; -1 for one that is not idempotent.
    pub producer: i64,
    /// The producer's epoch.
    pub epoch: i64,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
    /// Whether it is the marker that ends a transaction.
    pub control: bool,
}

/// Reads the batches of some topics from the broker's own files, by Kafka's own tool.
///
/// # Errors
/// When the files cannot be read, or the tool fails.
pub fn batches(broker: &Broker, topics: &[&str], keep: &Path) -> Result<Vec<Batch>, String> {
    let files: Vec<String> = segments(&broker.folder().join("data"), topics)
        .map_err(|error| format!("the broker's files: {error}"))?
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let tool = broker.jars().tool("org.apache.kafka.tools.DumpLogSegments", &["--files", &files.join(",")]);
    let text = run(tool, DUMP_TIME_MAX).map_err(|error| error.to_string())?;
    fs::write(keep, &text).map_err(|error| format!("{}: {error}", keep.display()))?;
    Ok(parse_batches(&text))
}

/// The log files of the topics' partitions, in order of their offsets.
fn segments(data: &Path, topics: &[&str]) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in fs::read_dir(data)? {
        let folder = folder?.path();
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.rsplit_once('-').is_some_and(|(topic, _)| topics.contains(&topic)) {
            for file in fs::read_dir(&folder)? {
                files.push(file?.path());
            }
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    Ok(files)
}

fn parse_batches(text: &str) -> Vec<Batch> {
    let mut place = String::new();
    let mut batches = Vec::new();
    for line in text.lines() {
        if let Some(file) = line.strip_prefix("Dumping ") {
            place = Path::new(file)
                .parent()
                .and_then(Path::file_name)
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
        }
        batches.extend(batch(&place, line));
    }
    batches
}

fn batch(place: &str, line: &str) -> Option<Batch> {
    let words: Vec<&str> = line.split(' ').collect();
    let value = |name: &str| words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
    Some(Batch {
        place: place.to_owned(),
        offset: value("baseOffset:")?.parse().ok()?,
        producer: value("producerId:")?.parse().ok()?,
        epoch: value("producerEpoch:")?.parse().ok()?,
        transactional: value("isTransactional:")? == "true",
        control: value("isControl:")? == "true",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_read_whole_or_refused() {
        let line = "t\t3\t17\t5\ta2V5\t-\tname=dg==,none=-\n";
        let records = parse(&format!("{line}end\n")).unwrap();
        let headers =
            BTreeMap::from([("name".to_owned(), "v".to_owned()), ("none".to_owned(), String::new())]);
        let expected = Record {
            topic: "t".into(),
            partition: 3,
            offset: 17,
            key: Some(b"key".to_vec()),
            value: None,
            headers,
        };
        assert_eq!(records, [expected]);
        assert_eq!(parse("end\n").unwrap(), []);
        assert!(parse(line).is_err(), "it was cut short");
        assert!(parse("t\t3\tend\n").is_err());
    }

    #[test]
    fn base64_is_read_and_written() {
        let cases = [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmE=", "fooba")];
        for (text, bytes) in cases {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
            assert_eq!(to_base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64("Z*=="), None);
    }

    #[test]
    fn batches_are_read_from_what_the_tool_prints() {
        let text = "Dumping /d/ordering.order.events-4/00000000000000000000.log\nLog starting offset: 0\n\
            baseOffset: 7 lastOffset: 8 count: 2 baseSequence: 0 lastSequence: 1 producerId: 12 producerEpoch: 3 \
            partitionLeaderEpoch: 0 isTransactional: true isControl: false deleteHorizonMs: OptionalLong.empty \
            position: 0 CreateTime: 1 size: 9 magic: 2 compresscodec: none crc: 1 isvalid: true\n";
        let expected = Batch {
            place: "ordering.order.events-4".into(),
            offset: 7,
            producer: 12,
            epoch: 3,
            transactional: true,
            control: false,
        };
        assert_eq!(parse_batches(text), [expected]);
    }
}
