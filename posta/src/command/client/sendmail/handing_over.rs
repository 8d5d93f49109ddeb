//! Handing a message over to the server, by way of the spool.

use super::{
    Machine,
    arguments::Given,
    exit::{SendmailFailure, Sysexit},
};
use crate::wiring;
use anyhow::Context as _;
use nix::unistd::{Uid, User};
use posta_mail::{Address, Domain, MailId};
use posta_mime::local::{self, LocalLines};
use posta_net::clock::Clock as _;
use posta_server::{
    receive::spool::{RECIPIENTS, SpoolEnvelope, SpoolWriter},
    settings::LoopbackTrust,
};
use std::{
    io::{self, Read, Write},
    path::Path,
};

/// The octets that are read at a time.
const PIECE: usize = 64 * 1024;

/// The longest header section in octets whose recipients are read.
const HEADER: usize = 1024 * 1024;

/// Takes a message from standard input.
pub(super) fn hand_over(given: &Given, machine: &Machine) -> Result<(), SendmailFailure> {
    may_send(machine)?;
    let mut to = Vec::new();
    for list in &given.recipients {
        to.extend(addresses(list)?);
    }
    if to.is_empty() && !given.from_header {
        let words = "no recipients: name them, or give -t to take those of the header section";
        return Err(Sysexit::Usage.says(words));
    }
    let most = machine.config.limits.message_size.0;
    let mut message = Input::new(io::stdin().lock(), given.ends_at_dot, most);
    let end = message.read_header()?;
    if given.from_header {
        let named = local::recipients(&message.read[..end]);
        for recipient in named.map_err(|error| Sysexit::Data.says(error))? {
            check(&recipient)?;
            to.push(recipient);
        }
    }
    let envelope = envelope(given, unique(to)?)?;
    let id = new_id();
    let spool = &machine.spool;
    let failed = |error: io::Error| failure(error, spool);
    let mut writer = SpoolWriter::begin(spool, id, &envelope).map_err(failed)?;
    let mut may_have_more = true;
    while may_have_more {
        writer.write_all(&message.read).map_err(failed)?;
        message.read.clear();
        may_have_more = message.more()?;
    }
    writer.write_all(&message.read).map_err(failed)?;
    writer.complete().map_err(failed)
}

/// Checks whether the machine's server takes mail of this user.
pub(super) fn may_send(machine: &Machine) -> Result<(), SendmailFailure> {
    let trust = machine.config.submission.trust_loopback;
    if trust == LoopbackTrust::Nothing && !Uid::current().is_root() {
        return Err(Sysexit::NoPermission.says(
            "programs on this machine have to log in to send mail: submission.trust-loopback is false in the \
             server's configuration; `posta send --user NAME` logs in",
        ));
    }
    Ok(())
}

/// Returns the failure that an error of the spool means.
pub(super) fn failure(error: io::Error, spool: &Path) -> SendmailFailure {
    let (status, shown) = (Sysexit::of_spool(&error), spool.display());
    let cure = match status {
        Sysexit::Unavailable => {
            "the server makes it when it starts, and as root `install -d -m 3733 -o posta -g posta` does"
        }
        Sysexit::NoPermission => {
            "its mode has to be 3733, by which every user may put messages there"
        }
        _ => "try again later",
    };
    let words = format!("the message cannot be put into the spool {shown}: {cure}");
    SendmailFailure { status, error: anyhow::Error::new(error).context(words) }
}

/// Returns the name of this user, by which programs call the mailbox.
pub(super) fn user() -> (String, Option<String>) {
    let uid = Uid::current();
    let Ok(Some(User { name, gecos, .. })) = User::from_uid(uid) else {
        return (format!("user{uid}"), None);
    };
    // The first part of the field is the name, and `&` in it the login.
    let gecos = gecos.to_string_lossy();
    let full = gecos.split(',').next().unwrap_or_default().trim().replace('&', &name);
    (name, Some(full).filter(|full| !full.is_empty()))
}

fn envelope(given: &Given, to: Vec<String>) -> Result<SpoolEnvelope, SendmailFailure> {
    let (login, full) = user();
    let from = match given.sender.as_deref().map(str::trim) {
        None => login,
        Some("" | "<>") => String::new(),
        Some(sender) => match &addresses(sender)?[..] {
            [only] => only.clone(),
            _ => return Err(Sysexit::Usage.says(format!("-f {sender}: one address, or <>"))),
        },
    };
    let own = given.sender.is_none().then_some(full).flatten();
    Ok(SpoolEnvelope {
        from,
        full_name: given.full_name.clone().or(own),
        to,
        notify: given.notify,
        ret: given.ret,
        envelope_id: given.envelope_id.clone(),
    })
}

/// Returns the addresses of a list on the command line.
fn addresses(list: &str) -> Result<Vec<String>, SendmailFailure> {
    let places = local::mailboxes(list.as_bytes());
    let places = places.ok_or_else(|| Sysexit::NoUser.says(format!("{list:?} is no address")))?;
    let texts: Vec<_> = places.into_iter().map(|place| list[place].to_owned()).collect();
    texts.iter().try_for_each(|text| check(text))?;
    Ok(texts)
}

