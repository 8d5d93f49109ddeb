//! The configuration file: TOML, in which an unknown key is an error that suggests the nearest one.

use anyhow::{Context, Result, bail};
use posta_mail::Domain;
use posta_server::net::Endpoint;
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The configuration, with the defaults of what it leaves out.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The server's name for itself.
    #[serde(deserialize_with = "from_text")]
    pub(crate) hostname: Domain,
    /// Where the store, the control socket and a self-signed certificate are.
    pub(crate) data: PathBuf,
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
    pub(crate) listen: Vec<Listen>,
}

/// Where the certificate is. Without both a self-signed one is made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// More certificates, for clients that ask for other names.
    pub(crate) also: Vec<Certificate>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Limits {
    /// Octets of content that a message may have.
    pub(crate) message_size: Octets,
    /// Sessions that a client may have at once; 0 for any number.
    pub(crate) sessions_per_client: u32,
}

#[derive(Debug, Clone, Deserialize)]
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
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TlsMode {
    #[default]
    None,
    Starttls,
    Implicit,
}

/// A number of octets: `52428800` or `"50MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) u64);

impl Protocol {
    /// As the file names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Lmtp => "lmtp",
            Self::Pop3 => "pop3",
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

/// Every key, by the table that it stands in. `Config` decides what is accepted; this only knows
/// what to suggest.
const KEYS: [(&str, &[&str]); 5] = [
    ("", &["hostname", "data", "tls", "limits", "listen"]),
    ("tls", &["certificate", "key", "also"]),
    ("tls.also", &["certificate", "key"]),
    ("limits", &["message-size", "sessions-per-client"]),
    ("listen", &["protocol", "address", "tls"]),
];

/// How far a word may be from a key for that to be suggested (Jaro-Winkler, 1 is equal).
const SIMILAR: f64 = 0.8;

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read; the error names the file, the line and the key.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("the configuration {} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| format!("in the configuration {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = toml::from_str(text)?;
        refuse_unknown_keys(&table)?;
        let config: Self = toml::from_str(text)?;
        if config.tls.certificate.is_some() != config.tls.key.is_some() {
            bail!("tls.certificate and tls.key belong together: set both, or neither");
        }
        for (index, listen) in config.listen.iter().enumerate() {
            if listen.protocol != Protocol::Lmtp && matches!(listen.address, Endpoint::Unix(_)) {
                bail!("listen[{index}].address: only lmtp may listen on a Unix socket");
            }
        }
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
            tls: Tls::default(),
            limits: Limits::default(),
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
        Self { message_size: Octets(50 << 20), sessions_per_client: 50 }
    }
}

fn system_hostname() -> Domain {
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    #[expect(clippy::expect_used, reason = "the constant is a valid name")]
    name.parse().unwrap_or_else(|_| "localhost".parse().expect("a valid name"))
}

fn refuse_unknown_keys(table: &toml::Table) -> Result<()> {
    refuse_in("", table)?;
    for name in ["tls", "limits"] {
        if let Some(toml::Value::Table(inner)) = table.get(name) {
            refuse_in(name, inner)?;
        }
    }
    let also = table.get("tls").and_then(|tls| tls.get("also"));
    for (name, tables) in [("listen", table.get("listen")), ("tls.also", also)] {
        let tables = tables.and_then(toml::Value::as_array).into_iter().flatten();
        for inner in tables.filter_map(toml::Value::as_table) {
            refuse_in(name, inner)?;
        }
    }
    Ok(())
}

fn refuse_in(name: &str, table: &toml::Table) -> Result<()> {
    let known = KEYS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, keys)| keys);
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let place = if name.is_empty() { String::new() } else { format!(" in [{name}]") };
    let likeness = |candidate: &&str| strsim::jaro_winkler(candidate, key);
    let nearest = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|nearest| likeness(nearest) >= SIMILAR) {
        Some(nearest) => bail!("unknown key {key:?}{place}: did you mean {nearest:?}?"),
        None => bail!("unknown key {key:?}{place}: it may be one of {}", known.join(", ")),
    }
}

fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size is a number of octets, or text such as \"50MiB\"")]
        enum Size {
            Number(u64),
            Text(String),
        }
        match Size::deserialize(deserializer)? {
            Size::Number(octets) => Ok(Self(octets)),
            Size::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl FromStr for Octets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text[digits.len()..].trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            unit => return Err(format!("unknown unit {unit:?}: use B, KiB, MiB or GiB")),
        };
        let number: Option<u64> = digits.parse().ok();
        let octets = number.and_then(|number| number.checked_mul(1 << shift));
        octets.map(Self).ok_or_else(|| format!("{text:?} is no size such as \"50MiB\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        hostname = "Mail.example.test"
        data = "/var/lib/posta"
        [tls]
        certificate = "/etc/posta/cert.pem"
        key         = "/etc/posta/key.pem"
        [[tls.also]]
        certificate = "/etc/posta/other.cert.pem"
        key         = "/etc/posta/other.key.pem"
        [limits]
        message-size = "50MiB"
        sessions-per-client = 0
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
        assert_eq!(table.len(), KEYS[0].1.len(), "the suggestions know every key");
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
            ("[limits]\nmessage-size = '50MB'", "use B, KiB, MiB or GiB"),
            ("[limits]\nmessage-size = '99999999999GiB'", "no size"),
            ("[[listen]]\nprotocol = 'imap'\naddress = '127.0.0.1:1'", "unknown variant `imap`"),
            ("[[listen]]\nprotocol = 'smtp'\naddress = 'localhost'", "127.0.0.1:25"),
            ("[[listen]]\nprotocol = 'smtp'\naddress = 'unix:/x'", "only lmtp"),
            ("[tls]\nkey = 'x'", "belong together"),
        ] {
            assert!(problem(text).contains(words), "{text}: {}", problem(text));
        }
    }
}
