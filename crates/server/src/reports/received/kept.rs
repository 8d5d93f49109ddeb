//! Summaries of received reports in the store, each in a record of its own, so that a report is written once however
//! many there are.

use aws_lc_rs::digest::{SHA256, digest};
use posta_mail::Timestamp;
use posta_mime::received::{DmarcReport, TlsReport};
use posta_store::{Store, StoreError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// The kind of the records with summaries of DMARC reports: `example.org/2026-01-31/v` and a hash of the reporter and
/// its report's id; `u` instead of `v` if it is not shown who sent the report.
pub(super) const DMARC: &str = "dmarc-received";

/// The kind of the records with summaries of TLS reports, with the same names.
pub(super) const TLS: &str = "tls-received";

/// The maximal number of reports that are kept of a day about a domain.
const REPORTS: usize = 300;

/// The maximal number of those whose senders are not known.
const UNVERIFIED: usize = 20;

/// The time for which summaries are kept.
pub(super) const KEPT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The number of records that are read at once.
const PAGE: usize = 50;

/// A summary as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptSummary<R> {
    /// The domain that sent the report; none if that is not shown.
    pub(super) sender: Option<String>,
    /// The report.
    pub(super) report: R,
}

/// The summaries in the store.
pub(super) struct Kept(Arc<dyn Store>);

impl Kept {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// Keeps a DMARC report about a period that begins so. Returns why not, if it is not kept.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn keep_dmarc(
        &self,
        report: DmarcReport,
        begin: Timestamp,
        sender: Option<&str>,
    ) -> Result<Option<&'static str>, StoreError> {
        let place = Place { kind: DMARC, domain: &report.domain, begin };
        let id = report.id.clone();
        self.keep(place, &id, KeptSummary { sender: sender.map(str::to_owned), report: &report })
            .await
    }

    /// Keeps a TLS report whose first policy is about this domain.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn keep_tls(
        &self,
        report: TlsReport,
        domain: &str,
        sender: Option<&str>,
    ) -> Result<Option<&'static str>, StoreError> {
        let place = Place { kind: TLS, domain, begin: report.begin };
        let id = report.id.clone();
        self.keep(place, &id, KeptSummary { sender: sender.map(str::to_owned), report: &report })
            .await
    }

    async fn keep<R: Serialize>(
        &self,
        place: Place<'_>,
        id: &str,
        summary: KeptSummary<R>,
    ) -> Result<Option<&'static str>, StoreError> {
        let Place { kind, domain, begin } = place;
        let (letter, most) = match summary.sender {
            Some(_) => ('v', REPORTS),
            None => ('u', UNVERIFIED),
        };
        // The sender is part of the name, so that nobody takes the place of another's report.
        let hash = hash(&[summary.sender.as_deref().unwrap_or_default(), id]);
        let of_day = format!("{domain}/{}/{letter}", date(begin));
        let name = format!("{of_day}{hash}");
        // RFC 9990 §3.5.4: a report that comes twice counts once.
        if self.0.kept_one(kind, &name).await?.is_some() {
            return Ok(Some("it is here already"));
        }
        if self.0.kept_page(kind, &of_day, None, most).await?.len() >= most {
            return Ok(Some("there are too many of that day"));
        }
        let record = serde_json::to_vec(&summary).unwrap_or_default();
        self.0.keep(kind, &name, Some(record)).await?;
        Ok(None)
    }

    /// Removes summaries of reports that are too old.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn purge(&self, now: Timestamp) -> Result<(), StoreError> {
        let oldest = date(now - KEPT);
        for kind in [DMARC, TLS] {
            let mut after = None::<String>;
            loop {
                let page = self.0.kept_page(kind, "", after.as_deref(), PAGE).await?;
                for (name, _) in &page {
                    let day = name.split('/').nth(1).unwrap_or_default();
                    if day < oldest.as_str() {
                        self.0.keep(kind, name, None).await?;
                    }
                }
                match page.into_iter().next_back() {
                    Some((last, _)) => after = Some(last),
                    None => break,
                }
            }
        }
        Ok(())
    }
}

