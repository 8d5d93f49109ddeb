//! `sendmail -bs`: an SMTP server on standard input and output, whose messages go into the spool.

use super::{
    Machine,
    exit::{SendmailFailure, Sysexit},
    handing_over,
};
use crate::runtime::block_on;
use anyhow::Context as _;
use posta_mail::{
    ForwardPath, MailId, Reply, ReversePath,
    envelope::{Notify, Return},
};
use posta_net::{
    driver::{Driver, Host},
    transport::Stream,
};
use posta_server::receive::spool::{RECIPIENTS, SpoolEnvelope, SpoolWriter};
use posta_smtp::server::{self as smtp, Limits, Profile, Server, Service};
use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    thread,
};

/// The octets that are passed on at a time.
const PIECE: usize = 16 * 1024;

/// Speaks SMTP until the other side ends the session.
pub(super) fn speak(machine: &Machine) -> Result<(), SendmailFailure> {
    handing_over::may_send(machine)?;
    let config = &machine.config;
    let limits = Limits::new(config.limits.recipients.min(RECIPIENTS), 0);
    let size = config.limits.message_size.0;
    let profile = Profile::new(config.hostname(), Service::Submission, size, limits);
    let host = SpoolHost { spool: machine.spool.clone(), message: None };
    let spoken = run(Server::new(Arc::new(profile)), host);
    spoken.map_err(|error| Sysexit::Io.with(error))
}

/// Runs a session. Two threads pass octets on between standard input and output and the session, since whatever these are
/// (files, pipes, terminals), threads can wait for them.
fn run(mut engine: Server, mut host: SpoolHost) -> anyhow::Result<()> {
    let (ours, theirs) = UnixStream::pair().context("the session cannot begin")?;
    let (incoming, outgoing) = (theirs.try_clone()?, theirs);
    // It may wait for input that never comes, and ends with the program.
    thread::spawn(move || pass(io::stdin(), &incoming, Shutdown::Write, &incoming));
    let answers = thread::spawn({
        let outgoing = outgoing.try_clone()?;
        move || pass(&outgoing, io::stdout(), Shutdown::Read, &outgoing)
    });
    ours.set_nonblocking(true)?;
    block_on(async {
        let stream = tokio::net::UnixStream::from_std(ours)?;
        Driver::unstoppable().drive(Box::new(stream), &mut engine, &mut host).await?;
        Ok(())
    })?;
    let answered = answers.join().unwrap_or_else(|_| Err(io::Error::other("the thread died")));
    answered.context("standard output cannot be written")
}

/// Passes octets on until their end, and then closes the socket in this direction.
fn pass(
    mut from: impl Read,
    mut to: impl Write,
    end: Shutdown,
    socket: &UnixStream,
) -> io::Result<()> {
    let mut piece = [0; PIECE];
    loop {
        let count = match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // The session has ended while there was more to say.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            read => read?,
        };
        if count == 0 {
            let _ = socket.shutdown(end);
            return Ok(());
        }
        to.write_all(&piece[..count])?;
        to.flush()?;
    }
}

/// The message of a transaction.
struct SessionMessage {
    envelope: SpoolEnvelope,
    /// Where the content goes, once it comes.
    writer: Option<(MailId, SpoolWriter)>,
    failed: Option<io::Error>,
}

/// The host of the session.
struct SpoolHost {
    spool: PathBuf,
    message: Option<SessionMessage>,
}

impl SpoolHost {
    fn mail(&mut self, mail: smtp::Mail) -> smtp::Verdict {
        let parameters = &mail.parameters;
        // The spool has no place for these, and to ignore them would break a promise.
        if parameters.require_tls || parameters.by.is_some() || parameters.hold.is_some() {
            let words = "REQUIRETLS, BY and HOLDFOR are for the server itself: connect to it";
            return Err(Reply::new(555, (5, 5, 4), words));
        }
        let from = match mail.reverse_path {
            ReversePath::Null => String::new(),
            ReversePath::Address(address) => address.to_string(),
        };
        let ret: Option<Return> = mail.parameters.ret;
        let (_, full_name) = handing_over::user();
        let envelope = SpoolEnvelope {
            from,
            full_name,
            ret,
            envelope_id: mail.parameters.envelope_id,
            ..SpoolEnvelope::default()
        };
        self.message = Some(SessionMessage { envelope, writer: None, failed: None });
        Ok(())
    }

