//! The public listener: bounds on everything a stranger decides, and a drain that finishes what it has begun.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Gauge;
use millrace::config::HttpConfig;
use millrace::lifecycle::Drain;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::edge::{Edge, EdgeFault};
use crate::response;
use crate::socket::{Dialogue, Socket};

/// Most bytes of a request head; no honest sender comes near.
const HEAD_BYTES: usize = 64 << 10;
/// How long a drain leaves idle connections open: whoever has just connected is about to speak, and would find that the
/// one who took its connection has hung up.
const GREETING: Duration = Duration::from_millis(200);
/// Connections that may wait in the kernel's queue.
const BACKLOG: u32 = 1_024;
/// How long to wait after the system refused a connection, which it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Edge {
    /// Opens the public port, `http.listen`.
    ///
    /// # Errors
    /// [`EdgeFault::Listen`].
    pub async fn listen(self) -> Result<Listening, EdgeFault> {
        let address = self.http.listen;
        let fault = |source| EdgeFault::Listen { address, source };
        let listener = open(address, self.http.share_port).map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Listening { edge: Arc::new(self), listener, address })
    }

    /// Serves one connection to its end. A drain lets the request in flight finish and closes an idle one.
    async fn converse(&self, stream: TcpStream, drain: &Drain) {
        // Answers are small and must not wait for the acknowledgement of earlier ones.
        let _ = stream.set_nodelay(true);
        let dialogue = Dialogue::default();
        let socket = Socket::new(stream, dialogue.clone(), self.http.body_timeout, self.http.max_body_bytes);
        let service = service_fn(async |request| {
            let mut answer = self.answer(request, &dialogue).await?;
            if drain.begun() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        });
        let mut connection = pin!(protocol(&self.http).serve_connection(TokioIo::new(socket), service));
        let greeted = async {
            drain.started().await;
            tokio::time::sleep(GREETING).await;
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = greeted => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        match ended {
            Err(fault) if fault.is_parse() => response::count("malformed_request"),
            Err(fault) if fault.is_timeout() && dialogue.pending() => response::count("header_timeout"),
            // A client that breaks off is its own affair.
            _ => {}
        }
    }
}

/// Opens a port, shared with a process that is about to end, or to begin, if that is wanted.
fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The port is free although connections of its last owner have not been forgotten yet.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The header time-out runs from a connection's start and from each answer's end to the end of the next head, so it
/// also ends idle connections.
fn protocol(http: &HttpConfig) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(http.header_timeout)
        .max_buf_size(HEAD_BYTES)
        // Nearly every answer is small: one buffer costs the system less than a list of two. Pieces of an archive are copied.
        .writev(false)
        // A sender that closes its half after the request still wants the answer.
        .half_close(true);
    protocol
}

/// The edge behind its open port. Connections wait in the kernel's queue until [`Listening::serve`] runs.
#[derive(Debug)]
pub struct Listening {
    edge: Arc<Edge>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// The address bound, with the real port where port 0 was configured.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `drain` begins, then closes the port and waits for the requests in flight: until they are
    /// answered, `http.drain_timeout` is over or the drain turns hard.
    pub async fn serve(self, drain: Drain) {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let _cut_at_the_end = cut.clone().drop_guard();
        let edge = Arc::clone(&self.edge);
        let permits = Arc::new(Semaphore::new(edge.http.max_connections));
        let visit = |stream, permit| {
            let (edge, drain, cut) = (Arc::clone(&edge), drain.clone(), cut.clone());
            let open = Open::new(permit, edge.connections.clone());
            connections.spawn(async move {
                let _open = open;
                tokio::select! { () = edge.converse(stream, &drain) => {}, () = cut.cancelled() => {} }
            });
        };
        tokio::select! {
            () = self.accept(&permits, &visit) => {}
            () = drain.started() => {}
        }
        self.empty_queue(&permits, &visit);
        connections.close();
        tokio::select! {
            () = connections.wait() => {}
            () = tokio::time::sleep(edge.http.drain_timeout) => {
                tracing::warn!(http.connections = connections.len(), "drain timed out; cutting connections");
            }
            () = drain.escalated() => {}
        }
    }

    async fn accept(&self, permits: &Arc<Semaphore>, visit: &impl Fn(TcpStream, OwnedSemaphorePermit)) {
        loop {
            // First the permit, then the connection: whoever is too many waits in the kernel's queue. The semaphore
            // is never closed.
            let Ok(permit) = Arc::clone(permits).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => visit(stream, permit),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Takes over whoever is connected and waits in the kernel's queue, which closing the port would reset, and closes
    /// the port.
    fn empty_queue(self, permits: &Arc<Semaphore>, visit: &impl Fn(TcpStream, OwnedSemaphorePermit)) {
        // Not the runtime's accept, which waits for news of the port where there are none.
        let Ok(listener) = self.listener.into_std() else { return };
        while let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            let accepted = listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            });
            match accepted {
                Ok(stream) => visit(stream, permit),
                Err(_) => return,
            }
        }
    }
}

/// One open connection, in the gauge and in the bound, for as long as it lives.
struct Open {
    _permit: OwnedSemaphorePermit,
    gauge: Gauge,
}

impl Open {
    fn new(permit: OwnedSemaphorePermit, gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self { _permit: permit, gauge }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

#[cfg(test)]
mod tests;
