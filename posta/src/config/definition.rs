//! What the definition of an option holds, and the macros that read the definitions of `options.rs` and `words.rs`.
//!
//! These three files know nothing but the standard library: `cargo xtask docs` compiles them too, with
//! macros of its own that leave the types out, and writes docs/configuration.md from them.
#![allow(dead_code, reason = "the program and `cargo xtask docs` use different parts of it")]

/// An option of the configuration. Everything about the option is defined here, once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Definition {
    /// The name of its field. In the file, the name has hyphens in place of underscores.
    pub(crate) field: &'static str,
    /// The type of its value and the types that it wraps: `["Vec", "Span"]`.
    pub(crate) value: [&'static str; 2],
    /// Its documentation, line by line. The first line is its help, the rest follows an empty line.
    pub(crate) documentation: &'static [&'static str],
    /// The default, in the notation of the file.
    pub(crate) default: Option<&'static str>,
    /// In words, what applies if the file has no value and there is no default.
    pub(crate) unset: &'static str,
    /// An example, if the default is not a good one.
    pub(crate) example: &'static str,
    /// The unit of the number, such as `recipients`.
    pub(crate) of: &'static str,
    /// The meaning of 0, if it is special.
    pub(crate) zero: &'static str,
    /// The smallest allowed value.
    pub(crate) least: &'static str,
    /// Why a smaller value is refused, and the cure.
    pub(crate) too_little: &'static str,
    /// The option of the same table that must be set with it, by its name in the file. Each of the two names the other.
    pub(crate) partner: &'static str,
    /// Whether a change takes effect only at the next start.
    pub(crate) needs_restart: bool,
    /// For an array of tables: the subject of each.
    pub(crate) each: &'static str,
}

impl Definition {
    /// A definition with nothing but its documentation.
    pub(crate) const fn new(
        field: &'static str,
        value: [&'static str; 2],
        documentation: &'static [&'static str],
    ) -> Self {
        Self {
            field,
            value,
            documentation,
            default: None,
            unset: "",
            example: "",
            of: "",
            zero: "",
            least: "",
            too_little: "",
            partner: "",
            needs_restart: false,
            each: "",
        }
    }

    /// Returns the option's name in the file.
    pub(crate) fn name(&self) -> String {
        self.field.replace('_', "-")
    }

    /// Returns whether its table requires it, if it is not a table itself.
    pub(crate) fn is_needed(&self) -> bool {
        self.default.is_none() && self.value[0] != "Option"
    }

    /// Returns an example in the notation of the file; empty for a table.
    pub(crate) fn example(&self) -> &'static str {
        if self.example.is_empty() { self.default.unwrap_or_default() } else { self.example }
    }
}

/// A table of the configuration, and the options in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    /// The type that holds it.
    pub(crate) holder: &'static str,
    /// Its name in the file; empty for the top of the file.
    pub(crate) path: &'static str,
    /// Its documentation, line by line.
    pub(crate) documentation: &'static [&'static str],
    /// Its options, in the order of the manual.
    pub(crate) options: &'static [Definition],
}

/// A type whose values are words, with the meaning of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vocabulary {
    /// The type.
    pub(crate) holder: &'static str,
    /// Its words.
    pub(crate) words: &'static [(&'static str, &'static str)],
}

/// A former option: its table, its name, and what applies instead.
pub(crate) type Removed = (&'static str, &'static str, &'static str);

/// Generates `SECTIONS` from the definitions.
///
/// `Table in "table" with check { … }` says that the function `partial::Table::check` finds the options that do not go
/// together, among those that could be read; `with check and check_list`, that `partial::Table::check_list` finds the
/// tables of an array that do not.
macro_rules! sections {
    ($(
        $(#[doc = $about:literal])*
        $table:ident in $path:literal $(with $check:ident $(and $check_list:ident)?)? {
            $(
                $(#[doc = $words:literal])*
                $field:ident: $outer:ident $(<$inner:ident>)? { $($says:ident: $what:expr),* $(,)? }
            )*
        }
    )*) => {
        /// Every table of the configuration; the first is the top of the file.
        pub(crate) const SECTIONS: &[Section] = &[$(Section {
            holder: stringify!($table),
            path: $path,
            documentation: &[$($about),*],
            options: &[$(Definition {
                $($says: $what,)*
                ..Definition::new(
                    stringify!($field),
                    [stringify!($outer), stringify!($($inner)?)],
                    &[$($words),*],
                )
            }),*],
        }),*];
    };
}

/// Generates `VOCABULARIES` from the definitions.
macro_rules! vocabularies {
    ($($how:ident $holder:ident { $($variant:ident = $word:literal: $means:literal),* $(,)? })*) => {
        /// Every type whose values are words.
        #[allow(dead_code, reason = "the manual lists them")]
        pub(crate) const VOCABULARIES: &[Vocabulary] = &[$(Vocabulary {
            holder: stringify!($holder),
            words: &[$(($word, $means)),*],
        }),*];
    };
}
