//! The records of a domain: their purposes, their need, and their text.

use super::{MailService, MailSetup, ServiceKind, report_address};
use aws_lc_rs::digest::{SHA256, digest};
use posta_mail::Domain;
use posta_net::dns::{ServiceHost, Tlsa};
use posta_origin::dns::reverse_name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fmt::{self, Write as _},
    net::IpAddr,
};

/// The maximal number of octets in one string of a TXT record (RFC 1035 §3.3.14).
const STRING: usize = 255;

/// The preference of our MX record: there is room for others before and after it.
const PREFERENCE: u16 = 10;

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsRecord {
    /// Its purpose.
    pub purpose: RecordPurpose,
    /// The name, without the dot at its end.
    pub name: String,
    /// The type and the content.
    pub data: RecordData,
}

/// A record in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RecordLine {
    /// Its purpose.
    pub purpose: RecordPurpose,
    /// The need for it.
    pub need: RecordNeed,
    /// The name, without the dot at its end.
    pub name: String,
    /// The type, such as `TXT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The content, as a zone file has it.
    pub data: String,
    /// Whether the name is in the domain's own zone.
    pub in_zone: bool,
}

impl RecordLine {
    /// Returns the line of a record to publish for a domain.
    #[must_use]
    pub fn new(record: &DnsRecord, domain: &Domain) -> Self {
        Self {
            purpose: record.purpose,
            need: record.purpose.need(),
            name: record.name.clone(),
            kind: record.data.kind().to_owned(),
            data: record.data.to_string(),
            in_zone: record.is_within(domain),
        }
    }
}

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordData {
    /// A server that accepts mail, with its preference (MX).
    Exchanger(u16, String),
    /// An address (A or AAAA).
    Address(IpAddr),
    /// The name of an address (PTR).
    Pointer(String),
    /// A text (TXT), its strings joined.
    Text(String),
    /// The name that this one stands for (CNAME).
    Alias(String),
    /// A certificate (TLSA).
    Certificate(Tlsa),
    /// A host that offers a service (SRV).
    Service(ServiceHost),
}

/// The purpose of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecordPurpose {
    /// The server accepts the domain's mail.
    Mx,
    /// The address of the server.
    Address,
    /// The name of the server's address.
    Ptr,
    /// The clients that may send mail in the domain's name (RFC 7208).
    Spf,
    /// The keys of signatures (RFC 6376).
    Dkim,
    /// The treatment of mail that is not the domain's (RFC 9989).
    Dmarc,
    /// Others send to the domain in TLS only (RFC 8461).
    MtaSts,
    /// The address for reports of TLS failures (RFC 8460).
    TlsReports,
    /// The certificate of the server (RFC 7672).
    Tlsa,
    /// How mail programs find the server (RFC 6186).
    Services,
    /// How other mail programs find their settings.
    Autoconfig,
}

/// The need for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecordNeed {
    /// Mail does not arrive, or others refuse it.
    Required,
    /// It protects mail, or saves work.
    Recommended,
}

impl RecordPurpose {
    /// All purposes, in the order in which records are listed.
    pub const ALL: [Self; 11] = [
        Self::Mx,
        Self::Address,
        Self::Ptr,
        Self::Spf,
        Self::Dkim,
        Self::Dmarc,
        Self::MtaSts,
        Self::TlsReports,
        Self::Tlsa,
        Self::Services,
        Self::Autoconfig,
    ];

    /// Returns the need for the records.
    #[must_use]
    pub const fn need(self) -> RecordNeed {
        match self {
            Self::Mx | Self::Address | Self::Ptr | Self::Spf | Self::Dkim | Self::Dmarc => {
                RecordNeed::Required
            }
            Self::MtaSts | Self::TlsReports | Self::Tlsa | Self::Services | Self::Autoconfig => {
                RecordNeed::Recommended
            }
        }
    }

