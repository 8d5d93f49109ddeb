//! A mail transaction as the client sees it, in as many rounds as the server's limits make of it.

use super::{Capabilities, Decision, Envelope, EnvelopeRecipient, Fate, Outcome};
use posta_mail::{
    ForwardPath, Reply, ReversePath,
    envelope::{Body, Late, MailParameters, Return},
};
use std::{collections::HashSet, io::Write as _};

/// Recipients named in one round, where the server says nothing: as many as every server must take
/// (RFC 5321 §4.5.3.1.8).
const RECIPIENTS: usize = 100;

/// A message on its way to this server.
#[derive(Debug)]
pub struct Transaction {
    pub(super) envelope: Envelope,
    /// Whether MAIL, RCPT and DATA leave together (PIPELINING).
    pub(super) pipelined: bool,
    /// Whether the content travels by BDAT.
    pub(super) chunked: bool,
    /// Whether the content is converted to ASCII.
    pub(super) converted: bool,
    /// Whether the content was asked for in this round.
    pub(super) has_content: bool,
    /// Whether the reply to a RSET comes before MAIL's.
    pub(super) resetting: bool,
    /// The number of replies read in this round: that to MAIL, those to each RCPT, that to DATA.
    pub(super) replies: usize,
    /// The recipients that this round names.
    round: Vec<usize>,
    /// The recipients of this round that were accepted and wait for the final reply.
    accepted: Vec<usize>,
    /// The recipients of this round that were too many for the server, with its replies.
    too_many: Vec<(usize, Reply)>,
    /// The decision about each recipient, as far as there is one.
    decided: Vec<Option<Decision>>,
}

impl Transaction {
    pub(super) fn new(envelope: Envelope, known: &Capabilities, converted: bool) -> Box<Self> {
        let mut transaction = Box::new(Self {
            pipelined: known.pipelining,
            // A BDAT's end cannot be mistaken for anything else, so nothing can be smuggled in behind it.
            chunked: known.chunking,
            converted,
            resetting: false,
            has_content: false,
            replies: 0,
            round: Vec::new(),
            accepted: Vec::new(),
            too_many: Vec::new(),
            decided: vec![None; envelope.recipients.len()],
            envelope,
        });
        transaction.next_round(known);
        transaction
    }

    /// Chooses the recipients of the next round from those that are open.
    pub(super) fn next_round(&mut self, known: &Capabilities) {
        let most = known.recipients_max.unwrap_or(RECIPIENTS);
        let domains = known.domains_max.unwrap_or(usize::MAX);
        let mut named = HashSet::new();
        self.round.clear();
        for (index, recipient) in self.envelope.recipients.iter().enumerate() {
            if self.decided[index].is_some() || self.round.len() >= most {
                continue;
            }
            if let (ForwardPath::Address(address), true) = (&recipient.path, domains < usize::MAX) {
                let domain = address.domain();
                if named.len() >= domains && !named.contains(domain) {
                    continue;
                }
                named.insert(domain);
            }
            self.round.push(index);
        }
        self.replies = 0;
        self.has_content = false;
        self.accepted.clear();
        self.too_many.clear();
    }

    /// Returns a recipient of this round by its number.
    pub(super) fn recipient(&self, number: usize) -> Option<&EnvelopeRecipient> {
        self.round.get(number).map(|&index| &self.envelope.recipients[index])
    }

    /// Returns the recipients of this round.
    pub(super) fn recipients(&self) -> impl Iterator<Item = &EnvelopeRecipient> {
        self.round.iter().map(|&index| &self.envelope.recipients[index])
    }

    /// Returns whether the replies to all RCPTs of this round were read.
    pub(super) fn has_all_recipients(&self) -> bool {
        self.replies > self.round.len()
    }

    /// Takes the reply to a RCPT of this round, by its number.
    pub(super) fn recipient_reply(&mut self, number: usize, reply: Reply) {
        let index = self.round[number];
        // RFC 5321 §4.5.3.1.10: the others go in another transaction, whether the server says 452 or, as it
        // was before 2001, 552.
        if reply.code.is_positive() {
            self.accepted.push(index);
        } else if matches!(reply.code.get(), 452 | 552) {
            self.too_many.push((index, reply));
        } else {
            self.decided[index].get_or_insert(Decision::answered(reply));
        }
        // Too many cannot be the reason where there are none.
        if number + 1 == self.round.len() && self.accepted.is_empty() {
            self.give_up_those_too_many();
        }
    }

    fn give_up_those_too_many(&mut self) {
        for (index, reply) in self.too_many.drain(..) {
            self.decided[index].get_or_insert(Decision::answered(reply));
        }
    }

    /// Returns whether any recipient of this round waits for content.
    pub(super) fn wants_content(&self) -> bool {
        self.accepted.iter().any(|&index| self.decided[index].is_none())
    }

