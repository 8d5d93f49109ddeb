//! The resolver that asks name servers, built on hickory-resolver: DNSSEC validation and caching.

use super::{
    Alias, DnsAnswer, Family, LookupError, PendingLookup, Resolver, ServiceHost, Tlsa,
    cache::{AnswerCache, LookupOutcome},
    query_name::QueryName,
    size::{self, Size},
};
use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        dnssec::TrustAnchors,
        op::ResponseCode,
        rr::{Name, RData, Record, RecordType},
    },
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    future::ready,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The maximal time for one query to one name server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether DNSSEC is validated (RFC 4035).
#[derive(Clone)]
pub enum Validation {
    /// If the name servers pass DNSSEC records on, which many home routers do not.
    IfPossible,
    /// Always, from these trust anchors or from the root's. An answer that fails validation is an error.
    Always(Option<Arc<TrustAnchors>>),
    /// Never.
    Never,
}

/// Reads trust anchors from a file of DNSKEY records.
///
/// # Errors
/// When the file cannot be read or contains anything else.
pub fn trust_anchors(path: &Path) -> Result<Arc<TrustAnchors>, TrustAnchorError> {
    let read = TrustAnchors::from_file(path);
    read.map(Arc::new).map_err(|error| TrustAnchorError(path.to_owned(), error.to_string()))
}

/// The error of a trust anchor file that cannot be read: its path, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("the trust anchor {0} cannot be read; it holds DNSKEY records as in a zone file: {1}")]
pub struct TrustAnchorError(PathBuf, String);

/// The time for which a finding about the name servers, that they do or do not pass DNSSEC records on,
/// is used.
const DNSSEC_KNOWN: Duration = Duration::from_secs(10 * 60);

/// The resolver that asks name servers.
pub struct Dns {
    /// The validating resolver; `None` if validation is off.
    validating: Option<TokioResolver>,
    /// The resolver without validation; `None` if validation is required.
    plain: Option<TokioResolver>,
    /// Whether the name servers pass DNSSEC records on, and the time at which that was found out.
    passes_dnssec: Mutex<Option<(Instant, bool)>>,
    exchangers: AnswerCache<String, (u16, String)>,
    six: AnswerCache<String, IpAddr>,
    four: AnswerCache<String, IpAddr>,
    names: AnswerCache<IpAddr, String>,
    certificates: AnswerCache<String, Tlsa>,
    services: AnswerCache<String, ServiceHost>,
    texts: AnswerCache<String, String>,
}

/// The time for which the absence of a record is cached.
const ABSENCE: Duration = Duration::from_secs(60);

/// The time for which a failure is cached.
const FAILURE: Duration = Duration::from_secs(5);

/// The outcome of a look-up for which name servers were asked.
struct Asked<T> {
    outcome: LookupOutcome<T>,
    /// The octets of its name and records, and the time until which it holds; none if it is too large to be cached.
    keep: Option<(usize, Instant)>,
}

impl<T> Asked<T> {
    /// Returns the outcome of a look-up that found nothing.
    fn nothing(name: &str, outcome: LookupOutcome<T>) -> Self {
        let (octets, time) = match &outcome {
            Err(LookupError::Failed(_, why)) => (why.len(), FAILURE),
            Ok(_) | Err(LookupError::NoDomain(_)) => (0, ABSENCE),
        };
        Self { outcome, keep: Some((2 * name.len() + octets, Instant::now() + time)) }
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dns")
    }
}

impl Dns {
    /// Returns a resolver that asks these name servers, or the system's if `servers` is empty.
    ///
    /// # Errors
    /// When the system's resolver configuration cannot be read.
    pub fn new(servers: &[SocketAddr], validation: Validation) -> Result<Self, NetError> {
        let anchors = match &validation {
            Validation::Always(Some(anchors)) => anchors.clone(),
            _ => Arc::new(TrustAnchors::default()),
        };
        let (wants_proof, wants_plain) = match validation {
            Validation::IfPossible => (true, true),
            Validation::Always(_) => (true, false),
            Validation::Never => (false, true),
        };
        let validating = wants_proof.then(|| builder(servers)).transpose()?;
        let plain = wants_plain.then(|| builder(servers)).transpose()?;
        let validating = validating.map(|builder| builder.with_trust_anchor(anchors).build());
        let plain = plain.map(|builder| builder.build());
        Ok(Self {
            validating: validating.transpose()?,
            plain: plain.transpose()?,
            passes_dnssec: Mutex::new(None),
            exchangers: AnswerCache::default(),
            six: AnswerCache::default(),
            four: AnswerCache::default(),
            names: AnswerCache::default(),
            certificates: AnswerCache::default(),
            services: AnswerCache::default(),
            texts: AnswerCache::default(),
        })
    }

