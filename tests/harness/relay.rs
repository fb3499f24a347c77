//! A TCP relay that can swallow what one side says: the half-open connection of real networks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Stands between clients and a server. Dropped it cuts every connection.
pub struct TcpRelay {
    port: u16,
    swallow: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl TcpRelay {
    /// Listens on a port of its own for connections to `target`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(target: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let swallow = Arc::new(AtomicBool::new(false));
        let swallowing = Arc::clone(&swallow);
        let accepting = tokio::spawn(async move {
            let mut carried = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (target, swallow) = (target.clone(), Arc::clone(&swallowing));
                carried.spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let (client_read, client_write) = client.into_split();
                    let (server_read, server_write) = server.into_split();
                    let never = AtomicBool::new(false);
                    tokio::select! {
                        () = carry(client_read, server_write, &swallow) => {}
                        () = carry(server_read, client_write, &never) => {}
                    }
                });
            }
        });
        Self { port, swallow, accepting }
    }

    /// Where to connect instead of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing that clients say reaches the server; what the server says still reaches them.
    pub fn swallow_clients(&self) {
        self.swallow.store(true, Ordering::SeqCst);
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallow: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if !swallow.load(Ordering::SeqCst) && to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
