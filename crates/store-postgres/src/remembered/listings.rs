//! The maildrops that were read, by which later ones are made.
//!
//! One statement tells whether the list of a folder is still what this node knows, and brings what arrived since; the
//! whole list is read only if anything left the folder, or at the first time.

use crate::{columns::uid, connection::Connection, fault::DatabaseFault};
use parking_lot::Mutex;
use posta_store::{AccountId, FolderId, Maildrop, Summary};
use std::{collections::HashMap, sync::Arc};

/// The number of messages in all maildrops that are remembered: about 80 MB.
const MESSAGES: usize = 4_000_000;

/// The number of maildrops that are remembered.
const MAILDROPS: usize = 20_000;

/// Messages that are put into a list at a time.
const PIECE: usize = 65_536;

/// Rows for the messages of a folder, at least one if there is the folder: all of them, or if nothing left the folder since
/// it was known, those that came after.
const LISTED: &str = "SELECT f.altered, f.uid_next, e.uid, e.number, e.octets, e.imported \
     FROM folder f \
     LEFT JOIN entry e ON e.account = f.account AND e.folder = f.id AND e.removed IS NULL \
         AND e.uid >= CASE WHEN f.altered = $3 THEN $4::bigint ELSE 0 END \
     WHERE f.account = $1 AND f.id = $2 \
     ORDER BY e.uid";

type Place = (AccountId, FolderId);

/// The maildrops that this node knows.
#[derive(Debug, Default)]
pub(crate) struct Listings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_place: HashMap<Place, Listing>,
    messages: usize,
    uses: u64,
}

#[derive(Debug, Clone)]
struct Listing {
    altered: i64,
    uid_next: i64,
    maildrop: Arc<Maildrop>,
    used: u64,
}

impl Listings {
    /// Returns the maildrop of a folder as it is now.
    pub(crate) async fn open(
        &self,
        connection: &Arc<Connection>,
        place: Place,
    ) -> Result<Arc<Maildrop>, DatabaseFault> {
        let known = self.0.lock().by_place.get(&place).cloned();
        let (account, folder) = (place.0.0 as i64, place.1.0 as i32);
        let (altered, uid_next) = known.as_ref().map_or((-1, 0), |it| (it.altered, it.uid_next));
        let mut now = None;
        let mut messages = Vec::new();
        let mut maildrop: Option<Maildrop> = None;
        let start = || known.as_ref().map(|it| it.maildrop.clone());
        connection
            .each(LISTED, &[&account, &folder, &altered, &uid_next], |row| {
                now = Some((row.get::<_, i64>(0), row.get::<_, i64>(1)));
                if let Some(number) = row.get::<_, Option<i64>>(2) {
                    let summary = Summary {
                        number: row.get::<_, i64>(3) as u64,
                        octets: row.get::<_, i64>(4) as u64,
                        uid: uid(number),
                    };
                    messages.push((summary, row.get::<_, Option<String>>(5)));
                }
                if messages.len() >= PIECE {
                    let is_same = row.get::<_, i64>(0) == altered;
                    let list = maildrop.get_or_insert_with(|| first(start().filter(|_| is_same)));
                    list.extend(messages.drain(..));
                }
                Ok(())
            })
            .await?;
        let Some((now_altered, now_next)) = now else { return Ok(Arc::default()) };
        let is_same = now_altered == altered;
        let maildrop = match (known.filter(|_| is_same), maildrop) {
            (Some(known), None) if messages.is_empty() => known.maildrop,
            (known, list) => {
                let mut list = list.unwrap_or_else(|| first(known.map(|it| it.maildrop)));
                list.extend(messages);
                Arc::new(list)
            }
        };
        self.keep(
            place,
            Listing {
                altered: now_altered,
                uid_next: now_next,
                maildrop: maildrop.clone(),
                used: 0,
            },
        );
        Ok(maildrop)
    }

    fn keep(&self, place: Place, mut listing: Listing) {
        let mut known = self.0.lock();
        known.uses += 1;
        listing.used = known.uses;
        let is_older = |before: &Listing| {
            (before.altered, before.uid_next) > (listing.altered, listing.uid_next)
        };
        // Another session may have read later, and kept that already.
        if known.by_place.get(&place).is_some_and(is_older) {
            return;
        }
        known.messages += listing.maildrop.len();
        if let Some(before) = known.by_place.insert(place, listing) {
            known.messages -= before.maildrop.len();
        }
        while known.messages > MESSAGES || known.by_place.len() > MAILDROPS {
            let oldest = known.by_place.iter().min_by_key(|(_, listing)| listing.used);
            let Some((&oldest, _)) = oldest else { break };
            if let Some(listing) = known.by_place.remove(&oldest) {
                known.messages -= listing.maildrop.len();
            }
        }
    }
}

fn first(known: Option<Arc<Maildrop>>) -> Maildrop {
    known.map(Arc::unwrap_or_clone).unwrap_or_default()
}
