//! The ready configuration of shippers fits the lines that the audit worker writes. No shipper runs here: the files are
//! read, and every field of a line that they name has to be in real lines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use millrace_tests::{Left, World, eventually};
use serde_json::Value;
use toml::Table;

/// Fields that the configuration itself makes: the line as the shipper has read it, and what a target wants.
const MADE: [&str; 7] = ["message", "_event_id", "ddsource", "service", "ddtags", "usr", "evt"];

fn files(kind: &str, extension: &str) -> BTreeMap<String, String> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/shipping")).join(kind);
    let paths: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    assert!(paths.iter().all(|path| path.extension().is_some_and(|found| found == extension)), "{paths:?}");
    let named = |path: PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        (name, std::fs::read_to_string(path).expect("a file"))
    };
    paths.into_iter().map(named).collect()
}

/// Every text in a configuration.
fn texts<'t>(value: &'t toml::Value, found: &mut Vec<&'t str>) {
    match value {
        toml::Value::String(text) => found.push(text),
        toml::Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        toml::Value::Table(table) => table.iter().for_each(|(_, value)| texts(value, found)),
        _ => {}
    }
}

/// Names that follow a mark, such as the dot of a path.
fn names_after(text: &str, mark: &str) -> BTreeSet<String> {
    let word = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    text.split(mark).skip(1).map(|rest| word(rest.trim_start())).filter(|name| !name.is_empty()).collect()
}

/// Fields of a line that a Vector configuration reads: paths in its programs, and templates.
fn vector_fields(config: &Table) -> BTreeSet<String> {
    let whole = toml::Value::Table(config.clone());
    let (mut all, mut fields) = (Vec::new(), BTreeSet::new());
    texts(&whole, &mut all);
    all.iter().for_each(|text| fields.extend(names_after(text, "{{")));
    for (_, transform) in config["transforms"].as_table().expect("transforms") {
        for line in transform["source"].as_str().expect("a program").lines() {
            // Paths stand at the beginning of a line, behind a bracket, or behind a space.
            for mark in [" .", "(."] {
                fields.extend(names_after(&format!(" {line}"), mark));
            }
        }
    }
    fields.retain(|field| !MADE.contains(&field.as_str()));
    fields
}

/// Real lines of several kinds.
async fn lines() -> Vec<Value> {
    let world = World::new().await;
    world.tenant("acme", "cus_1").await;
    let (programs, url) = world.start_all().await;
    for _ in 0..3 {
        world.accept(&url, &world.invoice_event("cus_1")).await;
    }
    world.until_lines("applied", 3).await;
    // Two acts of an operator are among them.
    let lines = eventually("five lines", async || Some(world.lines()).filter(|lines| lines.len() >= 5)).await;
    world.finish(Left::default()).await;
    drop(programs);
    lines
}

fn fits(file: &str, fields: &BTreeSet<String>, lines: &[Value]) {
    assert!(fields.len() >= 2, "{file} was not read: {fields:?}");
    for field in fields {
        let lacking = lines.iter().find(|line| line.get(field).is_none());
        assert!(lacking.is_none(), "{file} names {field}, which is not in {}", lacking.unwrap_or(&Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_that_a_shippers_configuration_names_is_in_every_line() {
    let lines = lines().await;
    let vector = files("vector", "toml");
    assert_eq!(vector.keys().collect::<Vec<_>>(), ["datadog", "elasticsearch", "loki"]);
    for (name, text) in &vector {
        let config: Table = text.parse().unwrap_or_else(|fault| panic!("{name}: {fault}"));
        fits(name, &vector_fields(&config), &lines);
        let source = &config["sources"]["audit"];
        assert_eq!(source["include"][0].as_str(), Some("${MILLRACE_AUDIT_PATH}/seg/*.jsonl"), "{name}");
        assert!(source["max_line_bytes"].as_integer().is_some_and(|most| most > 65_535), "{name} cuts long lines");
        // Everything leads from the files to a target, and a target acknowledges what the source may forget.
        let sinks = config["sinks"].as_table().expect("sinks");
        let parts: BTreeSet<&str> = ["sources", "transforms"]
            .iter()
            .flat_map(|kind| config[*kind].as_table().expect("a table").keys())
            .map(String::as_str)
            .collect();
        for (sink, settings) in sinks {
            let input = settings["inputs"][0].as_str().expect("an input");
            assert!(parts.contains(input.split('.').next().expect("a name")), "{name}: {sink} takes {input}");
        }
        assert_eq!(sinks[name.as_str()]["acknowledgements"]["enabled"].as_bool(), Some(true), "{name}");
    }
    let elastic: Table = vector["elasticsearch"].parse().expect("TOML");
    let sink = &elastic["sinks"]["elasticsearch"];
    assert_eq!((sink["bulk"]["action"].as_str(), sink["id_key"].as_str()), (Some("create"), Some("_event_id")));
    assert!(
        elastic["transforms"]["lines"]["source"]
            .as_str()
            .is_some_and(|program| program.contains("._event_id = .event_id"))
    );

    let alloy = files("alloy", "alloy");
    assert_eq!(alloy.keys().collect::<Vec<_>>(), ["datadog", "loki"]);
    for (name, text) in &alloy {
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        assert_eq!(code.matches('{').count(), code.matches('}').count(), "{name}: brackets");
        let block =
            code.split_once("expressions = {").and_then(|(_, rest)| rest.split_once('}')).expect("expressions").0;
        let read: BTreeSet<String> = names_after(block, "= \"");
        fits(name, &read, &lines);
        // What later stages name, the first has read.
        for later in code.split("values = {").skip(1) {
            let block = later.split_once('}').expect("a block").0;
            let named = block
                .split([',', '\n'])
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, _)| name.trim().to_owned());
            let unread: Vec<String> = named.filter(|field| !read.contains(field)).collect();
            assert!(unread.is_empty(), "{name}: {unread:?}");
        }
        assert!(code.contains("+ \"/seg/*.jsonl\""), "{name}");
    }
}