    /// Returns what the records are for, in words.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Mx => "MX: other servers bring the domain's mail here.",
            Self::Address => "Addresses: where the server is.",
            Self::Ptr => {
                "Reverse DNS, set by whoever gave you the address: many servers refuse mail without it."
            }
            Self::Spf => {
                "SPF: who may send in the domain's name. Add what else sends for you in front of ~all."
            }
            Self::Dkim => "DKIM: the keys that prove the signatures of the domain's mail.",
            Self::Dmarc => {
                "DMARC: what others do with mail that is not yours, and to whom they report. When the \
                 reports show that all of your mail passes, write p=quarantine, then p=reject."
            }
            Self::MtaSts => {
                "MTA-STS: others send to the domain in TLS only. The id changes with the policy, which \
                 the server has under https://mta-sts.DOMAIN/; its certificate must be for that name, too."
            }
            Self::TlsReports => "TLS reports: others tell daily where TLS to this server failed.",
            Self::Tlsa => {
                "DANE: the key of the server's certificate. Only in a zone that DNSSEC signs, and \
                 anew before the key changes: a wrong record stops mail ([acme] keeps the key; certbot: \
                 --reuse-key)."
            }
            Self::Services => {
                "SRV: mail programs find the server. A dot: there is no such service."
            }
            Self::Autoconfig => {
                "Names at which mail programs (Thunderbird, Outlook) look for settings. The certificate \
                 has to name them, too."
            }
        }
    }
}

impl DnsRecord {
    /// Returns whether the record is of a domain's own zone, as far as the names tell.
    #[must_use]
    pub fn is_within(&self, domain: &Domain) -> bool {
        let rest = self.name.strip_suffix(domain.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl RecordData {
    /// Returns the record's type, such as `TXT`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Exchanger(..) => "MX",
            Self::Address(IpAddr::V4(_)) => "A",
            Self::Address(IpAddr::V6(_)) => "AAAA",
            Self::Pointer(_) => "PTR",
            Self::Text(_) => "TXT",
            Self::Alias(_) => "CNAME",
            Self::Certificate(_) => "TLSA",
            Self::Service(_) => "SRV",
        }
    }
}

impl fmt::Display for RecordData {
    /// Writes the data as a zone file has it (RFC 1035 §5.1), names with the dot at their end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchanger(preference, host) => write!(f, "{preference} {host}."),
            Self::Address(address) => write!(f, "{address}"),
            Self::Pointer(name) | Self::Alias(name) => write!(f, "{name}."),
            Self::Text(text) => f.write_str(&strings(text)),
            Self::Certificate(Tlsa { usage, selector, matching, data }) => {
                write!(f, "{usage} {selector} {matching} ")?;
                data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
            Self::Service(ServiceHost { priority, weight, port, host }) => {
                write!(f, "{priority} {weight} {port} {host}.")
            }
        }
    }
}

/// Writes a text as the strings of a TXT record, in quotes.
fn strings(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 8);
    for (count, octet) in text.bytes().enumerate() {
        if count % STRING == 0 {
            written.push_str(if count == 0 { "\"" } else { "\" \"" });
        }
        match octet {
            b'"' | b'\\' => written.extend(['\\', char::from(octet)]),
            b' '..=b'~' => written.push(char::from(octet)),
            // Writing to a string cannot fail.
            _ => drop(write!(written, "\\{octet:03}")),
        }
    }
    written.push_str(if text.is_empty() { "\"\"" } else { "\"" });
    written
}

