//! Any byte sequence on the public port gets an HTTP answer or a closed connection: never a panic, never a hang past
//! its time-out, never a message on a queue.

use std::time::{Duration, Instant};

use millrace_tests::{Left, Program, World, eventually, signature};
use rand::{Rng, RngExt};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CAP: usize = 1 << 20;
const HEADER_TIMEOUT: Duration = Duration::from_millis(700);
const BODY_TIMEOUT: Duration = Duration::from_millis(900);
/// Beyond every time-out of the process; a connection that is still open then hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "whsec_first";

/// An ingress with nobody behind the queue, so that every message it publishes stays there and can be counted.
struct Edge {
    world: World,
    ingress: Program,
    url: String,
    accepted: u32,
}

impl Edge {
    async fn start() -> Self {
        let mut world = World::new().await;
        world.tenant("acme", "cus_1").await;
        world.set("MILLRACE__HTTP__HEADER_TIMEOUT_MS", HEADER_TIMEOUT.as_millis().to_string());
        world.set("MILLRACE__HTTP__BODY_TIMEOUT_MS", BODY_TIMEOUT.as_millis().to_string());
        let (ingress, url) = world.start_ingress().await;
        Self { world, ingress, url, accepted: 0 }
    }

    async fn connect(&self) -> TcpStream {
        let address = self.url.trim_start_matches("http://");
        TcpStream::connect(address).await.expect("a connection")
    }

    /// Writes bytes and reads until the other side closes; returns the status codes of all answers.
    async fn statuses(&self, what: &str, bytes: &[u8]) -> Vec<u16> {
        let mut stream = self.connect().await;
        // The other side may refuse before it has read everything.
        let _ = stream.write_all(bytes).await;
        statuses(&read_to_end(what, &mut stream).await)
    }

    /// Nothing but the good events has come to the queue, and the process takes another one.
    async fn still_answers(&mut self, what: &str) {
        self.world.accept(&self.url, &self.world.invoice_event("cus_1")).await;
        self.accepted += 1;
        eventually(&format!("only good events are queued after: {what}"), async || {
            (self.world.depth("work.billing.main").await == self.accepted).then_some(())
        })
        .await;
        assert!(!self.ingress.log_text().contains("panicked"), "{what}: {}", self.ingress.log_text());
    }

    /// Lets the workers have what was accepted: all of it, once.
    async fn finish(self) {
        let wanted = usize::try_from(self.accepted).expect("a count");
        let programs = ["millrace-billing", "millrace-relay", "millrace-audit"].map(|p| self.world.start(p));
        self.world.until_lines("applied", wanted).await;
        assert_eq!(self.world.count("select count(*) from app.billing_history").await, i64::from(self.accepted));
        self.world.finish(Left::default()).await;
        drop((programs, self.ingress));
    }
}

async fn read_to_end(what: &str, stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A reset is a closed connection too.
    let _ = read.unwrap_or_else(|_| panic!("{what}: the connection hangs"));
    answer
}

fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.split("HTTP/1.").skip(1);
    lines.map(|line| line.get(2..5).and_then(|status| status.parse().ok()).expect("a status")).collect()
}

/// A request whose signature is good for its body.
fn request(headers: &str, body: &[u8]) -> Vec<u8> {
    let signed = signature(SECRET, OffsetDateTime::now_utc().unix_timestamp(), body);
    let head = format!("POST /api/billing/webhooks HTTP/1.1\r\nHost: x\r\nStripe-Signature: {signed}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let chunks = body
        .chunks(1 << 14)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).into_bytes(), chunk.to_vec(), b"\r\n".to_vec()].concat());
    chunks.chain(b"0\r\n\r\n".iter().copied()).collect()
}

