//! An issuer's key server on this host, which counts what it is asked, and the rules for the keys it publishes.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use millrace::config::PublicAlgorithm;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::super::keyset::KeySet;
use super::*;

/// No test waits longer; a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the server answers. What is no success comes with keys that nobody must take.
#[derive(Clone)]
pub(super) enum Reply {
    Document(Bytes),
    Status(StatusCode),
    Redirect(String),
}

/// Counts requests and answers what the test says.
pub(super) struct KeyServer {
    address: SocketAddr,
    hits: Arc<AtomicUsize>,
    reply: Arc<Mutex<Reply>>,
    /// A request is answered once it has a permit.
    gate: Arc<Semaphore>,
}

impl KeyServer {
    pub(super) async fn start(document: Value) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            hits: Arc::default(),
            reply: Arc::new(Mutex::new(Reply::Document(document.to_string().into()))),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        };
        let (hits, reply, gate) = (server.hits.clone(), server.reply.clone(), server.gate.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (hits, reply, gate) = (hits.clone(), reply.clone(), gate.clone());
                let service = service_fn(move |_: Request<Incoming>| {
                    let (hits, reply, gate) = (hits.clone(), reply.clone(), gate.clone());
                    async move {
                        hits.fetch_add(1, Ordering::SeqCst);
                        let _open = gate.acquire().await.unwrap();
                        let reply = reply.lock().unwrap().clone();
                        Ok::<_, Infallible>(answer(reply))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        server
    }

    pub(super) fn uri(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    pub(super) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// Waits until the server has been asked so often.
    pub(super) async fn asked(&self, hits: usize) {
        let asked = async {
            while self.hits() < hits {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("a request");
    }

    pub(super) fn publish(&self, document: &Value) {
        self.reply(Reply::Document(document.to_string().into()));
    }

    pub(super) fn reply(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// Lets requests in, but answers none until [`Self::open`].
    pub(super) fn shut(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(super) fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }
}

fn answer(reply: Reply) -> Response<Full<Bytes>> {
    let response = Response::builder();
    let wrong = Full::from(json!({ "keys": [STRANGER.jwk()] }).to_string());
    match reply {
        Reply::Document(document) => response.body(Full::new(document)),
        Reply::Status(status) => response.status(status).body(wrong),
        Reply::Redirect(to) => response.status(StatusCode::FOUND).header("location", to).body(wrong),
    }
    .unwrap()
}

const ALL: [PublicAlgorithm; 3] = PublicAlgorithm::ALL;

/// Does a set of this key and an honest one have this key?
fn takes(jwk: Value) -> bool {
    let honest = Key::ed("honest").jwk();
    let set = KeySet::parse(json!({ "keys": [jwk, honest] }).to_string().as_bytes(), &ALL).unwrap();
    assert!(set.find(Some("honest"), PublicAlgorithm::EdDsa).is_some(), "a bad key spoils a good one");
    ALL.into_iter().any(|algorithm| ["rsa", "ed", "ec"].iter().any(|id| set.find(Some(id), algorithm).is_some()))
}

fn with(key: &Key, member: &str, value: impl Into<Value>) -> Value {
    let mut jwk = key.jwk();
    jwk[member] = value.into();
    jwk
}

#[test]
fn keys_for_another_use_are_dropped() {
    for key in [&*ED, &*EC, &*RSA] {
        assert!(takes(key.jwk()));
        assert!(takes(with(key, "key_ops", json!(["verify"]))));
        for other in [
            with(key, "use", "enc"),
            with(key, "use", ""),
            with(key, "use", Value::Null),
            with(key, "key_ops", json!(["sign", "wrapKey"])),
            with(key, "key_ops", json!([])),
            with(key, "key_ops", "verify"),
            with(key, "alg", "HS256"),
            with(key, "alg", "RS512"),
            with(key, "alg", "none"),
            with(key, "alg", "RSA-OAEP"),
            with(key, "d", b64("the private half")),
        ] {
            assert!(!takes(other.clone()), "{other}");
        }
    }
}

#[test]
fn weak_keys_are_dropped() {
    let modulus = |bytes: usize, first: u8| {
        let mut modulus = vec![0xa5; bytes];
        modulus[0] = first;
        with(&RSA, "n", b64(modulus))
    };
    assert!(takes(modulus(256, 0x80)), "2,048 bits");
    assert!(takes(modulus(1_024, 0x80)), "8,192 bits");
    for (bytes, first) in [(64, 0xff), (128, 0xff), (255, 0xff), (256, 0x7f), (257, 0x00), (1_025, 0x01)] {
        let taken = takes(modulus(bytes, first));
        // A leading zero is not a bit: 257 bytes that begin with one are 2,048 bits.
        assert_eq!(taken, (bytes, first) == (257, 0), "{bytes} bytes from {first:#x}");
    }
    for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        assert!(!takes(with(&RSA, "e", b64(exponent))), "{exponent:?}");
    }
}

#[test]
fn keys_of_another_kind_are_dropped() {
    for other in [
        json!({ "kty": "oct", "kid": "ed", "k": b64(SECRET), "alg": "HS256", "use": "sig" }),
        with(&ED, "crv", "Ed448"),
        with(&ED, "kty", "EC"),
        with(&EC, "crv", "P-384"),
        with(&EC, "x", b64([7; 31])),
        with(&ED, "x", b64([7; 33])),
        with(&ED, "x", "not base64url!"),
        with(&RSA, "kid", json!(["rsa"])),
        with(&RSA, "kid", Value::Null),
        json!({ "kid": "ed" }),
        json!("ed"),
        Value::Null,
    ] {
        assert!(!takes(other.clone()), "{other}");
    }
}

#[test]
fn what_is_no_set_of_usable_keys_is_none_at_all() {
    let many: Vec<Value> = (0..65).map(|_| ED.jwk()).collect();
    for document in [
        json!({ "keys": [] }),
        json!({ "keys": [with(&ED, "use", "enc")] }),
        json!({ "keys": many }),
        json!({ "keys": ED.jwk() }),
        json!({}),
        json!([ED.jwk()]),
    ] {
        assert!(KeySet::parse(document.to_string().as_bytes(), &ALL).is_err(), "{document}");
    }
    assert!(KeySet::parse(json!({ "keys": [ED.jwk()] }).to_string().as_bytes(), &[PublicAlgorithm::Rs256]).is_err());
}

#[test]
fn an_id_that_two_keys_share_names_neither() {
    let set = json!({ "keys": [Key::ed("twice").jwk(), Key::ed("twice").jwk(), Key::ed("twice").jwk(), ED.jwk()] });
    let set = KeySet::parse(set.to_string().as_bytes(), &ALL).unwrap();
    assert!(set.find(Some("twice"), PublicAlgorithm::EdDsa).is_none());
    assert!(set.find(Some("ed"), PublicAlgorithm::EdDsa).is_some());
}

#[test]
fn a_token_without_a_key_id_has_a_key_only_where_there_is_no_choice() {
    let set = json!({ "keys": [ED.jwk(), EC.jwk(), Key::ec("other").jwk()] });
    let set = KeySet::parse(set.to_string().as_bytes(), &ALL).unwrap();
    assert!(set.find(None, PublicAlgorithm::EdDsa).is_some());
    assert!(set.find(None, PublicAlgorithm::Es256).is_none());
    assert!(set.find(None, PublicAlgorithm::Rs256).is_none());
    // Exact: no other case, no part of it, and not the id of a key of another algorithm.
    for id in ["", "ED", "e", "ed ", "ec"] {
        assert!(set.find(Some(id), PublicAlgorithm::EdDsa).is_none(), "{id:?}");
    }
}
