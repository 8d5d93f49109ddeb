//! The checks themselves: iprev, SPF, DKIM, ARC, and DMARC over what they found.

use super::{Arrival, Examination, OriginCheck, Severity};
use posta_mail::{Address, Timestamp};
use posta_origin::{
    arc::{ArcResult, ArcVerified},
    dkim::{DkimResult, Keys, Signature, Verified},
    dmarc::{self, Author, DmarcOutcome, DmarcPolicy, DmarcResult, Identifier, Mechanism},
    dns::Lookup,
    header::HeaderSection,
    iprev::{self, IprevResult},
    observer::Observed,
    spf::{self, SpfOutcome, SpfRequest, SpfResult},
};
use std::{net::IpAddr, sync::Arc};

/// A domain that a check authenticated, or would have if DNS had answered.
struct Authenticated {
    mechanism: Mechanism,
    domain: String,
    is_certain: bool,
}

/// Makes all checks.
pub(super) async fn all(
    observed: &Observed,
    arrival: Arrival,
    dns: &dyn Lookup,
    receiver: &str,
    now: Timestamp,
) -> Examination {
    let mut checks = Vec::new();
    let mut authenticated = Vec::new();
    if let Some(address) = arrival.address {
        checks.push(reverse(dns, address).await);
        let time = u64::try_from(now.as_second()).unwrap_or_default();
        senders(dns, &arrival, address, (receiver, time), &mut checks, &mut authenticated).await;
    }
    let keys = Keys::look_up(dns, &observed.key_names()).await;
    let signatures = observed.verify_dkim(&keys, now);
    if signatures.is_empty() {
        checks.push(OriginCheck {
            method: "dkim".into(),
            result: "none".to_owned(),
            severity: Severity::Note,
            about: Vec::new(),
            why: vec!["the message has no signature".to_owned()],
        });
    }
    for verified in &signatures {
        checks.push(signature(observed.header(), verified));
        let of = |signature: &Arc<Signature>| Authenticated {
            mechanism: Mechanism::Dkim,
            domain: signature.domain.clone(),
            is_certain: verified.result == DkimResult::Pass,
        };
        let may_count = matches!(verified.result, DkimResult::Pass | DkimResult::TempError);
        authenticated.extend(verified.signature.as_ref().filter(|_| may_count).map(of));
    }
    checks.push(chain(&observed.verify_arc(&keys, now)));
    let author = Author::of_fields(observed.header().named("From").map(|field| field.value));
    let outcome = dmarc::check(dns, &author, &identifiers(&authenticated), 0).await;
    let mut check = policy(&author, &outcome);
    alignments(dns, &author, &outcome, &authenticated, &mut check.why).await;
    checks.push(check);
    let form = form(observed);
    let (severity, says) = match form.is_empty() {
        true => comes_to(&outcome, &authenticated),
        false => (Severity::Error, "is refused for its form, whatever the checks find".to_owned()),
    };
    Examination { arrival, form, checks, severity, says }
}

/// Returns why a message is refused for its form: `deliver::verdict` refuses the same.
fn form(observed: &Observed) -> Vec<String> {
    let header = observed.header();
    let from = header.named("From").count();
    let faults = [
        (
            header.hides_lines(),
            "a header field hides a line from some readers (NUL, CR or LF alone)",
        ),
        (
            header.is_too_large(),
            "the header section has more than 256 KiB or 1,000 fields, and what follows is not examined",
        ),
        (
            observed.has_late_from(),
            "From stands behind a line that is no header field, where only some programs look for it",
        ),
        (
            from == 0 && !header.is_too_large() && !observed.has_late_from(),
            "there is no From field",
        ),
        (from > 1, "there are several From fields, and programs differ in which they show"),
    ];
    faults.into_iter().filter(|(is_so, _)| *is_so).map(|(_, says)| says.to_owned()).collect()
}

