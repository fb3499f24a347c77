//! The edge over real sockets. No broker listens, so a webhook that passes every check gets 503.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use millrace::config::{Config, Process};
use proptest::prelude::*;
use sha2::Sha256;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

const SECRET: &str = "whsec_test";
const PATH: &str = "/api/billing/webhooks";
const EVENT: &str = r#"{"id":"evt_1","type":"invoice.paid","livemode":false}"#;
/// No test waits longer; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// An edge that serves on a port of its own.
struct Served {
    address: SocketAddr,
    drain: Drain,
    ended: JoinHandle<()>,
}

/// An edge whose broker is a closed port; `http` is the section of the configuration, less the addresses.
fn edge(http: &str) -> Edge {
    let folder = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for (name, text) in [("password", "guest"), ("seal", &"07".repeat(32)), ("whsec", SECRET)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let file = folder.path().join("millrace.toml");
    let text = format!(
        r#"
        http = {{ listen = "127.0.0.1:0", admin_listen = "127.0.0.1:0", {http} }}
        amqp.addresses = ["amqp://{closed}"]
        amqp.logins.ingress.password_file = "password"
        [publishers.ingress-1]
        name = "ingress"
        signs = true
        types = ["stripe.event"]
        actor_kinds = ["webhook"]
        lane = "main"
        secret_file = "seal"
        [sources.stripe]
        provider = "stripe"
        secrets.s1.secret_file = "whsec"
        "#
    );
    std::fs::write(&file, text).unwrap();
    let contract = millrace::builtin().check().unwrap();
    let config = Config::load(&file, Process::Ingress, &contract).unwrap();
    Edge::new(&contract, &config).unwrap()
}

async fn serve(http: &str) -> Served {
    let listening = edge(http).listen().await.unwrap();
    let (address, drain) = (listening.address(), Drain::default());
    Served { address, drain: drain.clone(), ended: tokio::spawn(listening.serve(drain)) }
}

/// One connection, with every wait bounded.
struct Client(TcpStream);

impl Client {
    async fn connect(served: &Served) -> Self {
        Self(TcpStream::connect(served.address).await.unwrap())
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Everything until the server closes; a reset counts as closed.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("the server must close");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until `text` has come.
    async fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let mut chunk = [0; 1024];
            let read = tokio::time::timeout(PATIENCE, self.0.read(&mut chunk)).await.expect("no answer");
            let read = read.unwrap();
            assert_ne!(read, 0, "closed after {seen:?}");
            seen.push_str(str::from_utf8(&chunk[..read]).unwrap());
        }
        seen
    }
}

/// Sends all of `request` on a connection of its own and returns all that comes back.
async fn exchange(served: &Served, request: impl AsRef<[u8]>) -> String {
    let mut client = Client::connect(served).await;
    client.send(request).await;
    client.rest().await
}

fn signature(body: &str) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{now}.{body}").as_bytes());
    format!("Stripe-Signature: t={now},v1={}\r\n", hex::encode(mac.finalize().into_bytes()))
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

fn signed(headers: &str) -> String {
    post(PATH, &format!("{headers}{}", signature(EVENT)), EVENT)
}

fn code(answer: &str) -> &str {
    answer.split_once(r#""code":""#).and_then(|(_, rest)| rest.split_once('"')).map_or("", |(code, _)| code)
}

fn is_last(answer: &str) -> bool {
    answer.to_ascii_lowercase().contains("connection: close")
}

#[tokio::test]
async fn while_the_broker_is_away_a_verified_webhook_gets_503_and_only_that() {
    let served = serve("").await;
    for path in [PATH, "/api/webhooks/stripe", "/api/webhooks/stripe?x=1", "http://other.example/api/webhooks/stripe"] {
        let request = post(path, &format!("Connection: close\r\n{}", signature(EVENT)), EVENT);
        let answer = exchange(&served, request).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("retry-after: 5\r\n"), "{answer}");
        assert_eq!(code(&answer), "broker_unavailable");
    }
    for wrong in [post(PATH, "Connection: close\r\n", EVENT), signed("Connection: close\r\nStripe-Signature: t=1\r\n")]
    {
        let answer = exchange(&served, wrong).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(code(&answer), "invalid_signature");
    }
}

