//! Reports of other servers, as strangers pack and write them.

use posta_mime::received::{self, FAILURES, NAME, POLICIES, ROWS, ReceivedReport, TlsFailureCount};

/// Reads the octets as a message, or as a file. Whatever they are, a summary is short.
pub(crate) fn report(octets: &[u8]) {
    let Some((&form, octets)) = octets.split_first() else { return };
    let read = match form % 2 {
        0 => received::read(octets),
        _ => received::read_file(octets),
    };
    match read {
        Err(_) => {}
        Ok(ReceivedReport::Dmarc(report)) => {
            assert!(report.rows.len() <= ROWS);
            let names = [&report.reporter, &report.id, &report.domain];
            // A letter in lower case may take an octet more.
            assert!(names.iter().all(|name| name.len() <= 2 * NAME));
            assert!(!report.domain.is_empty() && !report.id.is_empty());
        }
        Ok(ReceivedReport::Tls(report)) => {
            assert!(report.policies.len() <= POLICIES && report.id.len() <= NAME);
            for policy in &report.policies {
                assert!(policy.failures.len() <= FAILURES);
                let is_short = |failure: &TlsFailureCount| {
                    failure.reason.len() <= NAME && failure.server.len() <= NAME
                };
                assert!(policy.failures.iter().all(is_short));
            }
        }
    }
}
