//! The settings of a server, as `posta/src/wiring.rs` makes them from the configuration.

mod door;

pub use door::{DoorSettings, ReverseDns};

use crate::{
    deliver::checked::OriginPolicy,
    filter::FilterSettings,
    login::oauth::OAuthSettings,
    send::{RelaySettings, trust::mta_sts::Policy},
    sign::{SigningSettings, certificates::AcmeSettings},
};
use ipnet::IpNet;
use posta_mail::Domain;
use posta_net::{tls::server::Tls, transport::Endpoint};
use posta_smtp::server::Limits as SmtpLimits;
use std::{path::PathBuf, time::Duration};

/// The settings of a server. They have no defaults: only the program's options do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's own name.
    pub hostname: Domain,
    /// The maximal size of a message's content, in octets.
    pub message_size: u64,
    /// The maximal number of sessions at once; 0 means no limit.
    pub sessions: u32,
    /// The maximal number of sessions of one client at once; 0 means no limit.
    pub sessions_per_client: u32,
    /// The limits of an SMTP session.
    pub smtp_limits: SmtpLimits,
    /// Whether SCRAM-SHA-256-PLUS is offered in TLS. It is accepted in any case.
    pub channel_binding: bool,
    /// The server that is asked about OAuth tokens.
    pub oauth: Option<OAuthSettings>,
    /// The maximal number of octets of arriving messages in memory at once. When they are used up,
    /// content is written to the store in smaller pieces.
    pub memory: usize,
    /// Whether a lone CR or LF from another server is replaced by CRLF; otherwise the message is
    /// refused.
    pub normalise_newlines: bool,
    /// The networks whose connections begin with a PROXY header, at every listener.
    pub proxies: Vec<IpNet>,
    /// The networks whose clients read the metrics over HTTPS without a token.
    pub metrics_for: Vec<IpNet>,
    /// The networks of SMTP clients that may connect on behalf of others (XCLIENT).
    pub forwarders: Vec<IpNet>,
    /// Whether VRFY and EXPN reveal which addresses exist.
    pub verify: bool,
    /// The rights of programs on this machine that do not log in.
    pub trust_loopback: LoopbackTrust,
    /// The networks from which mail for other servers is accepted without a login.
    pub relays_for: Vec<IpNet>,
    /// The maximal number of recipients an hour to whom an account may submit messages; 0 means no
    /// limit.
    pub submissions: u32,
    /// The maximal duration of a session. A message in transfer may still be completed after that.
    pub session_time: Duration,
    /// The settings of POP3.
    pub pop3: Pop3Settings,
    /// The number of failed logins of one client, or for one account, in a quarter of an hour that causes a lock-out
    /// of the same duration; 0 means no lock-outs.
    pub failed_logins: u32,
    /// The delay before the reply to a wrong password.
    pub failed_login_delay: Duration,
    /// The filters that are asked about mail, in this order.
    pub filters: Vec<FilterSettings>,
    /// What becomes of mail from strangers by where it comes from; none if that is not checked.
    pub checks: Option<OriginPolicy>,
    /// Whether domains that ask for DMARC reports get them.
    pub dmarc_reports: bool,
    /// What strangers have to pass before their mail is taken.
    pub door: DoorSettings,
    /// The settings of outgoing mail.
    pub relay: RelaySettings,
    /// The settings of signing.
    pub signing: SigningSettings,
    /// The server's own MTA-STS policy (RFC 8461). If the policy names no servers, it names `hostname`.
    pub policy: Policy,
    /// The listeners.
    pub listeners: Vec<ListenerSettings>,
    /// The certificate, if any listener offers TLS.
    pub tls: Option<Tls>,
    /// The authority that issues certificates, if one does.
    pub acme: Option<AcmeSettings>,
    /// The path of the control socket, if there is one.
    pub control: Option<PathBuf>,
    /// The directory into which programs of this machine put messages, if there is one.
    pub spool: Option<PathBuf>,
}

/// The settings of POP3.
#[derive(Debug, Clone)]
pub struct Pop3Settings {
    /// The time for which a session may be idle (RFC 1939 §3: at least ten minutes).
    pub autologout: Duration,
    /// The minimal time between two logins to an account.
    pub login_delay: Duration,
    /// The maximal number of sessions of one account at once; 0 means no limit.
    pub sessions_per_account: u32,
    /// The number of days for which a retrieved message is kept; `None` keeps it for ever.
    pub expire: Option<u32>,
    /// Whether APOP is offered, for accounts that have a secret for it.
    pub apop: bool,
}

/// The settings of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// The service.
    pub kind: ListenerKind,
    /// The address.
    pub endpoint: Endpoint,
    /// The way in which TLS is offered.
    pub tls: TlsMode,
}

/// The service of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// SMTP from other servers (port 25).
    Smtp,
    /// Submission by mail programs (RFC 6409).
    Submission,
    /// LMTP (RFC 2033).
    Lmtp,
    /// POP3 (RFC 1939).
    Pop3,
    /// HTTPS: the MTA-STS policy, health, and the operator's interface for programs with a token.
    Web,
    /// Plain HTTP, for the challenges of authorities; everything else is sent to HTTPS.
    PlainWeb,
}

impl ListenerKind {
    /// Returns the service's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Lmtp => "lmtp",
            Self::Pop3 => "pop3",
            Self::Web => "https",
            Self::PlainWeb => "http",
        }
    }
}

/// The way in which a listener offers TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    None,
    /// STARTTLS or STLS.
    StartTls,
    /// TLS from the start.
    Implicit,
}

/// The rights of programs on this machine that do not log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoopbackTrust {
    /// None: such programs must log in.
    Nothing,
    /// Submitting mail for local mailboxes.
    Local,
    /// Also submitting mail for other servers, from addresses of local domains.
    Anywhere,
}
