//! Importing one mailbox: what the server does not have yet is read and sent, folder by folder, and counted on both
//! sides at the end.

use super::{
    asking::{Asking, Counts},
    batch::{Batch, ReadContent},
    source::{ImportNames, Listing, MailSource, SourceFolder, SourceMessage, short},
};
use crate::operator;
use anyhow::{Context, Result, bail};
use posta_mail::crlf::CrlfLines;
use posta_server::{
    admin::{FolderRequest, Response, TransferRequest, TransferResponse, TransferSource},
    collect::derived,
};
use posta_store::FolderName;
use std::{
    collections::{HashMap, HashSet},
    io,
};

/// The number of times that a mailbox is listed if messages move meanwhile, as mail programs move them from `new` to
/// `cur`.
const PASSES: usize = 3;

/// The names of folders that usually have a role, in lower case.
const ROLES: [(&str, &str); 8] = [
    ("sent", "sent"),
    ("sent items", "sent"),
    ("sent messages", "sent"),
    ("drafts", "drafts"),
    ("trash", "trash"),
    ("deleted items", "trash"),
    ("archive", "archive"),
    ("archives", "archive"),
];

/// Imports what the mailbox here does not have yet.
///
/// # Errors
/// When the inbox cannot be listed, or the server does not take a message. What was imported before stays, and
/// the next import goes on from there.
pub(super) fn import(asking: &Asking<'_>, source: &dyn MailSource) -> Result<Counts> {
    let origin = source.origin();
    let mut here = Here::read(asking)?;
    let mut new = 0;
    let mut pass = 1;
    loop {
        let mut counts = Counts { new, ..Counts::default() };
        let mut skipped = Vec::new();
        let (mut names, mut seen) = (ImportNames::default(), HashSet::new());
        for folder in source.folders(&mut skipped)? {
            let listing = match source.list(&folder) {
                Ok(listing) => listing,
                Err(error) if folder.name.is_none() => {
                    return Err(error).with_context(|| origin.path.clone());
                }
                Err(error) => {
                    skipped.push(format!("{}: {error}", folder.shown().trim_end_matches('/')));
                    continue;
                }
            };
            counts.found += listing.messages.len() as u64;
            counts.deleted += listing.deleted as u64;
            let mut one = OneFolder { asking, source, origin: &origin, folder: &folder };
            one.import(listing, &mut here, &mut names, &mut seen, &mut counts)?;
        }
        new = counts.new;
        if counts.moved == 0 || pass == PASSES {
            for words in skipped {
                asking.name_skipped(&words, &mut counts);
            }
            return Ok(counts);
        }
        pass += 1;
    }
}

/// The state of the account's mailbox here.
struct Here {
    folders: HashSet<String>,
    roles: HashSet<String>,
    /// The unique-ids of the messages there, in short, and their octets.
    unique_ids: HashMap<u64, u64>,
}

impl Here {
    fn read(asking: &Asking<'_>) -> Result<Self> {
        let Response::Folders(lines) = asking.folder(FolderRequest::List)? else {
            bail!(operator::UNEXPECTED);
        };
        let mut unique_ids = HashMap::new();
        for line in lines.iter().filter(|line| line.messages > 0) {
            let mut after = Some(0);
            while let Some(from) = after {
                let folder = Some(line.name.clone());
                let request = TransferRequest::List { folder, after: from };
                let TransferResponse::Messages { lines, next } = asking.transfer(request)? else {
                    bail!(operator::UNEXPECTED);
                };
                let ids = lines.iter().map(|line| (short(&line.unique_id), line.octets));
                unique_ids.extend(ids);
                after = next;
            }
        }
        let roles = lines.iter().filter_map(|line| line.role.clone()).collect();
        let folders = lines.into_iter().map(|line| line.name).collect();
        Ok(Self { folders, roles, unique_ids })
    }

