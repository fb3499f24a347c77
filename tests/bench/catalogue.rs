//! Every figure, and every mark that figures have to keep.

use super::options::Part;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Millis,
    MiB,
    MiBPerSecond,
    Ratio,
    Count,
}

impl Unit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Millis => "ms",
            Self::MiB => "MiB",
            Self::MiBPerSecond => "MiB/s",
            Self::Ratio | Self::Count => "",
        }
    }
}

/// One figure: its key, the part that measures it (none: the machine), what it is.
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    pub(crate) part: Option<Part>,
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
}

const fn figure(key: &'static str, part: Part, unit: Unit, what: &'static str) -> Figure {
    Figure { key, part: Some(part), what, unit }
}

const fn of_machine(key: &'static str, what: &'static str) -> Figure {
    Figure { key, part: None, what, unit: Unit::Millis }
}

/// Every figure, in the order of the table.
pub(crate) const FIGURES: &[Figure] = &[
    of_machine("fsync.p50", "fdatasync of 4 KiB, where the servers keep their data, p50"),
    of_machine("fsync.p99", "the same, p99"),
    figure("a.1x1", Part::Ceiling, Unit::PerSecond, "raw lapin, mandatory, confirmed: 1 connection, 1 channel"),
    figure("a.1x2", Part::Ceiling, Unit::PerSecond, "the same: 1 connection, 2 channels, as the ingress has"),
    figure("a.1x2.deep", Part::Ceiling, Unit::PerSecond, "the same: 1 connection, 2 channels, 2,048 outstanding"),
    figure("a.2x1", Part::Ceiling, Unit::PerSecond, "the same: 2 connections, 1 channel each"),
    figure("a.2x2", Part::Ceiling, Unit::PerSecond, "the same: 2 connections, 2 channels each"),
    figure("a.4x1", Part::Ceiling, Unit::PerSecond, "the same: 4 connections, 1 channel each"),
    figure("a.same", Part::Ceiling, Unit::PerSecond, "the same with 64 outstanding, as (b) has connections"),
    figure("b.rate", Part::Ingress, Unit::PerSecond, "signed distinct events over 64 connections, each answered"),
    figure("b.p50", Part::Ingress, Unit::Millis, "request to answer, p50"),
    figure("b.p99", Part::Ingress, Unit::Millis, "request to answer, p99"),
    figure("b.p999", Part::Ingress, Unit::Millis, "request to answer, p99.9"),
    figure("b.5xx", Part::Ingress, Unit::Count, "answers 5xx, and connections that broke"),
    figure("b.other", Part::Ingress, Unit::Count, "other answers than 200"),
    figure("c.8", Part::Control, Unit::PerSecond, "projects.create, one transaction a message, 8 connections"),
    figure("c.16", Part::Control, Unit::PerSecond, "the same, 16 connections"),
    figure("c.32", Part::Control, Unit::PerSecond, "the same, 32 connections"),
    figure("c.stripe", Part::Control, Unit::PerSecond, "invoice.payment_succeeded, 16 connections"),
    figure("d.1", Part::Worker, Unit::PerSecond, "projects.create, 100 tenants, 1 process"),
    figure("d.2", Part::Worker, Unit::PerSecond, "the same, 2 processes"),
    figure("d.4", Part::Worker, Unit::PerSecond, "the same, 4 processes"),
    figure("d.stripe", Part::Worker, Unit::PerSecond, "invoice.payment_succeeded, 100 tenants, 1 process"),
    figure("e.commit.p50", Part::Latency, Unit::Millis, "request to commit, p50"),
    figure("e.commit.p99", Part::Latency, Unit::Millis, "request to commit, p99"),
    figure("e.commit.p999", Part::Latency, Unit::Millis, "request to commit, p99.9"),
    figure("e.durable.p99", Part::Latency, Unit::Millis, "request to commit, p99, with the p99 of its flush"),
    figure("e.audit.p50", Part::Latency, Unit::Millis, "request to audit line, p50"),
    figure("e.audit.p99", Part::Latency, Unit::Millis, "request to audit line, p99"),
    figure("e.audit.p999", Part::Latency, Unit::Millis, "request to audit line, p99.9"),
    figure("e.bare.p50", Part::Latency, Unit::Millis, "bare loop, publish to commit, p50"),
    figure("e.bare.p99", Part::Latency, Unit::Millis, "bare loop, publish to commit, p99"),
    figure("e.bare.p999", Part::Latency, Unit::Millis, "bare loop, publish to commit, p99.9"),
    figure("f.alone.p50", Part::Fairness, Unit::Millis, "quiet tenant, alone, p50"),
    figure("f.alone.p99", Part::Fairness, Unit::Millis, "quiet tenant, alone, p99"),
    figure("f.pace", Part::Fairness, Unit::PerSecond, "commands a second that the flood got accepted"),
    figure("f.polite.pace", Part::Fairness, Unit::PerSecond, "commands a second that the polite tenants got accepted"),
    figure("f.flood.p50", Part::Fairness, Unit::Millis, "quiet tenant while one tenant floods, p50"),
    figure("f.flood.p99", Part::Fairness, Unit::Millis, "quiet tenant while one tenant floods, p99"),
    figure("f.polite.p50", Part::Fairness, Unit::Millis, "quiet tenant beside as much load of polite tenants, p50"),
    figure("f.polite.p99", Part::Fairness, Unit::Millis, "quiet tenant beside as much load of polite tenants, p99"),
    figure("f.off.p50", Part::Fairness, Unit::Millis, "quiet tenant while one floods, lanes off, p50"),
    figure("f.off.p99", Part::Fairness, Unit::Millis, "quiet tenant while one floods, lanes off, p99"),
    figure("g.empty", Part::History, Unit::PerSecond, "1 process, empty inbox"),
    figure("g.full", Part::History, Unit::PerSecond, "1 process, long history"),
    figure("g.rows", Part::History, Unit::Count, "rows of that history"),
    figure("g.index", Part::History, Unit::MiB, "indexes of that history"),
    figure("g.buffers", Part::History, Unit::MiB, "shared_buffers"),
    figure("h.connections", Part::Memory, Unit::Count, "open connections that each have sent commands"),
    figure("h.ingress", Part::Memory, Unit::MiB, "ingress, resident, with all of them open"),
    figure("h.ingress.peak", Part::Memory, Unit::MiB, "ingress, highest ever resident"),
    figure("h.worker.peak", Part::Memory, Unit::MiB, "worker, highest ever resident"),
    figure("h.relay.peak", Part::Memory, Unit::MiB, "relay, highest ever resident"),
    figure("h.audit.peak", Part::Memory, Unit::MiB, "audit worker, highest ever resident"),
    figure("i.log", Part::Append, Unit::PerSecond, "audit messages in memory to durable lines in a tree"),
    figure("i.plain", Part::Append, Unit::PerSecond, "plain append of as many lines, one fdatasync a batch"),
    figure("i.fsync", Part::Append, Unit::Millis, "fdatasync of one batch of the plain append, p50"),
    figure("i.first", Part::Append, Unit::Ratio, "the ratio of both over the first tenth"),
    figure("i.last", Part::Append, Unit::Ratio, "the ratio of both over the last tenth"),
    figure("j.verify", Part::Verify, Unit::MiBPerSecond, "millrace audit verify of all lines, one processor"),
    figure("j.openssl", Part::Verify, Unit::MiBPerSecond, "openssl dgst -sha256 of the same files, the same processor"),
    figure("j.small", Part::Verify, Unit::MiBPerSecond, "millrace audit verify of a tenth of the lines"),
    figure("j.small.openssl", Part::Verify, Unit::MiBPerSecond, "openssl dgst -sha256 of their files"),
];

