//! The fates of a message's recipients, for its history and for the report to its sender.

use crate::directory::Recipient;
use posta_mail::{Address, MailId, Timestamp, envelope::Notify};
use posta_mime::dsn::Action;
use posta_smtp::client::Decision;
use posta_store::{Acceptance, Envelope, Event, Fate, Layout, Pending, What};

/// Writes the reports that senders asked for (RFC 3461). The floor `reports` implements this.
pub trait Reports: Send + Sync {
    /// Returns the report about these outcomes, addressed and ready for the store, and the event about
    /// it for the message's history; none if the sender did not ask for a report, or there is no address
    /// to send it to. `until` is the time when a delayed message is given up.
    fn report<'a>(
        &'a self,
        about: About<'a>,
        outcomes: &'a [Outcome],
        until: Option<Timestamp>,
    ) -> Pending<'a, Option<(Acceptance, Event)>>;
}

/// The message that a report is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The message's id.
    pub id: MailId,
    /// The envelope.
    pub envelope: &'a Envelope,
    /// The value of the Message-ID field.
    pub message_id: Option<&'a str>,
    /// The time of acceptance.
    pub accepted: Timestamp,
    /// The layout of the content in the store.
    pub layout: Layout,
    /// The head; none if the store has it.
    pub head: Option<&'a [u8]>,
    /// The first chunk of the content; none if the store has it.
    pub beginning: Option<&'a [u8]>,
}

/// The fate of a recipient.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The recipient's address.
    pub address: Address,
    /// The events about which the sender wants a report.
    pub notify: Notify,
    /// The recipient as the sender first specified it.
    pub original: Option<String>,
    /// The fate.
    pub action: Action,
    /// The decision that caused the fate, if there was one.
    pub decision: Option<Decision>,
    /// The other server, if one was contacted.
    pub host: Option<String>,
    /// Whether delivery failed because the time for attempts ran out.
    pub is_given_up: bool,
}

impl Outcome {
    /// Returns the fate of a recipient whose message is in the mailbox now, or went to several addresses
    /// (RFC 3461 §5.2.7).
    pub(crate) fn arrived(recipient: &Recipient) -> Option<Self> {
        if recipient.resolved.accounts.is_empty() {
            return None;
        }
        let is_list = recipient.resolved.is_list();
        Some(Self {
            address: recipient.address.clone(),
            notify: recipient.notify,
            original: recipient.original.clone(),
            action: if is_list { Action::Expanded } else { Action::Delivered },
            decision: None,
            host: None,
            is_given_up: false,
        })
    }

    /// Returns the fates of copies for recipients' alias members that lead to nobody, each once.
    pub(crate) fn broken<'r>(recipients: impl Iterator<Item = &'r Recipient>) -> Vec<Self> {
        let mut outcomes: Vec<Self> = Vec::new();
        for recipient in recipients {
            for broken in &recipient.resolved.broken {
                let decision = Some(Decision::ours(broken.reply()));
                if outcomes.iter().any(|known| known.decision == decision) {
                    continue;
                }
                outcomes.push(Self {
                    address: broken.member.clone(),
                    notify: recipient.notify,
                    original: recipient.original.clone(),
                    action: Action::Failed,
                    decision,
                    host: None,
                    is_given_up: false,
                });
            }
        }
        outcomes
    }
}

/// Returns the event for the history about copies that failed here; none if none failed.
pub(crate) fn failed_here(id: MailId, time: Timestamp, failed: &[Outcome]) -> Option<Event> {
    let fate = |outcome: &Outcome| Fate {
        recipient: outcome.address.clone(),
        action: outcome.action.name().to_owned(),
        reply: outcome.decision.as_ref().map(Decision::to_string).unwrap_or_default(),
        ours: false,
    };
    let recipients: Vec<_> = failed.iter().map(fate).collect();
    let what = What::Attempted {
        destination: "local".to_owned(),
        host: None,
        tls: None,
        recipients,
        mailboxes: Vec::new(),
        next: None,
    };
    (!failed.is_empty()).then_some(Event { id, time, what })
}
