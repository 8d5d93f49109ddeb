//! The facts that a session knows of a message that has arrived completely: its envelope and its origin.

use super::SmtpHost;
use crate::{
    deliver::{Message, checked::Checked},
    directory::Recipient,
    limits::memory::{ContentMemory, Crowded, EnvelopeMemory},
    receive::content::{ContentFailure, Incoming},
};
use posta_mail::{
    Reply, ReversePath, Timestamp,
    envelope::{Body, Hold, MailParameters},
};
use posta_smtp::server::Mail;
use posta_store::Envelope;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

impl SmtpHost {
    /// Returns a message that has arrived completely, in the form for delivery.
    pub(super) fn message(
        &mut self,
        mail: Mail,
        recipients: &[Recipient],
        incoming: Incoming,
        checked: Option<Box<Checked>>,
    ) -> Message {
        let mut head = self.received(mail.parameters.utf8, &incoming, recipients);
        if let Some(checked) = &checked {
            // RFC 8601 §5: the field with the results goes above the fields that were received.
            head.insert_str(0, &checked.field(self.acceptor.hostname.as_str()));
        }
        head.insert_str(0, &incoming.signatures);
        let head = head.into_bytes();
        let (time, is_eight_bit) = (incoming.time, incoming.is_eight_bit);
        let Mail { reverse_path, mut parameters } = mail;
        let origin = self.origin(parameters.utf8);
        // Many clients request neither, and many request both for everything, so the content decides. A
        // server that accepts only ASCII would damage the one and refuse the other. The needs of the
        // addresses are determined when the message is sent on (RFC 6531 §3.2).
        parameters.utf8 &= incoming.needs_utf8();
        parameters.body = match parameters.body {
            Body::SevenBit if is_eight_bit => Body::EightBitMime,
            Body::EightBitMime if !is_eight_bit => Body::SevenBit,
            said => said,
        };
        let hold = parameters.hold.and_then(|hold| held_until(hold, time));
        let envelope = self.envelope(reverse_path, parameters, time);
        let refused = self.refused.take();
        let is_submitted = self.is_submission() || self.may_relay();
        let message = incoming.into_message(head, origin, envelope);
        Message { hold, refused, is_submitted, checked, ..message }
    }

    /// Returns the memory of a message that has come whole, to be held until it is delivered. Filters may take long: until
    /// they have answered, what is in memory is counted, and turns to write are not kept from others.
    ///
    /// # Errors
    /// The refusal for now, when too many messages wait for filters with a turn to write.
    pub(super) fn hold(
        &self,
        incoming: &mut Incoming,
        turn: Option<OwnedSemaphorePermit>,
        from_here: bool,
    ) -> Result<(ContentMemory, EnvelopeMemory), Reply> {
        let (content, header) = incoming.take_memory(turn);
        let is_submitted = self.is_submission() || self.may_relay() || from_here;
        let content = match self.acceptor.routing.filters.are_for(is_submitted) {
            true => self.acceptor.budget.keep(content, self.memory_owner()),
            false => Ok(content),
        };
        let content = content.map_err(|Crowded| ContentFailure::Crowded.reply())?;
        Ok((content, header))
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
        // RFC 6710 §4.1: a stranger cannot give its mail priority over others'.
        let stranger = self.account.is_none();
        let priority = priority.unwrap_or_default();
        let priority = if stranger { priority.min(0) } else { priority };
        Envelope { reverse_path, envelope_id, ret, body, utf8, require_tls, deadline, priority }
    }
}

/// Returns the time until which a message is held (RFC 4865 §4), unless that is over.
fn held_until(hold: Hold, now: Timestamp) -> Option<Timestamp> {
    let until = match hold {
        Hold::For(seconds) => now + Duration::from_secs(seconds.into()),
        Hold::Until(until) => until,
    };
    (until > now).then_some(until)
}
