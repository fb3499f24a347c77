//! A service in another language: `tests/node` with nothing of Millrace but the description of the seal.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use millrace_tests::{Left, World};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::{command_fits_the_document, event_fits_the_document, start};

const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/promises/golden/seal_vectors.json");

/// A copy of the example with its packages installed as the lock file says.
async fn installed() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["package.json", "package-lock.json", "publish_and_consume.mjs"] {
        std::fs::copy(Path::new(NODE).join(name), folder.path().join(name)).expect(name);
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(folder.path());
    succeeded(npm.kill_on_drop(true).output().await.expect("npm; deploy/test installs it"));
    folder
}

fn succeeded(output: Output) -> Vec<Value> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn example(folder: &TempDir) -> Command {
    let mut node = Command::new("node");
    node.arg("publish_and_consume.mjs").current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_node_seals_as_the_vectors_say() {
    let folder = installed().await;
    let checked = succeeded(example(&folder).args(["--check", VECTORS]).output().await.expect("node"));
    assert_eq!(checked[0]["checked"], 5);
    let changed = folder.path().join("changed.json");
    let text = std::fs::read_to_string(VECTORS).expect("the vectors");
    std::fs::write(&changed, text.replacen("\"acme\"", "\"acne\"", 1)).expect("changed vectors");
    let refused = example(&folder).arg("--check").arg(&changed).output().await.expect("node");
    assert!(!refused.status.success(), "a vector that is wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_from_node_is_applied_and_node_takes_the_event_that_follows() {
    let (world, folder) = (World::new().await, installed().await);
    world.cli(&["tenants", "create", "acme"]).await;
    let account = world.account("crm");
    let mut url = account.addresses[0].clone();
    url.set_username(&account.user).expect("a user");
    url.set_password(Some("only%20for%20tests")).expect("a password");
    let key = |name: &str| -> PathBuf { world.config_path().with_file_name("keys").join(name) };
    let mut node = example(&folder);
    node.env("MILLRACE_AMQP_URL", url.as_str())
        .env("MILLRACE_DEPLOYMENT", &account.deployment)
        .env("MILLRACE_SERVICE", "crm")
        .env("MILLRACE_ORG", "acme")
        .env("MILLRACE_KEY_FILE", key("seal-crm-1"))
        .env("MILLRACE_WORKER_KEY_FILE", key("seal-worker-1"));
    let running = node.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("node");
    command_fits_the_document(&world, "work.projects.overflow").await;
    let programs = start(&world);
    let said = succeeded(running.wait_with_output().await.expect("node"));
    let (published, event) = (&said[0]["published"], &said[1]["event"]);
    assert!(published.is_string(), "{said:?}");
    assert_eq!(event["type"], "projects.created", "{said:?}");
    assert_eq!(event["causation_id"], *published, "{said:?}");
    assert_eq!(event["body"]["name"], "Lighthouse", "{said:?}");
    world.until_lines("applied", 1).await;
    assert_eq!(world.depth("events.crm").await, 0);
    event_fits_the_document(&world, "events.ledger").await;
    world.finish(Left::default()).await;
    drop(programs);
}
