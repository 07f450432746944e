//! Connections to a real broker: encrypted, with certificates, with users; and every way in which they fail.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::io::{Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use headwater_kafka::{
    ClientCertificate, KafkaError, KafkaErrorKind, KafkaLog, KafkaSettings, Mechanism, Sasl, Security, Tls,
};
use kafka_broker::{Broker, Certificates, Listener, Setup};

use KafkaErrorKind::{Refused, Settings, Unreachable, Unsupported};

/// More than any of these takes; the settings' patience is five seconds.
const LIMIT: Duration = Duration::from_secs(30);

fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    let listeners = [Listener::Tls, Listener::MutualTls, Listener::SaslPlaintext, Listener::SaslTls];
    let setup = || listeners.into_iter().fold(Setup::default(), Setup::listener).user("alice", "wonder");
    BROKER.get_or_init(|| setup().start().unwrap())
}

fn files() -> &'static Certificates {
    broker().certificates()
}

fn trusting(ca: &Path) -> Option<Tls> {
    Some(Tls { ca: Some(ca.to_owned()), client: None })
}

fn showing(certificate: &Path, key: &Path) -> Option<Tls> {
    let client = ClientCertificate { certificate: certificate.to_owned(), key: key.to_owned() };
    Some(Tls { ca: Some(files().ca.clone()), client: Some(client) })
}

fn alice(mechanism: Mechanism, password: &str) -> Option<Sasl> {
    Some(Sasl { mechanism, user: "alice".into(), password: password.into() })
}

async fn connect(servers: &str, security: Security) -> Result<(), KafkaError> {
    let settings = KafkaSettings { security, ..KafkaSettings::new(servers, "security") };
    tokio::time::timeout(LIMIT, KafkaLog::connect(settings)).await.expect("connecting is bounded").map(drop)
}

#[tokio::test]
async fn whoever_is_asked_for_what_it_has_is_let_in() {
    let own = showing(&files().client_certificate, &files().client_key);
    let cases = [
        (Listener::Plaintext, Security::default()),
        (Listener::Tls, Security { tls: trusting(&files().ca), sasl: None }),
        (Listener::MutualTls, Security { tls: own, sasl: None }),
        (Listener::SaslPlaintext, Security { tls: None, sasl: alice(Mechanism::ScramSha512, "wonder") }),
        (
            Listener::SaslTls,
            Security { tls: trusting(&files().ca), sasl: alice(Mechanism::ScramSha512, "wonder") },
        ),
        (Listener::SaslTls, Security { tls: trusting(&files().ca), sasl: alice(Mechanism::Plain, "wonder") }),
    ];
    for (listener, security) in cases {
        let connected = connect(&broker().bootstrap_of(listener), security.clone()).await;
        assert!(connected.is_ok(), "{listener:?} with {security:?}: {connected:?}");
    }
}

#[tokio::test]
async fn whoever_is_not_is_told_what_happened_where_and_what_to_do() {
    let (ca, stranger) = (&files().ca, &files().stranger_ca);
    let scram = |password: &str| alice(Mechanism::ScramSha512, password);
    let none = Security::default();
    let tls = |ca: &Path| Security { tls: trusting(ca), sasl: None };
    let user = |sasl| Security { tls: trusting(ca), sasl };
    let client = |certificate: &Path, key: &Path| Security { tls: showing(certificate, key), sasl: None };
    let cases = [
        (Listener::Tls, tls(stranger), Refused, "authority that is not trusted; name the file"),
        (Listener::Tls, Security { tls: Some(Tls::default()), sasl: None }, Refused, "by kafka_ca"),
        (Listener::MutualTls, tls(ca), Refused, "wants one and got none; set kafka_certificate"),
        (
            Listener::MutualTls,
            client(&files().stranger_certificate, &files().stranger_key),
            Refused,
            "an authority that the broker trusts",
        ),
        (
            Listener::SaslTls,
            user(scram("wrong")),
            Refused,
            "check kafka_user, the password and kafka_sasl (user alice)",
        ),
        (
            Listener::SaslTls,
            user(alice(Mechanism::Plain, "wrong")),
            Refused,
            "does not accept the user and the password",
        ),
        (Listener::Tls, none.clone(), Refused, "speaks TLS at this address; set kafka_security"),
        (Listener::Plaintext, tls(ca), Refused, "does not speak TLS at this address"),
        (Listener::SaslPlaintext, none.clone(), Refused, "it may ask for TLS or a user"),
        (
            Listener::Plaintext,
            Security { tls: None, sasl: scram("wonder") },
            Refused,
            "asks for no user at this address",
        ),
        (Listener::Tls, tls(&files().client_key), Settings, "no certificates found"),
        (Listener::Tls, tls(Path::new("no-such.pem")), Settings, "cannot be read from no-such.pem"),
        (
            Listener::MutualTls,
            client(&files().client_certificate, &files().stranger_key),
            Settings,
            "keys may not be consistent",
        ),
    ];
    for (listener, security, kind, part) in cases {
        let servers = broker().bootstrap_of(listener);
        let told = told(connect(&servers, security.clone()).await, kind, part);
        assert!(kind == Settings || told.contains(&servers), "`{told}` does not say where");
        assert!(!told.contains("wrong"), "`{told}` shows the password");
    }
}