/// The body of a good event, made longer by what JSON ignores.
fn padded(body: &[u8], length: usize) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(length, b' ');
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_are_refused_or_cut_off() {
    let mut edge = Edge::start().await;
    let mut random = vec![0; 16 << 10];
    rand::rng().fill_bytes(&mut random);
    let many: String = (0..2_000).map(|n| format!("X-{n}: x\r\n")).collect();
    let garbage: [(&str, Vec<u8>); 14] = [
        ("random bytes", random),
        ("zeros", vec![0; 4_096]),
        ("line ends", b"\r\n".repeat(5_000)),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(40)),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("an unknown version", b"POST /api/billing/webhooks HTTP/9.9\r\n\r\n".to_vec()),
        ("no version", b"POST /api/billing/webhooks\r\n\r\n".to_vec()),
        ("another protocol", b"AMQP\0\0\x09\x01".to_vec()),
        ("a head of a megabyte", request(&format!("X: {}\r\n", "x".repeat(1 << 20)), b"")),
        ("two thousand headers", request(&many, b"")),
        ("an endless path", [b"POST /".to_vec(), vec![b'a'; 200 << 10], b" HTTP/1.1\r\n\r\n".to_vec()].concat()),
        ("a header without a colon", request("nonsense\r\n", b"")),
        ("a control character in a header", request("X: a\x01b\r\n", b"")),
        ("a name with a blank", request("X Y: a\r\n", b"")),
    ];
    for (what, bytes) in garbage {
        for status in edge.statuses(what, &bytes).await {
            assert!((400..500).contains(&status), "{what}: {status}");
        }
        edge.still_answers(what).await;
    }
    edge.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_in_a_forged_request_no_message_comes_of_it() {
    let mut edge = Edge::start().await;
    let body = edge.world.invoice_event("cus_1").body();
    let forged = signature("whsec_other", OffsetDateTime::now_utc().unix_timestamp(), &body);
    let head = format!(
        "POST /api/billing/webhooks HTTP/1.1\r\nHost: x\r\nStripe-Signature: {forged}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let whole = [head.as_bytes(), &body].concat();
    assert_eq!(edge.statuses_and_hang_up("the forged request itself", &whole).await, [400]);
    for number in 0..300 {
        let bytes = mutated(&whole);
        let what = format!("mutation {number}: {}", bytes.escape_ascii());
        for status in edge.statuses_and_hang_up(&what, &bytes).await {
            assert!((400..500).contains(&status), "{status} for {what}");
        }
    }
    edge.still_answers("300 mutations").await;
    edge.finish().await;
}

impl Edge {
    /// As [`Self::statuses`], closing our half, so that what is cut off ends at once.
    async fn statuses_and_hang_up(&self, what: &str, bytes: &[u8]) -> Vec<u16> {
        let mut stream = self.connect().await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        statuses(&read_to_end(what, &mut stream).await)
    }
}

/// Some bytes changed, lost, doubled or put elsewhere.
fn mutated(bytes: &[u8]) -> Vec<u8> {
    let mut rng = rand::rng();
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..5) {
            0 => bytes[at] = rng.random(),
            1 if bytes.len() > 1 => drop(bytes.remove(at)),
            1 | 2 => bytes.insert(at, *[b'\r', b'\n', b'0', b':', b' ', 0].get(at % 6).expect("one of six")),
            3 => bytes.truncate(at.max(1)),
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_cap_is_refused_and_never_cut_to_fit() {
    let mut edge = Edge::start().await;
    let event = edge.world.invoice_event("cus_1").body();
    let long = padded(&event, CAP + 1);
    let length = |length: usize| format!("Content-Length: {length}\r\n");
    let chunks = [request("Transfer-Encoding: chunked\r\n", b""), chunked(&long)].concat();
    let signed = request("Transfer-Encoding: chunked\r\n", &long);
    let head = signed.len() - long.len();
    let too_long = [
        ("a signed megabyte and a byte", request(&length(CAP + 1), &long)),
        ("a length beyond the cap, nothing sent", request(&length(CAP + 1), b"")),
        ("a length of a gigabyte", request(&length(1 << 30), &event)),
        ("chunks beyond the cap", chunks),
        ("signed chunks beyond the cap", [&signed[..head], &chunked(&long)].concat()),
        ("one chunk beyond the cap", [&signed[..head], b"100001\r\n".as_slice(), &long].concat()),
    ];
    for (what, bytes) in too_long {
        let answer = edge.statuses(what, &bytes).await;
        assert_eq!(answer, [413], "{what}");
        edge.still_answers(what).await;
    }
    let answer = edge.world.post(&edge.url, long).await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));

    let fits = padded(&event, CAP);
    assert_eq!(edge.world.post(&edge.url, fits).await.expect("an answer").status, 200);
    let other = padded(&edge.world.invoice_event("cus_1").body(), CAP);
    let signed = request("Transfer-Encoding: chunked\r\nConnection: close\r\n", &other);
    let bytes = [&signed[..signed.len() - other.len()], &chunked(&other)].concat();
    assert_eq!(edge.statuses("a signed megabyte in chunks", &bytes).await, [200]);
    edge.accepted += 2;
    edge.still_answers("two events of exactly a megabyte").await;
    edge.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_no_length_is_refused() {
    let mut edge = Edge::start().await;
    let event = edge.world.invoice_event("cus_1").body();
    let n = event.len();
    let bad = [
        ("beyond all numbers", request("Content-Length: 99999999999999999999999\r\n", &event)),
        ("negative", request("Content-Length: -1\r\n", &event)),
        ("a word", request("Content-Length: many\r\n", &event)),
        ("two lengths", request(&format!("Content-Length: {n}\r\nContent-Length: 1\r\n"), &event)),
        ("another coding", request("Transfer-Encoding: gzip\r\n", &event)),
        ("a chunk of no number", request("Transfer-Encoding: chunked\r\n", b"zz\r\nab\r\n0\r\n\r\n")),
        ("a chunk of too large a number", request("Transfer-Encoding: chunked\r\n", b"ffffffffffffffffff\r\nab\r\n")),
        ("less than it says", request(&format!("Content-Length: {}\r\n", n + 1), &event)),
        ("more than it says", request(&format!("Content-Length: {}\r\n", n - 1), &event)),
        ("no length at all", request("", b"")),
    ];
    for (what, bytes) in bad {
        for status in edge.statuses_and_hang_up(what, &bytes).await {
            assert!((400..500).contains(&status), "{what}: {status}");
        }
        edge.still_answers(what).await;
    }
    edge.finish().await;
}

/// Sends the rest byte by byte for as long as the other side listens; returns how long that was, and its answer.
async fn drip(what: &str, stream: &mut TcpStream) -> (Duration, Vec<u8>) {
    let began = Instant::now();
    let mut answer = vec![0; 4_096];
    loop {
        assert!(began.elapsed() < PATIENCE, "{what}: a slow sender is never cut off");
        match tokio::time::timeout(Duration::from_millis(50), stream.read(&mut answer)).await {
            Ok(Ok(length)) => return (began.elapsed(), answer[..length].to_vec()),
            Ok(Err(_)) => return (began.elapsed(), Vec::new()),
            Err(_) => drop(stream.write_all(b"x").await),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sender_is_cut_off_after_its_time_out() {
    let mut edge = Edge::start().await;
    let head = request("Content-Length: 5000\r\n", b"");
    let slow = [
        ("an idle connection", &b""[..], HEADER_TIMEOUT, None),
        ("a slow method", b"P", HEADER_TIMEOUT, None),
        ("a slow header", b"POST /api/billing/webhooks HTTP/1.1\r\nX: ", HEADER_TIMEOUT, None),
        ("a slow body", &head, BODY_TIMEOUT, Some(408)),
        (
            "slow chunks",
            b"POST /api/billing/webhooks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n",
            BODY_TIMEOUT,
            Some(408),
        ),
    ];
    for (what, first, limit, status) in slow {
        let mut stream = edge.connect().await;
        stream.write_all(first).await.expect("a first part");
        let (took, answer) = if first.is_empty() {
            let began = Instant::now();
            let answer = read_to_end(what, &mut stream).await;
            (began.elapsed(), answer)
        } else {
            drip(what, &mut stream).await
        };
        assert!(took > limit / 2 && took < limit + Duration::from_secs(5), "{what}: after {took:?}");
        match status {
            Some(status) => assert_eq!(statuses(&answer), [status], "{what}"),
            None => assert!(statuses(&answer).iter().all(|status| *status == 408), "{what}"),
        }
        edge.still_answers(what).await;
    }
    edge.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_half_sent_requests_hold_nobody_up() {
    let mut edge = Edge::start().await;
    let head = request("Content-Length: 5000\r\n", b"half");
    let mut open = Vec::new();
    for number in 0..200 {
        let mut stream = edge.connect().await;
        let part = if number % 2 == 0 { &head[..] } else { &head[..40] };
        stream.write_all(part).await.expect("a part");
        open.push(stream);
    }
    edge.still_answers("two hundred half-sent requests").await;
    for mut stream in open {
        let answer = read_to_end("a half-sent request", &mut stream).await;
        assert!(statuses(&answer).iter().all(|status| *status == 408), "{}", answer.escape_ascii());
    }
    for _ in 0..50 {
        let mut stream = edge.connect().await;
        let _ = stream.write_all(&head).await;
        drop(stream);
    }
    edge.still_answers("fifty that hung up").await;
    edge.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_good_request_on_its_connection_harms_nobody() {
    let mut edge = Edge::start().await;
    let good = |edge: &Edge| {
        let body = edge.world.invoice_event("cus_1").body();
        request(&format!("Content-Length: {}\r\n", body.len()), &body)
    };
    let three = [good(&edge), good(&edge), good(&edge)].concat();
    assert_eq!(edge.statuses_and_hang_up("three at once", &three).await, [200; 3]);
    let followed = [good(&edge), b"\xff\xfe no request\r\n\r\n".to_vec()].concat();
    let answer = edge.statuses_and_hang_up("garbage behind a good one", &followed).await;
    assert!(answer[0] == 200 && answer[1..].iter().all(|status| *status == 400), "{answer:?}");
    edge.accepted += 4;
    edge.still_answers("garbage behind a good one").await;

    // A second request hidden in a body whose end two readers could see in two places.
    let hidden = good(&edge);
    let both = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", hidden.len() + 5);
    let bytes = [request(&both, b"0\r\n\r\n"), hidden].concat();
    let answer = edge.statuses_and_hang_up("a hidden request", &bytes).await;
    assert!(answer.iter().all(|status| *status == 400), "a hidden request was read: {answer:?}");
    edge.still_answers("a hidden request").await;
    edge.finish().await;
}
