//! On a real Kafka: what keeps the program from starting is told in one line, and what it acknowledged stays.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kafka_broker::{Broker, Listener, Setup, run};
use tempfile::TempDir;

use crate::service::{Service, order, output_of, program};
use app_testing::patience::within_patience;

/// The longest that a refusal may take: ten seconds, and what a busy machine adds.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(25);

/// Longest that one of Kafka's own tools may take.
const TOOL_TIME_MAX: Duration = Duration::from_secs(60);

/// Knows Alice, and grants her nothing; whoever comes without a user may do everything.
fn guarded() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    let setup = || Setup::default().listener(Listener::SaslTls).user("alice", "wonder").authorizer();
    BROKER.get_or_init(|| setup().start().expect("a broker starts"))
}

/// As old as it can be made, with a certificate for another host.
fn strange() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    let setup = || Setup::default().listener(Listener::Tls).certificate_host("kafka.example");
    BROKER.get_or_init(|| setup().feature("transaction.version", 1).start().expect("a broker starts"))
}

fn on_kafka(data: &Path, servers: &str) -> Command {
    let mut command = program(data);
    command.env("HEADWATER_LOG", format!("kafka://{servers}")).env("HEADWATER_KAFKA_REPLICATION", "1");
    command.env("RUST_LOG", "error");
    command
}

fn tool(broker: &Broker, class: &str, args: &[&str]) -> String {
    let bootstrap = broker.bootstrap();
    let args: Vec<&str> = ["--bootstrap-server", &bootstrap].iter().chain(args).copied().collect();
    let class = format!("org.apache.kafka.tools.{class}");
    run(broker.jars().tool(&class, &args), TOOL_TIME_MAX).expect("the tool does its work")
}

/// Adds or removes an access control list, on resources whose name begins as given.
fn change_rights(broker: &Broker, change: [&str; 2], resource: [&str; 2], operations: &[&str]) {
    let mut args = vec![change[0], change[1], "User:alice", "--resource-pattern-type", "prefixed"];
    args.extend(resource);
    operations.iter().for_each(|operation| args.extend(["--operation", operation]));
    if change[0] == "--remove" {
        args.push("--force");
    }
    tool(broker, "AclCommand", &args);
}

/// Demands one line that says what, where and what to do, in bounded time.
#[track_caller]
fn assert_refused(command: &mut Command, parts: &[&str]) {
    let start = Instant::now();
    let output = output_of(command);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(start.elapsed() < REFUSAL_TIME_MAX, "it took {:?}: {told}", start.elapsed());
    assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{told}");
    for part in ["ordering: "].iter().chain(parts) {
        assert!(told.contains(part), "no \"{part}\" in: {told}");
    }
}

#[test]
fn a_cluster_that_cannot_be_used_is_told_in_one_line() {
    let data = TempDir::new().expect("a directory");
    let secure = guarded().bootstrap_of(Listener::SaslTls);
    let ca = |broker: &Broker| broker.certificates().ca.display().to_string();
    let user = |password| {
        [
            ("HEADWATER_KAFKA_SECURITY", "sasl_tls".to_owned()),
            ("HEADWATER_KAFKA_CA", ca(guarded())),
            ("HEADWATER_KAFKA_USER", "alice".to_owned()),
            ("HEADWATER_KAFKA_PASSWORD", password),
        ]
    };
    let encrypted = [("HEADWATER_KAFKA_SECURITY", "tls".to_owned()), ("HEADWATER_KAFKA_CA", ca(strange()))];
    let other_host = strange().bootstrap_of(Listener::Tls);
    let (plain, old) = (guarded().bootstrap(), strange().bootstrap());
    let three = [("HEADWATER_KAFKA_REPLICATION", "3".to_owned())];
    let (wrong, right) = (user("wrong".to_owned()), user("wonder".to_owned()));
    let cases: [(&str, &[(&str, String)], &[&str]); 7] = [
        ("127.0.0.1:1", &[], &["127.0.0.1:1", "does not run", "check the address"]),
        ("no-such-host.invalid:9092", &[], &["no-such-host.invalid", "cannot be looked up"]),
        (&secure, &wrong, &[&secure, "does not accept the user and the password", "alice"]),
        (&secure, &right, &["denies it to this process's user", "grant it", "ordering."]),
        (&other_host, &encrypted, &[&other_host, "kafka.example", "certificate of another host"]),
        (&old, &[], &[&old, "transaction.version 1", "kafka-features.sh"]),
        (&plain, &three, &["ordering.", "too few brokers", "HEADWATER_KAFKA_REPLICATION"]),
    ];
    for (servers, settings, parts) in cases {
        let settings = settings.iter().map(|(name, value)| (*name, value));
        assert_refused(on_kafka(data.path(), servers).envs(settings), parts);
    }
}

