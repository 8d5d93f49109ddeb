//! Files that fetched messages are written to: Maildir, mbox and standard output. Lines end in LF, as the
//! programs that read such files expect.

use super::local_text::{FromQuoting, LfLines};
use crate::wiring;
use anyhow::{Context, Result};
use posta_mail::trace;
use posta_net::clock::Clock;
use posta_server::collect::plain_files::{self, OpenDirectory};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

/// The sender in the line before each message of an mbox. The true one is not known until the message has come.
const SENDER: &str = "MAILER-DAEMON";

/// The name of standard output among targets.
const STDOUT: &str = "stdout";

/// A target for messages, which are written one after another.
pub(crate) struct Files {
    kind: Kind,
    lines: LfLines,
    name: String,
}

enum Kind {
    Maildir {
        folders: Folders,
        prefix: String,
        written: u64,
        open: Option<(BufWriter<File>, String)>,
    },
    Mbox {
        output: Box<dyn Mbox>,
        quoting: FromQuoting,
        /// The offset at which the current message begins.
        start: Option<u64>,
        /// The line before the current message, until the message comes: the server may refuse it, and what is printed
        /// cannot be taken back.
        heading: Option<String>,
    },
}

/// The folders of a Maildir that this program writes to.
struct Folders {
    tmp: OpenDirectory,
    new: OpenDirectory,
}

/// What an mbox can be written to: a file or standard output.
trait Mbox: Write + Send {
    /// Makes everything written so far durable, if the target can.
    fn sync(&mut self) -> io::Result<()>;

    /// Returns the length of a target that can be truncated.
    fn length(&mut self) -> io::Result<Option<u64>>;

    /// Truncates the target to a length.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Mbox for BufWriter<File> {
    fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.get_ref().sync_all()
    }

    fn length(&mut self) -> io::Result<Option<u64>> {
        self.flush()?;
        self.get_ref().metadata().map(|metadata| Some(metadata.len()))
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.flush()?;
        self.get_ref().set_len(length)
    }
}

impl Mbox for io::Stdout {
    fn sync(&mut self) -> io::Result<()> {
        self.flush()
    }

    fn length(&mut self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn truncate(&mut self, _length: u64) -> io::Result<()> {
        Ok(())
    }
}

impl Files {
    fn new(kind: Kind, name: String) -> Self {
        Self { kind, lines: LfLines::default(), name }
    }

    /// Returns a name that tells this target from others.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn maildir(directory: &Path) -> Result<Self> {
        let about = |path: &Path| format!("the Maildir cannot be made: {}", path.display());
        let maildir = OpenDirectory::make(directory).with_context(|| about(directory))?;
        let folder =
            |name: &str| maildir.make_directory(name).with_context(|| about(&directory.join(name)));
        folder("cur")?;
        let folders = Folders { tmp: folder("tmp")?, new: folder("new")? };
        // Unique among the processes of this machine and over its restarts.
        let host = gethostname::gethostname().to_string_lossy().replace(['/', ':'], "_");
        let prefix = format!("{}.{}", wiring::clock().mail_id(), host);
        let name = format!("maildir {}", std::path::absolute(directory)?.display());
        Ok(Self::new(Kind::Maildir { folders, prefix, written: 0, open: None }, name))
    }

    pub(crate) fn mbox(path: &Path) -> Result<Self> {
        let file = plain_files::append(path).with_context(|| path.display().to_string())?;
        file.lock().with_context(|| format!("{} cannot be locked", path.display()))?;
        let name = format!("mbox {}", std::path::absolute(path)?.display());
        Ok(Self::new(Kind::mbox(Box::new(BufWriter::new(file))), name))
    }

    /// Returns the target that prints an mbox.
    pub(crate) fn stdout() -> Self {
        Self::new(Kind::mbox(Box::new(io::stdout())), STDOUT.to_owned())
    }

    /// Returns whether messages are printed.
    pub(crate) fn is_stdout(&self) -> bool {
        self.name == STDOUT
    }

    /// Starts a message.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        self.abandon()?;
        match &mut self.kind {
            Kind::Maildir { folders, prefix, written, open } => {
                *written += 1;
                let name = format!("{prefix}.{written}");
                let file = folders.tmp.create_new(&name)?;
                *open = Some((BufWriter::new(file), name));
                Ok(())
            }
            Kind::Mbox { output, start, heading, .. } => {
                *start = output.length()?;
                let date = trace::mbox_date(wiring::clock().now());
                *heading = Some(format!("From {SENDER} {date}\n"));
                Ok(())
            }
        }
    }

    /// Writes a piece of the current message.
    pub(crate) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let kind = &mut self.kind;
        self.lines.write(content, |piece| kind.write(piece))
    }

    /// Completes the current message.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let kind = &mut self.kind;
        self.lines.finish(|piece| kind.write(piece))?;
        match kind {
            Kind::Maildir { folders, open, .. } => {
                let Some((file, name)) = open.take() else { return Ok(()) };
                file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
                folders.tmp.move_file(&name, &folders.new)
            }
            Kind::Mbox { output, quoting, start, heading } => {
                (*quoting, *start) = (FromQuoting::default(), None);
                head(output, heading)?;
                output.write_all(b"\n")
            }
        }
    }

    /// Discards an incomplete message.
    pub(crate) fn abandon(&mut self) -> io::Result<()> {
        self.lines = LfLines::default();
        match &mut self.kind {
            Kind::Maildir { folders, open, .. } => match open.take() {
                Some((_, name)) => folders.tmp.remove_file(&name),
                None => Ok(()),
            },
            Kind::Mbox { output, quoting, start, heading } => {
                (*quoting, *heading) = (FromQuoting::default(), None);
                start.take().map_or(Ok(()), |length| output.truncate(length))
            }
        }
    }

    /// Makes all messages durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Maildir { folders, .. } => folders.new.sync(),
            Kind::Mbox { output, .. } => output.sync(),
        }
    }
}

impl Kind {
    fn mbox(output: Box<dyn Mbox>) -> Self {
        Self::Mbox { output, quoting: FromQuoting::default(), start: None, heading: None }
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Maildir { open, .. } => match open {
                Some((file, _)) => file.write_all(piece),
                None => Ok(()),
            },
            Self::Mbox { output, quoting, heading, .. } => {
                head(output, heading)?;
                quoting.write(piece, &mut **output)
            }
        }
    }
}

/// Writes the line before a message, once.
fn head(output: &mut Box<dyn Mbox>, heading: &mut Option<String>) -> io::Result<()> {
    heading.take().map_or(Ok(()), |heading| output.write_all(heading.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_maildir_shows_whole_messages_only() {
        let directory = tempfile::tempdir().unwrap();
        let count = |name: &str| fs::read_dir(directory.path().join(name)).unwrap().count();
        let mut destination = Files::maildir(directory.path()).unwrap();
        destination.begin().unwrap();
        destination.write(b"A: b\r\n\r\nc\r\n").unwrap();
        assert_eq!((count("tmp"), count("new")), (1, 0));
        destination.end().unwrap();
        destination.sync().unwrap();
        assert_eq!((count("tmp"), count("new")), (0, 1));
    }
}
