//! Judges how connections are protected: the certificate, MTA-STS, TLS reports, DANE.

use super::{found, lines, listed, texts, wanted};
use crate::{
    admin::checkup::{
        facts::Facts,
        finding::{Finding, Subject},
        publish::record::{DnsRecord, RecordData, RecordPurpose, is_made_here},
    },
    send::trust::mta_sts::Mode,
    sign::certificates::{CertificateState, IssuedLine},
};
use posta_net::tls::dane;
use std::time::Duration;

/// How long before a certificate expires it is a warning. Automatic renewal happens a month before.
const AHEAD: Duration = Duration::from_secs(14 * 24 * 60 * 60);

pub(super) fn policy(facts: &Facts, findings: &mut Vec<Finding>) {
    let (subject, setup) = (Subject::MtaSts, &facts.setup);
    let name = format!("_mta-sts.{}", setup.domain);
    let published = match texts(facts, subject, &name, "v=STSv1") {
        Ok(published) => published,
        Err(finding) => return findings.push(finding),
    };
    let records = wanted(facts, RecordPurpose::MtaSts);
    findings.push(match (&published[..], &facts.policy) {
        ([], _) if setup.policy.is_some() => {
            Finding::warning(subject, "the server has a policy, but no record announces it")
                .cured_by_all(lines(&records))
        }
        ([], _) => Finding::note(
            subject,
            "not set up: an attacker between the servers can force plaintext",
        )
        .cured_by("add a listener with protocol = \"https\", then publish the records"),
        ([_, _, ..], _) => {
            Finding::error(subject, format!("{name} has several records, and senders ignore all of them"))
                .cured_by("keep the newest only")
        }
        (_, None) => Finding::note(subject, "the policy was not fetched"),
        (_, Some(Err(why))) => Finding::error(
            subject,
            format!("there is a record, but the policy cannot be fetched: {why}"),
        )
        .cured_by(format!(
            "mta-sts.{} must lead to a listener with protocol = \"https\" and a certificate for that name",
            setup.domain
        )),
        (_, Some(Ok(policy))) if policy.mode == Mode::None => {
            Finding::note(subject, "the policy is withdrawn (mode: none)")
        }
        (_, Some(Ok(policy))) if !policy.names(setup.hostname.as_str()) => Finding::error(
            subject,
            format!("the policy names {}, not {}", listed(&policy.mx), setup.hostname),
        )
        .cured_by("set mta-sts.mx, and give the record another id"),
        ([published], Some(Ok(_))) if id_of(published, &records) == AnnouncedId::None => {
            Finding::warning(subject, "the record has no id, so senders ignore it")
                .cured_by_all(lines(&texts_of(&records)))
        }
        ([published], Some(Ok(_))) if id_of(published, &records) == AnnouncedId::Old => Finding::warning(
            subject,
            "the record has the id of another policy than the one that the server serves, so senders keep the old one",
        )
        .cured_by_all(lines(&texts_of(&records))),
        (_, Some(Ok(policy))) if policy.mode == Mode::Testing => {
            Finding::note(subject, "senders only report failures of TLS (mode: testing)")
        }
        ([published], Some(Ok(_))) if id_of(published, &records) == AnnouncedId::Chosen => Finding::note(
            subject,
            "senders use TLS only. The record has an id that somebody chose: it must change whenever the policy does, and \
             whether it did cannot be seen from here",
        ),
        (_, Some(Ok(_))) => Finding::ok(subject, "senders use TLS only"),
    });
}

/// Returns the records with text among others.
fn texts_of(records: &[DnsRecord]) -> Vec<DnsRecord> {
    let is_text = |record: &&DnsRecord| matches!(record.data, RecordData::Text(_));
    records.iter().filter(is_text).cloned().collect()
}

/// The id in a record that announces a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnnouncedId {
    /// There is none, or it breaks the rule of RFC 8461 §3.1.
    None,
    /// That of the policy that the server serves.
    Right,
    /// That of another policy, as `posta domain dns` made it.
    Old,
    /// One that the operator chose.
    Chosen,
}

/// Returns the id in a record, given the records that the server would have published.
fn id_of(published: &str, records: &[DnsRecord]) -> AnnouncedId {
    let wanted = records.iter().find_map(|record| match &record.data {
        RecordData::Text(text) => policy_id(text),
        _ => None,
    });
    match policy_id(published) {
        None => AnnouncedId::None,
        id if id == wanted => AnnouncedId::Right,
        Some(id) if is_made_here(id) => AnnouncedId::Old,
        Some(_) => AnnouncedId::Chosen,
    }
}

/// Returns the id in a record that announces a policy (RFC 8461 §3.1).
fn policy_id(record: &str) -> Option<&str> {
    let id = record.split(';').find_map(|field| field.trim().strip_prefix("id="))?;
    let is_valid = (1..=32).contains(&id.len()) && id.bytes().all(|it| it.is_ascii_alphanumeric());
    is_valid.then_some(id)
}

pub(super) fn reports(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::TlsReports;
    for record in wanted(facts, RecordPurpose::TlsReports) {
        let line = lines(std::slice::from_ref(&record));
        findings.push(match texts(facts, subject, &record.name, "v=TLSRPTv1") {
            Err(finding) => finding,
            Ok(found) => match &found[..] {
                [] => Finding::note(subject, "no record: failures of TLS go unnoticed")
                    .cured_by_all(line),
                [one] if one.contains("rua=") => {
                    Finding::ok(subject, "senders report failures of TLS")
                }
                _ => Finding::warning(subject, format!("{} is wrong", record.name))
                    .cured_by_all(line),
            },
        });
    }
}

