//! Password hashing with argon2id, on a few threads of its own.
//!
//! A hash needs 19 MiB for a short time. The allocator would keep that for the thread that asked, and could not reuse
//! it for the next hash, whose blocks have to be aligned, so each new password would cost 19 MiB for good. Therefore
//! every hash of the server, for logins and new passwords alike, runs on the threads of one pool. Each thread has
//! memory for one hash, reuses it for the next one, and gives it back to the system when none comes for a second.
//!
//! A hash computes for some 20 ms. At the priority of other threads it would keep the mail from a core for several
//! milliseconds at a time, and strangers can have passwords hashed. So the thread for clients from whose network the
//! account was never used has a lower priority, and nobody else waits for it. It still has to get somewhere on a machine
//! that is busy: a login of a new network must not starve.

use argon2::{Argon2, Block, Params, PasswordHash, password_hash::phc};
use parking_lot::Mutex;
use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

/// The fewest blocks of 1 KiB that a thread allocates. Above 32 MiB glibc gets each allocation from the system and
/// returns it when it is freed; pages that are never written to take no memory.
const AT_LEAST: usize = 33 * 1024;

/// How long a thread keeps its memory when no hash waits. Both to give it back and to take it anew need a lock of the
/// whole process's memory: a thread that is interrupted just then, since it stands back, makes all others wait.
const KEEP: Duration = Duration::from_secs(1);

/// How far the thread for strangers stands back: a tenth of a core is left for it while the rest of the server wants all of
/// it.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// Threads that hash passwords. They end when this is dropped.
pub(crate) struct Hashers {
    known: Pool,
    strangers: Pool,
}

/// What is known of the client whose password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acquaintance {
    /// The account was used from its network before.
    Known,
    /// It was not, or there is no such account.
    Stranger,
}

impl Hashers {
    /// Starts `threads` threads, and one more for strangers. One that cannot be started is missing; without any, no
    /// password is ever right.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            known: Pool::new(threads, "posta-hash", || {}),
            strangers: Pool::new(1, "posta-hash-low", stand_back),
        }
    }

    /// Waits until one of the threads for such a client is free. `None` if there is none.
    pub(crate) async fn place(&self, standing: Acquaintance) -> Option<FreeThread<'_>> {
        let pool = match standing {
            Acquaintance::Known => &self.known,
            Acquaintance::Stranger => &self.strangers,
        };
        let permit = pool.permits.acquire().await.ok()?;
        Some(FreeThread { jobs: &pool.jobs, _permit: permit })
    }

    /// Runs `hash` for the operator, and returns its result; `None` if no thread could be started.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        hash: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Option<T> {
        self.place(Acquaintance::Known).await?.run(hash).await
    }
}

/// A thread that is free, for one hash.
pub(crate) struct FreeThread<'a> {
    jobs: &'a mpsc::Sender<Job>,
    _permit: SemaphorePermit<'a>,
}

impl FreeThread<'_> {
    /// Runs `hash` on the thread, and returns its result; `None` if the thread could not be started.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        hash: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, outcome) = oneshot::channel();
        let job = Box::new(move |memory: &mut Memory| {
            // The session that asked may be gone.
            let _ = sender.send(hash(memory));
        });
        self.jobs.send(job).ok()?;
        // Waited for on a thread of the runtime's, so that time that is simulated stands still meanwhile.
        tokio::task::spawn_blocking(move || outcome.blocking_recv().ok()).await.ok().flatten()
    }
}

/// Threads of one priority.
struct Pool {
    jobs: mpsc::Sender<Job>,
    /// As many as there are threads.
    permits: Semaphore,
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
        Self { jobs, permits: Semaphore::new(threads) }
    }
}

/// Lowers the priority of the calling thread. On systems other than Linux that would lower the whole process's.
fn stand_back() {
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
            // A thread that holds the lock for so long waits for the next job, so that none is left for this one.
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

    /// Returns whether a password is the one that was hashed.
    pub(crate) fn verify(&mut self, password: &[u8], stored: &str) -> bool {
        self.hash_like(password, stored).is_ok_and(|(expected, found)| expected == found)
    }

    /// Returns the output of a hash, and what it is for another password with all else the same. Their
    /// comparison takes the same time wherever they differ.
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

    /// Returns as many blocks as the parameters ask for. Their content does not matter: each is written before it is
    /// read.
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

    /// What is kept is what any other implementation would have kept.
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
