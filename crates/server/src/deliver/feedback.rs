//! What is told to the domains that mail claims to be from: for each checked message whose author's domain asks
//! for DMARC reports, what was found and what became of it (RFC 9990 §3.1.1). The floor `reports` collects it.

use super::{
    Message,
    checked::Checked,
    verdict::{Decided, Refused, Verdict},
};
use crate::directory::Recipient;
use posta_mail::MailId;
use posta_origin::{
    dkim::DkimResult,
    dmarc::{Alignment, DmarcOutcome, DmarcPolicy, DmarcRecord, DmarcResult, Mechanism},
    spf::SpfResult,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The maximal number of octets of a name in an observation. Strangers choose the names.
const NAME: usize = 255;

/// Collects what was observed. The floor `reports` implements this.
pub trait Feedback: Send + Sync {
    /// Returns whether anything is collected.
    fn is_wanted(&self) -> bool;

    /// Counts an observation about a message of this many octets. `is_kept` tells whether the message was
    /// accepted: what a refused one may cost is limited.
    fn observed(&self, observation: Observation, octets: u64, is_kept: bool);

    /// Reads the reports of other servers in a message that was accepted, later.
    fn arrived(&self, arrived: ArrivedReport);
}

/// A message that was accepted for a mailbox here and may carry the report of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedReport {
    /// The message.
    pub id: MailId,
    /// Its size in octets.
    pub octets: u64,
    /// The domain that sent it, if that is shown.
    pub sender: Option<String>,
}

impl ArrivedReport {
    /// Returns what is known of a message that looks like one.
    pub(super) fn of(message: &Message, recipients: &[Recipient]) -> Option<Self> {
        let checked = message.checked.as_deref().filter(|checked| checked.may_carry_report)?;
        let is_here = recipients.iter().any(|to| !to.resolved.accounts.is_empty());
        is_here.then(|| Self { id: message.id, octets: message.octets, sender: shown(checked) })
    }
}

/// Returns the domain that certainly sent a message: the author's, a signer's, or that of the reverse-path.
fn shown(checked: &Checked) -> Option<String> {
    if checked.dmarc.result == DmarcResult::Pass {
        return checked.dmarc.author.as_deref().map(name);
    }
    let signed = checked.dkim.iter().filter(|verified| verified.result == DkimResult::Pass);
    let signed = signed.filter_map(|verified| verified.signature.as_ref()).next();
    let by_spf = checked.spf.iter().find(|spf| spf.outcome.result == SpfResult::Pass);
    let domain = signed.map(|signature| signature.domain.as_str());
    domain.or_else(|| by_spf.map(|spf| spf.domain())).map(name)
}

/// What was observed of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The policy of the author's domain.
    pub policy: PublishedPolicy,
    /// The rest, which equal messages share.
    pub row: FeedbackRow,
}

/// A policy as its domain published it (RFC 9990 §3.1.1.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPolicy {
    /// The domain with the record.
    pub domain: String,
    /// The policy for the domain itself.
    pub policy: String,
    /// The policy for its subdomains.
    pub subdomains: String,
    /// The policy for subdomains that do not exist.
    pub nonexistent: String,
    /// Whether the domain of a signature has to be the author's own.
    pub strict_dkim: bool,
    /// Whether the domain that SPF authenticated has to be the author's own.
    pub strict_spf: bool,
    /// Whether the policy is only tested.
    pub is_tested: bool,
}

/// What messages that are counted together have in common (RFC 9990 §3.1.1.7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FeedbackRow {
    /// The client's address.
    pub source: IpAddr,
    /// What was done because of DMARC.
    pub disposition: Disposition,
    /// Why that is not what the policy wants, if it is not.
    pub overridden: Option<PolicyOverride>,
    /// The author's domain.
    pub author: String,
    /// The domain of the reverse-path; none if that is null.
    pub sender: Option<String>,
    /// The domain that SPF checked, and its result; none if SPF was not checked.
    pub spf: Option<(String, String)>,
    /// The domain, selector and result of each signature.
    pub dkim: Vec<(String, String, String)>,
    /// The mechanism that made the message pass DMARC.
    pub passed_by: Option<PassedBy>,
}

/// What was done with a message because of DMARC (RFC 9990 §3.1.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// Nothing, since the policy wants nothing done.
    None,
    /// Nothing, since the message passed.
    Pass,
    /// It went to the folder for junk.
    Quarantine,
    /// It was refused.
    Reject,
}

impl Disposition {
    /// Returns the word that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// Why a message was not treated as the policy wants (RFC 9990 §3.1.6).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyOverride {
    /// The kind.
    pub kind: OverrideKind,
    /// Further words; empty if there is nothing to add.
    pub comment: String,
}

/// The kinds of reasons that reports know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideKind {
    /// The operator or a recipient wants something else.
    LocalPolicy,
    /// A trusted server vouches for the message.
    TrustedForwarder,
    /// The policy is only tested.
    PolicyTestMode,
    /// Something else.
    Other,
}

impl OverrideKind {
    /// Returns the word that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LocalPolicy => "local_policy",
            Self::TrustedForwarder => "trusted_forwarder",
            Self::PolicyTestMode => "policy_test_mode",
            Self::Other => "other",
        }
    }
}

/// A mechanism that authenticates a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassedBy {
    /// SPF.
    Spf,
    /// A DKIM signature.
    Dkim,
}

