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
        readers => {
            Finding::ok(subject, format!("mail for postmaster reaches {}", super::listed(readers)))
        }
    });
}

pub(super) fn clock(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::Clock;
    let now = facts.machine.now.strftime("%Y-%m-%d %H:%M:%S UTC");
    findings.push(match facts.machine.keeps_time {
        Some(true) => Finding::ok(subject, format!("synchronised by NTP: {now}")),
        Some(false) => Finding::warning(subject, format!("it is not synchronised; it shows {now}"))
            .cured_by(
                "install chrony, or run `systemctl enable --now systemd-timesyncd`: signatures and certificates depend \
                 on the time",
            ),
        None => Finding::note(
            subject,
            format!(
                "not checked: neither timedatectl nor chronyc tells whether the clock is synchronised; it shows {now}"
            ),
        ),
    });
}
