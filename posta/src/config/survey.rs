//! Lists the keys of a configuration file: the options that it sets and where, unknown keys, and options that no
//! longer exist.

use super::{
    definition::{Definition, Section},
    options::{REMOVED, SECTIONS},
    read::{Mistake, Read, mistake},
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

/// Lists the keys of a file. An unknown key is an error.
pub(super) fn survey(file: &Spanned<DeTable<'_>>) -> Read<Survey> {
    let mut found = Survey::default();
    if let Some(top) = SECTIONS.first() {
        found.look(top, "", file.get_ref(), &file.span())?;
    }
    found.set.sort_by_key(|set| set.value.start);
    found.removed.sort_by_key(|removed| removed.at);
    Ok(found)
}

impl Survey {
    /// Lists the keys of the table at `path`.
    fn look(
        &mut self,
        section: &Section,
        path: &str,
        table: &DeTable<'_>,
        at: &Range<usize>,
    ) -> Read<()> {
        for (key, value) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span());
            if let Some((_, _, instead)) =
                REMOVED.iter().find(|(table, gone, _)| (*table, *gone) == (section.path, name))
            {
                let option =
                    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                let words =
                    format!("{option} is no option any more: {instead}. The line can be deleted");
                self.removed.push(Mistake { at: at.start, words });
                continue;
            }
            if !section.options.iter().any(|option| option.name() == name) {
                return mistake(&at, unknown(section, name));
            }
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let inner = match section.path {
                "" => name.to_owned(),
                table => format!("{table}.{name}"),
            };
            let inner = SECTIONS.iter().find(|section| section.path == inner);
            match (inner, value.get_ref()) {
                (Some(inner), DeValue::Table(table)) => {
                    self.look(inner, &path, table, &value.span())?;
                }
                (Some(inner), DeValue::Array(tables)) => {
                    for (index, table) in tables.iter().enumerate() {
                        let at = table.span();
                        if let DeValue::Table(table) = table.get_ref() {
                            self.look(inner, &format!("{path}[{index}]"), table, &at)?;
                        }
                    }
                }
                // Reading the file reports a value that stands where a table should.
                _ => self.set.push(Set { path, value: value.span() }),
            }
        }
        let is_missing = |option: &&Definition| {
            option.is_needed() && !table.contains_key(option.name().as_str())
        };
        // Tables are there when anything in them is.
        match section.options.iter().find(|option| is_missing(option) && !is_table(option)) {
            Some(option) => mistake(at, needed(section, option)),
            None => Ok(()),
        }
    }
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
    let names: Vec<_> = section.options.iter().map(|option| option.name()).collect();
    let likeness = |candidate: &str| strsim::jaro_winkler(candidate, name);
    let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    if let Some(nearest) = nearest.filter(|nearest| likeness(nearest) >= SIMILAR) {
        return format!("unknown key {name:?}{place}: did you mean {nearest:?}?");
    }
    // A key that is right in another table stands under the wrong heading.
    let holds = |section: &&Section| section.options.iter().any(|option| option.name() == name);
    match SECTIONS.iter().find(holds).map(|section| section.path) {
        Some("") => format!(
            "unknown key {name:?}{place}: it belongs at the top of the file, before the first [table]"
        ),
        Some(other) => format!("unknown key {name:?}{place}: it belongs in [{other}]"),
        None => format!("unknown key {name:?}{place}: it may be one of {}", names.join(", ")),
    }
}
