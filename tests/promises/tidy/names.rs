//! The names that a file takes from elsewhere, and the words that stand in it.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, Macro, UseTree};

use super::tree::{Source, is_for_tests};

/// A path as it stands in an import, an expression or a type, from its crate on.
pub(super) struct Name {
    /// Such as `["millrace", "db", "TenantTx"]`.
    pub(super) segments: Vec<String>,
    /// Where.
    pub(super) line: usize,
    /// Inside code that only tests compile.
    pub(super) test_only: bool,
}

impl Name {
    /// Does it lead through this path?
    pub(super) fn is_within(&self, path: &[&str]) -> bool {
        self.segments.len() >= path.len() && self.segments.iter().zip(path).all(|(a, b)| a == b)
    }
}

/// Every import and every path of more than one segment. Documentation does not count.
pub(super) fn names(source: &Source) -> Vec<Name> {
    let module = source.module.clone().unwrap_or_default();
    let mut finder = Finder { module, test_only: source.test_only, found: Vec::new() };
    finder.visit_file(&source.file);
    finder.found
}

struct Finder {
    module: Vec<String>,
    test_only: bool,
    found: Vec<Name>,
}

impl Finder {
    /// Imports may name a single crate; elsewhere a single segment is a local name.
    fn add(&mut self, segments: &[String], span: Span, import: bool) {
        let mut rest = segments;
        let mut whole = match segments.first().map(String::as_str) {
            Some("crate") => self.module[..1].to_vec(),
            Some("self" | "super") => self.module.clone(),
            _ => Vec::new(),
        };
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "super" => drop(whole.pop()),
                "crate" | "self" => {}
                _ => break,
            }
            rest = after;
        }
        whole.extend_from_slice(rest);
        if import || whole.len() > 1 {
            self.found.push(Name { segments: whole, line: span.start().line, test_only: self.test_only });
        }
    }

    fn import(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &str| [before, &[name.to_owned()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &with(&path.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before)),
            UseTree::Name(name) if name.ident == "self" => self.add(before, name.span(), true),
            UseTree::Name(name) => self.add(&with(&name.ident.to_string()), name.span(), true),
            UseTree::Rename(name) if name.ident == "self" => self.add(before, name.span(), true),
            UseTree::Rename(name) => self.add(&with(&name.ident.to_string()), name.span(), true),
            UseTree::Glob(glob) => self.add(&with("*"), glob.span(), true),
        }
    }

    /// Paths in the arguments of a macro, which nobody has parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        let mut at = Span::call_site();
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end(&mut path, at);
                        at = ident.span();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                TokenTree::Group(group) => {
                    self.end(&mut path, at);
                    colons = 0;
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.end(&mut path, at);
                    colons = 0;
                }
            }
        }
        self.end(&mut path, at);
    }

    fn end(&mut self, path: &mut Vec<String>, at: Span) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.add(&path, at, false);
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, &[]);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let before = self.test_only;
        self.test_only |= is_for_tests(&item.attrs);
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
        self.test_only = before;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(&segments, path.span(), false);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, inner: &'ast Macro) {
        visit::visit_macro(self, inner);
        self.tokens(inner.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if !attribute.path().is_ident("doc") {
            self.visit_path(attribute.path());
        }
    }
}

/// Every identifier and every literal with its line; comments and documentation do not count.
pub(super) fn words(source: &Source) -> Vec<(String, usize)> {
    let tokens: TokenStream = source.text.parse().expect("tokens");
    let mut found = Vec::new();
    collect(tokens, &mut found);
    found
}

fn collect(tokens: TokenStream, found: &mut Vec<(String, usize)>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => found.push((ident.to_string(), ident.span().start().line)),
            TokenTree::Literal(literal) => found.push((literal.to_string(), literal.span().start().line)),
            TokenTree::Group(group) if !is_documentation(&group) => collect(group.stream(), found),
            TokenTree::Group(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// `[doc = "…"]` is what the compiler makes of a documentation comment.
fn is_documentation(group: &proc_macro2::Group) -> bool {
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket && matches!(first, Some(TokenTree::Ident(ident)) if ident == "doc")
}
