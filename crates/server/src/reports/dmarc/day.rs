//! What was observed in one day, counted by domain and by what messages have in common.
//!
//! Strangers choose most of what is counted: domains, addresses of senders, selectors. So everything is limited:
//! how many domains a day has, how much memory the rows of one and of all of them take, and how much the rows of
//! refused mail may cost on the disk. What is over a limit is only counted.

use crate::deliver::feedback::{FeedbackRow, Observation, PublishedPolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The maximal number of domains of a day.
const DOMAINS: usize = 2_000;

/// The maximal number of octets that the rows of a day take.
const DAY_OCTETS: usize = 8 << 20;

/// The maximal number of octets that the rows of a domain take.
const DOMAIN_OCTETS: usize = 512 << 10;

/// The part of [`DOMAIN_OCTETS`] that rows of mail that failed may take. Who forges a domain cannot fill the report
/// so that it has no room for the domain's own mail.
const FAILED_OCTETS: usize = DOMAIN_OCTETS / 4 * 3;

/// What a row costs besides its names: its other fields, and its place in the map.
const ROW: usize = 240;

/// What each signature of a row costs besides its names.
const SIGNATURE: usize = 40;

/// The number of octets that rows of refused mail may cost on the disk in a day, however little was sent.
const FREE: u64 = 256 << 10;

/// One octet more for rows for so many octets of refused mail. What is refused may cost a fifth of its octets in all,
/// most of which is its history.
const SHARE: u64 = 25;

/// The maximal number of octets of a piece that is saved at once.
const PIECE: usize = 128 << 10;

/// The number of messages that a row stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    /// The messages that the store does not know of.
    unsaved: u64,
    /// Whether these may be saved now.
    is_paid: bool,
}

/// The observations about the mail of one domain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OfDomain {
    /// Its policy, as it was published last.
    pub(super) policy: PublishedPolicy,
    /// The number of messages that no row stands for.
    pub(super) unlisted: u64,
    unlisted_unsaved: u64,
    rows: BTreeMap<FeedbackRow, Tally>,
    octets: usize,
}

/// A piece of a day, as the store keeps it. The counts of all pieces together are those of the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedPiece {
    policy: PublishedPolicy,
    rows: Vec<(FeedbackRow, u64)>,
    unlisted: u64,
}

/// A day's observations.
#[derive(Debug, Default)]
pub(super) struct Day {
    date: String,
    domains: BTreeMap<String, OfDomain>,
    octets: usize,
    /// The number of octets of refused mail, and of what that has cost.
    refused: u64,
    spent: u64,
    /// The number of messages of domains for which there was no room.
    dropped: u64,
}

impl OfDomain {
    fn new(policy: PublishedPolicy) -> Self {
        Self { policy, unlisted: 0, unlisted_unsaved: 0, rows: BTreeMap::new(), octets: 0 }
    }

    /// Returns the rows, and the number of messages that each stands for.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&FeedbackRow, u64)> {
        self.rows.iter().map(|(row, tally)| (row, tally.count))
    }
}

impl Day {
    pub(super) fn new(date: String) -> Self {
        Self { date, ..Self::default() }
    }

    /// Returns the date.
    pub(super) fn date(&self) -> &str {
        &self.date
    }

    /// Returns the domains.
    pub(super) fn domains(&self) -> &BTreeMap<String, OfDomain> {
        &self.domains
    }

    /// Counts a message of this many octets, which was accepted or refused.
    pub(super) fn count(&mut self, observation: Observation, octets: u64, is_kept: bool) {
        if !is_kept {
            self.refused += octets;
        }
        self.add(observation, 1, !is_kept, true);
    }

    /// Adds the counts that an earlier run saved. What was counted since is counted further.
    pub(super) fn resume(&mut self, date: String, saved: Self) {
        let counted = std::mem::replace(self, Self { date, ..saved });
        for of_domain in counted.domains.into_values() {
            for (row, tally) in of_domain.rows {
                let policy = of_domain.policy.clone();
                self.add(Observation { policy, row }, tally.unsaved, false, true);
            }
        }
    }

