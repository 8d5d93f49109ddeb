//! Password hashing with argon2id, on a few threads of its own. `login` uses it for logins, and `admin`
//! for new passwords.
//!
//! A hash needs 19 MiB for a short time. The allocator would keep that memory for the thread that asked,
//! and could not reuse it for the next hash, whose blocks have to be aligned, so each new password would
//! cost 19 MiB for good. Therefore every hash of the server runs on the threads of one pool. Each thread
//! has memory for one hash, reuses it for the next one, and returns it to the system after a second
//! without work.
//!
//! A hash computes for some 20 ms, and strangers can have passwords hashed. At normal priority, each hash
//! would keep mail from a core for several milliseconds at a time; at a nice value of 10 the thread still gets
//! slices of some 3 ms. Therefore hashes for clients from a network from which the account has never been
//! used are computed one at a time, on a thread that runs only while nothing else wants its core
//! (`SCHED_IDLE`). On a saturated machine that thread makes no progress, but a login from a new network must
//! not starve. So if a hash is not finished after `PATIENCE`, a thread with a nice value of 10 computes it
//! again, and the hashes after it, until the first thread is free once more. A process without privileges
//! cannot take a thread out of `SCHED_IDLE`, so these have to be two threads.

use argon2::{Argon2, Block, Params, PasswordHash, password_hash::phc};
use parking_lot::Mutex;
use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The minimal number of blocks of 1 KiB that a thread allocates. Above 32 MiB, glibc gets each
/// allocation from the system and returns it when it is freed. Pages that are never written to take no
/// memory.
const AT_LEAST: usize = 33 * 1024;

/// The time for which a thread without work keeps its memory. Returning memory and allocating it again both
/// take a lock on the memory of the whole process, and a low-priority thread that is interrupted
/// meanwhile makes all others wait.
const KEEP: Duration = Duration::from_secs(1);

/// The time that the idle thread gets for a hash: ten times what a hash takes on a core of its own.
const PATIENCE: Duration = Duration::from_millis(250);

/// The nice value of the thread that takes over. A tenth of a core is left for it while the rest of the
/// server wants all of the core.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// Threads that hash passwords. They end when this is dropped.
pub(crate) struct Hashers {
    known: Pool,
    strangers: Strangers,
}

/// The relation between a client and the account whose password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Familiarity {
    /// The account has been used from the client's network before.
    Known,
    /// The account has not been used from the client's network, or does not exist.
    Stranger,
}

impl Hashers {
    /// Starts `threads` threads, and two more for strangers. A pool works without a thread that cannot
    /// be started; without any thread, no password is ever right.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            known: Pool::new(threads, "posta-hash", || {}),
            strangers: Strangers {
                turn: Arc::new(Semaphore::new(1)),
                idle: Pool::new(1, "posta-hash-idle", run_when_idle),
                low: Pool::new(1, "posta-hash-low", lower_priority),
            },
        }
    }

    /// Waits until a thread for such a client is free. Returns `None` if the server is stopping.
    pub(crate) async fn free_thread(&self, familiarity: Familiarity) -> Option<FreeThread<'_>> {
        let (pool, permits) = match familiarity {
            Familiarity::Known => (Reserved::Known(&self.known), &self.known.permits),
            Familiarity::Stranger => (Reserved::Stranger(&self.strangers), &self.strangers.turn),
        };
        let permit = permits.clone().acquire_owned().await.ok()?;
        Some(FreeThread { pool, permit })
    }

    /// Runs `hash` for the operator, and returns its result; `None` if no thread could be started.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        hash: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Option<T> {
        let permit = self.known.permits.clone().acquire_owned().await.ok()?;
        self.known.run(permit, hash)?.outcome(None).await
    }
}

/// A free thread, reserved for one hash.
pub(crate) struct FreeThread<'a> {
    pool: Reserved<'a>,
    permit: OwnedSemaphorePermit,
}

enum Reserved<'a> {
    Known(&'a Pool),
    Stranger(&'a Strangers),
}

impl FreeThread<'_> {
    /// Runs `hash` on the thread, and returns its result; `None` if the thread could not be started. For a
    /// stranger on a busy machine, `hash` may run on two threads.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        hash: impl Fn(&mut Memory) -> T + Send + Sync + 'static,
    ) -> Option<T> {
        match self.pool {
            Reserved::Known(pool) => pool.run(self.permit, hash)?.outcome(None).await,
            Reserved::Stranger(strangers) => strangers.run(self.permit, hash).await,
        }
    }
}

