//! The operating system's wish that the process should stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at SIGTERM or SIGINT, whichever comes first, with its name.
///
/// The handlers are in place when this returns, so a signal that comes before the future is awaited counts. From
/// then on neither signal ends the process by itself.
///
/// # Errors
///
/// When the handlers cannot be installed.
pub fn shutdown_signal() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_before_the_wait_counts() {
        let signalled = shutdown_signal().expect("handlers can be installed");
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::TERM).expect("one may signal oneself");
        assert_eq!(signalled.await, "SIGTERM");
    }
}
