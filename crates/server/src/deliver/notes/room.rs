//! The warning to the owner of a mailbox that is nearly full: at 80 % and at 95 % of its quota.
//!
//! Each is sent once, in the transaction of the message that crosses the mark, and again only after the mailbox has had
//! clearly less in between: below 75 % for the first mark, below 90 % for the second.

use super::{Cause, Notes};
use crate::{
    deliver::report::{Report, report},
    directory::Resolved,
};
use posta_mail::Address;
use posta_mime::note::Note;
use posta_store::{Account, MessageRecord, StoreError};
use std::collections::HashSet;

/// The kind of the records that tell which mark an account was warned of.
pub(super) const WARNED: &str = "quota-warnings";

/// The marks, in per cent of the quota, each with what ends its warning.
const MARKS: [(u64, u64); 2] = [(80, 75), (95, 90)];

/// Adds the warnings that a message causes.
pub(super) async fn warn(cause: Cause<'_>, notes: &mut Notes) -> Result<(), StoreError> {
    let mut seen = HashSet::new();
    for &id in cause.recipients.iter().flat_map(|recipient| &recipient.resolved.limited) {
        if !seen.insert(id) {
            continue;
        }
        let Some(account) = cause.store.account_by_id(id).await? else { continue };
        let Some(quota) = account.quota.filter(|&quota| quota > 0) else { continue };
        let before = cause.store.usage(id).await?.octets;
        let after = before.saturating_add(cause.message.octets);
        let name = id.0.to_string();
        // Two messages at the same moment cross a mark together.
        let Some(underway) = cause.routing.notes.begin(&format!("{WARNED} {name}")) else {
            continue;
        };
        let warned = cause.store.kept_one(WARNED, &name).await?;
        let warned = warned.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
        let warned = warned.unwrap_or_default();
        let reached = marked(warned, (before, after), quota);
        if reached != warned {
            let record = reached.to_string().into_bytes();
            notes.records.push(MessageRecord { kind: WARNED, name, record });
        }
        if reached > still(warned, before, quota) {
            warning(cause, &account, (after, quota), notes)?;
        }
        notes.underway.push(underway);
    }
    Ok(())
}

/// Returns the mark of a mailbox after a message: the highest that it has reached, or of which it is still warned.
fn marked(warned: u64, (before, after): (u64, u64), quota: u64) -> u64 {
    let reached = MARKS.iter().rfind(|(mark, _)| is_at(after, *mark, quota));
    still(warned, before, quota).max(reached.map_or(0, |(mark, _)| *mark))
}

/// Returns the mark of which a mailbox with so many octets is still warned.
fn still(warned: u64, octets: u64, quota: u64) -> u64 {
    let holds = |(mark, end): &&(u64, u64)| *mark <= warned && is_at(octets, *end, quota);
    MARKS.iter().rfind(holds).map_or(0, |(mark, _)| *mark)
}

fn is_at(octets: u64, percent: u64, quota: u64) -> bool {
    u128::from(octets) * 100 >= u128::from(quota) * u128::from(percent)
}

fn warning(
    cause: Cause<'_>,
    account: &Account,
    (octets, quota): (u64, u64),
    notes: &mut Notes,
) -> Result<(), StoreError> {
    let percent = (u128::from(octets) * 100 / u128::from(quota)).min(100);
    let (id, time) = (cause.routing.notes.clock.mail_id(), cause.message.time);
    let postmaster = account.address.domain().parse().ok();
    let postmaster = postmaster.and_then(|domain| Address::new("postmaster", &domain).ok());
    let Some(postmaster) = postmaster else { return Ok(()) };
    let address = &account.address;
    let content = Note {
        hostname: cause.routing.directory.hostname(),
        id,
        time,
        name: "Mail System",
        from: &postmaster,
        to: address,
        subject: &format!("Your mailbox is {percent} % full"),
        answers: None,
        text: &format!(
            "The mailbox of {address} is {percent} % full: it holds {} of {}.\n\n\
             When it is full, new mail is refused for the time being: senders' servers try again for some\n\
             days, and then tell the senders that it was not delivered.\n\n\
             To make room, delete messages that you do not need, or set your mail program not to leave\n\
             messages on the server. To get more room, ask the postmaster, by answering this message.\n",
            size(octets),
            size(quota)
        ),
    }
    .write();
    let head = String::new();
    let warning = Report { id, time, head, content, to: address, require_tls: false };
    // It goes to the mailbox that it is about, wherever mail is forwarded to.
    let resolved = Resolved { accounts: vec![account.id], ..Resolved::default() };
    notes.reports.push(report(warning, &resolved));
    tracing::info!(account = %address, %percent, "the mailbox is nearly full: its owner is warned");
    Ok(())
}

/// Returns a number of octets in words, such as `1.5 GiB`.
fn size(octets: u64) -> String {
    const UNITS: [&str; 5] = ["octets", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(octets) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    match (tenths % 10, unit) {
        (0, _) | (_, 0) => format!("{} {}", tenths / 10, UNITS[unit]),
        (rest, _) => format!("{}.{rest} {}", tenths / 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each step: the octets before and after a message, of 1,000, and the mark of which it warns.
    #[test]
    fn each_mark_is_told_once_until_there_was_room() {
        let mut warned = 0;
        for (before, after, expected) in [
            (0, 799, 0),
            (799, 800, 80),
            (800, 900, 0),
            (760, 820, 0),
            (820, 950, 95),
            (905, 960, 0),
            (960, 1_000, 0),
            (899, 940, 0),
            (940, 951, 95),
            (749, 790, 0),
            (790, 810, 80),
            (0, 1_000, 95),
            (100, 200, 0),
            (200, 960, 95),
        ] {
            let reached = marked(warned, (before, after), 1_000);
            let told = if reached > still(warned, before, 1_000) { reached } else { 0 };
            assert_eq!(told, expected, "{before} {after}");
            warned = reached;
        }
        assert_eq!(marked(0, (u64::MAX, u64::MAX), u64::MAX), 95);
    }

    #[test]
    fn sizes_are_readable() {
        for (octets, words) in [
            (0, "0 octets"),
            (1_023, "1023 octets"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (1_073_741_824, "1 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(octets), words);
        }
    }
}
