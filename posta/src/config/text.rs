//! Options whose values are quoted text.

use super::{
    mistakes::{Read, mistake},
    read::{Slot, Value, Written},
};
use std::ops::Range;
use toml::de::DeValue;

/// A type whose values are quoted text.
pub(super) trait Text: Sized + PartialEq {
    /// Parses a text that is not blank.
    fn parse(text: &str) -> Result<Self, String>;
}

impl<T: Text> Value for T {
    fn read(value: &Written<'_>, slot: &Slot) -> Read<Self> {
        let at = value.span();
        let DeValue::String(text) = value.get_ref() else {
            return slot.wanted(&at, "text in quotation marks");
        };
        read_text(text, &at, slot, T::parse)
    }
}

/// Parses a text, which must not be blank.
pub(super) fn read_text<T>(
    text: &str,
    at: &Range<usize>,
    slot: &Slot,
    parse: fn(&str) -> Result<T, String>,
) -> Read<T> {
    if text.trim().is_empty() {
        let path = slot.path();
        return mistake(
            at,
            format!("{path} is empty: leave it out for the default, or fill it in"),
        );
    }
    parse(text).or_else(|words| slot.wrong(at, &words))
}
