//! Topics on a real Kafka that somebody has changed: a start refuses them with the command that mends it, and it does.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use headwater::config::{Config, KafkaConfig, LogChoice};
use headwater::core::log::{Cleanup, Log, RecordTimes, TopicSettings};
use headwater::core::topic::TopicName;
use headwater::prelude::*;
use headwater_kafka::{KafkaLog, KafkaSettings};
use kafka_broker::{Broker, Cluster, run};
use tempfile::TempDir;

use crate::service::{PATIENCE, Service, order, output_of, program};
use app_testing::patience::within_patience;

const ORDERS: u64 = 20;

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime starts");
    RUNTIME.get_or_init(runtime).block_on(future)
}

/// The program on a cluster whose brokers each keep everything alone.
pub(crate) fn on_kafka(data: &Path, servers: &str) -> Command {
    let mut command = program(data);
    command
        .args(["--log", &format!("kafka://{servers}"), "--kafka-replication", "1"])
        .env("RUST_LOG", "error");
    command
}

/// Where the app has run, by a client that changes its topics.
struct Ground {
    broker: Broker,
    data: TempDir,
    log: Arc<KafkaLog>,
}

fn connect(servers: &str) -> Arc<KafkaLog> {
    let settings = KafkaSettings {
        replication_factor: 1,
        min_in_sync_replicas: 1,
        ..KafkaSettings::new(servers, "somebody")
    };
    block_on(KafkaLog::connect(settings)).expect("the broker runs")
}

fn ground() -> MutexGuard<'static, Ground> {
    static GROUND: OnceLock<Mutex<Ground>> = OnceLock::new();
    let ground = GROUND.get_or_init(|| {
        let (broker, data) =
            (Broker::start().expect("a broker starts"), TempDir::new().expect("a directory"));
        let log = connect(&broker.bootstrap());
        has_run(&mut on_kafka(data.path(), &broker.bootstrap()));
        Mutex::new(Ground { broker, data, log })
    });
    ground.lock().expect("no test before this one failed")
}

/// Runs the app until it has accepted some orders.
fn has_run(command: &mut Command) {
    let mut service = Service::start(command);
    for n in 0..ORDERS {
        within_patience("an order is accepted", || {
            (service.place(&order(&format!("o{n}"), "ada", "kettle")).status == 202).then_some(())
        });
    }
    assert_eq!(service.quantity_once(&["ada".to_owned()], ORDERS), ORDERS);
    service.terminate();
    assert!(service.ended().success());
}

/// What somebody does to a topic.
enum Done {
    Altered(fn(TopicSettings) -> TopicSettings),
    Widened,
    Deleted,
    MadeAgain,
}

impl Ground {
    fn command(&self) -> Command {
        on_kafka(self.data.path(), &self.broker.bootstrap())
    }

    fn meddle(&self, topic: &str, done: &Done) {
        let name = TopicName::new(topic).expect("a name");
        let was = block_on(self.log.describe(&name)).expect("it answers").expect("it is there").settings;
        match done {
            Done::Altered(altered) => {
                drop(block_on(self.log.alter(&name, altered(was))).expect("it is altered"))
            }
            Done::Deleted => block_on(self.log.delete(&name)).expect("it is deleted"),
            Done::MadeAgain => {
                block_on(self.log.delete(&name)).expect("it is deleted");
                block_on(self.log.create(&name, was)).expect("it is made");
            }
            Done::Widened => {
                let wider = (was.partitions + 1).to_string();
                let arguments = [
                    "--bootstrap-server",
                    &self.broker.bootstrap(),
                    "--alter",
                    "--topic",
                    topic,
                    "--partitions",
                    &wider,
                ];
                let tool = self.broker.jars().tool("org.apache.kafka.tools.TopicCommand", &arguments);
                run(tool, PATIENCE).expect("it has one partition more");
            }
        }
    }
}

/// The commands in a refusal, each once.
fn mends(told: &str) -> Vec<String> {
    let mut mends: Vec<_> =
        told.split("run `").skip(1).filter_map(|rest| rest.split('`').next()).map(str::to_owned).collect();
    mends.sort();
    mends.dedup();
    mends
}

/// Runs a command as a shell would that finds the program by its name.
fn execute(line: &str) -> Output {
    let words = line.strip_prefix("ordering ").unwrap_or_else(|| panic!("it is the program's: {line}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordering"));
    command.args(words.split(' ')).env("RUST_LOG", "error").stdin(Stdio::null());
    output_of(&mut command)
}

/// The code with which the plan on the same log ends.
fn plan(mend: &str) -> Option<i32> {
    let (_, flags) = mend.split_once("--log").expect("it names the log");
    execute(&format!("ordering topics plan --log{flags}")).status.code()
}

/// Starts the program, which must refuse with these words and one command; runs the command, and looks so many times in a
/// row whether nothing is left to do.
#[track_caller]
fn refused_and_mended(command: &mut Command, words: &[&str], looks: u32) {
    let output = output_of(command);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{told}");
    for word in words {
        assert!(told.contains(word), "no \"{word}\" in: {told}");
    }
    let mends = mends(&told);
    let [mend] = &mends[..] else { panic!("one command mends it: {told}") };
    assert!([Some(3), Some(4)].contains(&plan(mend)), "{told}");
    let output = execute(mend);
    assert!(output.status.success(), "{mend}: {}", String::from_utf8_lossy(&output.stderr));
    // Each asks some broker, which may hear of what was done a moment after the one that was told.
    within_patience("every broker has heard of it", || {
        (0..looks).all(|_| plan(mend) == Some(0)).then_some(())
    });
}

