//! Invisible characters, and their replacement where text from strangers is shown.
//!
//! A control character can steer a terminal. U+202E reverses the direction of the text after it, so that
//! `fdp.exe` reads as `exe.pdf`. U+200B makes two different addresses look the same. Text written by
//! strangers can contain any of them. One function, [`is_visible`], decides which characters are
//! invisible. Addresses that contain one are refused; in text shown to a person, a visible replacement
//! appears.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};
use std::{borrow::Cow, fmt::Write as _};

/// Returns whether a character is visible or a plain space.
///
/// Invisible characters are controls, format characters (bidirectional controls, zero-width joiners,
/// interlinear annotation, tags), line and paragraph separators, and everything else that displays as
/// nothing (Unicode's property `Default_Ignorable_Code_Point`: variation selectors, Hangul fillers). RFC
/// 8264 §4.2.3 disallows the same characters in identifiers.
#[must_use]
pub fn is_visible(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    // The Braille cell without a dot is a symbol by category, but displays as nothing.
    if character == '\u{2800}' {
        return false;
    }
    let is_steering = matches!(
        CodePointMapData::<GeneralCategory>::new().get(character),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    );
    !is_steering && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
}

/// Returns the character, or a space if the character is invisible.
#[must_use]
pub fn or_space(character: char) -> char {
    if is_visible(character) { character } else { ' ' }
}

/// Returns the text with invisible characters written as escapes, `\u{202e}` or `\n`.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    replaced(text, |character, output| output.extend(character.escape_default()))
}

/// Returns the JSON text with invisible characters written as JSON escapes, such as `\u202e`. Outside
/// strings, JSON contains no invisible characters but line ends, which are kept.
#[must_use]
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    replaced(json, |character, output| match character {
        '\n' => output.push('\n'),
        character => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(output, "\\u{unit:04x}");
            }
        }
    })
}

fn replaced(text: &str, write: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if text.chars().all(is_visible) {
        return Cow::Borrowed(text);
    }
    let mut output = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_visible(character) {
            true => output.push(character),
            false => write(character, &mut output),
        }
    }
    Cow::Owned(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen() {
        for (range, what) in [
            ('\0'..='\u{1f}', "C0"),
            ('\u{7f}'..='\u{9f}', "DEL and C1"),
            ('\u{ad}'..='\u{ad}', "soft hyphen"),
            ('\u{34f}'..='\u{34f}', "combining grapheme joiner"),
            ('\u{61c}'..='\u{61c}', "Arabic letter mark"),
            ('\u{115f}'..='\u{1160}', "Hangul fillers"),
            ('\u{180b}'..='\u{180f}', "Mongolian selectors"),
            ('\u{200b}'..='\u{200f}', "zero width, and marks of direction"),
            ('\u{2028}'..='\u{202e}', "separators, and embeddings and overrides"),
            ('\u{2060}'..='\u{206f}', "word joiner, invisible operators, isolates"),
            ('\u{2800}'..='\u{2800}', "Braille without a dot"),
            ('\u{3164}'..='\u{3164}', "Hangul filler"),
            ('\u{fe00}'..='\u{fe0f}', "variation selectors"),
            ('\u{feff}'..='\u{feff}', "byte order mark"),
            ('\u{ffa0}'..='\u{ffa0}', "Hangul filler of half width"),
            ('\u{fff9}'..='\u{fffb}', "interlinear annotation"),
            ('\u{1d173}'..='\u{1d17a}', "musical format controls"),
            ('\u{e0000}'..='\u{e0fff}', "tags, more variation selectors"),
        ] {
            for character in range {
                assert!(!is_visible(character), "{what}: {character:?}");
                assert_eq!(or_space(character), ' ');
            }
        }
        let seen = " ~ă\u{219}\u{e9}e\u{301}ß漢字한글עבריתالعربيةहिन्दी\u{1f600}€\u{fffd}";
        assert!(seen.chars().all(is_visible));
        assert!(matches!(escaped(seen), Cow::Borrowed(text) if text == seen));
    }

    #[test]
    fn it_is_shown_as_in_code() {
        assert_eq!(escaped("a\u{202e}b\n\u{1b}[2J\u{e0041}"), "a\\u{202e}b\\n\\u{1b}[2J\\u{e0041}");
        assert_eq!(
            escaped_json("[\n\"a\u{202e}\u{9b}\u{e0041}\"\n]"),
            "[\n\"a\\u202e\\u009b\\udb40\\udc41\"\n]"
        );
    }
}
