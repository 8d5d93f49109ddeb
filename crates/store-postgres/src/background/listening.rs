//! Telling other nodes of changes, and hearing of theirs.

use super::tallies;
use crate::{
    connection::Connection,
    news::{ALL_MAILBOXES, CLEARED, COUNTS, DIRECTORY, GATHER, NOTIFY, QUEUE, RESCHEDULED},
    node::Node,
    settings::Settings,
};
use posta_store::{AccountId, StoreError, Subject};
use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};

/// The time between two looks at the connection that listens.
const LOOK: Duration = Duration::from_secs(1);

/// The number of times that a store is waited for whose last user may still be ending, and the time between two.
const CLAIMS: u32 = 50;
const CLAIM_AGAIN: Duration = Duration::from_millis(100);

/// Locks that the database keeps while the connection that listens is there: nodes share the store, a copy has it alone.
const SHARE: &str =
    "SELECT pg_try_advisory_lock_shared(hashtextextended('posta ' || current_schema(), 0))";
const HAVE_ALONE: &str =
    "SELECT pg_try_advisory_lock(hashtextextended('posta ' || current_schema(), 0))";

/// Who may have the store open at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    /// Any number of nodes.
    Any,
    /// This process alone.
    One,
}

impl Node {
    /// Takes a message of another node.
    fn hear(&self, message: &str) {
        let mut words = message.split(' ');
        let teller = words.next().unwrap_or_default();
        if teller == self.news.node {
            return;
        }
        for word in words {
            match word {
                DIRECTORY => self.watchers.tell(Subject::Directory),
                QUEUE => self.watchers.tell(Subject::Queue),
                RESCHEDULED => self.watchers.tell(Subject::Rescheduled),
                ALL_MAILBOXES => self.watchers.tell_all_mailboxes(),
                COUNTS => self.tallies.hear_told(teller),
                _ if self.hear_of_one(word) => {}
                // A newer node may tell of what this one does not know.
                _ => tracing::debug!("another node tells of {word:?}, which is unknown here"),
            }
        }
    }

    /// Takes the word on one mailbox or one count. Returns whether it is one.
    fn hear_of_one(&self, word: &str) -> bool {
        if let Some(cleared) = word.strip_prefix(CLEARED) {
            return self.tallies.hear_cleared(cleared);
        }
        let account = word.strip_prefix('m').and_then(|account| account.parse().ok());
        if let Some(account) = account {
            self.watchers.tell(Subject::Mailbox(AccountId(account)));
        }
        account.is_some()
    }
}

/// Starts to tell and to listen.
pub(crate) async fn start(
    node: &Arc<Node>,
    settings: Settings,
    users: Users,
) -> Result<Vec<JoinHandle<()>>, StoreError> {
    let connection = listen(node, &settings, users).await?;
    Ok(vec![
        tokio::spawn(tell(node.clone())),
        tokio::spawn(tallies::tell(node.clone())),
        tokio::spawn(tallies::hear(node.clone())),
        tokio::spawn(keep_listening(node.clone(), settings, users, connection)),
    ])
}

async fn tell(node: Arc<Node>) {
    loop {
        node.news.is_there.notified().await;
        sleep(GATHER).await;
        let Some(message) = node.news.take() else { continue };
        let told = node.database.read(|connection| {
            let message = message.clone();
            async move { connection.query(NOTIFY, &[&message]).await.map(drop) }
        });
        if let Err(error) = told.await {
            // Whoever has lost the database takes everything for changed later.
            tracing::debug!("other nodes could not be told of changes: {error}");
        }
    }
}

async fn listen(
    node: &Arc<Node>,
    settings: &Settings,
    users: Users,
) -> Result<Arc<Connection>, StoreError> {
    let hearing: Weak<Node> = Arc::downgrade(node);
    let hear = move |message: &str| {
        if let Some(node) = hearing.upgrade() {
            node.hear(message);
        }
    };
    let connection = Connection::open(settings, hear).await?;
    claim(&connection, settings, users).await?;
    connection.run(&format!("LISTEN posta_{}", settings.schema())).await?;
    Ok(connection)
}

/// Claims the store for as long as the connection is there. A process that was killed may have it for a moment longer.
async fn claim(
    connection: &Arc<Connection>,
    settings: &Settings,
    users: Users,
) -> Result<(), StoreError> {
    let claim = match users {
        Users::Any => SHARE,
        Users::One => HAVE_ALONE,
    };
    for _ in 0..CLAIMS {
        if connection.row(claim, &[]).await?.is_some_and(|row| row.get(0)) {
            return Ok(());
        }
        sleep(CLAIM_AGAIN).await;
    }
    Err(StoreError::InUse(PathBuf::from(format!("the database (schema {})", settings.schema()))))
}

/// Listens again whenever the connection is lost, or others are: one that stands does not always lead to the database that
/// the other nodes use now. Whoever has the store alone keeps the connection that says so.
async fn keep_listening(
    node: Arc<Node>,
    settings: Settings,
    users: Users,
    mut connection: Arc<Connection>,
) {
    let mut heard = node.database.pool().forgotten();
    loop {
        sleep(LOOK).await;
        let forgotten = node.database.pool().forgotten();
        let is_elsewhere = users == Users::Any && forgotten != heard;
        if !connection.is_closed() && !is_elsewhere {
            continue;
        }
        match listen(&node, &settings, users).await {
            Ok(again) => {
                connection = again;
                heard = forgotten;
                node.watchers.tell_all();
                node.tallies.begin_again();
                tracing::info!("the database is there again");
            }
            Err(error) => tracing::warn!("{error}"),
        }
    }
}
