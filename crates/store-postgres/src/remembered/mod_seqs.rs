//! The mod-sequences that this node gives out.
//!
//! A change of a mailbox gets the time in microseconds, or the number after the greatest that this node or that
//! account has, whichever is greatest. So mod-sequences of an account increase whichever nodes change it and whatever
//! their clocks show; its ledger, which is locked meanwhile, tells how far it is.

use parking_lot::Mutex;
use posta_mail::Timestamp;
use posta_store::ModSeq;

/// The greatest mod-sequence that this node gave out.
#[derive(Debug, Default)]
pub(crate) struct ModSeqs(Mutex<ModSeq>);

impl ModSeqs {
    /// Returns the first of `count` mod-sequences for changes at `time`, all of which are greater than `after`.
    pub(crate) fn take(&self, after: i64, time: Timestamp, count: usize) -> i64 {
        let mut last = self.0.lock();
        let first = ModSeq::after(ModSeq(last.0.max(after as u64)), time);
        if count > 0 {
            *last = ModSeq(first.0 + count as u64 - 1);
        }
        first.0 as i64
    }

    /// Learns of a mod-sequence that was used.
    pub(crate) fn learn(&self, used: i64) {
        let mut last = self.0.lock();
        *last = ModSeq(last.0.max(used as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mod_seqs_increase_whatever_the_clock_shows() {
        let mod_seqs = ModSeqs::default();
        let at = |micros| Timestamp::from_microsecond(micros).unwrap();
        assert_eq!(mod_seqs.take(0, at(100), 3), 100);
        assert_eq!(mod_seqs.take(0, at(50), 1), 103, "the clock went back");
        assert_eq!(mod_seqs.take(500, at(200), 2), 501, "the account is ahead");
        mod_seqs.learn(700);
        mod_seqs.learn(600);
        assert_eq!(mod_seqs.take(0, at(0), 0), 701);
        assert_eq!(mod_seqs.take(0, at(0), 1), 701, "nothing was taken");
        assert_eq!(mod_seqs.take(0, at(9_000), 1), 9_000);
    }
}
