//! The seal byte by byte, for other languages: what the product seals is what the golden file says, and what the few
//! lines below make of the description in ARCHITECTURE.md.

use hmac::{Hmac, KeyInit, Mac};
use millrace::contract::{
    ActorKind, CommandIdentity, Envelope, Field, Grant, KeyId, Lane, MessageId, MessageType, Origin, Principal,
    Publisher, PublisherName, Role, SEALED_FIELDS, SealKey, Signer, TenantId, Tenants, Timestamp, WireMessage,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

const DEPLOYMENT: &str = "demo";
const KEY: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/promises/golden/seal_vectors.json");

/// A message with the items whose hash is its id.
struct Example {
    name: &'static str,
    publisher: &'static str,
    envelope: Envelope,
    body: &'static [u8],
    id_items: Vec<Vec<u8>>,
}

fn envelope(message_id: MessageId, message_type: &str, principal: Principal) -> Envelope {
    Envelope {
        message_id,
        message_type: MessageType::parse(message_type).expect("a type"),
        schema_version: 1,
        content_type: "application/json".to_owned(),
        org_id: None,
        principal,
        token: None,
        origin: None,
        dedupe_key: None,
        correlation_id: None,
        causation_id: None,
        issued_at: Timestamp::from_unix(1_700_000_000).expect("a time"),
        expected_version: None,
    }
}

fn texts(items: &[&str]) -> Vec<Vec<u8>> {
    items.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The example of ARCHITECTURE.md.
fn webhook() -> Example {
    let id = MessageId::derived(DEPLOYMENT, "stripe:evt_1");
    let mut envelope = envelope(id, "stripe.event", Principal::webhook("stripe"));
    envelope.origin = Some(Origin { source: "stripe".into(), scheme: "stripe-v1".into(), secret_id: "s1".into() });
    envelope.dedupe_key = Some("stripe:evt_1".to_owned());
    let id_items = texts(&["millrace-webhook-message-v1", DEPLOYMENT, "stripe:evt_1"]);
    Example { name: "a webhook", publisher: "ingress", envelope, body: br#"{"id":"evt_1"}"#, id_items }
}

fn command(name: &'static str, actor: &str, key: &str, body: &'static [u8]) -> Example {
    let (org, command) =
        (TenantId::parse("acme").expect("a tenant"), MessageType::parse("projects.create").expect("a type"));
    let principal = Principal { kind: ActorKind::Service, id: actor.to_owned(), role: Some(Role::Editor) };
    let actor_id = principal.actor_id();
    let identity = CommandIdentity { org: &org, actor: &actor_id, command: &command, key, body };
    let mut envelope = envelope(MessageId::of_command(DEPLOYMENT, &identity), command.as_str(), principal);
    let mut id_items =
        texts(&["millrace-command-message-v1", DEPLOYMENT, org.as_str(), &actor_id, command.as_str(), key]);
    id_items.push(Sha256::digest(body).to_vec());
    envelope.org_id = Some(org);
    envelope.dedupe_key = Some(key.to_owned());
    Example { name, publisher: "crm", envelope, body, id_items }
}

fn event(cause: &Example) -> Example {
    let (publisher, cause) = (PublisherName::parse(cause.publisher).expect("a name"), &cause.envelope);
    let created = MessageType::parse("projects.created").expect("a type");
    let id = MessageId::of_event(DEPLOYMENT, &publisher, &cause.message_id, &created);
    let id_items = texts(&[
        "millrace-event-message-v1",
        DEPLOYMENT,
        publisher.as_str(),
        cause.message_id.as_str(),
        "projects.created",
    ]);
    let mut envelope = envelope(id, created.as_str(), Principal::system("worker"));
    envelope.org_id.clone_from(&cause.org_id);
    envelope.correlation_id = Some(cause.message_id.to_string());
    envelope.causation_id = Some(cause.message_id.clone());
    let body = br#"{"id":"0190a5e4-7c3b-7000-8000-000000000001","name":"Lighthouse","version":1}"#;
    Example { name: "an event", publisher: "worker", envelope, body, id_items }
}

fn examples() -> Vec<Example> {
    let plain = command("a command with an idempotency key", "crm", "deal-4711", br#"{"name":"Lighthouse"}"#);
    let body = "{\"name\":\"Überlandwerk ☀\"}".as_bytes();
    let mut foreign = command("bytes beyond ASCII in a field and in the body", "Zoë", "k", body);
    foreign.envelope.expected_version = Some(3);
    let mut empty = command("an empty text is there", "crm", "k", b"{}");
    empty.envelope.correlation_id = Some(String::new());
    let event = event(&plain);
    vec![webhook(), plain, foreign, empty, event]
}

fn seal(example: &Example) -> WireMessage {
    let grant = Grant {
        types: Vec::new(),
        tenants: Tenants::All,
        kinds: Vec::new(),
        highest_role: Role::Admin,
        lane: Lane::Main,
    };
    let key_id = KeyId::parse(&format!("{}-1", example.publisher)).expect("a key id");
    let name = PublisherName::parse(example.publisher).expect("a name");
    let publisher = Publisher { key_id, name, grant, key: SealKey::new(KEY).expect("a key") };
    let signer = Signer::alone(DEPLOYMENT, publisher);
    signer.seal(&example.envelope, Lane::Main, example.body.to_vec()).expect("a sealed message")
}

/// The description of ARCHITECTURE.md once more, apart from the product's code.
fn input(wire: &WireMessage) -> Vec<u8> {
    let mut input = Vec::new();
    let mut feed = |item: Option<&[u8]>| match item {
        None => input.push(0),
        Some(bytes) => {
            input.push(1);
            input.extend(u32::try_from(bytes.len()).expect("a length").to_be_bytes());
            input.extend(bytes);
        }
    };
    feed(Some(b"millrace-seal-v1"));
    feed(Some(DEPLOYMENT.as_bytes()));
    SEALED_FIELDS.iter().for_each(|field| feed(wire.get(*field).map(str::as_bytes)));
    feed(Some(&Sha256::digest(&wire.body)));
    input
}

/// The id that the items have: a UUID of version 8 from the first 16 bytes of their hash.
fn id(items: &[Vec<u8>]) -> String {
    let mut hash = Sha256::new();
    for item in items {
        hash.update(u32::try_from(item.len()).expect("a length").to_be_bytes());
        hash.update(item);
    }
    let mut bytes: [u8; 16] = hash.finalize()[..16].try_into().expect("16 bytes");
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    uuid::Uuid::from_bytes(bytes).hyphenated().to_string()
}

fn vector(example: &Example) -> Value {
    let wire = seal(example);
    let fields: Map<String, Value> = SEALED_FIELDS
        .into_iter()
        .filter_map(|field| Some((field.name().to_owned(), wire.get(field)?.into())))
        .collect();
    json!({
        "name": example.name,
        "deployment": DEPLOYMENT,
        "key_hex": hex::encode(KEY),
        "fields": fields,
        "body_hex": hex::encode(&wire.body),
        "message_id_items_hex": example.id_items.iter().map(hex::encode).collect::<Vec<_>>(),
        "seal_input_hex": hex::encode(input(&wire)),
        "seal": wire.get(Field::Seal),
    })
}

#[test]
fn the_product_seals_as_the_golden_vectors_say() {
    let vectors: Vec<Value> = examples().iter().map(vector).collect();
    let rendered = format!("{:#}\n", json!({ "vectors": vectors }));
    if std::env::var_os("MILLRACE_WRITE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &rendered).expect("the golden file");
    }
    let golden = std::fs::read_to_string(GOLDEN).expect("the golden file");
    assert_eq!(golden, rendered, "wire format: see CONTRIBUTING.md before you run with MILLRACE_WRITE_GOLDEN=1");
}

#[test]
fn the_description_of_the_seal_is_enough_to_make_one() {
    for example in examples() {
        let wire = seal(&example);
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("a key");
        mac.update(&input(&wire));
        let made = hex::encode(mac.finalize().into_bytes());
        assert_eq!(Some(made.as_str()), wire.get(Field::Seal), "{}", example.name);
        assert_eq!(Some(id(&example.id_items).as_str()), wire.get(Field::MessageId), "{}", example.name);
    }
}
