//! Judges whether the server can be reached, and whether others want its mail.

use super::listed;
use crate::admin::checkup::{
    facts::{Facts, ListFacts, Listing, PortFacts, PortService},
    finding::{Finding, Severity, Subject},
};
use std::collections::BTreeMap;

pub(super) fn ports(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::Ports;
    let mut answered = Vec::new();
    for PortFacts { service, address, port, outcome } in &facts.ports {
        let name = service.name();
        match outcome {
            Ok(greeting) if is_ours(facts, *service, greeting) => answered.push(format!("{port}")),
            Ok(greeting) => findings.push(Finding::warning(
                subject,
                format!("{address} port {port} ({name}) greets with {greeting:?}: another server?"),
            )),
            Err(why) => {
                // A router need not lead its own public address back to the inside.
                let is_sure = facts.setup.addresses.contains(address);
                let severity = match service {
                    PortService::Smtp if is_sure => Severity::Error,
                    _ => Severity::Warning,
                };
                let says =
                    format!("{address} port {port} ({name}) cannot be reached from here: {why}");
                findings.push(Finding::new(subject, severity, says).cured_by(
                    "is the server running, and does a firewall or the provider let this port through?",
                ));
            }
        }
    }
    answered.dedup();
    if facts.ports.is_empty() {
        let says = "not tried: the server has no address in DNS, or they were left out";
        findings.push(Finding::note(subject, says));
    }
    if !answered.is_empty() {
        findings.push(Finding::ok(subject, format!("reachable from here: {}", listed(answered))));
    }
}

/// Returns whether a greeting is that of this server.
fn is_ours(facts: &Facts, service: PortService, greeting: &str) -> bool {
    let is_mail = matches!(service, PortService::Smtp);
    match service {
        PortService::Https => true,
        _ if greeting.starts_with("+OK") => !is_mail,
        _ => greeting.starts_with("220") && greeting.contains(facts.setup.hostname.as_str()),
    }
}

pub(super) fn outgoing(facts: &Facts, findings: &mut Vec<Finding>) {
    let (subject, setup) = (Subject::Ports, &facts.setup);
    let Some((server, outcome)) = &facts.outgoing else { return };
    findings.push(match (outcome, &setup.smarthost) {
        (Ok(_), _) => Finding::ok(subject, format!("port 25 of {server} answers: mail can leave")),
        (Err(why), Some(_)) => Finding::note(
            subject,
            format!("port 25 of {server} cannot be reached ({why}); mail goes out through the smarthost"),
        ),
        (Err(why), None) => {
            Finding::error(subject, format!("port 25 of {server} cannot be reached: {why}")).cured_by(
                "ask the provider to open outgoing port 25, or send through a smarthost (relay.smarthost)",
            )
        }
    });
}

pub(super) fn lists(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::BlockLists;
    let (mut listed_on, mut clean) = (Vec::new(), Vec::new());
    let mut silent: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ListFacts { list, address, outcome } in &facts.lists {
        match outcome {
            Listing::Absent => clean.push(list.as_str()),
            Listing::Listed(reason) => {
                listed_on.push(list.as_str());
                let says = format!("{address} is on {list}: {reason}");
                findings.push(Finding::error(subject, says).cured_by(format!(
                    "find the reason, such as a stolen password (`posta queue list`), then ask for removal on the web \
                     site of {list}"
                )));
            }
            Listing::Unknown(why) => silent.entry(why).or_default().push(list),
        }
    }
    for (why, mut lists) in silent {
        // Each list is asked about every address.
        lists.dedup();
        findings.push(Finding::note(subject, format!("{}: {why}", listed(lists))));
    }
    clean.retain(|list| !listed_on.contains(list));
    clean.dedup();
    if !clean.is_empty() {
        findings.push(Finding::ok(subject, format!("not on {}", listed(clean))));
    }
}
