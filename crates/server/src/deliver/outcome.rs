//! What becomes of a message's recipients, as its history and the report to its sender tell it.

use crate::directory::Recipient;
use posta_mail::{Address, MailId, Timestamp, envelope::Notify};
use posta_mime::dsn::Action;
use posta_smtp::client::Decision;
use posta_store::{Acceptance, Envelope, Event, Fate, Layout, Pending, What};

/// Writes the reports that senders asked for (RFC 3461); `reports` does it.
pub trait Reports: Send + Sync {
    /// Returns the report about these outcomes, addressed and ready for the store, and the event that tells of it in the
    /// message's history; none if the sender asked for none, or there is nobody to send it to. `until` is when a
    /// delayed message is given up.
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
    /// Its id.
    pub id: MailId,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// Its Message-ID field.
    pub message_id: Option<&'a str>,
    /// When it came.
    pub accepted: Timestamp,
    /// Where its octets lie.
    pub layout: Layout,
    /// Its head; none if the store has it.
    pub head: Option<&'a [u8]>,
    /// The first chunk of its content; none if the store has it.
    pub beginning: Option<&'a [u8]>,
}

/// What became of a recipient.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whom.
    pub address: Address,
    /// What the sender wanted to hear of.
    pub notify: Notify,
    /// Whom the sender named first.
    pub original: Option<String>,
    /// What became of it.
    pub action: Action,
    /// What decided that, if anything had to.
    pub decision: Option<Decision>,
    /// The other server that was talked to, if it came to that.
    pub host: Option<String>,
    /// Whether it failed because it had been tried for so long.
    pub is_given_up: bool,
}

impl Outcome {
    /// Returns what became of a recipient that is in its mailbox now, or went to several (RFC 3461
    /// §5.2.7).
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

    /// Returns what became of the copies of recipients' aliases that lead to nobody, each told of once.
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

/// What the history tells of copies that failed here; none if none did.
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
