//! Collecting mail from POP3 servers elsewhere: for `posta fetch`, for the sources of accounts, and once
//! when a mailbox moves to this server.
//!
//! A visit requests the unique-ids, fetches the messages that are not known yet, and makes them durable
//! at their destination, a batch at a time. Only then does it mark them, so that QUIT removes them from
//! the other server. An interrupted visit is continued by the next one: nothing is lost, and no message
//! with a known unique-id is fetched twice.

mod header_facts;
pub mod imports;
pub mod plain_files;
mod remote_messages;
mod session;
mod sources;
mod store;
pub mod unique_ids;

pub use sources::Collectors;
pub use store::{Purpose, StoreDestination};
pub use unique_ids::derived;

use posta_mail::{Domain, Secret, Timestamp, TlsUse};
use posta_net::{
    clock::Clock,
    driver::{Driver, Ended},
    socket_words,
    tls::client::{ClientTls, Verify},
    transport::Net,
};
use posta_pop3::{Client, client::Options};
use posta_store::{Keep, Login, LoginTls, StoreError};
use session::{Session, host_of};
use std::{borrow::Cow, collections::BTreeMap, future::Future, io, sync::Arc, time::Duration};
use tokio::time::timeout;

/// The time within which a connection must be made.
const CONNECT: Duration = Duration::from_secs(30);

/// The place where collected messages go.
pub trait Destination: Send {
    /// Returns the unique-ids of the messages that the destination already has, each with the time of
    /// its arrival.
    fn known(&mut self) -> impl Future<Output = io::Result<BTreeMap<String, Timestamp>>> + Send;

    /// Returns whether the messages fetched now will be known at the next visit.
    fn remembers(&self) -> bool {
        true
    }

    /// Announces the number of messages that will follow.
    fn expect(&mut self, _messages: u64) {}

    /// Begins a message. `unique_id` is the other server's, if there is one.
    fn begin(&mut self, unique_id: Option<&str>) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes a piece of the message, with CRLF as line ends.
    fn write(&mut self, content: &[u8]) -> impl Future<Output = io::Result<()>> + Send;

    /// Ends the message. Returns whether the destination accepted it. A refused message stays on the
    /// other server, and the visit goes on.
    fn end(&mut self) -> impl Future<Output = io::Result<FetchOutcome>> + Send;

    /// Returns the unique-id under which the destination knows a message ([`Destination::known`]), given
    /// the other server's unique-id.
    fn known_as<'i>(&self, unique_id: &'i str) -> Cow<'i, str> {
        Cow::Borrowed(unique_id)
    }

    /// Drops an incomplete message after the visit was interrupted.
    fn abandon(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Makes all complete messages durable; from now on, their unique-ids are known.
    fn sync(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Forgets the unique-ids of messages that the other server no longer has.
    fn forget(&mut self, unique_ids: Vec<String>) -> impl Future<Output = io::Result<()>> + Send;
}

/// The destination's decision on a completely fetched message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The message was accepted.
    Kept,
    /// The message was refused, for this reason.
    Refused(String),
}

/// The result of a visit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisitOutcome {
    /// The number of messages that were fetched and are durable.
    pub messages: u64,
    /// The number of messages that were removed from the other server.
    pub removed: u64,
    /// The number of messages that the other server failed to deliver.
    pub refused: u64,
    /// The number of messages that are too large and stay on the other server.
    pub too_large: u64,
    /// The number of messages that have no distinct unique-id and stay on the other server.
    pub nameless: u64,
    /// The number of messages that were fetched but refused by the destination, and stay on the other
    /// server.
    pub not_taken: u64,
    /// The first messages that stay on the other server although they were wanted, with the reasons; at
    /// most [`VisitOutcome::NAMED`].
    pub left: Vec<String>,
}

impl VisitOutcome {
    /// The maximal number of messages in [`VisitOutcome::left`]: nobody reads a longer list.
    pub const NAMED: usize = 20;

    /// Records a message that stays on the other server.
    fn leave(&mut self, name: &str, why: &str) {
        if self.left.len() < Self::NAMED {
            self.left.push(format!("{name}: {why}"));
        }
    }

    /// Returns the numbers of messages that stay on the other server although they were wanted: one
    /// phrase for each reason.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let reasons = [
            (self.refused, "that the server failed to deliver"),
            (self.too_large, "that are too large"),
            (self.nameless, "without a unique-id of their own"),
            (self.not_taken, "that were refused here"),
        ];
        let reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
        reasons.map(|(count, why)| format!("{count} {why}")).collect()
    }
}

