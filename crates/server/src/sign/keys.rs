//! The keys of a domain and their states.
//!
//! | state    | in DNS          | signs | ends when |
//! |----------|-----------------|-------|-----------|
//! | waiting  | to be published | no    | DNS was seen to have it |
//! | active   | yes             | yes   | a newer key of the same algorithm is active, or it is retired |
//! | retiring | yes, still      | no    | its mail is surely delivered: nothing signed with it waits anywhere |
//! | retired  | to be removed   | no    | DNS was seen not to have it, or it is retired once more |
//!
//! A signature whose key verifiers cannot find counts for nothing, or against the message, so the first keys of a
//! domain wait like all others. The algorithms are independent: if a DNS provider has no room for an RSA key, Ed25519
//! signs alone. A private key is deleted as soon as it no longer signs. The public key has to stay in DNS as long as
//! mail that it signed is on its way.

use posta_mail::Timestamp;
use posta_origin::dkim::Algorithm;
use posta_store::KeyId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The algorithms that mail is signed with. RSA is what every verifier knows; Ed25519 has short records.
pub const ALGORITHMS: [Algorithm; 2] = [Algorithm::Ed25519Sha256, Algorithm::RsaSha256];

/// How long the record of a retired key stays in DNS in addition to the longest time that a message waits in the queue:
/// other servers on the way may delay it as well.
pub const MARGIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// The key will sign once DNS has its record.
    Waiting,
    /// The key signs.
    Active,
    /// The key no longer signs. Its record has to stay in DNS.
    Retiring,
    /// The key's record can be removed from DNS.
    Retired,
}

impl KeyState {
    /// Returns the name of the state, as commands show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }

    /// Returns whether the private key of a key in this state is kept: the key signs, or will.
    const fn has_private_key(self) -> bool {
        matches!(self, Self::Waiting | Self::Active)
    }
}

/// A key of a domain, without its private half, which the store keeps sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DomainKey {
    /// The id of the private key.
    pub(crate) id: KeyId,
    /// The name of the key within the domain, which is never reused.
    pub(crate) selector: String,
    /// The name of the algorithm, as signatures have it.
    pub(crate) algorithm: String,
    /// The text of its DNS record.
    pub(crate) record: String,
    /// When the key was made.
    pub(crate) made: Timestamp,
    /// The state.
    pub(crate) state: KeyState,
    /// When the key entered this state.
    pub(crate) since: Timestamp,
    /// When the key will be retired, if it is retiring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
    /// When DNS was first seen without the record, if the key is active and the record is still missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<Timestamp>,
}

impl DomainKey {
    fn enter(&mut self, state: KeyState, now: Timestamp) {
        (self.state, self.since, self.until, self.missing) = (state, now, None, None);
    }

    fn step_down(&mut self, now: Timestamp, overlap: Duration) {
        self.enter(KeyState::Retiring, now);
        self.until = Some(now + overlap);
    }

    /// Returns the name of its record in DNS, without a dot at the end.
    pub(crate) fn record_name(&self, domain: &str) -> String {
        format!("{}._domainkey.{domain}", self.selector)
    }
}

/// A key that was just made, without its private half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewKey {
    pub(crate) id: KeyId,
    pub(crate) algorithm: Algorithm,
    pub(crate) record: String,
}

/// The result of retiring a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRetired {
    /// The key did not sign, or was retired before, and is deleted. Its record can be removed from DNS.
    Forgotten,
    /// The key no longer signs. Its record has to stay in DNS until this time.
    Retiring(#[schemars(with = "String", extend("format" = "date-time"))] Timestamp),
    /// The key's record can be removed from DNS.
    Retired,
}

/// The record that the store keeps of a domain's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DomainKeys {
    /// The keys, in the order in which they were made.
    pub(crate) keys: Vec<DomainKey>,
    /// The last day on which keys were made, and how often before on that day, so that no selector repeats.
    #[serde(default)]
    last_day: String,
    #[serde(default)]
    made_that_day: u32,
    /// Since when the domain is no longer local, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unused: Option<Timestamp>,
}

impl DomainKeys {
    /// Adds new keys, in the state waiting.
    pub(crate) fn add(&mut self, keys: Vec<NewKey>, now: Timestamp) {
        let day = now.strftime("%Y%m%d").to_string();
        self.made_that_day = if self.last_day == day { self.made_that_day + 1 } else { 0 };
        let letters = letters(self.made_that_day);
        self.keys.extend(keys.into_iter().map(|key| DomainKey {
            id: key.id,
            selector: format!("{day}{letters}-{}", short_name(key.algorithm)),
            algorithm: key.algorithm.name().to_owned(),
            record: key.record,
            made: now,
            state: KeyState::Waiting,
            since: now,
            until: None,
            missing: None,
        }));
        self.last_day = day;
    }

