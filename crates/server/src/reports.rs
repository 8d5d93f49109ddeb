//! Reports to senders: what became of their messages (RFC 3461, RFC 3464).

pub mod tls;

use crate::{
    deliver::{
        outcome::{About, Outcome, Reports},
        report,
    },
    directory::Directory,
};
use posta_mail::{Domain, EnhancedStatus, ForwardPath, ReversePath, Timestamp, envelope::Return};
use posta_mime::{
    dsn::{self, Action, Reason, Report, Returned},
    header::header_section,
};
use posta_net::clock::Clock;
use posta_store::{Acceptance, Event, Pending, Store, StoreError, What};
use std::sync::Arc;

/// Octets of a message that a report of its failure brings back at most; of a longer one it brings the
/// header section (RFC 3461 §6.2: a limit is a server's own affair).
const RETURNED: u64 = 50 * 1024;

/// Local domains whose postmaster is looked for, where neither the sender's domain nor this server's
/// name has one.
const POSTMASTERS: usize = 3;

/// The subject of status codes that are about security (RFC 3463 §3.8).
const SECURITY: u16 = 7;

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

/// How a report tells of a recipient.
trait Told {
    /// Returns whether the sender asked to hear of it.
    fn is_wanted(&self) -> bool;
    /// Returns its status code.
    fn status(&self) -> EnhancedStatus;
    /// Returns the report's group of fields about it. `words` are those of the decision.
    fn told<'a>(&'a self, words: Option<&'a str>) -> dsn::Recipient<'a>;
    /// Returns the reason, in the words of whoever decided; what this server found is told without the codes of its making.
    fn reason<'a>(&'a self, words: Option<&'a str>) -> Option<Reason<'a>>;
}

impl Told for Outcome {
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
        let told = self.decision.as_ref().and_then(|decision| decision.reply.status);
        match told {
            // Security is the reason, however long it was waited for.
            Some(status) if !self.is_given_up || status.subject == SECURITY => {
                EnhancedStatus { class, ..status }
            }
            // RFC 3463 §3.5: the time for it is over.
            _ if self.is_given_up => EnhancedStatus { class, subject: 4, detail: 7 },
            _ => EnhancedStatus { class, subject: 0, detail: 0 },
        }
    }

    fn told<'a>(&'a self, words: Option<&'a str>) -> dsn::Recipient<'a> {
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
    /// The report that a sender wanted of these outcomes, and what is told of it; none if nothing
    /// was wanted, or there is nobody to send it to.
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
        // Of what was forwarded the one hears who sent it.
        let original = self.directory.original(to);
        let to = original.as_ref().unwrap_or(to);
        let resolved = self.directory.destination(to).await?;
        if resolved.is_nothing() {
            tracing::info!(%to, id = %about.id, "there is nobody to report to");
            return Ok(None);
        }
        let failed = wanted.iter().any(|outcome| outcome.action == Action::Failed);
        let words: Vec<_> = wanted
            .iter()
            .map(|outcome| outcome.decision.as_ref().map(ToString::to_string))
            .collect();
        let from = self.postmaster(to.domain()).await?;
        let beginning = self.beginning(about).await?;
        // RFC 8689 §5: what must be protected is not sent back, and the rest as it had to be sent.
        let is_whole = failed
            && about.envelope.ret != Some(Return::Headers)
            && !about.envelope.require_tls
            && about.octets <= RETURNED
            && beginning.len() as u64 >= about.octets;
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
                .map(|(outcome, words)| outcome.told(words.as_deref()))
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
        let report = report::Report { id, time, content, to, require_tls };
        Ok(Some((report::report(report, &resolved), event)))
    }

    /// Returns the address of a person who reads what is answered: the postmaster of a domain where that
    /// is ours, or of this server's name, or of one of its domains, whoever takes mail first.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn postmaster(&self, domain: &str) -> Result<String, StoreError> {
        let fallback = format!("postmaster@{}", self.hostname);
        // The server's name takes such mail even where it is no domain; not everybody can find it in DNS.
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

    /// Whether a stranger's mail for an address is taken here, at least later.
    async fn takes_mail(&self, address: &str) -> bool {
        let Ok(address) = address.parse() else { return false };
        let resolved = self.directory.resolve(&ForwardPath::Address(address), None, false).await;
        resolved.map_or_else(|refused| !refused.reply.code.is_permanent(), |_| true)
    }

    async fn beginning(&self, about: About<'_>) -> Result<Vec<u8>, StoreError> {
        match about.beginning {
            Some(beginning) => Ok(beginning.to_vec()),
            None => {
                match self.store.chunk(about.id, 0).await {
                    // There is nothing to bring back, and that is what has to be told.
                    Ok(None) | Err(StoreError::Damaged(_)) => Ok(Vec::new()),
                    chunk => Ok(chunk?.map(|chunk| chunk.to_vec()).unwrap_or_default()),
                }
            }
        }
    }
}
