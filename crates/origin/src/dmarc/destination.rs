//! Whether the owner of an address agrees to receive another domain's reports (RFC 9990 §4).

use super::{
    record::{self, ReportAddress},
    walk::Walker,
};
use crate::dns::{Lookup, LookupError};

/// Returns the addresses for the aggregate reports of a domain that names `address`: that address, or
/// those that the owner of its domain wants instead; none if that owner does not agree.
///
/// Without this question, anyone could have the reports of a thousand receivers sent to a stranger.
///
/// # Errors
/// When DNS does not answer.
pub async fn report_destinations(
    dns: &dyn Lookup,
    policy_domain: &str,
    address: &ReportAddress,
) -> Result<Vec<ReportAddress>, LookupError> {
    let policy_domain = policy_domain.to_ascii_lowercase();
    let host = address.address.domain().to_ascii_lowercase();
    let mut walker = Walker::new(dns);
    if host == policy_domain
        || walker.walk(&host).await?.organization == walker.walk(&policy_domain).await?.organization
    {
        return Ok(vec![address.clone()]);
    }
    let name = format!("{policy_domain}._report._dmarc.{host}");
    if name.len() > 253 {
        return Ok(Vec::new());
    }
    let texts = match dns.txt(&name).await {
        Ok(texts) => texts,
        Err(LookupError::Nothing) => return Ok(Vec::new()),
        Err(LookupError::Temporary) => return Err(LookupError::Temporary),
    };
    let mut records = texts.iter().filter(|text| record::is_dmarc(text)).peekable();
    if records.peek().is_none() {
        return Ok(Vec::new());
    }
    let others: Vec<_> = records.filter_map(|text| record::tag(text, "rua")).collect();
    if others.is_empty() {
        return Ok(vec![address.clone()]);
    }
    // Only addresses at the same host are acceptable; if one is not, nothing is sent at all.
    let others: Vec<_> = others.into_iter().flat_map(record::mailboxes).collect();
    let are_there = others.iter().all(|other| other.address.domain().eq_ignore_ascii_case(&host));
    Ok(if are_there { others } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Zone, now_or_never};

    fn destinations(zone: &Zone, address: &str) -> String {
        let address = ReportAddress { address: address.parse().unwrap(), most: None };
        let found = report_destinations(zone, "blue.example.com", &address);
        let found = now_or_never(found).unwrap().unwrap();
        found.iter().map(|to| to.address.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn others_are_asked_whether_they_want_reports() {
        let zone = Zone::default()
            .with_txt("_dmarc.example.com", "v=DMARC1;p=none")
            .with_txt("blue.example.com._report._dmarc.red.example.net", "v=DMARC1")
            .with_txt(
                "blue.example.com._report._dmarc.other.test",
                "v=DMARC1; rua=mailto:b@other.test",
            )
            .with_txt(
                "blue.example.com._report._dmarc.far.test",
                "v=DMARC1; rua=mailto:b@victim.test",
            )
            .with_txt("blue.example.com._report._dmarc.odd.test", "p=none");
        for (address, expected) in [
            ("a@blue.example.com", "a@blue.example.com"),
            ("a@example.com", "a@example.com"),
            ("a@Red.Example.Net", "a@red.example.net"),
            ("a@other.test", "b@other.test"),
            ("a@far.test", ""),
            ("a@odd.test", ""),
            ("a@victim.test", ""),
        ] {
            assert_eq!(destinations(&zone, address), expected, "{address}");
        }
    }
}
