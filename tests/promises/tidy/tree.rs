//! The source tree as the compiler sees it: every Rust file, and who declares it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::{Attribute, Item, Meta};

/// Where Rust code lives. `tests/adopter` is a workspace of its own inside it.
const FOLDERS: [&str; 5] = ["shared", "ingress", "workers", "deploy", "tests"];

/// One Rust file.
pub(super) struct Source {
    /// From the top of the repository, with `/`.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
    /// Its syntax.
    pub(super) file: syn::File,
    /// Crate and modules, such as `["millrace", "db", "pool"]`; `None` when no module declares it.
    pub(super) module: Option<Vec<String>>,
    /// Compiled for tests alone.
    pub(super) test_only: bool,
}

/// Every Rust file below [`FOLDERS`].
pub(super) struct Tree {
    /// By path.
    pub(super) sources: Vec<Source>,
}

/// The top of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

impl Tree {
    pub(super) fn read() -> Self {
        let root = root();
        let mut sources = BTreeMap::new();
        for path in files(&root).into_iter().filter(|path| path.ends_with(".rs")) {
            let text = std::fs::read_to_string(root.join(&path)).expect("a source file");
            let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
            sources.insert(path.clone(), Source { path, text, file, module: None, test_only: false });
        }
        for (path, krate) in crate_roots(&root) {
            let folder = parent(&path);
            declare(&mut sources, &Declared { path, folder, module: vec![krate], test_only: false });
        }
        Self { sources: sources.into_values().collect() }
    }

    /// The files below a folder, or the one file.
    pub(super) fn below(&self, prefix: &str) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(move |source| is_below(&source.path, prefix))
    }
}

/// Is `path` this file, or in this folder?
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Every file that people wrote, from the top of the repository, with `/`.
pub(super) fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|name| root.join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.is_file() {
                let inside = path.strip_prefix(root).expect("a path below the root");
                found.insert(inside.to_str().expect("a path in UTF-8").to_owned());
            }
        }
    }
    found
}

/// Where cargo starts to read each crate, with the crate's name.
fn crate_roots(root: &Path) -> Vec<(String, String)> {
    let all = files(root);
    let mut roots = Vec::new();
    for manifest in all.iter().filter(|path| path.ends_with("Cargo.toml")) {
        let folder = parent(manifest);
        let text = std::fs::read_to_string(root.join(manifest)).expect("a manifest");
        let value = |line: &str, key: &str| {
            let value = line.strip_prefix(key)?.trim_start().strip_prefix('=')?.trim();
            Some(value.trim_matches('"').to_owned())
        };
        let name = text.lines().find_map(|line| value(line, "name")).unwrap_or_default().replace('-', "_");
        let named = text.lines().filter_map(|line| value(line, "path")).map(|path| format!("{folder}/{path}"));
        let usual = ["build.rs", "src/lib.rs", "src/main.rs"].map(|path| format!("{folder}/{path}"));
        let folders = ["src/bin", "tests", "benches", "examples"].map(|inner| format!("{folder}/{inner}"));
        let loose = all.iter().filter(|path| path.ends_with(".rs") && folders.contains(&parent(path))).cloned();
        let explicit = text.contains("autotests = false");
        let loose = loose.filter(|path| !(explicit && is_below(path, &format!("{folder}/tests"))));
        let candidates: BTreeSet<String> = named.chain(usual).chain(loose).collect();
        roots.extend(candidates.into_iter().filter(|path| all.contains(path)).map(|path| (path, name.clone())));
    }
    roots
}

/// A file that a crate or a module names.
struct Declared {
    path: String,
    /// Where the files of its own modules stand.
    folder: String,
    module: Vec<String>,
    test_only: bool,
}

fn declare(sources: &mut BTreeMap<String, Source>, declared: &Declared) {
    let Some(source) = sources.get_mut(&declared.path) else { return };
    // A library and its binaries may share files; what the product compiles is no test file.
    source.test_only = declared.test_only && (source.module.is_none() || source.test_only);
    source.module = Some(declared.module.clone());
    let items = std::mem::take(&mut source.file.items);
    let mut children = Vec::new();
    modules(&items, declared, &declared.folder, &declared.module, declared.test_only, &mut children);
    if let Some(source) = sources.get_mut(&declared.path) {
        source.file.items = items;
    }
    for (plain, nested) in children {
        let there = if sources.contains_key(&plain.path) { plain } else { nested };
        declare(sources, &there);
    }
}

/// The two places where the file of each declared module may stand.
fn modules(
    items: &[Item],
    declaring: &Declared,
    folder: &str,
    module: &[String],
    test_only: bool,
    found: &mut Vec<(Declared, Declared)>,
) {
    for item in items {
        let Item::Mod(inner) = item else { continue };
        let name = inner.ident.to_string();
        let test_only = test_only || is_for_tests(&inner.attrs);
        let module = [module, std::slice::from_ref(&name)].concat();
        if let Some((_, items)) = &inner.content {
            modules(items, declaring, &format!("{folder}/{name}"), &module, test_only, found);
            continue;
        }
        let own = format!("{folder}/{name}");
        let nested = format!("{own}/mod.rs");
        let make = |path, folder| Declared { path, folder, module: module.clone(), test_only };
        let plain = match path_attribute(&inner.attrs) {
            // The modules of a file that is named like this stand beside it.
            Some(path) => {
                let path = without_steps_up(&format!("{}/{path}", parent(&declaring.path)));
                make(path.clone(), parent(&path))
            }
            None => make(format!("{own}.rs"), own.clone()),
        };
        found.push((plain, make(nested, own)));
    }
}

/// Is the item compiled for tests alone?
pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        Meta::Path(path) => path.segments.last().is_some_and(|last| last.ident == "test"),
        Meta::List(list) => list.path.segments.last().is_some_and(|last| last.ident == "test"),
        Meta::NameValue(_) => false,
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// `a/b/../c` is `a/c`.
fn without_steps_up(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned())
}