/// Returns the records of a domain, in the order in which they are listed.
#[must_use]
pub fn records(setup: &MailSetup) -> Vec<DnsRecord> {
    let MailSetup { domain, hostname, .. } = setup;
    let mut records = Vec::new();
    let mut add = |purpose, name: String, data| records.push(DnsRecord { purpose, name, data });
    let host = hostname.to_string();
    let exchanger = RecordData::Exchanger(PREFERENCE, host.clone());
    add(RecordPurpose::Mx, domain.to_string(), exchanger);
    for address in &setup.addresses {
        add(RecordPurpose::Address, host.clone(), RecordData::Address(*address));
    }
    for address in &setup.addresses {
        let name = reverse_name(*address);
        add(RecordPurpose::Ptr, name, RecordData::Pointer(host.clone()));
    }
    let text = |text: &str| RecordData::Text(text.to_owned());
    // Whoever refuses by SPF alone refuses forwarded mail before DMARC can tell that its signature is good; the
    // soft fail leaves the decision to DMARC (RFC 7489 §10.1).
    add(RecordPurpose::Spf, domain.to_string(), text("v=spf1 mx ~all"));
    if hostname != domain {
        // Reports to senders have no reverse-path: of them, SPF checks the greeting (RFC 7208 §2.4).
        add(RecordPurpose::Spf, host.clone(), text("v=spf1 a -all"));
    }
    for key in &setup.keys {
        let name = format!("{}._domainkey.{domain}", key.selector);
        add(RecordPurpose::Dkim, name, text(&key.text));
    }
    let reports = report_address(domain);
    let dmarc = format!("v=DMARC1; p=none; rua=mailto:{reports}");
    add(RecordPurpose::Dmarc, format!("_dmarc.{domain}"), text(&dmarc));
    if let Some(policy) = &setup.policy {
        let id = format!("v=STSv1; id={}", policy_id(&policy.text()));
        add(RecordPurpose::MtaSts, format!("_mta-sts.{domain}"), text(&id));
        let alias = RecordData::Alias(host.clone());
        add(RecordPurpose::MtaSts, format!("mta-sts.{domain}"), alias);
    }
    let tls_reports = format!("v=TLSRPTv1; rua=mailto:{reports}");
    add(RecordPurpose::TlsReports, format!("_smtp._tls.{domain}"), text(&tls_reports));
    // First the record of the key in use. The next key's is there before the key is (RFC 7671 §8.1).
    for key in setup.certificate_key.into_iter().chain(setup.next_certificate_key) {
        let data = Tlsa { usage: 3, selector: 1, matching: 1, data: key.to_vec() };
        add(RecordPurpose::Tlsa, format!("_25._tcp.{host}"), RecordData::Certificate(data));
    }
    for (name, service) in services(domain, &host, &setup.services) {
        add(RecordPurpose::Services, name, RecordData::Service(service));
    }
    // They are asked over HTTPS, as for the policy.
    let names = if setup.policy.is_some() { &["autoconfig", "autodiscover"][..] } else { &[] };
    for name in names {
        let alias = RecordData::Alias(host.clone());
        add(RecordPurpose::Autoconfig, format!("{name}.{domain}"), alias);
    }
    records
}

/// The number of octets of a hash that an id has, in hexadecimal.
const POLICY_ID: usize = 10;

/// Returns the id of a policy: another one for each text (RFC 8461 §3.1).
fn policy_id(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let some = hash.as_ref().iter().take(POLICY_ID);
    some.fold(String::new(), |id, octet| id + &format!("{octet:02x}"))
}

/// Returns whether the id of a policy has the form of those that are made here.
pub(in crate::admin::checkup) fn is_made_here(id: &str) -> bool {
    let is_hexadecimal = |octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
    id.len() == 2 * POLICY_ID && id.bytes().all(is_hexadecimal)
}

