//! What other tests rely on: a broker serves when it has started, keeps its data and ports, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use kafka_broker::{Broker, Cluster, Listener, Result, Setup, run, run_with_input, version};

const LIMIT: Duration = Duration::from_secs(120);

fn shared() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| Broker::start().unwrap())
}

fn tool(broker: &Broker, class: &str, args: &[&str]) -> Result<String> {
    run(broker.jars().tool(class, args), LIMIT)
}

fn create_topic(broker: &Broker, bootstrap: &str, topic: &str) {
    let class = "org.apache.kafka.tools.TopicCommand";
    tool(broker, class, &["--bootstrap-server", bootstrap, "--create", "--topic", topic]).unwrap();
}

fn produce(broker: &Broker, topic: &str, lines: &str) {
    let args = ["--bootstrap-server", &broker.bootstrap(), "--topic", topic];
    let producer = broker.jars().tool("org.apache.kafka.tools.ConsoleProducer", &args);
    run_with_input(producer, lines, LIMIT).unwrap();
}

fn consume(broker: &Broker, bootstrap: &str, topic: &str, records: usize) -> Vec<String> {
    let records = records.to_string();
    let args =
        ["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning", "--max-messages", &records];
    let text = tool(broker, "org.apache.kafka.tools.consumer.ConsoleConsumer", &args).unwrap();
    text.lines().map(String::from).collect()
}

#[test]
fn kafkas_own_tools_write_and_read() {
    let broker = shared();
    create_topic(broker, &broker.bootstrap(), "tools");
    produce(broker, "tools", "one\ntwo\n");
    assert_eq!(consume(broker, &broker.bootstrap(), "tools", 2), ["one", "two"]);
}

#[test]
fn a_java_source_runs_on_the_jars() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Version.java");
    let source = "class Version { public static void main(String[] args) {
        System.out.print(org.apache.kafka.common.utils.AppInfoParser.getVersion() + args[0]); } }";
    std::fs::write(&file, source).unwrap();
    let printed = run(shared().jars().source(&file, &["!"]), LIMIT).unwrap();
    assert_eq!(printed, format!("{}!", version()));
}

#[test]
fn java_sources_are_compiled_together_and_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let (main, other) = (folder.path().join("Main.java"), folder.path().join("Other.java"));
    std::fs::write(&main, "class Main { public static void main(String[] args) { Other.say(); } }").unwrap();
    for said in ["one", "two"] {
        std::fs::write(
            &other,
            format!("class Other {{ static void say() {{ System.out.print(\"{said}\"); }} }}"),
        )
        .unwrap();
        let jars = shared().jars().compiled(&[main.clone(), other.clone()]).unwrap();
        assert_eq!(run(jars.tool("Main", &[]), LIMIT).unwrap(), said);
    }
    std::fs::write(&other, "class Other {}").unwrap();
    let error = shared().jars().compiled(&[main, other]).unwrap_err().to_string();
    assert!(error.contains("say"), "{error}");
}

#[test]
fn a_killed_broker_comes_back_with_its_data_and_a_wiped_one_without() {
    let broker = Broker::start().unwrap();
    let bootstrap = broker.bootstrap();
    create_topic(&broker, &bootstrap, "kept");
    produce(&broker, "kept", "acknowledged\n");
    broker.restart().unwrap();
    assert_eq!(consume(&broker, &bootstrap, "kept", 1), ["acknowledged"]);
    broker.stop().unwrap();
    assert_eq!(broker.pid(), None);
    broker.wipe().unwrap();
    broker.restart().unwrap();
    create_topic(&broker, &bootstrap, "kept");
}

#[test]
fn a_folder_that_is_kept_holds_one_cluster_for_good() {
    let place = tempfile::tempdir().unwrap();
    let setup = || Setup::default().folder(place.path().join("kept"));
    let first = setup().start_cluster(1).unwrap();
    let id = first[0].cluster_id().to_owned();
    create_topic(&first[0], &first.bootstrap(), "kept");
    produce(&first[0], "kept", "acknowledged\n");
    first.check().unwrap();
    first[0].kill().unwrap();
    assert!(first.check().unwrap_err().to_string().contains("broker 1 has ended"));
    drop(first);

    let second = setup().start().unwrap();
    assert_eq!(second.cluster_id(), id);
    assert_eq!(consume(&second, &second.bootstrap(), "kept", 1), ["acknowledged"]);
    drop(second);
    let refused = setup().start_cluster(3).map(drop).unwrap_err().to_string();
    assert!(refused.contains("holds a cluster of 1; start 1"), "{refused}");
}

