//! DMARC (RFC 9989): whether a message comes from its claimed author's domain, and what the owner of
//! that domain wants done otherwise.
//!
//! SPF and DKIM each authenticate a domain. DMARC checks whether one of these is [aligned](Alignment)
//! with the [author's](Author), and finds the [record](DmarcRecord) with the owner's policy by walking
//! up the DNS tree. [`check`] does both with as few look-ups as possible: most mail passes because an
//! authenticated domain is the author's own. [`discover`] can go ahead while the message arrives.

mod alignment;
mod author;
mod destination;
mod record;
mod walk;

pub use alignment::{AlignmentChecker, published};
pub use author::{AUTHOR_DOMAINS, Author};
pub use destination::report_destinations;
pub use record::{Alignment, DmarcPolicy, DmarcRecord, REPORT_ADDRESSES, ReportAddress, Suffix};
pub use walk::QUERIES;

use crate::dns::{Lookup, LookupError};
use std::{fmt, sync::Arc};
use walk::{Found, Known, Published, Walker};

/// The maximal number of identifiers examined. Each one within the author's organization can cost
/// [`QUERIES`].
pub const IDENTIFIERS: usize = 16;

/// The result of a check (RFC 8601 §2.7.4, RFC 9989 §9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DmarcResult {
    /// No record applies to the author's domain, or the domain does not exist.
    None,
    /// An authenticated domain is aligned with the author's.
    Pass,
    /// No authenticated domain is aligned with the author's.
    Fail,
    /// DNS did not answer; a later check may have another result.
    TempError,
    /// The record, or the message's author, cannot be determined.
    PermError,
}

impl fmt::Display for DmarcResult {
    /// Writes the result as in an Authentication-Results field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        })
    }
}

/// The mechanism that authenticated a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// SPF, for the domain of the reverse-path, or of the greeting if the path is null (RFC 9989
    /// §4.4.2).
    Spf,
    /// A DKIM signature, for its `d=`.
    Dkim,
}

/// A domain that SPF or DKIM authenticated, or could have authenticated if DNS had answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identifier<'a> {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The domain.
    pub domain: &'a str,
    /// Whether the domain was authenticated. If not, DNS did not answer, so that a fail would be
    /// premature (RFC 9989 §5.3.6).
    pub is_certain: bool,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarcOutcome {
    /// The result.
    pub result: DmarcResult,
    /// The author's domain that was checked.
    pub author: Option<String>,
    /// The record that applies, and the domain that publishes it.
    pub record: Option<(String, Arc<DmarcRecord>)>,
    /// The published policy for the author's domain.
    pub policy: DmarcPolicy,
    /// The treatment that the owner wants for this message if the result is [`DmarcResult::Fail`];
    /// milder than the policy if that is in testing. A message that claims too many domains to check
    /// them all, or unreadable ones, is suspicious, since one of them may be forged. Otherwise
    /// [`DmarcPolicy::None`].
    pub wanted: DmarcPolicy,
    /// The aligned domain that made the message pass, and its mechanism.
    pub aligned: Option<(Mechanism, String)>,
    /// The reason why the result is an error.
    pub error: Option<DmarcError>,
}

impl DmarcOutcome {
    const fn new(result: DmarcResult, author: Option<String>) -> Self {
        Self {
            result,
            author,
            record: None,
            policy: DmarcPolicy::None,
            wanted: DmarcPolicy::None,
            aligned: None,
            error: None,
        }
    }

    fn error(author: Option<String>, error: DmarcError) -> Self {
        let result = match error {
            DmarcError::NoPolicy(_) | DmarcError::NotAuthenticated(_) => DmarcResult::TempError,
            DmarcError::Unusable(_) | DmarcError::TooManyAuthors | DmarcError::UnreadableAuthor => {
                DmarcResult::PermError
            }
        };
        Self { error: Some(error), ..Self::new(result, author) }
    }

    /// Returns the severity of an outcome for the message: the strictest has the highest number.
    fn strictness(&self) -> u8 {
        match (self.result, self.wanted) {
            (DmarcResult::Pass, _) => 0,
            (DmarcResult::None, _) => 1,
            (DmarcResult::PermError, _) => 2,
            (DmarcResult::Fail, DmarcPolicy::None) => 3,
            (DmarcResult::TempError, _) => 4,
            (DmarcResult::Fail, DmarcPolicy::Quarantine) => 5,
            (DmarcResult::Fail, DmarcPolicy::Reject) => 6,
        }
    }
}