pub(super) fn dane(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::Tlsa;
    let published = match found(subject, &facts.certificates) {
        Ok(published) => dane::usable(published.to_vec()),
        Err(finding) => return findings.push(finding),
    };
    let host = facts.hosts.get(facts.setup.hostname.as_str());
    let is_secure = host.is_some_and(|host| host.is_secure);
    let records = wanted(facts, RecordPurpose::Tlsa);
    let ours = records.iter().find_map(|record| match &record.data {
        RecordData::Certificate(tlsa) => Some(tlsa),
        _ => None,
    });
    findings.push(match (&published[..], ours, is_secure) {
        ([], _, false) => Finding::note(
            subject,
            "not set up: it needs DNSSEC, which the server's zone lacks, as far as can be seen from here",
        ),
        ([], _, true) => {
            Finding::note(subject, "the zone is signed, but has no record of the certificate")
                .cured_by_all(lines(&records))
        }
        (_, None, _) => Finding::note(subject, "there are records; the certificate is not known here"),
        (published, Some(ours), _) if published.contains(ours) => match is_secure {
            true => Finding::ok(subject, "the record is that of the certificate"),
            false => {
                Finding::note(subject, "the record is right, but senders ignore it without DNSSEC")
            }
        },
        // An authority's, or another form of the key: whether it fits would need the chain.
        (published, _, _) if published.iter().any(|it| (it.usage, it.selector, it.matching) != (3, 1, 1)) => {
            Finding::note(subject, "there are records of another form than this command judges")
        }
        (_, _, true) => Finding::error(
            subject,
            "the record is of another key: servers with DANE send no mail here",
        )
        .cured_by_all(lines(&records)),
        (_, _, false) => Finding::warning(subject, "the record is of another key")
            .cured_by_all(lines(&records)),
    });
}

pub(super) fn certificate(facts: &Facts, findings: &mut Vec<Finding>) {
    let (subject, setup) = (Subject::Certificate, &facts.setup);
    let Some(certificate) = &facts.machine.certificate else {
        let says = "the server has none yet, or this user may not read it";
        return findings.push(Finding::note(subject, says));
    };
    let now = facts.machine.now;
    let day = certificate.not_after.strftime("%Y-%m-%d");
    let hostname = setup.hostname.as_str();
    let before = findings.len();
    if certificate.not_after <= now {
        let says = format!("it expired on {day}: mail programs refuse it");
        findings.push(Finding::error(subject, says).cured_by("renew it"));
    } else if certificate.not_after <= now + AHEAD {
        findings
            .push(Finding::warning(subject, format!("it expires on {day}")).cured_by("renew it"));
    }
    if certificate.not_before > now {
        let says =
            format!("it is not valid before {}", certificate.not_before.strftime("%Y-%m-%d"));
        findings
            .push(Finding::error(subject, says).cured_by("is the clock of this machine right?"));
    }
    if !certificate.is_for(hostname) {
        let says = format!("it is for {}, not for {hostname}", listed(&certificate.names));
        findings.push(
            Finding::error(subject, says)
                .cured_by("get one for that name, or set hostname to a name that it has"),
        );
    }
    if !certificate.is_trusted {
        let says = "not signed by a known authority: mail programs warn about it, or refuse it";
        let is_asked = facts.machine.issued.iter().any(|line| line.name == hostname);
        findings.push(Finding::warning(subject, says).cured_by(match is_asked {
            true => "the one of the authority of [acme] takes its place as soon as it is issued",
            false => "get one: [acme] with enabled = true asks Let's Encrypt; within a network of your own, list yours in tls.authorities",
        }));
    }
    if findings.len() == before {
        findings.push(Finding::ok(subject, format!("for {hostname}, until {day}")));
    }
}

/// Judges the certificates that an authority issues, of the server and of names below the domain.
pub(super) fn issued(facts: &Facts, findings: &mut Vec<Finding>) {
    let setup = &facts.setup;
    let is_ours = |name: &str| {
        let below = name.strip_suffix(setup.domain.as_str());
        name == setup.hostname.as_str() || below.is_some_and(|rest| rest.ends_with('.'))
    };
    for line in facts.machine.issued.iter().filter(|line| is_ours(&line.name)) {
        let IssuedLine { name, state, not_after, problem, .. } = line;
        let day = not_after.map(|time| time.strftime("%Y-%m-%d").to_string());
        let severe = match (state, day) {
            (CertificateState::Valid, _) => continue,
            (CertificateState::Missing, _) if problem.is_none() => continue,
            (CertificateState::Missing | CertificateState::Failing, None) => {
                Finding::warning(Subject::Certificate, format!("none was issued for {name} yet"))
            }
            (CertificateState::Missing | CertificateState::Failing, Some(day)) => Finding::warning(
                Subject::Certificate,
                format!("{name}: it expires on {day}, and its renewal fails"),
            ),
            (CertificateState::Expired, day) => Finding::error(
                Subject::Certificate,
                format!("{name}: it expired on {}", day.unwrap_or_default()),
            ),
        };
        let why = problem.as_deref().unwrap_or("the authority was not asked");
        findings.push(
            severe.cured_by(why).cured_by(format!("`posta certificate renew {name}` tries again")),
        );
    }
}
