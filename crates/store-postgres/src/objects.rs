//! The object store (S3), which keeps the large pieces of contents.
//!
//! A piece of a message, as [`posta_store::Layout`] cuts it, stays in the database up to [`SMALL`] octets. A larger one
//! is an object of its own, and its row names the object and the SHA-256 of its octets.
//!
//! **An object is a piece, not a message.** A chunk becomes durable as it arrives, so a session holds no more than that
//! chunk, nothing waits for the end of the message, and reading a chunk is reading an object. One object for a whole
//! message would need a multipart upload, whose parts have at least 5 MiB: memory for each session or a detour by the
//! disk, two more requests for each message, and unfinished uploads that somebody has to find and abort.
//!
//! **Nothing is lost, whatever happens in between:**
//!
//! | step | what a crash leaves | who mends it |
//! |------|---------------------|--------------|
//! | PUT with `If-None-Match: *`, under a name that nobody else draws | an object without a row | the weekly pass |
//! | HEAD: the object is there, with this length and this checksum | the same | the same |
//! | the row, in the transaction that accepts the message | – | – |
//! | the row goes with its content; a trigger notes the name | – | – |
//! | a day later, DELETE, then the note goes | a note without an object | DELETE again, which is no error |
//!
//! HEAD costs a tenth of a PUT, and shows that the answer to the PUT was true: a proxy or a gateway that answers 200 and
//! keeps nothing would otherwise be noticed when the message is read. The checksum is compared at each reading.
//!
//! **While the store is away**, a request is tried [`ATTEMPTS`] times, and after that others fail at once; one of them
//! tries again each second. So large mail is refused for now without waiting, and service is back by itself.
//!
//! Callers: `store/contents.rs` and `store/mailboxes.rs` put and get, `store/upkeep/objects.rs` removes.

mod answers;
mod clock;
mod connections;
mod health;
mod settings;
mod signature;

pub use settings::ObjectSettings;

use answers::{Call, ObjectFault};
use aws_lc_rs::{digest, rand};
use bytes::Bytes;
use clock::SigningClock;
use connections::Connections;
use health::Health;
use hyper::{Method, StatusCode};
use posta_mail::MailId;
use posta_store::{CHUNK, ObjectFigures, StoreError};
use settings::Bucket;
use signature::SigningKey;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

/// The number of octets up to which a piece stays in the database.
pub(crate) const SMALL: usize = 64 * 1024;

/// The most octets of an object: a chunk with the head above it.
const LARGEST: usize = 2 * CHUNK;

/// The most objects that are listed at once.
pub(crate) const LISTED: usize = 1_000;

/// The most octets of such a list.
const LIST: usize = 2 * 1024 * 1024;

/// The age at which an object that no row names is surely not of a message on its way.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The requests of this node at once, each of which may hold a piece.
const AT_ONCE: usize = 32;

/// The time for which a request waits for its turn.
const TURN: Duration = Duration::from_secs(20);

/// The number of attempts, and the pause after the first; the next is four times as long.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// A piece of a message in the object store, as its row in the database names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) sha256: Vec<u8>,
}

/// An object in a list.
#[derive(Debug)]
pub(crate) struct ListedObject {
    pub(crate) key: String,
    /// When it was put, such as `2026-01-02T03:04:05Z`.
    pub(crate) modified: String,
}

impl ListedObject {
    /// Returns whether the object was put more than a day before a time in nanoseconds since 1970.
    pub(crate) fn is_older_than_a_day(&self, now: i64) -> bool {
        let put = self.modified.parse::<jiff::Timestamp>();
        put.is_ok_and(|put| i128::from(now) - put.as_nanosecond() > DAY.as_nanos() as i128)
    }
}

/// The object store of a node.
#[derive(Debug)]
pub(crate) struct Objects {
    bucket: Bucket,
    key: SigningKey,
    clock: SigningClock,
    connections: Connections,
    /// What the names of all objects of this database begin with. Two databases never have the same.
    prefix: String,
    turns: Semaphore,
    time_limit: Duration,
    health: Health,
}

impl Objects {
    /// Returns an id for a database that has none.
    pub(crate) fn new_id() -> Result<String, StoreError> {
        nonce()
    }

    /// Makes a client. `id` is the database's own, and part of the name of each object.
    pub(crate) fn new(settings: &ObjectSettings, id: &str) -> Result<Arc<Self>, StoreError> {
        Ok(Arc::new(Self {
            bucket: settings.bucket()?,
            key: settings.key.clone(),
            clock: SigningClock::default(),
            connections: Connections::new(settings)?,
            prefix: format!("posta-{id}/"),
            turns: Semaphore::new(AT_ONCE),
            time_limit: settings.time_limit,
            health: Health::default(),
        }))
    }

