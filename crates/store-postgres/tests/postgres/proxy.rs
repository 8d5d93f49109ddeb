//! A door between the store and PostgreSQL, which can lose an answer: what the store sends arrives and takes effect, but the
//! connection breaks before the answer comes back.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::watch,
};

/// The name of PostgreSQL's socket in its directory.
const SOCKET: &str = ".s.PGSQL.5432";

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lose {
    /// Nothing.
    Nothing = 0,
    /// The answer to what the store sends next.
    NextAnswer = 1,
    /// The answer to the next COMMIT.
    AnswerToCommit = 2,
    /// The answer to what contains [`MARK`].
    AnswerToMarked = 3,
}

/// The octets in a request whose answer is to be lost.
pub const MARK: &[u8] = b"the answer to this is lost";

/// The door.
#[derive(Debug)]
pub struct Proxy {
    directory: tempfile::TempDir,
    lose: Arc<AtomicU8>,
    lost: Arc<AtomicUsize>,
    /// Whether new connections wait.
    is_shut: watch::Sender<bool>,
}

impl Proxy {
    /// Opens a door to the server in this directory.
    pub fn open(server: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("posta-door").tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let (lose, lost) = (Arc::<AtomicU8>::default(), Arc::<AtomicUsize>::default());
        let (is_shut, shut) = watch::channel(false);
        tokio::spawn(serve(listener, server.join(SOCKET), (lose.clone(), lost.clone()), shut));
        Self { directory, lose, lost, is_shut }
    }

    /// Has new connections wait, or lets them through.
    pub fn shut(&self, is_shut: bool) {
        self.is_shut.send_replace(is_shut);
    }

    /// Returns a URL that leads through the door.
    pub fn url(&self) -> String {
        let host = self.directory.path().to_str().unwrap().replace('/', "%2F");
        format!("postgresql://posta@{host}/postgres")
    }

    /// Loses one answer.
    pub fn lose(&self, what: Lose) {
        self.lose.store(what as u8, Ordering::SeqCst);
    }

    /// Returns the number of answers that were lost so far.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }
}

async fn serve(
    listener: UnixListener,
    server: PathBuf,
    (lose, lost): (Arc<AtomicU8>, Arc<AtomicUsize>),
    mut shut: watch::Receiver<bool>,
) {
    while let Ok((client, _)) = listener.accept().await {
        if shut.wait_for(|is_shut| !is_shut).await.is_err() {
            return;
        }
        let Ok(server) = UnixStream::connect(&server).await else { continue };
        tokio::spawn(pass(client, server, lose.clone(), lost.clone()));
    }
}

async fn pass(
    mut client: UnixStream,
    mut server: UnixStream,
    lose: Arc<AtomicU8>,
    lost: Arc<AtomicUsize>,
) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_losing = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(read @ 1..) = read else { return };
                let what = lose.load(Ordering::SeqCst);
                let is_commit = up[..read].windows(7).any(|octets| octets == b"COMMIT\0");
                let is_marked = up[..read].windows(MARK.len()).any(|octets| octets == MARK);
                if what == Lose::NextAnswer as u8
                    || what == Lose::AnswerToCommit as u8 && is_commit
                    || what == Lose::AnswerToMarked as u8 && is_marked
                {
                    lose.store(Lose::Nothing as u8, Ordering::SeqCst);
                    is_losing = true;
                }
                if server.write_all(&up[..read]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(read @ 1..) = read else { return };
                if is_losing {
                    lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if client.write_all(&down[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
