//! Judges where the domain's mail goes, and how its server is called.

use super::{found, lines, listed, wanted};
use crate::admin::checkup::{
    facts::{Facts, HostFacts},
    finding::{Finding, Subject},
    publish::record::{RecordData, RecordPurpose},
};
use posta_origin::iprev::IprevResult;
use std::net::IpAddr;

pub(super) fn exchangers(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::Mx;
    let setup = &facts.setup;
    let found = match found(subject, &facts.exchangers) {
        Ok(found) => found,
        Err(finding) => return findings.push(finding),
    };
    let records = wanted(facts, RecordPurpose::Mx);
    let mut hosts: Vec<_> = found.iter().collect();
    hosts.sort();
    let names: Vec<_> = hosts.iter().map(|(_, host)| host.as_str()).collect();
    let is_ours = |host: &str| {
        host == setup.hostname.as_str()
            || setup.policy.as_ref().is_some_and(|policy| policy.names(host))
            || shares_address(facts, host)
    };
    findings.push(match &names[..] {
        [] => Finding::error(subject, "no MX record: the domain's mail has no server")
            .cured_by_all(lines(&records)),
        [""] => {
            Finding::error(subject, "the record says that the domain accepts no mail (RFC 7505)")
                .cured_by_all(lines(&records))
        }
        names if !names.iter().any(|name| is_ours(name)) => Finding::error(
            subject,
            format!("mail goes to {}, not to {}", listed(names), setup.hostname),
        )
        .cured_by_all(lines(&records)),
        names => Finding::ok(subject, format!("mail goes to {}", listed(names))),
    });
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        let Some(HostFacts { addresses, alias, .. }) = facts.hosts.get(name) else { continue };
        if let Some(target) = alias {
            let says = format!("{name} is an alias of {target}, which MX records may not name");
            findings.push(Finding::warning(subject, says).cured_by(format!(
                "let the MX record name {target}, or give {name} the addresses themselves (RFC 2181 §10.3)"
            )));
        }
        if addresses.as_ref().is_ok_and(Vec::is_empty) && name != setup.hostname.as_str() {
            let says = format!("{name} has no address");
            findings.push(
                Finding::error(subject, says)
                    .cured_by(format!("add its addresses, or take {name} out of the MX records")),
            );
        }
    }
}

/// Returns whether a host has an address of ours.
fn shares_address(facts: &Facts, host: &str) -> bool {
    let Some(Ok(addresses)) = facts.hosts.get(host).map(|host| &host.addresses) else {
        return false;
    };
    let ours = facts.sending_addresses();
    addresses.iter().any(|address| ours.contains(address))
}

pub(super) fn addresses(facts: &Facts, findings: &mut Vec<Finding>) {
    let (subject, hostname) = (Subject::Address, &facts.setup.hostname);
    let Some(host) = facts.hosts.get(hostname.as_str()) else { return };
    let found = match found(subject, &host.addresses) {
        Ok(found) => found,
        Err(finding) => return findings.push(finding),
    };
    let records = wanted(facts, RecordPurpose::Address);
    let missing: Vec<_> = records
        .into_iter()
        .filter(|record| matches!(&record.data, RecordData::Address(it) if !found.contains(it)))
        .collect();
    if found.is_empty() {
        let finding = Finding::error(subject, format!("{hostname} has no address"));
        let finding = match missing.is_empty() {
            true => finding.cured_by(format!("add A and AAAA records of {hostname}")),
            false => finding.cured_by_all(lines(&missing)),
        };
        return findings.push(finding);
    }
    let ours = &facts.setup.addresses;
    let is_known = found.iter().any(|address| ours.contains(address));
    findings.push(if !missing.is_empty() {
        let says = format!("{hostname} has {}, and lacks addresses of this machine", listed(found));
        Finding::warning(subject, says).cured_by_all(lines(&missing))
    } else if ours.is_empty() || is_known {
        Finding::ok(subject, format!("{hostname} has {}", listed(found)))
    } else {
        Finding::warning(subject, format!("{hostname} has {}, not this machine's", listed(found)))
    });
    families(found, hostname.as_str(), findings);
}

