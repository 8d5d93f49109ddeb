//! The names that need a certificate: the server's own, and those below the local domains that `posta domain
//! dns` publishes, where they lead to this server.

use posta_mail::Domain;
use posta_net::dns::{LookupError, Resolver};
use posta_store::{Store, StoreError};
use std::{net::IpAddr, time::Duration};
use tokio::time::timeout;

/// The labels below a domain that lead to its server.
const LABELS: [&str; 3] = ["mta-sts", "autoconfig", "autodiscover"];

/// How long a look-up may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// Returns the names that may need a certificate, the server's own first.
///
/// # Errors
/// When the store fails.
pub(super) async fn wanted(
    store: &dyn Store,
    hostname: &Domain,
) -> Result<Vec<String>, StoreError> {
    let domains = store.domains().await?;
    let aliases = store.domain_aliases().await?.into_iter().map(|(alias, _)| alias);
    let mut names = vec![hostname.as_str().to_owned()];
    for domain in domains.into_iter().chain(aliases) {
        names.extend(LABELS.map(|label| format!("{label}.{domain}")));
    }
    names.retain(|name| is_public(name));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// Returns whether an authority can know a name: it has a dot, and only letters, digits and hyphens (RFC 8555
/// §7.1.4 wants names in ASCII).
fn is_public(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.contains('.')
        && name.split('.').all(is_label)
        && !last.bytes().all(|octet| octet.is_ascii_digit())
        && !["local", "localhost", "localdomain", "internal"].contains(&last)
}

/// Where a name leads, as far as DNS tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leads {
    /// To the addresses of this server's name.
    Here,
    /// Nowhere, or to other addresses. Contains the reason, in words.
    Elsewhere(String),
    /// DNS does not say. Contains the reason, in words.
    Unknown(String),
}

/// Finds out where a name leads. Of the server's own name only an address is required: behind a router that
/// translates addresses, the server does not know its own.
pub(super) async fn leads(resolver: &dyn Resolver, hostname: &str, name: &str) -> Leads {
    let found = match addresses(resolver, name).await {
        Ok(found) if found.is_empty() => {
            return Leads::Elsewhere(format!("{name} has no address in DNS"));
        }
        Ok(found) => found,
        Err(why) => return Leads::Unknown(why),
    };
    if name == hostname {
        return Leads::Here;
    }
    match addresses(resolver, hostname).await {
        Ok(ours) if found.iter().any(|address| ours.contains(address)) => Leads::Here,
        Ok(_) => Leads::Elsewhere(format!("{name} leads to other addresses than {hostname}")),
        Err(why) => Leads::Unknown(why),
    }
}

async fn addresses(resolver: &dyn Resolver, name: &str) -> Result<Vec<IpAddr>, String> {
    match timeout(PATIENCE, resolver.addresses(name)).await {
        Ok(Ok(answer)) => Ok(answer.found),
        Ok(Err(LookupError::NoDomain(_))) => Ok(Vec::new()),
        Ok(Err(error @ LookupError::Failed(..))) => Err(error.to_string()),
        Err(_) => Err(format!("DNS does not answer for {name} in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_authority_knows_are_left_out() {
        for (name, is_known) in [
            ("mail.x.test", true),
            ("xn--4ca.test", true),
            ("mail", false),
            ("mail.local", false),
            ("ä.test", false),
            ("192.0.2.1", false),
            ("[192.0.2.1]", false),
            ("a..test", false),
        ] {
            assert_eq!(is_public(name), is_known, "{name}");
        }
    }
}
