//! Judges what there is to see of a domain: what is right, wrong or missing, and what to do about it.
//!
//! Every function here is pure: [`Facts`] come in, [`Finding`]s go out. A record that is missing is a finding with the
//! line to add, as `posta domain dns` prints it.

mod machine;
mod names;
mod reach;
mod senders;
mod tls;

use super::{
    facts::{Facts, Seen},
    finding::{Finding, Subject},
    publish::{
        record::{DnsRecord, RecordPurpose, records},
        zone_file,
    },
};

/// Judges everything, in the order in which findings are shown.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let judges: [fn(&Facts, &mut Vec<Finding>); 17] = [
        machine::postmaster,
        names::exchangers,
        names::addresses,
        names::reverse,
        senders::spf,
        senders::dkim,
        senders::dmarc,
        tls::policy,
        tls::reports,
        tls::dane,
        names::services,
        tls::certificate,
        tls::issued,
        reach::ports,
        reach::outgoing,
        reach::lists,
        machine::clock,
    ];
    let mut findings = Vec::new();
    for judge in judges {
        judge(facts, &mut findings);
    }
    findings
}

/// Returns the lines of the records that a domain should have for a purpose.
fn wanted(facts: &Facts, purpose: RecordPurpose) -> Vec<DnsRecord> {
    let records = records(&facts.setup);
    records.into_iter().filter(|record| record.purpose == purpose).collect()
}

/// Returns the lines of zone files for records.
fn lines(records: &[DnsRecord]) -> impl Iterator<Item = String> {
    records.iter().map(zone_file::line)
}

/// Returns the texts of a name that begin so; or a finding where DNS does not tell.
fn texts<'f>(
    facts: &'f Facts,
    subject: Subject,
    name: &str,
    begins: &str,
) -> Result<Vec<&'f str>, Finding> {
    match facts.texts.get(name) {
        Some(Ok(texts)) => {
            let is_one = |text: &&str| {
                text.get(..begins.len()).is_some_and(|start| start.eq_ignore_ascii_case(begins))
            };
            Ok(texts.iter().map(String::as_str).filter(is_one).collect())
        }
        Some(Err(why)) => Err(unseen(subject, why)),
        None => Ok(Vec::new()),
    }
}

/// Returns the finding for what DNS does not tell.
fn unseen(subject: Subject, why: &str) -> Finding {
    Finding::warning(subject, format!("cannot be looked up: {why}"))
}

/// Returns what was seen; or a finding where DNS does not tell.
fn found<T>(subject: Subject, seen: &Seen<T>) -> Result<&[T], Finding> {
    seen.as_deref().map_err(|why| unseen(subject, why))
}

/// Joins words for a sentence.
fn listed<T: ToString>(words: impl IntoIterator<Item = T>) -> String {
    words.into_iter().map(|word| word.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
