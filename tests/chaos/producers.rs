//! Who sends, and their own record of what they were told: the truth that the oracle compares with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use millrace::client::{Account, CommandOptions, CommandPublisher, OwnKey};
use millrace::contract::payloads::ProjectsCreate;
use millrace::contract::{ActorKind, CommandIdentity, Lane, MessageId, MessageType, Principal, Role, TenantId};
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::watch;
use url::Url;

use super::schedule::{Load, POISON, Send, Way, What};
use crate::{Caller, Sample, World, eventually};

/// The service whose commands go straight to the broker, and over HTTP too.
pub const SERVICE: &str = "crm";
/// A try that has not been answered by then is of unknown outcome, and repeated.
const PATIENCE: Duration = Duration::from_secs(12);
/// Pause before a repetition.
const PAUSE: Duration = Duration::from_millis(150);
/// Sends that wait for their answers at the same time.
const SENDERS: usize = 32;

/// What is known of one message.
#[derive(Debug)]
pub struct Kept {
    /// Its id, by the contract.
    pub id: String,
    /// What names its effect: the event id of a row of history, or a project's name.
    pub effect: String,
    /// Times it was begun to be sent, repetitions included.
    pub attempted: AtomicU32,
    /// Times its sender was told that it is safe.
    pub confirmed: AtomicU32,
}

/// The record: one entry a message of the load.
#[derive(Debug)]
pub struct Record {
    /// The plan.
    pub load: Load,
    /// What happened, in the same order.
    pub kept: Vec<Kept>,
    /// Unix second in which the provider made its events: every copy of one is the same bytes.
    created: i64,
}

impl Record {
    /// Nothing is sent yet.
    pub fn new(load: Load, seed: u64, deployment: &str) -> Self {
        let kept = (0..load.messages.len())
            .map(|place| {
                let effect = effect(&load, seed, place);
                let id = id(&load, place, &effect, deployment);
                Kept { id, effect, attempted: AtomicU32::new(0), confirmed: AtomicU32::new(0) }
            })
            .collect();
        Self { load, kept, created: OffsetDateTime::now_utc().unix_timestamp() }
    }

    /// Messages attempted, messages confirmed, tries, confirms.
    pub fn counts(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        for kept in &self.kept {
            let (tries, confirms) = (kept.attempted.load(Ordering::SeqCst), kept.confirmed.load(Ordering::SeqCst));
            let seen = [u32::from(tries > 0), u32::from(confirms > 0), tries, confirms];
            counts.iter_mut().zip(seen).for_each(|(count, seen)| *count += u64::from(seen));
        }
        counts
    }
}

fn effect(load: &Load, seed: u64, place: usize) -> String {
    let message = &load.messages[place];
    let name = if message.what == What::Killer { POISON } else { "chaos" };
    if message.ways[0] == Way::Webhook {
        format!("evt_{name}_{seed}_{place}")
    } else {
        format!("{name} {seed} {place}")
    }
}

fn id(load: &Load, place: usize, effect: &str, deployment: &str) -> String {
    let message = &load.messages[place];
    if message.ways[0] == Way::Webhook {
        return MessageId::derived(deployment, &format!("stripe:{effect}")).to_string();
    }
    let command = MessageType::parse("projects.create").expect("a command");
    let identity = CommandIdentity {
        org: &TenantId::parse(message.tenant).expect("a tenant"),
        actor: &principal().actor_id(),
        command: &command,
        key: &key(place),
        body: &body(effect),
    };
    MessageId::of_command(deployment, &identity).to_string()
}

fn principal() -> Principal {
    Principal { kind: ActorKind::Service, id: SERVICE.to_owned(), role: Some(Role::Editor) }
}

fn key(place: usize) -> String {
    format!("chaos-{place}")
}

fn body(name: &str) -> Vec<u8> {
    json!({ "name": name }).to_string().into_bytes()
}

/// Sends the whole load at its pace, whatever is broken meanwhile.
pub struct Producers {
    world: Arc<World>,
    record: Arc<Record>,
    /// Where the ingress is at present.
    ingress: watch::Receiver<String>,
    direct: CommandPublisher,
    next: AtomicUsize,
    began: Instant,
    length: Duration,
    refused: AtomicU32,
}

