//! Hands fetched messages to an LMTP server (RFC 2033), each in one mail transaction, as it arrives.

use crate::client::{self, Piece};
use bytes::Bytes;
use posta_mail::{
    Address, ForwardPath, ReversePath, TlsUse,
    envelope::{Body, MailParameters},
};
use posta_server::collect::FetchOutcome;
use posta_smtp::{
    client::{Envelope, Options},
    command::HelloVerb,
};
use std::io;
use tokio::{sync::mpsc, task::JoinHandle};

/// The number of pieces that may wait between the two servers.
const PIECES: usize = 4;

/// An LMTP server and the recipient there.
pub(super) struct Lmtp {
    server: String,
    to: Address,
    open: Option<Open>,
    /// The server's decision, if it came before the end of the message.
    decided: Option<FetchOutcome>,
}

/// A message that is being sent. Dropping it closes the connection in mid-message, so that the server accepts
/// nothing.
struct Open {
    pieces: mpsc::Sender<Piece>,
    transaction: JoinHandle<io::Result<FetchOutcome>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.transaction.abort();
    }
}

impl Lmtp {
    pub(super) const fn new(server: String, to: Address) -> Self {
        Self { server, to, open: None, decided: None }
    }

    /// Returns a name that tells this target from others.
    pub(super) fn name(&self) -> String {
        format!("lmtp {} {}", self.server, self.to)
    }

    pub(super) async fn begin(&mut self) -> io::Result<()> {
        let (pieces, receiver) = mpsc::channel(PIECES);
        let transaction = deliver(self.server.clone(), self.to.clone(), receiver);
        self.decided = None;
        self.open = Some(Open { pieces, transaction: tokio::spawn(transaction) });
        Ok(())
    }

    pub(super) async fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.pass(Piece::Content(Bytes::copy_from_slice(content))).await
    }

    /// Closes the connection if a message is being sent, so that the server accepts nothing of it.
    pub(super) fn abandon(&mut self) {
        self.open = None;
    }

    pub(super) async fn end(&mut self) -> io::Result<FetchOutcome> {
        self.pass(Piece::End).await?;
        match self.decided.take() {
            Some(decided) => Ok(decided),
            None => self.outcome().await,
        }
    }

    async fn pass(&mut self, piece: Piece) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        if open.pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        // The task ended early: its outcome says why.
        let decided = self.outcome().await?;
        if decided == FetchOutcome::Kept {
            return Err(io::Error::other("the LMTP server took less than all"));
        }
        self.decided = Some(decided);
        Ok(())
    }

    async fn outcome(&mut self) -> io::Result<FetchOutcome> {
        let Some(mut open) = self.open.take() else { return Ok(FetchOutcome::Kept) };
        (&mut open.transaction).await.map_err(io::Error::other)?
    }
}

async fn deliver(
    server: String,
    to: Address,
    pieces: mpsc::Receiver<Piece>,
) -> io::Result<FetchOutcome> {
    let envelope = Envelope {
        reverse_path: ReversePath::Null,
        recipients: vec![ForwardPath::Address(to).into()],
        parameters: MailParameters { body: Body::EightBitMime, ..MailParameters::default() },
    };
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    let options = Options::new(name, HelloVerb::Lhlo, TlsUse::Never);
    let stream = client::dial(&server).await.map_err(io::Error::other)?;
    let outcome =
        client::submit_pieces(stream, options, Default::default(), envelope, pieces).await;
    let outcome = outcome.map_err(io::Error::other)?;
    let refusal = outcome.recipients.into_iter().find(|decision| !decision.code().is_positive());
    Ok(refusal.map_or(FetchOutcome::Kept, |refusal| {
        FetchOutcome::Refused(format!("the LMTP server refuses it: {refusal}"))
    }))
}
