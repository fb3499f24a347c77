//! A TCP relay with which tests do to connections what networks do: cut them, hold what is said, swallow one side's words.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// They arrive.
    Open,
    /// What clients say is lost, what the server says arrives: half-open.
    ClientsSwallowed,
    /// Nothing arrives until the flow is open again. New connections are accepted, and hear nothing either.
    Stalled,
}

/// Stands between clients and a server. Dropped it cuts every connection.
pub struct TcpRelay {
    port: u16,
    flow: Arc<watch::Sender<Flow>>,
    cuts: Arc<watch::Sender<u64>>,
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
        let (flow, cuts) = (Arc::new(watch::Sender::new(Flow::Open)), Arc::new(watch::Sender::new(0)));
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&flow), Arc::clone(&cuts)));
        Self { port, flow, cuts, accepting }
    }

    /// Where to connect instead of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing that clients say reaches the server; what the server says still reaches them.
    pub fn swallow_clients(&self) {
        self.flow.send_replace(Flow::ClientsSwallowed);
    }

    /// From now on nothing reaches anybody, until [`TcpRelay::open`].
    pub fn stall(&self) {
        self.flow.send_replace(Flow::Stalled);
    }

    /// Ends a stall, and lets clients be heard again. What was swallowed stays lost, so [`TcpRelay::cut`] first.
    pub fn open(&self) {
        self.flow.send_replace(Flow::Open);
    }

    /// Cuts every connection there is; new ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: (String, u16),
    flow: Arc<watch::Sender<Flow>>,
    cuts: Arc<watch::Sender<u64>>,
) {
    let mut carried = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (target, flow, mut cut) = (target.clone(), flow.subscribe(), cuts.subscribe());
        carried.spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            tokio::select! {
                () = carry(client_read, server_write, flow.clone(), true) => {}
                () = carry(server_read, client_write, flow, false) => {}
                _ = cut.changed() => {}
            }
        });
        while carried.try_join_next().is_some() {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flow: watch::Receiver<Flow>, of_client: bool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let Ok(now) = flow.wait_for(|flow| *flow != Flow::Stalled).await.map(|flow| *flow) else { return };
        let swallowed = of_client && now == Flow::ClientsSwallowed;
        if !swallowed && to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
