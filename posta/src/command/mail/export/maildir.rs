//! Writing a Maildir++, as Dovecot and Courier read it.
//!
//! A file's name tells the message that it holds, so what an earlier export has written is recognised. A file appears
//! under its name only when all of it is on the disk.

use super::Target;
use crate::command::{
    client::fetch::LfLines,
    mail::{
        folder_names,
        maildir_flags::{KEYWORDS_FILE, Letters},
    },
};
use anyhow::{Context, Result};
use posta_server::{
    admin::{FolderLine, TransferLine},
    collect::plain_files::OpenDirectory,
};
use posta_store::FolderName;
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What the names of our files have, after the time and the message.
const HOST: &str = "posta";

/// The file that tells Dovecot the UIDs and unique-ids.
const UIDLIST: &str = "dovecot-uidlist";

/// A Maildir that is written to.
pub(super) struct MaildirTarget {
    path: PathBuf,
    maildir: OpenDirectory,
    folder: Option<OpenFolder>,
    left_out: Vec<String>,
}

struct OpenFolder {
    name: String,
    directory: OpenDirectory,
    cur: OpenDirectory,
    tmp: OpenDirectory,
    letters: Letters,
    /// The names of the files, by their beginnings.
    files: HashMap<String, String>,
    /// The names of complete files in `tmp`, and those that they get.
    pending: Vec<(String, String)>,
    open: Option<OpenMessage>,
    validity: u32,
    uid_next: u32,
    /// The lines of the list of UIDs: UID, unique-id, and the beginning of the name.
    list: Vec<(u32, String, String)>,
}

struct OpenMessage {
    base: String,
    letters: String,
    file: BufWriter<File>,
    /// Turns CRLF into LF, unless the message has other line ends, too.
    lines: Option<LfLines>,
    written: u64,
    octets: u64,
    time: SystemTime,
}

impl MaildirTarget {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let about = || format!("the Maildir {} cannot be made", path.display());
        let maildir = OpenDirectory::make(path).with_context(about)?;
        Ok(Self { path: path.to_owned(), maildir, folder: None, left_out: Vec::new() })
    }

    fn folder(&mut self) -> Result<&mut OpenFolder> {
        self.folder.as_mut().context("no folder was begun")
    }
}

impl Target for MaildirTarget {
    fn begin(&mut self, folder: &FolderLine) -> Result<()> {
        let about = || format!("{} cannot be written", self.path.display());
        let name: FolderName = folder.name.parse()?;
        let directory = match name == FolderName::inbox() {
            true => self.maildir.directory(".").with_context(about)?,
            false => {
                let directory = self.maildir.make_directory(&folder_names::directory(&name));
                let directory = directory.with_context(about)?;
                // Courier delivers to a directory only if it has this file.
                if directory.file("maildirfolder".as_ref()).is_err() {
                    directory.create_new("maildirfolder").with_context(about)?;
                }
                directory
            }
        };
        directory.make_directory("new").with_context(about)?;
        let cur = directory.make_directory("cur").with_context(about)?;
        let tmp = directory.make_directory("tmp").with_context(about)?;
        let ours = |name: &str| name.contains(&format!(".{HOST}"));
        for name in tmp.names().with_context(about)? {
            // An export that was killed left it.
            if let Some(name) = name.to_str().filter(|name| ours(name)) {
                tmp.remove_file(name).with_context(about)?;
            }
        }
        let mut files = HashMap::new();
        for name in cur.names().with_context(about)? {
            if let Some(name) = str::from_utf8(name.as_bytes()).ok().filter(|name| ours(name)) {
                files.insert(base_of(name).to_owned(), name.to_owned());
            }
        }
        self.folder = Some(OpenFolder {
            name: folder.name.clone(),
            letters: Letters::read(&directory),
            directory,
            cur,
            tmp,
            files,
            pending: Vec::new(),
            open: None,
            validity: folder.uid_validity,
            uid_next: folder.uid_next,
            list: Vec::new(),
        });
        Ok(())
    }

    fn has(&mut self, line: &TransferLine) -> Result<bool> {
        let base = base(line);
        let folder = self.folder()?;
        let (letters, is_full) = folder.letters.letters(&line.flags);
        folder.list.push((line.uid, line.unique_id.clone(), base.clone()));
        let mut outcome = false;
        if let Some(name) = folder.files.get_mut(&base) {
            let (before, _) = name.split_once(":2,").unwrap_or((name, ""));
            let now = format!("{before}:2,{letters}");
            if now != *name {
                folder.cur.rename_file(name, &folder.cur, &now)?;
                *name = now;
            }
            outcome = true;
        }
        if is_full {
            let words = format!("a keyword of message {}: a folder has 26 at most", line.uid);
            let words = format!("{}: {words}", folder.name);
            self.left_out.push(words);
        }
        Ok(outcome)
    }

