//! Functions: how long they are, and where they could panic.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, ExprMethodCall, ImplItemFn, ItemFn, ItemMod, Macro, Meta, TraitItemFn};

use super::tree::{Source, is_for_tests};

const METHODS: [&str; 5] = ["unwrap", "expect", "unwrap_err", "expect_err", "unwrap_unchecked"];
const MACROS: [&str; 4] = ["panic", "todo", "unimplemented", "unreachable"];

/// What a file's functions are like.
#[derive(Default)]
pub(super) struct Functions {
    /// Name, first line, number of lines from brace to brace.
    pub(super) lengths: Vec<(String, usize, usize)>,
    /// Name of the function and line of each place outside tests where the program could panic on purpose.
    pub(super) panics: Vec<(String, usize)>,
    /// Functions that say why their `expect` cannot fail.
    pub(super) excused: Vec<String>,
}

pub(super) fn functions(source: &Source) -> Functions {
    let mut reader = Reader { test_only: source.test_only, ..Reader::default() };
    reader.visit_file(&source.file);
    reader.functions
}

#[derive(Default)]
struct Reader {
    functions: Functions,
    inside: Vec<String>,
    test_only: bool,
    excused: bool,
}

impl Reader {
    fn function(&mut self, name: &str, attributes: &[Attribute], body: &Block, visit: impl FnOnce(&mut Self)) {
        let span = body.brace_token.span;
        let (first, last) = (span.open().start().line, span.close().end().line);
        self.functions.lengths.push((name.to_owned(), first, last - first + 1));
        let (test_only, excused) = (self.test_only, self.excused);
        self.test_only |= is_for_tests(attributes);
        self.excused |= expects_expect(attributes);
        if self.excused && !excused && !self.test_only {
            self.functions.excused.push(name.to_owned());
        }
        self.inside.push(name.to_owned());
        visit(self);
        self.inside.pop();
        (self.test_only, self.excused) = (test_only, excused);
    }

    /// An `expect` with its reason on the function is held by the compiler; every other way to panic is not wanted.
    fn note(&mut self, what: &str, line: usize) {
        let held = self.excused && what == "expect";
        if !(self.test_only || held) {
            let place = self.inside.last().cloned().unwrap_or_default();
            self.functions.panics.push((format!("{what} in {place}"), line));
        }
    }

    /// The arguments of a macro, which nobody has parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let all: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in all.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) => {
                    let is = |at: usize, c: char| matches!(all.get(at), Some(TokenTree::Punct(p)) if p.as_char() == c);
                    let (word, line) = (ident.to_string(), ident.span().start().line);
                    let method = METHODS.contains(&word.as_str()) && at > 0 && (is(at - 1, '.') || is(at - 1, ':'));
                    if method || MACROS.contains(&word.as_str()) && is(at + 1, '!') {
                        self.note(&word, line);
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

/// `#[expect(clippy::expect_used, reason = "…")]`
fn expects_expect(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("expect") => {
            let text = list.tokens.to_string().replace(' ', "");
            text.starts_with("clippy::expect_used,reason=")
        }
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig.ident.to_string(), &item.attrs, &item.block, |s| visit::visit_item_fn(s, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig.ident.to_string(), &item.attrs, &item.block, |s| visit::visit_impl_item_fn(s, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        let Some(body) = &item.default else { return };
        self.function(&item.sig.ident.to_string(), &item.attrs, body, |s| visit::visit_trait_item_fn(s, item));
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let before = self.test_only;
        self.test_only |= is_for_tests(&item.attrs);
        visit::visit_item_mod(self, item);
        self.test_only = before;
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let method = call.method.to_string();
        if METHODS.contains(&method.as_str()) {
            self.note(&method, call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }

    /// `Option::unwrap` handed to somebody else.
    fn visit_expr(&mut self, expression: &'ast Expr) {
        if let Expr::Path(path) = expression
            && path.path.segments.len() > 1
            && let Some(last) = path.path.segments.last()
            && METHODS.contains(&last.ident.to_string().as_str())
        {
            self.note(&last.ident.to_string(), path.span().start().line);
        }
        visit::visit_expr(self, expression);
    }

    fn visit_macro(&mut self, inner: &'ast Macro) {
        if let Some(last) = inner.path.segments.last()
            && MACROS.contains(&last.ident.to_string().as_str())
        {
            self.note(&last.ident.to_string(), inner.span().start().line);
        }
        self.tokens(inner.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}
