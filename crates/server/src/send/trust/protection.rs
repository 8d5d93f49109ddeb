//! The protection that a connection to a server needs: the strongest that the server's owner (DANE,
//! MTA-STS), the message (REQUIRETLS) and the operator require. `attempt` asks before it offers an item
//! to a host.

use crate::send::{
    Relay, Smarthost, SmarthostTls,
    host_failure::HostFailure,
    peer::{Peer, Protection},
};
use crate::{
    reports::tls::PolicyKind,
    send::{
        route::{self, Host, Route},
        trust::mta_sts::Mode,
    },
};
use posta_mail::Reply;
use posta_net::{
    dns::{LookupError, Tlsa},
    tls::{
        client::Verify,
        dane::{self, Dane},
        failure::TlsFailure,
    },
};
use posta_store::Item;
use std::sync::Arc;

/// The port at which servers accept mail from other servers (RFC 5321 §4.5.4.2).
const PORT: u16 = 25;

/// A host to connect to, and the required protection.
pub(crate) struct ProtectedPeer {
    pub(crate) peer: Peer,
    /// The kind of policy that requires the protection.
    pub(crate) kind: PolicyKind,
    /// Whether the policy is in testing mode: the message is sent even if the policy is violated.
    pub(crate) is_test: bool,
}

/// An owner's requirement: the protection, the kind of policy, and whether that is in testing mode.
type Wish = (Protection, PolicyKind, bool);

impl Relay {
    /// Returns how to connect to a host, or the failure if no connection may be made, now or at all.
    pub(crate) async fn protected_peer(
        &self,
        host: &Host,
        route: &Route,
        domain: &str,
        item: &Item,
    ) -> Result<ProtectedPeer, (HostFailure, PolicyKind)> {
        let must = item.envelope.require_tls;
        let (name, wish) = match host {
            Host::Smarthost(smarthost) => {
                let peer = smarthost_peer(smarthost, must);
                return Ok(ProtectedPeer { peer, kind: PolicyKind::NoPolicyFound, is_test: false });
            }
            Host::Named(name) => (name.clone(), self.owners_wish(name, route, domain).await?),
            Host::Literal(address) => (
                format!("[{address}]"),
                (Protection::Opportunistic, PolicyKind::NoPolicyFound, false),
            ),
        };
        let (protection, kind, is_test) = wish;
        let protection = match must {
            true => require_tls(protection, route, domain).map_err(|trouble| (trouble, kind))?,
            false => protection,
        };
        let peer = Peer { name, port: PORT, protection, smarthost: None };
        Ok(ProtectedPeer { peer, kind, is_test: is_test && !must })
    }

    /// Returns the requirements of the owners of a server and of the domain whose mail it accepts. DANE
    /// takes precedence over MTA-STS (RFC 8461 §2).
    async fn owners_wish(
        &self,
        name: &str,
        route: &Route,
        domain: &str,
    ) -> Result<Wish, (HostFailure, PolicyKind)> {
        let dane = self.dane(name, route, domain).await;
        if let Some(protection) = dane.map_err(|trouble| (trouble, PolicyKind::Tlsa))? {
            return Ok((protection, PolicyKind::Tlsa, false));
        }
        let Some(policy) = self.policies.policy(domain).await else {
            return Ok((Protection::Opportunistic, PolicyKind::NoPolicyFound, false));
        };
        let is_test = policy.mode == Mode::Testing;
        if !policy.names(name) {
            let words = format!(
                "{name} is not among the servers that {domain} names in its MTA-STS policy"
            );
            if !is_test {
                let trouble = HostFailure::tls(TlsFailure::ValidationFailure, words);
                return Err((trouble, PolicyKind::Sts));
            }
            let failure = Err(TlsFailure::ValidationFailure);
            self.tls_reports.count(domain, PolicyKind::Sts, name, failure);
        }
        Ok((Protection::Tls(Verify::Authorities), PolicyKind::Sts, is_test))
    }

    /// Returns the protection that TLSA records require, if DNSSEC proves both the server's name and the
    /// records (RFC 7672 §2.2); `None` if there are none.
    async fn dane(
        &self,
        name: &str,
        route: &Route,
        domain: &str,
    ) -> Result<Option<Protection>, HostFailure> {
        if !route.is_secure {
            return Ok(None);
        }
        for base in self.proved_names(name).await? {
            let Some(records) = self.certificates(&base).await? else { continue };
            let records = dane::usable(records);
            if records.is_empty() {
                // RFC 7672 §2.2: if all records are unusable, TLS is required, with any certificate.
                return Ok(Some(Protection::Tls(Verify::Anyone)));
            }
            // RFC 7672 §3.2.2: the certificate may be for any of the names that lead to the server.
            let mut names = vec![base, name.to_owned(), domain.to_owned()];
            names.dedup();
            return Ok(Some(Protection::Tls(Verify::Dane(Arc::new(Dane { records, names })))));
        }
        Ok(None)
    }

    /// Looks up a server's TLSA records; `None` if there are none, or DNSSEC does not prove them.
    async fn certificates(&self, base: &str) -> Result<Option<Vec<Tlsa>>, HostFailure> {
        match self.resolver.certificates(&format!("_{PORT}._tcp.{base}")).await {
            Ok(answer) if answer.is_secure && !answer.found.is_empty() => Ok(Some(answer.found)),
            Ok(_) | Err(LookupError::NoDomain(_)) => Ok(None),
            // RFC 7672 §2.1.2: an attacker must not gain by suppressing the answer, so mail waits.
            Err(error) => {
                let words = format!("The TLSA records of {base} cannot be looked up: {error}");
                Err(HostFailure::tls(TlsFailure::DnssecInvalid, words))
            }
        }
    }

    /// Returns the names of a host that DNSSEC proves.
    async fn proved_names(&self, name: &str) -> Result<Vec<String>, HostFailure> {
        match self.resolver.addresses(name).await {
            Ok(answer) => Ok(dane::bases(name, &answer)),
            // Connecting will fail for the same reason.
            Err(LookupError::NoDomain(_)) => Ok(Vec::new()),
            Err(error) => Err(HostFailure::new(route::lookup_failed(&error))),
        }
    }
}

/// Returns how to connect to a smarthost. `must` says whether the message requires verified TLS.
fn smarthost_peer(smarthost: &Arc<Smarthost>, must: bool) -> Peer {
    Peer {
        name: smarthost.host.clone(),
        port: smarthost.port,
        protection: match smarthost.tls {
            SmarthostTls::StartTls | SmarthostTls::Implicit => Protection::Tls(Verify::Authorities),
            _ if must => Protection::Tls(Verify::Authorities),
            SmarthostTls::None => Protection::Plaintext,
            SmarthostTls::Opportunistic => Protection::Opportunistic,
        },
        smarthost: Some(smarthost.clone()),
    }
}

/// Strengthens a protection as REQUIRETLS demands: verified TLS, with a server that is proved to belong
/// to the destination (RFC 8689 §4.2.1).
fn require_tls(
    protection: Protection,
    route: &Route,
    domain: &str,
) -> Result<Protection, HostFailure> {
    match protection {
        Protection::Tls(Verify::Authorities | Verify::Dane(_)) => Ok(protection),
        _ if route.is_secure => Ok(Protection::Tls(Verify::Authorities)),
        _ => {
            let words = format!("Nothing proves which servers take the mail of {domain}");
            Err(HostFailure::new(Reply::new(550, (5, 7, 30), words)))
        }
    }
}
