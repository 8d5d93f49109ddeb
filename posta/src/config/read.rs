//! Reads a file into the types of `options.rs`. An error for a wrong word, a value of the wrong kind or a missing
//! bracket names the line, the expected value, and an example.

use super::{
    definition::{Definition, Section},
    mistakes::{Mistakes, Read, mistake},
};
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The value as it is written in the file.
pub(super) type Written<'f> = Spanned<DeValue<'f>>;

/// The type of an option's value. It knows its notation, and the error for anything else.
pub(super) trait Value: Sized + PartialEq {
    /// Whether the value is a table, `[name]`; a list of them is `[[name]]`.
    const IS_TABLE: bool = false;

    /// Parses a value.
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self>;

    /// Returns the value that applies when the file has none: the default, for most types.
    fn absent(slot: &Slot, _table: &Range<usize>) -> Read<Self> {
        match slot.definition.default {
            Some(default) => read_as(default, slot),
            // `survey.rs` tells of it.
            None => Err(Mistakes::default()),
        }
    }

    /// Adds what is wrong with a list of values beside what is wrong with each on its own. `written` holds them, at
    /// `at`.
    fn check_list(_written: &[Written<'_>], _at: &Range<usize>, _mistakes: &mut Mistakes) {}

    /// Returns the value as a number, to be compared with the smallest allowed.
    fn rank(&self) -> Option<u64> {
        None
    }

    /// Adds the options that differ in `new` and cannot be changed while the server runs.
    fn fixed(&self, new: &Self, slot: &Slot, found: &mut Vec<String>) {
        if slot.definition.needs_restart && self != new {
            found.push(slot.path());
        }
    }
}

/// A table whose type is generated from the definitions.
pub(super) trait Table: Value {
    /// The definitions of its options.
    fn section() -> &'static Section;

    /// Reads the options of the table.
    fn read_options(found: &WrittenTable<'_, '_>) -> Read<Self>;

    /// Adds the options of the table that differ in `new` and cannot be changed while the server runs.
    fn fixed_options(&self, new: &Self, found: &mut Vec<String>);
}

/// The place of an option.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// The name of its table.
    pub(super) section: &'static Section,
    pub(super) definition: &'static Definition,
}

impl Slot {
    /// Returns the place of a field.
    pub(super) fn of(section: &'static Section, field: &str) -> Self {
        // Fields and definitions are made from the same words.
        let index = section.options.iter().position(|option| option.field == field);
        Self { section, definition: &section.options[index.unwrap_or_default()] }
    }

    /// Returns the option's name, preceded by its table's.
    pub(super) fn path(&self) -> String {
        let (table, name) = (self.section.path, self.definition.name());
        if table.is_empty() { name } else { format!("{table}.{name}") }
    }

    /// Returns the error for a value of the wrong kind.
    pub(super) fn wanted<T>(&self, at: &Range<usize>, what: &str) -> Read<T> {
        let (name, example) = (self.definition.name(), self.definition.example());
        mistake(at, format!("{} is {what}, as {name} = {example}", self.path()))
    }

    /// Returns the error for a value of the right kind that is not allowed.
    pub(super) fn wrong<T>(&self, at: &Range<usize>, words: &str) -> Read<T> {
        mistake(at, format!("{}: {words}", self.path()))
    }
}

/// Parses a value in a definition.
fn read_as<T: Value>(text: &'static str, slot: &Slot) -> Read<T> {
    let line = format!("value = {text}");
    let table = DeTable::parse(&line).or_else(|error| mistake(&(0..0), error.to_string()))?;
    match table.get_ref().get("value") {
        Some(value) => T::read(value, slot),
        None => mistake(&(0..0), line.clone()),
    }
}

/// The options of a table that could be read, whatever is wrong with the others: what is wrong with several options
/// together is found in it. Each field is `None` if the option's value has a mistake.
pub(super) trait Partial: Sized {
    /// The table.
    type Whole: Table;

    /// Reads the options of the table, and adds the mistakes in each of them.
    fn read(found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) -> Self;

    /// Returns the table if all of its options could be read.
    fn whole(self) -> Option<Self::Whole>;
}

/// Reads the tables of an array as far as possible, each with the value that holds it. The mistakes in each have been
/// found already.
pub(super) fn partial_tables<'t, 'f, P: Partial>(
    written: &'t [Written<'f>],
) -> impl Iterator<Item = (P, &'t Written<'f>)> {
    written.iter().filter_map(|value| {
        let table = value.get_ref().as_table()?;
        let found = WrittenTable { section: P::Whole::section(), table, at: value.span() };
        Some((P::read(&found, &mut Mistakes::default()), value))
    })
}

