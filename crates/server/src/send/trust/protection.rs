//! How the connection to a server has to be protected: what its owner and the message ask for.

use crate::send::{
    Relay, Smarthost, SmarthostTls,
    peer::{Peer, Trust},
    trouble::Trouble,
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

/// Where mail for other servers is delivered (RFC 5321 §4.5.4.2).
const PORT: u16 = 25;

/// How a host is talked to.
pub(crate) struct Plan {
    pub(crate) peer: Peer,
    /// Who asks for it.
    pub(crate) kind: PolicyKind,
    /// Whether it is only being tested: without TLS as it should be the message goes all the same.
    pub(crate) is_test: bool,
}

/// What an owner asks for.
type Wish = (Trust, PolicyKind, bool);

impl Relay {
    /// How a host is talked to. An error if it must not be talked to, now or at all.
    pub(crate) async fn plan(
        &self,
        host: &Host,
        route: &Route,
        domain: &str,
        item: &Item,
    ) -> Result<Plan, (Trouble, PolicyKind)> {
        let must = item.envelope.require_tls;
        let (name, wish) = match host {
            Host::Smarthost(smarthost) => {
                let peer = through(smarthost, must);
                return Ok(Plan { peer, kind: PolicyKind::NoPolicyFound, is_test: false });
            }
            Host::Named(name) => (name.clone(), self.owners_wish(name, route, domain).await?),
            Host::Literal(address) => {
                (format!("[{address}]"), (Trust::Opportunistic, PolicyKind::NoPolicyFound, false))
            }
        };
        let (trust, kind, is_test) = wish;
        let trust = match must {
            true => strictly(trust, route, domain).map_err(|trouble| (trouble, kind))?,
            false => trust,
        };
        let peer = Peer { name, port: PORT, trust, smarthost: None };
        Ok(Plan { peer, kind, is_test: is_test && !must })
    }

    /// What the owner of a server and of the domain that it takes mail for asks for: DANE before
    /// anything else (RFC 8461 §2).
    async fn owners_wish(
        &self,
        name: &str,
        route: &Route,
        domain: &str,
    ) -> Result<Wish, (Trouble, PolicyKind)> {
        let dane = self.dane(name, route, domain).await;
        if let Some(trust) = dane.map_err(|trouble| (trouble, PolicyKind::Tlsa))? {
            return Ok((trust, PolicyKind::Tlsa, false));
        }
        let Some(policy) = self.policies.policy(domain).await else {
            return Ok((Trust::Opportunistic, PolicyKind::NoPolicyFound, false));
        };
        let is_test = policy.mode == Mode::Testing;
        if !policy.names(name) {
            let words = format!("{name} is none of the servers that {domain} names (MTA-STS)");
            if !is_test {
                let trouble = Trouble::tls(TlsFailure::ValidationFailure, words);
                return Err((trouble, PolicyKind::Sts));
            }
            let failure = Err(TlsFailure::ValidationFailure);
            self.tls_reports.count(domain, PolicyKind::Sts, name, failure);
        }
        Ok((Trust::Tls(Verify::Authorities), PolicyKind::Sts, is_test))
    }

    /// RFC 7672 §2.2: what DNS says of the certificate counts where DNSSEC proves which server it is
    /// about. None if it says nothing.
    async fn dane(
        &self,
        name: &str,
        route: &Route,
        domain: &str,
    ) -> Result<Option<Trust>, Trouble> {
        if !route.is_secure {
            return Ok(None);
        }
        for base in self.proved_names(name).await? {
            let Some(records) = self.certificates(&base).await? else { continue };
            let records = dane::usable(records);
            if records.is_empty() {
                // RFC 7672 §2.2: TLS, with nobody known.
                return Ok(Some(Trust::Tls(Verify::Anyone)));
            }
            // RFC 7672 §3.2.2: any of the names that lead to it.
            let mut names = vec![base, name.to_owned(), domain.to_owned()];
            names.dedup();
            return Ok(Some(Trust::Tls(Verify::Dane(Arc::new(Dane { records, names })))));
        }
        Ok(None)
    }

    /// What DNS says of a server's certificate; none if it says nothing, or that is not proved.
    async fn certificates(&self, base: &str) -> Result<Option<Vec<Tlsa>>, Trouble> {
        match self.resolver.certificates(&format!("_{PORT}._tcp.{base}")).await {
            Ok(answer) if answer.is_secure && !answer.found.is_empty() => Ok(Some(answer.found)),
            Ok(_) | Err(LookupError::NoDomain(_)) => Ok(None),
            // RFC 7672 §2.1.2: whoever holds the answer back must not gain by it.
            Err(error) => {
                let words = format!("What the certificate of {base} must be is not known: {error}");
                Err(Trouble::tls(TlsFailure::DnssecInvalid, words))
            }
        }
    }

    /// The names of a host for which DNSSEC proves that they are its own.
    async fn proved_names(&self, name: &str) -> Result<Vec<String>, Trouble> {
        match self.resolver.addresses(name).await {
            Ok(answer) => Ok(dane::bases(name, &answer)),
            // Whoever connects finds that out.
            Err(LookupError::NoDomain(_)) => Ok(Vec::new()),
            Err(error) => Err(Trouble::new(route::lookup_failed(&error))),
        }
    }
}

/// How a smarthost is talked to.
fn through(smarthost: &Arc<Smarthost>, must: bool) -> Peer {
    Peer {
        name: smarthost.host.clone(),
        port: smarthost.port,
        trust: match smarthost.tls {
            SmarthostTls::StartTls | SmarthostTls::Implicit => Trust::Tls(Verify::Authorities),
            _ if must => Trust::Tls(Verify::Authorities),
            SmarthostTls::None => Trust::Plaintext,
            SmarthostTls::Opportunistic => Trust::Opportunistic,
        },
        smarthost: Some(smarthost.clone()),
    }
}

/// RFC 8689 §4.2.1: TLS with the right server, and it must be known which that is.
fn strictly(trust: Trust, route: &Route, domain: &str) -> Result<Trust, Trouble> {
    match trust {
        Trust::Tls(Verify::Authorities | Verify::Dane(_)) => Ok(trust),
        _ if route.is_secure => Ok(Trust::Tls(Verify::Authorities)),
        _ => {
            let words = format!("Nothing proves which servers take the mail of {domain}");
            Err(Trouble::new(Reply::new(550, (5, 7, 30), words)))
        }
    }
}