    /// Returns the outcome that a cache has for a name, or asks for it.
    fn look_up<'a, T: Clone + Send + 'a>(
        &'a self,
        cache: &'a AnswerCache<String, T>,
        name: &'a str,
        kind: RecordType,
        read: fn(&RData) -> Option<T>,
    ) -> PendingLookup<'a, DnsAnswer<T>> {
        if let Some(known) = cache.get(name) {
            return Box::pin(ready(known));
        }
        Box::pin(async move {
            let Asked { outcome, keep } = self.ask(name, kind, read).await;
            if let Some((octets, until)) = keep {
                cache.keep(name.to_owned(), octets, until, outcome.clone());
            }
            outcome
        })
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: fn(&RData) -> Option<T>,
    ) -> Asked<T> {
        let resolver = match (&self.validating, &self.plain) {
            (Some(validating), Some(plain)) if !self.can_validate(validating).await => plain,
            (Some(resolver), _) | (None, Some(resolver)) => resolver,
            (None, None) => return Asked::nothing(name, Ok(DnsAnswer::none())),
        };
        match resolver.lookup(QueryName(name), kind).await {
            Ok(lookup) => {
                let records = lookup.answers();
                let may_be_cached = Size::of(lookup.message().all_sections()).may_be_cached();
                if !may_be_cached {
                    forget(resolver, name, kind, records);
                }
                let size = Size::of(records);
                if !size.may_be_read() {
                    let failed = LookupError::Failed(name.to_owned(), size.to_string());
                    return Asked::nothing(name, Err(failed));
                }
                let found = records.iter().filter_map(|record| read(&record.data)).collect();
                let (is_secure, alias) = (is_secure(records), alias(name, records));
                let until = Instant::from_std(lookup.valid_until());
                let keep = may_be_cached.then(|| (size.in_memory(), until));
                Asked { outcome: Ok(DnsAnswer { found, is_secure, alias }), keep }
            }
            Err(error) => {
                if let NetError::Dns(DnsError::NoRecordsFound(none)) = &error
                    && !Size::of(none.authorities.iter().flat_map(|all| all.iter())).may_be_cached()
                {
                    resolver.clear_lookup_cache(QueryName(name), kind);
                    resolver.clear_lookup_cache(none.query.name().clone(), kind);
                }
                Asked::nothing(name, nothing(name, &error))
            }
        }
    }

    /// Returns whether the name servers pass on the records needed to validate the root's own. An
    /// attacker who can suppress these records could disable DNSSEC by other means as well. Operators of
    /// name servers that certainly pass them on can set `dns.dnssec = true`.
    async fn can_validate(&self, validating: &TokioResolver) -> bool {
        let known = *self.passes_dnssec.lock();
        if let Some((_, usable)) = known.filter(|(since, _)| since.elapsed() < DNSSEC_KNOWN) {
            return usable;
        }
        let asked = validating.lookup(".", RecordType::NS).await;
        let usable = asked.is_ok_and(|lookup| is_secure(lookup.answers()));
        if known.is_none_or(|(_, before)| before != usable) && !usable {
            tracing::warn!(
                "the name servers do not pass DNSSEC records on, so DANE protects no connection"
            );
        }
        let now = (Instant::now(), usable);
        *self.passes_dnssec.lock() = Some(now);
        usable
    }
}

/// Removes an answer from the library's cache, where it may be stored under each of the aliases on the
/// way.
fn forget(resolver: &TokioResolver, name: &str, kind: RecordType, records: &[Record]) {
    resolver.clear_lookup_cache(QueryName(name), kind);
    for record in records {
        if let RData::CNAME(target) = &record.data {
            resolver.clear_lookup_cache(target.0.clone(), kind);
        }
    }
}

fn builder(servers: &[SocketAddr]) -> Result<ResolverBuilder<TokioRuntimeProvider>, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(name_server).collect();
        let config = ResolverConfig::from_name_servers(servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = PATIENCE;
    options.cache_size = size::ANSWERS;
    // Mail is routed by DNS alone: /etc/hosts is for the other programs on this machine.
    options.use_hosts_file = ResolveHosts::Never;
    Ok(builder)
}

/// Returns the target of a name, according to the aliases among the records. Aliases may come in any
/// order, and each is followed only once, since they may form a loop.
fn alias(name: &str, records: &[Record]) -> Option<Alias> {
    let written = |name: &Name| name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let aliases = records.iter().filter_map(|record| match &record.data {
        RData::CNAME(target) => Some((written(&record.name), (written(target), record))),
        _ => None,
    });
    let mut aliases: HashMap<_, _> = aliases.collect();
    let (mut target, first) = aliases.remove(&name.to_ascii_lowercase())?;
    while let Some((next, _)) = aliases.remove(&target) {
        target = next;
    }
    Some(Alias { target, is_secure: first.proof.is_secure() })
}

