//! Reports to senders about the fate of their messages (DSN: RFC 3461, RFC 3464), and reports to domains:
//! in [`tls`] about TLS (RFC 8460), in [`dmarc`] about mail in their name (RFC 9990). [`received`] reads what
//! other servers report. `certificates` warns the postmaster of certificates that cannot be renewed.
//!
//! `deliver` and `send` pass outcomes to a [`Reporter`]. If the sender wanted a report, they get back
//! one to queue in the same transaction. `posta-mime` writes the report's text.

pub(crate) mod certificates;
pub mod dmarc;
pub mod received;
pub mod tls;

use crate::{
    deliver::{
        outcome::{About, Outcome, Reports},
        report,
    },
    directory::{Directory, Resolved},
    sign::{outgoing::sign_whole, signers::Signers},
};
use posta_mail::{
    Domain, EnhancedStatus, ForwardPath, MailId, ReversePath, Timestamp, envelope::Return,
};
use posta_mime::{
    dsn::{self, Action, Reason, Report, Returned},
    header::header_section,
};
use posta_net::clock::Clock;
use posta_store::{Acceptance, Event, HEAD, Pending, Store, StoreError, What};
use std::sync::Arc;

/// The maximal size in octets of a message that a failure report includes. Of a larger message, the
/// report includes the header section only (RFC 3461 §6.2 leaves the limit to the server).
const RETURNED: u64 = 50 * 1024;

/// The maximal number of local domains that are searched for a postmaster, if neither the sender's
/// domain nor this server's name has one.
const POSTMASTERS: usize = 3;

/// The subject of status codes that are about security (RFC 3463 §3.8).
const SECURITY: u16 = 7;

/// Decides whether a sender gets a report, and assembles it.
#[derive(Clone)]
pub struct Reporter {
    /// The name of this server.
    pub hostname: Domain,
    /// The store, which holds the messages that reports include.
    pub store: Arc<dyn Store>,
    /// The source of time and message ids.
    pub clock: Arc<dyn Clock>,
    /// The directory, which knows where a report goes and who is postmaster.
    pub directory: Directory,
    /// The keys that sign reports.
    pub signers: Arc<Signers>,
}

/// An outcome that a report can describe.
trait Reported {
    /// Returns whether the sender asked for a report about this outcome.
    fn is_wanted(&self) -> bool;
    /// Returns the status code of the recipient.
    fn status(&self) -> EnhancedStatus;
    /// Returns the report's group of fields about the recipient. `words` is the text of the decision.
    fn recipient<'a>(&'a self, words: Option<&'a str>) -> dsn::Recipient<'a>;
    /// Returns the reason: the other server's reply word for word, or the finding of this server,
    /// without the status code that belongs to the finding.
    fn reason<'a>(&'a self, words: Option<&'a str>) -> Option<Reason<'a>>;
}

impl Reported for Outcome {
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
        let status = self.decision.as_ref().and_then(|decision| decision.reply.status);
        match status {
            // A security failure remains the reason, however long the message waited.
            Some(status) if !self.is_given_up || status.subject == SECURITY => {
                EnhancedStatus { class, ..status }
            }
            // RFC 3463 §3.5: the delivery time has expired.
            _ if self.is_given_up => EnhancedStatus { class, subject: 4, detail: 7 },
            _ => EnhancedStatus { class, subject: 0, detail: 0 },
        }
    }

    fn recipient<'a>(&'a self, words: Option<&'a str>) -> dsn::Recipient<'a> {
        dsn::Recipient {
            address: &self.address,
            original: self.original.as_deref(),
            action: self.action,
            status: self.status(),
            reason: self.reason(words),
            host: self.host.as_deref(),
            is_given_up: self.is_given_up,
        }
    }

    fn reason<'a>(&'a self, words: Option<&'a str>) -> Option<Reason<'a>> {
        let decision = self.decision.as_ref()?;
        match (decision.is_answer, words) {
            (true, Some(words)) => Some(Reason::Answered(words)),
            _ if decision.code().is_positive() => None,
            _ => Some(Reason::Found(&decision.reply.text)),
        }
    }
}

impl Reports for Reporter {
    fn report<'a>(
        &'a self,
        about: About<'a>,
        outcomes: &'a [Outcome],
        until: Option<Timestamp>,
    ) -> Pending<'a, Option<(Acceptance, Event)>> {
        Box::pin(self.write(about, outcomes, until))
    }
}