#[test]
fn what_was_acknowledged_outlives_a_kill_and_stays_with_its_cluster() {
    let data = TempDir::new().expect("a directory");
    let broker = Broker::start().expect("a broker starts");
    let instance = || std::fs::read_to_string(data.path().join("kafka/instance")).expect("it has a name");

    let first = Service::start(&mut on_kafka(data.path(), &broker.bootstrap()));
    let placed = within_patience("an order is accepted", || {
        let answer = first.place(&order("o1", "ada", "kettle"));
        (answer.status == 202).then_some(answer)
    });
    let name = instance();
    first.kill();
    assert_eq!(
        shown_by_kafka(&broker),
        [
            "ce_type:order.Placed ce_source:/ordering/order ce_subject:o1 ce_sequence:1 content-type:application/json",
            "o1",
            "\"kettle\"",
        ]
    );

    let second = Service::start(&mut on_kafka(data.path(), &broker.bootstrap()));
    assert_eq!(second.quantity_once(&["ada".to_owned()], 1), 1);
    let again = within_patience("the same order is answered", || {
        let answer = second.place(&order("o1", "ada", "kettle"));
        (answer.status == 202).then_some(answer)
    });
    assert_eq!(again.json()["orderId"], placed.json()["orderId"]);
    assert_eq!(instance(), name, "the name is made once");
    second.kill();

    let other = guarded().bootstrap();
    let path = data.path().join("kafka").display().to_string();
    let parts = [&path, "has state of the Kafka cluster", &other, "another data directory"];
    assert_refused(&mut on_kafka(data.path(), &other), &parts);
    let unreadable = data.path().join("no-such-password");
    let mut command = on_kafka(data.path(), &other);
    command.env("HEADWATER_KAFKA_SECURITY", "sasl_tls").env("HEADWATER_KAFKA_USER", "alice");
    let parts = ["no-such-password", "No such file"];
    assert_refused(command.env("HEADWATER_KAFKA_PASSWORD_FILE", &unreadable), &parts);
}

/// The one event, as `docs/topics.md` has it: some of its headers, its key, and its label.
fn shown_by_kafka(broker: &Broker) -> [String; 3] {
    let mut args = vec!["--topic", "ordering.order.events", "--from-beginning", "--max-messages", "1"];
    args.extend(["--isolation-level", "read_committed"]);
    args.extend(["--formatter-property", "print.headers=true", "--formatter-property", "print.key=true"]);
    let shown = tool(broker, "consumer.ConsoleConsumer", &args);
    let [headers, key, value] = shown.trim().split('\t').collect::<Vec<_>>()[..] else {
        panic!("not headers, key and value: {shown}");
    };
    let names = ["ce_type:", "ce_source:", "ce_subject:", "ce_sequence:", "content-type:"];
    let header = |name: &&str| headers.split(',').find(|header| header.starts_with(*name));
    let headers: Vec<&str> = names.iter().filter_map(header).collect();
    let value: serde_json::Value = serde_json::from_str(value).expect("a value is JSON");
    let label = value.pointer("/order/label").unwrap_or(&value).to_string();
    [headers.join(" "), key.to_owned(), label]
}

/// The rights are those of `docs/kafka.md`, less the two that `topics apply` needs.
#[test]
fn the_documented_rights_are_enough_and_one_that_is_taken_away_is_named() {
    let data = TempDir::new().expect("a directory");
    let setup = Setup::default().listener(Listener::SaslPlaintext).user("alice", "wonder").authorizer();
    let broker = setup.start().expect("a broker starts");
    let allow = |resource, operations: &[&str]| {
        change_rights(&broker, ["--add", "--allow-principal"], resource, operations);
    };
    allow(["--topic", "ordering."], &["Read", "Write", "Describe", "DescribeConfigs", "Create"]);
    allow(["--group", "ordering."], &["Read", "Describe"]);
    allow(["--transactional-id", "ordering."], &["Write", "Describe"]);
    allow(["--transactional-id", "headwater-append."], &["Write", "Describe"]);

    let mut command = on_kafka(data.path(), &broker.bootstrap_of(Listener::SaslPlaintext));
    command.env("HEADWATER_KAFKA_SECURITY", "sasl_plaintext");
    command.env("HEADWATER_KAFKA_USER", "alice").env("HEADWATER_KAFKA_PASSWORD", "wonder");
    let service = Service::start(&mut command);
    let accepted = |id: &str| {
        within_patience("an order is accepted", || {
            (service.place(&order(id, "ada", "kettle")).status == 202).then_some(())
        });
    };
    accepted("o1");
    assert_eq!(service.quantity_once(&["ada".to_owned()], 1), 1);

    change_rights(&broker, ["--add", "--deny-principal"], ["--topic", "ordering."], &["Write"]);
    within_patience("an order is refused for the right that is missing", || {
        let answer = service.place(&order("o2", "ada", "kettle"));
        (answer.status == 503 && answer.json()["detail"].to_string().contains("grant it Write")).then_some(())
    });
    assert_eq!(service.get("/livez").status, 200);

    change_rights(&broker, ["--remove", "--deny-principal"], ["--topic", "ordering."], &["Write"]);
    accepted("o2");
    assert_eq!(service.quantity_once(&["ada".to_owned()], 2), 2);
    service.kill();
}

#[test]
fn the_older_of_two_processes_with_copies_of_one_directory_ends_and_names_the_cause() {
    let place = TempDir::new().expect("a directory");
    let [data, copy] = ["data", "copy"].map(|name| place.path().join(name));
    let broker = Broker::start().expect("a broker starts");
    let mut older = Service::start(&mut on_kafka(&data, &broker.bootstrap()));
    older.ready();
    std::fs::create_dir_all(copy.join("kafka")).expect("it can be made");
    for file in ["format", "kafka/instance", "kafka/cluster"] {
        std::fs::copy(data.join(file), copy.join(file)).expect("it can be copied");
    }

    let younger = Service::start(&mut on_kafka(&copy, &broker.bootstrap()));
    assert_eq!(older.ended().code(), Some(1));
    let told = older.told();
    let parts =
        ["ordering: another process joined the group ordering.", "is a copy of this one's", "of its own"];
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    within_patience("the younger serves", || {
        (younger.place(&order("o1", "ada", "kettle")).status == 202).then_some(())
    });
}
