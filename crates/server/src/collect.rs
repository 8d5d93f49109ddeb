//! Collecting mail from a POP3 server: what `posta fetch` and the sources of accounts have in common.
//!
//! A visit asks for the unique-ids, fetches what is not known yet, and makes it safe where it goes, a
//! batch at a time; only then are messages marked, and QUIT removes them there. A visit that breaks
//! off goes on next time behind what was made safe: nothing is lost, and what is known by its
//! unique-id is not fetched twice.

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
    /// The unique-ids of the messages that it has, and since when.
    fn known(&mut self) -> impl Future<Output = io::Result<BTreeMap<String, Timestamp>>> + Send;

    /// Returns whether what is fetched now is known the next time.
    fn remembers(&self) -> bool {
        true
    }

    /// So many messages will come.
    fn expect(&mut self, _messages: u64) {}

    /// A message begins; its unique-id, if the server has such.
    fn begin(&mut self, unique_id: Option<&str>) -> impl Future<Output = io::Result<()>> + Send;

    /// A piece of it, CRLF at its line ends.
    fn write(&mut self, content: &[u8]) -> impl Future<Output = io::Result<()>> + Send;

    /// The message is complete. Returns whether it is taken: one that is refused stays where it was, and
    /// the others come.
    fn end(&mut self) -> impl Future<Output = io::Result<Taken>> + Send;

    /// Returns the unique-id by which a message is known ([`Destination::known`]), from the one that
    /// the server told.
    fn known_as<'i>(&self, unique_id: &'i str) -> Cow<'i, str> {
        Cow::Borrowed(unique_id)
    }

    /// The visit broke off: what there is of a message that is not complete is dropped.
    fn abandon(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// All that is complete must survive the loss of power, and be known from now on.
    fn sync(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// The server has these no longer.
    fn forget(&mut self, unique_ids: Vec<String>) -> impl Future<Output = io::Result<()>> + Send;
}

/// What became of a message that came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is kept.
    Kept,
    /// It is refused, with these words.
    Refused(String),
}

/// What a visit brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought {
    /// Messages that were fetched, and made safe.
    pub messages: u64,
    /// Messages that were removed there.
    pub removed: u64,
    /// Messages that the server would not hand out.
    pub refused: u64,
    /// Messages that are too large, and stay there.
    pub too_large: u64,
    /// Messages that could not be told apart from others, and stay there.
    pub nameless: u64,
    /// Messages that came and were not taken, and stay there.
    pub not_taken: u64,
    /// The first messages that stay there though they were wanted, and why: at most
    /// [`Brought::NAMED`].
    pub left: Vec<String>,
}

impl Brought {
    /// Names that are told of what stays there: who reads them cannot read more.
    pub const NAMED: usize = 20;

    /// Tells of a message that stays there.
    fn leave(&mut self, name: &str, why: &str) {
        if self.left.len() < Self::NAMED {
            self.left.push(format!("{name}: {why}"));
        }
    }

    /// Returns how much stays on the server though it was wanted, in words: one phrase for each reason.
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

/// Why a visit broke off. What was made safe before is safe.
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
pub struct Means {
    /// Connections.
    pub net: Arc<dyn Net>,
    /// TLS on them.
    pub tls: ClientTls,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Octets that a message may have.
    pub message_size: u64,
}

impl Means {
    /// Visits a server, with the password there. Returns what the visit brought, and how it ended.
    pub async fn collect<D: Destination>(
        &self,
        login: &Login,
        password: &Secret,
        keep: Keep,
        destination: &mut D,
    ) -> (Brought, Result<(), CollectError>) {
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
    ) -> (Brought, Result<(), CollectError>) {
        let (login, password) = (session.login, session.password.clone());
        let mut stream = match timeout(CONNECT, self.net.connect(&login.server)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return (Brought::default(), Err(connect(login, error))),
            Err(_) => {
                return (Brought::default(), Err(connect(login, io::ErrorKind::TimedOut.into())));
            }
        };
        if login.tls == LoginTls::Implicit {
            let name = host_of(&login.server);
            let connection = &mut session.connection;
            match connection.secure(stream, &self.tls, name, &verify(login)).await {
                Ok((secured, _)) => stream = secured,
                Err(error) => {
                    let failed = CollectError::Tls(login.server.clone(), error);
                    return (Brought::default(), Err(failed));
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
