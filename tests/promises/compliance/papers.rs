//! The papers of `deploy/compliance` name only commands that there are, say nothing that software cannot, and those that a
//! command writes are what it writes. Needs no server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millrace_tests::golden;

/// What no paper says: an organisation is assessed, software is not.
const NEVER: [&str; 6] =
    ["is compliant", "are compliant", "certified", "guarantee", "gdpr-compliant", "soc 2 compliant"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

/// Every paper with its text.
fn papers() -> Vec<(String, String)> {
    let folder = std::fs::read_dir(root().join("deploy/compliance")).expect("the papers");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let papers: Vec<_> = names.map(|name| (name.clone(), text(&format!("deploy/compliance/{name}")))).collect();
    assert!(papers.len() >= 8, "papers are gone");
    papers
}

/// The words of each command line between backticks that begins with this.
fn named<'t>(text: &'t str, program: &'t str) -> impl Iterator<Item = Vec<&'t str>> {
    let spans = text.split('`').skip(1).step_by(2).filter_map(move |span| span.strip_prefix(program));
    spans.map(|rest| {
        rest.split_whitespace()
            .take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !word.starts_with('-'))
            .collect()
    })
}

/// Is it a command, and not a group of commands followed by a word that is none of them?
fn exists(words: &[&str], commands: &BTreeSet<String>) -> bool {
    let inner = |name: &str| commands.iter().any(|command| command.starts_with(&format!("{name} ")));
    match words {
        [] => true,
        [first] => commands.contains(*first),
        [first, second, ..] if inner(first) => commands.contains(&format!("{first} {second}")),
        [first, ..] => commands.contains(*first),
    }
}

#[test]
fn every_command_that_a_paper_names_is_there() {
    let commands: BTreeSet<String> = millrace_cli::command_names().into_iter().collect();
    assert!(commands.contains("breach scope") && commands.contains("roles"));
    for (words, there) in [
        (vec!["roles"], true),
        (vec!["dead", "list"], true),
        (vec!["dead"], true),
        (vec!["dead", "dance"], false),
        (vec!["dance"], false),
        (vec![], true),
    ] {
        assert_eq!(exists(&words, &commands), there, "{words:?}");
    }
    let mut wrong = Vec::new();
    let others = ["README.md", "deploy/alerts/millrace.yml"].map(|path| (path.to_owned(), text(path)));
    for (name, text) in papers().into_iter().chain(others) {
        wrong.extend(
            named(&text, "millrace ")
                .filter(|words| !exists(words, &commands))
                .map(|words| format!("{name}: {words:?}")),
        );
    }
    assert!(wrong.is_empty(), "commands that there are not: {wrong:#?}");
}

#[test]
fn every_criterion_has_a_command_or_a_program_of_this_repository() {
    let matrix = text("deploy/compliance/soc2.md");
    let rows: Vec<&str> =
        matrix.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| criterion")).collect();
    assert!(rows.len() >= 20, "criteria are gone");
    for row in rows {
        let programs: Vec<&str> =
            row.split('`').skip(1).step_by(2).filter(|span| span.starts_with("deploy/")).collect();
        assert!(row.contains("`millrace ") || !programs.is_empty(), "no command: {row}");
        for program in programs {
            assert!(root().join(program).exists(), "{program} is not there: {row}");
        }
    }
}

#[test]
fn no_paper_says_more_than_that_it_supports() {
    let mut said = Vec::new();
    let sources = ["README.md", "deploy/millrace/src/commands.rs"].map(|path| (path.to_owned(), text(path)));
    for (name, text) in papers().into_iter().chain(sources) {
        let lower = text.to_lowercase();
        said.extend(NEVER.iter().filter(|word| lower.contains(*word)).map(|word| format!("{name}: {word}")));
    }
    assert!(said.is_empty(), "software supports, and an organisation is assessed: {said:#?}");
}

#[test]
fn links_between_papers_lead_somewhere() {
    for (name, text) in papers() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(root().join("deploy/compliance").join(target).exists(), "{name} leads to {target}");
        }
    }
}

#[test]
fn generated_papers_are_what_their_commands_write() {
    golden("deploy/compliance/retention.md", &millrace_cli::retention_schedule());
    let contract = millrace::builtin().check().expect("a contract");
    golden("deploy/compliance/data-flow.md", &millrace_cli::data_flow(&contract));
}

#[test]
fn alerts_ask_only_for_metrics_that_there_are() {
    let alerts = text("deploy/alerts/millrace.yml");
    // What processes count, and what a command writes into a file for a collector.
    let fields = ["shared/src/telemetry/fields.rs", "deploy/millrace/src/billing/reconcile.rs"].map(text).concat();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let expressions = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let names: BTreeSet<&str> = expressions
        .flat_map(|line| line.split(|c| !is_name(c)))
        .filter(|word| word.starts_with("millrace_") || word.starts_with("rabbitmq_"))
        .collect();
    assert!(names.len() >= 6, "the rules were not read: {names:?}");
    // Of RabbitMQ's own plugin, which documents them.
    let broker = ["rabbitmq_queue_messages", "rabbitmq_queue_messages_ready"];
    let unknown: Vec<_> = names.iter().filter(|name| !broker.contains(name) && !fields.contains(*name)).collect();
    assert!(unknown.is_empty(), "metrics that nothing counts: {unknown:?}");
}

/// What the compliance papers promise to be told of, each by the rule that does.
const ALERTS: [&str; 10] = [
    "MillraceAuditLag",
    "MillraceCheckpointCopyMissing",
    "MillraceCheckpointNotCopied",
    "MillraceSealFailures",
    "MillraceCrossTenant",
    "MillraceLinkOfAnotherTenant",
    "MillraceBillingDrift",
    "MillraceDeadLetters",
    "MillraceDeadLettersGrow",
    "MillraceTokensRefused",
];

/// The texts of a label that expressions compare with, single or in a pattern of alternatives.
fn compared<'a>(alerts: &'a str, label: &str) -> Vec<&'a str> {
    let texts = [format!("{label}=\""), format!("{label}=~\"")];
    let quoted = texts.iter().flat_map(|mark| alerts.split(mark.as_str()).skip(1));
    quoted.filter_map(|rest| rest.split('"').next()).flat_map(|text| text.split('|')).collect()
}

#[test]
fn alerts_tell_what_the_papers_promise_and_compare_with_words_that_there_are() {
    let alerts = text("deploy/alerts/millrace.yml");
    let missing: Vec<_> = ALERTS.iter().filter(|name| !alerts.contains(&format!("alert: {name}\n"))).collect();
    assert!(missing.is_empty(), "no rule for {missing:?}");
    let said = ["keyring", "outcome"].map(|file| text(&format!("shared/src/contract/{file}.rs"))).concat()
        + &["open", "resolve"].map(|file| text(&format!("shared/src/pipeline/{file}.rs"))).concat()
        + &text("workers/src/billing/link_customer.rs");
    let words = ["code", "outcome"].map(|label| compared(&alerts, label)).concat();
    assert!(words.len() >= 7, "the rules were not read: {words:?}");
    let unknown: Vec<_> = words.iter().filter(|word| !said.contains(&format!("\"{word}\""))).collect();
    assert!(unknown.is_empty(), "codes that nothing has: {unknown:?}");
}