/// A table as it is written in the file.
pub(super) struct WrittenTable<'t, 'f> {
    pub(super) section: &'static Section,
    pub(super) table: &'t DeTable<'f>,
    pub(super) at: Range<usize>,
}

impl WrittenTable<'_, '_> {
    /// Reads a field.
    pub(super) fn option<T: Value>(&self, field: &str) -> Read<T> {
        let slot = Slot::of(self.section, field);
        let Some(value) = self.table.get(slot.definition.name().as_str()) else {
            return T::absent(&slot, &self.at);
        };
        let read = T::read(value, &slot)?;
        let Definition { least, too_little, default, .. } = slot.definition;
        let is_too_little = match read.rank() {
            Some(rank) if !least.is_empty() => Some(rank) < read_as::<T>(least, &slot)?.rank(),
            _ => false,
        };
        if is_too_little {
            let default = default.unwrap_or_default().trim_matches('"');
            return match too_little.is_empty() {
                true => slot.wrong(
                    &value.span(),
                    &format!("nothing would work with 0: leave it out for {default}, or name more"),
                ),
                false => slot.wrong(&value.span(), too_little),
            };
        }
        Ok(read)
    }

    /// Returns the place of an option's value, or of the table if the file has no value.
    pub(super) fn place(&self, name: &str) -> Range<usize> {
        self.table.get(name).map_or_else(|| self.at.clone(), Spanned::span)
    }

    /// Returns the place of an element of an option's value, which is a list.
    pub(super) fn element(&self, name: &str, index: usize) -> Range<usize> {
        let list = self.table.get(name).and_then(|value| value.get_ref().as_array());
        let element = list.and_then(|list| list.get(index));
        element.map_or_else(|| self.place(name), Spanned::span)
    }

    /// Returns the first of these options that the file sets.
    pub(super) fn first_set<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.table.contains_key(*name))
    }
}

/// Returns the place of an option's value in a table, or of the table if it has none.
pub(super) fn place_in(table: &Written<'_>, name: &str) -> Range<usize> {
    let value = table.get_ref().as_table().and_then(|options| options.get(name));
    value.map_or_else(|| table.span(), Spanned::span)
}

/// Reads a table.
pub(super) fn read_table<T: Table>(value: &Written<'_>, slot: &Slot) -> Read<T> {
    match value.get_ref() {
        DeValue::Table(table) => {
            T::read_options(&WrittenTable { section: T::section(), table, at: value.span() })
        }
        _ => {
            let path = slot.path();
            mistake(
                &value.span(),
                format!("{path} is a table: write [{path}], with its keys below it"),
            )
        }
    }
}

/// Returns an empty table, in place of one that the file omits.
pub(super) fn absent_table<T: Table>(at: &Range<usize>) -> Read<T> {
    T::read_options(&WrittenTable {
        section: T::section(),
        table: &DeTable::default(),
        at: at.clone(),
    })
}

impl<T: Value> Value for Option<T> {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        T::read(value, slot).map(Some)
    }

    fn absent(_: &Slot, _: &Range<usize>) -> Read<Self> {
        Ok(None)
    }

    fn rank(&self) -> Option<u64> {
        self.as_ref().and_then(T::rank)
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        let (path, at) = (slot.path(), value.span());
        match value.get_ref() {
            DeValue::Array(elements) => {
                let mut mistakes = Mistakes::default();
                let read = elements.iter().map(|element| read_element(element, slot));
                let read: Vec<_> = read.map(|element| mistakes.keep(element)).collect();
                T::check_list(elements, &at, &mut mistakes);
                mistakes.unless_any(read.into_iter().collect::<Option<_>>())
            }
            _ if T::IS_TABLE => {
                let each = slot.definition.each;
                mistake(&at, format!("write [[{path}]], in two pairs of brackets, {each}"))
            }
            DeValue::String(text) if T::read(value, slot).is_ok() => {
                mistake(&at, format!("{path} is a list: {} = [{text:?}]", slot.definition.name()))
            }
            _ => slot.wanted(&at, "a list"),
        }
    }

    /// The number of the smallest element.
    fn rank(&self) -> Option<u64> {
        self.iter().filter_map(T::rank).min()
    }
}

fn read_element<T: Value>(element: &Written<'_>, slot: &Slot) -> Read<T> {
    match element.get_ref() {
        DeValue::Table(_) if T::IS_TABLE => T::read(element, slot),
        _ if T::IS_TABLE => {
            let path = slot.path();
            mistake(&element.span(), format!("write [[{path}]], with its keys below it"))
        }
        DeValue::String(_) => T::read(element, slot),
        _ => slot.wanted(&element.span(), "a list of texts in quotation marks"),
    }
}

