//! The server: our own accept loop, so that no client can hold more than its share.
//!
//! `axum::serve` sets no header timeout, no connection cap and no timeout for a client that stops reading. Here
//! every connection is watched by one sweep (see [`Limits`]), a new connection takes the place of the one that
//! is idle longest when the cap is reached, and stopping takes a bounded time.
//!
//! Invariants: a request in flight is never cut except by a stalled client or the end of the stop timeout; an
//! idle connection never keeps a new one out.

mod answer;
mod body;
mod connection;
mod io;
mod limits;
mod stopping;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io as std_io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use headwater::scheduling::wake_promptly;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Gauge;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::connection::{Clock, Connection, Phase, Verdict};
use self::io::WatchedIo;
use crate::codes;
use crate::metric_names::{HTTP_CONNECTIONS, HTTP_CONNECTIONS_CLOSED};
use crate::problem::Problem;
use crate::route_metrics::MeasureRoutes;

pub use self::body::BodyTimedOut;
pub use self::limits::{Limits, raise_open_files};
pub use self::stopping::Stopping;

/// The help text of the flag that allows an address other than loopback.
pub const EXPOSE_HELP: &str = "Listen on an address other than loopback. There is no authentication yet: \
     whoever can reach the address can send commands, read every view, and see `/topology` and `/metrics`";

/// Refusals written at the same time while every connection is busy; more are dropped without a word.
const REFUSALS_MAX: usize = 64;
/// How long the accept loop rests when the process has no file left to open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a last word on a connection may take.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// A bound server that does not answer yet.
///
/// It answers on threads of its own, one a core: whatever else a program's runtime has to do, such as folding a backlog,
/// no request waits for it in a queue of tasks.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    limits: Limits,
    threads: Threads,
}

/// How a server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections cut because their request outlasted the stop timeout.
    pub connections_cut: usize,
}

impl Server {
    /// Binds a loopback address; port 0 takes a free port.
    ///
    /// # Errors
    ///
    /// When the address is not loopback (see [`Server::bind_exposed`]), as there otherwise.
    pub async fn bind(address: SocketAddr, limits: Limits) -> std_io::Result<Self> {
        if !address.ip().is_loopback() {
            let refusal =
                format!("{address} is not a loopback address: say explicitly that it may be reached");
            return Err(std_io::Error::new(std_io::ErrorKind::InvalidInput, refusal));
        }
        Self::bind_exposed(address, limits).await
    }

    /// Binds any address, for when the user has asked for it in so many words (see [`EXPOSE_HELP`]).
    ///
    /// # Errors
    ///
    /// When the address cannot be bound, or the operating system gives no threads.
    pub async fn bind_exposed(address: SocketAddr, limits: Limits) -> std_io::Result<Self> {
        let threads = Threads::start()?;
        let listener = finished(threads.spawn(TcpListener::bind(address))).await?;
        Ok(Self { listener, limits, threads })
    }

    /// The address that is bound.
    ///
    /// # Errors
    ///
    /// When the operating system does not tell it.
    pub fn local_addr(&self) -> std_io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers with the router until `stop` resolves, then finishes what is in flight and returns.
    ///
    /// Once stopping, nothing is accepted, idle connections close, event streams end, and requests in flight
    /// get the stop timeout. Route metrics are cached on first use, so install the recorder before.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>) -> Stopped {
        let Self { listener, limits, threads } = self;
        let (go_on, stopped) = oneshot::channel::<()>();
        let serving = threads.spawn(async move {
            let shared = Shared::new(limits);
            let serving = Serving { sweep: tokio::spawn(sweep(Arc::clone(&shared))), shared };
            let stop = async { drop(stopped.await) };
            accept_until(&listener, &router.layer(MeasureRoutes), &serving.shared, stop).await;
            drop(listener);
            serving.shared.stop().await
        });
        stop.await;
        drop(go_on);
        finished(serving).await
    }
}

/// The threads that a server answers on; what runs on them ends when they are dropped.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> std_io::Result<Self> {
        let mut threads = Builder::new_multi_thread();
        threads.enable_all().thread_name("http").on_thread_start(wake_promptly);
        Ok(Self(Some(threads.build()?)))
    }

    /// Begins a task on them.
    fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.as_ref().expect("the threads are given up by dropping them only").spawn(task)
    }
}