    fn recipient(&mut self, recipient: smtp::EnvelopeRecipient) -> smtp::Verdict {
        let Some(message) = &mut self.message else { return Err(no_transaction()) };
        let to = match recipient.path {
            ForwardPath::Postmaster => "postmaster".to_owned(),
            ForwardPath::Address(address) => address.to_string(),
        };
        let wanted: Option<Notify> = recipient.parameters.notify;
        let is_first = message.envelope.to.is_empty();
        // The spool has one wish for all recipients.
        message.envelope.notify = match (message.envelope.notify, wanted) {
            (_, wanted) if is_first => wanted,
            (before, wanted) if before == wanted => before,
            (before, wanted) => Some(either(before, wanted)),
        };
        message.envelope.to.push(to);
        Ok(())
    }

    fn begin(&mut self) -> smtp::Verdict {
        let Some(message) = &mut self.message else { return Err(no_transaction()) };
        let id = handing_over::new_id();
        let begun = SpoolWriter::begin(&self.spool, id, &message.envelope);
        message.writer = Some((id, begun.map_err(|error| failed(&error))?));
        Ok(())
    }

    fn commit(&mut self) -> smtp::Commitment {
        let Some(message) = self.message.take() else { return Err(no_transaction()) };
        let Some((id, writer)) = message.writer else { return Err(no_transaction()) };
        let ended = match message.failed {
            Some(error) => Err(error),
            None => writer.complete(),
        };
        ended.map(|()| smtp::Committed::whole(id)).map_err(|error| failed(&error))
    }
}

/// Returns the events that one of two recipients' wishes includes.
fn either(one: Option<Notify>, other: Option<Notify>) -> Notify {
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    Notify {
        success: one.success || other.success,
        failure: one.failure || other.failure,
        delay: one.delay || other.delay,
    }
}

fn failed(error: &io::Error) -> Reply {
    Reply::new(451, (4, 3, 0), format!("The message cannot be put into the spool: {error}"))
}

fn no_transaction() -> Reply {
    Reply::new(451, (4, 3, 0), "There is no transaction")
}

impl Host<Server> for SpoolHost {
    async fn answer(&mut self, question: smtp::Question) -> smtp::Answer {
        let no = || Reply::new(502, (5, 5, 1), "Not on standard input");
        match question {
            smtp::Question::SpokeEarly(ticket) => ticket.answer(Ok(())),
            smtp::Question::Hello(_, ticket) => {
                self.message = None;
                ticket.answer(Ok(()))
            }
            smtp::Question::Authenticate(_, ticket) => ticket.answer(Err(no())),
            smtp::Question::BrokenOff(ticket) => ticket.answer(()),
            smtp::Question::Mail(mail, ticket) => ticket.answer(self.mail(mail)),
            smtp::Question::Recipient(recipient, ticket) => {
                ticket.answer(self.recipient(recipient))
            }
            smtp::Question::Verify(_, ticket) => ticket.answer(Err(no())),
            smtp::Question::Forwarded(_, ticket) => ticket.answer(Err(no())),
            smtp::Question::Content(ticket) => ticket.answer(self.begin()),
            smtp::Question::Commit(ticket) => ticket.answer(self.commit()),
            smtp::Question::Abandon(ticket) => {
                self.message = None;
                ticket.answer(())
            }
        }
    }

    async fn content(&mut self, content: &[u8]) {
        if let Some(SessionMessage { writer: Some((_, writer)), failed, .. }) = &mut self.message
            && failed.is_none()
        {
            *failed = writer.write_all(content).err();
        }
    }

    async fn secure(&mut self, _: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
