//! Asking the server about one mailbox, and counting what becomes of its messages.

use crate::{
    command::mail::progress::TransferProgress,
    operator::{self, SharedSession},
};
use anyhow::{Result, bail};
use posta_server::admin::{FolderRequest, Request, Response, TransferRequest, TransferResponse};
use tokio::runtime::Handle;

/// A way to the server, for one account.
pub(super) struct Asking<'a> {
    pub(super) session: &'a SharedSession,
    pub(super) handle: &'a Handle,
    pub(super) progress: &'a TransferProgress,
    pub(super) address: &'a str,
}

/// What became of a mailbox's messages.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The messages that the mailbox in files has.
    pub(super) found: u64,
    /// Those that came into the mailbox here now.
    pub(super) new: u64,
    /// Those that were imported, now or before.
    pub(super) imported: u64,
    /// Those that the mailbox here has from elsewhere, such as the old server's POP3, by their unique-ids.
    pub(super) collected: u64,
    /// Those that are marked as deleted, and left out.
    pub(super) deleted: u64,
    /// The names that were skipped.
    pub(super) skipped: u64,
    /// The messages among them.
    pub(super) skipped_messages: u64,
    /// The messages that a mail program moved while they were being read.
    pub(super) moved: u64,
}

impl Asking<'_> {
    fn ask(&self, request: Request) -> Result<Response> {
        self.handle.block_on(self.session.ask(request))
    }

    /// Takes a step of moving the account's mailbox.
    pub(super) fn transfer(&self, request: TransferRequest) -> Result<TransferResponse> {
        let address = self.address.to_owned();
        match self.ask(Request::Transfer { address, request })? {
            Response::Transfer(response) => Ok(response),
            _ => bail!(operator::UNEXPECTED),
        }
    }

    /// Asks for something about the account's folders.
    pub(super) fn folder(&self, request: FolderRequest) -> Result<Response> {
        self.ask(Request::Folder { address: self.address.to_owned(), request })
    }

    /// ImportNames a message that is skipped, and why.
    pub(super) fn skip(&self, words: &str, counts: &mut Counts) {
        counts.skipped_messages += 1;
        self.name_skipped(words, counts);
    }

    /// Names something that is skipped, and why.
    pub(super) fn name_skipped(&self, words: &str, counts: &mut Counts) {
        counts.skipped += 1;
        self.progress.complain(&format!("{}: skipped {words}", self.address));
    }

    /// Returns, for each name, whether the message was imported.
    pub(super) fn known(&self, names: &[String]) -> Result<Vec<bool>> {
        let mut all = Vec::with_capacity(names.len());
        for names in names.chunks(TransferRequest::MESSAGES) {
            match self.transfer(TransferRequest::Known { names: names.to_vec() })? {
                TransferResponse::Known(known) if known.len() == names.len() => all.extend(known),
                _ => bail!(operator::UNEXPECTED),
            }
        }
        Ok(all)
    }
}
