//! When the authority is asked: pure functions of a certificate's record and the time.
//!
//! A certificate is renewed when two thirds of its lifetime are over, or when the authority says (RFC 9773). After a
//! failure the next attempt waits for half an hour, then twice as long each time, up to a day. Whatever the
//! operator asks for, the authority is not asked more often than the limits of Let's Encrypt allow: five failed
//! proofs of a name in an hour, five equal certificates in a week. The latter does not hold for renewals in time,
//! since some authorities issue certificates for a day.

use super::{CertificateState, DAY, record::CertificateRecord};
use posta_mail::Timestamp;
use posta_net::{acme::RenewalWindow, tls::summary::CertificateSummary};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_secs(30 * 60);

/// The failed proofs of a name in [`HOUR`] that are not exceeded: one below the limit.
const UNPROVED: usize = 4;

/// The certificates of a name in [`WEEK`] that are not exceeded: one below the limit.
const ISSUED: usize = 4;

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Returns when a certificate is to be renewed: two thirds into its lifetime, and up to a fiftieth of the
/// lifetime earlier, so that not all of them are renewed at once. `random` is the source of that.
pub(super) fn renewal(certificate: &CertificateSummary, random: u32) -> Timestamp {
    let from = certificate.not_before.as_second();
    let lifetime = (certificate.not_after.as_second() - from).max(0);
    at(from + lifetime / 3 * 2 - share(lifetime / 50, random))
}

/// Returns when a certificate is to be renewed by the authority's word: at a moment of the window (RFC 9773 §4.2), but while
/// a tenth of the lifetime is left, so that an authority that is wrong about the window does not let it expire.
pub(super) fn renewal_in(
    window: RenewalWindow,
    certificate: Option<&CertificateSummary>,
    random: u32,
) -> Timestamp {
    let (start, end) = (window.start.as_second(), window.end.as_second());
    let moment = at(start + share(end - start, random));
    let latest = certificate.map(|certificate| {
        let from = certificate.not_before.as_second();
        at(from + (certificate.not_after.as_second() - from).max(0) / 10 * 9)
    });
    latest.map_or(moment, |latest| moment.min(latest))
}

/// Returns how long to wait after a number of failures, at least as long as the authority asks for.
pub(super) fn wait(failures: u32, asked: Option<Duration>, random: u32) -> Duration {
    let wait = FIRST_WAIT * 2_u32.pow(failures.saturating_sub(1).min(10));
    let wait = i64::try_from(wait.min(DAY).as_secs()).unwrap_or(i64::MAX);
    let wait = wait + share(wait / 10, random);
    Duration::from_secs(u64::try_from(wait).unwrap_or_default()).max(asked.unwrap_or_default())
}

/// Returns until when the authority may not be asked for a certificate; `None` if it may be asked now.
pub(super) fn refused_until(record: &CertificateRecord, now: Timestamp) -> Option<Timestamp> {
    let until = |times: &[Timestamp], most: usize, span: Duration| {
        let oldest = times.len().checked_sub(most).and_then(|first| times.get(first))?;
        Some(*oldest + span).filter(|until| *until > now)
    };
    let is_fresh = record.summary().is_some_and(|certificate| {
        let lifetime = certificate.not_after.as_second() - certificate.not_before.as_second();
        now.as_second() < certificate.not_before.as_second() + lifetime / 5 * 3
    });
    let issued = until(&record.issued, ISSUED, WEEK).filter(|_| is_fresh);
    until(&record.unproved, UNPROVED, HOUR).max(issued)
}

/// Returns the state of a certificate.
pub(super) fn state(
    record: &CertificateRecord,
    certificate: Option<&CertificateSummary>,
    now: Timestamp,
) -> CertificateState {
    let has_failed_for = |time| record.failed.as_ref().is_some_and(|it| now >= it.since + time);
    match certificate {
        None if has_failed_for(HOUR) => CertificateState::Failing,
        None => CertificateState::Missing,
        Some(certificate) if certificate.not_after <= now => CertificateState::Expired,
        Some(certificate) => {
            let left = certificate.not_after.as_second() - now.as_second();
            let lifetime = certificate.not_after.as_second() - certificate.not_before.as_second();
            match has_failed_for(Duration::ZERO) && left < lifetime / 3 {
                true => CertificateState::Failing,
                false => CertificateState::Valid,
            }
        }
    }
}

