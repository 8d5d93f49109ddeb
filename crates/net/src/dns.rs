//! Finding other servers: DNS, or a fixed zone in its place.

mod question;
mod size;

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
use question::Whole;
use size::Size;
use std::{
    collections::HashMap,
    future::{Future, ready},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// The future of a look-up.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, LookupError>> + Send + 'a>>;

/// How long one question to one name server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A look-up without an answer. That there is nothing to be found is an answer: none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist.
    #[error("the domain {0} does not exist")]
    NoDomain(String),
    /// It could not be found out now.
    #[error("DNS does not answer for {0}: {1}")]
    Failed(String, String),
}

/// What was found, and whether DNSSEC proves it: that it is what the domain's owner says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The records; none if the name has none of that kind.
    pub found: Vec<T>,
    /// Whether that is proved (RFC 4035 §4.3: secure), aliases on the way included.
    pub is_secure: bool,
    /// What the name stands for, if it is an alias.
    pub alias: Option<Alias>,
}

/// What a name stands for (RFC 1034 §3.6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name at the end of all aliases.
    pub target: String,
    /// Whether it is proved that the name is an alias, whatever is of its target.
    pub is_secure: bool,
}

impl<T> Answer<T> {
    /// Of a name without aliases.
    const fn new(found: Vec<T>, is_secure: bool) -> Self {
        Self { found, is_secure, alias: None }
    }

    /// Nothing, and nothing is proved.
    const fn none() -> Self {
        Self::new(Vec::new(), false)
    }
}

/// What a server's certificate must be (RFC 6698 §2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// Whose certificate: 2, an authority's; 3, the server's own.
    pub usage: u8,
    /// Of what: 0, the certificate; 1, its public key.
    pub selector: u8,
    /// How it is written: 0, as it is; 1, its SHA-256; 2, its SHA-512.
    pub matching: u8,
    /// That.
    pub data: Vec<u8>,
}

/// Looks names up.
pub trait Resolver: Send + Sync + 'static {
    /// The servers that take a domain's mail, with their preferences; none if it names none.
    fn exchangers<'a>(&'a self, domain: &'a str) -> Pending<'a, Answer<(u16, String)>>;

    /// A host's addresses, of both families.
    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Answer<IpAddr>>;

    /// What the certificate of a server must be.
    fn certificates<'a>(&'a self, name: &'a str) -> Pending<'a, Answer<Tlsa>>;

    /// The texts of a name.
    fn texts<'a>(&'a self, name: &'a str) -> Pending<'a, Answer<String>>;
}

/// Whether DNSSEC is validated (RFC 4035).
#[derive(Clone)]
pub enum Validation {
    /// If the name servers hand on what it takes: many a router at home does not.
    IfPossible,
    /// Always, from this anchor on, or from the root's: what cannot be proved fails.
    Always(Option<Arc<TrustAnchors>>),
    /// Never.
    Never,
}

/// Reads trust anchors: a file of DNSKEY records.
///
/// # Errors
/// When it cannot be read.
pub fn trust_anchors(path: &Path) -> Result<Arc<TrustAnchors>, TrustAnchorError> {
    let read = TrustAnchors::from_file(path);
    read.map(Arc::new).map_err(|error| TrustAnchorError(path.to_owned(), error.to_string()))
}

/// Trust anchors cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the trust anchor {0} cannot be read; it holds DNSKEY records as in a zone file: {1}")]
pub struct TrustAnchorError(PathBuf, String);

/// How long it is believed that the name servers hand on what DNSSEC takes, or do not.
const BELIEVED: Duration = Duration::from_secs(10 * 60);

/// DNS.
pub struct Dns {
    /// Which proves what it finds, and which does not.
    validating: Option<TokioResolver>,
    plain: Option<TokioResolver>,
    /// Whether the first can be used, as found out then.
    usable: Mutex<Option<(Instant, bool)>>,
    /// What was not found, and until when that is believed. The library remembers what was found,
    /// and what was not only where it is not proved.
    absent: Mutex<HashMap<(RecordType, String), Absent>>,
}

