//! `posta export`.

mod maildir;
mod mbox;

use super::{at_once::at_once, progress::TransferProgress};
use crate::{
    Place,
    fault::demand,
    operator::{self, SharedSession},
    output::{self, counted, say},
    runtime::block_on,
};
use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::{Args, Subcommand};
use maildir::MaildirTarget;
use mbox::MboxTarget;
use posta_server::admin::{
    FolderLine, FolderRequest, MailRequest, Request, Response, TransferLine, TransferRequest,
    TransferResponse,
};
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::runtime::Handle;

/// The most octets of a message that comes together with others.
const WHOLE: u64 = TransferRequest::OCTETS as u64 / 2;

/// Export mailboxes to files that other servers read, whether Posta's server runs or not.
///
/// An export that was interrupted goes on when it is run again, and one that is repeated writes only what is new.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write each mailbox as a Maildir++ with folders, flags, and unique-ids in dovecot-uidlist files, so that mail
    /// programs collect nothing twice from Dovecot: DIR/example.test/ana/Maildir.
    ///
    /// Example: posta export maildir /var/vmail --all
    Maildir(Arguments),
    /// Write each folder as an mbox (mboxrd): DIR/example.test/ana/INBOX.mbox.
    ///
    /// Flags are in the fields Status and X-Status, unique-ids in X-UIDL. Flags that changed after a message was
    /// written stay as they were.
    ///
    /// Example: posta export mbox /srv/backup ana@example.test
    Mbox(Arguments),
}

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The directory to write to; it is made if it does not exist.
    directory: PathBuf,
    /// The accounts' addresses.
    #[arg(value_name = "ACCOUNT", required_unless_present = "all", conflicts_with = "all")]
    accounts: Vec<String>,
    /// Export all accounts.
    #[arg(long)]
    all: bool,
}

/// Where the messages of one mailbox are written to.
trait Target {
    /// Begins a folder.
    fn begin(&mut self, folder: &FolderLine) -> Result<()>;

    /// Returns whether a message of the folder was written before, and brings its flags up to date.
    fn has(&mut self, line: &TransferLine) -> Result<bool>;

    /// Begins a message.
    fn begin_message(&mut self, line: &TransferLine) -> Result<()>;

    /// Takes a piece of its content.
    fn write(&mut self, content: &[u8]) -> io::Result<()>;

    /// Completes the message.
    fn end_message(&mut self) -> Result<()>;

    /// Gives up the message, of which a part was written.
    fn abandon(&mut self) -> Result<()>;

    /// Makes the complete messages durable.
    fn sync(&mut self) -> Result<()>;

    /// Ends the folder. Returns the number of messages that the files have.
    fn end(&mut self) -> Result<u64>;

    /// Returns what could not be written, in words.
    fn left_out(&mut self) -> Vec<String>;
}

/// Opens the target for a mailbox, whose directory is given.
type Open = fn(&Path) -> Result<Box<dyn Target>>;

pub(crate) fn run(command: Command) -> Result<()> {
    let (arguments, open): (_, Open) = match command {
        Command::Maildir(arguments) => {
            (arguments, |path| Ok(Box::new(MaildirTarget::open(&path.join("Maildir"))?)))
        }
        Command::Mbox(arguments) => (arguments, |path| Ok(Box::new(MboxTarget::open(path)?))),
    };
    let directory = std::path::absolute(&arguments.directory)?;
    let exported = block_on(async {
        let session = SharedSession::open(&arguments.place).await?;
        let lines = session.accounts().await?;
        let known = lines.into_iter().map(|line| line.address);
        let accounts = match arguments.all {
            true => known.collect(),
            false => wanted(arguments.accounts, known.collect())?,
        };
        let handle = Handle::current();
        let all = move || export_all(&session, &handle, accounts, (&directory, open));
        tokio::task::spawn_blocking(all).await?
    })?;
    tell(exported)
}

