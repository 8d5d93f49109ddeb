//! How the connection to a server has to be protected: what its owner and the message ask for.

use super::{
    Relay, SmarthostTls,
    hosts::{Peer, Trouble, Trust},
};
use crate::{
    dane::{self, Dane},
    mta_sts::Mode,
    outbound::Verify,
    resolve::LookupError,
    route::{self, Host, Route},
};
use posta_mail::Reply;
use posta_store::Item;
use std::sync::Arc;

/// Where mail for other servers is delivered (RFC 5321 §4.5.4.2).
const PORT: u16 = 25;

impl Relay {
    /// How a host is talked to. An error if it must not be talked to, now or at all.
    pub(super) async fn peer(
        &self,
        host: &Host,
        route: &Route,
        domain: &str,
        item: &Item,
    ) -> Result<Peer, Trouble> {
        let name = match host {
            Host::Named(name) => name.clone(),
            Host::Literal(address) => format!("[{address}]"),
            Host::Smarthost(smarthost) => {
                return Ok(Peer {
                    name: smarthost.host.clone(),
                    port: smarthost.port,
                    trust: match smarthost.tls {
                        SmarthostTls::StartTls | SmarthostTls::Implicit => {
                            Trust::Tls(Verify::Authorities)
                        }
                        _ if item.envelope.require_tls => Trust::Tls(Verify::Authorities),
                        SmarthostTls::None => Trust::Plaintext,
                        SmarthostTls::Opportunistic => Trust::Opportunistic,
                    },
                    smarthost: Some(smarthost.clone()),
                });
            }
        };
        let trust = match host {
            Host::Named(name) => self.owners_wish(name, route, domain).await?,
            _ => Trust::Opportunistic,
        };
        let trust = if item.envelope.require_tls { strictly(trust, route, domain)? } else { trust };
        Ok(Peer { name, port: PORT, trust, smarthost: None })
    }

    /// What the owner of a server and of the domain that it takes mail for asks for: DANE before
    /// anything else (RFC 8461 §2).
    async fn owners_wish(&self, name: &str, route: &Route, domain: &str) -> Result<Trust, Trouble> {
        if let Some(trust) = self.dane(name, route, domain).await? {
            return Ok(trust);
        }
        match self.policies.policy(domain).await {
            Some(policy) if policy.mode == Mode::Enforce && policy.names(name) => {
                Ok(Trust::Tls(Verify::Authorities))
            }
            Some(policy) if policy.mode == Mode::Enforce => {
                let words = format!("{name} is none of the servers that {domain} names (MTA-STS)");
                Err(Trouble(Reply::new(451, (4, 7, 5), words)))
            }
            _ => Ok(Trust::Opportunistic),
        }
    }

    /// RFC 7672 §2.2: what DNS says of the certificate counts where DNSSEC proves which server it is
    /// about. None if it says nothing.
    async fn dane(
        &self,
        name: &str,
        route: &Route,
        domain: &str,
    ) -> Result<Option<Trust>, Trouble> {
        if !route.is_secure || !self.is_proved(name).await? {
            return Ok(None);
        }
        let looked_up = self.resolver.certificates(&format!("_{PORT}._tcp.{name}")).await;
        let answer = match looked_up {
            Ok(answer) => answer,
            Err(LookupError::NoDomain(_)) => return Ok(None),
            // RFC 7672 §2.1.2: whoever holds the answer back must not gain by it.
            Err(error) => {
                let words = format!("What the certificate of {name} must be is not known: {error}");
                return Err(Trouble(Reply::new(451, (4, 7, 5), words)));
            }
        };
        if answer.found.is_empty() || !answer.is_secure {
            return Ok(None);
        }
        let records = dane::usable(answer.found);
        if records.is_empty() {
            // RFC 7672 §2.2: TLS, with nobody known.
            return Ok(Some(Trust::Tls(Verify::Anyone)));
        }
        let names = vec![name.to_owned(), domain.to_owned()];
        Ok(Some(Trust::Tls(Verify::Dane(Arc::new(Dane { records, names })))))
    }

    /// Whether DNSSEC proves a host's addresses.
    async fn is_proved(&self, name: &str) -> Result<bool, Trouble> {
        match self.resolver.addresses(name).await {
            Ok(answer) => Ok(answer.is_secure),
            // Whoever connects finds that out.
            Err(LookupError::NoDomain(_)) => Ok(false),
            Err(error) => Err(Trouble(route::lookup_failed(&error))),
        }
    }
}

/// RFC 8689 §4.2.1: TLS with the right server, and it must be known which that is.
fn strictly(trust: Trust, route: &Route, domain: &str) -> Result<Trust, Trouble> {
    match trust {
        Trust::Tls(Verify::Authorities | Verify::Dane(_)) => Ok(trust),
        _ if route.is_secure => Ok(Trust::Tls(Verify::Authorities)),
        _ => {
            let words = format!("Nothing proves which servers take the mail of {domain}");
            Err(Trouble(Reply::new(550, (5, 7, 30), words)))
        }
    }
}