type Absent = (Instant, Option<LookupError>);

/// How long it is believed that there is nothing, and that nothing can be found out.
const NOTHING: Duration = Duration::from_secs(60);
const FAILURE: Duration = Duration::from_secs(5);

/// Names that were not found that are remembered: with all that is said of each, 1 KiB at most.
const REMEMBERED: usize = 16 * 1024;

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dns")
    }
}

impl Dns {
    /// Asks these name servers, or the system's if none are named.
    ///
    /// # Errors
    /// When the system's configuration cannot be read.
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
            usable: Mutex::new(None),
            absent: Mutex::default(),
        })
    }

    async fn look_up<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, LookupError> {
        if let Some(absent) = self.is_absent(name, kind) {
            return absent.map_or_else(|| Ok(Answer::none()), Err);
        }
        let resolver = match (&self.validating, &self.plain) {
            (Some(validating), Some(plain)) if !self.is_usable(validating).await => plain,
            (Some(resolver), _) | (None, Some(resolver)) => resolver,
            (None, None) => return Ok(Answer::none()),
        };
        match resolver.lookup(Whole(name), kind).await {
            Ok(lookup) => {
                let records = lookup.answers();
                if !Size::of(lookup.message().all_sections()).is_remembered() {
                    forget(resolver, name, kind, records);
                }
                let size = Size::of(records);
                if !size.is_read() {
                    let failed = LookupError::Failed(name.to_owned(), size.to_string());
                    self.note_absent(name, kind, Some(&failed));
                    return Err(failed);
                }
                let found = records.iter().filter_map(|record| read(&record.data)).collect();
                Ok(Answer { found, is_secure: is_secure(records), alias: alias(name, records) })
            }
            Err(error) => {
                if let NetError::Dns(DnsError::NoRecordsFound(none)) = &error
                    && !Size::of(none.authorities.iter().flat_map(|all| all.iter())).is_remembered()
                {
                    resolver.clear_lookup_cache(Whole(name), kind);
                    resolver.clear_lookup_cache(none.query.name().clone(), kind);
                }
                let nothing = nothing(name, &error);
                self.note_absent(name, kind, nothing.as_ref().err());
                nothing
            }
        }
    }

    /// Whether it was found out lately that there is nothing, or that nothing can be found out.
    fn is_absent(&self, name: &str, kind: RecordType) -> Option<Option<LookupError>> {
        let absent = self.absent.lock();
        let found =
            absent.get(&(kind, name.to_owned())).filter(|(until, _)| *until > Instant::now());
        found.map(|(_, error)| error.clone())
    }

    fn note_absent(&self, name: &str, kind: RecordType, error: Option<&LookupError>) {
        let failed = matches!(error, Some(LookupError::Failed(..)));
        let now = Instant::now();
        let until = now + if failed { FAILURE } else { NOTHING };
        let mut absent = self.absent.lock();
        if absent.len() >= REMEMBERED {
            absent.retain(|_, (until, _)| *until > now);
        }
        if absent.len() >= REMEMBERED {
            absent.clear();
        }
        absent.insert((kind, name.to_owned()), (until, error.cloned()));
    }

    /// Whether the name servers hand on what it takes to prove the root's own records. Who can forge
    /// that they do not could also have kept DNSSEC from us by other means; `dns.dnssec = true` is
    /// for those who know better.
    async fn is_usable(&self, validating: &TokioResolver) -> bool {
        let known = *self.usable.lock();
        if let Some((_, usable)) = known.filter(|(since, _)| since.elapsed() < BELIEVED) {
            return usable;
        }
        let asked = validating.lookup(".", RecordType::NS).await;
        let usable = asked.is_ok_and(|lookup| is_secure(lookup.answers()));
        if known.is_none_or(|(_, before)| before != usable) && !usable {
            tracing::warn!("the name servers do not hand on DNSSEC: DANE protects nothing");
        }
        let now = (Instant::now(), usable);
        *self.usable.lock() = Some(now);
        usable
    }
}