/// Generates the types of the tables, and in the module `partial` those of tables that are not right yet.
macro_rules! holders {
    ($(
        $(#[doc = $about:literal])*
        $table:ident in $path:literal $(with $check:ident $(and $check_list:ident)?)? {
            $(
                $(#[doc = $words:literal])*
                $field:ident: $outer:ident $(<$inner:ident>)? { $($says:tt)* }
            )*
        }
    )*) => {
        pub(super) mod partial {
            use super::{Mistakes, Partial, WrittenTable};
            $(
                /// The options of the table that could be read.
                #[derive(Debug)]
                pub(in crate::config) struct $table {
                    $(pub(in crate::config) $field: Option<super::$outer $(<super::$inner>)?>,)*
                }

                impl Partial for $table {
                    type Whole = super::$table;

                    fn read(found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) -> Self {
                        Self { $($field: mistakes.keep(found.option(stringify!($field))),)* }
                    }

                    fn whole(self) -> Option<Self::Whole> {
                        Some(Self::Whole { $($field: self.$field?,)* })
                    }
                }
            )*
        }

        $(
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $table {
            $($(#[doc = $words])* pub(crate) $field: $outer $(<$inner>)?,)*
        }

        impl Table for $table {
            fn section() -> &'static Section {
                let index = SECTIONS.iter().position(|section| section.path == $path);
                &SECTIONS[index.unwrap_or_default()]
            }

            fn read_options(found: &WrittenTable<'_, '_>) -> Read<Self> {
                let mut mistakes = Mistakes::default();
                let partial = partial::$table::read(found, &mut mistakes);
                $(partial.$check(found, &mut mistakes);)?
                mistakes.unless_any(partial.whole())
            }

            fn fixed_options(&self, new: &Self, found: &mut Vec<String>) {
                $(self.$field.fixed(&new.$field, &Slot::of(Self::section(), stringify!($field)), found);)*
            }
        }

        impl Value for $table {
            const IS_TABLE: bool = true;

            fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
                read_table(value, slot)
            }

            fn absent(_: &Slot, table: &Range<usize>) -> Read<Self> {
                absent_table(table)
            }

            $($(
                fn check_list(
                    written: &[Written<'_>],
                    at: &Range<usize>,
                    mistakes: &mut Mistakes,
                ) {
                    partial::$table::$check_list(written, at, mistakes);
                }
            )?)?

            fn fixed(&self, new: &Self, slot: &Slot, found: &mut Vec<String>) {
                if !slot.definition.needs_restart {
                    self.fixed_options(new, found);
                } else if self != new {
                    found.push(slot.path());
                }
            }
        }
    )*};
}

/// Generates the types whose values are words.
macro_rules! word_types {
    ($($how:ident $holder:ident { $($variant:ident = $word:literal: $means:literal),* $(,)? })*) => {
        $(word_types! { @ $how $holder { $($variant = $word: $means),* } })*
    };
    (@ enum $holder:ident { $($variant:ident = $word:literal: $means:literal),* }) => {
        /// Parses one of the words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $holder { $(#[doc = $means] $variant,)* }

        impl $holder {
            /// Returns the word as it is written in the file.
            #[allow(dead_code, reason = "few are printed")]
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        word_types! { @ like $holder { $($variant = $word: $means),* } }
    };
    (@ like $holder:ident { $($variant:ident = $word:literal: $means:literal),* }) => {
        impl Value for $holder {
            fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
                let words = &[$(($word, $means)),*];
                match read_word(value, slot, words)? {
                    $($word => Ok(Self::$variant),)*
                    other => unknown_word(other, &value.span(), slot, words),
                }
            }
        }
    };
    (@ flag $holder:ident { $($variant:ident = $word:literal: $means:literal),* }) => {
        impl Value for $holder {
            fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
                let words = &[$(($word, $means)),*];
                match value.get_ref() {
                    DeValue::Boolean(flag) => Ok(Self::of(*flag)),
                    DeValue::String(text) => match text.as_ref() {
                        $($word => Ok(Self::$variant),)*
                        _ => no_flag(&value.span(), slot, words),
                    },
                    _ => no_flag(&value.span(), slot, words),
                }
            }
        }
    };
}

/// Generates the types of `options.rs` and the tables of their definitions.
macro_rules! options {
    ($($all:tt)*) => {
        use super::{definition::*, mistakes::*, read::*, values::*, words::*};
        // The module `partial` names them by this one: its own types have the names of the tables.
        use std::{option::Option, primitive::{bool, u32, usize}, string::String, vec::Vec};
        use std::ops::Range;
        sections! { $($all)* }
        holders! { $($all)* }
    };
}

/// Generates the types of `words.rs` and the tables of their meanings.
macro_rules! words {
    ($($all:tt)*) => {
        use super::{definition::*, mistakes::*, read::*, values::*};
        use toml::de::DeValue;
        vocabularies! { $($all)* }
        word_types! { $($all)* }
    };
}
