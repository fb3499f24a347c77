//! One dial of the broker that leaves nothing behind when it is given up.
//!
//! The client library speaks through a thread of its own, which waits for the peer as long as the peer is there: a dial that
//! is merely dropped would leave a thread and its buffers behind for each try. So the socket is ours too, and is shut
//! down with the dial.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::runtime::default_runtime;
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};

/// Dials one address: TCP, TLS and AMQP handshake. Dropped before it is done it shuts its socket down.
pub(super) async fn dial(
    uri: AMQPUri,
    properties: ConnectionProperties,
    bound: Duration,
) -> Result<Connection, lapin::Error> {
    let dialing = Dialing::default();
    let socket = dialing.0.clone();
    let connecting = Connection::connector(
        uri,
        default_runtime()?,
        async move |uri: AMQPUri, runtime| {
            let address = runtime.to_socket_addrs((uri.authority.host.clone(), uri.authority.port));
            let stream = AsyncTcpStream::connect(&runtime, address);
            let stream = in_time(bound, stream).await?;
            if let AsyncTcpStream::Plain(stream) = &stream {
                socket.keep(stream.get_ref().as_fd().try_clone_to_owned()?.into())?;
            }
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => {
                    let tls = OwnedTLSConfig::default();
                    Ok(in_time(bound, stream.into_tls(&uri.authority.host, tls.as_ref())).await?)
                }
            }
        },
        properties,
    );
    let connection = connecting.await?;
    dialing.done();
    Ok(connection)
}

/// The thread has to notice by itself that nobody waits any more, where there is no socket yet to shut down.
async fn in_time<T>(bound: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(bound, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What is to be shut down if the dial does not get through.
#[derive(Debug, Default)]
enum Socket {
    #[default]
    NoneYet,
    Open(TcpStream),
    /// Nobody waits for it: it is given up, or it is the connection's from now on.
    Left,
}

/// The socket, as the thread that opens it and whoever waits for it share it.
#[derive(Debug, Default, Clone)]
struct Shared(Arc<Mutex<Socket>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Socket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps another handle of the socket, unless the dial was given up meanwhile.
    fn keep(&self, socket: TcpStream) -> io::Result<()> {
        let mut kept = self.lock();
        if matches!(*kept, Socket::Left) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *kept = Socket::Open(socket);
        Ok(())
    }
}

/// A dial that is not done.
#[derive(Debug, Default)]
struct Dialing(Shared);

impl Dialing {
    fn done(self) {
        *self.0.lock() = Socket::Left;
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        if let Socket::Open(socket) = std::mem::replace(&mut *self.0.lock(), Socket::Left) {
            // The peer may have gone first.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lapin::ConnectionProperties;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    /// Threads of the client library in this process.
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let named =
            |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
        tasks.filter_map(named).filter(|name| name.starts_with("lapin-io-loop")).count()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dial_that_is_given_up_leaves_neither_a_connection_nor_a_thread() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("amqp://127.0.0.1:{}/v", silent.local_addr().unwrap().port());
        let mut peers = Vec::new();
        for _ in 0..3 {
            let dial = super::dial(uri.parse().unwrap(), ConnectionProperties::default(), Duration::from_secs(5));
            let dial = tokio::spawn(dial);
            let (mut peer, _) = silent.accept().await.unwrap();
            let mut header = [0; 8];
            peer.read_exact(&mut header).await.unwrap();
            assert_eq!(&header, b"AMQP\0\0\x09\x01");
            dial.abort();
            assert!(dial.await.unwrap_err().is_cancelled());
            peers.push(peer);
        }
        let gone = async {
            for mut peer in peers {
                // The peer is still there; the end comes from this side.
                assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
            }
            while threads() > 0 {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), gone).await.is_ok(), "a connection or a thread is left");
    }
}
