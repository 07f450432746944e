//! A TCP proxy between one instance and the broker, which does to connections what networks do.
//!
//! Kafka frames both directions alike: a length of four bytes, then so many. A request goes on with its API's number,
//! its version and its correlation id, which its answer begins with (KIP-511, request header v1 and later). So the proxy
//! can lose the answers to one kind of request after the broker has done what was asked.
//!
//! Brokers tell clients where to connect. The proxy stands before a listener of the broker's that is advertised at the
//! proxy's own port, so a client that came through it never leaves it.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Kafka's own limit of a frame is below this (`socket.request.max.bytes`, 100 MiB).
const FRAME_BYTES_MAX: usize = 128 << 20;

/// The number of an API in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Api(pub i16);

impl Api {
    /// Records are appended.
    pub const PRODUCE: Self = Self(0);
    /// A transaction ends.
    pub const END_TXN: Self = Self(26);
}

/// What the proxy does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Carries everything.
    Pass,
    /// Carries every frame so much later.
    Slow(Duration),
    /// Ends every connection, and every new one at once.
    Cut,
    /// Carries nothing any more, and ends nothing: a connection that was stalled never moves again.
    Stalled,
    /// Loses the answers to these requests, which the broker gets; of all requests if none is named.
    LoseAnswers(Option<Api>),
}

/// A proxy; it ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    mode: watch::Sender<Mode>,
    /// Frames or connections that came to harm, in all.
    struck: AtomicU64,
    broker: Mutex<Option<SocketAddr>>,
}

impl Proxy {
    /// Listens on a free port of loopback; carries nothing until it is told [`to`](Proxy::to) whom.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            mode: watch::Sender::new(Mode::Pass),
            struck: AtomicU64::new(0),
            broker: Mutex::new(None),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    /// Where clients connect, and what the broker advertises.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries to this address of the broker from now on.
    pub fn to(&self, broker: SocketAddr) {
        *self.shared.broker.lock() = Some(broker);
    }

    /// Does this to all connections from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// How many frames or connections came to harm so far.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        // Connections are tasks of their own, which end with this.
        self.set(Mode::Cut);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of file handles, say: others will be closed.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(carry(client, shared.clone()));
    }
}

impl Shared {
    fn strike(&self) {
        self.struck.fetch_add(1, Ordering::Relaxed);
    }

    fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Answers when the connection is to end or to stand still; it has struck then.
    async fn harm(&self) -> Mode {
        let mut changes = self.mode.subscribe();
        let harm = changes.wait_for(|mode| matches!(mode, Mode::Cut | Mode::Stalled)).await;
        self.strike();
        harm.map_or(Mode::Cut, |mode| *mode)
    }

    async fn cut(&self) {
        let _ = self.mode.subscribe().wait_for(|mode| *mode == Mode::Cut).await;
    }
}

/// Carries one connection until one side ends it or the mode does.
async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let Some(broker) = *shared.broker.lock() else { return };
    if shared.mode() == Mode::Cut {
        return shared.strike();
    }
    let Ok(broker) = TcpStream::connect(broker).await else { return };
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let lost = Lost::default();
    let (mut requests, mut answers) =
        (Way { from: from_client, to: to_broker }, Way { from: from_broker, to: to_client });
    let harm = tokio::select! {
        _ = requests.carry(&shared, |frame, mode| { lost.note(frame, mode); true }) => return,
        _ = answers.carry(&shared, |frame, _| !lost.takes(frame)) => return,
        harm = shared.harm() => harm,
    };
    if harm == Mode::Stalled {
        // Both sides stay open. Whoever gives up closes its end, which nobody hears of.
        shared.cut().await;
    }
}

/// One direction of a connection.
struct Way {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

impl Way {
    /// Carries the frames that `passes` lets through; the others are lost.
    async fn carry(
        &mut self,
        shared: &Shared,
        mut passes: impl FnMut(&[u8], Mode) -> bool,
    ) -> io::Result<()> {
        loop {
            let frame = self.frame().await?;
            let mode = shared.mode();
            if let Mode::Slow(delay) = mode {
                shared.strike();
                tokio::time::sleep(delay).await;
            }
            if passes(&frame[4..], mode) {
                self.to.write_all(&frame).await?;
            } else {
                shared.strike();
            }
        }
    }

    /// The next frame, with its length.
    async fn frame(&mut self) -> io::Result<Vec<u8>> {
        let length = self.from.read_u32().await? as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no frame of Kafka's protocol"));
        }
        let mut frame = vec![0; 4 + length];
        frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
        self.from.read_exact(&mut frame[4..]).await?;
        Ok(frame)
    }
}

/// The requests of one connection whose answers are to be lost, by their correlation ids.
#[derive(Default)]
struct Lost(Mutex<HashSet<[u8; 4]>>);

