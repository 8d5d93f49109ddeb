//! The queue.

use super::{Random, World, told};
use crate::{
    AccountId, Destination, Item, ItemId, ItemState, MemoryStore, Queue as _, Settlement, Store,
    Token,
    conformance::{add, at, delivery, item, message, uids},
};
use parking_lot::Mutex;
use posta_mail::Timestamp;
use std::collections::HashMap;

/// An account, and what waits to be sent.
#[derive(Debug, Default)]
pub(super) struct QueueWorld {
    account: Option<AccountId>,
    /// Seconds that passed by restarts.
    passed: i64,
    /// The tokens of claims, which differ from store to store: in each, by the item and the number of its claim.
    tokens: Mutex<HashMap<(usize, ItemId, u64), Token>>,
    /// The number of claims of each item. A restart forgets both, since old tokens are worth nothing then.
    claims: Mutex<HashMap<(usize, ItemId), u64>>,
}

#[derive(Debug, Clone)]
pub(super) enum QueueStep {
    Put {
        number: u64,
        items: Vec<Item>,
        is_delivered: bool,
    },
    /// With the time before which nothing can be claimed, if that finds nothing.
    Claim {
        now: Timestamp,
        until: Timestamp,
        share: usize,
        next: Option<Timestamp>,
    },
    /// With the token of the last claim, of an older one, or none.
    Renew {
        item: ItemId,
        back: u64,
        until: Timestamp,
    },
    Settle {
        item: Box<Item>,
        back: Option<u64>,
        is_left: bool,
        is_delivered: bool,
        now: Timestamp,
    },
    Pause {
        destination: Destination,
        until: Timestamp,
    },
    Reschedule {
        items: Vec<(ItemId, Timestamp)>,
        state: ItemState,
    },
}

const DOMAINS: [&str; 3] = ["x.test", "y.test", "z.test"];

fn any_destination(random: &mut Random) -> Destination {
    match random.below(4) {
        0 => Destination::Local,
        _ => Destination::Domain(random.pick(&DOMAINS).to_owned()),
    }
}

impl World for QueueWorld {
    type Operation = QueueStep;

    async fn begin(&mut self, both: [&dyn Store; 2]) {
        for store in both {
            self.account = Some(add(store, "ana@x.test").await);
        }
    }

    async fn draw(&mut self, reference: &MemoryStore, step: u64, random: &mut Random) -> QueueStep {
        let now = step as i64 + self.passed;
        let all = reference.items(None, 999).await.unwrap();
        // Those that are leased, or could be: what happens to a lease that has ended while nobody claims is open.
        let over = |item: &Item| item.state == ItemState::Leased && item.due <= at(now);
        let clear: Vec<_> = all.iter().filter(|item| !over(item)).cloned().collect();
        let later = at(now + 1 + random.below(30) as i64);
        match random.below(12) {
            0..=3 => {
                let new = |random: &mut Random, index| Item {
                    destination: any_destination(random),
                    // No two are due at the same moment.
                    due: at(now + random.below(20) as i64)
                        + jiff::SignedDuration::from_millis((step * 10 + index) as i64),
                    ..item(step, index as u32, at(0), random.below(3) as i8)
                };
                let is_delivered = random.below(3) == 0;
                let items = (0..=random.below(3)).map(|index| new(random, index)).collect();
                QueueStep::Put { number: step, items, is_delivered }
            }
            4..=6 => {
                let share = random.below(3) as usize + 1;
                let next = reference.next_due().await.unwrap();
                QueueStep::Claim { now: at(now), until: later, share, next }
            }
            7 if !all.is_empty() => {
                let (item, back) = (random.pick(&all).id, random.below(3));
                QueueStep::Renew { item, back, until: later }
            }
            8..=9 if !all.is_empty() => {
                let item = random.pick(&all);
                let back = (random.below(4) > 0).then(|| random.below(3));
                let due = later + jiff::SignedDuration::from_millis(step as i64 * 10 + 9);
                let item = Item { due, state: ItemState::Waiting, attempts: step as u32, ..item };
                let (is_left, is_delivered) = (random.below(3) == 0, random.below(3) == 0);
                QueueStep::Settle {
                    item: Box::new(item),
                    back,
                    is_left,
                    is_delivered,
                    now: at(now),
                }
            }
            10 if !clear.is_empty() => {
                let due = |item: &Item| {
                    let millis = i64::from(item.id.index) + step as i64 * 10;
                    (item.id, later + jiff::SignedDuration::from_millis(millis))
                };
                let some = clear.iter().filter(|_| random.below(2) == 0).take(9);
                let items = some.map(due).collect();
                let states = [ItemState::Waiting, ItemState::Held, ItemState::Quarantined];
                QueueStep::Reschedule { items, state: random.pick(&states) }
            }
            _ => QueueStep::Pause { destination: any_destination(random), until: later },
        }
    }

