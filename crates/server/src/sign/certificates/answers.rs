//! The answers to an authority, where all nodes find them: whichever node orders a certificate, the authority may ask any
//! of those to which the name leads.

use posta_mail::Timestamp;
use posta_net::{
    clock::Clock,
    tls::server::challenges::{Later, SharedAnswers},
};
use posta_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// The kind of the records of answers, by the question.
const ANSWERS: &str = "acme-answer";

/// The time for which an answer is kept: longer than any order takes.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// An answer, and until when it is of use.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    answer: Vec<u8>,
    until: Timestamp,
}

/// The answers in the store.
pub(crate) struct AnswersInStore {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl SharedAnswers for AnswersInStore {
    fn keep<'a>(&'a self, question: &'a str, answer: &'a [u8]) -> Later<'a, Result<(), String>> {
        let answer = Answer { answer: answer.to_vec(), until: self.clock.now() + KEPT };
        Box::pin(async move {
            let record = serde_json::to_vec(&answer).map_err(|error| error.to_string())?;
            let kept = self.store.keep(ANSWERS, question, Some(record)).await;
            kept.map_err(|error| error.to_string())
        })
    }

    fn find<'a>(&'a self, question: &'a str) -> Later<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let found = self.store.kept_one(ANSWERS, question).await;
            let found = found.inspect_err(|error| {
                tracing::warn!(%error, "an answer to an authority could not be read");
            });
            let found: Answer = serde_json::from_slice(&found.ok()??).ok()?;
            (self.clock.now() < found.until).then_some(found.answer)
        })
    }
}

/// Removes answers that are of no use any more.
pub(super) async fn forget_old(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    for (question, record) in store.kept(ANSWERS).await? {
        let is_old = serde_json::from_slice(&record).map_or(true, |it: Answer| it.until <= now);
        if is_old {
            store.keep_if(ANSWERS, &question, Some(record), None).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::clock::SimulatedClock;
    use posta_store::{MemoryStore, Records as _};

    #[tokio::test]
    async fn another_server_finds_the_answer_for_an_hour() {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 1));
        let server = || AnswersInStore { store: store.clone(), clock: clock.clone() };
        server().keep("token abc", b"abc.thumb").await.unwrap();
        assert_eq!(server().find("token abc").await.as_deref(), Some(&b"abc.thumb"[..]));
        assert_eq!(server().find("token abd").await, None);
        clock.set(clock.now() + KEPT / 2);
        server().keep("token abd", b"abd.thumb").await.unwrap();
        clock.set(clock.now() + KEPT / 2);
        assert_eq!(server().find("token abc").await, None);
        forget_old(&*store, clock.now()).await.unwrap();
        let left = store.kept(ANSWERS).await.unwrap();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
