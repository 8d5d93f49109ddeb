//! The configuration file: TOML, in which an unknown key is an error that suggests the nearest one.

pub(crate) mod find;
mod keys;
mod log;
mod login;
mod relay;
mod reload;
mod sense;
mod tls;
mod values;

pub(crate) use log::{Level, Log};
pub(crate) use login::{OAuth, Submission};
pub(crate) use relay::Relay;
pub(crate) use tls::{Certificate, Tls};
pub(crate) use values::{Octets, Span};

use anyhow::{Context, Result, anyhow, bail};
use ipnet::IpNet;
use keys::Mistake;
use posta_mail::Domain;
use posta_net::transport::Endpoint;
use posta_server::{send::trust::mta_sts::Mode, settings::Pop3Settings};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use values::{name_servers, networks};

/// The configuration, with the defaults of what it leaves out.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// The server's name for itself.
    #[serde(deserialize_with = "from_text")]
    pub(crate) hostname: Domain,
    /// Where the store, the control socket and a self-signed certificate are.
    pub(crate) data: PathBuf,
    /// Where the keys of sealed passwords are; in the data directory if it is not said.
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
    pub(crate) smtp: Smtp,
    pub(crate) pop3: Pop3,
    pub(crate) proxy: Proxy,
    pub(crate) dns: Dns,
    pub(crate) relay: Relay,
    pub(crate) submission: Submission,
    pub(crate) oauth: Option<OAuth>,
    pub(crate) mta_sts: MtaSts,
    pub(crate) log: Log,
    pub(crate) listen: Vec<Listen>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Limits {
    /// Octets of content that a message may have.
    pub(crate) message_size: Octets,
    /// Sessions at once; 0 for any number.
    pub(crate) sessions: u32,
    /// Sessions that a client may have at once; 0 for any number.
    pub(crate) sessions_per_client: u32,
    /// POP3 sessions that an account may have at once; 0 for any number.
    pub(crate) sessions_per_account: u32,
    /// Failed logins from one network in a quarter of an hour, after which it is locked out.
    pub(crate) failed_logins: u32,
    /// Recipients in one mail transaction (RFC 5321 §4.5.3.1.8: at least 100).
    pub(crate) recipients: usize,
    /// Commands in one SMTP session.
    pub(crate) commands: u32,
    /// Commands in one SMTP session that make no sense.
    pub(crate) bad_commands: u32,
    /// How long an SMTP command may take to come (RFC 5321 §4.5.3.2.7: at least 5 minutes).
    pub(crate) command_time: Span,
    /// How long a session may last.
    pub(crate) session_time: Span,
    /// Messages an hour that an account may submit; 0 for any number.
    pub(crate) submissions: u32,
    /// How long a message may be kept back at its sender's wish (RFC 4865).
    pub(crate) hold: Span,
    /// Octets a second below which a sender is too slow.
    pub(crate) minimum_rate: Octets,
    /// Octets of arriving messages in memory, over all sessions.
    pub(crate) memory: Octets,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Smtp {
    pub(crate) bare_newlines: BareNewlines,
    /// Whether VRFY and EXPN tell who exists.
    pub(crate) verify: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Pop3 {
    /// How long a session may wait for a command (RFC 1939 §3: at least 10 minutes).
    pub(crate) autologout: Span,
    /// How long must pass between two logins to an account (RFC 2449 §6.6).
    pub(crate) login_delay: Span,
    /// For how many days a message is kept once it was retrieved (RFC 2449 §6.7); none for ever.
    pub(crate) expire: Option<u32>,
    /// Whether APOP is offered, to accounts that have a secret for it.
    pub(crate) apop: bool,
}

/// Where names are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Dns {
    /// Name servers; the system's if there are none.
    #[serde(deserialize_with = "name_servers")]
    pub(crate) servers: Vec<SocketAddr>,
    /// Whether DNSSEC is validated; if the name servers hand it on, unless it is set.
    pub(crate) dnssec: Option<bool>,
    /// Where the keys lie from which on it is validated, in place of the root's.
    pub(crate) trust_anchor: Option<PathBuf>,
}

/// What is told of our own servers (RFC 8461), where a listener for `https` tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct MtaSts {
    /// Whether others must keep to it.
    pub(crate) mode: Mode,
    /// The servers that take mail; this one, if none is named.
    pub(crate) mx: Vec<String>,
    /// How long others remember it.
    pub(crate) max_age: Span,
}

