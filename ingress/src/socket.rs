//! An accepted socket as hyper sees it: bounded where hyper alone would wait for ever, patient where it would hang up
//! too early.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long a sender whose body was refused may go on sending before the connection is cut.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a connection's socket and its requests tell each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dialogue(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    unread: AtomicBool,
    pending: AtomicBool,
}

impl Dialogue {
    /// An answer goes out before its request's body has been read; the sender may still be sending.
    pub(crate) fn leave_unread(&self) {
        self.0.unread.store(true, Ordering::Relaxed);
    }

    /// Did the peer send anything since our last answer? Tells a slow request from an idle connection.
    pub(crate) fn pending(&self) -> bool {
        self.0.pending.load(Ordering::Relaxed)
    }
}

/// A TCP stream with two more bounds.
///
/// A client that never reads its answers would fill the send buffer and hold the connection: a write that makes no
/// progress for `patience` is an error.
///
/// Closing a socket with unread bytes makes the kernel send a reset, which can overtake the answer (RFC 9112, 9.6):
/// when a body was left unread, the end first discards what still comes, for one second and `discard` bytes at most.
pub(crate) struct Socket {
    stream: TcpStream,
    dialogue: Dialogue,
    patience: Duration,
    discard: usize,
    stalled: Option<Pin<Box<Sleep>>>,
    farewell: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, dialogue: Dialogue, patience: Duration, discard: usize) -> Self {
        Self { stream, dialogue, patience, discard, stalled: None, farewell: None }
    }

    /// Lets an attempt to write wait no longer than `patience`.
    fn bound<T>(&mut self, cx: &mut Context<'_>, attempt: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.dialogue.0.pending.store(false, Ordering::Relaxed);
            self.stalled = None;
            return attempt;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ready when the peer has nothing more to say, or has said enough.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let farewell = self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
        if farewell.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; 8 << 10];
        while self.discard > 0 {
            let mut chunk = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk)) {
                Ok(()) if !chunk.filled().is_empty() => {
                    self.discard = self.discard.saturating_sub(chunk.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.dialogue.0.pending.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound(cx, attempt)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bound(cx, attempt)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.dialogue.0.unread.load(Ordering::Relaxed) {
            ready!(self.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }
}
