//! Reading mbox files: one, or a directory with one for each folder.

use super::source::{
    Listing, MailSource, MessagePlace, SourceFolder, SourceMessage, displayed, with_path,
};
use crate::command::mail::{
    folder_names,
    mbox::{self, Metadata, Part},
};
use crate::fault::demand;
use anyhow::Result;
use posta_server::{
    admin::{TransferFormat, TransferSource},
    collect::{
        derived,
        plain_files::{self, FileKind, OpenDirectory},
    },
};
use posta_store::FolderName;
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The maximal depth of directories.
const DEPTH: usize = 16;

/// The octets that are hashed at a time.
const PIECE: u64 = 64 * 1024;

/// Mbox files.
pub(super) struct Mbox {
    path: PathBuf,
    /// The folder of a single file; none for the inbox.
    folder: Option<FolderName>,
    is_directory: bool,
    /// Whether messages that are marked as deleted count.
    takes_deleted: bool,
}

impl Mbox {
    /// Opens a file, whose messages go to a folder or the inbox, or a directory of files.
    ///
    /// # Errors
    /// When there is neither.
    pub(super) fn open(
        path: &Path,
        folder: Option<FolderName>,
        takes_deleted: bool,
    ) -> Result<Self> {
        let metadata = fs::symlink_metadata(path).map_err(|error| with_path(error, path))?;
        let is_directory = metadata.is_dir();
        demand!(
            !is_directory || folder.is_none(),
            "invalid-value",
            "{}: a directory's files name the folders themselves: leave --folder out",
            path.display()
        );
        Ok(Self { path: path.to_owned(), folder, is_directory, takes_deleted })
    }

    fn file(&self, folder: &SourceFolder) -> io::Result<File> {
        let Some((name, above)) = folder.path.split_last() else {
            return plain_files::open(&self.path);
        };
        let mut directory = OpenDirectory::open(&self.path)?;
        for name in above {
            directory = directory.directory(name)?;
        }
        directory.file(name)
    }

    /// Finds the files in a directory; the names on the way there are given.
    fn walk(
        directory: &OpenDirectory,
        way: &[OsString],
        skipped: &mut Vec<String>,
        found: &mut Vec<SourceFolder>,
    ) -> io::Result<()> {
        let mut names = directory.names()?;
        names.sort();
        for name in names {
            // Indexes of Thunderbird and Dovecot, and what is hidden.
            let shown = name.to_string_lossy();
            if shown.starts_with('.') || shown.ends_with(".msf") || shown.ends_with(".dat") {
                continue;
            }
            let path: Vec<_> = way.iter().cloned().chain([name.clone()]).collect();
            let told = || path.iter().map(|name| displayed(name)).collect::<Vec<_>>().join("/");
            match directory.kind(&name) {
                Ok(FileKind::Directory) if path.len() < DEPTH => {
                    Self::walk(&directory.directory(&name)?, &path, skipped, found)?;
                }
                Ok(FileKind::Other) if directory.facts(&name).is_ok() => {
                    match folder_names::folder_of_file(&path) {
                        Ok(name) => {
                            let name = Some(name).filter(|name| *name != FolderName::inbox());
                            found.push(SourceFolder { name, path });
                        }
                        Err(why) => skipped.push(format!("{}: {why}", told())),
                    }
                }
                Ok(_) => skipped.push(format!("{}: no regular file", told())),
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl MailSource for Mbox {
    fn origin(&self) -> TransferSource {
        TransferSource { path: self.path.display().to_string(), format: TransferFormat::Mbox }
    }

    fn folders(&self, skipped: &mut Vec<String>) -> io::Result<Vec<SourceFolder>> {
        if !self.is_directory {
            return Ok(vec![SourceFolder { name: self.folder.clone(), path: Vec::new() }]);
        }
        let mut found = Vec::new();
        Self::walk(&OpenDirectory::open(&self.path)?, &[], skipped, &mut found)?;
        // A folder before those below it; the inbox first.
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    fn list(&self, folder: &SourceFolder) -> io::Result<Listing> {
        let file = self.file(folder)?;
        let index = mbox::index(&file)?.ok_or_else(|| {
            let words = "not an mbox file, which begins with a line `From `";
            io::Error::new(io::ErrorKind::InvalidData, words)
        })?;
        let is_inbox = folder.name.is_none();
        let mut listing = Listing::default();
        let mut validity = None;
        for part in index.parts {
            let (metadata, mut content) = mbox::open(file.try_clone()?, &part, index.is_quoted)?;
            validity = validity.or(metadata.uid_validity);
            if metadata.is_internal {
                continue;
            }
            if !self.takes_deleted && metadata.flags.iter().any(|flag| flag == "deleted") {
                listing.deleted += 1;
                continue;
            }
            let Part { from, start, end, date } = part;
            listing.messages.push(SourceMessage {
                identity: format!("mbox {}", hash(&mut *content)?),
                unique_id: unique_id(&metadata, validity, is_inbox),
                date,
                flags: metadata.flags,
                octets: end - start,
                place: MessagePlace::Part { from, start, end, is_quoted: index.is_quoted },
            });
        }
        Ok(listing)
    }

    fn open(&self, folder: &SourceFolder, message: &SourceMessage) -> io::Result<Box<dyn Read>> {
        let MessagePlace::Part { from, start, end, is_quoted } = message.place else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let part = Part { from, start, end, date: None };
        mbox::open(self.file(folder)?, &part, is_quoted).map(|(_, content)| content)
    }
}

/// Returns the unique-id of a message: what the file tells, else what Dovecot's POP3 makes of UID and UIDVALIDITY.
fn unique_id(metadata: &Metadata, validity: Option<u32>, is_inbox: bool) -> Option<String> {
    let derived = metadata.uid.zip(validity).filter(|_| is_inbox);
    let derived = derived.map(|(uid, validity)| format!("{uid:08x}{validity:08x}"));
    metadata.unique_id.clone().or(derived)
}

/// Returns a digest of a message, whatever its size.
fn hash(content: &mut dyn Read) -> io::Result<String> {
    let mut hash = String::new();
    loop {
        let mut piece = hash.clone().into_bytes();
        if Read::take(&mut *content, PIECE).read_to_end(&mut piece)? == 0 {
            return Ok(hash);
        }
        hash = derived(&piece);
    }
}