impl Default for MtaSts {
    fn default() -> Self {
        let max_age = Span(Duration::from_secs(7 * 24 * 60 * 60));
        Self { mode: Mode::Enforce, mx: Vec::new(), max_age }
    }
}

/// Load balancers in front of the server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Proxy {
    /// From where every connection begins with a PROXY header.
    #[serde(deserialize_with = "networks")]
    pub(crate) networks: Vec<IpNet>,
    /// Which SMTP clients may speak for others, by XCLIENT.
    #[serde(deserialize_with = "networks")]
    pub(crate) xclient: Vec<IpNet>,
}

/// What a CR or LF alone in a message from another server does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BareNewlines {
    #[default]
    Refuse,
    Normalise,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    pub(crate) protocol: Protocol,
    #[serde(deserialize_with = "from_text")]
    pub(crate) address: Endpoint,
    #[serde(default)]
    pub(crate) tls: TlsMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Smtp,
    Submission,
    Lmtp,
    Pop3,
    /// Tells the MTA-STS policy.
    Https,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TlsMode {
    #[default]
    None,
    Starttls,
    Implicit,
}

impl Protocol {
    /// As the file names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Lmtp => "lmtp",
            Self::Pop3 => "pop3",
            Self::Https => "https",
        }
    }
}

impl TlsMode {
    /// As the file names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starttls => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read; the error names the file, the line and the key.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                anyhow!("there is no configuration {}: --config names the file", path.display())
            }
            _ => anyhow!("the configuration {} cannot be read: {error}", path.display()),
        })?;
        Self::parse(&text).with_context(|| format!("the configuration {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        if let Err(Mistake { at, words }) = keys::check(text) {
            bail!("line {}: {words}", line(at));
        }
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line(span.start));
            anyhow!("line {line}: {}", error.message())
        })?;
        sense::check(&config)?;
        Ok(config)
    }
}

impl Default for Config {
    fn default() -> Self {
        let local = |protocol, port| Listen {
            protocol,
            address: Endpoint::Tcp(([127, 0, 0, 1], port).into()),
            tls: TlsMode::Starttls,
        };
        Self {
            hostname: system_hostname(),
            data: "posta-data".into(),
            key_file: None,
            tls: Tls::default(),
            limits: Limits::default(),
            smtp: Smtp::default(),
            pop3: Pop3::default(),
            proxy: Proxy::default(),
            dns: Dns::default(),
            relay: Relay::default(),
            submission: Submission::default(),
            oauth: None,
            mta_sts: MtaSts::default(),
            log: Log::default(),
            listen: vec![
                local(Protocol::Smtp, 2525),
                local(Protocol::Submission, 2587),
                local(Protocol::Pop3, 2110),
            ],
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: Octets(50 << 20),
            sessions: 20_000,
            sessions_per_client: 50,
            sessions_per_account: 20,
            failed_logins: 20,
            recipients: 1_000,
            commands: 100_000,
            bad_commands: 20,
            command_time: Span(Duration::from_secs(5 * 60)),
            session_time: Span(Duration::from_secs(24 * 60 * 60)),
            submissions: 1_000,
            hold: Span(Duration::from_secs(30 * 24 * 60 * 60)),
            minimum_rate: Octets(128),
            memory: Octets(64 << 20),
        }
    }
}

impl Default for Pop3 {
    fn default() -> Self {
        let Pop3Settings { autologout, login_delay, expire, apop, .. } = Pop3Settings::default();
        Self { autologout: Span(autologout), login_delay: Span(login_delay), expire, apop }
    }
}

fn system_hostname() -> Domain {
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    #[expect(clippy::expect_used, reason = "the constant is a valid name")]
    name.parse().unwrap_or_else(|_| "localhost".parse().expect("a valid name"))
}

fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        hostname = "Mail.example.test"
        data = "/var/lib/posta"
        key-file = "/var/lib/posta-keys/store.keys"
        [tls]
        certificate = "/etc/posta/cert.pem"
        key         = "/etc/posta/key.pem"
        authorities = ["/etc/posta/authority.pem"]
        channel-binding = true
        [[tls.also]]
        certificate = "/etc/posta/other.cert.pem"
        key         = "/etc/posta/other.key.pem"
        [limits]
        message-size = "50MiB"
        sessions = 10
        sessions-per-client = 0
        sessions-per-account = 5
        failed-logins = 10
        recipients = 100
        commands = 1000
        bad-commands = 5
        command-time = "10m"
        session-time = "1h"
        submissions = 100
        hold = "7d"
        minimum-rate = "1KiB"
        memory = "1GiB"
        [smtp]
        bare-newlines = "normalise"
        verify = true
        [submission]
        trust-loopback = false
        [pop3]
        autologout = "30m"
        login-delay = "1m"
        expire = 30
        apop = true
        [proxy]
        networks = ["192.0.2.0/24", "2001:db8::/32"]
        xclient = ["192.0.2.1/32"]
        [dns]
        servers = ["127.0.0.1:5353"]
        dnssec = true
        trust-anchor = "/etc/posta/anchor"
        [relay]
        retry = ["1m", "5m", "15m", "1h"]
        give-up = "5d"
        delay-notice = "4h"
        smarthost = "smtp.example.net:587"
        networks = ["127.0.0.1/32"]
        timeout = "10m"
        connections = 10
        rate = 600
        source = ["192.0.2.1", "2001:db8::1"]
        private-addresses = "allow"
        user = "posta"
        password-file = "/etc/posta/smarthost"
        tls = "starttls"
        [[relay.domain]]
        name = ".example.org"
        smarthost = "mx"
        retry = ["10m"]
        [mta-sts]
        mode = "testing"
        mx = ["mail.example.test"]
        max-age = "1d"
        [oauth]
        introspection = "https://auth.example.net/introspect"
        client = "posta"
        secret-file = "/etc/posta/oauth"
        audience = "https://mail.example.test"
        allowed-clients = ["thunderbird"]
        scope = "mail"
        claim = "email"
        [log]
        level = "debug"

        [[listen]]
        protocol = "smtp"
        address  = "127.0.0.1:2525"
        tls      = "none"
        [[listen]]
        protocol = "lmtp"
        address  = "unix:/run/posta/lmtp"
    "#;

    fn problem(text: &str) -> String {
        format!("{:#}", Config::parse(text).unwrap_err())
    }

    #[test]
    fn every_key_is_read() {
        let config = Config::parse(FULL).unwrap();
        assert_eq!(config.hostname.as_str(), "mail.example.test");
        assert_eq!(config.limits.message_size, Octets(50 * 1024 * 1024));
        assert_eq!(config.limits.sessions_per_client, 0);
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.listen[1].tls, TlsMode::None);
        let table: toml::Table = toml::from_str(FULL).unwrap();
        assert_eq!(config.limits.command_time.0.as_secs(), 600);
        assert_eq!(config.smtp.bare_newlines, BareNewlines::Normalise);
        assert_eq!(table.len(), keys::names("").len(), "every key is known");
        let limits = table["limits"].as_table().unwrap();
        assert_eq!(limits.len(), keys::names("limits").len(), "those of the limits too");
    }

    /// The first block of TOML in a document.
    fn shown(document: &str) -> &str {
        let (_, shown) = document.split_once("```toml\n").unwrap();
        shown.split_once("```").unwrap().0
    }

    #[test]
    fn the_readme_does_not_err() {
        let config = Config::parse(shown(include_str!("../../README.md"))).unwrap();
        assert_eq!(config.listen.len(), 4);
    }

    /// docs/configuration.md: what is set there is the default, and what begins with `#` an example.
    #[test]
    fn every_option_is_documented_with_its_default_or_an_example() {
        let shown = shown(include_str!("../../docs/configuration.md"));
        let documented = Config::parse(shown).unwrap();
        assert_eq!(format!("{documented:#?}"), format!("{:#?}", Config::default()));
        let whole: Vec<_> =
            shown.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        let whole = whole.join("\n");
        Config::parse(&whole).unwrap();
        let table: toml::Table = toml::from_str(&whole).unwrap();
        for name in keys::names("") {
            assert!(table.contains_key(name), "{name}");
            let inner = match &table[name] {
                toml::Value::Table(inner) => inner,
                toml::Value::Array(tables) => tables[0].as_table().unwrap(),
                _ => continue,
            };
            for key in keys::names(name) {
                assert!(inner.contains_key(key), "{name}.{key}");
            }
        }
    }

    #[test]
    fn addresses_are_short_for_networks_and_name_servers() {
        let config = Config::parse(
            "[relay]\nnetworks = ['192.168.1.5', 'fd00::1', '10.0.0.0/8']\n\
             [dns]\nservers = ['127.0.0.1', '::1', '[::1]:5353']",
        );
        let config = config.unwrap();
        let networks: Vec<_> = config.relay.networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["192.168.1.5/32", "fd00::1/128", "10.0.0.0/8"]);
        let servers: Vec<_> = config.dns.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.1:53", "[::1]:53", "[::1]:5353"]);
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.listen.len(), 3);
        assert_eq!(config.limits.sessions_per_client, 50);
    }

    #[test]
    fn errors_name_the_key_and_the_cure() {
        for (text, words) in [
            ("hostnme = 'x'", "did you mean \"hostname\""),
            ("[limits]\nmessagesize = 1", "did you mean \"message-size\""),
            ("[[listen]]\nport = 25", "it may be one of protocol, address, tls"),
            ("hostname = 'a b'", "hostname"),
            ("[limits]\nmessage-size = '50MB'", "the units are B, KiB, MiB and GiB"),
            ("[limits]\nmessage-size = '99999999999GiB'", "no size"),
            ("[proxy]\nnetworks = ['192.0.2.0/33']", "networks"),
            ("[limits]\ncommand-time = '5'", "such as \"30s\""),
            ("[[listen]]\nprotocol = 'imap'\naddress = '127.0.0.1:1'", "there is no IMAP server"),
            ("[[listen]]\nprotocol = 'smtp'\naddress = 'localhost'", "0.0.0.0:25"),
            ("[[listen]]\nprotocol = 'smtp'\naddress = 'unix:/x'", "only lmtp"),
            ("[tls]\nkey = 'x'", "belong together"),
            ("[relay]\nretry = []", "at least one"),
            ("[oauth]\nintrospection = 'http://a.test/'", "https://"),
            ("[oauth]\nintrospection = 'https://a.test/'\nclient = 'x'", "belong together"),
            ("[oauth]\nintrospection = 'https://a.test/'", "Set oauth.audience"),
            ("[oauth]\nintrospection = 'https://a.test/'\naudience = ''", "is empty"),
            ("[oauth]\nintrospection = 'https://a.test/'\nscope = 'mail'", "oauth.allowed-clients"),
            ("[relay]\nsmarthost = 'smtp.example.net'", "host:port"),
            ("[relay]\ngiveup = '5d'", "did you mean \"give-up\""),
            ("[relay]\nuser = 'x'", "name one"),
            ("[relay]\nsmarthost = 'a:25'\nuser = 'x'", "belong together"),
            ("[relay]\nsource = ['127.0.0.1', '127.0.0.2']", "one IPv4"),
            ("[[relay.domain]]\nname = 'a b'", "is no domain"),
            ("[[relay.domain]]\nnam = 'x.test'", "did you mean \"name\""),
            ("[dns]\nservers = ['localhost']", "servers"),
            ("[pop3]\nautologout = '5m'", "at least 10 minutes"),
            ("[pop3]\nauto-logout = '15m'", "did you mean \"autologout\""),
        ] {
            assert!(problem(text).contains(words), "{text}: {}", problem(text));
        }
    }
}