impl Lost {
    fn note(&self, request: &[u8], mode: Mode) {
        let Mode::LoseAnswers(only) = mode else { return };
        let Some((head, id)) = request.get(..8).and_then(|head| head.split_last_chunk::<4>()) else { return };
        let api = Api(i16::from_be_bytes([head[0], head[1]]));
        if only.is_none_or(|only| only == api) {
            self.0.lock().insert(*id);
        }
    }

    fn takes(&self, answer: &[u8]) -> bool {
        answer.first_chunk::<4>().is_some_and(|id| self.0.lock().remove(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of a request: API, version, correlation id, and a body.
    fn request(api: Api, id: u32) -> Vec<u8> {
        let body = [&api.0.to_be_bytes()[..], &[0, 1], &id.to_be_bytes(), b"body"].concat();
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    }

    /// A broker that answers every request with its correlation id, and counts them.
    async fn broker(served: Arc<AtomicU64>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move {
                    let (from, to) = stream.into_split();
                    let mut way = Way { from, to };
                    while let Ok(frame) = way.frame().await {
                        served.fetch_add(1, Ordering::SeqCst);
                        let answer = [&4u32.to_be_bytes()[..], &frame[8..12]].concat();
                        way.to.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        address
    }

    struct Ground {
        proxy: Proxy,
        served: Arc<AtomicU64>,
        client: TcpStream,
    }

    async fn ground() -> Ground {
        let served = Arc::new(AtomicU64::new(0));
        let proxy = Proxy::listen().await.unwrap();
        proxy.to(broker(served.clone()).await);
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        Ground { proxy, served, client }
    }

    impl Ground {
        async fn send(&mut self, api: Api, id: u32) {
            self.client.write_all(&request(api, id)).await.unwrap();
        }

        /// The correlation id of the next answer; `None` at the connection's end.
        async fn answer(&mut self) -> Option<u32> {
            let mut frame = [0; 8];
            self.client.read_exact(&mut frame).await.ok()?;
            Some(u32::from_be_bytes(*frame.last_chunk().unwrap()))
        }

        async fn ask(&mut self, api: Api, id: u32) -> Option<u32> {
            self.send(api, id).await;
            self.answer().await
        }
    }

    #[tokio::test]
    async fn answers_to_one_api_are_lost_after_the_broker_served_it() {
        let mut ground = ground().await;
        assert_eq!(ground.ask(Api::END_TXN, 1).await, Some(1));
        ground.proxy.set(Mode::LoseAnswers(Some(Api::END_TXN)));
        ground.send(Api::END_TXN, 2).await;
        assert_eq!(ground.ask(Api::PRODUCE, 3).await, Some(3), "the answer to 2 is lost");
        assert_eq!((ground.served.load(Ordering::SeqCst), ground.proxy.struck()), (3, 1));
        ground.proxy.set(Mode::Pass);
        assert_eq!(ground.ask(Api::END_TXN, 4).await, Some(4));
    }

    #[tokio::test]
    async fn a_cut_ends_connections_until_it_heals() {
        let mut ground = ground().await;
        assert_eq!(ground.ask(Api::PRODUCE, 1).await, Some(1));
        ground.proxy.set(Mode::Cut);
        assert_eq!(ground.answer().await, None);
        ground.client = TcpStream::connect(ground.proxy.address()).await.unwrap();
        assert_eq!(ground.answer().await, None);
        ground.proxy.set(Mode::Pass);
        ground.client = TcpStream::connect(ground.proxy.address()).await.unwrap();
        assert_eq!(ground.ask(Api::PRODUCE, 2).await, Some(2));
        assert!(ground.proxy.struck() >= 2);
    }

    #[tokio::test]
    async fn a_stalled_connection_never_moves_again_and_a_new_one_does() {
        let mut ground = ground().await;
        assert_eq!(ground.ask(Api::PRODUCE, 1).await, Some(1));
        ground.proxy.set(Mode::Stalled);
        // The connection's own task has to see the mode before anything is sent.
        while ground.proxy.struck() == 0 {
            tokio::task::yield_now().await;
        }
        ground.proxy.set(Mode::Pass);
        ground.send(Api::PRODUCE, 2).await;
        let mut stalled =
            std::mem::replace(&mut ground.client, TcpStream::connect(ground.proxy.address()).await.unwrap());
        assert_eq!(ground.ask(Api::PRODUCE, 3).await, Some(3));
        assert_eq!(ground.served.load(Ordering::SeqCst), 2, "the stalled request never arrived");
        ground.proxy.set(Mode::Cut);
        assert_eq!(stalled.read(&mut [0; 8]).await.unwrap_or(0), 0, "ended, with nothing on it");
    }
}
