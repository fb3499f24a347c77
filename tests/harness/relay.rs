//! A TCP relay that breaks connections as real networks do: cut, held, or open on one side only.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

/// Who talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What clients say.
    Clients,
    /// What the server says.
    Server,
}

/// Stands between clients and a server. Dropped it cuts every connection.
pub struct TcpRelay {
    port: u16,
    swallow: Arc<AtomicBool>,
    stalled: watch::Sender<bool>,
    accepted: Arc<AtomicUsize>,
    carried: Arc<Mutex<Vec<Carried>>>,
    accepting: JoinHandle<()>,
}

/// One connection, and whose words are lost on it.
struct Carried {
    silent: Arc<[AtomicBool; 2]>,
    task: AbortHandle,
}

impl TcpRelay {
    /// Listens on a port of its own for connections to `target`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(target: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let (swallow, stalled) = (Arc::<AtomicBool>::default(), watch::Sender::new(false));
        let (accepted, carried) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<Carried>>>::default());
        let (swallowing, holding) = (Arc::clone(&swallow), stalled.subscribe());
        let (counting, carrying) = (Arc::clone(&accepted), Arc::clone(&carried));
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let silent = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
                let lost =
                    Lost { silent: Arc::clone(&silent), swallow: Arc::clone(&swallowing), stalled: holding.clone() };
                let task = connections.spawn(join(client, target.clone(), lost));
                carrying.lock().expect("connections").push(Carried { silent, task });
                counting.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, swallow, stalled, accepted, carried, accepting }
    }

    /// Where to connect instead of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections it has taken so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// From now on nothing that clients say reaches the server; what the server says still reaches them.
    pub fn swallow_clients(&self) {
        self.swallow.store(true, Ordering::SeqCst);
    }

    /// From now on nothing reaches anybody, until [`TcpRelay::open`].
    pub fn stall(&self) {
        self.stalled.send_replace(true);
    }

    /// Ends a stall, and lets clients be heard again. What was swallowed stays lost, so [`TcpRelay::cut`] first.
    pub fn open(&self) {
        self.swallow.store(false, Ordering::SeqCst);
        self.stalled.send_replace(false);
    }

    /// Forgets the connections that there are, as a router does: they stay open, but nothing that this side says on them
    /// arrives any more. New ones are carried.
    ///
    /// # Panics
    /// Never.
    pub fn silence(&self, side: Side) {
        for carried in self.carried.lock().expect("connections").iter() {
            carried.silent[side as usize].store(true, Ordering::SeqCst);
        }
    }

    /// Cuts the connections that there are. New ones are carried.
    ///
    /// # Panics
    /// Never.
    pub fn cut(&self) {
        self.carried.lock().expect("connections").drain(..).for_each(|carried| carried.task.abort());
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What is lost, and what is held.
struct Lost {
    silent: Arc<[AtomicBool; 2]>,
    swallow: Arc<AtomicBool>,
    stalled: watch::Receiver<bool>,
}

async fn join(client: TcpStream, target: (String, u16), lost: Lost) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let [clients, servers] = lost.silent.each_ref();
    let is = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
    tokio::select! {
        () = carry(client_read, server_write, lost.stalled.clone(), || is(clients) || is(&lost.swallow)) => {}
        () = carry(server_read, client_write, lost.stalled.clone(), || is(servers)) => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut stalled: watch::Receiver<bool>,
    lost: impl Fn() -> bool,
) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if stalled.wait_for(|stalled| !stalled).await.is_err() {
            return;
        }
        if !lost() && to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
