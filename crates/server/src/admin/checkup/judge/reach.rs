//! Judges whether the server can be reached, and whether others want its mail.

use super::listed;
use crate::admin::checkup::{
    facts::{Facts, Listing, PortFacts, PortService},
    finding::{Finding, Severity, Subject},
};

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

pub(super) fn lists(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::BlockLists;
    let mut clean: Vec<&str> = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    for facts in &facts.lists {
        let list = facts.list.as_str();
        match &facts.outcome {
            Listing::Absent => clean.push(list),
            Listing::Listed(reason) => {
                let says = format!("{} is on {list}: {reason}", facts.address);
                findings.push(Finding::error(subject, says).cured_by(format!(
                    "find the reason, such as a stolen password (`posta queue list`), then ask for removal on the list's web site"
                )));
            }
            // The same for every address.
            Listing::Unknown(why) if !told.contains(&list) => {
                told.push(list);
                findings.push(Finding::note(subject, format!("{list} gives no answer: {why}")));
            }
            Listing::Unknown(_) => {}
        }
    }
    clean.dedup();
    if !clean.is_empty()
        && !findings.iter().any(|it| it.severity == Severity::Error && it.subject == subject)
    {
        findings.push(Finding::ok(subject, format!("not on {}", listed(clean))));
    }
}
