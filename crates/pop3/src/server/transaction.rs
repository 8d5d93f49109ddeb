//! The TRANSACTION state: part of the server's state machine.

use super::{
    Listing, Maildrop, MessagePiece, Question, Server, State, Taken, Ticket, Unreadable,
    asked::{Marked, Proceeding, ReadingFrom},
    coded, err, ok,
    reading::Reading,
};
use crate::{
    command::{MaildropCommand, Pop3Command},
    view::View,
    words::Words,
};
use posta_mail::Step;
use std::io::Write as _;

/// Octets of a listing that are gathered before they are sent.
const LISTING_PIECE: usize = 16 * 1024;

impl<M: Maildrop> Server<M> {
    /// Goes on with a command of the TRANSACTION state, for which the login still holds.
    pub(super) fn granted(&mut self, proceeding: Proceeding<M>, output: &mut Vec<u8>) -> Taken<M> {
        let Proceeding { mut view, command } = proceeding;
        match command {
            Pop3Command::Quit => return self.quit(&mut view, output),
            Pop3Command::Maildrop(command) => return self.transaction(view, command, output),
            Pop3Command::Capa => {
                self.state = State::Transaction(view);
                self.capabilities(false, output);
            }
            Pop3Command::Lang(tag) => {
                self.state = State::Transaction(view);
                self.lang(tag.as_deref(), output);
            }
            Pop3Command::Login(_) => {
                self.state = State::Transaction(view);
                self.bad_command(self.words().before_login, output);
            }
        }
        None
    }

    fn transaction(
        &mut self,
        mut view: Box<View<M>>,
        command: MaildropCommand,
        output: &mut Vec<u8>,
    ) -> Taken<M> {
        let words = self.words();
        match command {
            MaildropCommand::Stat => {
                let _ = write!(output, "+OK {} {}\r\n", view.messages, view.octets);
            }
            MaildropCommand::List(None) => {
                count(&view, words, output);
                self.state = State::Listing(Listing { view, unique_ids: false, next: 0 });
                return None;
            }
            MaildropCommand::Uidl(None) => {
                ok(words.unique_ids, output);
                self.state = State::Listing(Listing { view, unique_ids: true, next: 0 });
                return None;
            }
            MaildropCommand::List(Some(number)) => match view.index(number) {
                Some(index) => {
                    let _ = write!(output, "+OK {number} {}\r\n", view.maildrop.octets(index));
                }
                None => err(words.no_such_message, output),
            },
            MaildropCommand::Uidl(Some(number)) => match view.index(number) {
                Some(index) => view.write_unique_id("+OK ", index, output),
                None => err(words.no_such_message, output),
            },
            MaildropCommand::Retr(number) => return self.read(view, number, None, output),
            MaildropCommand::Top(number, lines) => {
                return self.read(view, number, Some(lines), output);
            }
            MaildropCommand::Dele(number) => match view.index(number) {
                Some(index) => {
                    view.delete(index);
                    ok(words.marked, output);
                }
                None => err(words.no_such_message, output),
            },
            MaildropCommand::Noop => ok(words.here, output),
            MaildropCommand::Rset => {
                view.reset();
                count(&view, words, output);
            }
        }
        self.state = State::Transaction(view);
        None
    }

    fn read(
        &mut self,
        view: Box<View<M>>,
        number: u32,
        lines: Option<u64>,
        output: &mut Vec<u8>,
    ) -> Taken<M> {
        let Some(index) = view.index(number) else {
            err(self.words().no_such_message, output);
            self.state = State::Transaction(view);
            return None;
        };
        let reading = Reading::new(&view.maildrop, index, lines);
        if reading.has_nothing_to_read() {
            reading.write_status(self.words(), output);
            reading.finish(output);
            self.state = State::Transaction(view);
            return None;
        }
        Some(self.ask_for(ReadingFrom { view, reading }))
    }

    pub(super) fn ask_for(&mut self, from: ReadingFrom<M>) -> Step<'static, Question<M>> {
        let has_marks = from.view.has_marks();
        let (index, offset, whole) = from.reading.wanted();
        let question = Question::Read { index, offset, whole, ticket: Ticket::new(from) };
        self.ask_holding(has_marks, question)
    }

    pub(super) fn piece(
        &mut self,
        from: ReadingFrom<M>,
        piece: MessagePiece,
        output: &mut Vec<u8>,
    ) {
        let ReadingFrom { view, mut reading } = from;
        let (words, before) = (self.words(), output.len());
        let first = reading.is_at_start();
        let taken = piece.and_then(|content| {
            if first {
                reading.write_status(words, output);
            }
            let is_sound = reading.take(&content, output);
            if is_sound { Ok(()) } else { Err(Unreadable::ForNow) }
        });
        self.state = match taken {
            Ok(()) if reading.is_complete() => {
                reading.finish(output);
                State::Transaction(view)
            }
            Ok(()) => State::Reading(ReadingFrom { view, reading }),
            Err(why) => {
                output.truncate(before);
                match (first, why) {
                    // RFC 3206 §4: a person has to do something; asking again does not help. The session
                    // goes on, so that a client which fetches one message after the other gets past this
                    // one.
                    (true, Unreadable::Damaged) => coded("SYS/PERM", words.damaged, output),
                    (true, Unreadable::ForNow) => coded("SYS/TEMP", words.unreadable, output),
                    (false, Unreadable::Damaged | Unreadable::ForNow) => {}
                }
                if first { State::Transaction(view) } else { State::Closing }
            }
        };
    }

    fn quit(&mut self, view: &mut View<M>, output: &mut Vec<u8>) -> Taken<M> {
        let marked = view.take_marked();
        if marked.is_empty() {
            ok(self.words().bye, output);
            self.state = State::Closing;
            return None;
        }
        let ticket = Ticket::new(Marked(marked.len()));
        Some(self.ask_holding(true, Question::Update(marked, ticket)))
    }

    /// Appends lines of the listing until it ends or the output is worth sending.
    pub(super) fn list(&mut self, mut listing: Listing<M>, output: &mut Vec<u8>) -> Taken<M> {
        let Listing { view, unique_ids, next } = &mut listing;
        while *next < view.maildrop.len() {
            let index = *next;
            *next += 1;
            if view.is_deleted(index) {
                continue;
            }
            if *unique_ids {
                view.write_unique_id("", index, output);
            } else {
                let _ = write!(output, "{} {}\r\n", index + 1, view.maildrop.octets(index));
            }
            if output.len() >= LISTING_PIECE {
                self.state = State::Listing(listing);
                return Some(Step::Flush);
            }
        }
        output.extend_from_slice(b".\r\n");
        self.state = State::Transaction(listing.view);
        None
    }
}

/// Appends a status line with the number of messages that are not marked.
pub(super) fn count<M>(view: &View<M>, words: &Words, output: &mut Vec<u8>) {
    let View { messages, octets, .. } = view;
    let _ = write!(output, "+OK {messages} {} ({octets} {})\r\n", words.messages, words.octets);
}
