//! The programs that run while things break, and who starts them again when they die, as a supervisor of processes does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millrace::config::Process;
use tokio::sync::{Mutex, watch};
use url::Url;

use super::schedule::{Kind, POISON, SLOTS, Slot};
use crate::{Program, TcpRelay, World};

/// How often somebody looks whether a program has died.
const LOOK: Duration = Duration::from_millis(100);

/// A guard that is taken away, to see that the oracle notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Sabotage {
    /// workers take every message for a fresh one: the oracle must find doubled effects
    NoInbox,
    /// workers ack before they commit: the oracle must find lost messages
    AckBeforeCommit,
}

impl Sabotage {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoInbox => "no_inbox",
            Self::AckBeforeCommit => "ack_before_commit",
        }
    }
}

/// World, programs and the relays between them and the broker.
pub struct Stage {
    /// Servers, configuration.
    pub world: Arc<World>,
    /// One a node of the broker.
    pub relays: Vec<TcpRelay>,
    programs: BTreeMap<usize, Mutex<Option<Program>>>,
    ingress: watch::Sender<String>,
    sabotage: Option<Sabotage>,
    deaths: AtomicU32,
    injected: std::sync::Mutex<BTreeMap<Kind, u32>>,
}

impl Stage {
    /// Starts every program, and the relays that they reach the broker through.
    pub async fn start(world: Arc<World>, sabotage: Option<Sabotage>) -> Arc<Self> {
        let mut targets = vec![world.servers().rabbit.lock().await.amqp_address()];
        targets.extend(world.servers().further.lock().await.iter().map(|node| node.amqp_address()));
        let mut relays = Vec::new();
        for target in targets {
            relays.push(TcpRelay::start(target).await);
        }
        let programs = (0..SLOTS.len()).map(|place| (place, Mutex::new(None))).collect();
        let (ingress, deaths, injected) = (watch::Sender::default(), AtomicU32::new(0), std::sync::Mutex::default());
        let stage = Arc::new(Self { world, relays, programs, ingress, sabotage, deaths, injected });
        for slot in SLOTS {
            let mut place = stage.program(slot).lock().await;
            *place = Some(stage.begin(slot, "").await);
        }
        stage
    }

    /// Where the ingress is at present.
    pub fn ingress(&self) -> watch::Receiver<String> {
        self.ingress.subscribe()
    }

    /// The program of a slot; whoever holds it keeps the supervisor away.
    pub fn program(&self, slot: Slot) -> &Mutex<Option<Program>> {
        let place = SLOTS.iter().position(|known| *known == slot).expect("a known slot");
        &self.programs[&place]
    }

    /// Starts a slot's program, with further entries for `MILLRACE_CHAOS`.
    pub async fn begin(&self, slot: Slot, chaos: &str) -> Program {
        let mut entries: Vec<String> = Some(chaos.to_owned()).filter(|entry| !entry.is_empty()).into_iter().collect();
        if matches!(slot, Slot::Billing(_) | Slot::Projects(_)) {
            entries.push(format!("killer@{POISON}"));
            entries.extend(self.sabotage.map(|sabotage| format!("sabotage@{}", sabotage.name())));
        }
        let variables = [
            ("MILLRACE_CHAOS".to_owned(), entries.join(",")),
            (
                "MILLRACE__AMQP__ADDRESSES".to_owned(),
                self.addresses(first_node(slot)).iter().map(Url::to_string).collect::<Vec<_>>().join(","),
            ),
        ];
        let mut program = self.world.start_with(name(slot), &variables);
        if slot == Slot::Ingress {
            let line = program.announced().await.and_then(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
            if let Some(address) = line.as_ref().and_then(|line| line["listening"].as_str()) {
                self.ingress.send_replace(format!("http://{address}"));
            }
        }
        program
    }

    /// The relays as addresses, beginning with one of them, so that not everybody uses the same node.
    pub fn addresses(&self, first: usize) -> Vec<Url> {
        let known = self.world.config(Process::All).amqp.addresses[0].clone();
        let mut addresses: Vec<Url> = self
            .relays
            .iter()
            .map(|relay| {
                let mut through = known.clone();
                through.set_port(Some(relay.port())).expect("a port");
                through
            })
            .collect();
        let nodes = addresses.len();
        addresses.rotate_left(first % nodes);
        addresses
    }

    /// Starts again whatever has died, for as long as it is polled.
    pub async fn supervise(self: Arc<Self>) {
        loop {
            for slot in SLOTS {
                // Somebody is breaking it right now.
                let Ok(mut place) = self.program(slot).try_lock() else { continue };
                if place.as_mut().is_some_and(|program| !program.is_running()) {
                    self.deaths.fetch_add(1, Ordering::SeqCst);
                    *place = Some(self.begin(slot, "").await);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A fault has happened.
    pub fn injected(&self, kind: Kind) {
        *self.injected.lock().expect("the counts").entry(kind).or_default() += 1;
    }

    /// Faults so far, by kind.
    pub fn faults(&self) -> BTreeMap<Kind, u32> {
        self.injected.lock().expect("the counts").clone()
    }

    /// Programs that died by themselves and were started again: poison does that.
    pub fn deaths(&self) -> u32 {
        self.deaths.load(Ordering::SeqCst)
    }

    /// Ends every program.
    pub async fn end(&self) {
        for slot in SLOTS {
            if let Some(program) = self.program(slot).lock().await.take() {
                program.kill().await;
            }
        }
    }
}

fn name(slot: Slot) -> &'static str {
    match slot {
        Slot::Ingress => "millrace-ingress",
        Slot::Billing(_) => "millrace-billing",
        Slot::Projects(_) => "millrace-projects",
        Slot::Relay => "millrace-relay",
        Slot::Audit => "millrace-audit",
    }
}

fn first_node(slot: Slot) -> usize {
    match slot {
        Slot::Ingress | Slot::Billing(0) | Slot::Projects(0) => 0,
        Slot::Billing(_) | Slot::Projects(_) => 1,
        Slot::Relay | Slot::Audit => 2,
    }
}
