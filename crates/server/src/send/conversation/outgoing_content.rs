//! The content of a message as another server gets it: read from the store piece by piece, and converted to
//! ASCII if the server takes nothing else. A message that this server signed is then signed again.

use crate::{
    send::Relay,
    sign::converted::{Resigned, Resigning},
};
use bytes::Bytes;
use posta_mail::Reply;
use posta_mime::convert::{Converter, Plan, Survey};
use posta_smtp::client as smtp;
use posta_store::{Item, StoreError};
use std::sync::Arc;

/// What the report says about a message that is damaged in the store.
pub(super) const DAMAGED: &str =
    "The message was damaged where it waited, and cannot be read any more: send it again";

/// The reason why a part of a message could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFailure {
    /// The part is damaged or missing, for good.
    Damaged,
    /// The store fails for now.
    ForNow,
}

/// Reads the current message of a session, and converts it if needed.
pub(super) struct OutgoingContent<'a> {
    relay: &'a Arc<Relay>,
    /// The number of pieces of the current message that were read.
    pieces_read: usize,
    /// How the message is converted to ASCII, if the server needs that.
    plan: Option<Plan>,
    /// The new signatures of the converted message, if this server had signed the original.
    resigned: Option<Resigned>,
    converter: Option<Converter>,
}

impl<'a> OutgoingContent<'a> {
    pub(super) fn new(relay: &'a Arc<Relay>) -> Self {
        Self { relay, pieces_read: 0, plan: None, resigned: None, converter: None }
    }

    /// Reads the whole message to find out whether it can be converted to ASCII.
    pub(super) async fn survey(&mut self, item: &Item) -> smtp::Conversion {
        let for_now = || Reply::new(451, (4, 3, 0), "It cannot be read");
        let mut survey = Survey::default();
        for piece in item.layout().pieces() {
            match self.read(item, piece).await {
                Ok(content) => survey.push(&content),
                Err(ReadFailure::Damaged) => return Err(Reply::new(554, (5, 3, 0), DAMAGED)),
                Err(ReadFailure::ForNow) => return Err(for_now()),
            }
        }
        match survey.finish() {
            Ok(plan) => {
                self.plan = Some(plan.clone());
                self.resigned = self.resign(item, plan).await.map_err(|_| for_now())?;
                Ok(())
            }
            Err(why) => {
                let words = format!(
                    "The server takes only ASCII, and the message cannot be converted to it: {why}"
                );
                Err(Reply::new(554, (5, 6, 3), words))
            }
        }
    }

    /// Reads a message that will be converted once more. If this server had signed it, signs what the
    /// conversion will result in.
    async fn resign(&self, item: &Item, plan: Plan) -> Result<Option<Resigned>, ReadFailure> {
        let mut pieces = item.layout().pieces();
        let Some(first) = pieces.next() else { return Ok(None) };
        let first = self.read(item, first).await?;
        let Some(mut resigning) = Resigning::new(&first, item.head, plan) else { return Ok(None) };
        resigning.push(&first);
        for piece in pieces {
            resigning.push(&self.read(item, piece).await?);
        }
        let Relay { reporter, clock, .. } = &**self.relay;
        Ok(Some(resigning.finish(item.head, &reporter.signers, clock.now()).await))
    }

    /// Starts with the first piece, of the original or of what `survey` found it can be converted to.
    pub(super) fn begin(&mut self, converted: bool) {
        self.pieces_read = 0;
        self.converter = self.plan.clone().filter(|_| converted).map(Converter::new);
    }

    /// Returns the next piece of the message.
    pub(super) async fn next(&mut self, item: &Item) -> Result<smtp::Piece, ReadFailure> {
        let Some(piece) = item.layout().pieces().nth(self.pieces_read) else {
            let Some(converter) = self.converter.take() else { return Ok(smtp::Piece::End) };
            let mut rest = Vec::new();
            converter.finish(&mut rest);
            return Ok(if rest.is_empty() {
                smtp::Piece::End
            } else {
                smtp::Piece::Content(rest.into())
            });
        };
        let content = self.read(item, piece).await?;
        self.pieces_read += 1;
        Ok(match &mut self.converter {
            None => smtp::Piece::Content(content),
            Some(converter) => {
                let mut changed = Vec::with_capacity(content.len() + content.len() / 8);
                match self.resigned.as_ref().filter(|_| self.pieces_read == 1) {
                    None => converter.push(&content, &mut changed),
                    Some(resigned) => {
                        changed.extend_from_slice(resigned.signatures());
                        converter.push(&resigned.first(&content), &mut changed);
                    }
                }
                smtp::Piece::Content(changed.into())
            }
        })
    }

    async fn read(&self, item: &Item, piece: u32) -> Result<Bytes, ReadFailure> {
        match self.relay.store.chunk(item.id.content, piece).await {
            Ok(Some(content)) => Ok(content),
            Ok(None) | Err(StoreError::Damaged(_)) => {
                tracing::error!(id = %item.id, "a message in the queue is damaged: its sender gets a report");
                Err(ReadFailure::Damaged)
            }
            Err(error) => {
                tracing::error!(%error, id = %item.id, "a message in the queue cannot be read now");
                Err(ReadFailure::ForNow)
            }
        }
    }
}
