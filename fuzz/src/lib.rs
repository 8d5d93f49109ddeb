//! The code that reads octets from strangers, as targets for a fuzzer. A target panics if a promise is
//! broken. `tests/corpus.rs` replays the inputs that the fuzzer found and that were kept.

pub mod corpus;
mod files;
mod filters;
mod origin;
mod parsers;
mod reports;
mod sessions;
mod web;

/// A target for the fuzzer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A command line of SMTP or POP3.
    Command,
    /// An address, a domain, a path.
    Address,
    /// A reply from another server.
    Reply,
    /// A message for a server that accepts ASCII only. The first octet determines how it is split.
    Convert,
    /// A whole session of the SMTP server. The first octets determine its kind and how it is split.
    Smtp,
    /// A whole session of the POP3 server, chosen in the same way.
    Pop3,
    /// A whole session of the clients.
    Client,
    /// A message with DKIM signatures and ARC sets. The first octet determines how it is split.
    Signature,
    /// An outside filter's answers, and a message whose fields a filter changes. The first octet determines how they
    /// are split.
    Filter,
    /// A message with another server's report, or the file in it. The first octet determines which.
    Report,
    /// A mailbox in a file of another server, or its list of unique-ids. The first octet determines which.
    Mailbox,
    /// A part of a backup. The first octet determines which.
    Backup,
    /// An operation over HTTP and its body, or a whole connection. The first octet determines which.
    Http,
    /// The PROXY header in front of a connection.
    Balancer,
}

impl Target {
    /// All targets.
    pub const ALL: [Self; 14] = [
        Self::Command,
        Self::Address,
        Self::Reply,
        Self::Convert,
        Self::Smtp,
        Self::Pop3,
        Self::Client,
        Self::Signature,
        Self::Filter,
        Self::Report,
        Self::Mailbox,
        Self::Backup,
        Self::Http,
        Self::Balancer,
    ];

    /// Returns the target's name, which is also that of its corpus in `corpus/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Address => "address",
            Self::Reply => "reply",
            Self::Convert => "convert",
            Self::Smtp => "smtp",
            Self::Pop3 => "pop3",
            Self::Client => "client",
            Self::Signature => "signature",
            Self::Filter => "filter",
            Self::Report => "report",
            Self::Mailbox => "mailbox",
            Self::Backup => "backup",
            Self::Http => "http",
            Self::Balancer => "balancer",
        }
    }

    /// Runs the target once.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn run(self, octets: &[u8]) {
        match self {
            Self::Command => parsers::command(octets),
            Self::Address => parsers::address(octets),
            Self::Reply => parsers::reply(octets),
            Self::Convert => parsers::convert(octets),
            Self::Smtp => sessions::smtp(octets),
            Self::Pop3 => sessions::pop3(octets),
            Self::Client => sessions::client(octets),
            Self::Signature => origin::signature(octets),
            Self::Filter => filters::filter(octets),
            Self::Report => reports::report(octets),
            Self::Mailbox => files::mailbox(octets),
            Self::Backup => files::backup(octets),
            Self::Http => web::http(octets),
            Self::Balancer => web::balancer(octets),
        }
    }
}