#[tokio::test]
async fn without_a_broker_the_edge_is_not_ready_and_says_why() {
    let ready = edge("").ready_check();
    assert_eq!(ready().await, Err("broker: no connection to the broker".to_owned()));
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let served = serve("").await;
    let mut client = Client::connect(&served).await;
    for _ in 0..3 {
        client.send(signed("")).await;
        let answer = client.until("}").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && !is_last(&answer), "{answer}");
        client.send(post(PATH, "", EVENT)).await;
        assert!(client.until("}").await.starts_with("HTTP/1.1 400 "));
        client.send("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(client.until("}").await.starts_with("HTTP/1.1 404 "));
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_without_reading_their_bodies() {
    let served = serve("").await;
    let endless = "Content-Length: 999999999\r\n\r\nsome";
    let found = exchange(&served, format!("POST /api/webhooks/other HTTP/1.1\r\nHost: x\r\n{endless}")).await;
    assert!(found.starts_with("HTTP/1.1 404 ") && is_last(&found), "{found}");
    assert_eq!(code(&found), "not_found");
    let found = exchange(&served, format!("PUT {PATH} HTTP/1.1\r\nHost: x\r\n{endless}")).await;
    assert!(found.starts_with("HTTP/1.1 405 ") && is_last(&found), "{found}");
    assert!(found.to_ascii_lowercase().contains("allow: post\r\n"), "{found}");
    assert_eq!(code(&found), "method_not_allowed");
    let head = exchange(&served, format!("HEAD {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 405 ") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn a_declared_body_over_the_cap_is_refused_before_it_is_sent() {
    let served = serve("max_body_bytes = 1000").await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n");
    for expect in ["", "Expect: 100-continue\r\n"] {
        let answer = exchange(&served, format!("{head}{expect}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && is_last(&answer), "{answer}");
        assert_eq!(code(&answer), "body_too_large");
    }
}

#[tokio::test]
async fn a_chunked_body_over_the_cap_is_refused_and_one_at_the_cap_is_not() {
    let served = serve("max_body_bytes = 1000").await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let at_the_cap = exchange(&served, format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
    assert_eq!(code(&at_the_cap), "invalid_signature", "{at_the_cap}");
    let over = exchange(&served, format!("{head}{chunk}{chunk}1\r\nx\r\n0\r\n\r\n")).await;
    assert!(over.starts_with("HTTP/1.1 413 ") && is_last(&over), "{over}");
}

/// The answer must survive that the sender is still sending: closing with unread bytes would reset the connection.
#[tokio::test]
async fn a_refused_sender_gets_its_answer_even_while_it_is_still_sending() {
    let served = serve("").await;
    let mut client = Client::connect(&served).await;
    let body = vec![b'x'; 3 << 19];
    client.send(format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    client.send(&body[..1 << 19]).await;
    let answer = client.until("}").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    client.send(&body[..1 << 18]).await;
    assert_eq!(client.rest().await, "");
}

/// Sends `head` at once, then a byte each 20 ms for as long as the server takes them; returns what came back and when.
async fn trickle(served: &Served, head: &str, byte: &'static [u8]) -> (String, Duration) {
    let began = Instant::now();
    let (mut from, mut to) = Client::connect(served).await.0.into_split();
    to.write_all(head.as_bytes()).await.unwrap();
    let drip = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while to.write_all(byte).await.is_ok() {
            ticks.tick().await;
        }
    });
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, from.read_to_end(&mut bytes)).await.expect("the server must close");
    drip.abort();
    (String::from_utf8_lossy(&bytes).into_owned(), began.elapsed())
}

#[tokio::test]
async fn a_head_that_trickles_in_ends_with_the_time_for_the_whole_head() {
    let served = serve("header_timeout_ms = 300").await;
    for head in ["", "POST", "POST / HTTP/1.1\r\nHost: x\r\nA: "] {
        let (answer, took) = trickle(&served, head, b"x").await;
        assert_eq!(answer, "");
        assert!((300..5_000).contains(&took.as_millis()), "{took:?}");
    }
}

#[tokio::test]
async fn a_body_that_trickles_in_ends_with_the_time_for_the_whole_body() {
    let served = serve("body_timeout_ms = 300").await;
    let declared = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n");
    let chunked = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (head, byte) in [(declared, &b"x"[..]), (chunked, b"1\r\nx\r\n")] {
        let (answer, took) = trickle(&served, &head, byte).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && is_last(&answer), "{answer}");
        assert_eq!(code(&answer), "body_timeout");
        assert!((300..5_000).contains(&took.as_millis()), "{took:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let served = serve("header_timeout_ms = 300").await;
    assert_eq!(Client::connect(&served).await.rest().await, "");
    let mut client = Client::connect(&served).await;
    client.send(signed("")).await;
    client.until("}").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_client_that_never_reads_its_answers_is_cut_off() {
    let served = serve("body_timeout_ms = 300").await;
    let mut client = Client::connect(&served).await;
    let many = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    let flood = async { while client.0.write_all(many.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, flood).await.expect("the server must close");
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_badly_encoded_is_refused() {
    let served = serve("").await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let answer = exchange(&served, format!("{head}nothex\r\n")).await;
    assert!(answer.is_empty() || code(&answer) == "body_incomplete", "{answer}");
    let mut client = Client::connect(&served).await;
    client.send(post(PATH, "", EVENT).trim_end_matches('}')).await;
    client.0.shutdown().await.unwrap();
    let answer = client.rest().await;
    assert!(answer.is_empty() || code(&answer) == "body_incomplete", "{answer}");
}

/// In memory, so that the end is seen for certain while the answer is still being made.
#[tokio::test]
async fn a_sender_that_half_closes_still_gets_its_answer() {
    let (mut client, server) = tokio::io::duplex(1024);
    client.write_all(post(PATH, "", EVENT).as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let service = service_fn(|_| async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        Ok::<_, Infallible>(response::received())
    });
    protocol(&edge("").http).serve_connection(TokioIo::new(server), service).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(r#"{"received":true}"#), "{answer}");
}

#[tokio::test]
async fn whoever_is_one_too_many_waits_until_another_has_gone() {
    let served = serve("max_connections = 1, header_timeout_ms = 400").await;
    let began = Instant::now();
    let mut first = Client::connect(&served).await;
    first.send("POST").await;
    let answer = exchange(&served, signed("Connection: close\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(began.elapsed() >= Duration::from_millis(400), "served beside the first");
    assert_eq!(first.rest().await, "");
}

/// A request whose head was read and whose body the edge awaits: the 100 proves it.
async fn in_flight(served: &Served) -> Client {
    let mut client = Client::connect(served).await;
    let request = signed("Expect: 100-continue\r\n");
    client.send(request.split_once("\r\n\r\n").unwrap().0).await;
    client.send("\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
    client
}

#[tokio::test]
async fn a_drain_closes_the_port_and_idle_connections_and_finishes_what_it_began() {
    let mut served = serve("drain_timeout_ms = 10000").await;
    let mut idle = Client::connect(&served).await;
    idle.send(signed("")).await;
    idle.until("}").await;
    let mut busy = in_flight(&served).await;
    served.drain.begin();
    assert_eq!(idle.rest().await, "");
    assert!(TcpStream::connect(served.address).await.is_err(), "the port is still open");
    let early = tokio::time::timeout(Duration::from_millis(100), &mut served.ended).await;
    assert!(early.is_err(), "the drain did not wait for the request in flight");
    busy.send(EVENT).await;
    let answer = busy.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && is_last(&answer), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), served.ended).await.expect("drained").unwrap();
}

#[tokio::test]
async fn whoever_waits_in_the_queue_of_a_port_that_closes_is_answered_and_a_shared_port_goes_on() {
    // Several times, since the drain and the queue are seen in any order.
    for _ in 0..6 {
        let listening = edge("share_port = true").listen().await.unwrap();
        let (address, drain) = (listening.address(), Drain::default());
        let mut queued = Client(TcpStream::connect(address).await.unwrap());
        queued.send(signed("")).await;
        let next = open(address, true).expect("the port is shared");
        open(address, false).expect_err("a stranger has the port");
        drain.begin();
        let served = tokio::spawn(listening.serve(drain));
        let answer = queued.rest().await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && is_last(&answer), "{answer:?}");
        tokio::time::timeout(PATIENCE, served).await.expect("drained").unwrap();
        let (_, accepted) = tokio::join!(TcpStream::connect(address), next.accept());
        accepted.expect("the next process has the port");
    }
}

#[tokio::test]
async fn a_drain_is_over_when_its_time_is_over_or_it_turns_hard() {
    let served = serve("drain_timeout_ms = 300").await;
    let mut stuck = in_flight(&served).await;
    served.drain.begin();
    assert_eq!(stuck.rest().await, "");
    tokio::time::timeout(PATIENCE, served.ended).await.expect("drained").unwrap();

    let served = serve("drain_timeout_ms = 60000, body_timeout_ms = 60000").await;
    let mut stuck = in_flight(&served).await;
    served.drain.escalate();
    assert_eq!(stuck.rest().await, "");
    tokio::time::timeout(PATIENCE, served.ended).await.expect("drained").unwrap();
}

/// Bytes that nobody would send: whatever they are, the connection ends and the edge lives.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(format!("POST {PATH} HTTP/1.1\r\n").into_bytes()),
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        Just(b"Host: x\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Content-Length: -1\r\n".to_vec()),
        Just(b"Content-Length: 18446744073709551616\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Expect: 100-continue\r\n".to_vec()),
        Just(b"Upgrade: h2c\r\nConnection: upgrade\r\n".to_vec()),
        Just(b"Stripe-Signature: t=1,v1=00\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"ffffffffffffffff\r\n".to_vec()),
        Just(b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

#[test]
fn any_bytes_get_an_answer_or_a_closed_connection() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let served = runtime.block_on(serve("header_timeout_ms = 2000, body_timeout_ms = 2000"));
    proptest!(ProptestConfig::with_cases(200), |(bytes in garbage())| {
        let answer = runtime.block_on(async {
            let mut client = Client::connect(&served).await;
            // The server may close before it has all of it.
            let _ = client.0.write_all(&bytes).await;
            let _ = client.0.shutdown().await;
            client.rest().await
        });
        prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{}", answer);
        prop_assert!(!answer.contains(" 200 ") && !answer.contains(" 500 "), "{}", answer);
    });
    let mut oversized = "GET / HTTP/1.1\r\n".to_owned();
    while oversized.len() < 2 * HEAD_BYTES {
        write!(oversized, "a: {}\r\n", "x".repeat(1_000)).unwrap();
    }
    let answer = runtime.block_on(async {
        let mut client = Client::connect(&served).await;
        let _ = client.0.write_all(oversized.as_bytes()).await;
        client.rest().await
    });
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(!served.ended.is_finished(), "the edge died");
}