/// Returns whether DNSSEC proves all records, including the aliases on the way.
fn is_secure(records: &[Record]) -> bool {
    let signed = records.iter().filter(|record| record.record_type() != RecordType::RRSIG);
    let mut signed = signed.peekable();
    signed.peek().is_some() && signed.all(|record| record.proof.is_secure())
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

impl Resolver for Dns {
    fn exchangers<'a>(&'a self, domain: &'a str) -> PendingLookup<'a, DnsAnswer<(u16, String)>> {
        self.look_up(&self.exchangers, domain, RecordType::MX, |data| match data {
            RData::MX(mx) => {
                let name = mx.exchange.to_ascii();
                Some((mx.preference, name.trim_end_matches('.').to_ascii_lowercase()))
            }
            _ => None,
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        Box::pin(async move {
            let (six, four) = tokio::join!(
                self.addresses_of(host, Family::V6),
                self.addresses_of(host, Family::V4),
            );
            both(six, four)
        })
    }

    fn addresses_of<'a>(
        &'a self,
        host: &'a str,
        family: Family,
    ) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        match family {
            Family::V4 => self.look_up(&self.four, host, RecordType::A, address),
            Family::V6 => self.look_up(&self.six, host, RecordType::AAAA, address),
        }
    }

    fn names(&self, address: IpAddr) -> PendingLookup<'_, DnsAnswer<String>> {
        if let Some(known) = self.names.get(&address) {
            return Box::pin(ready(known));
        }
        Box::pin(async move {
            let name = Name::from(address).to_ascii();
            let read = |data: &RData| match data {
                RData::PTR(name) => Some(name.0.to_ascii().trim_end_matches('.').to_owned()),
                _ => None,
            };
            let asked = self.ask(name.trim_end_matches('.'), RecordType::PTR, read).await;
            if let Some((octets, until)) = asked.keep {
                self.names.keep(address, octets, until, asked.outcome.clone());
            }
            asked.outcome
        })
    }

    fn certificates<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<Tlsa>> {
        self.look_up(&self.certificates, name, RecordType::TLSA, |data| match data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        })
    }

    fn services<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<ServiceHost>> {
        self.look_up(&self.services, name, RecordType::SRV, |data| match data {
            RData::SRV(service) => {
                let host = service.target.to_ascii();
                Some(ServiceHost {
                    priority: service.priority,
                    weight: service.weight,
                    port: service.port,
                    host: host.trim_end_matches('.').to_ascii_lowercase(),
                })
            }
            _ => None,
        })
    }

    fn texts<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<String>> {
        self.look_up(&self.texts, name, RecordType::TXT, |data| match data {
            RData::TXT(text) => {
                let octets = text.txt_data.concat();
                Some(String::from_utf8_lossy(&octets).into_owned())
            }
            _ => None,
        })
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// Combines the look-ups of a host's IPv6 and IPv4 addresses.
fn both(
    six: Result<DnsAnswer<IpAddr>, LookupError>,
    four: Result<DnsAnswer<IpAddr>, LookupError>,
) -> Result<DnsAnswer<IpAddr>, LookupError> {
    match (six, four) {
        (Ok(six), Ok(four)) => {
            let secure = |answer: &DnsAnswer<_>| answer.found.is_empty() || answer.is_secure;
            let is_secure = secure(&six) && secure(&four);
            let found: Vec<_> = six.found.into_iter().chain(four.found).collect();
            let is_secure = is_secure && !found.is_empty();
            Ok(DnsAnswer { found, is_secure, alias: six.alias.or(four.alias) })
        }
        // One family is enough to reach the host, whatever the outcome of the other look-up: some name
        // servers deny the whole name where they have no AAAA record (RFC 4074 §4.2). The proof of one
        // family remains valid: otherwise an attacker who forges the other family could prevent the TLSA
        // look-up (RFC 7672 §2.1.1).
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.found.is_empty() => Ok(one),
        // The family whose look-up failed may have an address; that outweighs the denial of the other
        // family.
        (Err(failed @ LookupError::Failed(..)), _) | (_, Err(failed @ LookupError::Failed(..))) => {
            Err(failed)
        }
        // Neither family has an address, but one of the answers shows that the name exists.
        (Ok(none), Err(LookupError::NoDomain(_))) | (Err(LookupError::NoDomain(_)), Ok(none)) => {
            Ok(none)
        }
        (Err(no_domain), Err(_)) => Err(no_domain),
    }
}

/// Distinguishes a denial (an empty answer, or no such domain) from a failed look-up. A forged answer
/// counts as a failure (RFC 7672 §2.1.1), so mail waits until DNS is repaired.
fn nothing<T>(name: &str, error: &NetError) -> Result<DnsAnswer<T>, LookupError> {
    // This is the denial of an unsigned zone.
    let unproved = match error {
        NetError::Dns(DnsError::Nsec { response, proof, .. }) if proof.is_insecure() => {
            Some(response.response_code)
        }
        _ => None,
    };
    if error.is_nx_domain() || unproved == Some(ResponseCode::NXDomain) {
        Err(LookupError::NoDomain(name.to_owned()))
    } else if error.is_no_records_found() || unproved == Some(ResponseCode::NoError) {
        Ok(DnsAnswer::none())
    } else {
        Err(LookupError::Failed(name.to_owned(), error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::CNAME;

    fn found(address: &str, is_secure: bool) -> Result<DnsAnswer<IpAddr>, LookupError> {
        Ok(DnsAnswer::new(vec![address.parse().unwrap()], is_secure))
    }

    /// The answers for the two families, and the combined result: the number of addresses and whether
    /// they are proved, or whether mail fails at once or waits.
    #[test]
    fn one_family_is_enough_and_proves_what_it_proves() {
        const SIX: &str = "2001:db8::1";
        const FOUR: &str = "192.0.2.1";
        let none = || Ok(DnsAnswer::none());
        let denied = || Err(LookupError::NoDomain("x.test".into()));
        // A SERVFAIL, a REFUSED, a timeout or a forged answer.
        let failed = || Err(LookupError::Failed("x.test".into(), "SERVFAIL".into()));
        for (name, answers, expected) in [
            ("both, proved", (found(SIX, true), found(FOUR, true)), Ok((2, true))),
            ("both, one proved", (found(SIX, true), found(FOUR, false)), Ok((2, false))),
            ("IPv4 only", (none(), found(FOUR, true)), Ok((1, true))),
            ("IPv6 only", (found(SIX, true), none()), Ok((1, true))),
            ("none", (none(), none()), Ok((0, false))),
            ("AAAA denied", (denied(), found(FOUR, false)), Ok((1, false))),
            ("AAAA denied, A proved", (denied(), found(FOUR, true)), Ok((1, true))),
            ("A denied", (found(SIX, false), denied()), Ok((1, false))),
            ("A denied, AAAA proved", (found(SIX, true), denied()), Ok((1, true))),
            ("AAAA fails", (failed(), found(FOUR, false)), Ok((1, false))),
            ("AAAA forged, A proved", (failed(), found(FOUR, true)), Ok((1, true))),
            ("A fails", (found(SIX, false), failed()), Ok((1, false))),
            ("AAAA fails, no A", (failed(), none()), Err("waits")),
            ("no AAAA, A fails", (none(), failed()), Err("waits")),
            ("AAAA denied, A fails", (denied(), failed()), Err("waits")),
            ("AAAA fails, A denied", (failed(), denied()), Err("waits")),
            ("both fail", (failed(), failed()), Err("waits")),
            ("AAAA denied, no A", (denied(), none()), Ok((0, false))),
            ("no AAAA, A denied", (none(), denied()), Ok((0, false))),
            ("both denied", (denied(), denied()), Err("fails")),
        ] {
            let known = both(answers.0, answers.1);
            let known = known.map(|known| (known.found.len(), known.is_secure));
            let known = known.map_err(|error| match error {
                LookupError::NoDomain(_) => "fails",
                LookupError::Failed(..) => "waits",
            });
            assert_eq!(known, expected, "{name}");
        }
    }

    #[test]
    fn aliases_are_followed_to_their_end() {
        let record = |from: &str, to: &str| {
            let target = RData::CNAME(CNAME(Name::from_ascii(to).unwrap()));
            Record::from_rdata(Name::from_ascii(from).unwrap(), 60, target)
        };
        let target = |records: &[Record]| alias("a.test", records).map(|alias| alias.target);
        let (one, two) = (record("A.test.", "b.test."), record("b.test.", "C.test."));
        assert_eq!(target(&[two.clone(), one.clone()]).as_deref(), Some("c.test"));
        assert_eq!(target(std::slice::from_ref(&two)), None);
        let circle = [one, record("b.test.", "a.test.")];
        assert_eq!(target(&circle).as_deref(), Some("a.test"), "and there is an end of it");
    }
}