/// Where a summary is kept.
struct Place<'a> {
    kind: &'static str,
    domain: &'a str,
    begin: Timestamp,
}

/// Passes the summaries about a domain, of a day and all later ones, to `each`, in the order of days.
///
/// # Errors
/// When the store fails.
pub(super) async fn each<R: DeserializeOwned>(
    store: &dyn Store,
    (kind, domain): (&'static str, &str),
    since: Timestamp,
    mut each: impl FnMut(&str, KeptSummary<R>),
) -> Result<(), StoreError> {
    let prefix = format!("{domain}/");
    let mut after = format!("{prefix}{}", date(since));
    loop {
        let page = store.kept_page(kind, &prefix, Some(&after), PAGE).await?;
        for (name, record) in &page {
            let day = name.split('/').nth(1).unwrap_or_default();
            match serde_json::from_slice(record) {
                Ok(summary) => each(day, summary),
                Err(error) => tracing::warn!(%error, name, "a report's summary cannot be read"),
            }
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = last,
            None => return Ok(()),
        }
    }
}

/// Returns the date in UTC.
pub(super) fn date(time: Timestamp) -> String {
    time.to_string().chars().take("2026-01-01".len()).collect()
}

fn hash(words: &[&str]) -> String {
    let hash = digest(&SHA256, words.join("\0").as_bytes());
    hash.as_ref().iter().take(10).fold(String::new(), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::MemoryStore;

    const NOW: i64 = 1_800_000_000;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(NOW + days * 86_400).unwrap()
    }

    fn report(id: &str) -> DmarcReport {
        let domain = "x.test".to_owned();
        DmarcReport { domain, id: id.to_owned(), ..DmarcReport::default() }
    }

    async fn days(store: &dyn Store, domain: &str, since: Timestamp) -> Vec<String> {
        let mut days = Vec::new();
        let each = each(store, (DMARC, domain), since, |day, _: KeptSummary<DmarcReport>| {
            days.push(day.to_owned());
        });
        each.await.unwrap();
        days
    }

    #[tokio::test]
    async fn a_report_is_kept_once_by_its_sender() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let kept = Kept::new(store.clone());
        let keep = async |id: &str, sender| kept.keep_dmarc(report(id), at(0), sender).await;
        assert_eq!(keep("1", Some("a.test")).await.unwrap(), None);
        assert_eq!(keep("1", Some("a.test")).await.unwrap(), Some("it is here already"));
        // Others who use the same id are others.
        assert_eq!(keep("1", Some("b.test")).await.unwrap(), None);
        for number in 0..2 * UNVERIFIED {
            let refused = keep(&number.to_string(), None).await.unwrap();
            assert_eq!(refused.is_some(), number >= UNVERIFIED, "{number}: {refused:?}");
        }
        assert_eq!(keep("2", Some("a.test")).await.unwrap(), None, "room for the others is left");
        for number in 0..2 * REPORTS {
            keep(&format!("n{number}"), Some("a.test")).await.unwrap();
        }
        let all = days(&*store, "x.test", at(0)).await;
        assert_eq!(all.len(), REPORTS + UNVERIFIED);
    }

    #[tokio::test]
    async fn summaries_are_read_by_day_and_go_with_time() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let kept = Kept::new(store.clone());
        for day in [-401, -2, -1, 0] {
            kept.keep_dmarc(report("1"), at(day), Some("a.test")).await.unwrap();
        }
        assert_eq!(days(&*store, "x.test", at(-1)).await, ["2027-01-14", "2027-01-15"]);
        assert!(days(&*store, "y.test", at(-500)).await.is_empty());
        assert!(days(&*store, "x", at(-500)).await.is_empty());
        assert_eq!(days(&*store, "x.test", at(-500)).await.len(), 4);
        kept.purge(at(0)).await.unwrap();
        assert_eq!(days(&*store, "x.test", at(-500)).await.len(), 3);
    }
}
