//! Limits on the mail sent in an hour: by an account, so that a stolen password does not turn this
//! server into a source of spam; and by strangers, where their message makes this server write to
//! someone else. `receive` asks here. What accounts send is counted for all nodes of the store together.

use crate::{directory::Resolved, limits::adjustable::Limit};
use parking_lot::Mutex;
use posta_mail::{Address, ClientAddress, Reply, ReversePath, Timestamp};
use posta_net::client_network::ClientNetwork;
use posta_store::{AccountId, Shared, Tally};
use std::{collections::HashMap, hash::Hash};

/// The id under which mail from programs on this machine is counted, if they submit it without a login.
/// No account has this id.
pub(crate) const PROGRAMS: AccountId = AccountId(0);

/// Returns the id under which mail is counted that programs of a user of this machine hand over by `sendmail`. Each user
/// has a limit of its own, so that one cannot use up the others'. No account has such an id: they are given in order.
pub(crate) const fn machine_user(uid: u32) -> AccountId {
    AccountId(u64::MAX - uid as u64)
}

const fn is_of_this_machine(account: AccountId) -> bool {
    account.0 == PROGRAMS.0 || account.0 >= machine_user(u32::MAX).0
}

/// The seconds in the period of counting.
const HOUR: i64 = 60 * 60;

/// The maximal number of keys that are counted. All others are refused until the hour is over.
const KEYS: usize = 32 * 1024;

/// The maximal number of reports in an hour to an SRS address, which stands for the sender of forwarded
/// mail. A message that was forwarded to many people can cause a bounce for each of them, so a
/// newsletter causes some.
const REPORTS_TO_A_SENDER: u32 = 60;

/// The maximal number of other messages in an hour to an SRS address, from people who reply to
/// Return-Path. With more, anyone who obtained such an address could relay through it.
const MESSAGES_TO_A_SENDER: u32 = 5;

/// The maximal number of other messages in an hour to all SRS addresses together, from one network.
const MESSAGES_TO_SENDERS: u32 = 20;

/// The maximal number of messages in an hour from one network for which a success report is sent. The
/// client chooses the sender's address, so each report may go to someone who never wrote.
const SUCCESS_REPORTS_OF_A_NETWORK: u32 = 10;

/// The maximal number of messages in an hour from all strangers together for which a success report is
/// sent.
const SUCCESS_REPORTS: u32 = 200;

/// Counts by key within the current hour.
#[derive(Debug)]
struct Hourly<K> {
    /// The hour, and its counts so far.
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

/// Counts the mail that accounts and strangers send.
#[derive(Debug)]
pub struct Rates {
    /// The maximal number of recipients in an hour for an account.
    pub(crate) submissions: Limit,
    /// The recipients of accounts in the current hour, by the account's id.
    recipients: Tally,
    /// The recipients of programs on this machine. Every machine has users of its own.
    of_programs: Hourly<AccountId>,
    /// The messages to SRS addresses, by address and by whether they are reports.
    to_senders: Hourly<(String, bool)>,
    to_senders_from: Hourly<Option<ClientNetwork>>,
    success_reports: Hourly<Option<ClientNetwork>>,
    all_success_reports: Hourly<()>,
}

impl Rates {
    /// Allows each account `submissions` recipients in an hour, by what `store` has counted; 0 for any number.
    #[must_use]
    pub fn new<S: Shared + ?Sized>(store: &S, submissions: u32) -> Self {
        Self {
            submissions: Limit::new(submissions),
            recipients: store.tally("recipients"),
            of_programs: Hourly::default(),
            to_senders: Hourly::default(),
            to_senders_from: Hourly::default(),
            success_reports: Hourly::default(),
            all_success_reports: Hourly::default(),
        }
    }

    /// Checks that an account has recipients left in this hour, when it begins a message.
    ///
    /// # Errors
    /// The refusal, if the account has none left.
    pub(crate) fn may_submit(&self, account: AccountId, now: Timestamp) -> Result<(), Reply> {
        match self.submissions.get() {
            Some(limit) if self.is_used_up(account, limit, now) => Err(too_many(limit)),
            _ => Ok(()),
        }
    }

    /// Counts a recipient of an account's message.
    ///
    /// # Errors
    /// The refusal, if the limit is reached.
    pub(crate) fn submit(&self, account: AccountId, now: Timestamp) -> Result<(), Reply> {
        match self.submissions.get() {
            Some(limit) if !self.take(account, limit, now) => Err(too_many(limit)),
            _ => Ok(()),
        }
    }

