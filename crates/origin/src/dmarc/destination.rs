//! Whether those want a domain's reports to whom it has them sent (RFC 9990 §4).

use super::{record, walk::Walker};
use crate::dns::{Lookup, LookupError};
use posta_mail::Address;

/// Returns where the aggregate reports for a domain go that asks for them to be sent to `address`: there, or where the
/// owner of that address's domain wants them instead; nowhere if that owner does not want them.
///
/// Without this question, anybody could have the reports of a thousand receivers sent to a stranger.
///
/// # Errors
/// Fails when DNS does not answer.
pub async fn report_destinations(
    dns: &dyn Lookup,
    policy_domain: &str,
    address: &Address,
) -> Result<Vec<Address>, LookupError> {
    let policy_domain = policy_domain.to_ascii_lowercase();
    let host = address.domain().to_ascii_lowercase();
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
    // Another address of the same host; where one is not, nothing is sent at all.
    let others: Vec<_> = others.into_iter().flat_map(record::mailboxes).collect();
    let are_there = others.iter().all(|other| other.domain().eq_ignore_ascii_case(&host));
    Ok(if are_there { others } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Zone, now_or_never};

    fn destinations(zone: &Zone, address: &str) -> String {
        let address = address.parse().unwrap();
        let found = report_destinations(zone, "blue.example.com", &address);
        let found = now_or_never(found).unwrap().unwrap();
        found.iter().map(Address::as_str).collect::<Vec<_>>().join(" ")
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