/// The reason why a check ends in an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DmarcError {
    /// DNS did not answer the query for the record, so no policy is known.
    #[error("DNS does not answer for the DMARC record of {0}")]
    NoPolicy(String),
    /// DNS did not answer when a domain was authenticated, or its organization was looked for.
    #[error("DNS does not answer for {0}, which may be what authenticates the message")]
    NotAuthenticated(String),
    /// The record has no readable policy (RFC 9989 §4.10.1).
    #[error("the DMARC record of {0} has no valid policy")]
    Unusable(String),
    /// The message claims more than [`AUTHOR_DOMAINS`] domains.
    #[error("the message claims to be from more than {AUTHOR_DOMAINS} domains")]
    TooManyAuthors,
    /// Mail programs differ in the domain in From.
    #[error("mail programs could read different domains in the From field")]
    UnreadableAuthor,
}

/// The policies of a message's author, looked up before it is known what SPF and DKIM authenticate.
#[derive(Debug)]
pub struct Discovery {
    /// What was found for each domain of the author; or the outcome, if the author has no domain to check.
    policies: Result<Vec<AuthorPolicy>, Box<DmarcOutcome>>,
    /// The records that were asked for on the way.
    known: Known,
}

/// The policy for one domain of the author.
#[derive(Debug)]
struct AuthorPolicy {
    author: String,
    /// The domain of the record, the record, and what it says for the author's domain; or the outcome, if there is none.
    found: Result<(String, Arc<DmarcRecord>, DmarcPolicy), Box<DmarcOutcome>>,
}

/// Looks for the policies of a message's author.
pub async fn discover(dns: &dyn Lookup, author: &Author) -> Discovery {
    let mut walker = Walker::new(dns);
    let suspicious = |error| {
        let outcome = DmarcOutcome::error(None, error);
        Err(Box::new(DmarcOutcome { wanted: DmarcPolicy::Quarantine, ..outcome }))
    };
    let policies = match author {
        Author::Nobody => Err(Box::new(DmarcOutcome::new(DmarcResult::None, None))),
        Author::TooMany => suspicious(DmarcError::TooManyAuthors),
        Author::Unreadable => suspicious(DmarcError::UnreadableAuthor),
        Author::Domains(domains) => {
            let mut policies = Vec::with_capacity(domains.len());
            for domain in domains {
                let author = domain.as_str().to_owned();
                let found = author_policy(dns, &mut walker, &author).await;
                policies.push(AuthorPolicy { author, found });
            }
            Ok(policies)
        }
    };
    Discovery { policies, known: walker.into_known() }
}

