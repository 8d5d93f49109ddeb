//! Serving mail over POP3: the answers to the questions of one session's engine.

use super::view::View;
use crate::{
    limits::metrics::{LoginCount, Metrics},
    login::{
        Authenticator, FailedLogin, LoginError, login_log,
        principal::Principal,
        sasl::{Dialogue, Peer},
        sessions::{AccountSessions, Present, Refused},
    },
    receive::refusals::{Refusals, SessionRefusals},
};
use bytes::Bytes;
use posta_mail::{
    ClientAddress, MailId, Secret, Timestamp,
    sasl::{Exchange, Progress},
};
use posta_net::{
    clock::Clock,
    driver::Host,
    tls::server::{Tls, TlsInfo},
    transport::Stream,
};
use posta_pop3::{
    Marks,
    server::{self as pop3, Denial, Lapse, Maildrop as _, NotRemoved, Unreadable},
};
use posta_store::{Entry, Event, FolderId, Origin, Store, StoreError, What};
use std::{io, sync::Arc, time::Duration};

/// The time for which a removed message can be restored.
pub const PURGE_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The maximal number of retrieved messages that are recorded in one transaction.
const NOTED: usize = 1_000;

/// The resources that all sessions of a listener share.
#[derive(Clone)]
pub struct Maildrops {
    /// The store, which holds the messages.
    pub store: Arc<dyn Store>,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Checks logins.
    pub authenticator: Arc<Authenticator>,
    /// The certificates for STLS; none if STLS is not offered.
    pub tls: Option<Tls>,
    /// Counts the sessions of each account.
    pub sessions: Arc<AccountSessions>,
    /// Limits the cost of refusals.
    pub refusals: Arc<Refusals>,
    /// Whether APOP is offered.
    pub apop: bool,
    /// Whether retrieved messages expire.
    pub expires: bool,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
}

impl Maildrops {
    /// Returns the challenge in the greeting, if APOP is offered.
    #[must_use]
    pub fn challenge(&self, hostname: &str) -> Option<String> {
        self.apop.then(|| format!("<{}@{hostname}>", self.clock.mail_id()))
    }
}

/// The host of one session: answers its engine's questions.
pub struct PopHost {
    maildrops: Arc<Maildrops>,
    client: ClientAddress,
    connected: Timestamp,
    tls: Option<Box<TlsInfo>>,
    dialogue: Dialogue,
    opened: Option<Box<Opened>>,
    /// The refused logins of the session, for the history.
    refused: SessionRefusals,
}

struct Opened {
    account: Principal,
    view: View,
    /// The message that was read last, with its index. Its pieces are requested one after another.
    current: Option<(usize, Entry)>,
    /// The first chunk of the current message's content, read before the client was promised the
    /// message.
    first: Option<Bytes>,
    /// The messages that were retrieved completely.
    retrieved: Marks,
    removed: usize,
    _present: Present,
}

impl PopHost {
    /// Returns the host of a session with this client.
    #[must_use]
    pub fn new(maildrops: Arc<Maildrops>, client: ClientAddress, tls: Option<TlsInfo>) -> Self {
        Self {
            client,
            connected: maildrops.clock.now(),
            tls: tls.map(Box::new),
            dialogue: Dialogue::default(),
            opened: None,
            refused: SessionRefusals::default(),
            maildrops,
        }
    }

    async fn open(&mut self, account: Principal) -> Result<View, Denial> {
        let Maildrops { store, clock, sessions, .. } = &*self.maildrops;
        let session = sessions.enter(account.id, clock.now()).map_err(|refused| match refused {
            Refused::TooMany => Denial::TooMany,
            Refused::TooSoon => Denial::TooSoon,
        })?;
        let view = View::open(&**store, account.id, account.marks_junk).await.map_err(|error| {
            unavailable(&error);
            Denial::Unavailable
        })?;
        self.maildrops.metrics.login(LoginCount::Ok);
        login_log::succeeded(self.client, &account, "pop3", self.tls.is_some());
        self.opened = Some(Box::new(Opened {
            account,
            view: view.clone(),
            current: None,
            first: None,
            retrieved: Marks::default(),
            removed: 0,
            _present: session,
        }));
        Ok(view)
    }

    /// Answers a login with USER and PASS.
    async fn login(&mut self, name: &str, password: &Secret) -> pop3::LoginOutcome<View> {
        let (authenticator, client) = (self.maildrops.authenticator.clone(), self.client);
        let login = Box::pin(authenticator.login(client, name, password));
        let outcome = authenticator.attempt(client, login).await;
        self.outcome("USER", name, outcome).await
    }