/// Has the library forget an answer: it may remember it under each of the aliases on the way.
fn forget(resolver: &TokioResolver, name: &str, kind: RecordType, records: &[Record]) {
    resolver.clear_lookup_cache(Whole(name), kind);
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
    // Mail goes by DNS; what /etc/hosts says is for this machine's other programs.
    options.use_hosts_file = ResolveHosts::Never;
    Ok(builder)
}

/// What a name stands for, by the aliases among the records: in whichever order they came, and once
/// each, for they may lead in a circle.
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

/// Whether everything is proved, aliases on the way included.
fn is_secure(records: &[Record]) -> bool {
    let said = records.iter().filter(|record| record.record_type() != RecordType::RRSIG);
    let mut said = said.peekable();
    said.peek().is_some() && said.all(|record| record.proof.is_secure())
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

impl Resolver for Dns {
    fn exchangers<'a>(&'a self, domain: &'a str) -> Pending<'a, Answer<(u16, String)>> {
        Box::pin(self.look_up(domain, RecordType::MX, |data| match data {
            RData::MX(mx) => {
                let name = mx.exchange.to_ascii();
                Some((mx.preference, name.trim_end_matches('.').to_ascii_lowercase()))
            }
            _ => None,
        }))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Answer<IpAddr>> {
        let read = |data: &RData| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        Box::pin(async move {
            let (six, four) = tokio::join!(
                self.look_up(host, RecordType::AAAA, read),
                self.look_up(host, RecordType::A, read),
            );
            both(six, four)
        })
    }

    fn certificates<'a>(&'a self, name: &'a str) -> Pending<'a, Answer<Tlsa>> {
        Box::pin(self.look_up(name, RecordType::TLSA, |data| match data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        }))
    }

    fn texts<'a>(&'a self, name: &'a str) -> Pending<'a, Answer<String>> {
        Box::pin(self.look_up(name, RecordType::TXT, |data| match data {
            RData::TXT(text) => {
                let octets = text.txt_data.concat();
                Some(String::from_utf8_lossy(&octets).into_owned())
            }
            _ => None,
        }))
    }
}

/// What is known of a host's addresses by what was found of each family.
fn both(
    six: Result<Answer<IpAddr>, LookupError>,
    four: Result<Answer<IpAddr>, LookupError>,
) -> Result<Answer<IpAddr>, LookupError> {
    match (six, four) {
        (Ok(six), Ok(four)) => {
            let secure = |answer: &Answer<_>| answer.found.is_empty() || answer.is_secure;
            let is_secure = secure(&six) && secure(&four);
            let found: Vec<_> = six.found.into_iter().chain(four.found).collect();
            let is_secure = is_secure && !found.is_empty();
            Ok(Answer { found, is_secure, alias: six.alias.or(four.alias) })
        }
        // One family is enough to get there, whatever is said of the other: some name servers deny
        // the name itself where they have no AAAA record (RFC 4074 §4.2). What the one proves stays
        // proved: whoever forges the other must not keep us from asking for the certificate
        // (RFC 7672 §2.1.1).
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.found.is_empty() => Ok(one),
        // What could not be found out may be an address: that outweighs a denial of the rest.
        (Err(failed @ LookupError::Failed(..)), _) | (_, Err(failed @ LookupError::Failed(..))) => {
            Err(failed)
        }
        // Both deny that there is an address, and one knows the name.
        (Ok(none), Err(LookupError::NoDomain(_))) | (Err(LookupError::NoDomain(_)), Ok(none)) => {
            Ok(none)
        }
        (Err(no_domain), Err(_)) => Err(no_domain),
    }
}

/// Nothing was found, or nothing could be found out. What is forged counts as the latter
/// (RFC 7672 §2.1.1): mail waits for it to be mended.
fn nothing<T>(name: &str, error: &NetError) -> Result<Answer<T>, LookupError> {
    // Of zones that prove nothing of what they do not have.
    let unproved = match error {
        NetError::Dns(DnsError::Nsec { response, proof, .. }) if proof.is_insecure() => {
            Some(response.response_code)
        }
        _ => None,
    };
    if error.is_nx_domain() || unproved == Some(ResponseCode::NXDomain) {
        Err(LookupError::NoDomain(name.to_owned()))
    } else if error.is_no_records_found() || unproved == Some(ResponseCode::NoError) {
        Ok(Answer::none())
    } else {
        Err(LookupError::Failed(name.to_owned(), error.to_string()))
    }
}

/// In place of DNS where there is none: nothing can be found out, for this reason. Mail for other
/// servers waits.
#[derive(Debug, Clone)]
pub struct NoDns(pub String);

impl NoDns {
    fn failed<'a, T: Send + 'a>(&self, name: &str) -> Pending<'a, Answer<T>> {
        let failed = LookupError::Failed(name.to_owned(), self.0.clone());
        Box::pin(ready(Err(failed)))
    }
}

