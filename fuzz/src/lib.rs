//! What reads octets from strangers, as targets for a fuzzer. A target panics where a promise is
//! broken; `tests/corpus.rs` replays what the fuzzer found worth keeping.

pub mod corpus;
mod origin;
mod parsers;
mod sessions;

/// Something to fuzz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A command line of SMTP or POP3.
    Command,
    /// An address, a domain, a path.
    Address,
    /// A reply of another server.
    Reply,
    /// A message for a server that takes only ASCII; the first octet chooses the cuts.
    Convert,
    /// A whole session of the SMTP server: the first octets choose its kind and the cuts.
    Smtp,
    /// A whole session of the POP3 server, chosen likewise.
    Pop3,
    /// A whole session of our clients.
    Client,
    /// A message with signatures of DKIM and sets of ARC; the first octet chooses the cuts.
    Signature,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 8] = [
        Self::Command,
        Self::Address,
        Self::Reply,
        Self::Convert,
        Self::Smtp,
        Self::Pop3,
        Self::Client,
        Self::Signature,
    ];

    /// Its name, which is its corpus's in `corpus/` too.
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
        }
    }

    /// Runs it once.
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
        }
    }
}
