//! What a seed means: which messages are sent how often and in which order, and what is broken when. Pure, so the same seed
//! is the same plan on every machine; how the threads meet is not in it.

use std::time::Duration;

/// Tenants with room for everything.
pub const OPEN: [&str; 4] = ["acme", "globex", "initech", "umbrella"];
/// A tenant whose plan has room for [`ROOM`] projects.
pub const SMALL: &str = "small";
/// See [`SMALL`].
pub const ROOM: usize = 3;
/// A suspended tenant.
pub const FROZEN: &str = "frozen";
/// A message whose body holds this kills whoever handles it.
pub const POISON: &str = "crash-poison";

/// Copies of one message lie at most so many sends apart.
const SPREAD: u64 = 60;
/// Messages that kill their process: so many of each way, whatever the length of the run.
const KILLERS: [Way; 2] = [Way::Webhook, Way::Http];

/// A generator of one's own (splitmix64), so that a seed means the same with every version of every crate.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Throws that follow from a seed, different for each purpose.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut dice = Self(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From zero to below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Signed, through the ingress.
    Webhook,
    /// A command over HTTP.
    Http,
    /// A command straight to the broker, by the Rust client.
    Direct,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// A paid invoice: a row of billing history.
    Invoice,
    /// An event that nobody handles.
    Unhandled,
    /// A signed event without its object.
    Malformed,
    /// A project of a tenant with room.
    Project,
    /// A project of a tenant with hardly any.
    LimitedProject,
    /// A project of a suspended tenant.
    FrozenProject,
    /// Kills whoever handles it: an invoice or a project, by its way.
    Killer,
}

/// One message, however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub what: What,
    /// Whose it is.
    pub tenant: &'static str,
    /// Each time it is sent.
    pub ways: Vec<Way>,
}

/// One time a message is sent: its place in [`Load::messages`], and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send {
    /// Which.
    pub message: usize,
    /// How.
    pub way: Way,
}

/// Everything that is sent, in the order of the first tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The messages.
    pub messages: Vec<Message>,
    /// Every copy of them, reordered.
    pub sends: Vec<Send>,
}

impl Load {
    /// So many messages and the killers.
    pub fn of(seed: u64, count: usize) -> Self {
        let mut dice = Dice::new(seed, 1);
        let mut messages: Vec<Message> = (0..count).map(|_| message(&mut dice)).collect();
        for way in KILLERS {
            let place = dice.below(messages.len() as u64 / 2 + 1) as usize;
            let killer = Message { what: What::Killer, tenant: dice.pick(&OPEN), ways: vec![way] };
            messages.insert(place, killer);
        }
        let mut placed: Vec<(u64, Send)> = Vec::new();
        for (place, message) in messages.iter().enumerate() {
            for way in &message.ways {
                // Copies land up to SPREAD places later; some land together and are sent at once.
                placed.push((place as u64 + dice.below(SPREAD), Send { message: place, way: *way }));
            }
        }
        placed.sort_by_key(|(at, _)| *at);
        Self { messages, sends: placed.into_iter().map(|(_, send)| send).collect() }
    }
}

fn message(dice: &mut Dice) -> Message {
    let (what, tenant) = match dice.below(100) {
        0..48 => (What::Invoice, dice.pick(&OPEN)),
        48..52 => (What::Unhandled, dice.pick(&OPEN)),
        52..54 => (What::Malformed, dice.pick(&OPEN)),
        54..92 => (What::Project, dice.pick(&OPEN)),
        92..96 => (What::LimitedProject, SMALL),
        _ => (What::FrozenProject, FROZEN),
    };
    let first = match what {
        What::Invoice | What::Unhandled | What::Malformed => Way::Webhook,
        _ => dice.pick(&[Way::Http, Way::Http, Way::Direct]),
    };
    // A command that is rejected leaves no key behind, so over two publishers' keys it would be rejected twice, rightly.
    let both = what == What::Project;
    let other = |dice: &mut Dice| if both { dice.pick(&[Way::Http, Way::Direct]) } else { first };
    let copies = dice.pick(&[0, 0, 0, 1, 1, 2]);
    let ways = std::iter::once(first).chain((0..copies).map(|_| other(dice))).collect();
    Message { what, tenant, ways }
}

