//! Writing mbox files (mboxrd), one for each folder.
//!
//! Messages are appended one after the other, so of an export that was interrupted, only the last message may be
//! incomplete: it is taken away and written again.

use super::Target;
use crate::command::{
    client::fetch::{FromQuoting, LfLines},
    mail::{folder_names, mbox},
};
use anyhow::{Context, Result};
use posta_mail::trace;
use posta_server::{
    admin::{FolderLine, TransferLine},
    collect::plain_files,
};
use posta_store::FolderName;
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// The sender in the line before each message. The true one is in the field Return-Path, if anywhere.
const SENDER: &str = "MAILER-DAEMON";

/// Mbox files that are written to.
pub(super) struct MboxTarget {
    path: PathBuf,
    folder: Option<OpenFolder>,
}

struct OpenFolder {
    file: BufWriter<File>,
    /// The UID of the last message that is there.
    last: u32,
    count: u64,
    validity: u32,
    uid_next: u32,
    open: Option<OpenMessage>,
}

struct OpenMessage {
    /// The offset of its line `From `.
    start: u64,
    /// Turns CRLF into LF, unless the message has other line ends, too.
    lines: Option<LfLines>,
    quoting: FromQuoting,
    /// The last octet that was written.
    last: u8,
}

impl MboxTarget {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let about = || format!("the directory {} cannot be made", path.display());
        fs::create_dir_all(path).with_context(about)?;
        Ok(Self { path: path.to_owned(), folder: None })
    }

    fn folder(&mut self) -> Result<&mut OpenFolder> {
        self.folder.as_mut().context("no folder was begun")
    }
}

impl Target for MboxTarget {
    fn begin(&mut self, folder: &FolderLine) -> Result<()> {
        let name: FolderName = folder.name.parse()?;
        let path = folder_names::file(&name).iter().fold(self.path.clone(), |at, it| at.join(it));
        let about = || format!("{} cannot be written", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(about)?;
        }
        let file = plain_files::append(&path).with_context(about)?;
        file.try_lock().with_context(about)?;
        let (count, last) = resume(&path, &file).with_context(about)?;
        let (validity, uid_next) = (folder.uid_validity, folder.uid_next);
        let file = BufWriter::new(file);
        self.folder = Some(OpenFolder { file, last, count, validity, uid_next, open: None });
        Ok(())
    }

    fn has(&mut self, line: &TransferLine) -> Result<bool> {
        Ok(line.uid <= self.folder()?.last)
    }

    fn begin_message(&mut self, line: &TransferLine) -> Result<()> {
        let folder = self.folder()?;
        folder.file.flush()?;
        let start = folder.file.get_ref().metadata()?.len();
        let mut fields = format!("From {SENDER} {}\n", trace::mbox_date(line.time));
        if folder.count == 0 {
            let (validity, last) = (folder.validity, folder.uid_next.saturating_sub(1));
            fields.push_str(&format!("X-IMAPbase: {validity} {last}\n"));
        }
        fields.push_str(&format!("X-UID: {}\nX-UIDL: {}\n", line.uid, line.unique_id));
        let has = |flag: &str| line.flags.iter().any(|it| it == flag);
        let letters = [('A', "answered"), ('F', "flagged"), ('T', "draft"), ('D', "deleted")];
        let set: String =
            letters.iter().filter(|(_, flag)| has(flag)).map(|(letter, _)| letter).collect();
        let known = ["seen", "answered", "flagged", "draft", "deleted"];
        let keywords = line.flags.iter().filter(|flag| !known.contains(&flag.as_str()));
        let keywords: Vec<_> = keywords.map(String::as_str).collect();
        if !keywords.is_empty() {
            fields.push_str(&format!("X-Keywords: {}\n", keywords.join(" ")));
        }
        if !set.is_empty() {
            fields.push_str(&format!("X-Status: {set}\n"));
        }
        // The last one: what follows is the sender's.
        fields.push_str(if has("seen") { "Status: RO\n" } else { "Status: O\n" });
        folder.file.write_all(fields.as_bytes())?;
        let lines = (line.octets == line.kept).then(LfLines::default);
        let quoting = FromQuoting::default();
        folder.open = Some(OpenMessage { start, lines, quoting, last: b'\n' });
        folder.last = line.uid;
        Ok(())
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let Some(OpenFolder { file, open: Some(open), .. }) = &mut self.folder else {
            return Ok(());
        };
        let OpenMessage { lines, quoting, last, .. } = open;
        let mut write = |piece: &[u8]| {
            *last = piece.last().copied().unwrap_or(*last);
            quoting.write(piece, file)
        };
        match lines {
            Some(lines) => lines.write(content, write),
            None => write(content),
        }
    }

    fn end_message(&mut self) -> Result<()> {
        let folder = self.folder()?;
        let file = &mut folder.file;
        let Some(OpenMessage { lines, mut quoting, mut last, .. }) = folder.open.take() else {
            return Ok(());
        };
        // A message ends with its line.
        let end = if lines.is_some() { &b"\n"[..] } else { b"\r\n" };
        if let Some(mut lines) = lines {
            lines.finish(|piece| {
                last = piece.last().copied().unwrap_or(last);
                quoting.write(piece, file)
            })?;
        }
        quoting.finish(file)?;
        if last != b'\n' {
            file.write_all(end)?;
        }
        file.write_all(b"\n")?;
        folder.count += 1;
        Ok(())
    }

    fn abandon(&mut self) -> Result<()> {
        let folder = self.folder()?;
        if let Some(open) = folder.open.take() {
            folder.file.flush()?;
            folder.file.get_ref().set_len(open.start)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let folder = self.folder()?;
        folder.file.flush()?;
        Ok(folder.file.get_ref().sync_all()?)
    }

    fn end(&mut self) -> Result<u64> {
        self.sync()?;
        Ok(self.folder()?.count)
    }

    fn left_out(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Takes the last message away, which may be incomplete. Returns the number of the others, and the UID of the last.
fn resume(path: &Path, file: &File) -> Result<(u64, u32)> {
    let readable = plain_files::open(path)?;
    let index = mbox::index(&readable)?;
    let index = index.context("it is there already, and no mbox: name another directory")?;
    let Some((last, others)) = index.parts.split_last() else { return Ok((0, 0)) };
    let uid = match others.last() {
        Some(part) => {
            let (metadata, _) = mbox::open(readable, part, index.is_quoted)?;
            metadata
                .uid
                .context("it is there already, and was not exported: name another directory")?
        }
        None => 0,
    };
    file.set_len(last.from)?;
    Ok((others.len() as u64, uid))
}
