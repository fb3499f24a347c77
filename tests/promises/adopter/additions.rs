//! `CONTRIBUTING.md` names the files that a command touches. One command shows whether that is true.

use std::collections::BTreeSet;
use std::path::Path;

use super::build::root;

/// `projects.archive` wherever it stands: by its wire name, its payload type or its handler.
const TRACES: [&str; 3] = ["projects.archive", "ProjectsArchive", "ArchiveProject"];
/// The placeholders of the list, for that command.
const PLACES: [(&str, &str); 4] =
    [("<area>", "projects"), ("<domain>", "projects"), ("<command>", "archive"), ("<worker>", "projects")];
/// Where a command can leave traces. Tests of its behaviour are no part of adding it.
const FOLDERS: [&str; 6] = ["shared", "ingress", "workers", "deploy", "migrations", "tests/harness"];

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if std::fs::read_to_string(&path).is_ok_and(|text| TRACES.iter().any(|trace| names(&text, trace))) {
            let inside = path.strip_prefix(root()).expect("a path below the root");
            found.insert(inside.to_str().expect("a path in UTF-8").to_owned());
        }
    }
}

/// Does the text have this word? `projects.archived` is another one.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| !text[at + word.len()..].starts_with(|c: char| c.is_alphanumeric()))
}

/// Paths of files in the section, with the placeholders filled in. A folder ends with `/`, a program has no extension.
fn listed() -> BTreeSet<String> {
    let paper = std::fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let section = paper.split("\n## ").find(|section| section.starts_with("Add a command\n")).expect("the section");
    let quoted = section.split('`').skip(1).step_by(2);
    let files = quoted.filter(|text| text.contains('/') && text.rsplit('/').next().is_some_and(|n| n.contains('.')));
    files.map(|file| PLACES.iter().fold(file.to_owned(), |path, (place, name)| path.replace(place, name))).collect()
}

#[test]
fn adding_a_command_touches_the_files_that_contributing_names() {
    let mut touched = BTreeSet::new();
    for folder in FOLDERS {
        collect(&root().join(folder), &mut touched);
    }
    collect(&root().join("tests/promises/golden"), &mut touched);
    let listed = listed();
    assert!(listed.len() > 8, "the list was not read: {listed:?}");
    assert_eq!(touched, listed, "left: the files with projects.archive in them, right: CONTRIBUTING.md's list");
}
