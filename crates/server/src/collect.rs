//! Collects mail from POP3 servers elsewhere, for `posta fetch`, for the sources of accounts, and once when a mailbox
//! moves here.
//!
//! A visit asks for the unique-ids, fetches the messages that are not known yet, and makes them durable at their
//! destination, a batch at a time; only then does it mark them, so that QUIT removes them there. A visit that breaks
//! off is continued by the next one: nothing is lost, and a message known by its unique-id is not fetched twice.

pub mod import;
mod listed;
pub mod plain_files;
mod said;
mod session;
mod sources;
mod store;

pub use sources::Collectors;
pub use store::{Purpose, StoreDestination, derived};

use posta_mail::{Secret, Timestamp, TlsUse};
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

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(30);

/// Where collected messages go.
pub trait Destination: Send {
    /// Returns the unique-ids of the messages that it has already, and since when.
    fn known(&mut self) -> impl Future<Output = io::Result<BTreeMap<String, Timestamp>>> + Send;

    /// Returns whether messages fetched now are known at the next visit.
    fn remembers(&self) -> bool {
        true
    }

    /// Called with the number of messages that will come.
    fn expect(&mut self, _messages: u64) {}

    /// Begins a message; `unique_id` is the server's, if it has any.
    fn begin(&mut self, unique_id: Option<&str>) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes a piece of the message, with CRLF as line ends.
    fn write(&mut self, content: &[u8]) -> impl Future<Output = io::Result<()>> + Send;

    /// Ends the message. Returns whether it is accepted: one that is refused stays where it was, and the next comes.
    fn end(&mut self) -> impl Future<Output = io::Result<FetchOutcome>> + Send;

    /// Returns the unique-id by which a message is known here ([`Destination::known`]), given the server's.
    fn known_as<'i>(&self, unique_id: &'i str) -> Cow<'i, str> {
        Cow::Borrowed(unique_id)
    }

    /// Drops an incomplete message, when the visit broke off.
    fn abandon(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Makes all complete messages durable, and known from now on.
    fn sync(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Forgets the unique-ids of messages that the server no longer has.
    fn forget(&mut self, unique_ids: Vec<String>) -> impl Future<Output = io::Result<()>> + Send;
}

/// What became of a message that was fetched completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOutcome {
    /// It was accepted.
    Kept,
    /// It was refused, for this reason.
    Refused(String),
}

/// What a visit brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisitOutcome {
    /// Messages that were fetched and are durable.
    pub messages: u64,
    /// Messages that were removed from the server.
    pub removed: u64,
    /// Messages that the server would not hand out.
    pub refused: u64,
    /// Messages that are too large, and stay on the server.
    pub too_large: u64,
    /// Messages that cannot be told apart by unique-ids, and stay on the server.
    pub nameless: u64,
    /// Messages that were fetched but refused here, and stay on the server.
    pub not_taken: u64,
    /// The first messages that stay on the server although they were wanted, and why: at most
    /// [`VisitOutcome::NAMED`].
    pub left: Vec<String>,
}

impl VisitOutcome {
    /// The most messages named in [`VisitOutcome::left`]: nobody reads a longer list.
    pub const NAMED: usize = 20;

    /// Notes a message that stays on the server.
    fn leave(&mut self, name: &str, why: &str) {
        if self.left.len() < Self::NAMED {
            self.left.push(format!("{name}: {why}"));
        }
    }

    /// Returns how many messages stay on the server although they were wanted: one phrase for each reason.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let reasons = [
            (self.refused, "that the server would not hand out"),
            (self.too_large, "that are too large"),
            (self.nameless, "without a unique-id of their own"),
            (self.not_taken, "that were not taken"),
        ];
        let reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
        reasons.map(|(count, why)| format!("{count} {why}")).collect()
    }
}

/// Why a visit broke off. Messages that were durable before stay so.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// There is no connection.
    #[error("{}", socket_words::cannot_connect(.0, .1))]
    Connect(String, io::Error),
    /// There is no TLS.
    #[error("{}", socket_words::no_tls(.0, .1))]
    Tls(String, io::Error),
    /// The server says no.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// It offers no TLS.
    #[error(
        "the server offers no STLS, and a password may not travel in plaintext: --tls implicit at port 995, \
         or --tls none for a server on this machine"
    )]
    NoTls,
    /// It is no POP3 server.
    #[error("what answers there does not speak POP3: {0}")]
    Protocol(&'static str),
    /// The password is kept, but cannot be read.
    #[error(transparent)]
    Password(StoreError),
    /// There is none, as after a change of the source just now.
    #[error(
        "its password is not kept: give it again, by `posta collect add` with the same account, --server and --user"
    )]
    NoPassword,
    /// It could not prove that it knows the account (RFC 5802 §5).
    #[error("the server does not know the password itself: it may be another one that says so")]
    Impostor,
    /// A message goes on and on, whatever size the server said that it had.
    #[error(
        "a message is longer than {0} octets, the most that is taken here, though the server did not \
         say so"
    )]
    TooLong(u64),
    /// Messages can be told apart by their unique-ids only.
    #[error(
        "the server has no unique-ids, so what was fetched once cannot be told from what is new: fetch \
         all, or have what is fetched deleted there"
    )]
    NoUniqueIds,
    /// Where the messages go there is no room, or it fails.
    #[error("a message cannot be kept: {0}")]
    Destination(io::Error),
    /// The connection ended in the middle.
    #[error("the connection broke off: {0}")]
    Broken(String),
}

/// What a visit needs of the world.
#[derive(Clone)]
pub struct CollectContext {
    /// Connections.
    pub net: Arc<dyn Net>,
    /// TLS on them.
    pub tls: ClientTls,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Octets that a message may have.
    pub message_size: u64,
}

impl CollectContext {
    /// Visits a server, with the password there. Returns what the visit brought, and how it ended.
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
        // What came before is safe, and is known the next time.
        let closed = session.close().await;
        let heard = session.heard;
        let (brought, ended) = session.ended();
        if let Err(error) = closed {
            return (brought, Err(error));
        }
        let ended = match (ended, driven) {
            (Some(ended), _) => ended,
            (None, Ok(_)) if !heard => Err(CollectError::Broken(socket_words::SILENT.to_owned())),
            (None, Ok(Ended::ByPeer)) => Err(CollectError::Broken("the server closed it".into())),
            (None, Ok(_)) => Err(CollectError::Broken("the server did not answer in time".into())),
            (None, Err(error)) => Err(CollectError::Broken(error.to_string())),
        };
        (brought, ended)
    }
}

/// Whose certificate is believed.
fn verify(login: &Login) -> Verify {
    if login.any_certificate { Verify::Anyone } else { Verify::Authorities }
}

fn connect(login: &Login, error: io::Error) -> CollectError {
    CollectError::Connect(login.server.clone(), error)
}