/// A running program of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The edge.
    Ingress,
    /// Two workers.
    Billing(usize),
    /// Two workers.
    Projects(usize),
    /// The relay.
    Relay,
    /// The writer of the audit log.
    Audit,
}

/// Every program that runs.
pub const SLOTS: [Slot; 7] =
    [Slot::Ingress, Slot::Billing(0), Slot::Billing(1), Slot::Projects(0), Slot::Projects(1), Slot::Relay, Slot::Audit];
const WORKERS: [Slot; 4] = [Slot::Billing(0), Slot::Billing(1), Slot::Projects(0), Slot::Projects(1)];
const POINTS: [&str; 6] =
    ["after_claim", "in_handler", "before_commit", "after_commit", "before_ack", "before_publish"];

/// A kind of fault, by the name that `--only` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// kill -9 of one of our programs, at any moment
    Kill,
    /// a worker aborts at a named point
    Abort,
    /// a worker stops itself (SIGSTOP) at a named point and goes on later
    Stop,
    /// SIGSTOP of one of our programs at any moment, sometimes for longer than a heartbeat
    Freeze,
    /// kill -9 of every node of the broker, then start
    Broker,
    /// kill -9 of the node that leads the queues, then start (with three nodes)
    Leader,
    /// PostgreSQL shut down as by a crash, then start
    Postgres,
    /// kill -9 of a backend, for which PostgreSQL restarts all of them
    Backend,
    /// every connection to PostgreSQL terminated, several times
    Sessions,
    /// the broker's memory alarm: publishers are blocked
    Blocked,
    /// every connection to the broker cut
    Cut,
    /// connections to the broker half-open: what we say is lost, what it says arrives
    HalfOpen,
    /// nothing arrives on any connection to the broker, for a while
    Stall,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Kill,
        Self::Abort,
        Self::Stop,
        Self::Freeze,
        Self::Broker,
        Self::Leader,
        Self::Postgres,
        Self::Backend,
        Self::Sessions,
        Self::Blocked,
        Self::Cut,
        Self::HalfOpen,
        Self::Stall,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Abort => "abort",
            Self::Stop => "stop",
            Self::Freeze => "freeze",
            Self::Broker => "broker",
            Self::Leader => "leader",
            Self::Postgres => "postgres",
            Self::Backend => "backend",
            Self::Sessions => "sessions",
            Self::Blocked => "blocked",
            Self::Cut => "cut",
            Self::HalfOpen => "half_open",
            Self::Stall => "stall",
        }
    }
}

/// One fault with everything that chance decides about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub kind: Kind,
    /// How long after the fault before it on its track.
    pub pause: Duration,
    /// Whom, where it is one of our programs.
    pub slot: Slot,
    /// Where, for [`Kind::Abort`] and [`Kind::Stop`].
    pub point: &'static str,
    /// At which pass of the point.
    pub pass: u64,
    /// How long, where it lasts.
    pub hold: Duration,
}

/// Faults on tracks that run beside each other; on one track one follows the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Programs that die, programs that stand still, servers, connections.
    pub tracks: [Vec<Fault>; 4],
}

impl Schedule {
    /// More faults than fit into a run: it ends by the clock, and how long a fault takes is not in the plan.
    pub fn of(seed: u64, kinds: &[Kind], brokers: usize, short: bool) -> Self {
        let tracks = [
            [Kind::Kill, Kind::Abort, Kind::Stop].as_slice(),
            &[Kind::Freeze],
            &[Kind::Broker, Kind::Leader, Kind::Postgres, Kind::Backend, Kind::Sessions, Kind::Blocked],
            &[Kind::Cut, Kind::HalfOpen, Kind::Stall],
        ];
        let mut number = 1;
        let tracks = tracks.map(|track| {
            number += 1;
            let wanted = |kind: &&Kind| kinds.contains(kind) && (**kind != Kind::Leader || brokers > 1);
            let kinds: Vec<Kind> = track.iter().filter(wanted).copied().collect();
            self::track(&mut Dice::new(seed, number), &kinds, short)
        });
        Self { tracks }
    }
}

