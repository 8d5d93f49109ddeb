//! Reports to senders: what became of their messages (RFC 3461, RFC 3464).

use crate::{
    clock::Clock,
    directory::{Directory, Recipient},
    dispatch,
};
use posta_mail::{
    Address, Domain, EnhancedStatus, MailId, Reply, ReversePath, Timestamp,
    dsn::{self, Action, Report},
    envelope::{Notify, Return},
};
use posta_store::{Acceptance, Envelope, Event, Store, StoreError, What};
use std::sync::Arc;

/// Octets of a message that a report brings back at most; of a longer one it brings the header
/// section (RFC 3461 §6.2: a limit is a server's own affair).
const RETURNED: u64 = 64 * 1024;

/// Writes reports.
#[derive(Clone)]
pub struct Reporter {
    /// The server's name for itself.
    pub hostname: Domain,
    /// Where messages are.
    pub store: Arc<dyn Store>,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// Whose mailbox an address means.
    pub directory: Directory,
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
    /// Octets of its content.
    pub octets: u64,
    /// How it begins: its first chunk; none to have it read if it is needed.
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
    /// In whose words.
    pub reply: Option<Reply>,
    /// The other server, if it said so.
    pub host: Option<String>,
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
            reply: None,
            host: None,
        })
    }

    fn is_wanted(&self) -> bool {
        match self.action {
            Action::Failed => self.notify.failure,
            Action::Delayed => self.notify.delay,
            Action::Delivered | Action::Expanded | Action::Relayed => self.notify.success,
        }
    }

    fn status(&self) -> EnhancedStatus {
        let class = match self.action {
            Action::Failed => 5,
            Action::Delayed => 4,
            _ => 2,
        };
        let told = self.reply.as_ref().and_then(|reply| reply.status);
        match told {
            // What was given up after transient refusals keeps their subject.
            Some(status) => EnhancedStatus { class, ..status },
            None => EnhancedStatus { class, subject: 0, detail: 0 },
        }
    }
}

impl Reporter {
    /// The report that a sender wanted of these outcomes, and what is told of it; none if nothing
    /// was wanted, or there is nobody to send it to.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn report(
        &self,
        about: About<'_>,
        outcomes: &[Outcome],
        until: Option<Timestamp>,
    ) -> Result<Option<(Acceptance, Event)>, StoreError> {
        // RFC 5321 §4.5.5: a report is never answered by a report.
        let ReversePath::Address(to) = &about.envelope.reverse_path else { return Ok(None) };
        let wanted: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_wanted()).collect();
        let Some(first) = wanted.first() else { return Ok(None) };
        // Of what was forwarded the one hears who sent it.
        let original = self.directory.original(to);
        let to = original.as_ref().unwrap_or(to);
        let resolved = self.directory.destination(to).await?;
        if resolved.is_nothing() {
            tracing::info!(%to, id = %about.id, "there is nobody to report to");
            return Ok(None);
        }
        let failed = wanted.iter().any(|outcome| outcome.action == Action::Failed);
        let replies: Vec<_> = wanted.iter().map(|outcome| outcome.reply.as_ref()).collect();
        let words: Vec<_> =
            replies.iter().map(|reply| reply.map(|reply| reply.to_string())).collect();
        let beginning = self.beginning(about).await?;
        // RFC 8689 §5: what must be protected is not sent back, and the rest as it had to be sent.
        let is_whole = failed
            && about.envelope.ret == Some(Return::Full)
            && !about.envelope.require_tls
            && about.octets <= RETURNED
            && beginning.len() as u64 >= about.octets;
        let (id, time) = (self.clock.mail_id(), self.clock.now());
        let report = Report {
            hostname: &self.hostname,
            id,
            time,
            to,
            envelope_id: about.envelope.envelope_id.as_deref(),
            message_id: about.message_id,
            arrived: about.accepted,
            until,
            recipients: wanted
                .iter()
                .zip(&words)
                .map(|(outcome, words)| dsn::Recipient {
                    address: &outcome.address,
                    original: outcome.original.as_deref(),
                    action: outcome.action,
                    status: outcome.status(),
                    reply: words.as_deref(),
                    host: outcome.host.as_deref(),
                })
                .collect(),
            message: if is_whole { &beginning } else { dsn::header_section(&beginning) },
            is_whole,
        };
        let event = Event {
            id: about.id,
            time,
            what: What::Reported {
                report: id,
                to: to.clone(),
                action: first.action.name().to_owned(),
            },
        };
        let (content, require_tls) = (report.write(), about.envelope.require_tls);
        let report = dispatch::Report { id, time, content, to, require_tls };
        Ok(Some((dispatch::report(report, &resolved), event)))
    }

    async fn beginning(&self, about: About<'_>) -> Result<Vec<u8>, StoreError> {
        match about.beginning {
            Some(beginning) => Ok(beginning.to_vec()),
            None => {
                let chunk = self.store.chunk(about.id, 0).await?;
                Ok(chunk.map(|chunk| chunk.to_vec()).unwrap_or_default())
            }
        }
    }
}