fn identifiers(authenticated: &[Authenticated]) -> Vec<Identifier<'_>> {
    let all = authenticated.iter();
    all.map(|Authenticated { mechanism, domain, is_certain }| Identifier {
        mechanism: *mechanism,
        domain,
        is_certain: *is_certain,
    })
    .collect()
}

async fn reverse(dns: &dyn Lookup, address: IpAddr) -> OriginCheck {
    let outcome = iprev::check(dns, address).await;
    let (severity, why) = match outcome.result {
        IprevResult::Pass => (Severity::Ok, None),
        IprevResult::Fail => (Severity::Warning, Some("no name of the address leads back to it")),
        IprevResult::TempError => (Severity::Warning, Some("DNS does not answer")),
        IprevResult::PermError => (Severity::Warning, Some("the address has no name")),
    };
    let why = outcome.name.map(|name| format!("it is {name}")).or(why.map(str::to_owned));
    OriginCheck {
        method: "iprev".into(),
        result: outcome.result.to_string(),
        severity,
        about: vec![("policy.iprev".into(), address.to_string())],
        why: why.into_iter().collect(),
    }
}

/// Checks the greeting and the reverse-path by SPF.
async fn senders(
    dns: &dyn Lookup,
    arrival: &Arrival,
    address: IpAddr,
    (receiver, time): (&str, u64),
    checks: &mut Vec<OriginCheck>,
    authenticated: &mut Vec<Authenticated>,
) {
    let helo = arrival.helo.as_deref().unwrap_or_default();
    let request = SpfRequest::helo(address, helo, receiver, time);
    let mut of_helo = None;
    if !helo.is_empty() {
        let outcome = spf::check(dns, &request).await;
        checks.push(sender(&outcome, ("smtp.helo", helo.to_owned())));
        of_helo = Some(outcome);
    }
    let path = arrival.sender.as_deref().unwrap_or_default();
    let (domain, outcome) = match path.parse::<Address>() {
        Ok(path) => {
            let outcome = spf::check(dns, &request.mail_from(Some(&path))).await;
            checks.push(sender(&outcome, ("smtp.mailfrom", path.to_string())));
            (path.domain().to_owned(), outcome)
        }
        // RFC 9989 §4.4.2: without a sender, the greeting counts.
        Err(_) if path.is_empty() => match of_helo {
            Some(outcome) => (helo.to_owned(), outcome),
            None => return,
        },
        Err(_) => return,
    };
    if matches!(outcome.result, SpfResult::Pass | SpfResult::TempError) {
        let is_certain = outcome.result == SpfResult::Pass;
        authenticated.push(Authenticated { mechanism: Mechanism::Spf, domain, is_certain });
    }
}