/// The reason why a visit was interrupted. Messages that were already durable remain so.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The connection could not be made.
    #[error("{}", socket_words::cannot_connect(.0, .1))]
    Connect(String, io::Error),
    /// TLS could not be negotiated.
    #[error("{}", socket_words::no_tls(.0, .1))]
    Tls(String, io::Error),
    /// The server refuses a command.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server offers no TLS.
    #[error(
        "the server offers no STLS, and a password may not travel in plaintext: --tls implicit at port 995, \
         or --tls none for a server on this machine"
    )]
    NoTls,
    /// The server does not speak POP3.
    #[error("the server does not speak POP3: {0}")]
    Protocol(&'static str),
    /// The stored password cannot be read.
    #[error(transparent)]
    Password(StoreError),
    /// There is no stored password, for example because the source has just been changed.
    #[error(
        "its password is not stored: give it again, by `posta collect add` with the same account, --server and --user"
    )]
    NoPassword,
    /// The server could not prove that it knows the password (RFC 5802 §5).
    #[error("the server could not prove that it knows the password: it may be an impostor")]
    Impostor,
    /// A message exceeds the maximal size, although the server announced a smaller one.
    #[error(
        "a message is longer than {0} octets, the most that is accepted here, although the server \
         announced a smaller size"
    )]
    TooLong(u64),
    /// The server has no unique-ids, which are the only way to tell messages apart.
    #[error(
        "the server has no unique-ids, so messages fetched before cannot be told from new ones: fetch \
         all, or have fetched messages deleted there"
    )]
    NoUniqueIds,
    /// The destination has no room, or fails.
    #[error("a message cannot be stored: {0}")]
    Destination(io::Error),
    /// The connection ended during the dialogue.
    #[error("the connection broke off: {0}")]
    Broken(String),
}

/// The services that a visit needs.
#[derive(Clone)]
pub struct CollectContext {
    /// The network.
    pub net: Arc<dyn Net>,
    /// The TLS client.
    pub tls: ClientTls,
    /// The source of time and randomness.
    pub clock: Arc<dyn Clock>,
    /// The maximal size of a message, in octets.
    pub message_size: u64,
    /// Our own name: fields that claim to tell what we found are taken out.
    pub hostname: Domain,
}

impl CollectContext {
    /// Visits a server, with the password for it. Returns the result, and the reason for an
    /// interruption.
    pub async fn collect<D: Destination>(
        &self,
        login: &Login,
        password: &Secret,
        keep: Keep,
        destination: &mut D,
    ) -> (VisitOutcome, Result<(), CollectError>) {
        self.visit(Session::new(self, (login, password), keep, destination)).await
    }

    /// Logs in to a server, and does nothing else there. `destination` gets nothing.
    pub(crate) async fn log_in<D: Destination>(
        &self,
        login: &Login,
        password: &Secret,
        destination: &mut D,
    ) -> Result<(), CollectError> {
        let session = Session::new(self, (login, password), Keep::All, destination);
        self.visit(session.for_login()).await.1
    }

    async fn visit<D: Destination>(
        &self,
        mut session: Session<'_, D>,
    ) -> (VisitOutcome, Result<(), CollectError>) {
        let (login, password) = (session.login, session.password.clone());
        let mut stream = match timeout(CONNECT, self.net.connect(&login.server)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return (VisitOutcome::default(), Err(connect(login, error))),
            Err(_) => {
                return (
                    VisitOutcome::default(),
                    Err(connect(login, io::ErrorKind::TimedOut.into())),
                );
            }
        };
        if login.tls == LoginTls::Implicit {
            let name = host_of(&login.server);
            let connection = &mut session.connection;
            match connection.secure(stream, &self.tls, name, &verify(login)).await {
                Ok((secured, _)) => stream = secured,
                Err(error) => {
                    let failed = CollectError::Tls(login.server.clone(), error);
                    return (VisitOutcome::default(), Err(failed));
                }
            }
        }
        let options = Options {
            name: login.user.clone(),
            password,
            tls: if login.tls == LoginTls::Stls { TlsUse::Required } else { TlsUse::Never },
            sasl: true,
        };
        let mut engine = Client::new(options, login.tls == LoginTls::Implicit);
        let driven = Driver::unstoppable().drive(stream, &mut engine, &mut session).await;
        // All earlier messages are durable and will be known at the next visit.
        let closed = session.close().await;
        let heard = session.heard;
        let (outcome, ended) = session.ended();
        if let Err(error) = closed {
            return (outcome, Err(error));
        }
        let ended = match (ended, driven) {
            (Some(ended), _) => ended,
            (None, Ok(_)) if !heard => Err(CollectError::Broken(socket_words::SILENT.to_owned())),
            (None, Ok(Ended::ByPeer)) => Err(CollectError::Broken("the server closed it".into())),
            (None, Ok(_)) => Err(CollectError::Broken("the server did not answer in time".into())),
            (None, Err(error)) => Err(CollectError::Broken(error.to_string())),
        };
        (outcome, ended)
    }
}

/// Returns the proof of identity that the server has to give.
fn verify(login: &Login) -> Verify {
    if login.any_certificate { Verify::Anyone } else { Verify::Authorities }
}

fn connect(login: &Login, error: io::Error) -> CollectError {
    CollectError::Connect(login.server.clone(), error)
}
