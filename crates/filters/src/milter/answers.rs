//! The filter's answers, and what follows from them. Part of the engine's state machine.

use super::{
    Milter, MilterError, Stage, State, negotiation,
    packet::{self, MilterResponse, Modification},
};
use crate::{
    changes::CHANGES,
    verdict::{FilterAction, FilterVerdict, one_line},
};
use posta_mail::Reply;

/// The maximal number of packets in a filter's answer at the end of a message, against one that never ends.
pub(super) const PACKETS: usize = 10 * CHANGES;

impl Milter {
    /// Takes an answer of the filter.
    pub(super) fn take(&mut self, letter: u8, data: &[u8], then: Stage, output: &mut Vec<u8>) {
        if self.stage == Stage::Negotiation {
            let chosen = match letter {
                b'O' => negotiation::chosen(data).map_err(MilterError::from),
                other => Err(MilterError::Unexpected(other.into(), self.stage)),
            };
            match chosen {
                Ok(steps) => {
                    self.steps = steps;
                    self.go_on(then);
                }
                Err(error) => self.end(Err(error), output),
            }
            return;
        }
        let unexpected = MilterError::Unexpected(letter.into(), self.stage);
        match packet::response(letter, data) {
            Some(MilterResponse::Continue) if self.stage == Stage::End => self.accept(output),
            Some(MilterResponse::Continue) => self.go_on(then),
            Some(MilterResponse::Accept) => self.accept(output),
            Some(MilterResponse::Progress) => self.count(output),
            Some(MilterResponse::Skip) if self.stage == Stage::Body => self.go_on(Stage::End),
            Some(MilterResponse::Discard) => {
                self.decide(FilterAction::Junk, "discard: it goes to Junk", output);
            }
            Some(MilterResponse::Refuse(reply)) if self.stage == Stage::Recipient => {
                self.refuse_recipient(reply, output);
            }
            Some(MilterResponse::Refuse(reply)) => self.refuse(reply, output),
            Some(MilterResponse::Modification(it)) if self.stage == Stage::End => {
                self.modify(it, output)
            }
            Some(MilterResponse::Skip | MilterResponse::Modification(_)) | None => {
                self.end(Err(unexpected), output);
            }
        }
    }

    fn refuse(&mut self, reply: Reply, output: &mut Vec<u8>) {
        let said = format!("refused: {reply}");
        self.decide(FilterAction::Refuse(reply), &said, output);
    }

    /// Records that a recipient is refused. If all are, the message is refused.
    fn refuse_recipient(&mut self, reply: Reply, output: &mut Vec<u8>) {
        // A sender that tries again may get another answer for each recipient.
        if reply.code.is_transient() || self.refused.len() + 1 == self.facts.recipients.len() {
            return self.refuse(reply, output);
        }
        self.refused.push((self.recipient - 1, reply));
        self.state = State::Sending;
    }

    fn modify(&mut self, modification: Modification, output: &mut Vec<u8>) {
        match modification {
            Modification::Add(field) => self.changes.added.push(field),
            Modification::Insert(field) => self.changes.added.insert(0, field),
            Modification::Edit(edit) => self.changes.edits.push(edit),
            Modification::Quarantine(reason) => self.quarantine = Some(one_line(&reason)),
            Modification::Ignored(words) => self.ignored.push(words),
        }
        self.count(output);
    }

    fn count(&mut self, output: &mut Vec<u8>) {
        self.packets += 1;
        let is_much = self.changes.are_too_many() || self.ignored.len() > CHANGES;
        if is_much || self.packets > PACKETS {
            self.end(Err(MilterError::TooMuch), output);
        }
    }

    /// Ends the conversation with a message that the filter accepts.
    fn accept(&mut self, output: &mut Vec<u8>) {
        let (action, said) = match self.quarantine.take() {
            Some(reason) => {
                let said = format!("quarantine: {reason}");
                (FilterAction::Quarantine(reason), said)
            }
            None => (FilterAction::Accept, "accepted".to_owned()),
        };
        let recipient = |at: usize| self.facts.recipients.get(at).cloned();
        let refused = std::mem::take(&mut self.refused).into_iter();
        let verdict = FilterVerdict {
            changes: std::mem::take(&mut self.changes),
            refused: refused.filter_map(|(at, reply)| Some((recipient(at)?, reply))).collect(),
            ignored: std::mem::take(&mut self.ignored),
            ..FilterVerdict::new(action, said)
        };
        self.end(Ok(verdict), output);
    }
}