    /// Returns the keys in a state.
    pub(crate) fn in_state(&self, state: KeyState) -> impl Iterator<Item = &DomainKey> {
        self.keys.iter().filter(move |key| key.state == state)
    }

    /// Returns the keys whose private keys are kept.
    pub(crate) fn with_private_keys(&self) -> impl Iterator<Item = &DomainKey> {
        self.keys.iter().filter(|key| key.state.has_private_key())
    }

    /// Notes whether DNS has the record of a key. If it has, a waiting key becomes active, and the active key of the same
    /// algorithm retires after `overlap`.
    pub(crate) fn looked_up(
        &mut self,
        id: KeyId,
        is_there: bool,
        now: Timestamp,
        overlap: Duration,
    ) {
        let Some(at) = self.keys.iter().position(|key| key.id == id) else { return };
        match (self.keys[at].state, is_there) {
            (KeyState::Waiting, true) => {
                let algorithm = self.keys[at].algorithm.clone();
                let earlier = self.keys.iter_mut().filter(|key| key.algorithm == algorithm);
                earlier
                    .filter(|key| key.state == KeyState::Active)
                    .for_each(|key| key.step_down(now, overlap));
                self.keys[at].enter(KeyState::Active, now);
            }
            (KeyState::Active, true) => self.keys[at].missing = None,
            (KeyState::Active, false) => {
                self.keys[at].missing.get_or_insert(now);
            }
            (KeyState::Retired, false) => {
                self.keys.remove(at);
            }
            (KeyState::Waiting | KeyState::Retiring, _) | (KeyState::Retired, true) => {}
        }
    }

    /// Returns whether the time of a retiring key has come.
    pub(crate) fn is_any_over(&self, now: Timestamp) -> bool {
        self.keys.iter().any(|key| key.until.is_some_and(|until| until <= now))
    }

    /// Retires the retiring keys whose time has come.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        let due = |key: &&mut DomainKey| key.until.is_some_and(|until| until <= now);
        self.keys.iter_mut().filter(due).for_each(|key| key.enter(KeyState::Retired, now));
    }

    /// Moves a key to the next state on its way out, at the operator's request. Returns `None` if there is no such key.
    pub(crate) fn retire(
        &mut self,
        selector: &str,
        now: Timestamp,
        overlap: Duration,
    ) -> Option<KeyRetired> {
        let at = self.keys.iter().position(|key| key.selector == selector)?;
        let key = &mut self.keys[at];
        Some(match key.state {
            KeyState::Waiting | KeyState::Retired => {
                self.keys.remove(at);
                KeyRetired::Forgotten
            }
            KeyState::Active => {
                key.step_down(now, overlap);
                KeyRetired::Retiring(now + overlap)
            }
            KeyState::Retiring => {
                key.enter(KeyState::Retired, now);
                KeyRetired::Retired
            }
        })
    }

    /// Returns whether new keys are due: the newest key is at least `every` old, and none is waiting.
    pub(crate) fn is_rotation_due(&self, now: Timestamp, every: Duration) -> bool {
        let newest = self.keys.iter().map(|key| key.made).max();
        let is_old = newest.is_none_or(|made| made + every <= now);
        is_old && self.in_state(KeyState::Waiting).next().is_none()
    }
}

/// Returns the part of a selector that names the algorithm.
const fn short_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ed25519Sha256 => "ed25519",
        Algorithm::RsaSha1 | Algorithm::RsaSha256 => "rsa",
    }
}

