//! What is written about the contract is what the contract says.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use millrace_tests::golden;

use super::build::root;

/// Every file below a folder, by its path from there.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(folder).expect("a path below the folder");
                found.insert(inside.to_str().expect("a path in UTF-8").to_owned());
            }
        }
    }
    // What building in place leaves behind.
    found.into_iter().filter(|path| !path.starts_with("target/") && path != "Cargo.lock").collect()
}

fn new(arguments: &[&str], folder: &Path) -> std::process::Output {
    let mut command = Command::new(millrace_tests::binary("millrace"));
    command.arg("new").args(arguments).current_dir(folder).env_remove("MILLRACE_SOURCE");
    command.output().expect("millrace new")
}

#[test]
fn a_new_crate_is_the_one_that_is_tested_but_for_where_millrace_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = root().to_str().expect("a path in UTF-8").to_owned();
    assert!(new(&["ticketing", "--source", &source], folder.path()).status.success());
    let (written, tested) = (folder.path().join("ticketing"), root().join("tests/adopter"));
    assert_eq!(files(&written), files(&tested));
    for path in files(&tested) {
        let wanted = std::fs::read_to_string(tested.join(&path)).expect("a file");
        let wanted = if path == "Cargo.toml" { wanted.replace("../..", &source) } else { wanted };
        assert_eq!(std::fs::read_to_string(written.join(&path)).expect("a file"), wanted, "{path}");
    }
}

#[test]
fn a_new_crate_overwrites_nothing_and_asks_where_millrace_is() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("helpdesk")).expect("a folder");
    std::fs::write(folder.path().join("helpdesk/mine.rs"), "").expect("a file");
    let source = root().to_str().expect("a path in UTF-8").to_owned();
    for (arguments, problem) in [
        (&["helpdesk", "--source", &source][..], "is not empty"),
        (&["other"], "--source"),
        (&["other", "--source", "."], "is no checkout of Millrace"),
        (&["Other", "--source", &source], "begins with a letter"),
        (&["millrace", "--source", &source], "is the name of something"),
    ] {
        let output = new(arguments, folder.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(problem), "{said}");
    }
    assert_eq!(files(folder.path()), BTreeSet::from(["helpdesk/mine.rs".to_owned()]));
}

#[test]
fn the_committed_role_table_is_that_of_the_contract() {
    let text = millrace_cli::roles_markdown(&millrace::builtin().check().expect("a contract"));
    golden("tests/promises/golden/roles.md", &text);
}

#[test]
fn the_committed_openapi_document_is_that_of_the_contract() {
    let document = millrace_cli::openapi(&millrace::builtin().check().expect("a contract"));
    golden("deploy/openapi.json", &format!("{document:#}\n"));
}
