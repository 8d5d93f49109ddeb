//! Whether a trusted server vouches for a message that it changed on the way (RFC 8617 §7.2.1).

use crate::deliver::checked::Checked;
use posta_origin::{arc::ArcResult, results};

/// Returns the trusted sealer that saw the message pass DMARC.
///
/// Each server of a chain states the results that it found when the message arrived, and may have changed the message
/// before it stated them. A result is therefore believed only if the server that states it and all servers after it
/// are trusted.
pub(super) fn vouching(checked: &Checked) -> Option<&str> {
    if checked.arc.result != ArcResult::Pass {
        return None;
    }
    let author = checked.dmarc.author.as_deref()?;
    let is_trusted = |domain: &str| {
        checked.policy.trusted_sealers.iter().any(|known| known.eq_ignore_ascii_case(domain))
    };
    let trusted = checked.arc.sets.iter().rev().take_while(|set| is_trusted(&set.domain));
    let saw_pass = |text: &str| {
        results::read_results(text).iter().any(|found| {
            let from = found.property("header.from");
            found.method == "dmarc"
                && found.result == "pass"
                && from.is_some_and(|from| from.eq_ignore_ascii_case(author))
        })
    };
    trusted
        .map(|set| (set.domain.as_str(), saw_pass(&set.results)))
        .find_map(|(domain, passed)| passed.then_some(domain))
}
