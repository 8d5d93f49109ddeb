//! How much is sent by our leave in an hour: by an account, so that a stolen password does not make
//! this server a spammer's, and by strangers where a message makes us write to somebody else.

use crate::{directory::Resolved, limits::adjustable::Limit};
use parking_lot::Mutex;
use posta_mail::{Address, ClientAddress, Reply, ReversePath, Timestamp};
use posta_net::client_network::ClientNetwork;
use posta_store::AccountId;
use std::{collections::HashMap, hash::Hash};

/// Stands for the programs on this machine that submit without a login: no account has this id.
pub(crate) const PROGRAMS: AccountId = AccountId(0);

/// Seconds over which is counted.
const HOUR: i64 = 60 * 60;

/// Keys that are counted at most; to all others nothing is allowed until the hour is over.
const KEYS: usize = 32 * 1024;

/// Reports that an address which stands for a sender (SRS) takes in an hour. A message that was
/// forwarded to many has a bounce for each of them, so a newsletter may cause some.
const REPORTS_TO_A_SENDER: u32 = 60;

/// Other messages that such an address takes in an hour: of people who answer to Return-Path. More
/// of them would make us the relay of whoever received one such address.
const MESSAGES_TO_A_SENDER: u32 = 5;

/// The same for all such addresses together, from one network.
const MESSAGES_TO_SENDERS: u32 = 20;

/// Messages of a network in an hour whose sender is told that they arrived, and of all strangers
/// together. The sender is whom the client names: each report may go to somebody who never wrote.
const SUCCESS_REPORTS_OF_A_NETWORK: u32 = 10;
const SUCCESS_REPORTS: u32 = 200;

/// Counts by a key within the present hour.
#[derive(Debug)]
struct Hourly<K> {
    /// The hour, and the counts in it so far.
    counts: Mutex<(i64, HashMap<K, u32>)>,
}

impl<K> Default for Hourly<K> {
    fn default() -> Self {
        Self { counts: Mutex::default() }
    }
}

impl<K: Hash + Eq> Hourly<K> {
    /// Counts one more, unless the limit is reached. Returns whether it was counted.
    fn take(&self, key: K, limit: u32, now: Timestamp) -> bool {
        self.with(now, |counts| {
            if counts.len() >= KEYS && !counts.contains_key(&key) {
                return false;
            }
            let count = counts.entry(key).or_default();
            let is_allowed = *count < limit;
            *count += u32::from(is_allowed);
            is_allowed
        })
    }

    /// Returns whether the limit is reached.
    fn is_used_up(&self, key: &K, limit: u32, now: Timestamp) -> bool {
        self.with(now, |counts| counts.get(key).is_some_and(|&count| count >= limit))
    }

    fn with<T>(&self, now: Timestamp, act: impl FnOnce(&mut HashMap<K, u32>) -> T) -> T {
        let hour = now.as_second() / HOUR;
        let mut counts = self.counts.lock();
        if counts.0 != hour {
            *counts = (hour, HashMap::new());
        }
        act(&mut counts.1)
    }
}

/// Counts what accounts and strangers send.
#[derive(Debug)]
pub struct Rates {
    /// Recipients an hour of an account.
    pub(crate) submissions: Limit,
    recipients: Hourly<AccountId>,
    /// Messages to an address that stands for a sender, and whether they are reports.
    to_senders: Hourly<(String, bool)>,
    to_senders_from: Hourly<Option<ClientNetwork>>,
    success_reports: Hourly<Option<ClientNetwork>>,
    all_success_reports: Hourly<()>,
}

impl Rates {
    /// Allows each account so many recipients an hour; 0 for any number.
    #[must_use]
    pub fn new(submissions: u32) -> Self {
        Self {
            submissions: Limit::new(submissions),
            recipients: Hourly::default(),
            to_senders: Hourly::default(),
            to_senders_from: Hourly::default(),
            success_reports: Hourly::default(),
            all_success_reports: Hourly::default(),
        }
    }

