//! Lists the keys of a configuration file: the options that it sets and where, unknown keys, and options that no
//! longer exist.

use super::{
    definition::{Definition, Section},
    mistakes::{Mistake, Mistakes},
    options::{REMOVED, SECTIONS},
};
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The least similarity of a key that is suggested for an unknown one (Jaro-Winkler; 1 is equal).
const SIMILAR: f64 = 0.8;

/// The keys of a file.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The options that the file sets.
    pub(super) set: Vec<Set>,
    /// Options that no longer exist: the place of each, and a remark.
    pub(super) removed: Vec<Mistake>,
}

/// An option that a file sets.
#[derive(Debug)]
pub(super) struct Set {
    /// The option's path, such as `listen[0].protocol` in an array of tables.
    pub(super) path: String,
    /// The byte range of its value in the file.
    pub(super) value: Range<usize>,
}

/// Lists the keys of a file, and adds the mistakes in them: unknown ones, and missing ones.
pub(super) fn survey(file: &Spanned<DeTable<'_>>, mistakes: &mut Mistakes) -> Survey {
    let mut found = Survey::default();
    if let Some(top) = SECTIONS.first() {
        found.look(top, "", file.get_ref(), &file.span(), mistakes);
    }
    found.set.sort_by_key(|set| set.value.start);
    found.removed.sort_by_key(|removed| removed.at);
    found
}

impl Survey {
    /// Lists the keys of the table at `path`.
    fn look(
        &mut self,
        section: &Section,
        path: &str,
        table: &DeTable<'_>,
        at: &Range<usize>,
        mistakes: &mut Mistakes,
    ) {
        let mut misspelt = Vec::new();
        for (key, value) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span());
            let option = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            if let Some(instead) = instead_of(section, name) {
                let words =
                    format!("{option} is no option any more: {instead}. The line can be deleted");
                self.removed.push(Mistake { at: at.start, words, code: "config-outdated" });
            } else if section.options.iter().any(|option| option.name() == name) {
                self.look_at(section, name, option, value, mistakes);
            } else {
                mistakes.add_coded(&at, "config-unknown-key", unknown(section, name));
                misspelt.extend(nearest(section, name));
            }
        }
        let is_set =
            |name: &str| table.contains_key(name) || misspelt.iter().any(|key| key == name);
        for option in section.options {
            let (name, partner) = (option.name(), option.partner);
            // Tables are there when anything in them is.
            if option.is_needed() && !is_table(option) && !is_set(&name) {
                mistakes.add_coded(at, "config-missing-key", needed(section, option));
            }
            if let Some(value) = table.get(name.as_str())
                && !partner.is_empty()
                && !is_set(partner)
            {
                let path = section.path;
                let words = format!(
                    "{path}.{name} and {path}.{partner} belong together: set both, or neither"
                );
                mistakes.add_coded(&value.span(), "config-missing-key", words);
            }
        }
    }

    /// Lists the keys of an option's value, which may be a table.
    fn look_at(
        &mut self,
        section: &Section,
        name: &str,
        path: String,
        value: &Spanned<DeValue<'_>>,
        mistakes: &mut Mistakes,
    ) {
        let inner = match section.path {
            "" => name.to_owned(),
            table => format!("{table}.{name}"),
        };
        let inner = SECTIONS.iter().find(|section| section.path == inner);
        match (inner, value.get_ref()) {
            (Some(inner), DeValue::Table(table)) => {
                self.look(inner, &path, table, &value.span(), mistakes);
            }
            (Some(inner), DeValue::Array(tables)) => {
                for (index, table) in tables.iter().enumerate() {
                    let at = table.span();
                    if let DeValue::Table(table) = table.get_ref() {
                        self.look(inner, &format!("{path}[{index}]"), table, &at, mistakes);
                    }
                }
            }
            // Reading the file reports a value that stands where a table should.
            _ => self.set.push(Set { path, value: value.span() }),
        }
    }
}

/// Returns what holds in place of an option that no longer exists.
fn instead_of(section: &Section, name: &str) -> Option<&'static str> {
    let removed = REMOVED.iter().find(|(table, gone, _)| (*table, *gone) == (section.path, name));
    removed.map(|(_, _, instead)| *instead)
}

/// Returns whether an option is a table or an array of tables.
pub(super) fn is_table(option: &Definition) -> bool {
    SECTIONS.iter().any(|section| option.value.contains(&section.holder))
}

/// Returns the error for a table that lacks a required option.
fn needed(section: &Section, option: &Definition) -> String {
    let path = section.path;
    let mut holders = SECTIONS.iter().flat_map(|holder| holder.options);
    let table = match holders.any(|holder| holder.value == ["Vec", section.holder]) {
        true => format!("[[{path}]]"),
        false => format!("[{path}]"),
    };
    let name = option.name();
    format!("{table} needs {name}, as {name} = {}", option.example())
}

/// Returns the error for an unknown key, with a suggestion.
fn unknown(section: &Section, name: &str) -> String {
    let place = match section.path {
        "" => String::new(),
        table => format!(" in [{table}]"),
    };
    if let Some(nearest) = nearest(section, name) {
        return format!("unknown key {name:?}{place}: did you mean {nearest:?}?");
    }
    // A key that is right in another table stands under the wrong heading.
    let holds = |section: &&Section| section.options.iter().any(|option| option.name() == name);
    match SECTIONS.iter().find(holds).map(|section| section.path) {
        Some("") => format!(
            "unknown key {name:?}{place}: it belongs at the top of the file, before the first [table]"
        ),
        Some(other) => format!("unknown key {name:?}{place}: it belongs in [{other}]"),
        None => {
            let names: Vec<_> = section.options.iter().map(Definition::name).collect();
            format!("unknown key {name:?}{place}: it may be one of {}", names.join(", "))
        }
    }
}

/// Returns the option of a table that an unknown key is like.
fn nearest(section: &Section, name: &str) -> Option<String> {
    let likeness = |candidate: &String| strsim::jaro_winkler(candidate, name);
    let names = section.options.iter().map(Definition::name);
    let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    nearest.filter(|nearest| likeness(nearest) >= SIMILAR)
}