    /// Checks that objects can be put, read and removed. A store that does not answer is no mistake of the
    /// configuration: the node starts, and tells that it is away.
    ///
    /// # Errors
    /// [`StoreError::ObjectStore`] if it refuses.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        match self.try_all().await {
            Ok(()) => Ok(()),
            Err(fault) if fault.is_away() => {
                tracing::warn!("large messages have to wait: {fault}");
                Ok(())
            }
            Err(fault) => Err(StoreError::ObjectStore(fault.to_string())),
        }
    }

    async fn try_all(&self) -> Result<(), ObjectFault> {
        let octets = Bytes::from_static(b"Posta can write here.");
        let object = self.put_as(self.name("check")?, octets.clone()).await?;
        let read = self.read(&object).await?;
        self.delete(&object.key).await?;
        if read.as_deref() != Some(&octets[..]) {
            let words = "an object that was just put is not there: see what stands between this server and the object store";
            return Err(ObjectFault::Lost(words.to_owned()));
        }
        Ok(())
    }

    /// Puts a piece of a message, and returns when it is certain that it is there.
    pub(crate) async fn put(
        &self,
        content: MailId,
        index: u32,
        octets: Bytes,
    ) -> Result<Object, StoreError> {
        let put = self.put_as(self.name(&format!("{content}-{index}"))?, octets);
        put.await.map_err(|fault| StoreError::ObjectStore(fault.to_string()))
    }

    async fn put_as(&self, key: String, octets: Bytes) -> Result<Object, ObjectFault> {
        let sha256 = digest::digest(&digest::SHA256, &octets);
        let sha256 = sha256.as_ref().to_vec();
        let checksum = answers::base64(&sha256);
        let length = octets.len();
        let answer = self.ask(|| {
            let call = Call::new(Method::PUT, &self.bucket, &key).with("if-none-match", "*");
            call.with("x-amz-checksum-sha256", &checksum).with_body(octets.clone())
        });
        let answer = answer.await?;
        // Nobody else draws this name: an earlier attempt, whose answer was lost, has put the object.
        if answer.status != StatusCode::PRECONDITION_FAILED {
            answer.expect_success(&self.bucket)?;
        }
        self.health.count(|counts| counts.put.add(1));
        self.expect_there(&key, length, &checksum).await?;
        Ok(Object { key, sha256 })
    }

    /// Checks that an object that was just put is there.
    async fn expect_there(
        &self,
        key: &str,
        length: usize,
        checksum: &str,
    ) -> Result<(), ObjectFault> {
        let answer = self.ask(|| {
            let call = Call::new(Method::HEAD, &self.bucket, key);
            call.with("x-amz-checksum-mode", "ENABLED")
        });
        let answer = answer.await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(ObjectFault::Lost(format!(
                "the object store acknowledged {key} and does not have it: see what stands between this server and it"
            )));
        }
        answer.expect_success(&self.bucket)?;
        let is_same = answer.checksum.as_deref().is_none_or(|found| found == checksum);
        if answer.length != Some(length as u64) || !is_same {
            return Err(ObjectFault::Lost(format!("the object store altered {key}")));
        }
        Ok(())
    }

    /// Reads a piece of a message. One whose checksum is wrong is read once more, since it may have been altered on its
    /// way.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the object is missing or altered, [`StoreError::ObjectStore`] if it cannot be read now.
    pub(crate) async fn get(&self, object: &Object) -> Result<Bytes, StoreError> {
        for _ in 0..2 {
            match self.read(object).await {
                Ok(Some(octets)) if is_whole(object, &octets) => return Ok(octets),
                Ok(Some(_)) => {}
                Ok(None) => {
                    let missing = format!("the object {} is missing from the bucket", object.key);
                    return Err(StoreError::Damaged(missing));
                }
                Err(fault) => return Err(StoreError::ObjectStore(fault.to_string())),
            }
        }
        Err(StoreError::Damaged(format!("the object {} is altered", object.key)))
    }

    /// Returns the octets of an object; none if there is no such object.
    async fn read(&self, object: &Object) -> Result<Option<Bytes>, ObjectFault> {
        let answer =
            self.ask(|| Call::new(Method::GET, &self.bucket, &object.key).with_most(LARGEST));
        let answer = answer.await?;
        // A bucket that is gone is another matter.
        if answer.status == StatusCode::NOT_FOUND && answer.code() != "NoSuchBucket" {
            return Ok(None);
        }
        answer.expect_success(&self.bucket)?;
        self.health.count(|counts| counts.got.add(1));
        Ok(Some(answer.body))
    }

    /// Removes an object. One that is gone is no error.
    pub(crate) async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.delete(key).await.map_err(|fault| StoreError::ObjectStore(fault.to_string()))
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectFault> {
        let answer = self.ask(|| Call::new(Method::DELETE, &self.bucket, key));
        let answer = answer.await?;
        if answer.status == StatusCode::NOT_FOUND && answer.code() != "NoSuchBucket" {
            return Ok(());
        }
        answer.expect_success(&self.bucket)?;
        self.health.count(|counts| counts.removed.add(1));
        Ok(())
    }

    /// Returns whether an object is there.
    pub(crate) async fn is_there(&self, key: &str) -> Result<bool, StoreError> {
        let answer = self.ask(|| Call::new(Method::HEAD, &self.bucket, key));
        let there = async {
            let answer = answer.await?;
            if answer.status == StatusCode::NOT_FOUND {
                return Ok(false);
            }
            answer.expect_success(&self.bucket).map(|()| true)
        };
        there.await.map_err(|fault: ObjectFault| StoreError::ObjectStore(fault.to_string()))
    }

    /// Lists objects of this database after a name, in the order of names: [`LISTED`] at most, and fewer only at the end.
    pub(crate) async fn list(&self, after: &str) -> Result<Vec<ListedObject>, StoreError> {
        let list = async {
            let answer = self.ask(|| {
                let mut query = vec![
                    ("list-type", "2".to_owned()),
                    ("max-keys", LISTED.to_string()),
                    ("prefix", self.prefix.clone()),
                ];
                if !after.is_empty() {
                    query.push(("start-after", after.to_owned()));
                }
                Call::new(Method::GET, &self.bucket, "").with_query(query).with_most(LIST)
            });
            let answer = answer.await?;
            answer.expect_success(&self.bucket)?;
            self.health.count(|counts| counts.listed.add(1));
            answers::listed(&answer.body, &self.prefix)
        };
        list.await.map_err(|fault: ObjectFault| StoreError::ObjectStore(fault.to_string()))
    }

    /// Returns what was counted.
    pub(crate) fn figures(&self) -> ObjectFigures {
        self.health.figures()
    }

    /// Notes the number of objects that the last pass over the bucket missed.
    pub(crate) fn note_missing(&self, missing: u64) {
        self.health.count(|counts| counts.missing.store(missing));
    }

    /// Returns a name that no other object has.
    fn name(&self, of: &str) -> Result<String, StoreError> {
        Ok(format!("{}{of}-{}", self.prefix, nonce()?))
    }

    /// Sends a request, again if it fails, and returns the answer of whichever kind.
    async fn ask(&self, call: impl Fn() -> Call + Send) -> Result<answers::S3Answer, ObjectFault> {
        let busy =
            || ObjectFault::Away("all requests to the object store take too long".to_owned());
        let turn = timeout(TURN, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(busy()) };
        let attempts = self.health.attempts(ATTEMPTS)?;
        let mut pause = PAUSE;
        for attempt in 1.. {
            let (began, signed) = (Instant::now(), self.clock.now());
            let request = call().sign(&self.key, signed);
            let answered = timeout(self.time_limit, self.connections.exchange(&request)).await;
            let why = match answered {
                Ok(Ok(answer))
                    if answer.status == StatusCode::FORBIDDEN
                        && attempt <= ATTEMPTS
                        && self.clock.learn(answer.date, signed) =>
                {
                    continue;
                }
                Ok(Ok(answer)) if !answer.is_passing() => {
                    self.health.is_there(began.elapsed());
                    return Ok(answer);
                }
                Ok(Ok(answer)) => answer.words(),
                Ok(Err(why)) => why,
                Err(_) => format!("no answer within {:?}", self.time_limit),
            };
            self.health.count(|counts| counts.failed.add(1));
            if attempt >= attempts {
                return Err(self.health.is_away(self.connections.authority(), &why));
            }
            sleep(pause).await;
            pause *= 4;
        }
        Err(busy())
    }
}

/// Returns a word that nobody else draws.
fn nonce() -> Result<String, StoreError> {
    let mut nonce = [0; 8];
    rand::fill(&mut nonce)
        .map_err(|_| StoreError::Failed("the system has no randomness".to_owned()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(nonce)))
}

/// Returns whether octets are those that were put.
fn is_whole(object: &Object, octets: &[u8]) -> bool {
    digest::digest(&digest::SHA256, octets).as_ref() == object.sha256
}
