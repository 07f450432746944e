//! Brokers that form one cluster, and what they share: a folder, an id, certificates, ports.

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::ops::Index;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::broker::Broker;
use crate::certificates::Certificates;
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::jars::Jars;
use crate::setup::{Listener, Ports, Setup};

/// Below the range from which systems take the ports of outgoing connections: a client that tries to reach a killed
/// broker would otherwise be given its port, and a restart would fail.
const PORTS: std::ops::Range<u16> = 21_000..32_000;
const PORT_ATTEMPTS: usize = 1_000;
/// Another process may take a port between our look and the broker's start.
const START_ATTEMPTS: usize = 3;

/// Several brokers as one cluster; internal topics have three replicas, two of them in sync at least.
pub struct Cluster {
    brokers: Vec<Broker>,
}

/// What all brokers of a cluster share; a temporary folder goes with the last of them.
pub(crate) struct Shared {
    pub(crate) setup: Setup,
    pub(crate) jars: Jars,
    pub(crate) id: String,
    pub(crate) ports: Vec<Ports>,
    pub(crate) certificates: Option<Certificates>,
    folder: Folder,
}

impl Cluster {
    /// Starts so many brokers, and waits until all serve.
    ///
    /// # Errors
    /// Says why there is none, with the end of the log of the broker that failed.
    pub fn start(brokers: usize) -> Result<Cluster> {
        // Three at full size would take the memory of small machines.
        Setup::default().heap_mib(320).start_cluster(brokers)
    }

    pub(crate) fn with(setup: Setup, brokers: usize) -> Result<Cluster> {
        let mut attempt = 1;
        loop {
            match Cluster::attempt(setup.clone(), brokers) {
                Err(error)
                    if attempt < START_ATTEMPTS && error.to_string().contains("Address already in use") =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn attempt(setup: Setup, brokers: usize) -> Result<Cluster> {
        let shared = Arc::new(Shared::new(setup, brokers)?);
        let brokers: Vec<Broker> =
            (0..brokers).map(|node| Broker::spawn(shared.clone(), node)).collect::<Result<_>>()?;
        brokers.iter().try_for_each(Broker::wait_until_it_serves)?;
        Ok(Cluster { brokers })
    }

    /// The addresses of all brokers, as clients are given them.
    pub fn bootstrap(&self) -> String {
        self.bootstrap_of(Listener::Plaintext)
    }

    /// The addresses of all brokers by one of their listeners.
    ///
    /// # Panics
    /// When the setup has no such listener.
    pub fn bootstrap_of(&self, listener: Listener) -> String {
        let addresses: Vec<String> =
            self.brokers.iter().map(|broker| broker.bootstrap_of(listener)).collect();
        addresses.join(",")
    }

    /// The brokers; the first has Kafka's node id 1.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// The folder of all its brokers' folders; a temporary one is gone with the cluster.
    pub fn folder(&self) -> &Path {
        self.brokers[0].cluster_folder()
    }

    /// Says whether all its brokers still run.
    ///
    /// # Errors
    /// With the end of the log of one that has ended by itself.
    pub fn check(&self) -> Result<()> {
        self.brokers.iter().try_for_each(Broker::check)
    }

    pub(crate) fn into_first(mut self) -> Broker {
        self.brokers.swap_remove(0)
    }
}

impl Index<usize> for Cluster {
    type Output = Broker;

    fn index(&self, index: usize) -> &Broker {
        &self.brokers[index]
    }
}

impl Shared {
    fn new(setup: Setup, brokers: usize) -> Result<Shared> {
        let folder = Folder::open(setup.folder.as_deref())?;
        folder.check_size(brokers)?;
        let certificates = setup
            .needs_certificates()
            .then(|| Certificates::write(folder.path(), setup.certificate_host.as_deref()))
            .transpose()?;
        let mut free = FreePorts::default();
        let ports = (0..brokers).map(|node| free.of_broker(&setup, node)).collect::<Result<Vec<Ports>>>()?;
        let (jars, id) = (Jars::kafka()?, folder.cluster_id(cluster_id())?);
        let shared = Shared { setup, jars, id, ports, certificates, folder };
        for node in 0..brokers {
            shared.prepare(node)?;
        }
        Ok(shared)
    }

    fn prepare(&self, node: usize) -> Result<()> {
        let folder = self.folder(node);
        fs::create_dir_all(&folder).map_err(|error| Error::new(format!("{}: {error}", folder.display())))?;
        self.setup.write(&self.properties(node), node, &self.ports, self.certificates.as_ref())
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn folder(&self, node: usize) -> PathBuf {
        self.folder.of_broker(node)
    }

    pub(crate) fn properties(&self, node: usize) -> PathBuf {
        self.folder(node).join("server.properties")
    }
}

/// Twenty-two characters of base64, which are sixteen bytes when the last one adds two bits alone.
fn cluster_id() -> String {
    let mut id: String = (0..21).map(|_| fastrand::alphanumeric()).collect();
    id.push('A');
    id
}

/// Ports that nobody listens on, no two alike.
#[derive(Default)]
struct FreePorts {
    taken: HashSet<u16>,
}

impl FreePorts {
    fn of_broker(&mut self, setup: &Setup, node: usize) -> Result<Ports> {
        let controller = self.take()?;
        let mut listeners = setup.listeners.iter().map(|_| self.take()).collect::<Result<Vec<u16>>>()?;
        if let Some(port) = setup.port {
            listeners[0] = port + node as u16;
        }
        Ok(Ports { controller, listeners })
    }

    fn take(&mut self) -> Result<u16> {
        (0..PORT_ATTEMPTS)
            .map(|_| fastrand::u16(PORTS))
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok() && self.taken.insert(*port))
            .ok_or_else(|| Error::new(format!("no port of {PORTS:?} is free on loopback")))
    }
}