/// Returns the accounts that were named, in the form in which they are listed.
fn wanted(named: Vec<String>, known: Vec<String>) -> Result<Vec<String>> {
    let found = named.into_iter().map(|address| {
        let account = known.iter().find(|account| account.eq_ignore_ascii_case(&address));
        account.cloned().with_context(|| {
            format!("there is no account {address}; `posta account list` names those there are")
        })
    });
    let mut accounts = found.collect::<Result<Vec<_>>>()?;
    accounts.dedup();
    Ok(accounts)
}

/// What became of a mailbox's messages.
#[derive(Debug, Default)]
struct Exported {
    /// The messages of the mailbox.
    found: u64,
    /// Those that were written now.
    new: u64,
    /// Those that the files have.
    there: u64,
    left_out: Vec<String>,
}

fn export_all(
    session: &SharedSession,
    handle: &Handle,
    accounts: Vec<String>,
    (directory, open): (&Path, Open),
) -> Result<Vec<(String, PathBuf, Result<Exported>)>> {
    let (mut messages, mut octets) = (0, 0);
    let mut jobs = Vec::new();
    for address in accounts {
        let asking = Asking { session, handle, address: &address };
        let folders = asking.folders()?;
        messages += folders.iter().map(|folder| folder.messages).sum::<u64>();
        octets += folders.iter().map(|folder| folder.octets).sum::<u64>();
        jobs.push((address, folders));
    }
    let progress = TransferProgress::new(messages, octets);
    let exported = at_once(jobs, |(address, folders)| {
        let path = place_of(directory, &address);
        let asking = Asking { session, handle, address: &address };
        let exported =
            open(&path).and_then(|mut target| asking.export(folders, &mut *target, &progress));
        (address, path, exported)
    });
    progress.end();
    Ok(exported)
}

/// Returns the directory of a mailbox: DIR/DOMAIN/NAME. A name in an address may have any character.
fn place_of(directory: &Path, address: &str) -> PathBuf {
    let (name, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let safe = |part: &str| match part {
        "." | ".." => part.replace('.', "_"),
        part => part.replace(['/', '\0'], "_"),
    };
    directory.join(safe(domain)).join(safe(name))
}

/// A way to the server, for one account.
struct Asking<'a> {
    session: &'a SharedSession,
    handle: &'a Handle,
    address: &'a str,
}

