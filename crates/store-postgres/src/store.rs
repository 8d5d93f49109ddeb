//! [`PostgresStore`], which implements the traits of `posta_store`, a file for each.

mod contents;
mod copies;
mod directory;
mod folders;
mod history;
mod mailboxes;
mod nodes;
mod queue;
mod records;
mod shared;
mod sources;
mod upkeep;
mod watch;

use crate::{
    accept::{self, Requests},
    background::{
        heartbeat,
        listening::{self, Users},
    },
    connection::Connection,
    database::{Database, Durability, Pool},
    fault::DatabaseFault,
    heart::Heart,
    news::News,
    node::Node,
    objects::Objects,
    remembered::{Listings, ModSeqs, Pauses, Resolutions, SharedCounts},
    schema,
    seals::Seals,
    settings::Settings,
};
use posta_store::{Histogram, MICROSECONDS, Pending, REQUESTS, StoreError, Subject, Watchers};
use std::{future::Future, sync::Arc};
use tokio::{runtime::Handle, sync::Semaphore, task::JoinHandle};

const NAME_OBJECTS: &str = "INSERT INTO object_store (id) VALUES ($1) ON CONFLICT DO NOTHING";
const OBJECTS_NAME: &str = "SELECT id FROM object_store";

/// The store on PostgreSQL. Dropping it ends the connections, once the changes that were requested are made.
#[derive(Debug)]
pub struct PostgresStore {
    node: Arc<Node>,
    runtime: Handle,
    requests: Requests,
    tasks: Vec<JoinHandle<()>>,
}

impl PostgresStore {
    /// Opens the store, and makes its tables if the database has none, or brings them to this program's format. It
    /// uses the runtime that this is called on.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the database cannot be reached or refuses; [`StoreError::TooNew`] if a newer program
    /// made the tables; [`StoreError::Incomplete`] if a copy into it was broken off; [`StoreError::InUse`] while it is
    /// being copied; [`StoreError::ObjectStore`] if the object store refuses. One that does not answer is no error.
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        Self::open_for(settings, Users::Any).await
    }

    /// Opens the store for a copy, from it or into it. No other node has it open then, and none can open it meanwhile.
    ///
    /// # Errors
    /// As [`PostgresStore::open`]; [`StoreError::InUse`] if a node has the store open.
    pub async fn open_alone(settings: Settings) -> Result<Self, StoreError> {
        Self::open_for(settings, Users::One).await
    }

    async fn open_for(settings: Settings, users: Users) -> Result<Self, StoreError> {
        let pool = Arc::new(Pool::new(settings.clone()));
        let lent = pool.lend().await?;
        schema::migrate(&lent.connection(), &settings).await?;
        if users == Users::Any
            && let Some(of) = copies::copying_of(&lent.connection()).await?
        {
            return Err(StoreError::Incomplete(of));
        }
        schema::timeline::follow(&lent.connection()).await?;
        pool.follow_timeline();
        lent.give_back();
        let database = Database::new(pool);
        let objects = objects(&database, &settings).await?;
        let (requests, waiting) = accept::requests();
        let node = Arc::new(Node {
            database,
            objects,
            seals: Seals::new(settings.key_file.clone()),
            mod_seqs: ModSeqs::default(),
            watchers: Watchers::default(),
            news: News::new()?,
            heart: Heart::new(settings.name.clone()),
            tallies: SharedCounts::default(),
            listings: Listings::default(),
            resolutions: Resolutions::default(),
            pauses: Pauses::default(),
            tags: settings.tags.clone(),
            alone: Semaphore::new(accept::ALONE),
            syncs: Histogram::new(MICROSECONDS),
            groups: Histogram::new(REQUESTS),
        });
        accept::start(&node, waiting);
        let tasks = listening::start(&node, settings, users).await?;
        Ok(Self { node, runtime: Handle::current(), requests, tasks })
    }

    /// Runs work as a task of its own. It is boxed, so that tasks are compiled once for each type of result.
    fn run<T, F>(&self, work: impl FnOnce(Arc<Node>) -> F) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let work: Pending<'static, T> = Box::pin(work(self.node.clone()));
        let task = self.runtime.spawn(work);
        Box::pin(async move {
            task.await
                .unwrap_or_else(|_| Err(StoreError::Failed("the program is stopping".to_owned())))
        })
    }

    /// Reads from the database.
    fn read<T, F>(
        &self,
        read: impl Fn(Arc<Connection>) -> F + Send + Sync + 'static,
    ) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DatabaseFault>> + Send + 'static,
    {
        self.run(|node| async move { node.database.read(read).await })
    }

    /// Carries out a transaction, and tells of the subjects that it changes.
    fn change<T, F>(
        &self,
        subjects: Vec<Subject>,
        work: impl Fn(Arc<Connection>) -> F + Send + Sync + 'static,
    ) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DatabaseFault>> + Send + 'static,
    {
        self.run(|node| async move {
            let changed = node.database.change(Durability::Synced, work).await?;
            node.tell(&subjects);
            Ok(changed)
        })
    }
}

/// Returns the object store, if there is one, and gives the database the id that names its objects.
async fn objects(
    database: &Database,
    settings: &Settings,
) -> Result<Option<Arc<Objects>>, StoreError> {
    let Some(of_objects) = &settings.objects else { return Ok(None) };
    let proposed = Objects::new_id()?;
    let id = database.change(Durability::Synced, |connection| {
        let proposed = proposed.clone();
        async move {
            connection.execute(NAME_OBJECTS, &[&proposed]).await?;
            let row = connection.row(OBJECTS_NAME, &[]).await?;
            Ok(row.map_or(proposed, |row| row.get(0)))
        }
    });
    let objects = Objects::new(of_objects, &id.await?)?;
    objects.check().await?;
    Ok(Some(objects))
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // Whoever did not leave in good order tries to here. If that fails, the others find out by themselves.
        let node = self.node.clone();
        self.runtime.spawn(async move { heartbeat::leave(&node).await });
    }
}
