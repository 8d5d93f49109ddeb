//! The facts about a message that a filter gets in addition to the content.

use posta_mail::{Address, ClientAddress, ReversePath};

/// A message's envelope and origin.
#[derive(Debug, Clone)]
pub struct MessageFacts {
    /// The message's id, by which the history knows it.
    pub id: String,
    /// This server's name for itself.
    pub hostname: String,
    /// The client's address.
    pub client: ClientAddress,
    /// The client's name in DNS, if its address has one that leads back to it.
    pub client_name: Option<String>,
    /// The name that the client gave in its greeting.
    pub hello: String,
    /// TLS version and cipher suite, separated by a space.
    pub tls: Option<String>,
    /// The account that has logged in.
    pub account: Option<Address>,
    /// The reverse-path.
    pub sender: ReversePath,
    /// The recipients, as they were named.
    pub recipients: Vec<Address>,
    /// Octets of the content.
    pub octets: u64,
}

impl MessageFacts {
    /// Returns the client's name, or its address in brackets if it has none.
    #[must_use]
    pub fn client_host(&self) -> String {
        match (&self.client_name, self.client.ip()) {
            (Some(name), _) => name.clone(),
            (None, Some(ip)) => format!("[{ip}]"),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// Returns TLS version and cipher suite.
    #[must_use]
    pub fn tls_parts(&self) -> Option<(&str, &str)> {
        self.tls.as_deref().map(|tls| tls.split_once(' ').unwrap_or((tls, "")))
    }

    /// Returns the address of the reverse-path; empty for the null reverse-path.
    #[must_use]
    pub fn sender_address(&self) -> &str {
        match &self.sender {
            ReversePath::Null => "",
            ReversePath::Address(address) => address.as_str(),
        }
    }
}
