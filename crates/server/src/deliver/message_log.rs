//! The log lines about messages: one for each accepted message, and one for each recipient to whom it
//! was delivered, who was refused, or who has to wait. The history contains the same and more
//! ([`What`]). A line is written after the history's transaction, so that it is true.
//!
//! A message that is accepted into local mailboxes is one line, however many recipients it has.

use crate::directory::Recipient;
use posta_mail::Address;
use posta_store::{Acceptance, Event, Origin, Refusal, Settlement, What};
use std::fmt::Write as _;

/// The maximal number of addresses in a line.
const NAMED: usize = 20;

/// A message that is about to be accepted: the content of its line, if messages are logged.
pub(crate) struct Arrival(Option<Box<ArrivalLine>>);

struct ArrivalLine {
    event: Event,
    delivered: String,
    queued: String,
    checks: String,
    reports: Vec<Event>,
}

impl Arrival {
    /// Prepares a message's line before the store takes the message.
    pub(crate) fn new(acceptance: &Acceptance, recipients: &str) -> Self {
        if !tracing::enabled!(tracing::Level::INFO) {
            return Self(None);
        }
        let mut events = acceptance.events.iter();
        // A held message reaches its mailboxes through the queue.
        let is_kept_back = acceptance.deliveries.is_empty();
        let delivered = if is_kept_back { String::new() } else { recipients.to_owned() };
        let waiting = acceptance.items.iter().flat_map(|item| &item.recipients);
        let queued = addresses(waiting.map(|waiting| &waiting.address));
        let event = events.next().cloned();
        let checks = checks(&acceptance.events);
        let others = events.filter(|event| !matches!(event.what, What::Checked { .. }));
        let reports = others.cloned().collect();
        Self(event.map(|event| Box::new(ArrivalLine { event, delivered, queued, checks, reports })))
    }

    /// Logs that the message was accepted.
    pub(crate) fn accepted(self) {
        let Some(line) = self.0 else { return };
        let ArrivalLine { event: Event { id, what, .. }, delivered, queued, checks, reports } =
            *line;
        let What::Accepted { origin, from, to, message_id, octets, refused, .. } = what else {
            return;
        };
        let Origin { client, hello, protocol, tls, account, .. } = &origin;
        tracing::info!(
            %id,
            %from,
            to = addresses(to.iter()),
            delivered = some(&delivered),
            queued = some(&queued),
            client = client.map(tracing::field::display),
            hello = some(hello),
            protocol,
            tls,
            account = account.as_ref().map(tracing::field::display),
            octets,
            checks = some(&checks),
            "message-id" = message_id,
            "accepted"
        );
        self::refused(&origin, &refused);
        reports.iter().for_each(follow_up);
    }
}

/// Returns the recipients that have a local mailbox, for [`Arrival::new`].
///
/// Nothing is assembled if messages are not logged.
pub(crate) fn at_home(recipients: &[Recipient]) -> String {
    if !tracing::enabled!(tracing::Level::INFO) {
        return String::new();
    }
    let has_mailbox = |recipient: &&Recipient| !recipient.resolved.accounts.is_empty();
    addresses(recipients.iter().filter(has_mailbox).map(|recipient| &recipient.address))
}

/// The lines about an attempt, prepared before it is settled.
pub(crate) struct Attempt(Vec<Event>);

impl Attempt {
    /// Prepares the lines about an attempt.
    pub(crate) fn new(settlement: &Settlement) -> Self {
        let is_told = tracing::enabled!(tracing::Level::INFO);
        Self(if is_told { settlement.events.clone() } else { Vec::new() })
    }

    /// Logs the result of the attempt.
    pub(crate) fn settled(self) {
        self.0.iter().for_each(follow_up);
    }
}

