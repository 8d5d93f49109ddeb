//! The memory that arriving messages may use in all sessions together, and its distribution. `receive`
//! asks for it.
//!
//! `limits.memory` is divided into four parts, so that none can be used up at the cost of another:
//!
//! | part | of the whole | for |
//! |------|--------------|-----|
//! | shares | a half | chunks that fill quickly, of any client |
//! | reserved shares | a quarter | the same, for clients that logged in and for trusted networks |
//! | writing | an eighth | content without a share, while it is written to the store or read back from it; half of it also while filters are asked |
//! | envelopes | an eighth | recipients beyond a few, and header sections that are kept to be checked or signed; a quarter of it is reserved as well |
//!
//! No client waits for memory that another one holds, since that one could keep it for as long as it likes: without
//! a share, content goes to the store piece by piece (`receive/content.rs`). Clients wait for the store alone, in
//! turn and for a bounded time.
//!
//! A client network or an account may hold no more of a part than it leaves free. One alone can have half of it,
//! two a third each: the number of clients need not be known, and something is always left for the next one.

use parking_lot::{Mutex, MutexGuard};
use posta_net::client_network::ClientNetwork;
use posta_origin::header::HEADER_SECTION;
use posta_store::{AccountId, CHUNK};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The number of octets of an envelope that are not counted: room for a hundred recipients of usual
/// length (RFC 5321 §4.5.3.1.8), so that a client with many recipients does not prevent others from
/// having a few.
const ENVELOPE_FREE: usize = 16 * 1024;

/// The steps in octets by which an envelope's memory grows beyond [`ENVELOPE_FREE`].
const ENVELOPE_STEP: usize = 16 * 1024;

/// The least number of these steps for all: one client alone, who may hold half of them, then has room for the largest
/// header section that is read. A smaller budget would refuse such a message for now, and again each time.
const ENVELOPE_STEPS: usize = 2 * HEADER_SECTION / ENVELOPE_STEP;

/// The time that a session waits for its turn to write before the message is refused for now. Clients
/// wait longer for their data to be accepted (RFC 5321 §4.5.3.2.5: three minutes).
const WRITE_WAIT: Duration = Duration::from_secs(60);

/// The owner of memory, for whom shares are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MemoryOwner {
    /// An account that logged in.
    Account(AccountId),
    /// A client in a network that the operator trusts.
    Trusted(ClientNetwork),
    /// Any other client.
    Stranger(ClientNetwork),
    /// Programs at this machine's Unix sockets, which may pass on mail from any client.
    Local,
}

impl MemoryOwner {
    /// Returns whether the owner may use the reserved memory.
    const fn is_known(self) -> bool {
        match self {
            Self::Account(_) | Self::Trusted(_) => true,
            Self::Stranger(_) | Self::Local => false,
        }
    }
}

/// The memory for arriving messages.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    shares: Arc<Pool>,
    envelopes: Arc<Pool>,
    /// The number of sessions that may write at a time: of strangers, and of known clients.
    writing: [Arc<Semaphore>; 2],
    /// The turns to write that may be kept while filters are asked, which take as long as they like.
    waiting: Arc<Pool>,
}

/// The memory that is counted for a message's content, until this value is dropped.
#[derive(Debug)]
pub(crate) enum ContentMemory {
    /// Content that a session may hold without asking.
    Free,
    /// A share of the budget.
    Share { _share: Holding },
    /// A turn to write.
    Turn { turn: OwnedSemaphorePermit },
    /// A turn to write that is kept while filters are asked.
    Waiting { _turn: OwnedSemaphorePermit, _waiting: Holding },
}

/// The error of a session that waited too long for its turn to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

impl Budget {
    /// Divides `octets` into the parts; each has room for at least one session.
    #[must_use]
    pub fn new(octets: usize) -> Self {
        let chunks = |part: usize| (octets / CHUNK * part / 32).max(1);
        let steps = |part: usize| octets / ENVELOPE_STEP * part / 32;
        let gate = |permits| Arc::new(Semaphore::new(permits));
        // Half of the turns, so that the other half is only held for as long as the store takes.
        let [strangers, known] = [chunks(3).max(2), chunks(1).max(2)];
        Self(Arc::new(Parts {
            shares: Arc::new(Pool::new(chunks(16), chunks(8))),
            envelopes: Arc::new(Pool::new(steps(3).max(ENVELOPE_STEPS), steps(1).max(1))),
            writing: [gate(strangers), gate(known)],
            waiting: Arc::new(Pool::new(strangers / 2, known / 2)),
        }))
    }

