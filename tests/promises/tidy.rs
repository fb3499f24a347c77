//! The source tree keeps its own rules: sizes, imports, words, names. Needs no server.

mod functions;
mod imports;
mod names;
mod tree;

use std::collections::BTreeSet;

use functions::functions;
use imports::{IMPURE_PATHS, IMPURE_WORDS, SHARED, allows, part_of};
use names::{names, words};
use tree::{Tree, is_below, root};

/// A file has fewer lines than this.
const FILE_LINES: usize = 500;
/// A function has fewer lines than this, from brace to brace.
const FUNCTION_LINES: usize = 70;
/// A worker's binary has at most so many lines.
const BINARY_LINES: usize = 25;

/// Where nothing panics on purpose.
const PANIC_FREE: [&str; 3] = ["shared", "ingress", "workers"];
/// What may stand at the top of the repository.
const TOP: [&str; 25] = [
    ".cargo",
    ".ci",
    ".git",
    ".github",
    ".gitignore",
    ".millrace",
    ".sqlx",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "ingress",
    "migrations",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "shared",
    "target",
    "tests",
    "workers",
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 10] =
    ["util", "utils", "common", "helpers", "misc", "manager", "core", "base", "data", "info"];

/// What builds programs that break at named points, for tests alone.
const CHAOTIC: [&str; 2] = ["deploy/test", "deploy/chaos"];

/// Words of a domain, which the pipeline must not know.
const DOMAIN_WORDS: [&str; 5] = ["stripe", "invoice", "subscription", "billing", "project"];

/// Ends a test that looked for violations.
fn hold(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}\n", violations.join("\n  "));
}

#[test]
fn every_file_is_shorter_than_five_hundred_lines() {
    let tree = Tree::read();
    assert!(tree.sources.len() > 50, "the tree was not read");
    let counted = tree.sources.iter().map(|source| (&source.path, source.text.lines().count()));
    let long: Vec<String> =
        counted.filter(|(_, lines)| *lines >= FILE_LINES).map(|(path, lines)| format!("{path}: {lines}")).collect();
    hold("a file of 500 lines or more", &long);
}

#[test]
fn every_function_is_shorter_than_seventy_lines() {
    let mut long = Vec::new();
    let mut seen = 0;
    for source in &Tree::read().sources {
        for (name, line, lines) in functions(source).lengths {
            seen += 1;
            if lines >= FUNCTION_LINES {
                long.push(format!("{}:{line} {name}: {lines}", source.path));
            }
        }
    }
    assert!(seen > 300, "the functions were not read");
    hold("a function of 70 lines or more", &long);
}

#[test]
fn nothing_in_the_product_panics_on_purpose() {
    let tree = Tree::read();
    let mut panics = Vec::new();
    let mut excused = BTreeSet::new();
    for source in PANIC_FREE.iter().flat_map(|folder| tree.below(folder)) {
        let found = functions(source);
        panics.extend(found.panics.into_iter().map(|(what, line)| format!("{}:{line} {what}", source.path)));
        excused.extend(found.excused.into_iter().map(|name| format!("{} {name}", source.path)));
    }
    hold("a place that panics on purpose", &panics);
    let excused: Vec<String> = excused.into_iter().collect();
    hold("an expect that its function excuses", &excused);
}

#[test]
fn every_part_imports_only_what_it_may() {
    let tree = Tree::read();
    let mut wrong = Vec::new();
    for source in PANIC_FREE.iter().flat_map(|folder| tree.below(folder)) {
        let Some(part) = part_of(&source.path) else {
            wrong.push(format!("{}: has no line in the table of imports", source.path));
            continue;
        };
        let own_crate = source.module.as_ref().map_or("", |module| module[0].as_str());
        for name in names(source) {
            let (krate, rest) = (name.segments[0].as_str(), &name.segments[1..]);
            let shared = krate == "millrace" && rest.first().is_none_or(|m| m == "*" || SHARED.contains(&m.as_str()));
            let sibling = krate == own_crate && part.own.is_some_and(|own| !allows(own, rest));
            if (shared && !allows(part.may, rest)) || sibling {
                wrong.push(format!("{}:{} names {}", source.path, name.line, name.segments.join("::")));
            }
        }
    }
    hold("an import that the table forbids", &wrong);
}

