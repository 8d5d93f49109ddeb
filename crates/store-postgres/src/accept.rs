//! Accepting messages: all that wait at the same moment go to the database as one group, in one round trip and with one
//! commit.

mod group;
mod line;
mod subjects;

pub(crate) use group::{AcceptOutcome, Common, Deliveries, Group, LockWait, state};
pub(crate) use subjects::{of_acceptance, of_settlement};

use crate::{
    connection::Connection,
    database::{self, Attempt, Patience},
    fault::DatabaseFault,
    node::Node,
    objects::Object,
};
use posta_store::{Acceptance, Event, StoreError};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

/// The octets at which a group is full.
const OCTETS: usize = 4 << 20;

/// The number of messages that are accepted one by one at the same moment, since their groups were refused.
pub(crate) const ALONE: usize = 4;

/// The longest time for which a message waits for a mailbox that is being changed.
const LOCKED: Duration = Duration::from_secs(30);

/// The time between two looks at such a mailbox.
const AGAIN: Duration = Duration::from_millis(100);

/// The number of messages that wait for a group. Sessions with more wait before that.
const WAITING: usize = 1_024;

/// The time during which the outcome of a group is looked for after its answer was lost.
const UNKNOWN: Duration = Duration::from_secs(60);

/// A message that waits to be accepted.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) acceptance: Acceptance,
    /// Its last piece, if that is in the object store.
    pub(crate) last: Option<Object>,
    pub(crate) done: oneshot::Sender<Result<(), StoreError>>,
    /// When it was first left for later, because of its mailbox or of another message.
    pub(crate) since: Option<Instant>,
}

/// Where messages wait.
pub(crate) type Requests = mpsc::Sender<Waiting>;

/// Returns both ends of the line of waiting messages.
pub(crate) fn requests() -> (Requests, mpsc::Receiver<Waiting>) {
    mpsc::channel(WAITING)
}

/// Starts the task that accepts. It ends when nobody can send messages any more.
pub(crate) fn start(node: &Arc<Node>, waiting: mpsc::Receiver<Waiting>) {
    tokio::spawn(line::serve(node.clone(), waiting));
}

impl Node {
    async fn accept_all(self: &Arc<Self>, waiting: Vec<Waiting>) {
        let messages: Vec<_> =
            waiting.iter().map(|it| (&it.acceptance, it.last.as_ref())).collect();
        let group = Group::new(self, &messages);
        let outcomes = match group {
            Ok(group) => self.commit(&group).await,
            Err(error) => Err(error.into()),
        };
        match outcomes {
            Ok(outcomes) => {
                for (waiting, outcome) in waiting.into_iter().zip(outcomes) {
                    self.answer(waiting, outcome);
                }
            }
            // What the database refuses of one message must not cost the others, and a mailbox that is being changed for long
            // must not hold them up.
            Err(fault) if waits(&fault, &waiting) => {
                for mut one in waiting {
                    one.since = one.since.or_else(|| Some(Instant::now()));
                    tokio::spawn(self.clone().accept_alone(one));
                }
            }
            Err(fault) => {
                let error = StoreError::from(fault);
                for one in waiting {
                    let _ = one.done.send(Err(error.clone()));
                }
            }
        }
    }

    /// Accepts a message by itself, when it has its turn.
    fn accept_alone(self: Arc<Self>, one: Waiting) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            sleep(AGAIN).await;
            let _turn = self.alone.acquire().await;
            self.accept_all(vec![one]).await;
        })
    }

    fn answer(&self, waiting: Waiting, outcome: AcceptOutcome) {
        if outcome == AcceptOutcome::Accepted {
            self.tell(&of_acceptance(&waiting.acceptance));
            if self.watchers.is_followed() {
                self.watchers.tell_events(events(&waiting.acceptance));
            }
        }
        // The caller may be gone; the message is accepted all the same.
        let _ = waiting.done.send(outcome.result());
    }

    /// Commits a group. Returns the outcome of each message. After a lost answer, the group is sent again with the same
    /// key, by which the database knows it. The ids of its messages would not do: one that was accepted may have been
    /// relayed and be gone by then.
    async fn commit(&self, group: &Group) -> Result<Vec<AcceptOutcome>, DatabaseFault> {
        let key = database::key()?;
        let mut patience = Patience::new();
        let mut unknown_until = None;
        loop {
            let fault = match self.database.pool().lend().await {
                Ok(lent) => {
                    let began = Instant::now();
                    match self.send(group, &key, &lent.connection()).await {
                        Ok(outcomes) if unknown_until.is_some() => {
                            lent.give_back();
                            // What was there already may be visible only.
                            match self.database.confirm().await {
                                Attempt::Done(()) => return Ok(outcomes),
                                Attempt::Unknown((), fault) | Attempt::Failed(fault) => fault,
                            }
                        }
                        Ok(outcomes) => {
                            let micros = began.elapsed().as_micros();
                            self.syncs.observe(u64::try_from(micros).unwrap_or(u64::MAX));
                            lent.give_back();
                            return Ok(outcomes);
                        }
                        Err(fault) if fault.ends_connection() => {
                            self.database.pool().forget();
                            unknown_until =
                                unknown_until.or_else(|| Some(Instant::now() + UNKNOWN));
                            fault
                        }
                        Err(fault) => {
                            lent.give_back();
                            fault
                        }
                    }
                }
                Err(fault) => fault,
            };
            if unknown_until.is_none()
                && matches!(fault, DatabaseFault::Sql(_))
                && !fault.is_passing()
            {
                return Err(fault);
            }
            patience.bear(fault, unknown_until).await?;
        }
    }

    async fn send(
        &self,
        group: &Group,
        key: &[u8],
        connection: &Arc<Connection>,
    ) -> Result<Vec<AcceptOutcome>, DatabaseFault> {
        connection.take_warning();
        let (outcomes, highest) = group.accept(connection, LockWait::Short, Some(key)).await?;
        self.mod_seqs.learn(highest);
        match connection.take_warning() {
            // The wait for the standby was cut short.
            true => Err(DatabaseFault::Unsafe),
            false => Ok(outcomes),
        }
    }
}

/// Returns whether messages are to be accepted one by one, after a group was refused: the fault may be of one of them only,
/// or a mailbox is being changed.
fn waits(fault: &DatabaseFault, waiting: &[Waiting]) -> bool {
    let is_over = waiting.iter().any(|one| one.since.is_some_and(|it| it.elapsed() > LOCKED));
    let is_refused = matches!(fault, DatabaseFault::Sql(_)) && !fault.is_passing();
    is_refused && (waiting.len() > 1 || fault.is_locked()) && !is_over
}

/// Returns the events of a message and of the reports that it causes.
pub(crate) fn events(acceptance: &Acceptance) -> Vec<Event> {
    let of_reports = acceptance.reports.iter().flat_map(events);
    acceptance.events.iter().cloned().chain(of_reports).collect()
}