#[tokio::test]
async fn a_certificate_of_another_host_is_refused() {
    let setup = Setup::default().listener(Listener::Tls).certificate_host("kafka.example");
    let broker = setup.start().unwrap();
    let security = Security { tls: trusting(&broker.certificates().ca), sasl: None };
    let told = told(connect(&broker.bootstrap_of(Listener::Tls), security).await, Refused, "another host");
    for part in ["kafka.example", "127.0.0.1", "use an address that the certificate names"] {
        assert!(told.contains(part), "`{told}` lacks `{part}`");
    }
}

#[tokio::test]
async fn where_no_broker_is_nobody_waits_long() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        (closed.to_string(), "does not run, or not at this address; check the address"),
        ("no-such-host.invalid:9092".to_owned(), "has a name that cannot be looked up"),
        (silent.local_addr().unwrap().to_string(), "does not answer; check the address"),
    ];
    for (servers, part) in cases {
        let told = told(connect(&servers, Security::default()).await, Unreachable, part);
        assert!(told.contains(&servers), "`{told}` does not say where");
    }
}

#[tokio::test]
async fn a_cluster_without_transactions_of_version_2_is_refused() {
    let broker = Setup::default().feature("transaction.version", 1).start().unwrap();
    let connected = connect(&broker.bootstrap(), Security::default()).await;
    told(connected, Unsupported, "upgrade --feature transaction.version=2");
}

/// Answers as Kafka 0.10 does: it knows few requests, those in their first versions, and nothing of features.
fn old_broker() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer_as_old(stream.unwrap(), address.port()));
        }
    });
    address
}

fn answer_as_old(mut stream: std::net::TcpStream, port: u16) -> Option<()> {
    let mut length = [0; 4];
    loop {
        stream.read_exact(&mut length).ok()?;
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request).ok()?;
        // Key and version of the request, and the number that its answer repeats.
        let (what, correlation) = request[..8].split_at(4);
        let answer = [correlation, &old_answer(what, port)?].concat();
        stream.write_all(&(answer.len() as u32).to_be_bytes()).ok()?;
        stream.write_all(&answer).ok()?;
    }
}

/// What it knows to say: which requests it knows (`ApiVersions` in version 0; KIP-35, and KIP-511 for what it answers a
/// later version), and that it is the one broker (`Metadata` in version 1).
fn old_answer(what: &[u8], port: u16) -> Option<Vec<u8>> {
    const REQUESTS: [u8; 22] = [0, 0, 0, 3, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 1, 0, 18, 0, 0, 0, 0];
    match *what {
        [0, 18, 0, 0] => Some([&[0, 0], &REQUESTS[..]].concat()),
        [0, 18, ..] => Some([&[0, 35], &REQUESTS[..]].concat()),
        [0, 3, 0, 1] => {
            let host = [&[0, 9], &b"127.0.0.1"[..]].concat();
            let port = u32::from(port).to_be_bytes();
            let (one_broker, id, no_rack, no_topics) = ([0, 0, 0, 1], [0, 0, 0, 1], [255, 255], [0; 4]);
            Some([&one_broker[..], &id, &host, &port, &no_rack, &id, &no_topics].concat())
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_broker_that_is_too_old_is_told_to_be() {
    let servers = old_broker().to_string();
    let told = told(connect(&servers, Security::default()).await, Unsupported, "Kafka 4.0 or later");
    assert!(told.contains(&servers), "`{told}` does not say where");
}

/// The one line that says why, after a look at its kind and at what it must contain.
#[track_caller]
fn told(connected: Result<(), KafkaError>, kind: KafkaErrorKind, part: &str) -> String {
    let error = connected.expect_err("this connection is to be refused");
    let line = error.to_string();
    assert_eq!(error.kind(), kind, "{line}");
    assert!(line.contains(part) && !line.contains('\n'), "`{line}` lacks `{part}`");
    line
}
