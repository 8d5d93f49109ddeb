//! DMARC policy records, parsed into types (RFC 9989 §4.7, §4.8).
//!
//! Unreadable parts have their defaults or are ignored, as the RFC requires; only the version has to be
//! right. Records according to RFC 7489 are read as well, including `pct`.

use posta_mail::Address;

/// The maximal number of addresses for reports that are read from a record. Neither RFC sets a limit;
/// RFC 7489 §6.2 requires two to be possible.
pub const REPORT_ADDRESSES: usize = 8;

/// The treatment that a domain's owner wants for mail that fails (RFC 9989 §4.7, tag `p`), from the
/// mildest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DmarcPolicy {
    /// Nothing.
    None,
    /// The mail is suspicious.
    Quarantine,
    /// The mail is not from the owner, and should be rejected.
    Reject,
}

impl DmarcPolicy {
    fn parse(text: &str) -> Option<Self> {
        let known = [Self::None, Self::Quarantine, Self::Reject];
        known.into_iter().find(|policy| policy.as_str().eq_ignore_ascii_case(text))
    }

    /// Returns the policy as written in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    /// Returns the next milder policy, which applies to mail on which the owner only tests the policy
    /// (RFC 9989 §4.7, tag `t`; RFC 7489 §6.6.4).
    #[must_use]
    pub const fn milder(self) -> Self {
        match self {
            Self::None | Self::Quarantine => Self::None,
            Self::Reject => Self::Quarantine,
        }
    }
}

/// The required similarity between an authenticated domain and the author's (RFC 9989 §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Alignment {
    /// The domains have the same organizational domain.
    #[default]
    Relaxed,
    /// The domains are identical.
    Strict,
}

/// Whether a record is that of a public suffix (RFC 9989 §4.7, tag `psd`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Suffix {
    /// The domain is a public suffix.
    Yes,
    /// The domain is an organizational domain.
    No,
    /// The record does not say.
    #[default]
    Unknown,
}

/// A mailbox that receives aggregate reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportAddress {
    /// The mailbox.
    pub address: Address,
    /// The maximal size of a report in octets that the mailbox accepts, if the record says one (RFC 7489 §6.2).
    pub most: Option<u64>,
}

/// A DMARC record. Tags that concern failure reports are not kept, since no such reports are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarcRecord {
    /// The policy for the domain itself.
    pub policy: DmarcPolicy,
    /// The policy for existing subdomains, if it is different (`sp`).
    pub subdomains: Option<DmarcPolicy>,
    /// The policy for subdomains that do not exist, if it is different (`np`).
    pub nonexistent: Option<DmarcPolicy>,
    /// The required similarity of the domain of a DKIM signature (`adkim`).
    pub dkim: Alignment,
    /// The required similarity of the domain that SPF authenticated (`aspf`).
    pub spf: Alignment,
    /// Whether the domain is a public suffix (`psd`).
    pub suffix: Suffix,
    /// The percentage of failing mail to which the policy applies: 0 with `t=y`, otherwise the value of
    /// `pct` (RFC 7489 §6.3).
    pub percent: u8,
    /// The mailboxes that receive aggregate reports (`rua`). Other destinations are not kept.
    pub reports: Vec<ReportAddress>,
    /// Whether the owner also wants failure reports (`ruf`).
    pub wants_failures: bool,
}

/// The meaning of a text under `_dmarc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReadText {
    /// No DMARC record.
    Other,
    /// A record.
    Record(Box<DmarcRecord>),
    /// A record without a readable policy that asks for no reports: no policy is applied (RFC 9989
    /// §4.10.1).
    Unusable(Suffix),
}

/// Returns whether a text is a record, which means that its first tag is the version (RFC 9989 §4.7).
pub(super) fn is_dmarc(text: &str) -> bool {
    let first = text.split(';').next().unwrap_or_default();
    let tag = first.split_once('=');
    tag.is_some_and(|(name, value)| {
        name.trim_end_matches(WHITE).eq_ignore_ascii_case("v")
            && value.trim_matches(WHITE) == "DMARC1"
    })
}

