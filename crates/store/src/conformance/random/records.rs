//! Small records, secrets, sources with what was collected from them, and the history.

use super::{Random, World, told};
use crate::{
    AccountId, ClaimedSource, Collected, DOMAIN_KEYS, Event, KeyId, MemoryStore, SecretOf, Source,
    SourceId, Sources as _, Store, StoreError, Visit, What,
    conformance::{add, at, message, source, uids},
};
use posta_mail::{MailId, Secret, Timestamp};

/// The server's own records.
#[derive(Debug, Default)]
pub(super) struct RecordWorld {
    account: Option<AccountId>,
    /// Seconds that passed by restarts.
    passed: i64,
}

#[derive(Debug, Clone)]
pub(super) enum RecordStep {
    Keep { kind: &'static str, name: String, record: Option<Vec<u8>> },
    KeepIf { name: String, expected: Option<Vec<u8>>, record: Option<Vec<u8>>, key: u64 },
    AddSource { every: u64, secret: u64 },
    ChangeSource { id: SourceId, every: u64, secret: u64 },
    RemoveSource(SourceId),
    Collect { number: u64, id: SourceId, unique_id: String },
    Forget { id: SourceId, unique_ids: Vec<String> },
    Visit { now: Timestamp, limit: usize },
    Note { events: Vec<Event> },
    ForgetEvents { before: Timestamp },
}

const KINDS: [&str; 3] = ["a", "ab", DOMAIN_KEYS];
const KEYS: u64 = 3;

fn any_record(random: &mut Random) -> Option<Vec<u8>> {
    (random.below(3) > 0).then(|| vec![b'r'; random.below(4) as usize])
}

fn any_name(random: &mut Random) -> String {
    (0..=random.below(3)).map(|_| random.pick(&['a', '/', 'ż'])).collect()
}

fn secret(number: u64) -> Secret {
    Secret::new(format!("secret {number}").as_bytes())
}

impl World for RecordWorld {
    type Operation = RecordStep;

    async fn begin(&mut self, both: [&dyn Store; 2]) {
        for store in both {
            self.account = Some(add(store, "ana@x.test").await);
        }
    }

    async fn draw(
        &mut self,
        reference: &MemoryStore,
        step: u64,
        random: &mut Random,
    ) -> RecordStep {
        let now = step as i64 + self.passed;
        let sources = reference.sources().await.unwrap();
        let (every, number) = (random.below(40), random.below(9));
        let unique_id = format!("u{}", random.below(6));
        let id = match sources.is_empty() || random.below(8) == 0 {
            true => SourceId::imports_of(self.account.unwrap()),
            false => random.pick(&sources).id,
        };
        match random.below(16) {
            0..=3 => {
                let (name, record) = (any_name(random), any_record(random));
                RecordStep::Keep { kind: random.pick(&KINDS), name, record }
            }
            4..=6 => {
                let (expected, record) = (any_record(random), any_record(random));
                RecordStep::KeepIf { name: any_name(random), expected, record, key: number }
            }
            7 => RecordStep::AddSource { every, secret: number },
            8 => RecordStep::ChangeSource { id, every, secret: number },
            9 if random.below(3) == 0 => RecordStep::RemoveSource(id),
            9..=10 => RecordStep::Collect { number: step, id, unique_id },
            11 => RecordStep::Forget { id, unique_ids: vec![unique_id, "u0".to_owned()] },
            12..=13 => RecordStep::Visit { now: at(now), limit: random.below(3) as usize },
            14 => {
                let event = |index| Event {
                    id: MailId::new(at(now - random.below(5) as i64), 1),
                    time: at(now),
                    what: What::Removed { destination: format!("{step}.{index}") },
                };
                RecordStep::Note { events: (0..=step % 3).map(event).collect() }
            }
            _ => RecordStep::ForgetEvents { before: at(now - 20) },
        }
    }

    async fn run(&self, store: &dyn Store, operation: &RecordStep) -> String {
        let account = self.account.unwrap();
        let made = |id, every| Source { id, every, ..source(account) };
        match operation.clone() {
            RecordStep::Keep { kind, name, record } => told(store.keep(kind, &name, record).await),
            RecordStep::KeepIf { name, expected, record, key } => {
                let of = SecretOf::Key(KeyId(key % KEYS));
                let secrets = vec![(of, record.is_some().then(|| secret(key)))];
                told(store.keep_with_secrets("a", &name, expected, record, secrets).await)
            }
            RecordStep::AddSource { every, secret: number } => {
                told(store.add_source(made(SourceId(0), every), secret(number)).await)
            }
            RecordStep::ChangeSource { id, every, secret: number } => {
                told(store.change_source(made(id, every), secret(number)).await)
            }
            RecordStep::RemoveSource(id) => told(store.remove_source(id).await),
            RecordStep::Collect { number, id, unique_id } => {
                let mut collected = message(number, at(0), b"x\r\n", &[account]);
                collected.collected = Some(Collected { source: id, unique_id });
                told(store.accept(collected).await)
            }
            RecordStep::Forget { id, unique_ids } => {
                told(store.forget_collected(id, unique_ids).await)
            }
            RecordStep::Visit { now, limit } => told(visit(store, now, limit).await),
            RecordStep::Note { events } => told(store.note(events).await),
            RecordStep::ForgetEvents { before } => {
                let mut forgotten = 0;
                while let Ok(some @ 1..) = store.forget(before).await {
                    forgotten += some;
                }
                forgotten.to_string()
            }
        }
    }

    async fn shown(&self, store: &dyn Store, step: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for kind in KINDS {
            let kept = store.kept(kind).await.unwrap();
            let after = kept.get(step as usize % 7).map(|(name, _)| name.as_str());
            for prefix in ["", "a", "a/", "ż"] {
                let page = store.kept_page(kind, prefix, after, step as usize % 4).await;
                lines.push(format!("{page:?}"));
            }
            lines.push(format!("{kept:?}"));
        }
        for key in 0..KEYS {
            let secret = store.secret(SecretOf::Key(KeyId(key))).await.unwrap();
            lines.push(format!("{:?}", secret.map(|it| it.expose().to_vec())));
        }
        let imports = SourceId::imports_of(self.account.unwrap());
        let sources = store.sources().await.unwrap();
        for id in sources.iter().map(|source| source.id).chain([imports]) {
            let collected = store.collected(id).await.unwrap();
            let secret = store.secret(SecretOf::Source(id)).await.unwrap();
            lines.push(format!("{collected:?} {:?}", secret.map(|it| it.expose().to_vec())));
        }
        lines.push(format!("{sources:?}"));
        lines.push(format!("{:?}", uids(store, self.account.unwrap()).await));
        let newest = store.events(None, 3).await.unwrap();
        if let Some(last) = newest.last() {
            lines.push(format!("{:?}", store.history(last.id).await.unwrap()));
            lines.push(format!("{:?}", store.events(Some(last.id), 2).await.unwrap()));
        }
        lines.push(format!("{newest:?}"));
        lines
    }

    fn restarted(&mut self) {
        self.passed += 100;
    }
}

/// Visits sources that are due, in the order of their turns.
async fn visit(store: &dyn Store, now: Timestamp, limit: usize) -> Result<Vec<Source>, StoreError> {
    let mut sources = Vec::new();
    for ClaimedSource { source, lease, .. } in store.claim_sources(now, now, limit).await? {
        let visit = Visit { time: now, collected: 1, problem: None };
        assert!(store.visited(source.id, lease.token, visit).await?);
        sources.push(source);
    }
    Ok(sources)
}
