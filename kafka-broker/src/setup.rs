//! What a broker or a cluster is like: listeners, users, properties; and the properties file that says so to Kafka.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::certificates::Certificates;
use crate::error::{Error, Result};
use crate::{Broker, Cluster};

/// A listener's security. Every broker has `Plaintext`; the others are opened when asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// No encryption, no credentials. With [`Setup::authorizer`] its users may do everything.
    Plaintext,
    /// TLS; who connects is not asked for a certificate.
    Tls,
    /// TLS that asks for a certificate of [`Certificates::ca`](crate::Certificates::ca).
    MutualTls,
    /// Users and passwords over an open connection.
    SaslPlaintext,
    /// Users and passwords over TLS.
    SaslTls,
    /// As `Plaintext`, and advertised at this port of loopback: that of a proxy, which its clients never leave.
    Proxied(u16),
}

/// The listener that controllers use among themselves.
const CONTROLLER: &str = "CONTROLLER";

impl Listener {
    /// Its name in Kafka's properties.
    fn name(self) -> Cow<'static, str> {
        match self {
            Listener::Plaintext => "PLAIN".into(),
            Listener::Tls => "TLS".into(),
            Listener::MutualTls => "MUTUAL".into(),
            Listener::SaslPlaintext => "SASL".into(),
            Listener::SaslTls => "SASLTLS".into(),
            Listener::Proxied(port) => format!("PROXIED{port}").into(),
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Listener::Plaintext | Listener::Proxied(_) => "PLAINTEXT",
            Listener::Tls | Listener::MutualTls => "SSL",
            Listener::SaslPlaintext => "SASL_PLAINTEXT",
            Listener::SaslTls => "SASL_SSL",
        }
    }

    /// The port that clients are told, of the one that it has.
    fn advertised(self, port: u16) -> u16 {
        if let Listener::Proxied(proxy) = self { proxy } else { port }
    }

    fn is_tls(self) -> bool {
        matches!(self, Listener::Tls | Listener::MutualTls | Listener::SaslTls)
    }

    fn is_sasl(self) -> bool {
        matches!(self, Listener::SaslPlaintext | Listener::SaslTls)
    }
}

/// What to start: one value with defaults, changed where needed.
///
/// ```no_run
/// use kafka_broker::{Listener, Setup};
///
/// let broker = Setup::default()
///     .listener(Listener::SaslTls)
///     .user("alice", "wonder")
///     .property("log.segment.bytes", 1_048_576)
///     .start()?;
/// # Ok::<(), kafka_broker::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) users: Vec<(String, String)>,
    pub(crate) features: Vec<(String, u16)>,
    pub(crate) heap_mib: u32,
    pub(crate) certificate_host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) folder: Option<PathBuf>,
    authorizer: bool,
    properties: Vec<(String, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            listeners: vec![Listener::Plaintext],
            users: vec![],
            features: vec![],
            heap_mib: 512,
            certificate_host: None,
            port: None,
            folder: None,
            authorizer: false,
            properties: vec![],
        }
    }
}

impl Setup {
    /// Opens another listener on a port of its own.
    pub fn listener(mut self, listener: Listener) -> Self {
        if !self.listeners.contains(&listener) {
            self.listeners.push(listener);
        }
        self
    }

