//! What the tests of several rooms count.

use crate::deliver::feedback::{Disposition, FeedbackRow, Observation, PassedBy, PublishedPolicy};

/// Returns what was observed of a message of a domain from this IPv4 address.
pub(super) fn observation(domain: &str, source: u32, passed: bool) -> Observation {
    Observation {
        policy: PublishedPolicy {
            domain: domain.to_owned(),
            policy: "reject".to_owned(),
            subdomains: "reject".to_owned(),
            nonexistent: "reject".to_owned(),
            strict_dkim: false,
            strict_spf: true,
            is_tested: false,
        },
        row: FeedbackRow {
            source: std::net::Ipv4Addr::from_bits(source).into(),
            disposition: if passed { Disposition::Pass } else { Disposition::Reject },
            overridden: None,
            author: domain.to_owned(),
            sender: Some(format!("bounces.{domain}")),
            spf: Some((format!("bounces.{domain}"), "pass".to_owned())),
            dkim: vec![(domain.to_owned(), "s1".to_owned(), "pass".to_owned())],
            passed_by: passed.then_some(PassedBy::Dkim),
        },
    }
}