/// Logs an event that happened to a message after it was accepted.
pub(crate) fn follow_up(event: &Event) {
    let Event { id, what, .. } = event;
    match what {
        What::Attempted { host, tls, recipients, next, .. } => {
            for fate in recipients {
                let happened = match fate.action.as_str() {
                    "failed" => "failed",
                    "delayed" => "deferred",
                    _ => "delivered",
                };
                let next = next.filter(|_| happened == "deferred").map(|next| format!("{next:.0}"));
                let (to, reply) = (&fate.recipient, &fate.reply);
                tracing::info!(%id, %to, host, tls, reply, next, "{happened}");
            }
        }
        What::Reported { report, to, action } => {
            tracing::info!(%id, %to, %report, action, "reported");
        }
        _ => {}
    }
}

/// Logs a client's refusals. Logins are logged elsewhere, when they fail.
pub(crate) fn refused(origin: &Origin, refused: &[Refusal]) {
    let Origin { client, hello, account, .. } = origin;
    for Refusal { about, reply, times, .. } in refused.iter().filter(|refusal| !is_login(refusal)) {
        tracing::info!(
            client = client.map(tracing::field::display),
            hello = some(hello),
            account = account.as_ref().map(tracing::field::display),
            about,
            reply,
            times = Some(*times).filter(|&times| times > 1),
            "refused"
        );
    }
}

/// Returns whether a refusal is of a login, which is logged when it fails.
fn is_login(refusal: &Refusal) -> bool {
    let command = refusal.about.split(' ').next().unwrap_or_default();
    let others = ["[IN-USE]", "[LOGIN-DELAY]", "[SYS"];
    matches!(command, "AUTH" | "USER" | "APOP")
        && !others.iter().any(|other| refusal.reply.starts_with(other))
}

/// Returns some addresses, separated by commas, and the number of further ones.
fn addresses<'a>(addresses: impl Iterator<Item = &'a Address>) -> String {
    let mut text = String::new();
    let mut count = 0;
    for address in addresses {
        if count < NAMED {
            if count > 0 {
                text.push(',');
            }
            text.push_str(address.as_str());
        }
        count += 1;
    }
    if count > NAMED {
        // Writing to a string cannot fail.
        let _ = write!(text, ",+{}", count - NAMED);
    }
    text
}

/// Returns what the checks of the origin found, in few words: `spf=pass dkim=pass dmarc=pass`. Of several signatures, one
/// that passed counts.
fn checks(events: &[Event]) -> String {
    let results = events.iter().find_map(|event| match &event.what {
        What::Checked { results, .. } => Some(results),
        _ => None,
    });
    let mut text = String::new();
    for method in ["spf", "dkim", "dmarc", "arc"] {
        let mut of_method = results.into_iter().flatten().filter(|it| it.method == method);
        let first = of_method.next();
        let best = first.into_iter().chain(of_method).find(|it| it.result == "pass").or(first);
        if let Some(found) = best {
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{space}{method}={}", found.result);
        }
    }
    text
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::{MailId, Timestamp};
    use posta_store::CheckResult;

    #[test]
    fn checks_are_told_in_few_words() {
        let checked = |results: &[(&str, &str)]| {
            let result = |(method, result): &(&str, &str)| CheckResult {
                method: (*method).to_owned(),
                result: (*result).to_owned(),
                about: "x.test".to_owned(),
                reason: None,
            };
            let results = results.iter().map(result).collect();
            let (id, time) = (MailId::new(Timestamp::UNIX_EPOCH, 1), Timestamp::UNIX_EPOCH);
            checks(&[Event { id, time, what: What::Checked { results, decision: None } }])
        };
        let all = [
            ("iprev", "fail"),
            ("spf", "pass"),
            ("dkim", "fail"),
            ("dkim", "pass"),
            ("dmarc", "pass"),
        ];
        assert_eq!(checked(&all), "spf=pass dkim=pass dmarc=pass");
        let failed = [("dkim", "neutral"), ("dkim", "fail"), ("dmarc", "none"), ("arc", "fail")];
        assert_eq!(checked(&failed), "dkim=neutral dmarc=none arc=fail");
        assert_eq!((checked(&[]), checks(&[])), (String::new(), String::new()));
    }
}
