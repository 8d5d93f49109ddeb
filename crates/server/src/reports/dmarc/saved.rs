//! The counts for DMARC reports as the store keeps them: pieces, each with what was counted since the piece before,
//! so that a busy domain's rows are not written again and again; and the reports that were sent.

use super::day::{Day, SavedPiece};
use posta_net::clock::Clock;
use posta_store::{Store, StoreError};
use std::sync::Arc;

/// The kind of the records with the pieces of a day: its date, a slash, and a name that no other piece has.
const PIECES: &str = "dmarc-counts";

/// The kind of the records of reports that were sent, so that a restart does not send them again:
/// `2026-01-31/example.org`.
const SENT: &str = "dmarc-sent";

/// The number of records that are removed in one go.
const PAGE: usize = 100;

/// The counts in the store.
pub(super) struct Saved {
    store: Arc<dyn Store>,
    /// Makes the names of pieces.
    clock: Arc<dyn Clock>,
}

impl Saved {
    pub(super) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Adds pieces to a day.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn add(&self, date: &str, pieces: Vec<SavedPiece>) -> Result<(), StoreError> {
        for piece in pieces {
            let record = serde_json::to_vec(&piece).unwrap_or_default();
            let name = format!("{date}/{}", self.clock.mail_id());
            self.store.keep(PIECES, &name, Some(record)).await?;
        }
        Ok(())
    }

    /// Returns the dates of which there are pieces, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn dates(&self) -> Result<Vec<String>, StoreError> {
        let mut dates = Vec::new();
        let mut after = None::<String>;
        while let Some((name, _)) =
            self.store.kept_page(PIECES, "", after.as_deref(), 1).await?.into_iter().next()
        {
            let date = name.split('/').next().unwrap_or_default().to_owned();
            // No name of that date is greater.
            after = Some(format!("{date}/~"));
            dates.push(date);
        }
        Ok(dates)
    }

    /// Returns what is saved of a day.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn day(&self, date: &str) -> Result<Day, StoreError> {
        let mut day = Day::new(date.to_owned());
        let (prefix, mut after) = (format!("{date}/"), None::<String>);
        while let Some((name, record)) =
            self.store.kept_page(PIECES, &prefix, after.as_deref(), 1).await?.into_iter().next()
        {
            match serde_json::from_slice(&record) {
                Ok(piece) => day.add_saved(piece),
                Err(error) => tracing::warn!(%error, name, "a saved count cannot be read"),
            }
            after = Some(name);
        }
        Ok(day)
    }

    /// Returns whether the report of a day to a domain was sent.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn is_sent(&self, date: &str, domain: &str) -> Result<bool, StoreError> {
        Ok(self.store.kept_one(SENT, &format!("{date}/{domain}")).await?.is_some())
    }

    /// Records that the report of a day to a domain was sent.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn set_sent(&self, date: &str, domain: &str) -> Result<(), StoreError> {
        self.store.keep(SENT, &format!("{date}/{domain}"), Some(Vec::new())).await
    }

    /// Removes all records of a day. The pieces go first: without them, nothing is sent again.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn forget(&self, date: &str) -> Result<(), StoreError> {
        let prefix = format!("{date}/");
        for kind in [PIECES, SENT] {
            loop {
                let page = self.store.kept_page(kind, &prefix, None, PAGE).await?;
                for (name, _) in &page {
                    self.store.keep(kind, name, None).await?;
                }
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::observation, *};
    use posta_net::clock::SystemClock;
    use posta_store::MemoryStore;

    #[tokio::test]
    async fn days_are_kept_in_pieces() {
        let saved = Saved::new(Arc::new(MemoryStore::new()), Arc::new(SystemClock));
        for (date, domain, times) in [("2026-01-01", "x.test", 3), ("2026-01-02", "y.test", 2)] {
            for _ in 0..times {
                let mut day = Day::new(date.to_owned());
                day.count(observation(domain, 1, true), 1_000, true);
                saved.add(date, day.unsaved(false)).await.unwrap();
            }
        }
        assert_eq!(saved.dates().await.unwrap(), ["2026-01-01", "2026-01-02"]);
        let day = saved.day("2026-01-01").await.unwrap();
        let counts: Vec<_> = day.domains()["x.test"].rows().map(|(_, count)| count).collect();
        assert_eq!(counts, [3]);
        assert!(!saved.is_sent("2026-01-01", "x.test").await.unwrap());
        saved.set_sent("2026-01-01", "x.test").await.unwrap();
        assert!(saved.is_sent("2026-01-01", "x.test").await.unwrap());
        saved.forget("2026-01-01").await.unwrap();
        assert!(!saved.is_sent("2026-01-01", "x.test").await.unwrap());
        assert_eq!(saved.dates().await.unwrap(), ["2026-01-02"]);
    }
}
