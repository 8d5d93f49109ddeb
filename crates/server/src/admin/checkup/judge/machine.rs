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

/// The cure for a clock that nothing keeps right.
const KEEP_TIME: &str = "install chrony, or run `systemctl enable --now systemd-timesyncd`: signatures and certificates depend on \
                         the time";

/// The seconds by which a clock may differ from a time server's: the answer takes a moment to arrive.
const DIFFERENCE: u64 = 2;

pub(super) fn clock(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = Subject::Clock;
    let now = facts.machine.now.strftime("%Y-%m-%d %H:%M:%S UTC");
    findings.push(match (facts.machine.keeps_time, facts.machine.ahead) {
        (Some(true), _) => Finding::ok(subject, format!("synchronised by NTP: {now}")),
        (_, Some(ahead)) if ahead.unsigned_abs() > DIFFERENCE => {
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            let seconds = ahead.unsigned_abs();
            Finding::error(subject, format!("it is {seconds} seconds {way} a time server's; it shows {now}"))
                .cured_by(KEEP_TIME)
        }
        (Some(false), ahead) => {
            let right = ahead.map_or("", |_| ", but right");
            Finding::warning(subject, format!("it is not synchronised{right}; it shows {now}"))
                .cured_by(KEEP_TIME)
        }
        (None, Some(_)) => Finding::ok(subject, format!("it agrees with a time server's: {now}")),
        (None, None) => Finding::note(
            subject,
            format!(
                "not checked: neither timedatectl nor chronyc tells whether the clock is synchronised, and no time \
                 server answers; it shows {now}"
            ),
        ),
    });
}
