//! The parameters that SMTP extensions add to MAIL and RCPT: the part of an envelope besides its paths.
//!
//! The SMTP engines parse and print them, the queue stores them with each item, and the relay passes
//! them on to servers that support the extension.

use crate::{Timestamp, visible::is_visible};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of octets that the content may contain (RFC 6152, RFC 3030 §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// ASCII only.
    #[default]
    SevenBit,
    /// Lines that may contain octets of 128 and above.
    EightBitMime,
    /// Any octets, not necessarily lines.
    BinaryMime,
}

/// The part of a message that a failure report includes (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    /// The whole message.
    Full,
    /// The header section only.
    Headers,
}

/// The events about which the sender wants a report (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// Successful delivery.
    pub success: bool,
    /// Failure.
    pub failure: bool,
    /// Delay.
    pub delay: bool,
}

impl Notify {
    /// No report about anything.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };
}

/// Returns the default of RFC 3461 §4.1: reports about failure and delay.
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

/// The time until which a message is held before it is sent on (RFC 4865 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The number of seconds from now.
    For(u32),
    /// The time at which the message is released.
    Until(Timestamp),
}

/// The deadline for the delivery of a message (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverBy {
    /// The number of seconds from now.
    pub seconds: i64,
    /// The consequence of missing the deadline.
    pub late: Late,
}

/// The consequence of missing a delivery deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Late {
    /// Delivery fails, and the sender gets a report.
    Return,
    /// The sender gets a report, and delivery attempts continue.
    Notify,
}

/// The parameters of MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// `SIZE=`: the number of octets that the client intends to send (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=`: the kind of octets in the content (RFC 6152, RFC 3030 §3).
    pub body: Body,
    /// `SMTPUTF8`: addresses and header fields may contain UTF-8 (RFC 6531 §3.4).
    pub utf8: bool,
    /// `RET=`: the part of the message that a report includes (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// `ENVID=`: the sender's name for the message, in xtext (RFC 3461 §4.4).
    pub envelope_id: Option<String>,
    /// `REQUIRETLS`: the message must never travel in plaintext (RFC 8689 §2).
    pub require_tls: bool,
    /// `HOLDFOR=` or `HOLDUNTIL=`: the time of release (RFC 4865 §4).
    pub hold: Option<Hold>,
    /// `BY=`: the delivery deadline (RFC 2852 §4).
    pub by: Option<DeliverBy>,
    /// `MT-PRIORITY=`: the priority, from -9 to 9 (RFC 6710 §3).
    pub priority: Option<i8>,
}

/// The parameters of RCPT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipientParameters {
    /// `NOTIFY=`: the events that the sender wants reports about (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=`: the recipient as the sender first specified it, `type;xtext` (RFC 3461 §4.2).
    pub original: Option<String>,
}

/// Decodes xtext (RFC 3461 §4), in which `+` and two hexadecimal digits represent an octet. Returns none
/// if the text is not xtext, or if the result contains characters that a report's field must not
/// contain.
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
            // RFC 6533 §3: a UTF-8 address is included as it is.
            plain if !plain.is_ascii() && is_visible(plain) => plain,
            _ => return None,
        });
    }
    Some(plain)
}

fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~')
}