const WHITE: [char; 2] = [' ', '\t'];

/// Returns the value of a tag. If a tag is repeated, the first counts.
pub(super) fn tag<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.split(';').find_map(|tag| {
        let (found, value) = tag.split_once('=')?;
        let is_it = found.trim_matches(WHITE).eq_ignore_ascii_case(name);
        is_it.then_some(value.trim_matches(WHITE))
    })
}

/// Reads a text.
pub(super) fn read(text: &str) -> ReadText {
    if !is_dmarc(text) {
        return ReadText::Other;
    }
    let suffix = match tag(text, "psd") {
        Some(value) if value.eq_ignore_ascii_case("y") => Suffix::Yes,
        Some(value) if value.eq_ignore_ascii_case("n") => Suffix::No,
        _ => Suffix::Unknown,
    };
    let reports = tag(text, "rua").unwrap_or_default();
    // `Err` represents a tag that exists and cannot be read.
    let policy =
        |name| tag(text, name).map(|value| DmarcPolicy::parse(value).ok_or(())).transpose();
    let (policy, subdomains, nonexistent) = match (policy("p"), policy("sp"), policy("np")) {
        (Ok(Some(policy)), Ok(subdomains), Ok(nonexistent)) => (policy, subdomains, nonexistent),
        // RFC 9989 §4.10.1: as if it were p=none.
        _ if reports.split(',').any(is_uri) => (DmarcPolicy::None, None, None),
        _ => return ReadText::Unusable(suffix),
    };
    let alignment = |name| match tag(text, name) {
        Some(value) if value.eq_ignore_ascii_case("s") => Alignment::Strict,
        _ => Alignment::Relaxed,
    };
    let is_test = tag(text, "t").is_some_and(|value| value.eq_ignore_ascii_case("y"));
    let percent = tag(text, "pct").and_then(|value| value.parse().ok());
    ReadText::Record(Box::new(DmarcRecord {
        policy,
        subdomains,
        nonexistent,
        dkim: alignment("adkim"),
        spf: alignment("aspf"),
        suffix,
        percent: if is_test { 0 } else { percent.filter(|share| *share <= 100).unwrap_or(100) },
        reports: mailboxes(reports),
        wants_failures: tag(text, "ruf").is_some(),
    }))
}

/// Returns whether a text begins like a URI (RFC 3986 §3.1).
fn is_uri(text: &str) -> bool {
    text.trim_matches(WHITE).split_once(':').is_some_and(|(scheme, rest)| {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(is_scheme)
            && !rest.is_empty()
    })
}

/// Returns the mailboxes among the URIs of a list (RFC 9989 §4.6).
pub(super) fn mailboxes(list: &str) -> Vec<ReportAddress> {
    list.split(',').filter_map(mailbox).take(REPORT_ADDRESSES).collect()
}

/// Parses a `mailto` URI (RFC 6068 §2). Its header fields are ignored. A limit for the size of reports is
/// obeyed, although RFC 9989 §4.8 made it obsolete: a mailbox would refuse what is larger.
fn mailbox(uri: &str) -> Option<ReportAddress> {
    let (scheme, rest) = uri.trim_matches(WHITE).split_once(':')?;
    if !scheme.eq_ignore_ascii_case("mailto") {
        return None;
    }
    let end = rest.find(['?', '!']).unwrap_or(rest.len());
    let address = percent_decoded(&rest[..end])?.parse().ok()?;
    let most = rest.rsplit_once('!').and_then(|(_, size)| octets(size));
    Some(ReportAddress { address, most })
}