    async fn apop(
        &mut self,
        name: &str,
        challenge: &str,
        digest: &[u8; 16],
    ) -> pop3::LoginOutcome<View> {
        let (authenticator, client) = (self.maildrops.authenticator.clone(), self.client);
        let login = authenticator.login_with_digest(client, name, challenge, digest);
        let outcome = authenticator.attempt(client, Box::pin(login)).await;
        self.outcome("APOP", name, outcome).await
    }

    async fn authenticate(&mut self, message: Exchange) -> pop3::Authentication<View> {
        let authenticator = self.maildrops.authenticator.clone();
        let peer = Peer::new(self.client, self.tls.as_deref());
        let outcome = match self.dialogue.step(message, &authenticator, &peer).await {
            Ok(Progress::Challenge(challenge)) => return Ok(Progress::Challenge(challenge)),
            Ok(Progress::Done(account)) => Ok(account),
            Err(error) => Err(error),
        };
        self.outcome("AUTH", "", outcome).await.map(Progress::Done)
    }

    async fn broken_off(&mut self) {
        let authenticator = self.maildrops.authenticator.clone();
        let error = self.dialogue.break_off(&authenticator, self.client).await;
        self.login_failed("AUTH", "", &error);
    }

    /// Completes a login: returns a maildrop, or a denial, which is recorded for the history.
    async fn outcome(
        &mut self,
        command: &'static str,
        name: &str,
        outcome: Result<Principal, LoginError>,
    ) -> pop3::LoginOutcome<View> {
        match outcome {
            Ok(account) => {
                let denied = FailedLogin::new(account.address.as_str(), "the password is right");
                let opened = match account.send_only {
                    true => Err(Denial::SendOnly),
                    false => self.open(account).await,
                };
                opened.inspect_err(|&denial| self.note_denial(command, denial, name, Some(denied)))
            }
            Err(error) => Err(self.login_failed(command, name, &error)),
        }
    }

    fn login_failed(&mut self, command: &'static str, name: &str, error: &LoginError) -> Denial {
        let denial = match error {
            LoginError::Credentials(_) => Denial::Credentials,
            LoginError::Locked(_) => Denial::Locked,
            LoginError::Disabled(_) => Denial::Disabled,
            LoginError::Store(_) | LoginError::Tokens(_) => {
                unavailable(error);
                Denial::Unavailable
            }
        };
        self.note_denial(command, denial, name, error.failed_login().cloned());
        denial
    }

    /// Records a denied login for the history. `name` is the name that the client gave.
    fn note_denial(
        &mut self,
        command: &'static str,
        denial: Denial,
        name: &str,
        denied: Option<FailedLogin>,
    ) {
        // The whole address is used if it has been found.
        let denied = match denied {
            Some(FailedLogin { name: found, why }) if found.is_empty() => {
                FailedLogin::new(name, why)
            }
            Some(denied) => denied,
            None => FailedLogin::new(name, "it could not be found out"),
        };
        self.refused.note_login(command, denial_text(denial).to_owned(), Some(&denied));
    }

    /// Decides whether a session may continue, which requires that its login still holds.
    async fn proceed(&mut self) -> pop3::Standing {
        let Some(opened) = &mut self.opened else { return Err(Lapse::Unavailable) };
        let (lapse, text) = match opened.account.is_current(&*self.maildrops.store).await {
            Ok(true) if !opened.account.has_expired(&*self.maildrops.clock) => return Ok(()),
            Ok(true) => (Lapse::Expired, "[AUTH] the token has expired"),
            Ok(false) => (Lapse::Ended, "[AUTH] the account or its password has changed"),
            Err(error) => {
                unavailable(&error);
                (Lapse::Unavailable, denial_text(Denial::Unavailable))
            }
        };
        self.refused.note("the session".to_owned(), text.to_owned());
        Err(lapse)
    }