    /// Prepares a message's memory for a time that others determine, such as filters that are asked about the message. A
    /// turn to write is exchanged for a share, or kept if that leaves enough turns for others: otherwise strangers, about
    /// whose mail a filter thinks slowly, would keep everybody from writing.
    ///
    /// # Errors
    /// When too many turns are kept already, by all or by this owner.
    pub(crate) fn keep(
        &self,
        memory: ContentMemory,
        owner: MemoryOwner,
    ) -> Result<ContentMemory, Crowded> {
        let ContentMemory::Turn { turn } = memory else { return Ok(memory) };
        if let Some(share) = self.share(owner) {
            return Ok(ContentMemory::Share { _share: share });
        }
        let mut waiting = Holding::none(&self.0.waiting, owner);
        match waiting.grow() {
            true => Ok(ContentMemory::Waiting { _turn: turn, _waiting: waiting }),
            false => Err(Crowded),
        }
    }

    /// Takes the memory for a chunk; none if nothing is left for this owner.
    pub(crate) fn share(&self, owner: MemoryOwner) -> Option<Holding> {
        let mut holding = Holding::none(&self.0.shares, owner);
        holding.grow().then_some(holding)
    }

    /// Waits for a session's turn to write.
    ///
    /// # Errors
    /// When the wait takes longer than a minute.
    pub(crate) async fn writing(
        &self,
        owner: MemoryOwner,
    ) -> Result<OwnedSemaphorePermit, Crowded> {
        let gate = &self.0.writing[usize::from(owner.is_known())];
        if let Ok(permit) = gate.clone().try_acquire_owned() {
            return Ok(permit);
        }
        // The semaphore is closed only when the program ends.
        let permit = timeout(WRITE_WAIT, gate.clone().acquire_owned()).await;
        permit.map_err(|_| Crowded)?.map_err(|_| Crowded)
    }
}

/// The memory of an envelope, counted against the budget in steps. Most envelopes need no step.
#[derive(Debug, Default)]
pub(crate) struct EnvelopeMemory {
    octets: usize,
    steps: usize,
    holding: Option<Holding>,
}

impl EnvelopeMemory {
    /// Adds octets. Returns whether there was room for them.
    pub(crate) fn add(&mut self, octets: usize, budget: &Budget, owner: MemoryOwner) -> bool {
        let octets = self.octets + octets;
        while octets > ENVELOPE_FREE + self.steps * ENVELOPE_STEP {
            let none = || Holding::none(&budget.0.envelopes, owner);
            if !self.holding.get_or_insert_with(none).grow() {
                return false;
            }
            self.steps += 1;
        }
        self.octets = octets;
        true
    }
}

/// One part of the budget, in units of equal size.
#[derive(Debug)]
struct Pool(Mutex<Units>);

#[derive(Debug)]
struct Units {
    free: usize,
    reserved: usize,
    held: HashMap<MemoryOwner, usize>,
}

