//! Rules about topics: making, describing and deleting them, and the times of their records.

use super::ground::{Ground, Stop, TIME, Verdict, append, ensure, fails, noted, record, same};
use crate::clock::Timestamp;
use crate::log::{
    AppendError, Bounds, Cleanup, LogErrorKind, ReadLimit, RecordTimes, TopicDescription, TopicSettings, Wait,
};
use crate::record::{Append, Record};
use crate::topic::{Offset, TopicPartition};

/// Longer ago than any record of a rule.
const FOREVER_MS: u64 = 1_000 * 365 * 86_400_000;

pub(super) async fn a_topic_is_described_as_it_was_created(ground: Ground<'_>) -> Verdict {
    let cleanups = [
        Cleanup::Keep,
        Cleanup::Expire { after_ms: 86_400_000 },
        Cleanup::Compact { tombstones_ms: 3_600_000 },
    ];
    let mut made = Vec::new();
    for (n, cleanup) in cleanups.into_iter().enumerate() {
        for times in [RecordTimes::Producer, RecordTimes::Log] {
            let settings = TopicSettings { partitions: 1 + n as u32, cleanup, times };
            let description = ground.create(&format!("topic-{n}-{times:?}"), settings).await?;
            same("the settings answered", description.settings, settings)?;
            same("the topic", ground.log.describe(&description.name).await?, Some(description.clone()))?;
            made.push(description);
        }
    }
    let all = ground.log.topics().await?;
    ensure!(all.is_sorted_by(|a, b| a.name < b.name), "topics are not in order of their names");
    for description in &made {
        ensure!(all.contains(description), "{} is not among the topics", description.name);
        let others = made.iter().filter(|other| other.id == description.id).count();
        same("topics with one id", others, 1)?;
    }
    Ok(())
}

pub(super) async fn a_topic_is_created_once(ground: Ground<'_>) -> Verdict {
    let made = ground.create("topic", TopicSettings::kept(2)).await?;
    for partitions in [2, 3] {
        let again = ground.log.create(&made.name, TopicSettings::kept(partitions)).await;
        fails("creating it again", again, LogErrorKind::TopicExists)?;
    }
    same("the topic", ground.log.describe(&made.name).await?, Some(made))?;
    let none = ground.topic_name("none")?;
    fails("no partitions", ground.log.create(&none, TopicSettings::kept(0)).await, LogErrorKind::Invalid)?;
    same("the topic refused", ground.log.describe(&none).await?, None)
}

pub(super) async fn a_topic_is_altered_in_place(ground: Ground<'_>) -> Verdict {
    let made = ground.create("topic", TopicSettings::kept(2)).await?;
    let at = made.name.partition(0);
    let (shards, mut writer) = ground.writer().await?;
    let produced = Timestamp(86_400_000);
    let old = || Append { to: at.clone(), record: Record { timestamp: produced, ..record("v") } };
    let mut transaction = noted(shards.transaction(0, 1, vec![old()]), "kept");
    transaction.positions.set(at.clone(), Offset(1));
    writer.commit(transaction).await?;

    let others = [
        TopicSettings {
            times: RecordTimes::Log,
            ..made.settings.cleanup(Cleanup::Expire { after_ms: FOREVER_MS })
        },
        made.settings.cleanup(Cleanup::Compact { tombstones_ms: 3_600_000 }),
        made.settings,
    ];
    for settings in others {
        let altered = TopicDescription { settings, ..made.clone() };
        same("the topic answered", ground.log.alter(&made.name, settings).await?, altered.clone())?;
        same("the topic", ground.log.describe(&made.name).await?, Some(altered))?;
        let first = ground.records(&at).await?.first().map(|stored| stored.record.timestamp);
        same("the time of the record that was there", first, Some(produced))?;
        ground
            .log
            .append(vec![Append { record: Record { key: Some("k".into()), ..old().record }, ..old() }])
            .await?;
        let last = ground.records(&at).await?.last().map(|stored| stored.record.timestamp == produced);
        let says = settings.times == RecordTimes::Producer;
        same("whether a new record has its producer's time", last, Some(says))?;
    }
    let committed = ground.log.committed(&shards.group.name).await?;
    same("the position in the topic", committed.get(&at), Some(Offset(1)))
}

pub(super) async fn an_alteration_keeps_the_partitions(ground: Ground<'_>) -> Verdict {
    let made = ground.create("topic", TopicSettings::kept(2)).await?;
    for partitions in [0, 1, 3] {
        let altered = ground.log.alter(&made.name, TopicSettings::kept(partitions)).await;
        fails(&format!("altering it to {partitions} partitions"), altered, LogErrorKind::Invalid)?;
    }
    same("the topic", ground.log.describe(&made.name).await?, Some(made))?;
    let none = ground.topic_name("none")?;
    fails(
        "altering no topic",
        ground.log.alter(&none, TopicSettings::kept(1)).await,
        LogErrorKind::UnknownTopic,
    )
}