    async fn read(&mut self, index: usize, offset: u64, whole: bool) -> pop3::MessagePiece {
        let opened = self.opened.as_mut().ok_or(Unreadable::ForNow)?;
        // Sending a large message may take hours, and stops when the login ends.
        if !matches!(opened.account.is_current(&*self.maildrops.store).await, Ok(true)) {
            return Err(Unreadable::ForNow);
        }
        match opened.read(index, offset, &*self.maildrops.store).await {
            Ok(Piece::Content(piece)) => {
                opened.note_read(index, offset + piece.len() as u64, whole);
                Ok(piece)
            }
            Ok(Piece::Damaged) => {
                opened.log_damage(index);
                Err(Unreadable::Damaged)
            }
            Ok(Piece::Gone) => Err(Unreadable::ForNow),
            Err(error) => {
                let (account, message) = (&opened.account.address, index + 1);
                tracing::error!(%error, %account, message, "a message could not be read");
                Err(Unreadable::ForNow)
            }
        }
    }

    /// Removes the marked messages of both folders in one transaction (RFC 1939 §6).
    async fn update(&mut self, marked: &Marks) -> Result<(), NotRemoved> {
        let Some(opened) = &mut self.opened else { return Ok(()) };
        let (now, store) = (self.maildrops.clock.now(), &self.maildrops.store);
        let named = |folder| {
            let uids = opened.view.names_in(folder, marked.iter()).collect::<Vec<_>>();
            (!uids.is_empty()).then_some((folder, uids))
        };
        let names: Vec<_> =
            [FolderId::INBOX, FolderId::JUNK].into_iter().filter_map(named).collect();
        if !names.is_empty() {
            let removed = store.remove_from(opened.account.id, names, now, now + PURGE_AFTER).await;
            opened.removed = removed.map_err(|error| {
                let account = &opened.account.address;
                tracing::error!(%error, %account, "messages could not be removed");
                NotRemoved
            })?;
        }
        Ok(())
    }

    async fn note_retrieved(&self, opened: &Opened) {
        // What is in Junk does not expire.
        let mut uids = opened.view.names_in(FolderId::INBOX, opened.retrieved.iter());
        let Maildrops { store, clock, .. } = &*self.maildrops;
        loop {
            let some: Vec<_> = uids.by_ref().take(NOTED).collect();
            if some.is_empty() {
                return;
            }
            if let Err(error) = store.retrieved(opened.account.id, some, clock.now()).await {
                let account = &opened.account.address;
                tracing::error!(%error, %account, "the retrieval of messages could not be recorded, so they are kept longer");
                return;
            }
        }
    }

    /// Records in the history what the session did.
    pub async fn end(&mut self) {
        if self.opened.is_none() && self.refused.is_empty() {
            return;
        }
        let refused = self.refused.take();
        let opened = self.opened.take();
        if let Some(opened) = opened.as_deref().filter(|_| self.maildrops.expires) {
            self.note_retrieved(opened).await;
        }
        let origin = Origin {
            connected: Some(self.connected),
            client: self.client.ip(),
            protocol: if self.tls.is_some() { "POP3S" } else { "POP3" }.to_owned(),
            tls: self.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher)),
            account: opened.as_ref().map(|opened| opened.account.address.clone()),
            ..Origin::default()
        };
        let what = match opened {
            Some(opened) => {
                let (retrieved, removed) = (opened.retrieved.len() as u64, opened.removed as u64);
                self.maildrops.metrics.maildrop(retrieved, removed);
                let messages = opened.view.len() as u64;
                What::Collected { origin, messages, retrieved, removed, refused }
            }
            None => {
                let what = What::Refused { origin, from: None, refused };
                return self.maildrops.refusals.tell(self.client, what).await;
            }
        };
        let Maildrops { store, clock, .. } = &*self.maildrops;
        let event = Event { id: clock.mail_id(), time: clock.now(), what };
        if let Err(error) = store.note(vec![event]).await {
            tracing::error!(%error, "the history could not be written");
        }
    }
}

/// Returns the text that the client was sent, in English regardless of the session's language.
const fn denial_text(denial: Denial) -> &'static str {
    match denial {
        Denial::Credentials => "[AUTH] wrong name or password",
        Denial::Unavailable => "[SYS/TEMP] the maildrop could not be opened",
        Denial::Locked => "[AUTH] too many failed logins",
        Denial::Disabled => "[AUTH] the account is disabled",
        Denial::SendOnly => "[SYS/PERM] the account only sends mail",
        Denial::TooMany => "[IN-USE] too many sessions of the account",
        Denial::TooSoon => "[LOGIN-DELAY] too soon after the last login",
    }
}

fn unavailable(error: &dyn std::fmt::Display) {
    tracing::error!(%error, "a maildrop could not be opened");
}

