//! Judges whether others believe what the domain sends: SPF, DKIM, DMARC.

use super::{lines, listed, texts, unseen, wanted};
use crate::admin::checkup::{
    facts::Facts,
    finding::{Finding, Subject},
    publish::{
        DkimRecord,
        record::{DnsRecord, RecordData, RecordPurpose},
    },
};
use posta_origin::{
    dkim::DkimKey,
    dmarc::{DmarcPolicy, DmarcResult},
    spf::{self, SpfError, SpfResult},
};

pub(super) fn spf(facts: &Facts, findings: &mut Vec<Finding>) {
    let (subject, setup) = (Subject::Spf, &facts.setup);
    let records = wanted(facts, RecordPurpose::Spf);
    let (own, of_host): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.name == setup.domain.as_str());
    match texts(facts, subject, setup.domain.as_str(), "v=spf1") {
        Err(finding) => findings.push(finding),
        Ok(found) => match &found[..] {
            [] => findings.push(
                Finding::error(subject, "no record says who may send in the domain's name")
                    .cured_by_all(lines(&own)),
            ),
            [_] => evaluated(facts, &own, findings),
            several => findings.push(
                Finding::error(
                    subject,
                    format!(
                        "there are {} records, and receivers ignore all of them",
                        several.len()
                    ),
                )
                .cured_by("combine them into one record"),
            ),
        },
    }
    for record in &of_host {
        match texts(facts, subject, &record.name, "v=spf1") {
            Ok(found) if found.is_empty() => {
                let says = format!(
                    "{} has no record: reports to senders, which have no sender, are not covered",
                    record.name
                );
                let record = std::slice::from_ref(record);
                findings.push(Finding::note(subject, says).cured_by_all(lines(record)));
            }
            Ok(_) => {}
            Err(finding) => findings.push(finding),
        }
    }
}

/// Judges what came of evaluating the domain's one record.
fn evaluated(facts: &Facts, record: &[DnsRecord], findings: &mut Vec<Finding>) {
    let subject = Subject::Spf;
    let stranger = &facts.spf_of_strangers;
    match &stranger.error {
        Some(SpfError::Temporary(name)) => {
            return findings.push(unseen(subject, &format!("DNS does not answer for {name}")));
        }
        Some(error) => {
            let finding =
                Finding::error(subject, format!("receivers cannot evaluate the record: {error}"));
            let cure = "remove terms that are not needed, and write networks as ip4: and ip6:, which cost no look-up";
            return findings.push(match error {
                SpfError::TooManyLookups | SpfError::TooManyVoidLookups => finding.cured_by(cure),
                _ => finding,
            });
        }
        None => {}
    }
    if stranger.result == SpfResult::Pass {
        let says = "the record lets everybody send in the domain's name";
        findings.push(Finding::warning(subject, says).cured_by_all(lines(record)));
    }
    if let Some(smarthost) = &facts.setup.smarthost {
        let says = format!(
            "there is a record; whether it lets {smarthost} send, through which mail goes out, cannot be seen here"
        );
        return findings.push(Finding::note(subject, says));
    }
    let (passed, refused): (Vec<_>, Vec<_>) =
        facts.spf.iter().partition(|(_, outcome)| outcome.result == SpfResult::Pass);
    for (address, outcome) in &refused {
        let finding = match outcome.result {
            SpfResult::TempError => unseen(subject, &format!("DNS does not answer for {address}")),
            result => Finding::error(
                subject,
                format!("mail from {address}, an address of this server, has the result {result}"),
            )
            .cured_by(format!("name it in the record, as ip{}:{address} does", family(address))),
        };
        findings.push(finding);
    }
    if refused.is_empty() {
        let count = format!("{} of {} look-ups", stranger.lookups, spf::LOOKUPS);
        let says = match passed.is_empty() {
            true => format!("there is a record ({count})"),
            false => {
                let passed = listed(passed.iter().map(|(address, _)| address));
                format!("lets {passed} send ({count})")
            }
        };
        findings.push(Finding::ok(subject, says));
    }
}