#[test]
fn a_cluster_serves_with_one_of_three_gone() {
    let cluster = Cluster::start(3).unwrap();
    let created = run(
        cluster[0].jars().tool(
            "org.apache.kafka.tools.TopicCommand",
            &[
                "--bootstrap-server",
                &cluster.bootstrap(),
                "--create",
                "--topic",
                "copies",
                "--replication-factor",
                "3",
            ],
        ),
        LIMIT,
    );
    created.unwrap();
    produce(&cluster[1], "copies", "safe\n");
    cluster[1].wipe().unwrap();
    assert_eq!(consume(&cluster[0], &cluster.bootstrap(), "copies", 1), ["safe"]);
    cluster[1].restart().unwrap();
    assert_eq!(consume(&cluster[1], &cluster[1].bootstrap(), "copies", 1), ["safe"]);
}

#[test]
fn every_listener_lets_in_whom_it_should() {
    let listeners = [Listener::Tls, Listener::MutualTls, Listener::SaslPlaintext, Listener::SaslTls];
    let setup = listeners.into_iter().fold(Setup::default(), Setup::listener).user("alice", "wonder");
    let broker = setup.start().unwrap();
    let certificates = broker.certificates();
    let ca = format!("ssl.truststore.type=PEM\nssl.truststore.location={}\n", certificates.ca.display());
    let key = broker.folder().join("client-store.pem");
    let store = [&certificates.client_key, &certificates.client_certificate]
        .map(|file| std::fs::read_to_string(file).unwrap())
        .concat();
    std::fs::write(&key, store).unwrap();
    let own = format!("ssl.keystore.type=PEM\nssl.keystore.location={}\n", key.display());
    let sasl = |mechanism: &str, module: &str, password: &str| {
        let module = format!("org.apache.kafka.common.security.{module}LoginModule");
        format!(
            "sasl.mechanism={mechanism}\nsasl.jaas.config={module} required username=\"alice\" password=\"{password}\";\n"
        )
    };
    let scram = |password: &str| sasl("SCRAM-SHA-512", "scram.Scram", password);
    let cases = [
        (Listener::Tls, format!("security.protocol=SSL\n{ca}"), true),
        (Listener::MutualTls, format!("security.protocol=SSL\n{ca}{own}"), true),
        (Listener::MutualTls, format!("security.protocol=SSL\n{ca}"), false),
        (Listener::SaslPlaintext, format!("security.protocol=SASL_PLAINTEXT\n{}", scram("wonder")), true),
        (Listener::SaslTls, format!("security.protocol=SASL_SSL\n{ca}{}", scram("wonder")), true),
        (
            Listener::SaslTls,
            format!("security.protocol=SASL_SSL\n{ca}{}", sasl("PLAIN", "plain.Plain", "wonder")),
            true,
        ),
        (Listener::SaslTls, format!("security.protocol=SASL_SSL\n{ca}{}", scram("wrong")), false),
    ];
    for (listener, properties, welcome) in cases {
        let file = broker.folder().join("client.properties");
        std::fs::write(&file, &properties).unwrap();
        let args = [
            "--bootstrap-server",
            &broker.bootstrap_of(listener),
            "--command-config",
            file.to_str().unwrap(),
            "--list",
        ];
        let listed = tool(&broker, "org.apache.kafka.tools.TopicCommand", &args);
        assert_eq!(listed.is_ok(), welcome, "{listener:?} with {properties}: {listed:?}");
    }
}

#[test]
fn an_impossible_setup_is_refused_with_the_brokers_words() {
    let error =
        Setup::default().property("log.segment.bytes", "many").start().map(drop).unwrap_err().to_string();
    assert!(error.contains("log.segment.bytes"), "{error}");
}

/// The parent is this very program, told by a variable to start a broker, print its pid and wait.
#[test]
fn a_broker_dies_with_its_parent() {
    const CHILD: &str = "KAFKA_BROKER_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let broker = Broker::start().unwrap();
        println!("broker={}", broker.pid().unwrap());
        std::thread::sleep(LIMIT);
        return;
    }
    let own = std::env::current_exe().unwrap();
    let mut parent = Command::new(own)
        .args(["--exact", "a_broker_dies_with_its_parent", "--nocapture"])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(parent.stdout.take().unwrap());
    let pid = std::io::BufRead::lines(output)
        .find_map(|line| line.unwrap().split_once("broker=").map(|(_, pid)| pid.to_string()))
        .expect("the parent prints its broker's pid");
    parent.kill().unwrap();
    parent.wait().unwrap();
    let gone = || !std::path::Path::new("/proc").join(&pid).exists();
    let ended = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        gone()
    });
    assert!(ended, "process {pid} outlived its parent");
}
