//! A client that costs little, since it shares the processors with what it measures: requests are bytes made beforehand,
//! and all connections live on one thread.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::percentiles::Sorted;

/// Stands for an answer that never came.
pub(crate) const BROKEN: u16 = 0;

/// The bytes of one request.
pub(crate) struct Request(Vec<u8>);

impl Request {
    pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        Self([head.as_bytes(), body].concat())
    }
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// A connection sends its next request when the one before is answered.
    Closed,
    /// The nth is due at `begin + n * gap`, and its time runs from then on, also when every connection is still busy: a
    /// server that stalls does not get fewer bad samples for it.
    Every { begin: Instant, gap: Duration },
}

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// Which request.
    pub(crate) n: usize,
    /// Its status.
    pub(crate) status: u16,
    /// From the moment it was due, or sent.
    pub(crate) took: Duration,
}

/// All answers of a load.
pub(crate) struct Answers {
    pub(crate) list: Vec<Answer>,
    pub(crate) took: Duration,
}

impl Answers {
    pub(crate) fn count(&self, fits: impl Fn(u16) -> bool) -> usize {
        self.list.iter().filter(|answer| fits(answer.status)).count()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.list.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn millis(&self) -> Sorted {
        Sorted::new(self.list.iter().map(|answer| answer.took.as_secs_f64() * 1e3).collect())
    }

    /// How often each status came.
    pub(crate) fn statuses(&self) -> String {
        let mut counts = std::collections::BTreeMap::new();
        self.list.iter().for_each(|answer| *counts.entry(answer.status).or_insert(0_usize) += 1);
        let name = |status: u16| if status == BROKEN { "broken".to_owned() } else { status.to_string() };
        let counts: Vec<String> = counts.into_iter().map(|(status, n)| format!("{n} × {}", name(status))).collect();
        counts.join(", ")
    }
}

/// Who sends, where, how fast.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    /// Ends the load before its requests do.
    pub(crate) stop: Arc<AtomicBool>,
    /// Keeps the connections open until this is dropped or sent; the answers come before.
    pub(crate) hold: Option<oneshot::Receiver<()>>,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, connections: usize, pace: Pace) -> Self {
        Self { address, connections, pace, stop: Arc::default(), hold: None }
    }

    /// Begins to send, on a thread of its own.
    pub(crate) fn start(self, requests: Vec<Request>) -> oneshot::Receiver<Answers> {
        let (tell, answers) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(self.run(&requests, tell));
        });
        answers
    }

    /// Sends everything and waits for the answers.
    pub(crate) async fn send(self, requests: Vec<Request>) -> Answers {
        self.start(requests).await.expect("answers")
    }

    async fn run(mut self, requests: &[Request], tell: oneshot::Sender<Answers>) {
        let hold = self.hold.take();
        let next = Cell::new(0);
        let mut sockets = join_all((0..self.connections).map(|_| connect(self.address))).await;
        let began = match self.pace {
            Pace::Closed => Instant::now(),
            Pace::Every { begin, .. } => begin,
        };
        let lists = join_all(sockets.iter_mut().map(|socket| self.connection(socket, requests, &next))).await;
        let answers = Answers { list: lists.concat(), took: began.elapsed() };
        // Nobody waits for the answers of a load that was given up.
        let _ = tell.send(answers);
        if let Some(hold) = hold {
            let _ = hold.await;
        }
    }

    async fn connection(&self, socket: &mut Socket, requests: &[Request], next: &Cell<usize>) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            let n = next.get();
            let Some(request) = requests.get(n) else { return answers };
            next.set(n + 1);
            let due = self.due(n).await;
            if self.stop.load(Ordering::Relaxed) {
                return answers;
            }
            let status = match socket.exchange(&request.0).await {
                Ok(status) => status,
                Err(_) => {
                    *socket = connect(self.address).await;
                    BROKEN
                }
            };
            answers.push(Answer { n, status, took: due.elapsed() });
        }
    }

    /// Waits until a request is due.
    async fn due(&self, n: usize) -> Instant {
        match self.pace {
            Pace::Closed => Instant::now(),
            Pace::Every { begin, gap } => {
                let due = begin + gap.mul_f64(n as f64);
                tokio::time::sleep_until(due.into()).await;
                due
            }
        }
    }
}

struct Socket {
    stream: TcpStream,
    received: Vec<u8>,
}

async fn connect(address: SocketAddr) -> Socket {
    let stream = TcpStream::connect(address).await.expect("a connection to the ingress");
    stream.set_nodelay(true).expect("no delay");
    Socket { stream, received: Vec::with_capacity(1_024) }
}

impl Socket {
    /// Sends a request and reads the whole answer; returns its status.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        self.received.clear();
        loop {
            if let Some(status) = whole(&self.received) {
                return Ok(status);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The status of an answer that has arrived with its whole body.
fn whole(received: &[u8]) -> Option<u16> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&received[..end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    (received.len() >= end + length.unwrap_or(0)).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\n{\"a\"}";
        assert_eq!(whole(answer), Some(202));
        for end in 0..answer.len() {
            assert_eq!(whole(&answer[..end]), None, "{end}");
        }
        assert_eq!(whole(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
    }
}