/// What a task answers; its panic is the caller's.
async fn finished<T>(task: JoinHandle<T>) -> T {
    task.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for them would block a thread of the runtime that this is dropped on.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Ends the server's tasks when it returns, and also when its future is dropped.
struct Serving {
    sweep: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.sweep.abort();
        self.shared.begin_stop();
    }
}

/// What all connections of a server share.
pub(crate) struct Shared {
    limits: Limits,
    clock: Arc<Clock>,
    stopping: AtomicBool,
    stop_begun: Notify,
    connections: Mutex<Connections>,
    all_closed: Notify,
    refusals: AtomicUsize,
    gauge: Gauge,
}

#[derive(Default)]
struct Connections {
    next_id: u64,
    open: HashMap<u64, Arc<Connection>>,
}

impl Shared {
    fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            clock: Clock::new(),
            stopping: AtomicBool::new(false),
            stop_begun: Notify::new(),
            connections: Mutex::default(),
            all_closed: Notify::new(),
            refusals: AtomicUsize::new(0),
            gauge: metrics::gauge!(HTTP_CONNECTIONS.name),
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Registers a connection, evicting the one idle longest at the cap; none when all are busy.
    fn admit(self: &Arc<Self>, cap: usize) -> Option<Admission> {
        let mut connections = self.connections.lock();
        if connections.open.len() >= cap && !evict_idlest(&connections.open) {
            return None;
        }
        let id = connections.next_id;
        connections.next_id += 1;
        let connection = Connection::new(Arc::clone(&self.clock));
        connections.open.insert(id, Arc::clone(&connection));
        self.gauge.increment(1.0);
        Some(Admission { id, connection, shared: Arc::clone(self) })
    }

    fn begin_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stop_begun.notify_waiters();
        self.for_each(|connection| connection.wake());
    }

    /// Resolves once the server stops.
    pub(crate) async fn stop_begun(&self) {
        let begun = self.stop_begun.notified();
        if !self.stopping.load(Ordering::SeqCst) {
            begun.await;
        }
    }

    /// Ends everything in bounded time.
    async fn stop(&self) -> Stopped {
        self.begin_stop();
        if timeout(self.limits.stop_timeout, self.closed()).await.is_ok() {
            return Stopped { connections_cut: 0 };
        }
        let connections_cut = self.connections.lock().open.len();
        tracing::warn!(connections_cut, "requests outlasted the stop timeout");
        self.for_each(|connection| connection.sentence(Verdict::Aborted));
        let _ = timeout(LAST_WORD_TIMEOUT, self.closed()).await;
        Stopped { connections_cut }
    }

    async fn closed(&self) {
        loop {
            let closed = self.all_closed.notified();
            if self.connections.lock().open.is_empty() {
                return;
            }
            closed.await;
        }
    }

    fn for_each(&self, visit: impl Fn(&Arc<Connection>)) {
        let open: Vec<_> = self.connections.lock().open.values().cloned().collect();
        open.iter().for_each(visit);
    }
}

/// Asks the connection that has been idle longest to go; false when none is idle.
///
/// It keeps its entry until it is gone: one that got a request in the same moment stays.
fn evict_idlest(open: &HashMap<u64, Arc<Connection>>) -> bool {
    let waiting = open.iter().filter(|(_, connection)| !connection.is_sentenced());
    let idle = waiting.map(|(id, connection)| (connection.progress(), id, connection));
    let idlest = idle
        .filter(|(progress, ..)| progress.may_give_way())
        .min_by_key(|(progress, id, _)| (progress.phase != Phase::Idle, progress.since, *id));
    if let Some((.., connection)) = idlest {
        connection.sentence(Verdict::Evicted);
    }
    idlest.is_some()
}

/// A connection's place among the open ones, given back on drop.
pub(crate) struct Admission {
    id: u64,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut connections = self.shared.connections.lock();
        connections.open.remove(&self.id);
        let last = connections.open.is_empty();
        drop(connections);
        self.shared.gauge.decrement(1.0);
        if last {
            self.shared.all_closed.notify_waiters();
        }
    }
}