/// The result of reading a part of a message.
enum Piece {
    Content(Bytes),
    /// The content is missing or altered.
    Damaged,
    /// The message itself no longer exists.
    Gone,
}

/// Reads a chunk; none if it is damaged.
async fn chunk(
    store: &dyn Store,
    content: MailId,
    number: u32,
) -> Result<Option<Bytes>, StoreError> {
    match store.chunk(content, number).await {
        Err(StoreError::Damaged(_)) => Ok(None),
        read => read,
    }
}

impl Opened {
    /// Logs which message cannot be read.
    fn log_damage(&self, index: usize) {
        let Some((_, entry)) = &self.current else { return };
        let mut unique_id = String::new();
        self.view.write_unique_id(index, &mut unique_id);
        tracing::error!(
            account = %self.account.address,
            message = index + 1,
            unique_id,
            id = %entry.content,
            "a message is damaged and cannot be read: bring the store back from a backup, or remove it"
        );
    }

    /// Records that a message was read up to `end`, by RETR or by another command.
    fn note_read(&mut self, index: usize, end: u64, whole: bool) {
        let is_end = |(_, entry): &(usize, Entry)| end == entry.kept();
        if whole && self.current.as_ref().is_some_and(is_end) {
            self.retrieved.insert(index);
        }
    }

    /// Returns the octets of a message from `offset` to the end of the chunk that contains it.
    async fn read(
        &mut self,
        index: usize,
        offset: u64,
        store: &dyn Store,
    ) -> Result<Piece, StoreError> {
        if self.current.as_ref().is_none_or(|(current, _)| *current != index) {
            let Some((folder, uid)) = self.view.name(index) else { return Ok(Piece::Gone) };
            let entry = store.entry(self.account.id, folder, uid).await?;
            self.current = entry.map(|entry| (index, entry));
            self.first = None;
        }
        let Some((_, entry)) = &self.current else { return Ok(Piece::Gone) };
        if offset == entry.kept() {
            return Ok(Piece::Content(Bytes::new()));
        }
        let layout = entry.layout();
        let Some(offset) = offset.checked_sub(entry.prefix.len() as u64) else {
            if layout.octets() > 0 {
                // The chunk is read before the reply is sent, and kept for use afterwards.
                self.first = chunk(store, entry.content, 0).await?;
                if self.first.is_none() {
                    return Ok(Piece::Damaged);
                }
            }
            let from = usize::try_from(offset).unwrap_or_default();
            return Ok(Piece::Content(Bytes::copy_from_slice(&entry.prefix[from..])));
        };
        let (number, within) = layout.at(offset);
        let chunk = match self.first.take_if(|_| number == 0) {
            Some(first) => Some(first),
            None => chunk(store, entry.content, number).await?,
        };
        let piece = chunk.filter(|chunk| within < chunk.len()).map(|chunk| chunk.slice(within..));
        Ok(piece.map_or(Piece::Damaged, Piece::Content))
    }
}

impl Host<pop3::Server<View>> for PopHost {
    async fn answer(&mut self, question: pop3::Question<View>) -> pop3::Answer<View> {
        match question {
            // Rare answers are boxed, so that a waiting session takes memory only for the usual ones.
            pop3::Question::Login { name, password, ticket } => {
                ticket.answer(Box::pin(self.login(&name, &password)).await)
            }
            pop3::Question::Apop { name, challenge, digest, ticket } => {
                ticket.answer(Box::pin(self.apop(&name, &challenge, &digest)).await)
            }
            pop3::Question::Authenticate(message, ticket) => {
                ticket.answer(Box::pin(self.authenticate(message)).await)
            }
            pop3::Question::BrokenOff(ticket) => {
                Box::pin(self.broken_off()).await;
                ticket.answer(())
            }
            pop3::Question::Proceed(ticket) => ticket.answer(self.proceed().await),
            pop3::Question::Read { index, offset, whole, ticket } => {
                ticket.answer(self.read(index, offset, whole).await)
            }
            pop3::Question::Update(marked, ticket) => {
                ticket.answer(Box::pin(self.update(&marked)).await)
            }
        }
    }

    /// A POP3 server receives no content.
    async fn content(&mut self, _content: &[u8]) {}

    async fn secure(&mut self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        match &self.maildrops.tls {
            Some(tls) => {
                let (stream, info) = tls.accept(stream).await?;
                self.tls = Some(Box::new(info));
                Ok(stream)
            }
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