impl Asking<'_> {
    fn ask(&self, request: Request) -> Result<Response> {
        self.handle.block_on(self.session.ask(request))
    }

    fn transfer(&self, request: TransferRequest) -> Result<TransferResponse> {
        let address = self.address.to_owned();
        match self.ask(Request::Transfer { address, request })? {
            Response::Transfer(response) => Ok(response),
            _ => bail!(operator::UNEXPECTED),
        }
    }

    fn folders(&self) -> Result<Vec<FolderLine>> {
        let address = self.address.to_owned();
        match self.ask(Request::Folder { address, request: FolderRequest::List })? {
            Response::Folders(lines) => Ok(lines),
            _ => bail!(operator::UNEXPECTED),
        }
    }

    /// Writes what the files do not have yet.
    fn export(
        &self,
        folders: Vec<FolderLine>,
        target: &mut dyn Target,
        progress: &TransferProgress,
    ) -> Result<Exported> {
        let mut exported = Exported::default();
        for folder in folders {
            let about = || format!("the folder {}", folder.name);
            self.folder(&folder, target, progress, &mut exported).with_context(about)?;
        }
        exported.left_out = target.left_out();
        Ok(exported)
    }

    fn folder(
        &self,
        folder: &FolderLine,
        target: &mut dyn Target,
        progress: &TransferProgress,
        exported: &mut Exported,
    ) -> Result<()> {
        target.begin(folder)?;
        let mut after = Some(0);
        while let Some(from) = after {
            let name = Some(folder.name.clone());
            let request = TransferRequest::List { folder: name, after: from };
            let TransferResponse::Messages { lines, next } = self.transfer(request)? else {
                bail!(operator::UNEXPECTED);
            };
            after = next;
            exported.found += lines.len() as u64;
            let mut missing = Vec::new();
            for line in lines {
                match target.has(&line)? {
                    true => progress.done(line.octets),
                    false => missing.push(line),
                }
            }
            for batch in batches(&missing) {
                exported.new += self.write(folder, batch, target, exported)?;
                batch.iter().for_each(|line| progress.done(line.octets));
            }
            target.sync()?;
        }
        exported.there += target.end()?;
        Ok(())
    }

    /// Writes messages, which come together, or a large one, which comes in pieces. Returns the number written.
    fn write(
        &self,
        folder: &FolderLine,
        lines: &[TransferLine],
        target: &mut dyn Target,
        exported: &mut Exported,
    ) -> Result<u64> {
        if let [line] = lines
            && line.kept > WHOLE
        {
            target.begin_message(line)?;
            return match self.write_pieces(folder, line, target) {
                Ok(()) => target.end_message().map(|()| 1),
                Err(error) => {
                    target.abandon()?;
                    Err(error)
                }
            };
        }
        let uids = lines.iter().map(|line| line.uid).collect();
        let request = TransferRequest::Read { folder: Some(folder.name.clone()), uids };
        let TransferResponse::Contents(contents) = self.transfer(request)? else {
            bail!(operator::UNEXPECTED);
        };
        let mut written = 0;
        for (line, content) in lines.iter().zip(contents) {
            let Some(content) = content else {
                // It was removed meanwhile.
                exported.found -= 1;
                continue;
            };
            target.begin_message(line)?;
            target.write(&content.0)?;
            target.end_message()?;
            written += 1;
        }
        Ok(written)
    }

    fn write_pieces(
        &self,
        folder: &FolderLine,
        line: &TransferLine,
        target: &mut dyn Target,
    ) -> Result<()> {
        let mut offset = Some(0);
        while let Some(from) = offset {
            let (address, name) = (self.address.to_owned(), Some(folder.name.clone()));
            let request = MailRequest::Read { uid: line.uid, offset: from };
            let response = self.ask(Request::Mail { address, folder: name, request })?;
            let Response::Piece { octets, next } = response else { bail!(operator::UNEXPECTED) };
            let octets = BASE64.decode(octets).context("the server's answer cannot be read")?;
            target.write(&octets)?;
            offset = next;
        }
        Ok(())
    }
}

/// Divides messages into batches that travel together.
fn batches(lines: &[TransferLine]) -> Vec<&[TransferLine]> {
    let (mut batches, mut start, mut octets) = (Vec::new(), 0, 0);
    for (at, line) in lines.iter().enumerate() {
        if at > start && octets + line.kept > TransferRequest::OCTETS as u64 {
            batches.push(&lines[start..at]);
            (start, octets) = (at, 0);
        }
        octets += line.kept;
    }
    if start < lines.len() {
        batches.push(&lines[start..]);
    }
    batches
}

fn tell(exported: Vec<(String, PathBuf, Result<Exported>)>) -> Result<()> {
    let (mut failed, mut missing, mut left_out) = (0, 0, 0);
    for (address, path, exported) in exported {
        let counts = match exported {
            Ok(counts) => counts,
            Err(error) => {
                output::complain(format_args!("{address}: {}", output::chain(&error)));
                failed += 1;
                continue;
            }
        };
        for words in &counts.left_out {
            output::complain(format_args!("{address}: left out {words}"));
        }
        left_out += counts.left_out.len();
        let (Exported { found, new, there, .. }, path) = (counts, path.display());
        let new = counted(new, "message");
        say!("wrote {new} of {address}; {path} has {there}, the mailbox {found}");
        missing += found.saturating_sub(there);
    }
    demand!(
        failed == 0,
        "export-incomplete",
        "not exported, or only in part: {failed} of the mailboxes; run this again"
    );
    demand!(
        missing == 0,
        "export-incomplete",
        "the files are not complete, {} short: run this again",
        counted(missing, "message")
    );
    demand!(left_out == 0, "export-incomplete", "something was left out, which is listed above");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_have_places_of_their_own() {
        for (address, place) in [
            ("ana@x.test", "/d/x.test/ana"),
            ("a/../b@x.test", "/d/x.test/a_.._b"),
            ("..@x.test", "/d/x.test/__"),
        ] {
            assert_eq!(place_of(Path::new("/d"), address), Path::new(place));
        }
    }
}