fn sender(outcome: &SpfOutcome, about: (&'static str, String)) -> OriginCheck {
    let severity = match outcome.result {
        SpfResult::Pass => Severity::Ok,
        SpfResult::None | SpfResult::Neutral => Severity::Note,
        _ => Severity::Warning,
    };
    let mut why = Vec::new();
    match outcome.result {
        SpfResult::None => why.push("the domain has no record".to_owned()),
        SpfResult::Neutral if outcome.matched.is_none() => {
            why.push("no term of the record is about this address".to_owned());
        }
        _ => {}
    }
    if let Some(matched) = &outcome.matched {
        why.push(format!("by the term \"{}\" of {}", matched.term, matched.domain));
    }
    why.extend(outcome.error.as_ref().map(ToString::to_string));
    why.extend(outcome.explanation.as_ref().map(|said| format!("the domain says: {said}")));
    OriginCheck {
        method: "spf".into(),
        result: outcome.result.to_string(),
        severity,
        about: vec![(about.0.into(), about.1)],
        why,
    }
}

fn signature(header: &HeaderSection, verified: &Verified) -> OriginCheck {
    let severity = match verified.result {
        DkimResult::Pass => Severity::Ok,
        _ => Severity::Warning,
    };
    let mut why = Vec::new();
    if !verified.reason.is_empty() {
        why.push(verified.reason.to_string());
    }
    let mut about = Vec::new();
    if let Some(signature) = &verified.signature {
        about.push(("header.d".into(), signature.domain.clone()));
        about.push(("header.s".into(), signature.selector.clone()));
        about.push(("header.a".into(), signature.algorithm.name().to_owned()));
        about.push(("header.b".into(), verified.short_signature.clone()));
        if verified.result != DkimResult::Pass {
            why.push(format!("the key is at {}", signature.key_name()));
        }
        let times = [("made", signature.made), ("expires", signature.expires)];
        why.extend(
            times.into_iter().filter_map(|(what, at)| Some(format!("{what} {}", time(at?)))),
        );
        if let Some(length) = signature.body.length {
            why.push(format!("covers {length} octets of the body, and nothing behind them"));
        }
        why.push(format!("covers {}", covered(header, signature)));
        why.extend(uncovered(header, signature));
    }
    OriginCheck {
        method: "dkim".into(),
        result: verified.result.name().to_owned(),
        severity,
        about,
        why,
    }
}

fn time(seconds: u64) -> String {
    let second = i64::try_from(seconds).ok();
    let time = second.and_then(|second| Timestamp::from_second(second).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

/// Returns the fields that a signature covers. One that it names more often than the message has it must not be added
/// (RFC 6376 §8.15).
fn covered(header: &HeaderSection, signature: &Signature) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for name in &signature.fields {
        if names.contains(&name.as_str()) {
            continue;
        }
        names.push(name);
        let signed = signature.fields.iter().filter(|other| *other == name).count();
        let there = header.named(name).count();
        told.push(match there {
            0 => format!("{name} (absent)"),
            there if there < signed => format!("{name} (and no more of it)"),
            there if there > signed => format!("{name} ({signed} of {there})"),
            _ => name.clone(),
        });
    }
    told.join(", ")
}

/// Returns which fields that readers go by are not covered.
fn uncovered(header: &HeaderSection, signature: &Signature) -> Option<String> {
    const READ: [&str; 6] = ["From", "To", "Cc", "Subject", "Date", "Reply-To"];
    let is_open = |name: &&str| {
        let covered = signature.fields.iter().any(|field| field.eq_ignore_ascii_case(name));
        header.named(name).next().is_some() && !covered
    };
    let open: Vec<_> = READ.into_iter().filter(is_open).collect();
    (!open.is_empty()).then(|| format!("does not cover {}", open.join(", ")))
}

fn chain(verified: &ArcVerified) -> OriginCheck {
    let severity = match verified.result {
        ArcResult::None => Severity::Note,
        ArcResult::Pass => Severity::Ok,
        ArcResult::Fail => Severity::Warning,
    };
    let mut why = Vec::new();
    if !verified.reason.is_empty() {
        why.push(verified.reason.to_string());
    }
    let sets = verified.sets.iter().enumerate();
    why.extend(
        sets.map(|(index, set)| format!("{}. {} sealed:{}", index + 1, set.domain, set.results)),
    );
    let result = verified.result.name().to_owned();
    OriginCheck { method: "arc".into(), result, severity, about: Vec::new(), why }
}

fn policy(author: &Author, outcome: &DmarcOutcome) -> OriginCheck {
    let severity = match outcome.result {
        DmarcResult::Pass => Severity::Ok,
        DmarcResult::None => Severity::Note,
        DmarcResult::Fail if outcome.wanted == DmarcPolicy::Reject => Severity::Error,
        _ => Severity::Warning,
    };
    let mut about = Vec::new();
    about.extend(outcome.author.clone().map(|author| ("header.from".into(), author)));
    let mut why = Vec::new();
    match (author, &outcome.record) {
        (Author::Nobody, _) => why.push("no From field names a domain".to_owned()),
        (_, None) if outcome.error.is_none() => {
            why.push("no record applies to the domain".to_owned())
        }
        _ => {}
    }
    if let Some((domain, record)) = &outcome.record {
        about.push(("policy.dmarc".into(), outcome.policy.as_str().to_owned()));
        why.push(format!("by the record at _dmarc.{domain}"));
        if record.percent < 100 {
            why.push(format!("which is applied to {} % of the mail that fails", record.percent));
        }
    }
    why.extend(outcome.error.as_ref().map(ToString::to_string));
    OriginCheck { method: "dmarc".into(), result: outcome.result.to_string(), severity, about, why }
}

/// Tells of each authenticated domain whether it is aligned with the author's.
async fn alignments(
    dns: &dyn Lookup,
    author: &Author,
    outcome: &DmarcOutcome,
    authenticated: &[Authenticated],
    why: &mut Vec<String>,
) {
    let Some((_, record)) = &outcome.record else { return };
    let from = outcome.author.as_deref().unwrap_or_default();
    for one in authenticated.iter().take(dmarc::IDENTIFIERS) {
        let (name, alignment) = match one.mechanism {
            Mechanism::Spf => ("SPF", record.spf),
            Mechanism::Dkim => ("DKIM", record.dkim),
        };
        let identifiers = identifiers(std::slice::from_ref(one));
        let alone = dmarc::check(dns, author, &identifiers, 0).await;
        let strictness = match alignment {
            dmarc::Alignment::Relaxed => "relaxed",
            dmarc::Alignment::Strict => "strict",
        };
        let is = match alone.result {
            DmarcResult::Pass => "is aligned with",
            DmarcResult::TempError => "may be aligned with",
            _ => "is not aligned with",
        };
        why.push(format!("{name}: {} {is} {from} ({strictness})", one.domain));
    }
    if authenticated.is_empty() {
        why.push("neither SPF nor DKIM authenticates any domain".to_owned());
    }
}

/// Returns what the checks come to.
fn comes_to(outcome: &DmarcOutcome, authenticated: &[Authenticated]) -> (Severity, String) {
    let from = outcome.author.as_deref().unwrap_or("its author");
    match (outcome.result, outcome.wanted) {
        (DmarcResult::Pass, _) => {
            let by = match &outcome.aligned {
                Some((Mechanism::Spf, domain)) => format!("SPF of {domain}"),
                Some((Mechanism::Dkim, domain)) => format!("the signature of {domain}"),
                None => "a domain".to_owned(),
            };
            (Severity::Ok, format!("passes: {by} shows that it is from {from}"))
        }
        (_, DmarcPolicy::Reject) => {
            (Severity::Error, format!("fails, and {from} wants such mail refused (p=reject)"))
        }
        (_, DmarcPolicy::Quarantine) => (
            Severity::Warning,
            format!("fails, and belongs in Junk: {from} calls such mail suspicious (p=quarantine)"),
        ),
        (DmarcResult::Fail, DmarcPolicy::None) => {
            (Severity::Warning, format!("fails, and {from} has no policy for such mail (p=none)"))
        }
        (DmarcResult::TempError, _) => {
            (Severity::Warning, "cannot be judged: DNS does not answer; try again later".to_owned())
        }
        (DmarcResult::PermError, _) => {
            (Severity::Warning, format!("cannot be judged: the DMARC record of {from} is wrong"))
        }
        (DmarcResult::None, _) => {
            let domains = authenticated.iter().filter(|one| one.is_certain);
            let domains: Vec<_> = domains.map(|one| one.domain.as_str()).collect();
            let by = match &domains[..] {
                [] => "nothing shows who sent it".to_owned(),
                domains => format!("authenticated domains: {}", domains.join(", ")),
            };
            (Severity::Note, format!("falls under no policy: {from} has no DMARC record; {by}"))
        }
    }
}
