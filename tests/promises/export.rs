//! An export is complete, holds one tenant's data alone, in constant memory, and goes on where a `kill -9` broke it off; it can
//! be checked offline, fetched by those alone who may, for seven days, and holds nobody who was erased.

mod adopters;
mod configured;
mod fetching;
mod life;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use hyper::Method;
use millrace::auditlog::SigningKey;
use millrace_tests::{Answer, Caller, Program, World, eventually, run_cli};
use serde_json::{Value, json};

/// Asks for an export over its own path; the operation's place.
pub(crate) async fn ask(world: &World, url: &str, caller: &Caller, key: &str, person: Option<&str>) -> String {
    let body = match person {
        None => json!({ "scope": "org" }),
        Some(person) => json!({ "scope": "subject", "user_id": person }),
    };
    let answer = request(world, url, caller, key, &body).await;
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    format!("{url}{}", answer.headers["location"].to_str().expect("a place"))
}

async fn request(world: &World, url: &str, caller: &Caller, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {}", caller.token());
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key), ("content-type", "application/json")];
    let path = format!("{url}/api/compliance/export");
    world.http().send(Method::POST, &path, &headers, body.to_string().into_bytes()).await.expect("an answer")
}

async fn get(world: &World, place: &str, caller: &Caller) -> Answer {
    let bearer = format!("Bearer {}", caller.token());
    world.http().send(Method::GET, place, &[("authorization", &bearer)], Vec::new()).await.expect("an answer")
}

/// The operation of an export, once this is true of it.
async fn until(world: &World, place: &str, caller: &Caller, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let found: Value = serde_json::from_slice(&get(world, place, caller).await.body).ok()?;
        fits(&found).then_some(found)
    })
    .await
}

pub(crate) async fn ready(world: &World, place: &str, caller: &Caller) -> Value {
    until(world, place, caller, "the export is ready", |found| found["export"]["state"] == "ready").await
}

async fn settled(world: &World, place: &str, caller: &Caller) -> Value {
    until(world, place, caller, "the request is settled", |found| found["status"] != "pending").await
}

/// The bytes of an archive.
async fn fetch(world: &World, place: &str, caller: &Caller) -> Vec<u8> {
    let answer = get(world, &format!("{place}/export"), caller).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.headers["content-type"], "application/x-tar");
    assert_eq!(answer.headers["content-length"].to_str().expect("a length"), answer.body.len().to_string());
    answer.body
}

/// The files of an archive, without its folder.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().expect("a tar file") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").display().to_string();
        let name = name.split_once('/').expect("a folder").1.to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("a file");
        assert!(files.insert(name.clone(), content).is_none(), "{name} is there twice");
    }
    files
}

fn manifest(files: &BTreeMap<String, Vec<u8>>) -> Value {
    serde_json::from_slice(&files["manifest.json"]).expect("a manifest")
}

/// The rows of a table, in the order of the archive.
fn rows(files: &BTreeMap<String, Vec<u8>>, table: &str) -> Vec<Value> {
    let manifest = manifest(files);
    let of_table = manifest["files"].as_array().expect("files").iter().filter(|file| file["table"] == table);
    let lines = of_table.flat_map(|file| {
        let content = &files[file["name"].as_str().expect("a name")];
        let lines: Vec<Value> =
            content.split_inclusive(|b| *b == b'\n').map(|line| serde_json::from_slice(line).expect("JSON")).collect();
        assert_eq!(file["rows"], lines.len(), "{file}");
        lines
    });
    lines.collect()
}

/// The tables that have rows in an archive.
fn tables(files: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
    let manifest = manifest(files);
    let tables = manifest["files"].as_array().expect("files").iter();
    tables.map(|file| file["table"].as_str().expect("a table").to_owned()).collect()
}

/// No row of any table stands there twice.
fn no_row_is_there_twice(files: &BTreeMap<String, Vec<u8>>) {
    for table in tables(files) {
        let rows = rows(files, &table);
        let distinct: BTreeSet<String> = rows.iter().map(Value::to_string).collect();
        assert_eq!(distinct.len(), rows.len(), "{table} has a row twice");
    }
}

/// The folder of the world's store.
pub(crate) fn store(world: &World) -> PathBuf {
    world.config_path().with_file_name("exports")
}

/// Objects in the store.
fn objects(world: &World) -> usize {
    let folders = std::fs::read_dir(store(world)).into_iter().flatten().flatten();
    folders.map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().count()).sum()
}

/// The public key of the world's exports.
fn public_key(world: &World) -> String {
    let text = std::fs::read_to_string(world.config_path().with_file_name("keys").join("exports")).expect("the key");
    SigningKey::parse(&text.into()).expect("a key").verifying().to_string()
}

/// What `millrace export verify --json` says of an archive, and its exit code.
async fn verified(world: &World, archive: &[u8]) -> (i32, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("archive.tar");
    std::fs::write(&file, archive).expect("a file");
    let (file, key) = (file.display().to_string(), public_key(world));
    let output = run_cli(&["--json", "export", "verify", &file, "--key", &key], &[]).await;
    let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().expect("an exit code"), said)
}

/// The most memory that a process ever held, in KiB.
fn peak(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}