impl Discovery {
    /// Checks the message, given what SPF and DKIM authenticate.
    ///
    /// `sample` is a number from 0 to 99, drawn for the message: if it is below a record's `pct`, the full policy
    /// applies (RFC 7489 §6.6.4). Only the first [`IDENTIFIERS`] identifiers are examined. If a message claims more
    /// than one domain, each is checked, and the strictest outcome holds (RFC 9989 §11.5).
    pub async fn judge(
        self,
        dns: &dyn Lookup,
        identifiers: &[Identifier<'_>],
        sample: u8,
    ) -> DmarcOutcome {
        let policies = match self.policies {
            Ok(policies) => policies,
            Err(outcome) => return *outcome,
        };
        let identifiers = &identifiers[..identifiers.len().min(IDENTIFIERS)];
        let mut walker = Walker::resuming(dns, self.known);
        let mut strictest = None::<DmarcOutcome>;
        for policy in policies {
            let outcome = judge_domain(&mut walker, policy, identifiers, sample).await;
            if strictest.as_ref().is_none_or(|other| outcome.strictness() > other.strictness()) {
                strictest = Some(outcome);
            }
        }
        strictest.unwrap_or_else(|| DmarcOutcome::new(DmarcResult::None, None))
    }
}

/// Checks a message: [`discover`] and [`Discovery::judge`] in one.
pub async fn check(
    dns: &dyn Lookup,
    author: &Author,
    identifiers: &[Identifier<'_>],
    sample: u8,
) -> DmarcOutcome {
    discover(dns, author).await.judge(dns, identifiers, sample).await
}

/// Looks for the policy for a domain.
///
/// # Errors
/// The outcome, if there is no policy.
async fn author_policy(
    dns: &dyn Lookup,
    walker: &mut Walker<'_>,
    author: &str,
) -> Result<(String, Arc<DmarcRecord>, DmarcPolicy), Box<DmarcOutcome>> {
    let named = || Some(author.to_owned());
    let unknown =
        || Box::new(DmarcOutcome::error(named(), DmarcError::NoPolicy(author.to_owned())));
    let found = match applying(walker, author).await {
        Ok(Some(found)) => found,
        Ok(None) => return Err(Box::new(DmarcOutcome::new(DmarcResult::None, named()))),
        Err(_) => return Err(unknown()),
    };
    let Published::Record(record) = found.published else {
        return Err(Box::new(DmarcOutcome::error(named(), DmarcError::Unusable(found.domain))));
    };
    let policy = policy(dns, author, &found.domain, &record).await.map_err(|_| unknown())?;
    Ok((found.domain, record, policy))
}

async fn judge_domain(
    walker: &mut Walker<'_>,
    AuthorPolicy { author, found }: AuthorPolicy,
    identifiers: &[Identifier<'_>],
    sample: u8,
) -> DmarcOutcome {
    let (domain, record, policy) = match found {
        Ok(found) => found,
        Err(outcome) => return *outcome,
    };
    let mut outcome = DmarcOutcome::new(DmarcResult::Fail, Some(author.clone()));
    match aligned(walker, &author, &record, identifiers).await {
        Ok(Some(identifier)) => {
            outcome.result = DmarcResult::Pass;
            outcome.aligned = Some((identifier.mechanism, identifier.domain.to_owned()));
        }
        Ok(None) => {
            let is_tested = sample >= record.percent;
            outcome.wanted = if is_tested { policy.milder() } else { policy };
        }
        Err(domain) => {
            outcome = DmarcOutcome::error(Some(author), DmarcError::NotAuthenticated(domain));
        }
    }
    outcome.policy = policy;
    outcome.record = Some((domain, record));
    outcome
}

/// Returns the record that applies to a domain (RFC 9989 §4.10.1). If the domain has its own record,
/// that is the only query.
async fn applying(walker: &mut Walker<'_>, author: &str) -> Result<Option<Found>, LookupError> {
    match walker.published(author).await? {
        Some(published) => Ok(Some(Found { domain: author.to_owned(), published })),
        None => Ok(walker.walk(author).await?.applies),
    }
}

/// Returns the policy of a record for a domain: `p`, or `sp` or `np` for domains below that of the
/// record.
async fn policy(
    dns: &dyn Lookup,
    author: &str,
    record_domain: &str,
    record: &DmarcRecord,
) -> Result<DmarcPolicy, LookupError> {
    if author == record_domain {
        return Ok(record.policy);
    }
    let existing = record.subdomains.unwrap_or(record.policy);
    match record.nonexistent {
        Some(nonexistent) if nonexistent != existing => {
            Ok(if dns.exists(author).await? { existing } else { nonexistent })
        }
        _ => Ok(existing),
    }
}

/// Returns the first identifier that is aligned with the author's domain (RFC 9989 §4.10.2).
///
/// # Errors
/// A domain for which DNS did not answer, if no other identifier is certainly aligned.
async fn aligned<'i>(
    walker: &mut Walker<'_>,
    author: &str,
    record: &DmarcRecord,
    identifiers: &'i [Identifier<'i>],
) -> Result<Option<Identifier<'i>>, String> {
    let is_same = |one: &&Identifier<'_>| same_name(one.domain, author);
    if let Some(same) = identifiers.iter().filter(|one| one.is_certain).find(is_same) {
        return Ok(Some(*same));
    }
    let mut unknown = identifiers.iter().find(is_same).map(|one| one.domain.to_owned());
    let relaxed = identifiers.iter().filter(|one| {
        let alignment = match one.mechanism {
            Mechanism::Spf => record.spf,
            Mechanism::Dkim => record.dkim,
        };
        alignment == Alignment::Relaxed && !same_name(one.domain, author)
    });
    for identifier in relaxed {
        let Ok(walked) = walker.walk(author).await else {
            return Err(author.to_owned());
        };
        // The organizational domain is the domain itself or above it, so other domains need no look-up.
        if !is_within(identifier.domain, &walked.organization) {
            continue;
        }
        let domain = plain(identifier.domain);
        match walker.walk(&domain).await {
            Ok(other) if other.organization != walked.organization => {}
            Ok(_) if identifier.is_certain => return Ok(Some(*identifier)),
            Ok(_) | Err(_) => unknown = Some(domain),
        }
    }
    unknown.map_or(Ok(None), Err)
}

/// Returns a name in the form used for comparison: in lower case, without a dot at its end.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn same_name(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

/// Returns whether a name is a domain or below it.
fn is_within(name: &str, domain: &str) -> bool {
    let name = plain(name);
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