/// Notes which family of addresses is not set up.
fn families(found: &[IpAddr], hostname: &str, findings: &mut Vec<Finding>) {
    if !found.iter().any(IpAddr::is_ipv4) {
        let says = format!("{hostname} has no IPv4 address: servers without IPv6 cannot send here");
        findings.push(Finding::warning(Subject::Address, says));
    }
    if !found.iter().any(IpAddr::is_ipv6) {
        let says =
            format!("{hostname} has no IPv6 address; if the machine has one, add an AAAA record");
        findings.push(Finding::note(Subject::Address, says));
    }
}

pub(super) fn reverse(facts: &Facts, findings: &mut Vec<Finding>) {
    let (subject, hostname) = (Subject::Ptr, &facts.setup.hostname);
    if facts.setup.smarthost.is_some() {
        return findings.push(Finding::note(
            subject,
            "not checked, because mail goes out through a smarthost",
        ));
    }
    if facts.reverse.is_empty() {
        let says = "not checked, because the addresses of outgoing mail are not known here";
        return findings.push(Finding::note(subject, says));
    }
    let mut right = Vec::new();
    for (address, names, iprev) in &facts.reverse {
        let cure = format!("ask whoever gave you {address} for a PTR record that says {hostname}");
        let finding = match (found(subject, names), iprev.result) {
            (Err(finding), _) => finding,
            (Ok([]), _) => Finding::error(
                subject,
                format!("{address} has no name, and many servers refuse its mail"),
            )
            .cured_by(cure),
            (Ok(names), IprevResult::Pass)
                if names.iter().any(|name| is_same(name, hostname.as_str())) =>
            {
                right.push(address);
                continue;
            }
            (Ok(names), IprevResult::Pass) => Finding::warning(
                subject,
                format!(
                    "{address} has the name {}, but the server greets as {hostname}",
                    listed(names)
                ),
            )
            .cured_by(cure)
            .cured_by("or set hostname to that name"),
            (Ok(_), IprevResult::TempError) => {
                super::unseen(subject, "DNS does not answer for a name of the address")
            }
            (Ok(names), IprevResult::Fail | IprevResult::PermError) => Finding::error(
                subject,
                format!("{address} has the name {}, which does not lead back to it", listed(names)),
            )
            .cured_by(cure),
        };
        findings.push(finding);
    }
    if !right.is_empty() {
        let lead = if right.len() == 1 { "leads" } else { "lead" };
        let says = format!("{} {lead} to {hostname} and back", listed(right));
        findings.push(Finding::ok(subject, says));
    }
}

fn is_same(name: &str, other: &str) -> bool {
    name.trim_end_matches('.').eq_ignore_ascii_case(other)
}

pub(super) fn services(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::Services;
    let (mut missing, mut wrong, mut right) = (Vec::new(), Vec::new(), Vec::new());
    for record in wanted(facts, RecordPurpose::Services) {
        let RecordData::Service(service) = &record.data else { continue };
        let label = record.name.split('.').next().unwrap_or_default().to_owned();
        match facts.services.get(&record.name) {
            None => {}
            Some(Err(why)) => return findings.push(super::unseen(subject, why)),
            Some(Ok(found)) if found.is_empty() => missing.push(record),
            Some(Ok(found)) => {
                let is_it =
                    found.iter().any(|it| (&it.host, it.port) == (&service.host, service.port));
                if is_it { right.push(label) } else { wrong.push(record) }
            }
        }
    }
    if !wrong.is_empty() {
        let says = "the records lead mail programs to other hosts or ports than this server's";
        findings.push(Finding::warning(subject, says).cured_by_all(lines(&wrong)));
    }
    if !missing.is_empty() {
        let says = "mail programs cannot find the server by themselves: records are missing";
        findings.push(Finding::note(subject, says).cured_by_all(lines(&missing)));
    }
    if missing.is_empty() && wrong.is_empty() && !right.is_empty() {
        findings.push(Finding::ok(subject, "mail programs find the server"));
    }
}
