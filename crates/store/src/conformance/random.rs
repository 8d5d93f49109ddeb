//! Long random sequences of operations, compared with the in-memory reference: what each returns, and what can be read
//! after it. Now and then the store is opened again.

mod directory;
mod mailboxes;
mod queue;
mod records;

use super::{Case, Site};
use crate::{MemoryStore, Store, StoreError};
use std::fmt::Debug;

/// The operations of one sequence.
const STEPS: u64 = 300;

/// One of this many operations is a restart.
const RESTARTS: u64 = 60;

/// Lists the worlds, and their initial states.
macro_rules! worlds {
    ($($name:ident: $state:ty),* $(,)?) => {
        pub(in crate::conformance) const CASES: &[Case] = &[$(Case::random(
            concat!(module_path!(), "::", stringify!($name)),
            |site, seed| Box::pin(sequence(site, seed, <$state>::default())),
        )),*];
    };
}

worlds![
    mailboxes: mailboxes::MailboxWorld,
    queue: queue::QueueWorld,
    directory: directory::DirectoryWorld,
    records: records::RecordWorld,
];

/// A part of the store, what can be done in it, and what is known of it.
trait World {
    /// An operation.
    type Operation: Debug;

    /// Prepares both stores, which are empty.
    async fn begin(&mut self, both: [&dyn Store; 2]);

    /// Draws the next operation, which may depend on what the reference has.
    async fn draw(
        &mut self,
        reference: &MemoryStore,
        step: u64,
        random: &mut Random,
    ) -> Self::Operation;

    /// Runs an operation. Returns its result in words.
    async fn run(&self, store: &dyn Store, operation: &Self::Operation) -> String;

    /// Returns what can be read, in words.
    async fn shown(&self, store: &dyn Store, step: u64) -> Vec<String>;

    /// Takes note of a restart, which may end leases, and go on with greater mod-sequences.
    fn restarted(&mut self);
}

/// Does the same random things to a store and to the reference, and compares them.
async fn sequence(site: &dyn Site, seed: u64, mut world: impl World) {
    let reference = MemoryStore::new();
    let mut store = site.open();
    // Neighbouring numbers do not have similar sequences.
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    world.begin([&*store, &reference]).await;
    for step in 0..STEPS {
        let is_restarted = random.below(RESTARTS) == 0;
        if is_restarted {
            drop(store);
            store = site.open();
            world.restarted();
        }
        let operation = world.draw(&reference, step, &mut random).await;
        let where_ = format!("seed {seed}, step {step}, restarted {is_restarted}: {operation:?}");
        let done = world.run(&*store, &operation).await;
        assert_eq!(done, world.run(&reference, &operation).await, "{where_}");
        let shown = world.shown(&*store, step).await;
        for (shown, expected) in shown.iter().zip(world.shown(&reference, step).await) {
            assert_eq!(*shown, expected, "{where_}");
        }
    }
}

/// A small generator of numbers (xorshift64*), so that a failure's seed repeats it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    /// Returns one of these.
    fn pick<T: Clone>(&mut self, some: &[T]) -> T {
        some[self.below(some.len() as u64) as usize].clone()
    }
}

/// Returns a result in words.
fn told<T: Debug>(result: Result<T, StoreError>) -> String {
    format!("{result:?}")
}