    async fn run(&self, store: &dyn Store, operation: &QueueStep) -> String {
        let account = self.account.unwrap();
        let place = std::ptr::from_ref(store).cast::<()>() as usize;
        match operation.clone() {
            QueueStep::Put { number, items, is_delivered } => {
                let to = if is_delivered { vec![account] } else { Vec::new() };
                let mut queued = message(number, at(0), b"x\r\n\n", &to);
                queued.items = items;
                told(store.accept(queued).await)
            }
            QueueStep::Claim { now, until, share, next } => {
                let claimed = store.claim(now, until, 999, share).await.unwrap();
                let mut ids: Vec<_> = claimed.iter().map(|it| it.item.id).collect();
                ids.sort_unstable();
                for claimed in claimed {
                    let mut claims = self.claims.lock();
                    let claim = claims.entry((place, claimed.item.id)).or_default();
                    *claim += 1;
                    let key = (place, claimed.item.id, *claim);
                    self.tokens.lock().insert(key, claimed.lease.token);
                }
                if ids.is_empty() {
                    // Whoever waits until then is not late, and does not run in circles.
                    let told = store.next_due().await.unwrap();
                    assert!(told.is_none_or(|told| told > now), "{told:?}");
                    assert!(next.is_none() || told.is_some() && told <= next, "{told:?}, {next:?}");
                }
                format!("{ids:?}")
            }
            QueueStep::Renew { item, back, until } => match self.token(place, item, back) {
                Some(token) => told(store.renew(item, token, until).await),
                None => String::new(),
            },
            QueueStep::Settle { item, back, is_left, is_delivered, now } => {
                let token = back.map(|back| self.token(place, item.id, back));
                let token = match token {
                    Some(None) => return String::new(),
                    Some(Some(token)) => Some(token),
                    None => None,
                };
                let deliveries = is_delivered.then(|| delivery(account, Vec::new()));
                let settlement = Settlement {
                    item: item.id,
                    token,
                    time: now,
                    left: is_left.then_some(*item),
                    deliveries: deliveries.into_iter().collect(),
                    reports: Vec::new(),
                    events: Vec::new(),
                };
                told(store.settle(settlement).await)
            }
            QueueStep::Pause { destination, until } => told(store.pause(&destination, until).await),
            QueueStep::Reschedule { items, state } => told(store.reschedule(items, state).await),
        }
    }

    async fn shown(&self, store: &dyn Store, step: u64) -> Vec<String> {
        let now = at(step as i64 + self.passed);
        let show = |mut item: Item| {
            if item.state == ItemState::Leased && item.due <= now {
                (item.state, item.due) = (ItemState::Waiting, now);
            }
            if item.state == ItemState::Waiting && item.due <= now {
                item.due = now;
            }
            item.shared = false;
            format!("{item:?}")
        };
        let items = store.items(None, 999).await.unwrap();
        let mut lines: Vec<_> = items.into_iter().map(show).collect();
        lines.push(format!("{:?}", uids(store, self.account.unwrap()).await));
        lines
    }

    fn restarted(&mut self) {
        // Until all leases and pauses have ended.
        self.passed += 100;
        self.tokens.lock().clear();
        self.claims.lock().clear();
    }
}

impl QueueWorld {
    /// Returns the token of an item's last claim but `back`.
    fn token(&self, place: usize, item: ItemId, back: u64) -> Option<Token> {
        let claim = self.claims.lock().get(&(place, item))?.checked_sub(back)?;
        self.tokens.lock().get(&(place, item, claim)).copied()
    }
}
