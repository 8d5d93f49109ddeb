//! Sending messages to the server: many small ones together, and a large one in pieces.

use super::{
    asking::{Asking, Counts},
    source::{SourceFolder, SourceMessage},
};
use anyhow::{Context, Result, bail};
use posta_server::admin::{
    Octets, Taken, TransferContent, TransferMessage, TransferRequest, TransferResponse,
    TransferSource,
};
use std::io::{self, Read};

/// The most messages in a batch: what is in flight waits for one sync of the disk.
const MESSAGES: usize = 500;

/// The most octets of a message that travels in a batch.
const WHOLE: usize = TransferRequest::OCTETS / 2;

/// The content of a message that was read.
pub(super) enum ReadContent {
    /// All of it.
    Whole(Vec<u8>),
    /// The server has it, in pieces.
    Upload(String),
}

/// Messages on their way into a folder.
pub(super) struct Batch<'a> {
    asking: &'a Asking<'a>,
    origin: &'a TransferSource,
    folder: &'a SourceFolder,
    messages: Vec<TransferMessage>,
    /// Their places in the files, for errors.
    places: Vec<String>,
    octets: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        asking: &'a Asking<'a>,
        origin: &'a TransferSource,
        folder: &'a SourceFolder,
    ) -> Self {
        Self { asking, origin, folder, messages: Vec::new(), places: Vec::new(), octets: 0 }
    }

    /// Reads a message's content. What is too large for a batch is sent at once.
    ///
    /// # Errors
    /// When the file cannot be read, or the server refuses a piece.
    pub(super) fn read(&self, content: &mut dyn Read) -> io::Result<ReadContent> {
        let mut piece = read_piece(content)?;
        if piece.len() < WHOLE {
            return Ok(ReadContent::Whole(piece));
        }
        let mut upload = None;
        loop {
            upload = Some(self.send(upload, piece)?);
            piece = match read_piece(content) {
                Ok(piece) => piece,
                Err(error) => {
                    if let Some(upload) = upload {
                        // The server drops it sooner or later by itself.
                        let _ = self.asking.transfer(TransferRequest::Abandon { upload });
                    }
                    return Err(error);
                }
            };
            if piece.is_empty() {
                return Ok(ReadContent::Upload(upload.unwrap_or_default()));
            }
        }
    }

    /// Sends a piece of a message, and returns the server's name for the message.
    fn send(&self, upload: Option<String>, piece: Vec<u8>) -> io::Result<String> {
        let (from, octets) = (self.origin.clone(), Octets(piece.into()));
        match self.asking.transfer(TransferRequest::Piece { from, upload, octets }) {
            Ok(TransferResponse::Upload(upload)) => Ok(upload),
            Ok(_) => Err(io::Error::other(crate::operator::UNEXPECTED)),
            Err(error) => Err(io::Error::other(crate::output::chain(&error))),
        }
    }

    /// Adds a message. Sends what there is if it is enough.
    ///
    /// # Errors
    /// When the server does not take the messages.
    pub(super) fn add(
        &mut self,
        name: String,
        unique_id: Option<String>,
        message: &SourceMessage,
        content: ReadContent,
        counts: &mut Counts,
    ) -> Result<()> {
        let (content, octets) = match content {
            ReadContent::Whole(octets) => {
                let count = octets.len();
                (TransferContent::Whole(Octets(octets.into())), count)
            }
            ReadContent::Upload(upload) => (TransferContent::Upload(upload), 0),
        };
        if self.octets + octets > TransferRequest::OCTETS || self.messages.len() == MESSAGES {
            self.flush(counts)?;
        }
        self.octets += octets;
        self.places.push(self.folder.shown() + &message.place());
        let (date, flags) = (message.date, message.flags.clone());
        self.messages.push(TransferMessage { name, unique_id, date, flags, content });
        Ok(())
    }

    /// Sends the messages, and waits until they are in the mailbox.
    ///
    /// # Errors
    /// When the server does not take the messages.
    pub(super) fn flush(&mut self, counts: &mut Counts) -> Result<()> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let folder = self.folder.name.as_ref().map(ToString::to_string);
        let (from, messages) = (self.origin.clone(), std::mem::take(&mut self.messages));
        let request = TransferRequest::Take { from, folder, messages };
        let response = self.asking.transfer(request).with_context(|| {
            let first = self.places.first().map(String::as_str).unwrap_or_default();
            format!("after {} messages, {first}", counts.new)
        })?;
        let TransferResponse::Taken(taken) = response else { bail!(crate::operator::UNEXPECTED) };
        for (place, outcome) in self.places.drain(..).zip(taken) {
            match outcome {
                Some(Taken::New) => counts.new += 1,
                Some(Taken::Refused(why)) => self.asking.skip(&format!("{place}: {why}"), counts),
                None => {}
            }
        }
        self.octets = 0;
        Ok(())
    }
}

/// Reads as much of a message as travels at once.
fn read_piece(content: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    content.take(WHOLE as u64).read_to_end(&mut piece)?;
    Ok(piece)
}