    /// Adds a user that the SASL listeners know, by SCRAM-SHA-512 and by PLAIN.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.into(), password.into()));
        self
    }

    /// Grants nothing to anybody without an ACL, except to whoever comes over [`Listener::Plaintext`].
    pub fn authorizer(mut self) -> Self {
        self.authorizer = true;
        self
    }

    /// Makes the broker's certificate for this host instead of the loopback address.
    pub fn certificate_host(mut self, host: &str) -> Self {
        self.certificate_host = Some(host.into());
        self
    }

    /// Starts with another level of a feature, as an older cluster has it: `("transaction.version", 0)`.
    pub fn feature(mut self, name: &str, level: u16) -> Self {
        self.features.push((name.into(), level));
        self
    }

    /// Sets a property of the broker; the last one set for a name holds.
    pub fn property(mut self, name: &str, value: impl ToString) -> Self {
        self.properties.push((name.into(), value.to_string()));
        self
    }

    /// Serves [`Listener::Plaintext`] on this port instead of a free one; further brokers on the ports after it.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Keeps data and logs in this folder instead of a temporary one; a later start goes on with what is there.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sets each broker's heap.
    pub fn heap_mib(mut self, heap_mib: u32) -> Self {
        self.heap_mib = heap_mib;
        self
    }

    /// Starts one broker, and waits until it serves.
    ///
    /// # Errors
    /// Says why there is none, with the end of its log.
    pub fn start(self) -> Result<Broker> {
        Broker::with(self)
    }

    /// Starts so many brokers as one cluster, and waits until all serve.
    ///
    /// # Errors
    /// Says why there is none, with the end of the log of the broker that failed.
    pub fn start_cluster(self, brokers: usize) -> Result<Cluster> {
        Cluster::with(self, brokers)
    }

    /// Writes broker `node`'s properties file; `ports` are those of all brokers.
    pub(crate) fn write(
        &self,
        file: &Path,
        node: usize,
        ports: &[Ports],
        certificates: Option<&Certificates>,
    ) -> Result<()> {
        let data = file.with_file_name("data");
        let mut text = basics(node, &data, ports, &self.listeners);
        for listener in &self.listeners {
            self.secure(&mut text, *listener, certificates);
        }
        if self.authorizer {
            text += "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                     super.users=User:ANONYMOUS\n";
        }
        for (name, value) in &self.properties {
            line(&mut text, name, value);
        }
        fs::write(file, text).map_err(|error| Error::new(format!("{}: {error}", file.display())))
    }

    fn secure(&self, text: &mut String, listener: Listener, certificates: Option<&Certificates>) {
        let prefix = format!("listener.name.{}", listener.name().to_lowercase());
        if let Some(certificates) = certificates.filter(|_| listener.is_tls()) {
            line(text, &format!("{prefix}.ssl.keystore.type"), "PEM");
            line(text, &format!("{prefix}.ssl.keystore.location"), certificates.broker.display());
            line(text, &format!("{prefix}.ssl.truststore.type"), "PEM");
            line(text, &format!("{prefix}.ssl.truststore.location"), certificates.ca.display());
            let asked = if listener == Listener::MutualTls { "required" } else { "none" };
            line(text, &format!("{prefix}.ssl.client.auth"), asked);
        }
        if listener.is_sasl() {
            let module = "org.apache.kafka.common.security";
            let users: String =
                self.users.iter().map(|(name, word)| format!(" user_{name}=\"{word}\"")).collect();
            line(text, &format!("{prefix}.sasl.enabled.mechanisms"), "SCRAM-SHA-512,PLAIN");
            line(
                text,
                &format!("{prefix}.scram-sha-512.sasl.jaas.config"),
                format!("{module}.scram.ScramLoginModule required;"),
            );
            line(
                text,
                &format!("{prefix}.plain.sasl.jaas.config"),
                format!("{module}.plain.PlainLoginModule required{users};"),
            );
        }
    }

    pub(crate) fn needs_certificates(&self) -> bool {
        self.listeners.iter().any(|listener| listener.is_tls())
    }
}

/// The ports of one broker: the controller's, and one for each listener in order.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    pub(crate) controller: u16,
    pub(crate) listeners: Vec<u16>,
}

/// What every broker has: a voter of a fixed quorum, and internal topics as safe as the cluster is large.
fn basics(node: usize, data: &Path, ports: &[Ports], listeners: &[Listener]) -> String {
    let own = &ports[node];
    let voters: Vec<String> =
        (1..).zip(ports).map(|(id, p)| format!("{id}@127.0.0.1:{}", p.controller)).collect();
    let at = |port_of: fn(Listener, u16) -> u16| {
        let open = listeners.iter().zip(&own.listeners);
        let addresses = open
            .map(|(listener, port)| format!("{}://127.0.0.1:{}", listener.name(), port_of(*listener, *port)));
        addresses.collect::<Vec<String>>().join(",")
    };
    let protocols: Vec<String> =
        listeners.iter().map(|listener| format!("{}:{}", listener.name(), listener.protocol())).collect();
    let replicas = ports.len().min(3);
    let in_sync = if replicas == 3 { 2 } else { 1 };
    let mut text = String::new();
    let mut set = |name: &str, value: String| line(&mut text, name, value);
    set("process.roles", "broker,controller".into());
    set("node.id", (node + 1).to_string());
    set("controller.quorum.voters", voters.join(","));
    set("controller.listener.names", CONTROLLER.into());
    set("listeners", format!("{},{CONTROLLER}://127.0.0.1:{}", at(|_, port| port), own.controller));
    set("advertised.listeners", at(Listener::advertised));
    set("listener.security.protocol.map", format!("{},{CONTROLLER}:PLAINTEXT", protocols.join(",")));
    set("inter.broker.listener.name", Listener::Plaintext.name().into());
    set("log.dirs", data.display().to_string());
    set("auto.create.topics.enable", "false".into());
    set("group.initial.rebalance.delay.ms", "0".into());
    for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        set(&format!("{topic}.replication.factor"), replicas.to_string());
        set(&format!("{topic}.num.partitions"), "10".into());
    }
    for topic in ["transaction.state.log", "share.coordinator.state.topic"] {
        set(&format!("{topic}.min.isr"), in_sync.to_string());
    }
    // Held from the start, and 128 MiB unless set.
    set("log.cleaner.dedupe.buffer.size", (16 << 20).to_string());
    text
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    writeln!(text, "{name}={value}").expect("a string takes every write");
}