const fn family(address: &std::net::IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

pub(super) fn dkim(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::Dkim;
    if facts.setup.keys.is_empty() {
        let says = "the domain has no keys: its mail is not signed";
        return findings.push(Finding::warning(subject, says));
    }
    let mut right = Vec::new();
    for record in wanted(facts, RecordPurpose::Dkim) {
        let RecordData::Text(text) = &record.data else { continue };
        let name = &record.name;
        let key = facts.setup.keys.iter().find(|key| key.text == *text);
        let is_retiring = key.is_some_and(|key: &DkimRecord| key.is_retiring);
        let is_waiting = key.is_some_and(|key| key.is_waiting);
        let found = match facts.texts.get(name) {
            Some(Ok(found)) => found,
            Some(Err(why)) => {
                findings.push(unseen(subject, why));
                continue;
            }
            None => continue,
        };
        let published: Vec<_> = found.iter().filter_map(|text| DkimKey::parse(text).ok()).collect();
        let is_right = published.first() == DkimKey::parse(text).ok().as_ref();
        let line = lines(std::slice::from_ref(&record));
        findings.push(match (&published[..], found.len()) {
            ([_, ..], _) if is_right => {
                right.push(name.split('.').next().unwrap_or_default().to_owned());
                continue;
            }
            _ if is_retiring => Finding::note(
                subject,
                format!("{name} is gone, and mail that it signed may still be on its way"),
            ),
            // A step that is still to be done: nothing is signed with the key before.
            ([], 0) if is_waiting => {
                let selector = name.split('.').next().unwrap_or_default();
                let says =
                    format!("the key {selector} waits for its record, and does not sign yet");
                Finding::warning(subject, says).cured_by_all(line)
            }
            ([], 0) => {
                Finding::error(subject, format!("{name} is missing, which a key needs to sign"))
                    .cured_by_all(line)
            }
            ([], _) => Finding::error(subject, format!("{name} has no key that can be read"))
                .cured_by_all(line),
            _ => Finding::error(subject, format!("{name} has another key than this server"))
                .cured_by_all(line),
        });
    }
    if !right.is_empty() {
        findings.push(Finding::ok(subject, format!("the keys {} are published", listed(right))));
    }
}

pub(super) fn dmarc(facts: &Facts, findings: &mut Vec<Finding>) {
    let (subject, outcome) = (Subject::Dmarc, &facts.dmarc);
    let records = wanted(facts, RecordPurpose::Dmarc);
    let name = records.first().map(|record| record.name.clone()).unwrap_or_default();
    match texts(facts, subject, &name, "v=DMARC1") {
        Err(finding) => return findings.push(finding),
        Ok(found) if found.len() > 1 => {
            let says =
                format!("{name} has {} records, and receivers ignore all of them", found.len());
            return findings
                .push(Finding::error(subject, says).cured_by("combine them into one record"));
        }
        Ok(_) => {}
    }
    let Some((domain, record)) = &outcome.record else {
        findings.push(match (outcome.result, &outcome.error) {
            (DmarcResult::TempError, _) => unseen(subject, "DNS does not answer"),
            (_, Some(error)) => {
                Finding::error(subject, error.to_string()).cured_by_all(lines(&records))
            }
            (_, None) => Finding::warning(
                subject,
                "no record: anybody can write in the domain's name, and large mail providers require one",
            )
            .cured_by_all(lines(&records)),
        });
        return;
    };
    let of = match domain.as_str() == facts.setup.domain.as_str() {
        true => String::new(),
        false => format!(" (the record is that of {domain})"),
    };
    let policy = outcome.policy.as_str();
    findings.push(match (outcome.policy, record.percent) {
        (DmarcPolicy::None, _) => Finding::note(
            subject,
            format!(
                "p={policy}{of}: others only report forged mail. When the reports show that \
                 yours passes, write p=quarantine, then p=reject"
            ),
        ),
        (_, 0) => Finding::note(subject, format!("p={policy}{of}, which is only tested")),
        _ => Finding::ok(subject, format!("p={policy}{of}")),
    });
    if record.reports.is_empty() {
        let says = "no address for reports: without them, mail in the domain's name goes unnoticed";
        findings.push(Finding::note(subject, says).cured_by_all(lines(&records)));
    }
    for address in &facts.unwanted_reports {
        let host = address.rsplit_once('@').map_or("", |(_, host)| host);
        let says = format!(
            "others send no reports to {address}, because {host} does not say that it wants them"
        );
        let name = format!("{domain}._report._dmarc.{host}");
        findings.push(
            Finding::warning(subject, says).cured_by(format!("{name}. 3600 IN TXT \"v=DMARC1\"")),
        );
    }
}
