//! What an envelope says beside its paths: the parameters that SMTP's extensions add to MAIL and
//! RCPT.

use crate::{Timestamp, visible::is_visible};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the content may hold (RFC 6152, RFC 3030 §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// ASCII only.
    #[default]
    SevenBit,
    /// Octets of 128 and above too.
    EightBitMime,
    /// Any octets, lines or not.
    BinaryMime,
}

/// How much of a message a failed report brings back (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header section.
    Headers,
}

/// Of what a recipient's fate the sender wants to hear (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// That it was delivered.
    pub success: bool,
    /// That it failed.
    pub failure: bool,
    /// That it takes longer.
    pub delay: bool,
}

impl Notify {
    /// Of nothing.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };
}

/// Without a wish: of failure and delay (RFC 3461 §4.1).
impl Default for Notify {
    fn default() -> Self {
        Self { success: false, failure: true, delay: true }
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let wanted: Vec<_> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        f.write_str(if wanted.is_empty() { "NEVER" } else { "" })?;
        f.write_str(&wanted.join(","))
    }
}

/// Until when a message is to be kept back (RFC 4865 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// So many seconds from now.
    For(u32),
    /// Until this time.
    Until(Timestamp),
}

/// By when a message is to be delivered (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverBy {
    /// Seconds from now.
    pub seconds: i64,
    /// What happens when it is late.
    pub late: Late,
}

/// What happens to a message that is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Late {
    /// It fails, and the sender is told.
    Return,
    /// The sender is told, and it goes on.
    Notify,
}

/// The parameters of MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// `SIZE=`: octets the client means to send (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=`: what the content may hold (RFC 6152, RFC 3030 §3).
    pub body: Body,
    /// `SMTPUTF8`: addresses and header fields may be in UTF-8 (RFC 6531 §3.4).
    pub utf8: bool,
    /// `RET=`: how much a report brings back (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// `ENVID=`: the sender's name for the message, in xtext (RFC 3461 §4.4).
    pub envelope_id: Option<String>,
    /// `REQUIRETLS`: never in plaintext (RFC 8689 §2).
    pub require_tls: bool,
    /// `HOLDFOR=`, `HOLDUNTIL=` (RFC 4865 §4).
    pub hold: Option<Hold>,
    /// `BY=` (RFC 2852 §4).
    pub by: Option<DeliverBy>,
    /// `MT-PRIORITY=`: -9 to 9 (RFC 6710 §3).
    pub priority: Option<i8>,
}

/// The parameters of RCPT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipientParameters {
    /// `NOTIFY=`: what the sender wants to hear of (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=`: whom the sender named first, `type;xtext` (RFC 3461 §4.2).
    pub original: Option<String>,
}

/// Undoes xtext (RFC 3461 §4): `+` and two hexadecimal digits stand for an octet. None if it is not
/// xtext, or hides what may not stand in a report's field.
///
/// ```
/// use posta_mail::envelope::from_xtext;
/// assert_eq!(from_xtext("a+2Bb").as_deref(), Some("a+b"));
/// assert_eq!(from_xtext("a+0Ab"), None);
/// assert_eq!(from_xtext("a\u{202e}b"), None);
/// ```
#[must_use]
pub fn from_xtext(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '+' => {
                let digits: String = characters.by_ref().take(2).collect();
                let upper = |digit: char| digit.is_ascii_digit() || ('A'..='F').contains(&digit);
                if digits.len() != 2 || !digits.chars().all(upper) {
                    return None;
                }
                u8::from_str_radix(&digits, 16).ok().map(char::from).filter(|c| is_printable(*c))?
            }
            '=' => return None,
            plain if plain.is_ascii_graphic() => plain,
            // RFC 6533 §3: a UTF-8 address stands there as it is.
            plain if !plain.is_ascii() && is_visible(plain) => plain,
            _ => return None,
        });
    }
    Some(plain)
}

/// Writes xtext.
#[must_use]
pub fn to_xtext(plain: &str) -> String {
    let mut text = String::with_capacity(plain.len());
    for octet in plain.bytes() {
        if octet.is_ascii_graphic() && !matches!(octet, b'+' | b'=') {
            text.push(char::from(octet));
        } else {
            text.push_str(&format!("+{octet:02X}"));
        }
    }
    text
}

fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~')
}