/// Returns a number in letters: `a` to `z`, `aa` and so on.
fn letters(mut number: u32) -> String {
    let mut letters = Vec::new();
    loop {
        letters.insert(0, char::from(b'a' + (number % 26) as u8));
        if number < 26 {
            return letters.into_iter().collect();
        }
        number = number / 26 - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: Duration = Duration::from_secs(12 * DAY);
    const DAY: u64 = 24 * 60 * 60;

    fn day(number: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(number * DAY)
    }

    fn pair(first: u64) -> Vec<NewKey> {
        let ids = (first..).map(KeyId).zip(ALGORITHMS);
        let key = |(id, algorithm)| NewKey { id, algorithm, record: format!("p={}", id.0) };
        ids.map(key).collect()
    }

    fn told(keys: &DomainKeys) -> Vec<String> {
        let keys = keys.keys.iter();
        keys.map(|key| format!("{} {}", key.selector, key.state.name())).collect()
    }

    #[test]
    fn selectors_do_not_repeat() {
        let mut keys = DomainKeys::default();
        keys.add(pair(1), day(0));
        assert_eq!(told(&keys), ["19700101a-ed25519 waiting", "19700101a-rsa waiting"]);
        for selector in ["19700101a-ed25519", "19700101a-rsa"] {
            assert_eq!(keys.retire(selector, day(0), OVERLAP), Some(KeyRetired::Forgotten));
        }
        keys.add(pair(3), day(0));
        assert_eq!(told(&keys), ["19700101b-ed25519 waiting", "19700101b-rsa waiting"]);
        keys.add(pair(5), day(1));
        assert_eq!(keys.keys[2].selector, "19700102a-ed25519");
        let names: Vec<_> = [0, 25, 26, 27, 51, 52, 701, 702].map(letters).into();
        assert_eq!(names, ["a", "z", "aa", "ab", "az", "ba", "zz", "aaa"]);
    }

    #[test]
    fn a_key_signs_once_dns_has_it_and_its_record_outlives_its_mail() {
        let mut keys = DomainKeys::default();
        keys.add(pair(1), day(0));
        keys.looked_up(KeyId(1), false, day(0), OVERLAP);
        keys.looked_up(KeyId(2), true, day(0), OVERLAP);
        assert_eq!(told(&keys), ["19700101a-ed25519 waiting", "19700101a-rsa active"]);
        assert!(!keys.is_rotation_due(day(500), Duration::from_secs(180 * DAY)), "one waits");
        keys.looked_up(KeyId(1), true, day(1), OVERLAP);
        assert!(!keys.is_rotation_due(day(179), Duration::from_secs(180 * DAY)));
        assert!(keys.is_rotation_due(day(180), Duration::from_secs(180 * DAY)));
        keys.add(pair(3), day(180));
        // Each algorithm goes its own way.
        keys.looked_up(KeyId(4), true, day(181), OVERLAP);
        let expected = [
            "19700101a-ed25519 active",
            "19700101a-rsa retiring",
            "19700630a-ed25519 waiting",
            "19700630a-rsa active",
        ];
        assert_eq!(told(&keys), expected);
        let private: Vec<_> = keys.with_private_keys().map(|key| key.id.0).collect();
        assert_eq!(private, [1, 3, 4]);
        keys.pass(day(192));
        assert_eq!(keys.keys[1].state, KeyState::Retiring);
        keys.pass(day(193));
        assert_eq!(keys.keys[1].state, KeyState::Retired);
        // It is listed until nobody could think that it is still needed.
        keys.looked_up(KeyId(2), true, day(194), OVERLAP);
        assert_eq!(keys.keys.len(), 4);
        keys.looked_up(KeyId(2), false, day(195), OVERLAP);
        assert_eq!(keys.keys.len(), 3);
    }

    #[test]
    fn an_active_key_that_vanished_from_dns_is_noted() {
        let mut keys = DomainKeys::default();
        keys.add(pair(1), day(0));
        keys.looked_up(KeyId(1), true, day(0), OVERLAP);
        for (is_there, at, missing) in
            [(false, 1, Some(day(1))), (false, 2, Some(day(1))), (true, 3, None)]
        {
            keys.looked_up(KeyId(1), is_there, day(at), OVERLAP);
            assert_eq!(keys.keys[0].missing, missing);
            assert_eq!(keys.keys[0].state, KeyState::Active);
        }
    }

    #[test]
    fn the_operator_retires_a_key_step_by_step() {
        let mut keys = DomainKeys::default();
        keys.add(pair(1), day(0));
        let rsa = "19700101a-rsa";
        keys.looked_up(KeyId(2), true, day(0), OVERLAP);
        assert_eq!(keys.retire(rsa, day(1), OVERLAP), Some(KeyRetired::Retiring(day(13))));
        assert!(keys.with_private_keys().all(|key| key.id != KeyId(2)));
        assert_eq!(keys.retire(rsa, day(2), OVERLAP), Some(KeyRetired::Retired));
        assert_eq!(keys.retire(rsa, day(2), OVERLAP), Some(KeyRetired::Forgotten));
        assert_eq!(keys.retire(rsa, day(2), OVERLAP), None);
        assert_eq!(told(&keys), ["19700101a-ed25519 waiting"]);
    }
}
