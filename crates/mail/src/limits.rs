//! Every limit that a protocol text sets, with its source. Limits that are policy (message size,
//! sessions per client) are configuration and live with it.

use std::time::Duration;

/// Octets in a local-part. RFC 5321 §4.5.3.1.1 asks for 64, and §4.5.3.1 for no limits where that can
/// be: addresses that hold another one, as of forwarders (SRS) and mailing lists (VERP), are longer.
pub const LOCAL_PART: usize = 256;

/// Octets in a local-part that every server takes (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_EVERYWHERE: usize = 64;

/// Octets in a domain (RFC 5321 §4.5.3.1.2).
pub const DOMAIN: usize = 255;

/// Octets in one label of a domain (RFC 1035 §2.3.4).
pub const DOMAIN_LABEL: usize = 63;

/// Octets in a reverse-path or forward-path, its angle brackets included. RFC 5321 §4.5.3.1.3 asks for
/// 256; this holds a [`LOCAL_PART`] whose characters are all escaped, and a [`DOMAIN`], and fits into a
/// line of a header section (RFC 5322 §2.1.1).
pub const PATH: usize = 800;

/// Octets in an SMTP command line with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512 and lets each
/// extension add to it; 2,048 holds every parameter that is defined.
pub const SMTP_COMMAND_LINE: usize = 2_048;

/// Octets in an AUTH command or a line of a SASL exchange, with its CRLF (RFC 4954 §4).
pub const SASL_LINE: usize = 12_288;

/// Octets in an SMTP reply line with its CRLF that our client accepts. RFC 5321 §4.5.3.1.5 says
/// 512; real peers exceed it, and a bound is what matters.
pub const SMTP_REPLY_LINE: usize = 4_096;

/// Octets in one SMTP reply that our client accepts, against a peer that never ends one: a greeting, or
/// the extensions that EHLO brings. Real ones have less than two thousand.
pub const SMTP_REPLY: usize = 64 * 1024;

/// Lines in one SMTP reply that our client accepts.
pub const SMTP_REPLY_LINES: usize = 256;

/// Octets of a reply's words that our client keeps: they go into the history and into reports, once
/// for each recipient. Enough for any EHLO, and for a challenge of AUTH.
pub const SMTP_REPLY_WORDS: usize = SMTP_REPLY_LINE;

/// Octets in a POP3 command line with its CRLF (RFC 2449 §4).
pub const POP3_COMMAND_LINE: usize = 255;

/// Octets in a POP3 status or listing line with its CRLF that our client accepts (RFC 2449 §4
/// says 512 for the first line of a response).
pub const POP3_RESPONSE_LINE: usize = 1_024;

/// Octets of the capabilities of a POP3 server that our client reads, against a server that never ends
/// the list. RFC 2449 §6 defines a dozen.
pub const POP3_CAPABILITIES: usize = 16 * 1024;

/// Octets of a POP3 listing that our client reads, and so about as many as it keeps in memory, against
/// a server that never ends one. A million unique-ids of ten octets have room, or two hundred thousand
/// of the length that is usual.
pub const POP3_LISTING: usize = 16 * 1024 * 1024;

/// Lines of a POP3 listing that our client reads, and messages that it believes to be there.
pub const POP3_LISTING_LINES: usize = 1_000_000;

/// Received fields, beyond which a message is taken to go round in a loop (RFC 5321 §6.3: at least
/// 100).
pub const HOPS: usize = 100;

/// Commands in one SMTP session, after which it ends. A client that sends a message to each of ten thousand recipients
/// by itself needs forty thousand.
pub const SMTP_COMMANDS: u32 = 100_000;

/// Commands in one SMTP session that make no sense, after which it ends: a program that sends so many is guessing, or
/// is no SMTP client at all.
pub const SMTP_BAD_COMMANDS: u32 = 20;

/// Octets of content a second, on average over five minutes, below which an SMTP client is too slow.
pub const SMTP_MINIMUM_RATE: u64 = 128;

/// Octets in a line of a header section that is examined for its field name (RFC 5322 §2.1.1).
pub const FIELD_NAME: usize = 998;

/// Octets in the fields of a message that tell who wrote and sent it, where it matters who did.
/// RFC 5322 sets no limit; a list of [`ORIGINATORS`] with long names has room.
pub const ORIGINATOR_FIELDS: usize = 16 * 1024;

/// Addresses in those fields: each costs a look into the directory.
pub const ORIGINATORS: usize = 32;

/// Octets in a unique-id (RFC 1939 §7).
pub const UNIQUE_ID: usize = 70;

/// How long an SMTP server waits for a command (RFC 5321 §4.5.3.2.7).
pub const SMTP_SERVER_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How long an SMTP client waits for the greeting, and for the replies to MAIL and RCPT
/// (RFC 5321 §4.5.3.2.1 to §4.5.3.2.3).
pub const SMTP_CLIENT_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How long an SMTP client waits for the 354 (RFC 5321 §4.5.3.2.4).
pub const SMTP_CLIENT_DATA_PATIENCE: Duration = Duration::from_secs(2 * 60);

/// How long an SMTP client waits for the reply to the end of the data (RFC 5321 §4.5.3.2.6).
pub const SMTP_CLIENT_END_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How long a POP3 server waits for a command: the autologout timer is at least ten minutes
/// (RFC 1939 §3).
pub const POP3_SERVER_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How long a POP3 client waits for a server. RFC 1939 names no figure; a server may have a large
/// maildrop to open.
pub const POP3_CLIENT_PATIENCE: Duration = Duration::from_secs(5 * 60);
