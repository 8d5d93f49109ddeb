//! The checks of a message's origin, made while the message arrives: iprev, SPF, DKIM, DMARC and ARC.
//!
//! Checks of the envelope begin together with the content (`MessageChecks::begin`). The look-ups that depend on the
//! header section, those of keys and of the author's policy, begin as soon as it is complete
//! (`MessageChecks::see_header`), while the body is still arriving. When the body ends, all checks together have
//! [`CHECKS_TIME`]; a result that is unknown then counts as a temporary failure of DNS (`MessageChecks::finish`).
//!
//! Signatures are verified by the session's own task. An RSA signature of 2048 bits takes 20 to 50 µs, and there are at
//! most [`posta_origin::dkim::SIGNATURES`] and [`posta_origin::arc::INSTANCES`] of them: a few milliseconds in the worst
//! case, while handing each to another thread would cost most mail more than the arithmetic does.

use crate::{
    deliver::checked::{AUTHORS, Checked, OriginPolicy, SpfChecked},
    receive::ahead::Ahead,
};
use posta_mail::{Address, Domain, ReversePath, Timestamp};
use posta_mime::originators;
use posta_net::clock::Clock;
use posta_origin::{
    dkim::{DkimResult, Keys, KnownKeys},
    dmarc::{
        self, Author, Discovery, DmarcError, DmarcOutcome, DmarcPolicy, DmarcResult, Identifier,
        Mechanism,
    },
    dns::Lookup,
    header::HeaderSection,
    iprev::{self, IprevOutcome, IprevResult},
    observer::{Observed, Observer},
    spf::{self, SpfError, SpfOutcome, SpfRequest, SpfResult},
};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// The longest time that a message waits for all of its checks together, once its content is complete (RFC 7208 §4.6.4:
/// at least 20 s).
pub const CHECKS_TIME: Duration = Duration::from_secs(20);

/// The means that the checks of all messages share.
#[derive(Clone)]
pub struct Checker {
    /// DNS.
    pub dns: Arc<dyn Lookup>,
    /// The policy that decides what follows from the results.
    pub policy: Arc<OriginPolicy>,
    /// The server's name for itself.
    pub hostname: Domain,
    /// Draws the sample of messages on which a domain tests its policy.
    pub clock: Arc<dyn Clock>,
    /// The keys of recent messages.
    pub keys: Arc<KnownKeys>,
}

/// The origin of the message that is checked, as the session knows it.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    /// The client's address, if it is known.
    pub(crate) client: Option<IpAddr>,
    /// The name in its greeting.
    pub(crate) hello: String,
    /// The reverse-path.
    pub(crate) reverse_path: ReversePath,
    /// The time at which the message began to arrive.
    pub(crate) time: Timestamp,
}

impl Claimed {
    fn sender(&self) -> Option<&Address> {
        match &self.reverse_path {
            ReversePath::Address(sender) => Some(sender),
            ReversePath::Null => None,
        }
    }
}

/// The checks of one message. Dropping this ends them.
pub(crate) struct MessageChecks {
    policy: Arc<OriginPolicy>,
    claimed: Claimed,
    sender: Option<(Ahead<IprevOutcome>, Ahead<SpfOutcome>)>,
    header: Option<FromHeader>,
    dns: Arc<dyn Lookup>,
    known_keys: Arc<KnownKeys>,
    sample: u8,
}

/// The look-ups that depend on the header section.
struct FromHeader {
    keys: Ahead<Keys>,
    author: Author,
    /// Looks for the author's policy.
    discovery: Ahead<Discovery>,
}

impl MessageChecks {
    /// Begins the checks of a message whose content begins to arrive.
    pub(crate) fn begin(checker: &Checker, claimed: Claimed) -> Self {
        let Checker { dns, policy, hostname, clock, keys } = checker;
        let sender = claimed.client.map(|client| {
            let lookup = dns.clone();
            let iprev = Ahead::begin(async move { iprev::check(&*lookup, client).await });
            let (lookup, claimed, hostname) = (dns.clone(), claimed.clone(), hostname.clone());
            let spf = Ahead::begin(async move {
                let time = u64::try_from(claimed.time.as_second()).unwrap_or_default();
                let request = SpfRequest::helo(client, &claimed.hello, hostname.as_str(), time);
                spf::check(&*lookup, &request.mail_from(claimed.sender())).await
            });
            (iprev, spf)
        });
        let mut sample = [0];
        clock.random(&mut sample);
        Self {
            policy: policy.clone(),
            claimed,
            sender,
            header: None,
            dns: dns.clone(),
            known_keys: keys.clone(),
            sample: sample[0] % 100,
        }
    }

    /// Begins the look-ups that depend on the header section, if that is complete now.
    pub(crate) fn see_header(&mut self, observer: &Observer) {
        if let (None, Some(header), Some(names)) =
            (&self.header, observer.header(), observer.key_names())
        {
            self.header = Some(self.look_up(header, names));
        }
    }

    fn look_up(&self, header: &HeaderSection, names: Vec<String>) -> FromHeader {
        let author = Author::of_fields(header.named("From").map(|field| field.value));
        let (dns, known) = (self.dns.clone(), self.known_keys.clone());
        let keys = match names.is_empty() {
            true => Ahead::Done(Keys::default()),
            false => Ahead::begin(async move { Keys::look_up_known(&*dns, &names, &known).await }),
        };
        let (dns, whose) = (self.dns.clone(), author.clone());
        let discovery = Ahead::begin(async move { dmarc::discover(&*dns, &whose).await });
        FromHeader { keys, author, discovery }
    }