/// Returns a random part of a number of seconds.
fn share(seconds: i64, random: u32) -> i64 {
    let part = i128::from(seconds) * i128::from(random) / i128::from(u32::MAX);
    i64::try_from(part).unwrap_or_default()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> CertificateSummary {
        CertificateSummary {
            names: vec!["x.test".to_owned()],
            not_before: time("2027-01-01T00:00:00Z"),
            not_after: time("2027-04-01T00:00:00Z"),
            key_sha256: [0; 32],
            is_trusted: true,
        }
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// 90 days: renewed after 60, or up to 43 hours before.
    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        assert_eq!(renewal(&certificate(), 0), time("2027-03-02T00:00:00Z"));
        assert_eq!(renewal(&certificate(), u32::MAX), time("2027-02-28T04:48:00Z"));
        let (start, end) = (time("2027-02-01T00:00:00Z"), time("2027-02-02T00:00:00Z"));
        let window = RenewalWindow { start, end, ask_again: HOUR };
        let certificate = certificate();
        let chosen = |window, random| renewal_in(window, Some(&certificate), random);
        assert_eq!(chosen(window, 0), start);
        assert_eq!(chosen(window, u32::MAX), end);
        let late = RenewalWindow { end: time("2027-05-01T00:00:00Z"), ..window };
        assert_eq!(chosen(late, 0), start);
        assert_eq!(chosen(late, u32::MAX), time("2027-03-23T00:00:00Z"), "a tenth is left");
    }

    #[test]
    fn the_wait_doubles_up_to_a_day() {
        let minutes = |failures| wait(failures, None, 0).as_secs() / 60;
        let waits: Vec<_> = [1, 2, 3, 6, 7, 50].into_iter().map(minutes).collect();
        assert_eq!(waits, [30, 60, 120, 960, 1_440, 1_440]);
        assert_eq!(wait(1, None, u32::MAX), FIRST_WAIT + FIRST_WAIT / 10);
        assert_eq!(wait(1, Some(DAY * 2), 0), DAY * 2, "the authority knows its limits");
    }

    #[test]
    fn the_limits_of_the_authority_hold_whoever_asks() {
        let now = time("2027-01-01T12:00:00Z");
        let mut record = CertificateRecord::default();
        for minute in 0..4 {
            assert_eq!(refused_until(&record, now), None, "{minute}");
            record.fail("no".to_owned(), true, now - (4 - minute) * Duration::from_secs(60));
        }
        assert_eq!(refused_until(&record, now), Some(time("2027-01-01T12:56:00Z")));
        assert_eq!(refused_until(&record, now + HOUR), None);
        let mut params = rcgen::CertificateParams::new(vec!["x.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2027, 1, 4);
        params.not_after = rcgen::date_time_ymd(2027, 1, 9);
        let chain = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let mut record = CertificateRecord::default();
        for day in 0..4 {
            record.succeed(chain.clone(), now + day * DAY);
        }
        assert_eq!(refused_until(&record, now + 3 * DAY), Some(now + WEEK));
        assert_eq!(refused_until(&record, now + 6 * DAY), None, "it expires soon");
    }

    #[test]
    fn a_failing_renewal_is_one_with_less_than_a_third_left() {
        let (certificate, none) = (certificate(), None);
        let mut record = CertificateRecord::default();
        let now = time("2027-02-15T00:00:00Z");
        assert_eq!(state(&record, none, now), CertificateState::Missing);
        record.fail("no".to_owned(), true, now);
        assert_eq!(state(&record, none, now), CertificateState::Missing);
        assert_eq!(state(&record, none, now + HOUR), CertificateState::Failing);
        let state = |at: &str| state(&record, Some(&certificate), time(at));
        assert_eq!(state("2027-02-15T00:00:00Z"), CertificateState::Valid);
        assert_eq!(state("2027-03-03T00:00:00Z"), CertificateState::Failing);
        assert_eq!(state("2027-04-01T00:00:00Z"), CertificateState::Expired);
    }
}