/// Checks that a text is an address, or can be the name of a user.
fn check(text: &str) -> Result<(), SendmailFailure> {
    let checked = match text.contains('@') {
        true => text.parse::<Address>().map(drop),
        false => "localhost".parse::<Domain>().and_then(|it| Address::new(text, &it)).map(drop),
    };
    let wrong = |error| Sysexit::NoUser.says(format!("{text:?} is no address: {error}"));
    checked.map_err(wrong)
}

/// Returns the recipients, each once.
fn unique(mut to: Vec<String>) -> Result<Vec<String>, SendmailFailure> {
    let mut seen = std::collections::HashSet::new();
    to.retain(|recipient| seen.insert(recipient.clone()));
    if to.is_empty() {
        return Err(Sysexit::Data.says("the header section names no recipients in To, Cc or Bcc"));
    }
    if to.len() > RECIPIENTS {
        let words = format!("more than {RECIPIENTS} recipients: send to fewer at a time");
        return Err(Sysexit::Data.says(words));
    }
    Ok(to)
}

/// A message as it is read, with CRLF as line ends.
struct Input<R> {
    input: R,
    /// What converts the line ends, until the end.
    lines: Option<LocalLines>,
    /// What was read and is not written yet.
    read: Vec<u8>,
    /// Whether the first line was looked at, which may be that of an mbox.
    is_begun: bool,
    octets: u64,
    most: u64,
}

impl<R: Read> Input<R> {
    fn new(input: R, ends_at_dot: bool, most: u64) -> Self {
        let lines = Some(LocalLines::new(ends_at_dot));
        Self { input, lines, read: Vec::new(), is_begun: false, octets: 0, most }
    }

    /// Reads a piece more. Returns whether there may be still more.
    fn more(&mut self) -> Result<bool, SendmailFailure> {
        let Some(mut lines) = self.lines.take() else { return Ok(false) };
        let before = self.read.len();
        let mut piece = vec![0; PIECE];
        let count = loop {
            match self.input.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.context("standard input cannot be read"),
            }
        };
        let count = count.map_err(|error| Sysexit::Io.with(error))?;
        lines.push(&piece[..count], &mut self.read);
        if count == 0 || lines.is_done() {
            lines.finish(&mut self.read);
        } else {
            self.lines = Some(lines);
        }
        self.octets += (self.read.len() - before) as u64;
        if self.octets > self.most {
            let words = format!(
                "the message has more than {} octets, the most that the server takes (limits.message-size)",
                self.most
            );
            return Err(Sysexit::Unavailable.says(words));
        }
        Ok(self.lines.is_some())
    }

    /// Reads the header section. Returns its octets.
    fn read_header(&mut self) -> Result<usize, SendmailFailure> {
        loop {
            let more = self.more()?;
            self.skip_mbox_line();
            if let Some(end) = local::header_end(&self.read) {
                return Ok(end);
            }
            if !more {
                return Ok(self.read.len());
            }
            if self.read.len() > HEADER {
                return Err(Sysexit::Data.says("the header section has more than 1 MiB"));
            }
        }
    }

    /// Removes the line `From …` with which mail programs separate messages in a file, and which is no field.
    fn skip_mbox_line(&mut self) {
        if self.is_begun {
            return;
        }
        let Some(end) = memchr::memmem::find(&self.read, b"\r\n") else { return };
        self.is_begun = true;
        if self.read.starts_with(b"From ") || self.read.starts_with(b">From ") {
            self.read.drain(..end + 2);
        }
    }
}

/// Returns a new name for a message in the spool.
pub(super) fn new_id() -> MailId {
    wiring::clock().mail_id()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Input<&[u8]> {
        Input::new(text.as_bytes(), true, 200_000)
    }

    #[test]
    fn a_message_is_read_once_and_whole() {
        let body = "x\n".repeat(60_000);
        let text = format!("From ana Mon\nTo: ana\nX: y\n\n{body}");
        let mut message = input(&text);
        assert_eq!(message.read_header().unwrap(), 15);
        assert!(message.read.starts_with(b"To: ana\r\nX: y\r\n\r\nx\r\n"));
        while message.more().unwrap() {}
        assert_eq!(message.read.len(), 17 + 3 * 60_000);
        let text = "x\n".repeat(100_000);
        let mut large = input(&text);
        let failure = loop {
            match large.more() {
                Ok(_) => {}
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure.status, Sysexit::Unavailable);
        assert_eq!(input("just words").read_header().unwrap(), 0);
        assert_eq!(input("").read_header().unwrap(), 0);
    }

    #[test]
    fn recipients_are_addresses_or_users() {
        for (list, found) in [
            ("ana@x.test,bob@y.test", Some(2)),
            ("Ana Pop <ana@x.test>", Some(1)),
            ("root", Some(1)),
            ("ana@", None),
            ("a b", None),
            ("<>", None),
        ] {
            let addresses = addresses(list);
            let status = addresses.as_ref().err().map(|failure| failure.status);
            assert_eq!(addresses.ok().map(|it| it.len()), found, "{list}");
            assert_eq!(status, found.is_none().then_some(Sysexit::NoUser), "{list}");
        }
        let many: Vec<_> = (0..=RECIPIENTS).map(|number| format!("a{number}")).collect();
        assert_eq!(unique(many).unwrap_err().status, Sysexit::Data);
        assert_eq!(unique(Vec::new()).unwrap_err().status, Sysexit::Data);
        assert_eq!(unique(vec!["a".to_owned(); 2]).unwrap(), ["a"]);
    }
}