/// Returns the SRV records of what is offered, and of what is not: without the latter, mail programs would try the usual
/// ports (RFC 6186 §3.4). There is no IMAP.
fn services(domain: &Domain, host: &str, offered: &[MailService]) -> Vec<(String, ServiceHost)> {
    let nowhere = ServiceHost { priority: 0, weight: 0, port: 0, host: String::new() };
    let absent = |label: &str| (format!("{label}._tcp.{domain}"), nowhere.clone());
    let mut found: Vec<_> = ServiceKind::ALL
        .into_iter()
        .map(|kind| {
            let Some(service) = offered.iter().find(|service| service.kind == kind) else {
                return absent(kind.label());
            };
            // TLS from the start is preferred (RFC 8314 §3).
            let priority = match kind {
                ServiceKind::Submissions | ServiceKind::Pop3s => 0,
                ServiceKind::Submission | ServiceKind::Pop3 => 10,
            };
            let host = host.to_owned();
            let service = ServiceHost { priority, weight: 1, port: service.port, host };
            (format!("{}._tcp.{domain}", kind.label()), service)
        })
        .collect();
    found.extend(["_imaps", "_imap"].map(absent));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::checkup::tests::example;

    #[test]
    fn data_is_written_as_in_a_zone_file() {
        let service =
            |host: &str| ServiceHost { priority: 0, weight: 1, port: 465, host: host.to_owned() };
        for (data, kind, expected) in [
            (RecordData::Exchanger(10, "a.test".into()), "MX", "10 a.test."),
            (RecordData::Address("192.0.2.1".parse().unwrap()), "A", "192.0.2.1"),
            (RecordData::Address("2001:db8::1".parse().unwrap()), "AAAA", "2001:db8::1"),
            (RecordData::Text("a \"b\" \\ é".into()), "TXT", r#""a \"b\" \\ \195\169""#),
            (RecordData::Text(String::new()), "TXT", r#""""#),
            (RecordData::Service(service("a.test")), "SRV", "0 1 465 a.test."),
            (RecordData::Service(service("")), "SRV", "0 1 465 ."),
            (
                RecordData::Certificate(Tlsa {
                    usage: 3,
                    selector: 1,
                    matching: 1,
                    data: vec![1, 0xab],
                }),
                "TLSA",
                "3 1 1 01ab",
            ),
        ] {
            assert_eq!((data.kind(), data.to_string().as_str()), (kind, expected));
        }
    }

    /// A key of RSA-2048 has 400 octets, and one of 4,096 bits needs three strings.
    #[test]
    fn long_texts_are_cut_into_strings() {
        let text = "x".repeat(2 * STRING + 1);
        let written = RecordData::Text(text.clone()).to_string();
        let strings: Vec<_> = written.trim_matches('"').split("\" \"").collect();
        assert_eq!(strings.iter().map(|string| string.len()).collect::<Vec<_>>(), [255, 255, 1]);
        assert_eq!(strings.concat(), text);
        let whole = RecordData::Text("x".repeat(STRING)).to_string();
        assert_eq!(whole.len(), STRING + 2, "and no empty one at the end");
    }

    #[test]
    fn a_domain_has_these_records() {
        let found = records(&example());
        let has = |name: &str, kind: &str, data: &str| {
            let is_it = |record: &&DnsRecord| record.name == name && record.data.kind() == kind;
            let found: Vec<_> =
                found.iter().filter(is_it).map(|record| record.data.to_string()).collect();
            assert!(found.iter().any(|found| found.contains(data)), "{name} {kind}: {found:?}");
        };
        has("x.test", "MX", "10 mail.x.test.");
        has("mail.x.test", "A", "192.0.2.1");
        has("mail.x.test", "AAAA", "2001:db8::1");
        has("1.2.0.192.in-addr.arpa", "PTR", "mail.x.test.");
        has("x.test", "TXT", "v=spf1 mx ~all");
        has("mail.x.test", "TXT", "v=spf1 a -all");
        has("s1._domainkey.x.test", "TXT", "k=ed25519");
        has("_dmarc.x.test", "TXT", "rua=mailto:postmaster@x.test");
        has("_mta-sts.x.test", "TXT", "v=STSv1; id=");
        has("mta-sts.x.test", "CNAME", "mail.x.test.");
        has("_smtp._tls.x.test", "TXT", "v=TLSRPTv1; rua=mailto:postmaster@x.test");
        has("_25._tcp.mail.x.test", "TLSA", "3 1 1 abab");
        has("_submissions._tcp.x.test", "SRV", "0 1 465 mail.x.test.");
        has("_submission._tcp.x.test", "SRV", "0 0 0 .");
        has("_imaps._tcp.x.test", "SRV", "0 0 0 .");
    }

    #[test]
    fn an_id_changes_with_the_policy() {
        let mut setup = example();
        let id = |setup: &MailSetup| {
            let found = records(setup).into_iter().find(|it| it.name == "_mta-sts.x.test").unwrap();
            found.data.to_string()
        };
        let before = id(&setup);
        assert_eq!(before, id(&setup));
        setup.policy.as_mut().unwrap().max_age += 1;
        assert_ne!(before, id(&setup));
        assert!(before.len() <= "\"v=STSv1; id=\"".len() + 32, "RFC 8461 §3.1: {before}");
    }

    #[test]
    fn a_server_that_has_the_domains_name_has_one_spf_record() {
        let mut setup = example();
        setup.hostname = setup.domain.clone();
        let records = records(&setup);
        let spf = records.iter().filter(|record| record.purpose == RecordPurpose::Spf);
        assert_eq!(spf.count(), 1);
        assert!(records.iter().filter(|it| !it.is_within(&setup.domain)).count() == 2, "PTR");
    }
}