/// Parses a size, such as `10m` (RFC 7489 §6.2). The units are powers of 1,024.
fn octets(size: &str) -> Option<u64> {
    let end = size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len());
    let factor = match &size[end..] {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        "t" | "T" => 1 << 40,
        _ => return None,
    };
    size[..end].parse::<u64>().ok()?.checked_mul(factor)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        if octet == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digits = str::from_utf8(digits).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            decoded.push(octet);
            rest = after;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> DmarcRecord {
        match read(text) {
            ReadText::Record(record) => *record,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_version_stands_first() {
        for text in ["v=DMARC1;p=none", "v = DMARC1 ; p=none", "V=DMARC1; p=none", "v=DMARC1"] {
            assert!(is_dmarc(text), "{text}");
        }
        for text in [
            "",
            "p=none; v=DMARC1",
            "v=dmarc1; p=none",
            "v=DMARC2",
            "v=DMARC1 p=none",
            " ;v=DMARC1",
        ] {
            assert_eq!(read(text), ReadText::Other, "{text}");
        }
    }

    #[test]
    fn tags_are_read() {
        let all = record(
            "v=DMARC1; P=Reject; sp=quarantine; np=none; adkim=s; aspf=S; psd=n; fo=1:d; t=n; x=y; \
             rua=mailto:a@x.test!10m , MAILTO:%62@x.test?subject=c,https://x.test/; ruf=mailto:c@x.test;",
        );
        assert_eq!(all.policy, DmarcPolicy::Reject);
        assert_eq!(all.subdomains, Some(DmarcPolicy::Quarantine));
        assert_eq!(all.nonexistent, Some(DmarcPolicy::None));
        assert_eq!((all.dkim, all.spf), (Alignment::Strict, Alignment::Strict));
        assert_eq!((all.suffix, all.percent, all.wants_failures), (Suffix::No, 100, true));
        assert_eq!(
            all.reports.iter().map(|to| (to.address.as_str(), to.most)).collect::<Vec<_>>(),
            [("a@x.test", Some(10 << 20)), ("b@x.test", None)]
        );
        let least = record("v=DMARC1;p=none");
        assert_eq!(
            (least.dkim, least.suffix, least.percent),
            (Alignment::Relaxed, Suffix::Unknown, 100)
        );
        // Unreadable tags have their defaults.
        let odd =
            record("v=DMARC1;p=reject;p=none;adkim=x;psd=;pct=200;t;=;;rua=mailto:%,mailto:,x");
        assert_eq!(
            (odd.policy, odd.dkim, odd.percent),
            (DmarcPolicy::Reject, Alignment::Relaxed, 100)
        );
        assert!(odd.reports.is_empty());
    }

    #[test]
    fn policies_are_tested_on_a_share() {
        assert_eq!(record("v=DMARC1;p=reject;pct=25").percent, 25);
        assert_eq!(record("v=DMARC1;p=reject;t=y").percent, 0);
        assert_eq!(record("v=DMARC1;p=reject;t=y;pct=50").percent, 0);
        assert_eq!(DmarcPolicy::Reject.milder(), DmarcPolicy::Quarantine);
        assert_eq!(DmarcPolicy::Quarantine.milder(), DmarcPolicy::None);
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_none_where_reports_are_wanted() {
        for text in
            ["v=DMARC1", "v=DMARC1;p=never", "v=DMARC1;p=reject;sp=x", "v=DMARC1;p=reject;np="]
        {
            assert_eq!(read(text), ReadText::Unusable(Suffix::Unknown), "{text}");
            let with_reports = record(&format!("{text};rua=mailto:a@x.test"));
            assert_eq!((with_reports.policy, with_reports.subdomains), (DmarcPolicy::None, None));
        }
        assert_eq!(read("v=DMARC1;psd=y;rua=a@x.test"), ReadText::Unusable(Suffix::Yes));
    }

    #[test]
    fn limits_of_size_are_read() {
        for (text, expected) in [
            ("1", Some(1)),
            ("20k", Some(20 << 10)),
            ("2G", Some(2 << 30)),
            ("1t", Some(1 << 40)),
            ("", None),
            ("m", None),
            ("10mb", None),
            ("-1", None),
            ("99999999999t", None),
        ] {
            assert_eq!(octets(text), expected, "{text}");
        }
    }

    #[test]
    fn report_addresses_are_few() {
        let list = vec!["mailto:a@x.test"; 100].join(",");
        assert_eq!(mailboxes(&list).len(), REPORT_ADDRESSES);
    }
}