pub(super) async fn a_deleted_topic_is_gone(ground: Ground<'_>) -> Verdict {
    let shards = ground.shards("input", 1).await?;
    let other = ground.topic("other", 1).await?;
    let mut opened = shards.open(0).await?;
    let mut transaction = noted(shards.transaction(0, 1, vec![append(&other.partition(0), "v")]), "kept");
    transaction.positions.set(other.partition(0), Offset(1));
    opened.writer.commit(transaction).await?;
    ground.log.delete(&other).await?;

    same("the deleted topic", ground.log.describe(&other).await?, None)?;
    let listed = ground.log.topics().await?.iter().any(|topic| topic.name == other);
    ensure!(!listed, "the deleted topic is among the topics");
    unknown(&ground, &other.partition(0)).await?;
    let committed = ground.log.committed(&shards.group.name).await?;
    same("its committed position", committed.get(&other.partition(0)), None)?;
    let head = shards.head(0).await?.ok_or_else(|| Stop::Broken("the head is gone with the topic".into()))?;
    same("its position in the head", head.positions.get(&other.partition(0)), None)?;
    same("the other position", head.positions.get(&shards.input(0)), Some(Offset(1)))?;
    same("the head's note", &head.note[..], &b"kept"[..])
}

pub(super) async fn a_topic_made_again_is_another_topic(ground: Ground<'_>) -> Verdict {
    let first = ground.create("topic", TopicSettings::kept(1)).await?;
    let at = first.name.partition(0);
    ground.append(&at, &["old-1", "old-2"]).await?;
    ground.log.delete(&first.name).await?;
    let second = ground.log.create(&first.name, TopicSettings::kept(2)).await?;
    ensure!(first.id != second.id, "the topic made again has the id of the deleted one");
    same("the topic", ground.log.describe(&first.name).await?, Some(second))?;
    let empty = Bounds { start: Offset::ZERO, end: Offset::ZERO };
    same("the bounds of the new topic", ground.bounds(&at).await?, empty)?;
    same("its first offset", ground.append(&at, &["new"]).await?, vec![Offset::ZERO])?;
    same("its records", ground.values(&at).await?, vec!["new".to_owned()])
}

pub(super) async fn an_unknown_topic_is_named_so(ground: Ground<'_>) -> Verdict {
    let none = ground.topic_name("none")?;
    same("a topic that never was", ground.log.describe(&none).await?, None)?;
    fails("deleting it", ground.log.delete(&none).await, LogErrorKind::UnknownTopic)?;
    unknown(&ground, &none.partition(0)).await?;
    let two = ground.topic("two", 2).await?;
    unknown(&ground, &two.partition(2)).await
}

/// Whether every call about a partition answers that there is none.
async fn unknown(ground: &Ground<'_>, at: &TopicPartition) -> Verdict {
    let kind = LogErrorKind::UnknownTopic;
    for wait in [Wait::No, Wait::UntilMore] {
        fails("reading", ground.log.read(at, Offset::ZERO, ReadLimit::default(), wait).await, kind)?;
    }
    fails("asking for the bounds", ground.log.bounds(at).await, kind)?;
    fails("asking for an offset", ground.log.offset_at(at, TIME).await, kind)?;
    match ground.log.append(vec![append(at, "v")]).await {
        Err(AppendError::NotWritten(error)) => same("appending", error.kind(), kind),
        other => Err(Stop::Broken(format!("appending to {at}, which is not there, answered {other:?}"))),
    }
}

pub(super) async fn an_offset_is_found_by_its_time(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    same("the offset in an empty partition", ground.log.offset_at(&at, TIME).await?, Offset::ZERO)?;
    // Producers' times need not rise.
    let times = [10, 30, 20, 30, 50];
    let made = times.map(|ms| Record { timestamp: TIME.plus_ms(ms), ..record("v") });
    let mut offsets = Vec::new();
    for record in made {
        offsets.extend(ground.log.append(vec![Append { to: at.clone(), record }]).await?);
    }
    let end = ground.end(&at).await?;
    for ms in [0, 10, 11, 20, 30, 31, 50, 51] {
        let found = ground.log.offset_at(&at, TIME.plus_ms(ms)).await?;
        let first = times.iter().position(|time| *time >= ms);
        let expected = first.map_or(end, |index| offsets[index]);
        same(&format!("the first offset at or after +{ms} ms of {times:?}"), found, expected)?;
    }
    Ok(())
}

pub(super) async fn records_carry_the_time_that_the_topic_says(ground: Ground<'_>) -> Verdict {
    let (shards, mut writer) = ground.writer().await?;
    let produced = Timestamp(86_400_000);
    for times in [RecordTimes::Producer, RecordTimes::Log] {
        let settings = TopicSettings { times, ..TopicSettings::kept(1) };
        let at = ground.create(&format!("{times:?}"), settings).await?.name.partition(0);
        let old = || Append { to: at.clone(), record: Record { timestamp: produced, ..record("v") } };
        ground.log.append(vec![old()]).await?;
        writer.commit(shards.transaction(0, 1, vec![old()])).await?;
        for stored in ground.records(&at).await? {
            let kept = stored.record.timestamp == produced;
            let says = times == RecordTimes::Producer;
            ensure!(kept == says, "a topic of {times:?} times has a record of {:?}", stored.record.timestamp);
        }
    }
    Ok(())
}