/// The threads for strangers, who have one hash computed at a time.
struct Strangers {
    turn: Arc<Semaphore>,
    idle: Pool,
    low: Pool,
}

impl Strangers {
    /// Runs `hash` on the idle thread, or on the other one if the idle thread is not free or does not finish in time.
    async fn run<T: Send + 'static>(
        &self,
        _turn: OwnedSemaphorePermit,
        hash: impl Fn(&mut Memory) -> T + Send + Sync + 'static,
    ) -> Option<T> {
        let hash = Arc::new(hash);
        if let Ok(permit) = self.idle.permits.clone().try_acquire_owned() {
            let first = hash.clone();
            let running = self.idle.run(permit, move |memory| first(memory));
            if let Some(running) = running
                && let Some(outcome) = running.outcome(Some(PATIENCE)).await
            {
                return Some(outcome);
            }
        }
        let permit = self.low.permits.clone().acquire_owned().await.ok()?;
        self.low.run(permit, move |memory| hash(memory))?.outcome(None).await
    }
}

/// Threads of one priority.
struct Pool {
    jobs: mpsc::Sender<Job>,
    /// One permit for each thread.
    permits: Arc<Semaphore>,
}

impl Pool {
    fn new(threads: usize, name: &str, begin: fn()) -> Self {
        let (jobs, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let receiver = receiver.clone();
            let work = move || {
                begin();
                work(&receiver);
            };
            if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(work) {
                tracing::error!(%error, "a thread for password hashes is missing");
            }
        }
        Self { jobs, permits: Arc::new(Semaphore::new(threads)) }
    }

    /// Has a thread run `hash`; `permit` is that thread's, which is free again when `hash` returns. Returns `None` if
    /// the thread could not be started.
    fn run<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        hash: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Option<Running<T>> {
        let (sender, outcome) = mpsc::sync_channel(1);
        let job = Box::new(move |memory: &mut Memory| {
            let outcome = hash(memory);
            drop(permit);
            // The session that asked may have ended.
            let _ = sender.send(outcome);
        });
        self.jobs.send(job).ok()?;
        Some(Running(outcome))
    }
}

/// A hash that a thread computes.
struct Running<T>(mpsc::Receiver<T>);

impl<T: Send + 'static> Running<T> {
    /// Waits for the result. Returns `None` if it takes longer than `limit`, or if the thread has ended.
    async fn outcome(self, limit: Option<Duration>) -> Option<T> {
        // A thread of the runtime waits for the result, so that simulated time stands still meanwhile.
        let wait = move || match limit {
            Some(limit) => self.0.recv_timeout(limit).ok(),
            None => self.0.recv().ok(),
        };
        tokio::task::spawn_blocking(wait).await.ok().flatten()
    }
}

/// Lets the calling thread run only while nothing else wants its core. Where the system refuses that, its priority is
/// lowered.
fn run_when_idle() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
            set_thread_priority_and_policy, thread_native_id,
        };
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        if set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).is_ok() {
            return;
        }
    }
    lower_priority();
}

/// Lowers the priority of the calling thread. On systems other than Linux the call would affect the
/// whole process.
fn lower_priority() {
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(NICENESS)
    {
        tracing::warn!(%error, "password hashes have the same priority as the mail");
    }
}

/// Runs jobs until the pool is dropped.
fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = jobs.lock().recv();
        let Ok(mut job) = job else { return };
        let mut memory = Memory::default();
        loop {
            job(&mut memory);
            // A thread that has held the lock for that long is waiting for the next job itself, so no
            // job is left for this thread.
            let next = jobs.try_lock_for(KEEP).and_then(|jobs| jobs.recv_timeout(KEEP).ok());
            let Some(next) = next else { break };
            job = next;
        }
    }
}

/// The memory of a thread, for one hash at a time.
#[derive(Default)]
pub(crate) struct Memory(Vec<Block>);

impl Memory {
    /// Hashes a password for the store: argon2id (RFC 9106) with the parameters that OWASP recommends, as a PHC string.
    pub(crate) fn hash(
        &mut self,
        password: &[u8],
        salt: &[u8],
    ) -> argon2::password_hash::Result<String> {
        let (argon2, params) = (Argon2::default(), Params::default());
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        argon2.hash_password_into_with_memory(password, salt, &mut output, self.blocks(&params))?;
        let hash = PasswordHash {
            algorithm: argon2::ARGON2ID_IDENT,
            version: Some(argon2::Version::default().into()),
            params: phc::ParamsString::try_from(&params)?,
            salt: Some(phc::Salt::new(salt)?),
            hash: Some(phc::Output::new(&output)?),
        };
        Ok(hash.to_string())
    }