impl Reporter {
    /// Returns the report that the sender wanted about these outcomes, and the event for the history;
    /// `None` if no report was wanted, or if there is no address to send it to.
    ///
    /// # Errors
    /// When the store fails.
    async fn write(
        &self,
        about: About<'_>,
        outcomes: &[Outcome],
        until: Option<Timestamp>,
    ) -> Result<Option<(Acceptance, Event)>, StoreError> {
        // RFC 5321 §4.5.5: a report is never answered by a report.
        let ReversePath::Address(to) = &about.envelope.reverse_path else { return Ok(None) };
        let wanted: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_wanted()).collect();
        let Some(first) = wanted.first() else { return Ok(None) };
        // Bounces of forwarded mail go back to the original sender (SRS).
        let original = self.directory.original(to);
        let to = original.as_ref().unwrap_or(to);
        let resolved = self.directory.destination(to).await?;
        if resolved.is_nothing() {
            tracing::info!(%to, id = %about.id, "the sender's address does not exist: no report");
            return Ok(None);
        }
        let failed = wanted.iter().any(|outcome| outcome.action == Action::Failed);
        let words: Vec<_> = wanted
            .iter()
            .map(|outcome| outcome.decision.as_ref().map(ToString::to_string))
            .collect();
        let from = self.postmaster(to.domain()).await?;
        let beginning = self.beginning(about).await?;
        // RFC 8689 §5: a message with REQUIRETLS is not returned whole, and the report has REQUIRETLS as well.
        let is_whole = failed
            && about.envelope.ret != Some(Return::Headers)
            && !about.envelope.require_tls
            && about.layout.octets() <= RETURNED
            && beginning.len() as u64 >= about.layout.octets();
        let (id, time) = (self.clock.mail_id(), self.clock.now());
        let report = Report {
            hostname: &self.hostname,
            id,
            time,
            from: &from,
            to,
            envelope_id: about.envelope.envelope_id.as_deref(),
            message_id: about.message_id,
            arrived: about.accepted,
            until,
            recipients: wanted
                .iter()
                .zip(&words)
                .map(|(outcome, words)| outcome.recipient(words.as_deref()))
                .collect(),
            returned: match is_whole {
                true => Returned::Whole(&beginning),
                false => Returned::Header(header_section(&beginning)),
            },
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
        let head = self.sign(&content, &resolved, time).await;
        let report = report::Report { id, time, head, content, to, require_tls };
        Ok(Some((report::report(report, &resolved), event)))
    }

    /// Returns the signatures of a message of this server's own, where it leaves the server.
    pub(crate) async fn sign(&self, content: &[u8], resolved: &Resolved, now: Timestamp) -> String {
        match resolved.elsewhere.is_empty() {
            true => String::new(),
            false => sign_whole(content, &self.signers, now).await,
        }
    }

    /// Returns an address at which a person reads replies to a report: the postmaster of `domain` if
    /// that domain is local, otherwise of this server's name, otherwise of one of the local domains.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn postmaster(&self, domain: &str) -> Result<String, StoreError> {
        let fallback = format!("postmaster@{}", self.hostname);
        // The server accepts such mail for its own name even if that is not a local domain, but DNS may
        // not know the name.
        for domain in [domain, self.hostname.as_str()] {
            let candidate = format!("postmaster@{domain}");
            if self.store.is_local(domain).await? && self.takes_mail(&candidate).await {
                return Ok(candidate);
            }
        }
        for domain in self.store.domains().await?.into_iter().take(POSTMASTERS) {
            let candidate = format!("postmaster@{domain}");
            if self.takes_mail(&candidate).await {
                return Ok(candidate);
            }
        }
        Ok(fallback)
    }

    /// Returns whether a stranger's mail for an address is accepted here, now or later.
    async fn takes_mail(&self, address: &str) -> bool {
        let Ok(address) = address.parse() else { return false };
        let resolved = self.directory.resolve(&ForwardPath::Address(address), None, false).await;
        resolved.map_or_else(|refused| !refused.reply.code.is_permanent(), |_| true)
    }

    /// Returns the head and the first chunk of the message that the report is about; empty if the
    /// message cannot be read any more.
    async fn beginning(&self, about: About<'_>) -> Result<Vec<u8>, StoreError> {
        let mut beginning = match about.head {
            Some(head) => head.to_vec(),
            None if about.layout.has_own_head() => self.piece(about.id, HEAD).await?,
            None => Vec::new(),
        };
        match about.beginning {
            Some(chunk) => beginning.extend_from_slice(chunk),
            None => beginning.extend(self.piece(about.id, 0).await?),
        }
        Ok(beginning)
    }

    async fn piece(&self, id: MailId, index: u32) -> Result<Vec<u8>, StoreError> {
        match self.store.chunk(id, index).await {
            // The message is lost, and the report has to say so.
            Ok(None) | Err(StoreError::Damaged(_)) => Ok(Vec::new()),
            piece => Ok(piece?.map(|piece| piece.to_vec()).unwrap_or_default()),
        }
    }
}