/// What a figure, or the ratio of two, has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Bound {
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
            Self::Below(bound) => write!(f, "< {bound}"),
        }
    }
}

/// One mark: a figure, or its ratio to the best of others, and the bound.
pub(crate) struct Mark {
    pub(crate) what: &'static str,
    pub(crate) figure: &'static str,
    /// The control: ways to do the same, of which the one with the largest median counts. The best of each run would be
    /// the luckiest one, and a control that nobody could repeat. Empty: the figure itself is judged.
    pub(crate) beside: &'static [&'static str],
    pub(crate) bound: Bound,
}

const fn ratio(what: &'static str, figure: &'static str, beside: &'static [&'static str], bound: Bound) -> Mark {
    Mark { what, figure, beside, bound }
}

const fn plain(what: &'static str, figure: &'static str, bound: Bound) -> Mark {
    Mark { what, figure, beside: &[], bound }
}

/// Ways in which raw lapin publishes.
const CEILING: &[&str] = &["a.1x1", "a.1x2", "a.1x2.deep", "a.2x1", "a.2x2", "a.4x1"];

/// Numbers of connections of the control.
const CONTROL: &[&str] = &["c.8", "c.16", "c.32"];

/// How much worse it must be without lanes before anybody may call them the reason.
const VISIBLY: f64 = 2.0;