/// Returns what is told of a message, given what the checks alone led to and what was decided for its
/// recipients; none if the author's domain asks for no reports, the message is itself a report, or it has to
/// come again.
pub(super) fn observe(
    message: &Message,
    judged: &Result<Verdict, Refused>,
    decided: &Result<Decided, Refused>,
) -> Option<Observation> {
    let checked = message.checked.as_deref()?;
    let (domain, record) = checked.dmarc.record.as_ref()?;
    // A report about a report would be answered by the next one, every day.
    let is_report = checked.may_carry_report && checked.dmarc.result == DmarcResult::Pass;
    // A message that has to come again is counted when it comes.
    let is_postponed = matches!(decided, Err(refused) if refused.reply.code.is_transient());
    if record.reports.is_empty() || is_report || is_postponed {
        return None;
    }
    let (disposition, overridden) = treatment(checked, judged, decided);
    let row = FeedbackRow {
        source: checked.client?,
        disposition,
        overridden,
        author: name(checked.dmarc.author.as_ref()?),
        sender: checked
            .spf
            .as_ref()
            .and_then(|spf| spf.sender.as_ref())
            .map(|sender| name(sender.domain())),
        spf: checked.spf.as_ref().map(|spf| (name(spf.domain()), spf.outcome.result.to_string())),
        dkim: signatures(checked),
        passed_by: checked.dmarc.aligned.as_ref().map(|(mechanism, _)| match mechanism {
            Mechanism::Spf => PassedBy::Spf,
            Mechanism::Dkim => PassedBy::Dkim,
        }),
    };
    Some(Observation { policy: published(domain, record), row })
}

fn signatures(checked: &Checked) -> Vec<(String, String, String)> {
    let told = checked.dkim.iter().filter_map(|verified| {
        let signature = verified.signature.as_ref()?;
        let result = verified.result.name().to_owned();
        Some((name(&signature.domain), name(&signature.selector), result))
    });
    told.collect()
}

fn published(domain: &str, record: &DmarcRecord) -> PublishedPolicy {
    let subdomains = record.subdomains.unwrap_or(record.policy);
    PublishedPolicy {
        domain: name(domain),
        policy: record.policy.as_str().to_owned(),
        subdomains: subdomains.as_str().to_owned(),
        nonexistent: record.nonexistent.unwrap_or(subdomains).as_str().to_owned(),
        strict_dkim: record.dkim == Alignment::Strict,
        strict_spf: record.spf == Alignment::Strict,
        is_tested: record.percent == 0,
    }
}

/// Returns what was done because of DMARC, and why if that is not what the policy wants.
fn treatment(
    checked: &Checked,
    judged: &Result<Verdict, Refused>,
    decided: &Result<Decided, Refused>,
) -> (Disposition, Option<PolicyOverride>) {
    let dmarc = &checked.dmarc;
    if dmarc.result == DmarcResult::Pass {
        let is_enforced = dmarc.policy != DmarcPolicy::None;
        return (if is_enforced { Disposition::Pass } else { Disposition::None }, None);
    }
    let is_allowed = decided.as_ref().is_ok_and(Decided::has_allowed);
    let done = match (judged, decided) {
        (Ok(_) | Err(_), Ok(_)) if is_allowed => Disposition::None,
        (Ok(Verdict::Take { .. }), _) => Disposition::None,
        (Ok(Verdict::Junk { .. }), _) | (Err(_), Ok(_)) => Disposition::Quarantine,
        (Err(_), Err(_)) => Disposition::Reject,
    };
    let wanted = match dmarc.wanted {
        DmarcPolicy::None => Disposition::None,
        DmarcPolicy::Quarantine => Disposition::Quarantine,
        DmarcPolicy::Reject => Disposition::Reject,
    };
    if done == wanted {
        return (done, (dmarc.wanted < dmarc.policy).then(|| tested(dmarc)));
    }
    let local =
        |words: &str| PolicyOverride { kind: OverrideKind::LocalPolicy, comment: words.to_owned() };
    let why = match judged {
        // The words name the sealer, which is one of the operator's list.
        Ok(Verdict::Take { although: Some(words) }) => {
            PolicyOverride { kind: OverrideKind::TrustedForwarder, comment: words.clone() }
        }
        _ if is_allowed => local("a recipient allows the sender"),
        _ if !checked.policy.obey => local("policies are only observed here"),
        Err(_) if decided.is_ok() => local("others of its recipients take the message"),
        Err(_) => local("refused for another reason than DMARC"),
        Ok(_) => local(""),
    };
    (done, Some(why))
}

/// Returns why a message was treated more mildly than the policy says.
fn tested(dmarc: &DmarcOutcome) -> PolicyOverride {
    let percent = dmarc.record.as_ref().map_or(0, |(_, record)| record.percent);
    match percent {
        0 => PolicyOverride { kind: OverrideKind::PolicyTestMode, comment: String::new() },
        // RFC 7489 §6.6.4; the word for it, `sampled_out`, is gone.
        _ => PolicyOverride {
            kind: OverrideKind::Other,
            comment: format!("not in the sample of pct={percent}"),
        },
    }
}

/// Returns a name in lower case, cut to [`NAME`].
fn name(text: &str) -> String {
    let end = text.floor_char_boundary(NAME);
    text[..end].to_ascii_lowercase()
}