#[test]
fn every_module_of_shared_has_its_line_in_the_table_of_imports() {
    let tree = Tree::read();
    let modules: BTreeSet<String> = tree
        .below("shared/src")
        .filter_map(|source| source.module.as_ref().filter(|module| module.len() == 2)?.get(1).cloned())
        .collect();
    assert_eq!(modules, SHARED.map(str::to_owned).into());
}

#[test]
fn the_contract_is_pure() {
    let tree = Tree::read();
    let mut impure = Vec::new();
    for source in tree.below("shared/src/contract") {
        let tests_from = source.text.lines().position(|line| line.starts_with("#[cfg(test)]")).unwrap_or(usize::MAX);
        let named = names(source).into_iter().filter(|name| !name.test_only);
        let named = named.filter(|name| IMPURE_PATHS.iter().any(|path| name.is_within(path)));
        impure.extend(named.map(|name| format!("{}:{} {}", source.path, name.line, name.segments.join("::"))));
        let said = words(source).into_iter().filter(|(_, line)| *line <= tests_from);
        let said = said.filter(|(word, _)| IMPURE_WORDS.contains(&word.as_str()));
        impure.extend(said.map(|(word, line)| format!("{}:{line} {word}", source.path)));
    }
    hold("the contract does I/O, or knows the time, chance or the environment", &impure);
}

#[test]
fn lapin_and_backoff_are_each_named_in_one_place() {
    let mut wrong = Vec::new();
    for source in &Tree::read().sources {
        for name in names(source) {
            let home = match name.segments[0].as_str() {
                "lapin" => ["shared/src/amqp", "tests"],
                "backoff" => ["shared/src/retry.rs", "shared/src/retry.rs"],
                _ => continue,
            };
            if !home.iter().any(|home| is_below(&source.path, home)) {
                wrong.push(format!("{}:{} names {}", source.path, name.line, name.segments.join("::")));
            }
        }
    }
    for folder in ["ingress", "workers", "deploy/millrace"] {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
        let depends = manifest.lines().filter(|line| line.starts_with("lapin") || line.starts_with("backoff"));
        wrong.extend(depends.map(|line| format!("{folder}/Cargo.toml: {line}")));
    }
    hold("a crate that is named outside its one place", &wrong);
}

#[test]
fn the_pipeline_knows_no_word_of_any_domain() {
    let tree = Tree::read();
    let mut found = Vec::new();
    for source in tree.below("shared/src/pipeline") {
        for (word, line) in words(source) {
            let lower = word.to_lowercase();
            if DOMAIN_WORDS.iter().any(|domain| lower.contains(domain)) {
                found.push(format!("{}:{line} {word}", source.path));
            }
        }
    }
    hold("a domain word in the pipeline", &found);
}

#[test]
fn tenant_contexts_and_roles_are_set_in_one_place() {
    let tree = Tree::read();
    let product = ["shared", "ingress", "workers", "deploy"].into_iter().flat_map(|folder| tree.below(folder));
    let mut wrong = Vec::new();
    for source in product.filter(|source| !is_below(&source.path, "shared/src/db")) {
        for (number, line) in source.text.lines().enumerate() {
            let upper = line.to_uppercase();
            let sets = ["SET_CONFIG", "SET ROLE", "SET LOCAL ROLE", "SET SESSION", "RESET ROLE", "APP.CTX"];
            let owner =
                source.path == "deploy/millrace/src/migrate.rs" && upper.contains("\"SET ROLE MILLRACE_OWNER\"");
            if !owner && sets.iter().any(|statement| upper.contains(statement)) {
                wrong.push(format!("{}:{} {}", source.path, number + 1, line.trim()));
            }
        }
    }
    hold("a role or a tenant context set outside shared/src/db", &wrong);
}

#[test]
fn the_binaries_of_workers_only_start_something() {
    let tree = Tree::read();
    let binaries: Vec<_> = tree.below("workers/src/bin").collect();
    assert!(!binaries.is_empty());
    let long = binaries.iter().filter(|source| source.text.lines().count() > BINARY_LINES);
    hold("a worker's binary of more than 25 lines", &long.map(|source| source.path.clone()).collect::<Vec<_>>());
}