/// Every kind comes once before one comes again, so that a short run has seen all of them.
fn track(dice: &mut Dice, kinds: &[Kind], short: bool) -> Vec<Fault> {
    const ROUNDS: usize = 40;
    let mut faults = Vec::new();
    for _ in 0..ROUNDS {
        let mut left = kinds.to_vec();
        while !left.is_empty() {
            let kind = left.swap_remove(dice.below(left.len() as u64) as usize);
            faults.push(fault(dice, kind, short));
        }
    }
    faults
}

fn fault(dice: &mut Dice, kind: Kind, short: bool) -> Fault {
    let servers = matches!(kind, Kind::Broker | Kind::Leader | Kind::Postgres | Kind::Backend | Kind::Blocked);
    let pause = if servers { dice.millis(1_500, 4_000) } else { dice.millis(300, 1_800) };
    let slot = if matches!(kind, Kind::Abort | Kind::Stop) { dice.pick(&WORKERS) } else { dice.pick(&SLOTS) };
    // Longer than two heartbeats of 15 s: the broker takes a frozen process for gone.
    let long = match kind {
        Kind::Freeze => dice.below(5) == 0,
        Kind::HalfOpen | Kind::Stall => dice.below(10) == 0,
        _ => false,
    };
    let long = long && !short;
    let hold = if long { dice.millis(31_000, 36_000) } else { dice.millis(400, 3_500) };
    Fault { kind, pause, slot, point: dice.pick(&POINTS), pass: 1 + dice.below(12), hold }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_seed_is_one_plan(seed: u64, count in 1_usize..400) {
            prop_assert_eq!(Load::of(seed, count), Load::of(seed, count));
            let schedule = |seed| Schedule::of(seed, &Kind::ALL, 3, false);
            prop_assert_eq!(schedule(seed), schedule(seed));
            prop_assert_ne!(schedule(seed), schedule(seed ^ 1));
        }

        #[test]
        fn everything_is_sent_as_often_as_it_says(seed: u64, count in 1_usize..400) {
            let load = Load::of(seed, count);
            prop_assert_eq!(load.messages.len(), count + KILLERS.len());
            for (place, message) in load.messages.iter().enumerate() {
                let mut sent: Vec<Way> = load.sends.iter().filter(|s| s.message == place).map(|s| s.way).collect();
                let mut ways = message.ways.clone();
                sent.sort_by_key(|way| *way as u8);
                ways.sort_by_key(|way| *way as u8);
                prop_assert!((1..=3).contains(&ways.len()));
                prop_assert_eq!(sent, ways);
                prop_assert!(message.what == What::Project || message.ways.iter().all(|way| *way == message.ways[0]));
            }
        }

        #[test]
        fn every_kind_that_is_wanted_comes_soon_and_no_other(seed: u64, brokers in 1_usize..4) {
            let schedule = Schedule::of(seed, &Kind::ALL, brokers, true);
            let first: BTreeSet<Kind> =
                schedule.tracks.iter().flat_map(|track| track.iter().take(6)).map(|fault| fault.kind).collect();
            prop_assert_eq!(first.contains(&Kind::Leader), brokers > 1);
            prop_assert_eq!(first.len(), Kind::ALL.len() - usize::from(brokers == 1));
            let only = Schedule::of(seed, &[Kind::Cut], brokers, true);
            prop_assert!(only.tracks.iter().flatten().all(|fault| fault.kind == Kind::Cut));
            prop_assert!(schedule.tracks.iter().flatten().all(|fault| fault.hold < Duration::from_secs(4)));
        }
    }

    #[test]
    fn copies_and_reorderings_are_there() {
        let load = Load::of(1, 1_000);
        assert!(load.sends.len() > 1_300);
        assert!(load.sends.windows(2).any(|pair| pair[0].message > pair[1].message));
        let kinds: BTreeSet<u8> = load.messages.iter().map(|message| message.what as u8).collect();
        assert_eq!(kinds.len(), 7);
    }
}
