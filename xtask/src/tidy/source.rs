//! Reading Rust sources as far as the rules need: the modules, the imports of each, and the public
//! types. Code for tests is left out.

use std::{collections::BTreeMap, ffi::OsStr, fs, path::Path};
use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

/// The path of a module within its crate; empty for the crate itself.
pub(crate) type Module = Vec<String>;

/// A path as written in a source: in a `use`, in an expression or a type, or in a macro's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// The module that contains it.
    pub(crate) from: Module,
    /// Its segments; the last is `*` if everything is imported.
    pub(crate) path: Vec<String>,
    /// The name given by a `use`.
    pub(crate) name: Option<String>,
    pub(crate) file: String,
}

/// A crate's sources.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Every module, with the names that its `use` declarations introduce and the paths of these.
    modules: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
    pub(crate) imports: Vec<Import>,
    /// The public types: name, module and file of each.
    pub(crate) types: Vec<(String, Module, String)>,
}

/// The maximal number of names to follow, since a name may lead to another.
const NAMES: usize = 8;

impl Sources {
    /// Reads the files below a `src` folder.
    pub(crate) fn read(root: &Path, src: &Path) -> Result<Self, String> {
        let mut sources = Self::default();
        // A module of tests in a file of its own counts as little as one within a file.
        let files = super::rust_files(src).into_iter();
        for path in files.filter(|path| path.file_name() != Some(OsStr::new("tests.rs"))) {
            let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let text = fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
            let within = path.strip_prefix(src).unwrap_or(&path);
            sources.add(&file, module_of(within), &text)?;
        }
        Ok(sources)
    }

    /// Adds a file, which is one module.
    pub(crate) fn add(&mut self, file: &str, module: Module, text: &str) -> Result<(), String> {
        let parsed = syn::parse_file(text).map_err(|error| format!("{file}: {error}"))?;
        self.modules.entry(module.clone()).or_default();
        let mut reader = Reader { sources: self, file, module };
        reader.visit_file(&parsed);
        Ok(())
    }

    /// Returns the module that defines the end of a path; none if it is in another crate.
    pub(crate) fn resolve(&self, import: &Import) -> Option<Module> {
        self.follow(&import.from, &import.path, NAMES)
    }

    /// Returns the module to which a type belongs: the one that defines it or, if the module above
    /// re-exports the type under its own name, that one.
    pub(crate) fn home<'m>(&self, name: &str, module: &'m [String]) -> &'m [String] {
        let Some((last, above @ [_, ..])) = module.split_last() else { return module };
        let handed_on = self.modules.get(above).and_then(|named| named.get(name));
        match handed_on {
            Some(path) if path.ends_with(&[last.clone(), name.to_owned()]) => above,
            _ => module,
        }
    }

    fn follow(&self, from: &[String], path: &[String], names: usize) -> Option<Module> {
        let mut module = from.to_vec();
        let mut parts = path;
        let mut is_ours = false;
        while let [first, rest @ ..] = parts {
            match first.as_str() {
                "crate" => module.clear(),
                "super" => drop(module.pop()?),
                "self" => {}
                _ => break,
            }
            parts = rest;
            is_ours = true;
        }
        for (position, part) in parts.iter().enumerate() {
            let mut child = module.clone();
            child.push(part.clone());
            if self.modules.contains_key(&child) {
                module = child;
            } else if let Some(target) = self.modules.get(&module).and_then(|named| named.get(part))
            {
                let whole: Vec<_> = target.iter().chain(&parts[position + 1..]).cloned().collect();
                let is_itself = whole.first() == Some(part) && whole.len() == 1;
                return if names == 0 || is_itself {
                    None
                } else {
                    self.follow(&module, &whole, names - 1)
                };
            } else if position == 0 && !is_ours {
                return None;
            } else {
                break;
            }
        }
        Some(module)
    }
}

/// Returns the module of a file below `src`.
fn module_of(within: &Path) -> Module {
    let mut module: Module =
        within.with_extension("").iter().map(|part| part.display().to_string()).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

struct Reader<'a> {
    sources: &'a mut Sources,
    file: &'a str,
    /// The module being read.
    module: Module,
}

impl Reader<'_> {
    fn import(&mut self, path: Vec<String>, name: Option<String>) {
        let from = self.module.clone();
        self.sources.imports.push(Import { from, path, name, file: self.file.to_owned() });
    }

    /// Reads a tree of a `use` declaration.
    fn tree(&mut self, mut path: Vec<String>, tree: &UseTree) {
        let (last, name) = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.tree(path, &tree.tree);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.tree(path.clone(), tree));
            }
            UseTree::Glob(_) => ("*".to_owned(), None),
            UseTree::Name(name) => (name.ident.to_string(), Some(name.ident.to_string())),
            UseTree::Rename(rename) => (rename.ident.to_string(), Some(rename.rename.to_string())),
        };
        let is_itself = last == "self" && !path.is_empty();
        let name =
            if is_itself && name.as_deref() == Some("self") { path.last().cloned() } else { name };
        if !is_itself {
            path.push(last);
        }
        if let Some(name) = &name {
            let named = self.sources.modules.entry(self.module.clone()).or_default();
            named.insert(name.clone(), path.clone());
        }
        self.import(path, name);
    }

    fn public_type(&mut self, visibility: &Visibility, name: &syn::Ident) {
        if !matches!(visibility, Visibility::Inherited) {
            self.sources.types.push((name.to_string(), self.module.clone(), self.file.to_owned()));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            return;
        }
        match item {
            Item::Struct(item) => self.public_type(&item.vis, &item.ident),
            Item::Enum(item) => self.public_type(&item.vis, &item.ident),
            Item::Union(item) => self.public_type(&item.vis, &item.ident),
            Item::Trait(item) => self.public_type(&item.vis, &item.ident),
            Item::Type(item) => self.public_type(&item.vis, &item.ident),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            self.sources.modules.entry(self.module.clone()).or_default();
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            self.import(path.segments.iter().map(|part| part.ident.to_string()).collect(), None);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        visit::visit_macro(self, called);
        let mut words = String::new();
        spell(called.tokens.clone(), &mut words);
        let words: Vec<_> = words.split_whitespace().collect();
        let mut at = 0;
        while at < words.len() {
            let mut path = vec![words[at].to_owned()];
            while words.get(at + 1) == Some(&"::")
                && words.get(at + 2).is_some_and(|next| is_name(next))
            {
                path.push(words[at + 2].to_owned());
                at += 2;
            }
            if path.len() > 1 && is_name(&path[0]) {
                self.import(path, None);
            }
            at += 1;
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Writes the tokens of a macro's arguments, separated by spaces. `::` is one token, and literals are
/// left out.
fn spell(tokens: proc_macro2::TokenStream, words: &mut String) {
    use proc_macro2::{Spacing, TokenTree};
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                words.push_str(" ( ");
                spell(group.stream(), words);
                words.push_str(" ) ");
            }
            TokenTree::Ident(ident) => words.push_str(&format!(" {ident} ")),
            TokenTree::Punct(mark) => {
                words.push(mark.as_char());
                if mark.spacing() == Spacing::Alone {
                    words.push(' ');
                }
            }
            TokenTree::Literal(_) => words.push_str(" 0 "),
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns whether an attribute is `#[cfg(test)]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
}
