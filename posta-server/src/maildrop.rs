//! Handing mail out: the answers to a POP3 session's questions.

use crate::{
    auth::{Authenticator, LoginError},
    clock::Clock,
    drive::Host,
    net::Stream,
    tls::Tls,
};
use bytes::Bytes;
use posta_mail::Secret;
use posta_pop3::{
    Server,
    server::{Answer, Denial, Maildrop, Question},
};
use posta_store::{self as store, AccountId, CHUNK, Entry, Store, StoreError};
use std::{fmt::Write as _, io, sync::Arc, time::Duration};

/// How long a removed message can be brought back.
pub const PURGE_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What all sessions of a listener share.
#[derive(Clone)]
pub struct Deliverer {
    /// Where messages are.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who may read them.
    pub authenticator: Arc<Authenticator>,
    /// For STLS.
    pub tls: Option<Tls>,
}

/// A session's view of a mailbox, shared by its engine and its host.
#[derive(Debug, Clone)]
pub struct View(Arc<store::Maildrop>);

impl Maildrop for View {
    fn len(&self) -> usize {
        self.0.messages.len()
    }

    fn octets(&self, index: usize) -> u64 {
        self.0.messages[index].octets
    }

    fn write_unique_id(&self, index: usize, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{:014x}", self.0.messages[index].uid.0);
    }
}

/// One session's answers.
pub struct PopHost {
    deliverer: Arc<Deliverer>,
    opened: Option<Box<Opened>>,
}

struct Opened {
    account: AccountId,
    view: View,
    /// The message that was read last, by its index: its pieces are asked for one after another.
    current: Option<(usize, Entry)>,
}

impl PopHost {
    /// Answers for a session.
    #[must_use]
    pub const fn new(deliverer: Arc<Deliverer>) -> Self {
        Self { deliverer, opened: None }
    }

    async fn login(&mut self, name: &str, password: &Secret) -> Result<View, LoginError> {
        let account = self.deliverer.authenticator.login(name, password).await?;
        let maildrop = self.deliverer.store.maildrop(account.id).await?;
        let view = View(Arc::new(maildrop));
        let opened = Opened { account: account.id, view: view.clone(), current: None };
        self.opened = Some(Box::new(opened));
        Ok(view)
    }

    async fn update(&self, indices: &[usize]) -> Result<(), StoreError> {
        let Some(opened) = &self.opened else { return Ok(()) };
        let uids = indices.iter().map(|&index| opened.view.0.messages[index].uid).collect();
        let now = self.deliverer.clock.now();
        self.deliverer.store.remove(opened.account, uids, now, now + PURGE_AFTER).await.map(|_| ())
    }
}

impl Opened {
    /// The octets of a message from `offset` on, up to the end of the chunk that it falls in.
    async fn read(
        &mut self,
        index: usize,
        offset: u64,
        store: &dyn Store,
    ) -> Result<Option<Bytes>, StoreError> {
        if self.current.as_ref().is_none_or(|(current, _)| *current != index) {
            let uid = self.view.0.messages[index].uid;
            self.current = store.entry(self.account, uid).await?.map(|entry| (index, entry));
        }
        let Some((_, entry)) = &self.current else { return Ok(None) };
        let Some(offset) = offset.checked_sub(entry.prefix.len() as u64) else {
            let from = usize::try_from(offset).unwrap_or_default();
            return Ok(Some(Bytes::copy_from_slice(&entry.prefix[from..])));
        };
        let Ok(number) = u32::try_from(offset / CHUNK as u64) else { return Ok(None) };
        let within = (offset % CHUNK as u64) as usize;
        let chunk = store.chunk(entry.content, number).await?;
        Ok(chunk.filter(|chunk| within < chunk.len()).map(|chunk| chunk.slice(within..)))
    }
}

impl Host<Server<View>> for PopHost {
    async fn answer(&mut self, question: Question) -> Answer<View> {
        match question {
            Question::Login { name, password } => match self.login(&name, &password).await {
                Ok(view) => Answer::Opened(view),
                Err(LoginError::Credentials) => Answer::Denied(Denial::Credentials),
                Err(error @ (LoginError::Store(_) | LoginError::Tokens(_))) => {
                    tracing::error!(%error, "a maildrop could not be opened");
                    Answer::Denied(Denial::Unavailable)
                }
            },
            Question::Read { index, offset } => {
                let Some(opened) = &mut self.opened else { return Answer::Failed };
                match opened.read(index, offset, &*self.deliverer.store).await {
                    Ok(Some(piece)) => Answer::Content(piece),
                    Ok(None) => {
                        tracing::error!(account = opened.account.0, index, "content is missing");
                        Answer::Failed
                    }
                    Err(error) => {
                        tracing::error!(%error, "a message could not be read");
                        Answer::Failed
                    }
                }
            }
            Question::Update(indices) => match self.update(&indices).await {
                Ok(()) => Answer::Updated,
                Err(error) => {
                    tracing::error!(%error, "messages could not be removed");
                    Answer::Failed
                }
            },
        }
    }

    /// A server is sent no content.
    async fn content(&mut self, _content: &[u8]) {}

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        match &self.deliverer.tls {
            Some(tls) => tls.accept(stream).await.map(|(stream, _)| stream),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
