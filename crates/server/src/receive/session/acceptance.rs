//! What is kept of a message once it has come whole: its envelope, where it goes, what is told of it.

use super::SmtpHost;
use crate::{
    deliver::plan,
    directory::Recipient,
    receive::content::Incoming,
    reports::{self, About, Outcome},
};
use posta_mail::{
    ReversePath, Timestamp,
    envelope::{Body, Hold, MailParameters},
};
use posta_smtp::server::Mail;
use posta_store::{Acceptance, Envelope, Event, StoreError, What};
use std::time::Duration;

impl SmtpHost {
    /// All that is to be kept of a message.
    pub(super) async fn acceptance(
        &mut self,
        mail: Mail,
        recipients: Vec<Recipient>,
        incoming: Incoming,
        may_report: bool,
    ) -> Result<Acceptance, StoreError> {
        let (octets, added) = (incoming.octets(), incoming.added());
        let needs_utf8 = incoming.needs_utf8();
        let Incoming { id, time, chunks, rest, message_id, is_eight_bit, .. } = incoming;
        let (Mail { reverse_path, mut parameters }, collected) = (mail, None);
        let origin = self.origin(parameters.utf8);
        // Many a client says neither, and many say both with all that they send: the content tells. A
        // server that takes only ASCII would damage the one and refuse the other. What the addresses
        // need is seen when the message goes on (RFC 6531 §3.2).
        parameters.utf8 &= needs_utf8;
        parameters.body = match parameters.body {
            Body::SevenBit if is_eight_bit => Body::EightBitMime,
            Body::EightBitMime if !is_eight_bit => Body::SevenBit,
            said => said,
        };
        let hold = parameters.hold.and_then(|hold| held_until(hold, time));
        let envelope = self.envelope(reverse_path, parameters, time);
        let forwarder = self.acceptor.directory.forwarder(&envelope.reverse_path).await?;
        let message = plan::Message {
            id,
            time,
            octets,
            added,
            message_id: message_id.as_deref(),
            envelope: &envelope,
            forwarder: &forwarder,
            hold,
        };
        let (deliveries, items) = plan::split(message, &recipients);
        let mut reports = Vec::new();
        let what = What::Accepted {
            origin,
            from: envelope.reverse_path.clone(),
            to: recipients.iter().map(|recipient| recipient.address.clone()).collect(),
            message_id: message_id.clone(),
            octets,
            mailboxes: match hold {
                Some(_) => Vec::new(),
                None => plan::mailboxes(recipients.iter()),
            },
            refused: self.refused.take(),
        };
        let mut events = vec![Event { id, time, what }];
        // What is kept back goes to its mailboxes later, and is told of then.
        let mut outcomes = Outcome::broken(
            recipients.iter().filter(|to| hold.is_none() || to.resolved.accounts.is_empty()),
        );
        events.extend(reports::failed_here(id, time, &outcomes));
        if !deliveries.is_empty() && recipients.iter().any(|recipient| recipient.notify.success) {
            outcomes.extend(recipients.iter().filter_map(Outcome::arrived));
        }
        if may_report && !outcomes.is_empty() {
            let about = About {
                id,
                envelope: &envelope,
                message_id: message_id.as_deref(),
                accepted: time,
                octets,
                beginning: (chunks == 0).then_some(&rest[..]),
            };
            let report = self.acceptor.reporter.report(about, &outcomes, None).await?;
            if let Some((report, event)) = report {
                reports.push(report);
                events.push(event);
            }
        }
        Ok(Acceptance {
            id,
            time,
            chunks,
            rest,
            added,
            deliveries,
            items,
            events,
            reports,
            collected,
        })
    }

    fn envelope(
        &self,
        reverse_path: ReversePath,
        parameters: MailParameters,
        time: Timestamp,
    ) -> Envelope {
        let MailParameters { body, utf8, ret, envelope_id, require_tls, by, priority, .. } =
            parameters;
        let deadline = by.map(|by| {
            let at = Timestamp::from_second(time.as_second().saturating_add(by.seconds));
            (at.unwrap_or(Timestamp::MAX), by.late)
        });
        // RFC 6710 §4.1: a stranger's word does not put its mail before others'.
        let stranger = self.account.is_none();
        let priority = priority.unwrap_or_default();
        let priority = if stranger { priority.min(0) } else { priority };
        Envelope { reverse_path, envelope_id, ret, body, utf8, require_tls, deadline, priority }
    }
}

/// Returns until when a message is kept back (RFC 4865 §4), unless that is over.
fn held_until(hold: Hold, now: Timestamp) -> Option<Timestamp> {
    let until = match hold {
        Hold::For(seconds) => now + Duration::from_secs(seconds.into()),
        Hold::Until(until) => until,
    };
    (until > now).then_some(until)
}
