//! What a source file names: each path of its `use` trees, types and expressions, written out in full.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// One file below `src`.
pub(crate) struct Source {
    /// Its module below the crate; `engine/mod.rs` is `engine`.
    pub(crate) module: String,
    pub(crate) path: PathBuf,
}

/// A path that a file names, in full and with slashes: `crate/sip/Message`, `std/fs/read`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) path: String,
    pub(crate) line: usize,
}

/// What a file comes to, its tests left aside.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) references: Vec<Reference>,
    /// Lines of `async` and `await`.
    pub(crate) asynchronous: Vec<usize>,
    /// Modules that are only there in tests, as `engine/tests`.
    pub(crate) test_modules: Vec<String>,
    /// Lines before the first test module.
    pub(crate) lines: usize,
}

/// Finds the files of `src`, those of test modules left aside.
pub(crate) fn sources() -> Vec<(Source, Reading)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let below = path.strip_prefix(&root).unwrap().with_extension("");
                let module = below.to_str().unwrap().replace('\\', "/");
                let module = module.strip_suffix("/mod").unwrap_or(&module).to_owned();
                let text = fs::read_to_string(&path).unwrap();
                let reading = read(&module, &text);
                let source = Source { module, path };
                found.push((source, reading));
            }
        }
    }
    let tests: Vec<String> = found
        .iter()
        .flat_map(|(_, reading)| reading.test_modules.clone())
        .collect();
    found.retain(|(source, _)| !tests.iter().any(|test| is_within(&source.module, test)));
    found.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    found
}

/// Returns true for a module itself and for those below it.
pub(crate) fn is_within(module: &str, outer: &str) -> bool {
    module
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Reads a file of the given module.
pub(crate) fn read(module: &str, text: &str) -> Reading {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{module}: {error}"));
    let here = match module {
        "lib" | "main" => Vec::new(),
        _ => module.split('/').map(str::to_owned).collect(),
    };
    let mut reader = Reader {
        here,
        aliases: BTreeMap::new(),
        named: Vec::new(),
        reading: Reading::default(),
    };
    reader.visit_file(&file);
    reader.finish(&file, text)
}

struct Reader {
    /// The module that is being read.
    here: Vec<String>,
    /// What `use` gives a name to; scopes are not told apart.
    aliases: BTreeMap<String, Vec<String>>,
    /// Paths outside of `use`, to be looked up once all names are known.
    named: Vec<(Vec<String>, usize)>,
    reading: Reading,
}

impl Reader {
    fn finish(mut self, file: &syn::File, text: &str) -> Reading {
        for (mut path, line) in std::mem::take(&mut self.named) {
            if let Some(whole) = self.aliases.get(&path[0]) {
                path.splice(..1, whole.iter().cloned());
            }
            self.refer(path, line);
        }
        self.reading.references.sort();
        self.reading.references.dedup();
        self.reading.lines = file
            .items
            .iter()
            .find(|item| matches!(item, Item::Mod(module) if is_test(&module.attrs)))
            .map_or_else(|| text.lines().count(), |item| item.span().start().line - 1);
        self.reading
    }

    fn refer(&mut self, path: Vec<String>, line: usize) {
        let path = path.join("/");
        self.reading.references.push(Reference { path, line });
    }

    /// Writes `self`, `super` and `crate` out in full.
    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        let mut whole = vec!["crate".to_owned()];
        let mut above = self.here.as_slice();
        let mut rest = path.as_slice();
        match rest.first().map(String::as_str) {
            Some("crate") => {
                whole.extend_from_slice(&rest[1..]);
                return whole;
            }
            Some("self") => rest = &rest[1..],
            Some("super") => {}
            Some(_) | None => return path,
        }
        while rest.first().is_some_and(|word| word == "super") {
            above = above.split_last().map_or(&[], |(_, outer)| outer);
            rest = &rest[1..];
        }
        whole.extend_from_slice(above);
        whole.extend_from_slice(rest);
        whole
    }

    fn name(&mut self, path: Vec<String>, line: usize) {
        // A single word is a local thing, or came by a `use` that is read for itself.
        if path.len() > 1 {
            let path = self.absolute(path);
            self.named.push((path, line));
        }
    }

    fn use_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |word: String| [before, &[word]].concat();
        match tree {
            UseTree::Path(path) => self.use_tree(&path.tree, &with(path.ident.to_string())),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, before);
                }
            }
            UseTree::Glob(_) => {
                let path = self.absolute(with("*".to_owned()));
                self.refer(path, tree.span().start().line);
            }
            UseTree::Name(name) => self.bind(with(name.ident.to_string()), None, tree),
            UseTree::Rename(rename) => self.bind(
                with(rename.ident.to_string()),
                Some(rename.rename.to_string()),
                tree,
            ),
        }
    }

    fn bind(&mut self, mut path: Vec<String>, alias: Option<String>, tree: &UseTree) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let path = self.absolute(path);
        let alias = alias.or_else(|| path.last().cloned()).unwrap();
        self.refer(path.clone(), tree.span().start().line);
        self.aliases.insert(alias, path);
    }

    /// Finds the paths in what a macro is given, which is no syntax tree yet.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.name(std::mem::take(&mut path), line);
                    }
                    colons = 0;
                    line = word.span().start().line;
                    let word = word.to_string();
                    if word == "async" || word == "await" {
                        self.reading.asynchronous.push(line);
                    }
                    path.push(word);
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.name(std::mem::take(&mut path), line);
                    self.tokens(group.stream());
                    colons = 0;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.name(std::mem::take(&mut path), line);
                    colons = 0;
                }
            }
        }
        self.name(path, line);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            if let Item::Mod(module) = item {
                let below = [self.here.clone(), vec![module.ident.to_string()]].concat();
                self.reading.test_modules.push(below.join("/"));
            }
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.here.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.here.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &[]);
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {
        // `pub(super)` names who may see it, not what is used.
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.name(words, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_expr_await(&mut self, wait: &'ast syn::ExprAwait) {
        self.reading
            .asynchronous
            .push(wait.await_token.span.start().line);
        visit::visit_expr_await(self, wait);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.reading
            .asynchronous
            .push(block.async_token.span.start().line);
        visit::visit_expr_async(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(token) = signature.asyncness {
            self.reading.asynchronous.push(token.span.start().line);
        }
        visit::visit_signature(self, signature);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns true for `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|condition| condition == "test")
    })
}