    /// Returns what is known of each recipient if the session ends here, before or after all of the content
    /// was sent.
    pub(super) fn fates(&self, is_sent: bool) -> Vec<Fate> {
        let fate = |(index, decided): (usize, &Option<Decision>)| match decided {
            Some(decision) => Fate::Decided(decision.clone()),
            None if is_sent && self.accepted.contains(&index) => Fate::Unknown,
            None => Fate::Open,
        };
        self.decided.iter().enumerate().map(fate).collect()
    }

    /// Returns whether every recipient will be decided once this round is over.
    pub(super) fn is_last_round(&self) -> bool {
        let open = self.decided.iter().filter(|decided| decided.is_none()).count();
        open == self.accepted.len()
    }

    pub(super) fn is_decided(&self) -> bool {
        self.decided.iter().all(Option::is_some)
    }

    /// Lets the server's reply decide about all recipients that are open.
    pub(super) fn decide_all(&mut self, reply: &Reply) {
        for decided in &mut self.decided {
            decided.get_or_insert_with(|| Decision::answered(reply.clone()));
        }
    }

    /// Lets the server's reply decide about the recipients that were accepted in this round.
    pub(super) fn decide_round(&mut self, reply: &Reply) {
        for &index in &self.accepted {
            self.decided[index].get_or_insert_with(|| Decision::answered(reply.clone()));
        }
    }

    /// Lets LMTP's final reply decide about the next recipient that was accepted (RFC 2033 §4.2).
    pub(super) fn decide_next(&mut self, reply: Reply) {
        let open = self.accepted.iter().find(|&&index| self.decided[index].is_none());
        if let Some(&index) = open {
            self.decided[index] = Some(Decision::answered(reply));
        }
    }

    /// Ends a transaction for which the session allows no more rounds: what is open is tried in another
    /// session.
    pub(super) fn end(&mut self) {
        self.give_up_those_too_many();
        let words = "The server takes no more in one session";
        let ours = Decision::ours(Reply::new(451, (4, 5, 3), words));
        for decided in &mut self.decided {
            decided.get_or_insert_with(|| ours.clone());
        }
    }

    pub(super) fn outcome(self, known: &Capabilities) -> Outcome {
        let recipients = self.decided.into_iter().flatten().collect();
        Outcome { recipients, reports: known.dsn }
    }

    pub(super) fn write_mail(&self, known: &Capabilities, output: &mut Vec<u8>) {
        let envelope = &self.envelope;
        let _ = write!(output, "MAIL FROM:{}", envelope.reverse_path);
        let MailParameters {
            size, body, utf8, ret, envelope_id, require_tls, by, priority, ..
        } = &envelope.parameters;
        if let (Some(size), Some(_), false) = (size, known.size, self.converted) {
            let _ = write!(output, " SIZE={size}");
        }
        match body {
            _ if self.converted => {}
            Body::SevenBit => {}
            Body::EightBitMime => output.extend_from_slice(b" BODY=8BITMIME"),
            Body::BinaryMime => output.extend_from_slice(b" BODY=BINARYMIME"),
        }
        if *utf8 || !envelope.is_ascii() {
            output.extend_from_slice(b" SMTPUTF8");
        }
        if *require_tls {
            output.extend_from_slice(b" REQUIRETLS");
        }
        if known.dsn {
            if let Some(ret) = ret {
                let word = if *ret == Return::Full { "FULL" } else { "HDRS" };
                let _ = write!(output, " RET={word}");
            }
            if let Some(id) = envelope_id {
                let _ = write!(output, " ENVID={id}");
            }
        }
        if let (Some(by), true) = (by, known.deliver_by) {
            let mode = if by.late == Late::Return { 'R' } else { 'N' };
            let _ = write!(output, " BY={};{mode}", by.seconds);
        }
        if let (Some(priority), true) = (priority, known.priority) {
            let _ = write!(output, " MT-PRIORITY={priority}");
        }
        output.extend_from_slice(b"\r\n");
    }
}

pub(super) fn write_recipient(
    recipient: &EnvelopeRecipient,
    known: &Capabilities,
    output: &mut Vec<u8>,
) {
    let _ = write!(output, "RCPT TO:{}", recipient.path);
    if known.dsn {
        if let Some(notify) = recipient.parameters.notify {
            let _ = write!(output, " NOTIFY={notify}");
        }
        if let Some(original) = &recipient.parameters.original {
            let _ = write!(output, " ORCPT={original}");
        }
    }
    output.extend_from_slice(b"\r\n");
}

impl Envelope {
    /// Returns whether all addresses can travel without SMTPUTF8.
    pub(super) fn is_ascii(&self) -> bool {
        let recipient = |recipient: &EnvelopeRecipient| match &recipient.path {
            ForwardPath::Postmaster => true,
            ForwardPath::Address(address) => address.is_ascii(),
        };
        let sender = match &self.reverse_path {
            ReversePath::Null => true,
            ReversePath::Address(address) => address.is_ascii(),
        };
        sender && self.recipients.iter().all(recipient)
    }
}
