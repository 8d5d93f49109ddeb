//! All limits that the protocols need, each with its source. Limits that are a matter of policy (message
//! size, sessions per client) are options of the configuration instead.

use std::time::Duration;

/// The number of octets in a local-part. RFC 5321 §4.5.3.1.1 requires 64, and §4.5.3.1 recommends no
/// limit where possible: addresses that contain another one, as those of forwarders (SRS) and mailing
/// lists (VERP), are longer than 64.
pub const LOCAL_PART: usize = 256;

/// The number of octets in a local-part that every server accepts (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_EVERYWHERE: usize = 64;

/// The number of octets in a domain (RFC 5321 §4.5.3.1.2).
pub const DOMAIN: usize = 255;

/// The number of octets in one label of a domain (RFC 1035 §2.3.4).
pub const DOMAIN_LABEL: usize = 63;

/// The number of octets in a reverse-path or forward-path, including the angle brackets. RFC 5321
/// §4.5.3.1.3 requires 256. This limit has room for a [`LOCAL_PART`] with all characters escaped and a
/// [`DOMAIN`], and fits into a line of a header section (RFC 5322 §2.1.1).
pub const PATH: usize = 800;

/// The number of octets in an SMTP command line, including CRLF. RFC 5321 §4.5.3.1.4 requires 512 and
/// lets each extension add to it; 2,048 octets are enough for all parameters that are defined.
pub const SMTP_COMMAND_LINE: usize = 2_048;

/// The number of octets in an AUTH command or a line of a SASL exchange, including CRLF (RFC 4954 §4).
pub const SASL_LINE: usize = 12_288;

/// The number of octets in an SMTP reply line, including CRLF, that the client accepts. RFC 5321
/// §4.5.3.1.5 says 512, but real servers exceed that; what matters is that there is a bound.
pub const SMTP_REPLY_LINE: usize = 4_096;

/// The number of octets in one SMTP reply that the client accepts: a server could send an endless
/// greeting or an endless list of extensions. Real replies have fewer than two thousand.
pub const SMTP_REPLY: usize = 64 * 1024;

/// The number of lines in one SMTP reply that the client accepts.
pub const SMTP_REPLY_LINES: usize = 256;

/// The number of octets of a reply's text that the client keeps. The text goes into the history and into
/// reports, once for each recipient. Enough for any EHLO reply, and for a challenge of AUTH.
pub const SMTP_REPLY_WORDS: usize = SMTP_REPLY_LINE;

/// The number of octets in a POP3 command line, including CRLF (RFC 2449 §4).
pub const POP3_COMMAND_LINE: usize = 255;

/// The number of octets in a POP3 status or listing line, including CRLF, that the client accepts (RFC
/// 2449 §4 says 512 for the first line of a response).
pub const POP3_RESPONSE_LINE: usize = 1_024;

/// The number of octets in the capability list of a POP3 server that the client reads: a server could
/// send an endless list. RFC 2449 §6 defines a dozen capabilities.
pub const POP3_CAPABILITIES: usize = 16 * 1024;

/// The number of octets in a POP3 listing that the client reads, and so roughly the memory used for it:
/// a server could send an endless listing. There is room for a million unique-ids of ten octets, or for
/// two hundred thousand of the usual length.
pub const POP3_LISTING: usize = 16 * 1024 * 1024;

/// The number of lines in a POP3 listing that the client reads, and the highest number of messages that
/// the client believes a server to have.
pub const POP3_LISTING_LINES: usize = 1_000_000;

/// The number of Received fields from which on a message is taken to be in a mail loop (RFC 5321 §6.3:
/// at least 100).
pub const HOPS: usize = 100;

/// The number of commands in one SMTP session, after which the session ends. A client that sends a
/// message to ten thousand recipients one by one needs forty thousand.
pub const SMTP_COMMANDS: u32 = 100_000;

/// The number of senseless commands in one SMTP session, after which the session ends. A program that
/// sends so many is guessing, or is not an SMTP client at all.
pub const SMTP_BAD_COMMANDS: u32 = 20;

/// The number of octets of content per second, averaged over five minutes, below which an SMTP client is
/// too slow.
pub const SMTP_MINIMUM_RATE: u64 = 128;

/// The number of octets at the start of a header line that are examined for the field name (RFC 5322
/// §2.1.1).
pub const FIELD_NAME: usize = 998;

/// The number of octets in the fields of a message that name its authors and sender, where the server
/// checks these fields. RFC 5322 sets no limit; there is room for a list of [`ORIGINATORS`] with long
/// names.
pub const ORIGINATOR_FIELDS: usize = 16 * 1024;

/// The number of addresses in the originator fields. Each address costs a look-up in the directory.
pub const ORIGINATORS: usize = 32;

/// The number of octets in a unique-id (RFC 1939 §7).
pub const UNIQUE_ID: usize = 70;

/// The time for which an SMTP server waits for a command (RFC 5321 §4.5.3.2.7).
pub const SMTP_SERVER_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The time for which an SMTP client waits for the greeting, and for the replies to MAIL and RCPT (RFC
/// 5321 §4.5.3.2.1 to §4.5.3.2.3).
pub const SMTP_CLIENT_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The time for which an SMTP client waits for the 354 reply (RFC 5321 §4.5.3.2.4).
pub const SMTP_CLIENT_DATA_PATIENCE: Duration = Duration::from_secs(2 * 60);

/// The time for which an SMTP client waits for the reply to the end of the data (RFC 5321 §4.5.3.2.6).
pub const SMTP_CLIENT_END_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The time for which a POP3 server waits for a command: an autologout timer must be at least ten
/// minutes (RFC 1939 §3).
pub const POP3_SERVER_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The time for which a POP3 client waits for a server. RFC 1939 names no figure; opening a large
/// maildrop can take the server a while.
pub const POP3_CLIENT_PATIENCE: Duration = Duration::from_secs(5 * 60);