    /// Adds a piece that was saved.
    pub(super) fn add_saved(&mut self, piece: SavedPiece) {
        let SavedPiece { policy, rows, unlisted } = piece;
        if unlisted > 0
            && let Some(of_domain) = self.of_domain(&policy)
        {
            of_domain.unlisted += unlisted;
        }
        for (row, times) in rows {
            self.add(Observation { policy: policy.clone(), row }, times, false, false);
        }
    }

    fn of_domain(&mut self, policy: &PublishedPolicy) -> Option<&mut OfDomain> {
        if self.domains.len() >= DOMAINS && !self.domains.contains_key(&policy.domain) {
            return None;
        }
        let entry = self.domains.entry(policy.domain.clone());
        Some(entry.or_insert_with(|| OfDomain::new(policy.clone())))
    }

    fn add(&mut self, observation: Observation, times: u64, has_to_pay: bool, is_new: bool) {
        let Observation { policy, row } = observation;
        let (octets, room) = (octets(&row), DAY_OCTETS.saturating_sub(self.octets));
        let left = (FREE + self.refused / SHARE).saturating_sub(self.spent);
        let Some(of_domain) = self.of_domain(&policy) else {
            self.dropped += times;
            return;
        };
        if of_domain.policy != policy {
            of_domain.policy = policy;
        }
        let is_payable = !has_to_pay || octets as u64 <= left;
        let limit = if row.passed_by.is_some() { DOMAIN_OCTETS } else { FAILED_OCTETS };
        let has_room = octets <= room && of_domain.octets + octets <= limit;
        let (mut grown, mut paid) = (0, 0);
        let unsaved = if is_new { times } else { 0 };
        match of_domain.rows.get_mut(&row) {
            Some(tally) => {
                tally.count += times;
                tally.unsaved += unsaved;
                if is_new && !tally.is_paid && is_payable {
                    tally.is_paid = true;
                    paid = if has_to_pay { octets } else { 0 };
                }
            }
            None if has_room && is_payable => {
                of_domain.octets += octets;
                grown = octets;
                paid = if has_to_pay { octets } else { 0 };
                let tally = Tally { count: times, unsaved, is_paid: is_new };
                of_domain.rows.insert(row, tally);
            }
            None => {
                of_domain.unlisted += times;
                of_domain.unlisted_unsaved += unsaved;
            }
        }
        self.octets += grown;
        self.spent += paid as u64;
    }

    /// Returns what the store does not have yet, and takes it as saved; all of it if the day is over, otherwise
    /// what may be saved now. If the store then fails, the report lacks it.
    pub(super) fn unsaved(&mut self, is_over: bool) -> Vec<SavedPiece> {
        if std::mem::take(&mut self.dropped) > 0 {
            tracing::warn!(
                "more than {DOMAINS} domains ask for DMARC reports today: some get none"
            );
        }
        let mut pieces = Vec::new();
        for of_domain in self.domains.values_mut() {
            let empty = |policy: &PublishedPolicy| SavedPiece {
                policy: policy.clone(),
                rows: Vec::new(),
                unlisted: 0,
            };
            let (mut piece, mut size) = (empty(&of_domain.policy), 0);
            for (row, tally) in &mut of_domain.rows {
                if tally.unsaved == 0 || !(tally.is_paid || is_over) {
                    continue;
                }
                size += octets(row);
                piece.rows.push((row.clone(), std::mem::take(&mut tally.unsaved)));
                tally.is_paid = false;
                if size > PIECE {
                    pieces.push(std::mem::replace(&mut piece, empty(&of_domain.policy)));
                    size = 0;
                }
            }
            // Without any row there is no report.
            let is_told = is_over && !of_domain.rows.is_empty() && of_domain.unlisted_unsaved > 0;
            if !piece.rows.is_empty() || is_told {
                piece.unlisted = std::mem::take(&mut of_domain.unlisted_unsaved);
                pieces.push(piece);
            }
        }
        pieces
    }
}