impl Pool {
    fn new(free: usize, reserved: usize) -> Self {
        Self(Mutex::new(Units { free, reserved, held: HashMap::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Units> {
        self.0.lock()
    }
}

/// The units of a part that a session holds, until this value is dropped.
#[derive(Debug)]
pub(crate) struct Holding {
    pool: Arc<Pool>,
    owner: MemoryOwner,
    units: usize,
    /// The number of units that are reserved ones.
    reserved: usize,
}

impl Holding {
    fn none(pool: &Arc<Pool>, owner: MemoryOwner) -> Self {
        Self { pool: pool.clone(), owner, units: 0, reserved: 0 }
    }

    /// Takes one more unit. Returns whether there was one for this owner.
    fn grow(&mut self) -> bool {
        let mut units = self.pool.lock();
        let held = units.held.get(&self.owner).copied().unwrap_or_default();
        let is_known = self.owner.is_known();
        let left = units.free + if is_known { units.reserved } else { 0 };
        if held >= left {
            return false;
        }
        if is_known && units.reserved > 0 {
            units.reserved -= 1;
            self.reserved += 1;
        } else {
            units.free -= 1;
        }
        units.held.insert(self.owner, held + 1);
        self.units += 1;
        true
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if self.units == 0 {
            return;
        }
        let mut units = self.pool.lock();
        units.reserved += self.reserved;
        units.free += self.units - self.reserved;
        if let Some(held) = units.held.get_mut(&self.owner) {
            *held -= self.units;
            if *held == 0 {
                units.held.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn stranger(last: u8) -> MemoryOwner {
        MemoryOwner::Stranger(ClientNetwork::of(IpAddr::from([192, 0, 2, last])))
    }

    fn take(budget: &Budget, owner: MemoryOwner) -> Vec<Holding> {
        std::iter::from_fn(|| budget.share(owner)).collect()
    }

    #[test]
    fn nobody_takes_all_of_the_memory() {
        let budget = Budget::new(64 << 20);
        let first = take(&budget, stranger(1));
        assert_eq!(first.len(), 64, "half of what anybody may have");
        let second = take(&budget, stranger(2));
        assert_eq!(second.len(), 32);
        let others: Vec<_> = (3..=255).map(|last| take(&budget, stranger(last))).collect();
        assert_eq!(first.len() + second.len() + others.iter().flatten().count(), 128);
        let ana = take(&budget, MemoryOwner::Account(AccountId(1)));
        assert_eq!(ana.len(), 32, "half of what is kept for her and her like");
        assert!(budget.share(MemoryOwner::Account(AccountId(2))).is_some());
        let network = ClientNetwork::of(IpAddr::from([192, 0, 2, 1]));
        assert!(budget.share(MemoryOwner::Trusted(network)).is_some());
        assert!(budget.share(MemoryOwner::Local).is_none());
        drop((first, second, others, ana));
        assert_eq!(take(&budget, stranger(9)).len(), 64, "all came back");
        assert!(budget.0.shares.lock().held.is_empty());
    }

    #[test]
    fn the_least_memory_has_room_for_each() {
        let budget = Budget::new(1);
        let share = budget.share(stranger(1)).unwrap();
        assert!(budget.share(stranger(2)).is_none());
        assert!(budget.share(MemoryOwner::Account(AccountId(1))).is_some());
        drop(share);
        assert!(budget.share(stranger(2)).is_some());
        assert!(EnvelopeMemory::default().add(HEADER_SECTION, &budget, stranger(1)));
    }

    #[test]
    fn envelopes_are_counted_beyond_a_few_recipients() {
        let budget = Budget::new(64 << 20);
        let mut envelopes: Vec<_> = (0..1_000).map(|_| EnvelopeMemory::default()).collect();
        let mut accepted = 0;
        for envelope in &mut envelopes {
            assert!((0..20).all(|_| envelope.add(800, &budget, stranger(1))), "a few always");
            accepted += (0..980).filter(|_| envelope.add(800, &budget, stranger(1))).count();
        }
        assert!((4_000_000 * 7 / 10..4_000_000).contains(&(accepted * 800)), "{accepted}");
        let mut other = EnvelopeMemory::default();
        assert!((0..1_000).all(|_| other.add(800, &budget, stranger(2))));
        drop(envelopes);
        assert_eq!(budget.0.envelopes.lock().held.len(), 1);
    }

    #[tokio::test]
    async fn turns_that_wait_for_filters_leave_half_to_others() {
        let budget = Budget::new(64 << 20);
        let (first, second) = (stranger(1), stranger(2));
        // A turn is exchanged for a share as long as there are any.
        let turn = budget.writing(first).await.unwrap();
        let kept = budget.keep(ContentMemory::Turn { turn }, first).unwrap();
        assert!(matches!(kept, ContentMemory::Share { .. }));
        let shares: Vec<_> = [1, 2, 3].map(|last| take(&budget, stranger(last))).into();
        let mut kept = Vec::new();
        let mut counts = Vec::new();
        for owner in [first, second, first, second] {
            let before = kept.len();
            loop {
                let turn = budget.writing(owner).await.unwrap();
                match budget.keep(ContentMemory::Turn { turn }, owner) {
                    Ok(turn) => kept.push(turn),
                    Err(Crowded) => break,
                }
            }
            counts.push(kept.len() - before);
        }
        // Of 24 turns, 12 may wait: one owner gets half of them, the next half of the rest.
        assert_eq!(counts, [6, 3, 0, 0]);
        assert!(budget.0.writing[0].available_permits() >= 12);
        drop(kept);
        let turn = budget.writing(second).await.unwrap();
        assert!(budget.keep(ContentMemory::Turn { turn }, second).is_ok());
        drop(shares);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_to_write_come_in_order_or_not_at_all() {
        let budget = Budget::new(1);
        let _other = budget.writing(stranger(9)).await.unwrap();
        let turn = budget.writing(stranger(1)).await.unwrap();
        assert!(
            budget.writing(MemoryOwner::Account(AccountId(1))).await.is_ok(),
            "their own turns"
        );
        let (second, third) = (budget.writing(stranger(2)), budget.writing(stranger(3)));
        let giving = async {
            tokio::time::sleep(WRITE_WAIT / 2).await;
            drop(turn);
        };
        let second = async { second.await.is_ok() }; // and gives it back
        let (second, third, ()) = tokio::join!(second, third, giving);
        assert!(second && third.is_ok());
        assert_eq!(budget.writing(stranger(1)).await.unwrap_err(), Crowded);
    }
}
