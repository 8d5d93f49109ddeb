//! Files that fetched messages are written to: Maildir, mbox and standard output. Lines end in LF, as the
//! programs that read such files expect.

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

/// A target for messages, which are written one after another.
pub(crate) struct Files {
    kind: Kind,
    lines: LineEnds,
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
        Self { kind, lines: LineEnds::default(), name }
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
        let output = Box::new(BufWriter::new(file));
        let name = format!("mbox {}", std::path::absolute(path)?.display());
        Ok(Self::new(Kind::Mbox { output, quoting: FromQuoting::default(), start: None }, name))
    }

    pub(crate) fn stdout() -> Self {
        let output = Box::new(io::stdout());
        let kind = Kind::Mbox { output, quoting: FromQuoting::default(), start: None };
        Self::new(kind, "stdout".to_owned())
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
            Kind::Mbox { output, start, .. } => {
                *start = output.length()?;
                let date = trace::mbox_date(wiring::clock().now());
                writeln!(output, "From {SENDER} {date}")
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
            Kind::Mbox { output, quoting, start } => {
                (*quoting, *start) = (FromQuoting::default(), None);
                output.write_all(b"\n")
            }
        }
    }

    /// Discards an incomplete message.
    pub(crate) fn abandon(&mut self) -> io::Result<()> {
        self.lines = LineEnds::default();
        match &mut self.kind {
            Kind::Maildir { folders, open, .. } => match open.take() {
                Some((_, name)) => folders.tmp.remove_file(&name),
                None => Ok(()),
            },
            Kind::Mbox { output, quoting, start } => {
                *quoting = FromQuoting::default();
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
    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Maildir { open, .. } => match open {
                Some((file, _)) => file.write_all(piece),
                None => Ok(()),
            },
            Self::Mbox { output, quoting, .. } => quoting.write(piece, &mut **output),
        }
    }
}

/// Turns CRLF into LF, also where a pair is split between two pieces.
#[derive(Default)]
struct LineEnds {
    held_cr: bool,
}

impl LineEnds {
    fn write(
        &mut self,
        content: &[u8],
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.held_cr && !content.is_empty() {
            self.held_cr = false;
            if content[0] != b'\n' {
                write(b"\r")?;
            }
        }
        let held = content.strip_suffix(b"\r");
        self.held_cr |= held.is_some();
        let content = held.unwrap_or(content);
        let mut from = 0;
        for found in memchr::memmem::find_iter(content, b"\r\n") {
            write(&content[from..found])?;
            from = found + 1;
        }
        write(&content[from..])
    }

    fn finish(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if std::mem::take(&mut self.held_cr) { write(b"\r") } else { Ok(()) }
    }
}

/// Quotes lines that begin with any number of `>` and `From ` by another `>`, since they would look like the
/// beginning of the next message (the "mboxrd" form, which is reversible).
#[derive(Default)]
struct FromQuoting {
    state: Quoting,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// At the start of a line, or after only `>` on it.
    #[default]
    Start,
    /// After this many octets of `From `, which are held back.
    Matched(usize),
    Within,
}

const FROM: &[u8] = b"From ";

impl FromQuoting {
    fn write(&mut self, piece: &[u8], output: &mut dyn Write) -> io::Result<()> {
        let mut rest = piece;
        while let Some(&octet) = rest.first() {
            match self.state {
                Quoting::Within => {
                    let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
                    let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
                    output.write_all(line)?;
                    rest = after;
                    if end.is_some() {
                        self.state = Quoting::Start;
                    }
                }
                Quoting::Start if octet == b'>' => {
                    output.write_all(b">")?;
                    rest = &rest[1..];
                }
                Quoting::Start => self.state = Quoting::Matched(0),
                Quoting::Matched(count) if octet == FROM[count] => {
                    rest = &rest[1..];
                    self.state = Quoting::Matched(count + 1);
                    if count + 1 == FROM.len() {
                        output.write_all(b">From ")?;
                        self.state = Quoting::Within;
                    }
                }
                Quoting::Matched(count) => {
                    output.write_all(&FROM[..count])?;
                    self.state = Quoting::Within;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_mbox_quotes_what_looks_like_a_message() {
        let text = "From a\nFro\n>From b\n>>x\nin From c\nFrom";
        for size in [1, 2, 3, 100] {
            let mut quoting = FromQuoting::default();
            let mut output = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                quoting.write(piece, &mut output).unwrap();
            }
            let quoted = String::from_utf8(output).unwrap();
            // The last line has no end and is still held back.
            assert_eq!(quoted, ">From a\nFro\n>>From b\n>>x\nin From c\n", "{size}");
        }
    }

    #[test]
    fn line_ends_are_local() {
        for size in [1, 2, 3, 100] {
            let mut lines = LineEnds::default();
            let mut output = Vec::new();
            for piece in b"a\r\nb\rc\r\n\r\n\r".chunks(size) {
                lines.write(piece, |piece| output.write_all(piece)).unwrap();
            }
            lines.finish(|piece| output.write_all(piece)).unwrap();
            assert_eq!(output, b"a\nb\rc\n\n\r", "{size}");
        }
    }

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