    fn begin_message(&mut self, line: &TransferLine) -> Result<()> {
        let folder = self.folder()?;
        let base = base(line);
        let (letters, _) = folder.letters.letters(&line.flags);
        let file = BufWriter::new(folder.tmp.create_new(&base)?);
        // Bare line ends would not be told from others.
        let lines = (line.octets == line.kept).then(LfLines::default);
        let seconds = u64::try_from(line.time.as_second()).unwrap_or_default();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let octets = line.octets;
        folder.open = Some(OpenMessage { base, letters, file, lines, written: 0, octets, time });
        Ok(())
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let open = self.folder.as_mut().and_then(|folder| folder.open.as_mut());
        let Some(OpenMessage { file, lines, written, .. }) = open else { return Ok(()) };
        let mut write = |piece: &[u8]| {
            *written += piece.len() as u64;
            file.write_all(piece)
        };
        match lines {
            Some(lines) => lines.write(content, write),
            None => write(content),
        }
    }

    fn end_message(&mut self) -> Result<()> {
        let folder = self.folder()?;
        let Some(open) = folder.open.take() else { return Ok(()) };
        let OpenMessage { base, letters, mut file, lines, mut written, octets, time } = open;
        let is_local = lines.is_some();
        if let Some(mut lines) = lines {
            lines.finish(|piece| {
                written += piece.len() as u64;
                file.write_all(piece)
            })?;
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        // Dovecot takes the time of the file for the message's internal date.
        file.set_modified(time)?;
        let virtual_size = if is_local { format!(",W={octets}") } else { String::new() };
        let name = format!("{base},S={written}{virtual_size}:2,{letters}");
        folder.pending.push((base, name));
        Ok(())
    }

    fn abandon(&mut self) -> Result<()> {
        let folder = self.folder()?;
        if let Some(open) = folder.open.take() {
            folder.tmp.remove_file(&open.base)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let folder = self.folder()?;
        if folder.pending.is_empty() {
            return Ok(());
        }
        // One sync for all of them. A file that has its name is complete.
        folder.tmp.sync_file_system()?;
        for (base, name) in folder.pending.drain(..) {
            folder.tmp.rename_file(&base, &folder.cur, &name)?;
            folder.files.insert(base, name);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<u64> {
        let folder = self.folder()?;
        let keywords = folder.letters.text();
        if !keywords.is_empty() {
            folder.put(KEYWORDS_FILE, &keywords)?;
        }
        let mut list = format!("3 V{} N{}\n", folder.validity, folder.uid_next);
        for (uid, unique_id, base) in &folder.list {
            let Some(name) = folder.files.get(base) else { continue };
            let (file, _) = name.split_once(":2,").unwrap_or((name, ""));
            list.push_str(&format!("{uid} P{unique_id} :{file}\n"));
        }
        folder.put(UIDLIST, &list)?;
        folder.tmp.sync_file_system()?;
        // The directory has the last word.
        let names = folder.cur.names()?;
        let bases: std::collections::HashSet<_> =
            folder.list.iter().map(|(_, _, base)| base.as_str()).collect();
        let there = names.iter().filter_map(|name| name.to_str());
        Ok(there.filter(|name| bases.contains(base_of(name))).count() as u64)
    }

    fn left_out(&mut self) -> Vec<String> {
        std::mem::take(&mut self.left_out)
    }
}

impl OpenFolder {
    /// Replaces a file in the folder.
    fn put(&self, name: &str, text: &str) -> Result<()> {
        let new = format!("{name}.{HOST}");
        let mut file = self.tmp.create_new(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(self.tmp.rename_file(&new, &self.directory, name)?)
    }
}

/// Returns the beginning of a message's name: the second of its arrival, its id, and the UID, since a folder may have
/// it twice.
fn base(line: &TransferLine) -> String {
    format!("{}.{}_{}.{HOST}", line.time.as_second().max(0), line.id, line.uid)
}

/// Returns the part of a name that tells the message.
fn base_of(name: &str) -> &str {
    let end = name.find([',', ':']).unwrap_or(name.len());
    &name[..end]
}
