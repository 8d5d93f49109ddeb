//! Judges what the machine knows of itself.

use crate::admin::checkup::{
    facts::Facts,
    finding::{Finding, Subject},
};

pub(super) fn postmaster(facts: &Facts, findings: &mut Vec<Finding>) {
    let (subject, domain) = (Subject::Postmaster, &facts.setup.domain);
    findings.push(match &facts.machine.postmaster[..] {
        // RFC 5321 §4.5.1.
        [] => Finding::error(subject, format!("nobody reads mail for postmaster@{domain}"))
            .cured_by(format!("posta domain add {domain} --postmaster ADDRESS")),
        readers => Finding::ok(subject, format!("read by {}", super::listed(readers))),
    });
}

pub(super) fn clock(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::Clock;
    let now = facts.machine.now.strftime("%Y-%m-%d %H:%M:%S UTC");
    findings.push(match facts.machine.keeps_time {
        Some(true) => Finding::ok(subject, format!("kept right by NTP: {now}")),
        Some(false) => Finding::warning(subject, format!("nothing keeps it right: it says {now}"))
            .cured_by(
                "apt install chrony, or systemctl enable --now systemd-timesyncd: signatures and certificates \
                 have times",
            ),
        None => Finding::note(
            subject,
            format!("it says {now}; whether something keeps it right cannot be seen here"),
        ),
    });
}