impl Producers {
    /// Connects the direct publisher over these addresses.
    pub async fn new(
        world: Arc<World>,
        record: Arc<Record>,
        ingress: watch::Receiver<String>,
        addresses: Vec<Url>,
        length: Duration,
    ) -> Self {
        let (id, key) = world.seal_key(&format!("{SERVICE}-1"));
        let account = Account { addresses, ..world.account(SERVICE) };
        let contract = world.contract();
        let own = || OwnKey { id: id.clone(), key: key.clone(), lane: Lane::Overflow };
        let direct = eventually("the service is connected", async || {
            CommandPublisher::connect(&account, own(), &contract).await.ok()
        })
        .await;
        let (next, refused) = (AtomicUsize::new(0), AtomicU32::new(0));
        Self { world, record, ingress, direct, next, began: Instant::now(), length, refused }
    }

    /// Runs until everything is confirmed.
    pub async fn run(self: Arc<Self>) {
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..SENDERS {
            let own = Arc::clone(&self);
            senders.spawn(async move {
                while let Some(send) = own.take().await {
                    own.until_confirmed(send).await;
                }
            });
        }
        senders.join_all().await;
    }

    /// Tries that were refused or not answered.
    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::SeqCst)
    }

    /// The next send, when its time has come.
    async fn take(&self) -> Option<Send> {
        let sends = &self.record.load.sends;
        let place = self.next.fetch_add(1, Ordering::SeqCst);
        let send = *sends.get(place)?;
        let due = self.began + self.length.mul_f64(place as f64 / sends.len() as f64);
        tokio::time::sleep_until(due.into()).await;
        Some(send)
    }

    async fn until_confirmed(&self, send: Send) {
        let kept = &self.record.kept[send.message];
        loop {
            kept.attempted.fetch_add(1, Ordering::SeqCst);
            if tokio::time::timeout(PATIENCE, self.send(send)).await.unwrap_or(false) {
                kept.confirmed.fetch_add(1, Ordering::SeqCst);
                return;
            }
            self.refused.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// True when its sender was told that it is safe.
    async fn send(&self, send: Send) -> bool {
        let (message, effect) = (&self.record.load.messages[send.message], &self.record.kept[send.message].effect);
        let url = self.ingress.borrow().clone();
        match send.way {
            Way::Webhook => {
                let body = webhook(message.what, message.tenant, effect, self.record.created);
                self.world.post(&url, body).await.is_some_and(|answer| answer.status == 200)
            }
            Way::Http => {
                let token = Caller::service(message.tenant, SERVICE, "editor").token();
                let (key, body) = (key(send.message), json!({ "name": effect }));
                let answer = self.world.post_command(&url, &token, "projects.create", &key, &body).await;
                answer.is_some_and(|answer| answer.status == 202)
            }
            Way::Direct => {
                let tenant = TenantId::parse(message.tenant).expect("a tenant");
                let (key, body) = (key(send.message), body(effect));
                let options = CommandOptions::default();
                self.direct.publish_command::<ProjectsCreate>(&tenant, &principal(), &key, body, options).await.is_ok()
            }
        }
    }
}

fn webhook(what: What, tenant: &str, event: &str, created: i64) -> Vec<u8> {
    let mut sample = Sample::paid_invoice(&customer(tenant), &format!("sub_{tenant}"));
    sample.id = event.to_owned();
    sample.invoice = event.replacen("evt_", "in_", 1);
    match what {
        What::Unhandled => sample.event_type = "charge.updated".to_owned(),
        What::Malformed => {
            let hollow = json!({ "id": event, "type": "invoice.payment_failed", "created": created, "livemode": false,
                                 "data": { "object": {} } });
            return hollow.to_string().into_bytes();
        }
        _ => {}
    }
    sample.created = created;
    sample.body()
}

/// The customer that is linked to a tenant.
pub fn customer(tenant: &str) -> String {
    format!("cus_{tenant}")
}