/// Returns what a row takes: in memory, and roughly on the disk.
fn octets(row: &FeedbackRow) -> usize {
    let FeedbackRow { overridden, author, sender, spf, dkim, .. } = row;
    let comment = overridden.as_ref().map_or(0, |overridden| overridden.comment.len());
    let spf = spf.as_ref().map_or(0, |(domain, result)| domain.len() + result.len());
    let dkim: usize = dkim
        .iter()
        .map(|(domain, selector, result)| SIGNATURE + domain.len() + selector.len() + result.len())
        .sum();
    ROW + comment + author.len() + sender.as_ref().map_or(0, String::len) + spf + dkim
}

#[cfg(test)]
mod tests {
    use super::{super::tests::observation, *};

    fn total(day: &Day, domain: &str) -> (u64, u64) {
        let of_domain = &day.domains()[domain];
        (of_domain.rows().map(|(_, count)| count).sum(), of_domain.unlisted)
    }

    #[test]
    fn equal_rows_are_counted_together_and_saved_once() {
        let mut day = Day::new("2026-01-01".into());
        for _ in 0..3 {
            day.count(observation("x.test", 1, true), 1_000, true);
        }
        day.count(observation("x.test", 2, true), 1_000, true);
        assert_eq!((total(&day, "x.test"), day.domains()["x.test"].rows().count()), ((4, 0), 2));
        let first = day.unsaved(false);
        assert!(day.unsaved(false).is_empty());
        day.count(observation("x.test", 2, true), 1_000, true);
        let second = day.unsaved(false);
        let mut again = Day::new("2026-01-01".into());
        first.into_iter().chain(second).for_each(|piece| again.add_saved(piece));
        assert_eq!(total(&again, "x.test"), (5, 0));
        assert!(again.unsaved(true).is_empty());
        // What was counted before the saved counts were read is not lost.
        let mut early = Day::default();
        early.count(observation("x.test", 3, true), 1_000, true);
        early.resume("2026-01-01".into(), again);
        assert_eq!((total(&early, "x.test"), early.date()), ((6, 0), "2026-01-01"));
        assert_eq!(early.unsaved(false).len(), 1);
    }

    #[test]
    fn memory_has_a_limit_that_forgeries_reach_first() {
        let mut day = Day::default();
        for source in 0..5_000 {
            day.count(observation("x.test", source, false), 1 << 20, true);
        }
        let (listed, unlisted) = total(&day, "x.test");
        assert!(unlisted > 0 && listed + unlisted == 5_000);
        assert!(day.octets <= FAILED_OCTETS);
        day.count(observation("x.test", 1, true), 1_000, true);
        assert_eq!(total(&day, "x.test"), (listed + 1, unlisted), "its own mail still has room");
        for domain in 0..3 * DOMAINS {
            day.count(observation(&format!("{domain}.test"), 1, true), 1_000, true);
        }
        assert_eq!(day.domains().len(), DOMAINS);
        for domain in 0..100 {
            for source in 0..1_000 {
                day.count(observation(&format!("{domain}.test"), source, true), 1_000, true);
            }
        }
        assert!(day.octets <= DAY_OCTETS);
    }

    #[test]
    fn refused_mail_pays_for_what_is_written_about_it() {
        let mut day = Day::default();
        let mut written = 0;
        for round in 0..100 {
            for source in 0..200 {
                day.count(observation("x.test", round * 200 + source, false), 500, false);
                day.count(observation("x.test", source, false), 500, false);
            }
            let pieces = day.unsaved(false);
            written += pieces.iter().map(|it| serde_json::to_vec(it).unwrap().len()).sum::<usize>();
        }
        let sent = 100 * 400 * 500;
        let most = FREE as usize + sent / SHARE as usize;
        // The form on the disk is at most half as large again as is reckoned with.
        assert!(written > 0 && written <= most * 3 / 2, "{written} of {sent}");
        let (listed, unlisted) = total(&day, "x.test");
        assert_eq!(listed + unlisted, 100 * 400, "all are counted");
    }
}