    fn is_used_up(&self, account: AccountId, limit: u32, now: Timestamp) -> bool {
        match is_of_this_machine(account) {
            true => self.of_programs.is_used_up(&account, limit, now),
            false => self.recipients.count(&account.0.to_string(), now).count >= u64::from(limit),
        }
    }

    fn take(&self, account: AccountId, limit: u32, now: Timestamp) -> bool {
        if is_of_this_machine(account) {
            return self.of_programs.take(account, limit, now);
        }
        let next_hour = (now.as_second().div_euclid(HOUR) + 1) * HOUR;
        let until = Timestamp::from_second(next_hour).unwrap_or(now);
        self.recipients.add_below(&account.0.to_string(), limit.into(), Some(until), now)
    }

    /// Counts a stranger's message to an SRS address; does nothing for any other recipient. Such
    /// addresses are meant for reports, which have the null reverse-path.
    ///
    /// # Errors
    /// The refusal, if a limit is reached.
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

    /// Counts a stranger's message that asks for a success report. Returns whether the report will be
    /// sent.
    ///
    /// RFC 3461 §5.2.3 (a) does not provide for a limit: the "delivered" report MUST be issued. But the
    /// client also chooses the address of the report, so each message would make this server send
    /// another one to any victim. Beyond the limit, a message counts as one without SUCCESS in NOTIFY,
    /// for which §5.2.3 (b) asks for none.
    pub(crate) fn may_report_success(&self, client: ClientAddress, now: Timestamp) -> bool {
        let network = ClientNetwork::of_client(client);
        self.success_reports.take(network, SUCCESS_REPORTS_OF_A_NETWORK, now)
            && self.all_success_reports.take((), SUCCESS_REPORTS, now)
    }
}

/// Returns the refusal of too many recipients. RFC 6409 §4.2 leaves such limits to local policy. The
/// reply is transient, since there will be room again in the next hour.
fn too_many(limit: u32) -> Reply {
    let words = format!(
        "{limit} recipients an hour: send to the others later, or have limits.submissions raised"
    );
    Reply::new(450, (4, 7, 1), words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::MemoryStore;
    use std::net::IpAddr;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_account_has_so_many_recipients_an_hour() {
        let rates = Rates::new(&MemoryStore::new(), 2);
        let (ana, bob) = (AccountId(1), AccountId(2));
        for second in [0, 10] {
            assert_eq!(rates.may_submit(ana, at(second)), Ok(()));
            assert_eq!(rates.submit(ana, at(second)), Ok(()));
        }
        assert_eq!(rates.submit(ana, at(20)).unwrap_err().code.get(), 450);
        assert_eq!(rates.may_submit(ana, at(20)).unwrap_err().code.get(), 450);
        assert_eq!(rates.submit(bob, at(20)), Ok(()));
        assert_eq!(rates.may_submit(ana, at(HOUR)), Ok(()), "the next hour");
        let any = Rates::new(&MemoryStore::new(), 0);
        assert!((0..10_000).all(|_| any.submit(ana, at(0)).is_ok()));
        // Two servers of one store count the same account, and each its own machine's users.
        let store = MemoryStore::new();
        let servers = [Rates::new(&store, 2), Rates::new(&store, 2)];
        for (who, are_shared) in [(ana, true), (PROGRAMS, false), (machine_user(0), false)] {
            assert!(servers[0].submit(who, at(0)).is_ok() && servers[1].submit(who, at(0)).is_ok());
            assert_eq!(servers[0].submit(who, at(0)).is_err(), are_shared, "{who:?}");
        }
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
        let rates = Rates::new(&MemoryStore::new(), 0);
        let heard = |network: u8, times: usize| {
            let client: ClientAddress = IpAddr::from([192, 0, 2, network]).into();
            (0..times).filter(|_| rates.may_report_success(client, at(0))).count()
        };
        assert_eq!(heard(1, 100), SUCCESS_REPORTS_OF_A_NETWORK as usize);
        assert_eq!(heard(2, 1), 1);
        let all: usize = (3..100).map(|network| heard(network, 10)).sum();
        assert_eq!(all + 11, SUCCESS_REPORTS as usize);
    }
}