    /// Decides whether an account may begin a message: not if it has no recipients left.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn may_submit(&self, account: AccountId, now: Timestamp) -> Result<(), Reply> {
        match self.submissions.get() {
            Some(limit) if self.recipients.is_used_up(&account, limit, now) => Err(too_many(limit)),
            _ => Ok(()),
        }
    }

    /// Counts a recipient of an account's message.
    ///
    /// # Errors
    /// The refusal, when the limit is reached.
    pub(crate) fn submit(&self, account: AccountId, now: Timestamp) -> Result<(), Reply> {
        match self.submissions.get() {
            Some(limit) if !self.recipients.take(account, limit, now) => Err(too_many(limit)),
            _ => Ok(()),
        }
    }

    /// Counts a stranger's message to a recipient, where that is an address which stands for the
    /// sender of forwarded mail. Such addresses are for reports, which come from nobody.
    ///
    /// # Errors
    /// The refusal, when a limit is reached.
    pub(crate) fn answer(
        &self,
        client: ClientAddress,
        from: &ReversePath,
        (to, resolved): (&Address, &Resolved),
        now: Timestamp,
    ) -> Result<(), Reply> {
        if !resolved.leads_back {
            return Ok(());
        }
        let key = |is_report| (to.as_str().to_ascii_lowercase(), is_report);
        let words = match from {
            ReversePath::Null if self.to_senders.take(key(true), REPORTS_TO_A_SENDER, now) => {
                return Ok(());
            }
            ReversePath::Null => {
                format!("That address takes {REPORTS_TO_A_SENDER} reports an hour: try again later")
            }
            ReversePath::Address(_) => {
                let network = ClientNetwork::of_client(client);
                if self.to_senders_from.take(network, MESSAGES_TO_SENDERS, now)
                    && self.to_senders.take(key(false), MESSAGES_TO_A_SENDER, now)
                {
                    return Ok(());
                }
                "That address is for reports (MAIL FROM:<>) and a few answers an hour: try again \
                 later, or write to the sender's own address"
                    .to_owned()
            }
        };
        Err(Reply::new(450, (4, 7, 1), words))
    }

    /// Counts a stranger's message that asks for a report of its arrival. Returns whether there
    /// will be one.
    ///
    /// RFC 3461 §5.2.3 (a) has no place for a limit: the "delivered" report MUST be issued. But the
    /// one who asks for it names who gets it, and each message would make us send another to anybody
    /// at all. Without SUCCESS in NOTIFY, §5.2.3 (b), there is none.
    pub(crate) fn may_hear_of_success(&self, client: ClientAddress, now: Timestamp) -> bool {
        let network = ClientNetwork::of_client(client);
        self.success_reports.take(network, SUCCESS_REPORTS_OF_A_NETWORK, now)
            && self.all_success_reports.take((), SUCCESS_REPORTS, now)
    }
}

/// RFC 6409 §4.2 leaves the limits of submission to local policy; 4yz, because an hour later it is
/// another matter.
fn too_many(limit: u32) -> Reply {
    let words = format!(
        "{limit} recipients an hour: send to the others later, or have limits.submissions raised"
    );
    Reply::new(450, (4, 7, 1), words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_account_has_so_many_recipients_an_hour() {
        let rates = Rates::new(2);
        let (ana, bob) = (AccountId(1), AccountId(2));
        for second in [0, 10] {
            assert_eq!(rates.may_submit(ana, at(second)), Ok(()));
            assert_eq!(rates.submit(ana, at(second)), Ok(()));
        }
        assert_eq!(rates.submit(ana, at(20)).unwrap_err().code.get(), 450);
        assert_eq!(rates.may_submit(ana, at(20)).unwrap_err().code.get(), 450);
        assert_eq!(rates.submit(bob, at(20)), Ok(()));
        assert_eq!(rates.may_submit(ana, at(HOUR)), Ok(()), "the next hour");
        let any = Rates::new(0);
        assert!((0..10_000).all(|_| any.submit(ana, at(0)).is_ok()));
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let hourly = Hourly::default();
        assert!((0..KEYS).all(|key| hourly.take(key, 2, at(0))));
        assert!(!hourly.take(KEYS, 2, at(1)), "there is no room");
        assert!(hourly.take(0, 2, at(1)) && !hourly.take(0, 2, at(1)));
        assert!(hourly.take(KEYS, 2, at(HOUR)));
    }

    #[test]
    fn strangers_hear_of_success_now_and_then() {
        let rates = Rates::new(0);
        let heard = |network: u8, times: usize| {
            let client: ClientAddress = IpAddr::from([192, 0, 2, network]).into();
            (0..times).filter(|_| rates.may_hear_of_success(client, at(0))).count()
        };
        assert_eq!(heard(1, 100), SUCCESS_REPORTS_OF_A_NETWORK as usize);
        assert_eq!(heard(2, 1), 1);
        let all: usize = (3..100).map(|network| heard(network, 10)).sum();
        assert_eq!(all + 11, SUCCESS_REPORTS as usize);
    }
}