/// Every mark.
pub(crate) const MARKS: &[Mark] = &[
    ratio("(b)/(a): ingress beside the broker's ceiling", "b.rate", CEILING, Bound::AtLeast(0.5)),
    plain("(b): answers 5xx", "b.5xx", Bound::AtMost(0.0)),
    ratio("(d)/(c): one worker beside one transaction a message", "d.1", CONTROL, Bound::AtLeast(2.0)),
    ratio("(e): p99 to commit beside the bare loop's", "e.commit.p99", &["e.bare.p99"], Bound::AtMost(3.0)),
    plain("(e): p99 to commit and flush, in ms", "e.durable.p99", Bound::Below(50.0)),
    ratio("(f): quiet p99 in the flood beside polite load", "f.flood.p99", &["f.polite.p99"], Bound::AtMost(2.0)),
    ratio("(f): quiet p99 without lanes beside with", "f.off.p99", &["f.flood.p99"], Bound::AtLeast(VISIBLY)),
    ratio("(g): long history beside none", "g.full", &["g.empty"], Bound::AtLeast(0.9)),
    plain("(h): ingress, in MiB", "h.ingress.peak", Bound::Below(64.0)),
    ratio("(i): audit log beside a plain append", "i.log", &["i.plain"], Bound::AtLeast(0.5)),
    ratio("(i): the last tenth of the lines beside the first", "i.last", &["i.first"], Bound::AtLeast(0.9)),
    ratio("(j): verifying beside openssl, all lines", "j.verify", &["j.openssl"], Bound::AtLeast(0.5)),
    ratio("(j): verifying beside openssl, a tenth", "j.small", &["j.small.openssl"], Bound::AtLeast(0.5)),
    ratio("(j): verifying all lines beside a tenth", "j.verify", &["j.small"], Bound::AtLeast(0.9)),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_distinct_and_marks_name_figures() {
        let keys: BTreeSet<&str> = FIGURES.iter().map(|figure| figure.key).collect();
        assert_eq!(keys.len(), FIGURES.len());
        for mark in MARKS {
            assert!(keys.contains(mark.figure), "{}", mark.figure);
            assert!(mark.beside.iter().all(|beside| keys.contains(beside)), "{:?}", mark.beside);
        }
    }

    #[test]
    fn bounds_include_their_end_unless_they_say_below() {
        assert!(Bound::AtLeast(0.5).holds(0.5) && !Bound::AtLeast(0.5).holds(0.49));
        assert!(Bound::AtMost(2.0).holds(2.0) && !Bound::AtMost(2.0).holds(2.01));
        assert!(Bound::Below(64.0).holds(63.9) && !Bound::Below(64.0).holds(64.0));
        assert!(!Bound::AtLeast(0.5).holds(f64::NAN));
    }
}