    /// Returns whether `password` is the one that was hashed.
    pub(crate) fn verify(&mut self, password: &[u8], stored: &str) -> bool {
        self.hash_like(password, stored).is_ok_and(|(expected, found)| expected == found)
    }

    /// Returns the stored hash, and the hash of another password with the same parameters and salt.
    /// Comparing them takes the same time wherever they differ.
    fn hash_like(
        &mut self,
        password: &[u8],
        stored: &str,
    ) -> argon2::password_hash::Result<(phc::Output, phc::Output)> {
        let stored = PasswordHash::new(stored)?;
        let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else {
            return Err(argon2::password_hash::Error::PasswordInvalid);
        };
        let params = Params::try_from(&stored)?;
        let algorithm = argon2::Algorithm::try_from(stored.algorithm.as_str())?;
        let version = stored.version.map(argon2::Version::try_from).transpose()?;
        let mut output = vec![0; expected.len()];
        let blocks = self.blocks(&params);
        let argon2 = Argon2::new(algorithm, version.unwrap_or_default(), params);
        argon2.hash_password_into_with_memory(password, &salt, &mut output, blocks)?;
        Ok((expected, phc::Output::new(&output)?))
    }

    /// Returns the number of blocks that the parameters require. Their content does not matter, since
    /// each block is written before it is read.
    fn blocks(&mut self, params: &Params) -> &mut [Block] {
        let count = params.block_count();
        if self.0.is_empty() {
            self.0.reserve_exact(count.max(AT_LEAST));
        }
        self.0.resize(count, Block::new());
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{PasswordHasher, PasswordVerifier};

    /// Returns the name of the thread that computes the next hash for a stranger, which `before` delays.
    async fn computed_by(
        hashers: &Hashers,
        before: impl Fn() + Send + Sync + 'static,
    ) -> Option<String> {
        let thread = hashers.free_thread(Familiarity::Stranger).await?;
        let name = move |_: &mut Memory| {
            let name = thread::current().name().map(str::to_owned);
            if name.as_deref() == Some("posta-hash-idle") {
                before();
            }
            name
        };
        thread.run(name).await.flatten()
    }

    /// A login from a new network does not starve on a machine that never leaves the idle thread a core.
    #[tokio::test]
    async fn another_thread_takes_over_from_a_starving_one() {
        let hashers = Hashers::new(1);
        assert_eq!(computed_by(&hashers, || {}).await.as_deref(), Some("posta-hash-idle"));
        let (release, starving) = mpsc::channel::<()>();
        let starving = Mutex::new(starving);
        let starve = move || {
            let _ = starving.lock().recv();
        };
        assert_eq!(computed_by(&hashers, starve).await.as_deref(), Some("posta-hash-low"));
        assert_eq!(computed_by(&hashers, || {}).await.as_deref(), Some("posta-hash-low"));
        drop(release);
        drop(hashers.strangers.idle.permits.acquire().await.unwrap());
        assert_eq!(computed_by(&hashers, || {}).await.as_deref(), Some("posta-hash-idle"));
    }

    /// The hashes are the same as those of any other implementation.
    #[test]
    fn hashes_are_those_of_the_library() {
        let mut memory = Memory::default();
        let salt = [7; 16];
        for password in [&b"parola"[..], b"", b"another one"] {
            let ours = memory.hash(password, &salt).unwrap();
            let theirs = Argon2::default().hash_password_with_salt(password, &salt).unwrap();
            assert_eq!(ours, theirs.to_string());
            assert!(memory.verify(password, &ours));
            assert!(!memory.verify(b"wrong", &ours));
        }
        let params = Params::new(64, 2, 2, Some(16)).unwrap();
        let others = Argon2::new(argon2::Algorithm::Argon2i, argon2::Version::V0x10, params);
        let other = others.hash_password_with_salt(b"parola", &salt).unwrap().to_string();
        assert!(memory.verify(b"parola", &other), "{other}");
        assert!(!memory.verify(b"parole", &other));
        assert!(Argon2::default().verify_password(b"parola", other.as_str()).is_ok());
        for stored in
            ["", "x", "$argon2id$v=19$m=19456,t=2,p=1", "$scrypt$ln=1$YWJjZGVmZ2g$YWJjZGVmZ2g"]
        {
            assert!(!memory.verify(b"parola", stored), "{stored}");
        }
    }
}
