//! How the configuration names servers and domains: of mail that goes out, and in our policy for mail that comes in.

use super::text::Text;
use posta_mail::Domain;
use std::net::IpAddr;

/// A server and its port: `smtp.example.net:587`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// The server's name or its IP address, without brackets.
    pub(super) host: String,
    /// The port. At least 1.
    pub(super) port: u16,
}

impl HostPort {
    /// Returns the server's name or its IP address, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}

/// The way of a domain's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DomainRoute {
    /// `"mx"`: to the domain's own servers, so that it can be left out of a smarthost for all.
    Mx,
    /// To this server.
    Smarthost(HostPort),
}

/// The domains that a rule is for: `example.org`, or `.example.org` for all domains below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainPattern(String);

/// A server that a policy for TLS names: `mail.example.org`, or `*.example.org` for any one below it (RFC 8461 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyHost(String);

impl PolicyHost {
    /// Returns the name in lower case, as the policy has it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl DomainPattern {
    /// Returns the domain in lower case, with a dot in front for all domains below it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for HostPort {
    fn parse(text: &str) -> Result<Self, String> {
        let read = text.rsplit_once(':').and_then(|(host, port)| {
            let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let host = inside.unwrap_or(host);
            let port = port.parse().ok().filter(|&port| port > 0)?;
            is_host(host).then(|| Self { host: host.to_owned(), port })
        });
        read.ok_or_else(|| {
            let words = "it has the form host:port, such as \"smtp.example.net:587\"";
            format!("{text:?} is no server: {words}")
        })
    }
}

/// Returns whether text is an IP address or can be a name. Names on private networks may have underscores.
fn is_host(text: &str) -> bool {
    let is_of_name = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    !text.is_empty()
        && (text.bytes().all(is_of_name)
            || text.parse::<IpAddr>().is_ok()
            || text.parse::<Domain>().is_ok())
}

impl Text for DomainRoute {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "mx" {
            return Ok(Self::Mx);
        }
        let wrong = |words| format!("{words}, or is \"mx\" for the domain's own servers");
        HostPort::parse(text).map(Self::Smarthost).map_err(wrong)
    }
}

impl Text for DomainPattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (dot, name) = text.strip_prefix('.').map_or(("", text), |name| (".", name));
        match name.parse::<Domain>() {
            Ok(domain) => Ok(Self(format!("{dot}{domain}"))),
            Err(_) => Err(format!(
                "{text:?} is no domain, such as \"example.org\", or \".example.org\" for all domains below it"
            )),
        }
    }
}

impl Text for PolicyHost {
    fn parse(text: &str) -> Result<Self, String> {
        let (star, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
        match name.parse::<Domain>() {
            Ok(domain) => Ok(Self(format!("{star}{domain}"))),
            Err(_) => Err(format!(
                "{text:?} is no host name, such as \"mail.example.org\", or \"*.example.org\" for any server below it"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_host_and_a_port() {
        for (text, host, port) in [
            ("smtp.example.net:587", "smtp.example.net", 587),
            ("192.0.2.1:25", "192.0.2.1", 25),
            ("[2001:db8::1]:465", "2001:db8::1", 465),
            ("mail_relay:25", "mail_relay", 25),
        ] {
            let host = host.to_owned();
            assert_eq!(HostPort::parse(text), Ok(HostPort { host, port }), "{text}");
        }
        for text in
            ["mx", "a.test", "a.test:", "a.test:0", "a.test:70000", ":25", "a b:25", "x@a.test:25"]
        {
            let words = HostPort::parse(text).unwrap_err();
            assert!(words.contains("host:port"), "{text}: {words}");
        }
        assert_eq!(DomainRoute::parse("mx"), Ok(DomainRoute::Mx));
        assert!(DomainRoute::parse("MX").unwrap_err().contains("\"mx\""));
    }

    #[test]
    fn policies_name_servers() {
        for (text, kept) in [("Mail.Y.test", "mail.y.test"), ("*.Y.test", "*.y.test")] {
            let read = PolicyHost::parse(text);
            assert_eq!(read.as_ref().map(PolicyHost::as_str), Ok(kept), "{text}");
        }
        for text in ["*", "*.", ".y.test", "a.*.y.test", "y.test\r\nmode: none", "https://y.test"] {
            assert!(PolicyHost::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn domains_are_kept_in_lower_case() {
        for (text, kept) in [("Example.ORG", "example.org"), (".Example.org", ".example.org")] {
            let read = DomainPattern::parse(text);
            assert_eq!(read.as_ref().map(DomainPattern::as_str), Ok(kept), "{text}");
        }
        for text in [".", "..example.org", "a b", "*.example.org", "@example.org"] {
            assert!(DomainPattern::parse(text).is_err(), "{text}");
        }
    }
}