    /// Ends the checks of a message whose content is complete. Takes at most [`CHECKS_TIME`].
    pub(crate) async fn finish(mut self, observed: &Observed, now: Timestamp) -> Checked {
        let deadline = Instant::now() + CHECKS_TIME;
        let header = match self.header.take() {
            Some(header) => header,
            None => self.look_up(observed.header(), observed.key_names()),
        };
        let FromHeader { keys, author, discovery } = header;
        let (iprev, spf) = match self.sender.take() {
            Some((iprev, spf)) => (Some(iprev.by(deadline).await), Some(spf.by(deadline).await)),
            None => (None, None),
        };
        let keys = keys.by(deadline).await.unwrap_or_default();
        let discovery = discovery.by(deadline).await;
        let (dkim, arc) = (observed.verify_dkim(&keys, now), observed.verify_arc(&keys, now));
        let spf = spf.map(|outcome| SpfChecked {
            sender: self.claimed.sender().cloned(),
            hello: self.claimed.hello.clone(),
            outcome: outcome.unwrap_or_else(|| too_late(&self.claimed)),
        });
        let mut identifiers: Vec<_> = spf.iter().filter_map(of_spf).collect();
        identifiers.extend(dkim.iter().filter_map(|verified| {
            let is_certain = match verified.result {
                DkimResult::Pass => true,
                DkimResult::TempError => false,
                _ => return None,
            };
            let domain = verified.signature.as_ref()?.domain.as_str();
            Some(Identifier { mechanism: Mechanism::Dkim, domain, is_certain })
        }));
        let dmarc = match discovery {
            Some(discovery) => {
                let judging = discovery.judge(&*self.dns, &identifiers, self.sample);
                timeout_at(deadline, judging).await.ok()
            }
            None => None,
        };
        let header = observed.header();
        Checked {
            client: self.claimed.client,
            iprev: iprev.map(|outcome| {
                outcome.unwrap_or(IprevOutcome { result: IprevResult::TempError, name: None })
            }),
            spf,
            dmarc: dmarc.unwrap_or_else(|| without_policy(&author)),
            dkim,
            arc,
            authors: authors(header),
            from_fields: header.named("From").count(),
            hides_lines: header.hides_lines(),
            is_header_too_large: header.is_too_large(),
            has_late_from: observed.has_late_from(),
            may_carry_report: may_carry_report(header),
            policy: self.policy,
        }
    }
}

/// Returns whether a header section is like that of a message that carries reports: by its Subject (RFC 9990
/// §3.5.2, RFC 8460 §5.3), or as a message that is nothing but a packed file, which some reporters send.
fn may_carry_report(header: &HeaderSection) -> bool {
    let begins = |name: &str, wanted: &[&str]| {
        header.named(name).any(|field| {
            let mut words = field.value.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
            wanted.iter().all(|wanted| {
                let start = words.next().and_then(|word| word.get(..wanted.len()));
                start.is_some_and(|start| start.eq_ignore_ascii_case(wanted.as_bytes()))
            })
        })
    };
    begins("Subject", &["Report", "Domain:"])
        || ["application/gzip", "application/zip", "application/tlsrpt"]
            .into_iter()
            .any(|kind| begins("Content-Type", &[kind]))
}

/// Returns the addresses of the only From field.
fn authors(header: &HeaderSection) -> Vec<Address> {
    let mut fields = header.named("From");
    let addresses = match (fields.next(), fields.next()) {
        (Some(field), None) => originators::named_address(field.value)
            .map(|address| vec![address])
            .or_else(|| originators::addresses(field.value)),
        _ => None,
    };
    let mut addresses = addresses.unwrap_or_default();
    addresses.truncate(AUTHORS);
    addresses
}

/// Returns the domain that SPF authenticates.
fn of_spf(spf: &SpfChecked) -> Option<Identifier<'_>> {
    let is_certain = match spf.outcome.result {
        SpfResult::Pass => true,
        SpfResult::TempError => false,
        _ => return None,
    };
    Some(Identifier { mechanism: Mechanism::Spf, domain: spf.domain(), is_certain })
}

/// Returns the outcome of SPF if DNS did not answer in time.
fn too_late(claimed: &Claimed) -> SpfOutcome {
    let domain = claimed.sender().map_or(claimed.hello.as_str(), |sender| sender.domain());
    SpfOutcome {
        result: SpfResult::TempError,
        matched: None,
        error: Some(SpfError::Temporary(domain.to_owned())),
        explanation: None,
        sends_nothing: false,
        lookups: 0,
    }
}

/// Returns the outcome of DMARC if DNS did not answer in time.
fn without_policy(author: &Author) -> DmarcOutcome {
    let domain = match author {
        Author::Domains(domains) => domains.first().map(|domain| domain.as_str().to_owned()),
        Author::Nobody | Author::TooMany | Author::Unreadable => None,
    };
    DmarcOutcome {
        result: DmarcResult::TempError,
        error: Some(DmarcError::NoPolicy(domain.clone().unwrap_or_default())),
        author: domain,
        record: None,
        policy: DmarcPolicy::None,
        wanted: DmarcPolicy::None,
        aligned: None,
    }
}
