//! The socket as the HTTP machine sees it: it notes progress, gives hyper's own refusals a document, and
//! lingers on closing while the client still sends.
//!
//! Hyper answers a head that it cannot parse by itself, with an empty body. Every answer of ours to an error has
//! a body, so an error head announcing none is recognised as hyper's and replaced while it is written.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Connection, Phase};
use crate::codes;
use crate::problem::Problem;

/// Most bytes read and dropped while lingering.
const LINGER_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// A stream that keeps its connection's progress.
#[derive(Debug)]
pub(crate) struct WatchedIo<T> {
    stream: T,
    connection: Arc<Connection>,
    /// What is written in place of hyper's own refusal, and the length that hyper believes it wrote.
    replacement: Option<(Bytes, usize)>,
    lingering: Option<usize>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> WatchedIo<T> {
    pub(crate) fn new(stream: T, connection: Arc<Connection>) -> Self {
        Self { stream, connection, replacement: None, lingering: None }
    }

    /// The stream itself, for a last word on it.
    pub(crate) fn into_inner(self) -> T {
        self.stream
    }

    fn noting(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.connection.write_progressed(written.is_ready());
        written
    }

    fn poll_write_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some((bytes, replaced_len)) = &mut self.replacement {
            if bytes.is_empty() {
                let replaced_len = *replaced_len;
                self.replacement = None;
                return Poll::Ready(Ok(replaced_len));
            }
            let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
            self.connection.write_progressed(written.is_ready());
            let count = ready!(written)?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes.advance(count);
        }
        Poll::Ready(Ok(0))
    }

    /// Begins to replace the buffer if it is hyper's own refusal.
    fn replaces(&mut self, buffer: &[u8]) -> bool {
        if self.replacement.is_none()
            && let Some(status) = own_refusal(buffer)
        {
            self.connection.leave_unread();
            self.replacement = Some((refusal(status), buffer.len()));
        }
        self.replacement.is_some()
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0_u8; 16 * 1_024];
        while let Some(left) = self.lingering {
            let mut buffer = ReadBuf::new(&mut scratch);
            let ended = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).is_err();
            let count = buffer.filled().len();
            self.lingering = (!ended && count > 0 && left > count).then(|| left - count);
        }
        Poll::Ready(Ok(()))
    }
}

/// The status of an error head that announces an empty body.
fn own_refusal(buffer: &[u8]) -> Option<u16> {
    let status = buffer.strip_prefix(b"HTTP/1.1 4").or_else(|| buffer.strip_prefix(b"HTTP/1.0 4"))?;
    let head = std::str::from_utf8(buffer).ok()?;
    let bare = head.ends_with("\r\n\r\n") && head.contains("\r\ncontent-length: 0\r\n");
    let digits = std::str::from_utf8(status.get(..2)?).ok()?;
    if bare { digits.parse::<u16>().ok().map(|low| 400 + low) } else { None }
}

/// A whole answer, head and problem, after which the connection closes.
pub(crate) fn refusal(status: u16) -> Bytes {
    let code = codes::for_status(status);
    closing_answer(&Problem::new(code, code.remedy))
}

/// A problem as the bytes of a whole answer that closes its connection.
pub(crate) fn closing_answer(problem: &Problem) -> Bytes {
    let body = problem.to_json();
    let status = problem.status();
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        body.len(),
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer.into()
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for WatchedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection.bytes_arrived();
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaces(buffer) {
            return self.poll_write_replacement(cx);
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.noting(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = buffers
            && self.replaces(only)
        {
            return self.poll_write_replacement(cx);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.noting(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends our side, then reads what the client still sends: closing on unread bytes would reset the
    /// connection, and the client could lose the answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.progress().phase != Phase::Lingering {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.lingering = self.connection.has_unread().then_some(LINGER_BYTES_MAX);
            self.connection.enter(Phase::Lingering);
        }
        self.poll_linger(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::connection::Clock;
    use super::*;

    const OWN: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
        content-length: 0\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

    /// Writes through the wrapper over a pipe that holds few bytes, and returns what came out.
    async fn written(bytes: &'static [u8]) -> Vec<u8> {
        let (near, mut far) = tokio::io::duplex(16);
        let mut io = WatchedIo::new(near, Connection::new(Clock::new()));
        let writer = async move {
            io.write_all(bytes).await.expect("the far end reads");
            drop(io);
        };
        let mut out = Vec::new();
        let (_, read) = tokio::join!(writer, far.read_to_end(&mut out));
        read.expect("the near end wrote");
        out
    }

    #[tokio::test]
    async fn an_empty_refusal_is_replaced_by_a_problem() {
        let answer = String::from_utf8(written(OWN).await).expect("the answer is text");
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(answer.contains("\"code\":\"headers-too-large\""), "{answer}");
    }

    #[tokio::test]
    async fn other_answers_pass_unchanged() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found",
        ] {
            assert_eq!(written(bytes).await, bytes);
        }
    }

    #[tokio::test]
    async fn closing_lingers_only_over_unread_bytes() {
        for unread in [false, true] {
            let (near, mut far) = tokio::io::duplex(1_024);
            let connection = Connection::new(Clock::new());
            if unread {
                connection.leave_unread();
            }
            let mut io = WatchedIo::new(near, connection);
            far.write_all(b"still sending").await.expect("the pipe has room");
            let mut closing = Box::pin(io.shutdown());
            let at_once = futures_util::poll!(closing.as_mut()).is_ready();
            assert_eq!(at_once, !unread);
            drop(far);
            if unread {
                closing.await.expect("the far end closed");
            }
        }
    }
}
