//! A report on its way to the sender whom it is about: a message of this server's own, from nobody.

use super::{
    outcome::{Outcome, failed_here},
    plan::{self, Message},
};
use crate::directory::{Recipient, Resolved};
use posta_mail::{
    Address, MailId, ReversePath, ThreadId, Timestamp,
    crlf::lines_of,
    envelope::{Body, Notify},
};
use posta_store::{Acceptance, Envelope, Event, ItemState, Origin, What};

/// A report that was written.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// Its id.
    pub id: MailId,
    /// When it was written.
    pub time: Timestamp,
    /// The signatures that go above it: whole fields with their CRLF.
    pub head: String,
    /// The report as a whole message, header section first.
    pub content: Vec<u8>,
    /// Whom it is for.
    pub to: &'a Address,
    /// Whether it may never travel in plaintext.
    pub require_tls: bool,
}

/// A report on its way: from nobody, and nobody hears what becomes of it.
#[must_use]
pub fn report(report: Report<'_>, resolved: &Resolved) -> Acceptance {
    let Report { id, time, head, content, to, require_tls } = report;
    let envelope = Envelope {
        body: if content.is_ascii() { Body::SevenBit } else { Body::EightBitMime },
        utf8: !to.is_ascii(),
        require_tls,
        ..Envelope::from_sender(ReversePath::Null)
    };
    let octets = (head.len() + content.len()) as u64;
    let added = lines_of(&content).len() as u64 - content.len() as u64;
    let (message_id, hold) = (None, None);
    let forwarder = &envelope.reverse_path;
    let thread = ThreadId::of_message(&content).unwrap_or_else(|| ThreadId::alone(id));
    let state = ItemState::Waiting;
    let message = Message {
        id,
        time,
        octets,
        head: head.len() as u32,
        added,
        thread,
        message_id,
        envelope: &envelope,
        forwarder,
        hold,
        state,
    };
    let recipient = Recipient {
        address: to.clone(),
        resolved: resolved.clone(),
        notify: Notify::NEVER,
        original: None,
    };
    let recipients = [recipient];
    let (deliveries, items) = plan::split(message, &recipients);
    let what = What::Accepted {
        origin: Origin::default(),
        from: ReversePath::Null,
        to: vec![to.clone()],
        message_id: None,
        octets,
        mailboxes: plan::mailboxes(recipients.iter()),
        refused: Vec::new(),
    };
    let mut events = vec![Event { id, time, what }];
    // Nobody hears of a report's lost copies; the history does.
    events.extend(failed_here(id, time, &Outcome::broken(recipients.iter())));
    let (reports, records) = (Vec::new(), Vec::new());
    let (chunks, rest, collected) = (0, content, None);
    Acceptance {
        id,
        time,
        head: head.into_bytes(),
        chunks,
        rest,
        added,
        thread,
        deliveries,
        items,
        events,
        reports,
        collected,
        records,
    }
}
