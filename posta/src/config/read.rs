//! Reading a file into the types of `options.rs`, so that whoever writes a wrong word, a word of the wrong kind or a
//! value without brackets is told the line, what is wanted there, and how it is written.

use super::definition::{Definition, Section};
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A mistake, and where it begins in the file.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) at: usize,
    pub(super) words: String,
}

/// What is read, or the mistake in it.
pub(super) type Read<T> = Result<T, Mistake>;

/// A value as the file has it.
pub(super) type Written<'f> = Spanned<DeValue<'f>>;

/// Returns a mistake.
pub(super) fn mistake<T>(at: &Range<usize>, words: String) -> Read<T> {
    Err(Mistake { at: at.start, words })
}

/// What an option may be: each type knows how it is written, and what to say to whoever wrote something else.
pub(super) trait Value: Sized + PartialEq {
    /// Whether it is a table, `[name]`, and a list of it `[[name]]`.
    const IS_TABLE: bool = false;

    /// Reads a value.
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self>;

    /// Returns what holds where the file has no value: the default, for most types.
    fn absent(slot: &Slot, table: &Range<usize>) -> Read<Self> {
        match slot.definition.default {
            Some(default) => read_as(default, slot),
            // `survey.rs` has told it better.
            None => mistake(table, format!("{} is missing", slot.path())),
        }
    }

    /// Returns how large it is, to be compared with the least that is allowed.
    fn rank(&self) -> Option<u64> {
        None
    }

    /// Adds the options that differ in `new`, and that a running server cannot change.
    fn fixed(&self, new: &Self, slot: &Slot, found: &mut Vec<String>) {
        if slot.definition.needs_restart && self != new {
            found.push(slot.path());
        }
    }
}

/// A table whose type is made from the definitions.
pub(super) trait Table: Value {
    /// The definitions.
    fn section() -> &'static Section;

    /// Reads its options.
    fn read_options(found: &Found<'_, '_>) -> Read<Self>;

    /// Adds the options in it that differ in `new`, and that a running server cannot change.
    fn fixed_options(&self, new: &Self, found: &mut Vec<String>);
}

/// Where an option stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// The table it stands in.
    pub(super) section: &'static Section,
    pub(super) definition: &'static Definition,
}

impl Slot {
    /// Returns the slot of a field.
    pub(super) fn of(section: &'static Section, field: &str) -> Self {
        // Fields and definitions are made from the same words.
        let index = section.options.iter().position(|option| option.field == field);
        Self { section, definition: &section.options[index.unwrap_or_default()] }
    }

    /// Returns its name, with that of its table.
    pub(super) fn path(&self) -> String {
        let (table, name) = (self.section.path, self.definition.name());
        if table.is_empty() { name } else { format!("{table}.{name}") }
    }

    /// Refuses a value of another kind.
    pub(super) fn wanted<T>(&self, at: &Range<usize>, what: &str) -> Read<T> {
        let (name, example) = (self.definition.name(), self.definition.example());
        mistake(at, format!("{} is {what}, as {name} = {example}", self.path()))
    }

    /// Refuses a value whose kind is right.
    pub(super) fn wrong<T>(&self, at: &Range<usize>, words: &str) -> Read<T> {
        mistake(at, format!("{}: {words}", self.path()))
    }
}

/// Reads a definition's own text.
fn read_as<T: Value>(text: &'static str, slot: &Slot) -> Read<T> {
    let line = format!("value = {text}");
    let wrong = |words| Mistake { at: 0, words };
    let table = DeTable::parse(&line).map_err(|error| wrong(error.to_string()))?;
    let value = table.get_ref().get("value").ok_or_else(|| wrong(line.clone()))?;
    T::read(value, slot)
}

/// A table as the file has it.
pub(super) struct Found<'t, 'f> {
    pub(super) section: &'static Section,
    pub(super) table: &'t DeTable<'f>,
    pub(super) at: Range<usize>,
}

impl Found<'_, '_> {
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
}

/// Reads a table.
pub(super) fn read_table<T: Table>(value: &Written<'_>, slot: &Slot) -> Read<T> {
    match value.get_ref() {
        DeValue::Table(table) => {
            T::read_options(&Found { section: T::section(), table, at: value.span() })
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

/// Returns an empty table, for one that the file leaves out.
pub(super) fn absent_table<T: Table>(at: &Range<usize>) -> Read<T> {
    T::read_options(&Found { section: T::section(), table: &DeTable::default(), at: at.clone() })
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
                elements.iter().map(|element| read_element(element, slot)).collect()
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

    /// That of the smallest.
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

/// Makes the types that hold the tables.
macro_rules! holders {
    ($(
        $(#[doc = $about:literal])*
        $table:ident in $path:literal {
            $(
                $(#[doc = $words:literal])*
                $field:ident: $outer:ident $(<$inner:ident>)? { $($says:tt)* }
            )*
        }
    )*) => {$(
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

            fn read_options(found: &Found<'_, '_>) -> Read<Self> {
                Ok(Self { $($field: found.option(stringify!($field))?,)* })
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

/// Makes the types whose values are words.
macro_rules! word_types {
    ($($how:ident $holder:ident { $($variant:ident = $word:literal: $means:literal),* $(,)? })*) => {
        $(word_types! { @ $how $holder { $($variant = $word: $means),* } })*
    };
    (@ enum $holder:ident { $($variant:ident = $word:literal: $means:literal),* }) => {
        /// Which of the words is written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $holder { $(#[doc = $means] $variant,)* }

        impl $holder {
            /// Returns the word that the file has for it.
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

/// Makes the types of `options.rs`, and what is known of them.
macro_rules! options {
    ($($all:tt)*) => {
        use super::{definition::*, read::*, values::*};
        use std::ops::Range;
        use toml::de::DeValue;
        sections! { $($all)* }
        holders! { $($all)* }
    };
}

/// Makes the words of `options.rs`.
macro_rules! words {
    ($($all:tt)*) => {
        vocabularies! { $($all)* }
        word_types! { $($all)* }
    };
}