impl Resolver for NoDns {
    fn exchangers<'a>(&'a self, domain: &'a str) -> Pending<'a, Answer<(u16, String)>> {
        self.failed(domain)
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Answer<IpAddr>> {
        self.failed(host)
    }

    fn certificates<'a>(&'a self, name: &'a str) -> Pending<'a, Answer<Tlsa>> {
        self.failed(name)
    }

    fn texts<'a>(&'a self, name: &'a str) -> Pending<'a, Answer<String>> {
        self.failed(name)
    }
}

/// A zone that does not change: for tests and simulations.
#[derive(Debug, Default, Clone)]
pub struct FixedZone {
    /// Each domain's servers.
    pub exchangers: HashMap<String, Vec<(u16, String)>>,
    /// Each host's addresses.
    pub addresses: HashMap<String, Vec<IpAddr>>,
    /// What certificates must be.
    pub certificates: HashMap<String, Vec<Tlsa>>,
    /// Each name's texts.
    pub texts: HashMap<String, Vec<String>>,
    /// Names for which DNS fails.
    pub failing: Vec<String>,
    /// Whether everything is proved.
    pub is_secure: bool,
}

impl FixedZone {
    fn look_up<'a, T: Clone + Send + 'a>(
        &self,
        name: &str,
        records: &HashMap<String, Vec<T>>,
    ) -> Pending<'a, Answer<T>> {
        let is_secure = self.is_secure;
        let exists = self.exchangers.contains_key(name) || self.addresses.contains_key(name);
        Box::pin(ready(match records.get(name) {
            _ if self.failing.iter().any(|failing| failing == name) => {
                Err(LookupError::Failed(name.to_owned(), "SERVFAIL".to_owned()))
            }
            Some(found) => Ok(Answer::new(found.clone(), is_secure)),
            None if exists => Ok(Answer::new(Vec::new(), is_secure)),
            None => Err(LookupError::NoDomain(name.to_owned())),
        }))
    }
}

impl Resolver for FixedZone {
    fn exchangers<'a>(&'a self, domain: &'a str) -> Pending<'a, Answer<(u16, String)>> {
        self.look_up(domain, &self.exchangers)
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Answer<IpAddr>> {
        self.look_up(host, &self.addresses)
    }

    fn certificates<'a>(&'a self, name: &'a str) -> Pending<'a, Answer<Tlsa>> {
        self.look_up(name, &self.certificates)
    }

    fn texts<'a>(&'a self, name: &'a str) -> Pending<'a, Answer<String>> {
        self.look_up(name, &self.texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::CNAME;

    fn found(address: &str, is_secure: bool) -> Result<Answer<IpAddr>, LookupError> {
        Ok(Answer::new(vec![address.parse().unwrap()], is_secure))
    }

    /// What a name server says of one family, and what is known by what it says of both. The number
    /// of addresses and whether they are proved; or whether mail fails at once, or waits.
    #[test]
    fn one_family_is_enough_and_proves_what_it_proves() {
        const SIX: &str = "2001:db8::1";
        const FOUR: &str = "192.0.2.1";
        let none = || Ok(Answer::none());
        let denied = || Err(LookupError::NoDomain("x.test".into()));
        // SERVFAIL, REFUSED, no answer in time, or a forged one.
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