/// Looks at every connection's deadline, a few times per shortest deadline.
async fn sweep(shared: Arc<Shared>) {
    let started = Instant::now();
    let mut ticks = interval(shared.limits.sweep_interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        shared.clock.set(now);
        shared.for_each(|connection| {
            if let Some(verdict) = connection.progress().verdict(now, &shared.limits) {
                connection.sentence(verdict);
            }
        });
    }
}

async fn accept_until(
    listener: &TcpListener,
    router: &Router,
    shared: &Arc<Shared>,
    stop: impl Future<Output = ()>,
) {
    let cap = shared.limits.connections_allowed();
    let mut stop = std::pin::pin!(stop);
    let mut is_starved = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                is_starved = false;
                take(stream, router, shared, cap);
            }
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_starved, true) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                evict_idlest(&shared.connections.lock().open);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether accepting failed for the client at hand only.
fn is_of_one_client(error: &std_io::Error) -> bool {
    use std_io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}

fn take(stream: TcpStream, router: &Router, shared: &Arc<Shared>, cap: usize) {
    // An answer is written whole, so waiting to fill a packet would only delay it. A socket that
    // refuses the option still works.
    let _ = stream.set_nodelay(true);
    match shared.admit(cap) {
        Some(admission) => {
            tokio::spawn(drive(stream, router.clone(), admission));
        }
        None => refuse(stream, Arc::clone(shared)),
    }
}

/// Answers that every connection is at work, without reading the request.
fn refuse(mut stream: TcpStream, shared: Arc<Shared>) {
    if shared.refusals.fetch_add(1, Ordering::Relaxed) >= REFUSALS_MAX {
        shared.refusals.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    tokio::spawn(async move {
        let code = &codes::TOO_MANY_CONNECTIONS;
        let problem = Problem::new(code, code.remedy).retry_after(Duration::from_secs(1));
        let connection = Connection::new(Clock::new());
        connection.leave_unread();
        let _ = timeout(LAST_WORD_TIMEOUT, async {
            stream.write_all(&io::closing_answer(&problem)).await?;
            WatchedIo::new(stream, connection).shutdown().await
        })
        .await;
        shared.refusals.fetch_sub(1, Ordering::Relaxed);
        metrics::counter!(HTTP_CONNECTIONS_CLOSED.name, "reason" => "refused").increment(1);
    });
}

/// Runs one connection to its end: by the client, by a verdict, or by the server's stop.
async fn drive(stream: TcpStream, router: Router, admission: Admission) {
    let shared = Arc::clone(&admission.shared);
    let connection = Arc::clone(&admission.connection);
    let service = service_fn(|request| {
        answer::answer(router.clone(), request, Arc::clone(&connection), Arc::clone(&shared))
    });
    let io = TokioIo::new(WatchedIo::new(stream, Arc::clone(&connection)));
    let mut http = protocol(&shared.limits).serve_connection(io, service);
    let mut told_to_stop = false;
    let verdict = poll_fn(|cx| {
        if let Some(verdict) = connection.poll_verdict(cx) {
            return Poll::Ready(Some(verdict));
        }
        if shared.is_stopping() && !told_to_stop {
            told_to_stop = true;
            if matches!(connection.progress().phase, Phase::Idle | Phase::Head) {
                return Poll::Ready(None);
            }
            Pin::new(&mut http).graceful_shutdown();
        }
        Pin::new(&mut http).poll(cx).map(|_| None)
    })
    .await;
    let Some(verdict) = verdict else { return };
    metrics::counter!(HTTP_CONNECTIONS_CLOSED.name, "reason" => verdict.label()).increment(1);
    if verdict == Verdict::SlowHead {
        let stream = http.into_parts().io.into_inner().into_inner();
        say_too_slow(stream).await;
    }
}

async fn say_too_slow(mut stream: TcpStream) {
    let answer = io::refusal(408);
    let _ = timeout(LAST_WORD_TIMEOUT, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await;
}

fn protocol(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The sweep keeps the head's deadline, so that no request arms a timer.
    http.timer(TokioTimer::new()).header_read_timeout(None);
    http.max_header_size(limits.head_bytes_max).max_buf_size(limits.head_bytes_max.max(64 * 1_024));
    // `pipeline_flush` stays off: with it, hyper buffers an answer without bound for a client that does not read.
    http
}
