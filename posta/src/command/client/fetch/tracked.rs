//! The record of earlier fetches, and the progress bar of the current one.

use super::{files::Files, lmtp::Lmtp};
use crate::wiring;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use posta_mail::Timestamp;
use posta_net::clock::Clock;
use posta_server::collect::{Destination, FetchOutcome, plain_files};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
};

/// The largest record that is read, in octets: room for a million unique-ids.
const KNOWN: u64 = 128 << 20;

/// A target with the record of earlier fetches and the progress bar.
pub(super) struct Tracked {
    sink: Sink,
    known: Option<Known>,
    /// Complete messages that are not durable yet.
    pending: Vec<String>,
    current: Option<String>,
    octets: u64,
    bar: ProgressBar,
}

pub(super) enum Sink {
    Files(Files),
    Lmtp(Lmtp),
}

/// The record: the unique-id of each message fetched before, and when.
pub(super) struct Known {
    path: PathBuf,
    unique_ids: BTreeMap<String, Timestamp>,
}

impl Known {
    /// Reads the record, if the file exists.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let read = plain_files::open(path).and_then(|file| plain_files::read(file, KNOWN));
        let unique_ids = match read {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is not what posta fetch writes", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                return Err(error).with_context(|| path.display().to_string());
            }
        };
        Ok(Self { path: path.to_owned(), unique_ids })
    }

    /// Replaces the file as a whole, or not at all.
    fn write(&self) -> io::Result<()> {
        let next = self.path.with_added_extension("new");
        let mut file = plain_files::create(&next)?;
        file.write_all(&serde_json::to_vec(&self.unique_ids)?)?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Tracked {
    /// Begins without messages. With `shows_progress`, a terminal has a progress bar until the end.
    pub(super) fn new(sink: Sink, known: Option<Known>, shows_progress: bool) -> Self {
        let bar = if shows_progress { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} messages{msg}, {eta} left")
        {
            bar.set_style(style);
        }
        Self { sink, known, pending: Vec::new(), current: None, octets: 0, bar }
    }

    /// Removes the progress bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Destination for Tracked {
    async fn known(&mut self) -> io::Result<BTreeMap<String, Timestamp>> {
        Ok(self.known.as_ref().map(|known| known.unique_ids.clone()).unwrap_or_default())
    }

    fn expect(&mut self, messages: u64) {
        self.bar.set_length(messages);
    }

    async fn begin(&mut self, unique_id: Option<&str>) -> io::Result<()> {
        self.current = unique_id.map(str::to_owned);
        match &mut self.sink {
            Sink::Files(files) => files.begin(),
            Sink::Lmtp(lmtp) => lmtp.begin().await,
        }
    }

    async fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.octets += content.len() as u64;
        self.bar.set_message(format!(", {}", indicatif::HumanBytes(self.octets)));
        match &mut self.sink {
            Sink::Files(files) => files.write(content),
            Sink::Lmtp(lmtp) => lmtp.write(content).await,
        }
    }

    async fn end(&mut self) -> io::Result<FetchOutcome> {
        let taken = match &mut self.sink {
            Sink::Files(files) => files.end().map(|()| FetchOutcome::Kept)?,
            Sink::Lmtp(lmtp) => lmtp.end().await?,
        };
        let current = self.current.take();
        if taken == FetchOutcome::Kept {
            self.pending.extend(current);
        }
        self.bar.inc(1);
        Ok(taken)
    }

    fn remembers(&self) -> bool {
        self.known.is_some()
    }

    async fn abandon(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Files(files) => files.abandon(),
            // A connection that ends in mid-message leaves nothing on the LMTP server.
            Sink::Lmtp(lmtp) => {
                lmtp.abandon();
                Ok(())
            }
        }
    }

    async fn sync(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Files(files) => files.sync()?,
            // The LMTP server's 250 says that the message is safe there.
            Sink::Lmtp(_) => {}
        }
        let pending = mem::take(&mut self.pending);
        if let Some(known) = &mut self.known {
            let now = wiring::clock().now();
            known.unique_ids.extend(pending.into_iter().map(|unique_id| (unique_id, now)));
            known.write()?;
        }
        Ok(())
    }

    async fn forget(&mut self, unique_ids: Vec<String>) -> io::Result<()> {
        let Some(known) = &mut self.known else { return Ok(()) };
        for unique_id in &unique_ids {
            known.unique_ids.remove(unique_id);
        }
        if unique_ids.is_empty() { Ok(()) } else { known.write() }
    }
}