    /// Adds a folder, and those above it, unless they are there.
    fn make(&mut self, asking: &Asking<'_>, name: &FolderName) -> Result<()> {
        if self.folders.contains(name.as_str()) {
            return Ok(());
        }
        if let Some(parent) = name.parent() {
            self.make(asking, &parent)?;
        }
        let lower = name.as_str().to_lowercase();
        let role = ROLES.iter().find(|(usual, _)| *usual == lower).map(|(_, role)| *role);
        let role = role.filter(|role| self.roles.insert((*role).to_owned())).map(str::to_owned);
        let request = FolderRequest::Add { name: name.to_string(), role };
        asking.folder(request).with_context(|| format!("the folder {name}"))?;
        self.folders.insert(name.to_string());
        Ok(())
    }
}

/// A folder that is imported.
struct OneFolder<'a> {
    asking: &'a Asking<'a>,
    source: &'a dyn MailSource,
    origin: &'a TransferSource,
    folder: &'a SourceFolder,
}

impl OneFolder<'_> {
    fn import(
        &mut self,
        listing: Listing,
        here: &mut Here,
        names: &mut ImportNames,
        seen: &mut HashSet<u64>,
        counts: &mut Counts,
    ) -> Result<()> {
        for words in listing.skipped {
            self.asking.name_skipped(&format!("{}{words}", self.folder.shown()), counts);
        }
        if let Some(name) = self.folder.name.as_ref().filter(|_| !listing.messages.is_empty()) {
            here.make(self.asking, name)?;
        }
        let all: Vec<_> =
            listing.messages.iter().map(|message| names.name(&message.identity)).collect();
        let known = self.asking.known(&all)?;
        let mut sent = Vec::new();
        let mut batch = Batch::new(self.asking, self.origin, self.folder);
        for ((message, name), known) in listing.messages.iter().zip(all).zip(known) {
            // Two files may have the same unique-id, such as copies in `new` and in `cur`: neither is lost.
            let unique_id = message.unique_id.clone().map(|id| unused(id, |id| seen.contains(&id)));
            seen.extend(unique_id.as_deref().map(short));
            if known {
                counts.imported += 1;
            } else if let Some(content) = self.read(&batch, message, counts) {
                let used = unique_id.as_deref().and_then(|id| here.unique_ids.get(&short(id)));
                if used.is_some_and(|&octets| Some(octets) == content.octets()) {
                    counts.collected += 1;
                } else {
                    let is_used = |id| here.unique_ids.contains_key(&id);
                    let unique_id = unique_id.map(|id| unused(id, is_used));
                    sent.push(name.clone());
                    batch.add(name, unique_id, message, content, counts)?;
                }
            }
            self.asking.progress.done(message.octets);
        }
        batch.flush(counts)?;
        // The mailbox has the last word.
        let there = self.asking.known(&sent)?;
        counts.imported += there.into_iter().filter(|is_there| *is_there).count() as u64;
        Ok(())
    }

    /// Reads a message; none if it is not there any more, or cannot be read.
    fn read(
        &self,
        batch: &Batch<'_>,
        message: &SourceMessage,
        counts: &mut Counts,
    ) -> Option<ReadContent> {
        let read = self.source.open(self.folder, message);
        match read.and_then(|mut content| batch.read(&mut *content)) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                counts.moved += 1;
                None
            }
            Err(error) => {
                let place = self.folder.shown() + &message.place();
                self.asking.skip(&format!("{place}: {error}"), counts);
                None
            }
        }
    }
}

impl ReadContent {
    /// Returns the octets of the message as lines, if that is known.
    fn octets(&self) -> Option<u64> {
        let Self::Whole(content) = self else { return None };
        let mut lines = CrlfLines::default();
        lines.count(content);
        lines.finish();
        Some(lines.octets())
    }
}

/// Returns the unique-id, or one derived from it that is not in use.
fn unused(mut unique_id: String, is_used: impl Fn(u64) -> bool) -> String {
    while is_used(short(&unique_id)) {
        unique_id = derived(unique_id.as_bytes());
    }
    unique_id
}
