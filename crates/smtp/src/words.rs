//! What the server says beyond a plain "Ok".

use crate::profile::{Profile, Service};
use posta_mail::{Interrupt, Reply};

pub(crate) fn greeting(profile: &Profile) -> Reply {
    let protocol = if profile.service == Service::Lmtp { "LMTP" } else { "ESMTP" };
    Reply::plain(220, format!("{} {protocol} Posta", profile.hostname))
}

pub(crate) fn help(profile: &Profile) -> [String; 2] {
    let hello = if profile.service == Service::Lmtp { "LHLO" } else { "HELO EHLO" };
    let tls = if profile.starttls { " STARTTLS" } else { "" };
    let auth = if profile.mechanisms.is_empty() { "" } else { " AUTH" };
    let expn = if profile.verify { " EXPN" } else { "" };
    [
        format!(
            "2.0.0 Commands: {hello} MAIL RCPT DATA BDAT RSET NOOP VRFY{expn} HELP QUIT{tls}{auth}"
        ),
        "2.0.0 RFC 5321 says what they do".to_owned(),
    ]
}

/// The 421 of a session that ends from outside (RFC 5321 §3.8).
pub(crate) fn parting(profile: &Profile, why: Interrupt) -> Reply {
    let (status, words) = match why {
        Interrupt::Idle => ((4, 4, 2), "waited too long, goodbye"),
        Interrupt::Stopping => ((4, 3, 2), "is stopping, try again soon"),
        Interrupt::Crowded => ((4, 7, 0), "has too many sessions from you, try again later"),
    };
    Reply::new(421, status, format!("{} {words}", profile.hostname))
}

/// RFC 5321 §7.3: telling who exists helps those who collect addresses.
pub(crate) fn ambiguous() -> Reply {
    Reply::new(252, (2, 1, 5), "Send some mail, and you will see")
}

/// RFC 4954 §6.
pub(crate) fn needs_encryption() -> Reply {
    Reply::new(538, (5, 7, 11), "Encryption required: use STARTTLS first")
}

pub(crate) fn out_of_order(text: &'static str) -> Reply {
    Reply::new(503, (5, 5, 1), text)
}

pub(crate) fn no_recipients() -> Reply {
    Reply::new(554, (5, 5, 1), "No valid recipients")
}

pub(crate) fn no_base64() -> Reply {
    Reply::new(501, (5, 5, 2), "That is no base64")
}

/// RFC 6531 §3.5.
pub(crate) fn needs_utf8() -> Reply {
    Reply::new(553, (5, 6, 7), "An address outside ASCII needs SMTPUTF8 with MAIL")
}

pub(crate) fn too_big(limit: u64) -> Reply {
    Reply::new(552, (5, 3, 4), format!("Messages may have {limit} octets at most"))
}

pub(crate) fn bare_newline() -> Reply {
    Reply::new(550, (5, 6, 0), "A line ended in CR or LF alone; lines end in CRLF")
}

pub(crate) fn line_too_long() -> Reply {
    Reply::new(500, (5, 5, 2), "Line too long")
}

/// RFC 4865 §5.
pub(crate) fn held_too_long(longest: u32) -> Reply {
    Reply::new(501, (5, 5, 4), format!("A message is kept back for {longest} seconds at most"))
}

pub(crate) fn not_implemented() -> Reply {
    Reply::new(502, (5, 5, 1), "Command not implemented")
}

pub(crate) fn bad_argument(text: &'static str) -> Reply {
    Reply::new(501, (5, 5, 4), text)
}
