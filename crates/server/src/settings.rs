//! How a server is set up: what the program's configuration comes to.

use crate::{
    login::oauth::OAuthSettings,
    send::{RelaySettings, trust::mta_sts::Policy},
};
use ipnet::IpNet;
use posta_mail::Domain;
use posta_net::{tls::server::Tls, transport::Endpoint};
use posta_smtp::server::Limits as SmtpLimits;
use std::{path::PathBuf, time::Duration};

/// How a server is set up. There are no defaults here: the program's options have them, and nothing else.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's name for itself.
    pub hostname: Domain,
    /// Octets of content that a message may have.
    pub message_size: u64,
    /// Sessions at once; 0 for any number.
    pub sessions: u32,
    /// Sessions that a client may have at once; 0 for any number.
    pub sessions_per_client: u32,
    /// What an SMTP session may do at most.
    pub smtp_limits: SmtpLimits,
    /// Whether SCRAM-SHA-256-PLUS is offered in TLS. It is taken in any case.
    pub channel_binding: bool,
    /// Whom to ask about the tokens of those who log in with one.
    pub oauth: Option<OAuthSettings>,
    /// Octets of messages that may be in memory at once while they arrive. When they are used up,
    /// what arrives is written to the store in smaller pieces.
    pub memory: usize,
    /// Whether a bare CR or LF from another server becomes CRLF, instead of refusing the message.
    pub normalise_newlines: bool,
    /// From where a connection begins with a PROXY header, at every listener.
    pub proxies: Vec<IpNet>,
    /// Which SMTP clients may speak for others, by XCLIENT.
    pub forwarders: Vec<IpNet>,
    /// Whether VRFY and EXPN tell who exists.
    pub verify: bool,
    /// How far programs on this machine are trusted without a login.
    pub trust_loopback: LoopbackTrust,
    /// From where mail for elsewhere is taken without a login.
    pub relays_for: Vec<IpNet>,
    /// Recipients an hour to whom an account may submit messages; 0 for any number.
    pub submissions: u32,
    /// How long a session may last; what is in hand then may end.
    pub session_time: Duration,
    /// How mail is handed out.
    pub pop3: Pop3Settings,
    /// Failed logins of one client, or for one account, in a quarter of an hour, beyond which it is
    /// locked out for as long; 0 for any number.
    pub failed_logins: u32,
    /// How long a client waits for the answer to a wrong password.
    pub failed_login_delay: Duration,
    /// How mail goes out.
    pub relay: RelaySettings,
    /// What is told of our own servers (RFC 8461); its names are `hostname` where it has none.
    pub policy: Policy,
    /// Where to listen, and for what.
    pub listeners: Vec<ListenerSettings>,
    /// The certificate, if any listener offers TLS.
    pub tls: Option<Tls>,
    /// Where the control socket goes, if there is to be one.
    pub control: Option<PathBuf>,
}

/// How mail is handed out.
#[derive(Debug, Clone)]
pub struct Pop3Settings {
    /// How long a session may wait for a command (RFC 1939 §3: at least ten minutes).
    pub autologout: Duration,
    /// How long must pass between two logins to an account.
    pub login_delay: Duration,
    /// Sessions that an account may have at once; 0 for any number.
    pub sessions_per_account: u32,
    /// For how many days a message is kept once it was retrieved; none for ever.
    pub expire: Option<u32>,
    /// Whether APOP is offered, to the accounts that have a secret for it.
    pub apop: bool,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// What it serves.
    pub kind: Kind,
    /// Where.
    pub endpoint: Endpoint,
    /// How TLS is offered.
    pub tls: TlsMode,
}

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SMTP between servers.
    Smtp,
    /// Submission.
    Submission,
    /// LMTP.
    Lmtp,
    /// POP3.
    Pop3,
    /// HTTPS, for the MTA-STS policy.
    Web,
}

/// How a listener offers TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Not at all.
    None,
    /// By STARTTLS or STLS.
    StartTls,
    /// From the start.
    Implicit,
}

/// How far programs on this machine are trusted without a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoopbackTrust {
    /// Not at all: they log in.
    Nothing,
    /// They submit mail for the mailboxes here.
    Local,
    /// They submit mail for here, and for other servers from addresses of the local domains.
    Anywhere,
}