const MENDED_WITHOUT_LOSS: [(&str, Done, &str); 9] = [
    (
        "ordering.order.events",
        Done::Altered(|was| was.cleanup(Cleanup::Expire { after_ms: 604_800_000 })),
        "has cleanup policy expire after 7 d, but the app needs keep everything",
    ),
    (
        "ordering.order.outcomes",
        Done::Altered(|was| was.cleanup(Cleanup::Expire { after_ms: 3_600_000 })),
        "has retention expire after 1 h, but the app needs expire after 2 d",
    ),
    (
        "ordering.items-by-customer",
        Done::Altered(|was| was.cleanup(Cleanup::Compact { tombstones_ms: 1_000 })),
        "has cleanup policy compact, tombstones after 1 s, but the app needs keep everything",
    ),
    (
        "ordering.order.heads",
        Done::Altered(|was| was.cleanup(Cleanup::Expire { after_ms: 604_800_000 })),
        "has cleanup policy expire after 7 d, but the app needs compact",
    ),
    (
        "ordering.order.commands",
        Done::Altered(|was| TopicSettings { times: RecordTimes::Producer, ..was }),
        "has record times of the producer, but the app needs of the log",
    ),
    ("ordering.spent-by-customer", Done::Widened, "has partitions 13, but the app needs 12"),
    ("ordering.items-by-customer", Done::Deleted, "none: it was deleted"),
    ("ordering.order.snapshots", Done::MadeAgain, "it was deleted and made again"),
    ("ordering.order.heads", Done::Deleted, "none: it was deleted"),
];

#[test]
fn what_somebody_did_to_a_topic_is_refused_with_the_command_that_mends_it() {
    let ground = ground();
    for (topic, done, told) in MENDED_WITHOUT_LOSS {
        ground.meddle(topic, &done);
        refused_and_mended(&mut ground.command(), &[&format!("topic \"{topic}\""), told], 1);
    }
    // Every order is there once, also in the views that were made again.
    has_run(&mut ground.command());

    ground.meddle("ordering.order.events", &Done::MadeAgain);
    let told = ["it was deleted and made again", "its aggregates begin anew", "put it back from a copy"];
    refused_and_mended(&mut ground.command(), &told, 1);
    let service = Service::start(&mut ground.command());
    within_patience("it is ready", || (service.get("/readyz").status == 200).then_some(()));
    assert_eq!(service.get("/orders/o0").status, 404, "the loss was accepted");
    assert_eq!(
        service.place(&order("o0", "grace", "kettle")).status,
        202,
        "and is told alike by what is left"
    );
    assert_eq!(service.quantity_once(&["grace".to_owned()], 1), 1);
}

#[test]
fn another_program_of_the_same_name_is_refused_with_both_definitions_shown() {
    let ground = ground();
    let mut app = App::new("ordering");
    let _ = app.view(app.stream::<String, u64>("numbers").group_by_key().count(Store::named("items")));
    let data = TempDir::new().expect("a directory");
    let config = Config {
        data: data.path().to_owned(),
        log: LogChoice::Kafka(ground.broker.bootstrap()),
        kafka: KafkaConfig { replication: 1, ..KafkaConfig::default() },
        ..Config::default()
    };
    let error = block_on(async {
        let headwater = Headwater::open(&config).await.expect("it opens");
        headwater.start(app).await.err().expect("it is refused").to_string()
    });
    let both =
        ["\"items\"", "\"source\":\"ordering.items-by-customer\"", "\"source\":\"numbers\"", ".version(n)"];
    for part in both {
        assert!(error.contains(part), "no {part} in: {error}");
    }
    let numbers = TopicName::new("numbers").expect("a name");
    assert_eq!(block_on(ground.log.describe(&numbers)).expect("it answers"), None, "nothing was made");
    let service = Service::start(&mut ground.command());
    within_patience("the first one goes on", || (service.get("/readyz").status == 200).then_some(()));
}

#[test]
fn too_few_replicas_are_refused_with_the_command_that_makes_more() {
    let cluster = Cluster::start(2).expect("two brokers start");
    let data = TempDir::new().expect("a directory");
    has_run(&mut on_kafka(data.path(), &cluster.bootstrap()));
    let doubled = || {
        let mut command = program(data.path());
        command.args(["--log", &format!("kafka://{}", cluster.bootstrap()), "--kafka-replication", "2"]);
        command.env("RUST_LOG", "error");
        command
    };
    let told = [
        "topic \"ordering.order.events\" (events of aggregate order) has replication factor 1, but the app needs 2",
        "set kafka_replication = 1 (HEADWATER_KAFKA_REPLICATION=1) if one copy is meant; or run",
        "(and so have \"ordering.order.commands\", ",
        ", \"ordering.order.heads\"",
        "has min.insync.replicas 1, but the app needs 2",
        "--kafka-replication 2",
    ];
    refused_and_mended(&mut doubled(), &told, 8);
    has_run(&mut doubled());
    let few = execute(&format!(
        "ordering topics apply --log kafka://{} --kafka-replication 3",
        cluster.bootstrap()
    ));
    let told = String::from_utf8_lossy(&few.stderr);
    assert!(!few.status.success() && told.contains("too few brokers"), "{told}");
}