#[test]
fn the_top_of_the_repository_holds_only_what_the_design_names() {
    let found = std::fs::read_dir(root()).expect("the repository").map(|entry| entry.expect("an entry").file_name());
    let strange: Vec<String> =
        found.filter_map(|name| name.into_string().ok()).filter(|name| !TOP.contains(&name.as_str())).collect();
    hold("not part of the fixed top level", &strange);
}

#[test]
fn every_name_says_what_is_inside() {
    let tree = Tree::read();
    let mut empty = Vec::new();
    for path in tree::files(&root()) {
        let parts = path.split('/').map(|part| part.split('.').next().unwrap_or_default());
        if parts.into_iter().any(|part| EMPTY_NAMES.contains(&part)) {
            empty.push(path);
        }
    }
    for source in &tree.sources {
        let inline = source.text.lines().filter_map(|line| line.trim().strip_suffix(" {")?.rsplit_once("mod "));
        let inline = inline.filter(|(_, name)| EMPTY_NAMES.contains(name));
        empty.extend(inline.map(|(_, name)| format!("{}: mod {name}", source.path)));
    }
    hold("a name that says nothing", &empty);
}

#[test]
fn nothing_waits_to_be_done() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!")];
    let mut found = Vec::new();
    let root = root();
    let papers = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Cargo.toml", "deny.toml"];
    let papers = papers.into_iter().map(str::to_owned).filter(|path| root.join(path).exists());
    for path in tree::files(&root).into_iter().chain(papers) {
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{path}:{}", number + 1));
            }
        }
    }
    hold("something left to do", &found);
}

#[test]
fn no_release_breaks_itself() {
    let root = root();
    let mut named = Vec::new();
    let deploy = tree::files(&root).into_iter().filter(|path| is_below(path, "deploy"));
    let deploy = deploy.filter(|path| !CHAOTIC.contains(&path.as_str()));
    let manifests = ["ingress/Cargo.toml", "workers/Cargo.toml"].map(str::to_owned);
    let read = |path: &String| Some((path.clone(), std::fs::read_to_string(root.join(path)).ok()?));
    for (path, text) in deploy.chain(manifests).filter_map(|path| read(&path)) {
        let lines =
            text.lines().enumerate().filter(|(_, line)| line.contains("chaos") || line.contains("all-features"));
        named.extend(lines.map(|(number, line)| format!("{path}:{} {line}", number + 1)));
    }
    hold("what builds or describes a release names the feature that breaks processes", &named);
    for manifest in ["shared/Cargo.toml", "tests/Cargo.toml"] {
        let text = std::fs::read_to_string(root.join(manifest)).expect("a manifest");
        assert!(text.contains("\nchaos = ["), "{manifest} has lost the feature");
        assert!(
            !text.contains("\ndefault = "),
            "a build of the whole workspace would have what {manifest} has by default"
        );
    }
}

#[test]
fn every_file_is_part_of_a_crate() {
    let tree = Tree::read();
    let orphans = tree.sources.iter().filter(|source| source.module.is_none());
    hold("a file that no module declares", &orphans.map(|source| source.path.clone()).collect::<Vec<_>>());
}

/// `CONTRIBUTING.md` has a heading `## Dependencies`, and below it one line "- `crate`: why" for each.
#[test]
fn every_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let used: BTreeSet<&str> =
        lines.filter(|line| !line.contains("path = ")).filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    assert!(used.len() > 20, "the manifest was not read");
    let paper = std::fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md");
    let lines = paper.lines().skip_while(|line| *line != "## Dependencies").skip(1);
    let lines = lines.take_while(|line| !line.starts_with("## "));
    let explained: BTreeSet<&str> = lines
        .filter_map(|line| line.strip_prefix("- `")?.split_once("`: "))
        .filter(|(_, why)| !why.trim().is_empty())
        .map(|(name, _)| name)
        .collect();
    let without: Vec<String> = used.difference(&explained).map(ToString::to_string).collect();
    hold("a dependency without its reason in CONTRIBUTING.md", &without);
    let unused: Vec<String> = explained.difference(&used).map(ToString::to_string).collect();
    hold("a reason for what is no dependency", &unused);
}
