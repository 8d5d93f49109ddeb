//! What came of an attempt, server by server, and which server's answer decides about each recipient. `attempt`
//! collects the offers, `settle` draws the conclusions.

use super::{capacity::AttemptResult, host_failure::HostFailure};
use posta_mail::Reply;
use posta_net::tls::failure::TlsFailure;
use posta_smtp::client::Decision;
use posta_store::Item;
use std::collections::BTreeMap;

/// What one server did with an item, or with some of its recipients.
#[derive(Debug)]
pub(crate) struct OfferOutcome {
    /// The decision about each recipient that was offered.
    pub(crate) decisions: Vec<Decision>,
    /// The recipients that another server may take now, as indices into [`Self::decisions`].
    pub(crate) elsewhere: Vec<usize>,
    /// The server that was talked to, if there was one.
    pub(crate) host: Option<String>,
    /// Version and cipher suite of TLS; `None` for plaintext.
    pub(crate) tls: Option<String>,
    /// What was wrong with TLS, if it failed and was done without.
    pub(crate) tls_failed: Option<TlsFailure>,
    /// Whether the server supports DSN, and so reports itself what becomes of the message.
    pub(crate) reports: bool,
    /// Whether a server was reached, or none had to be.
    pub(crate) is_reached: bool,
    /// Whether this is the destination's first message on the connection: only that one counts for TLS reports.
    pub(crate) is_first: bool,
}

/// An item as it was offered to one server.
#[derive(Debug)]
pub(super) struct Offer {
    /// The recipients that were offered, as indices into the item's.
    pub(super) recipients: Vec<usize>,
    /// What the server did with them.
    pub(super) found: OfferOutcome,
}

impl Offer {
    /// Returns the offer that was never made, decided for all recipients by `reply`.
    pub(super) fn not_made(item: &Item, reply: Reply) -> Self {
        let recipients = (0..item.recipients.len()).collect();
        Self::decided(recipients, Decision::ours(reply), None)
    }

    /// Returns the offer that no server could be made; the `last` failure stands for all.
    pub(super) fn unreachable(
        recipients: Vec<usize>,
        last: Option<(String, HostFailure)>,
        domain: &str,
    ) -> Self {
        match last.filter(|(_, trouble)| !trouble.has_no_address) {
            Some((host, HostFailure { decision, was_connected, .. })) => {
                Self::decided(recipients, decision, was_connected.then_some(host))
            }
            None => {
                let words = format!("No server of {domain} has an address");
                let decision = Decision::ours(Reply::new(550, (5, 4, 4), words));
                Self::decided(recipients, decision, None)
            }
        }
    }

    fn decided(recipients: Vec<usize>, decision: Decision, host: Option<String>) -> Self {
        let is_reached = decision.code().is_permanent();
        let decisions = vec![decision; recipients.len()];
        Self {
            recipients,
            found: OfferOutcome { is_reached, host, ..OfferOutcome::decided_here(decisions) },
        }
    }

    /// Returns an offer of all recipients.
    pub(super) fn of_all(found: OfferOutcome) -> Self {
        Self { recipients: (0..found.decisions.len()).collect(), found }
    }
}

impl OfferOutcome {
    /// Returns the outcome where this server decided, without another one.
    pub(super) const fn decided_here(decisions: Vec<Decision>) -> Self {
        let (host, tls, tls_failed, reports, is_first) = (None, None, None, false, false);
        let elsewhere = Vec::new();
        Self { decisions, elsewhere, host, tls, tls_failed, reports, is_reached: true, is_first }
    }
}

/// The offer that decides about a recipient.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecipientDecision<'v> {
    /// The number of the offer in the attempt.
    pub(super) offer: usize,
    pub(super) found: &'v OfferOutcome,
    pub(super) decision: &'v Decision,
}

/// Returns what decides about each recipient that was offered: what the last server said. Where that is only
/// our own finding that the server cannot take the message, an earlier "later" of another server stands.
pub(super) fn final_decisions(offers: &[Offer]) -> BTreeMap<usize, RecipientDecision<'_>> {
    let mut decisive: BTreeMap<usize, RecipientDecision<'_>> = BTreeMap::new();
    for (offer, Offer { recipients, found }) in offers.iter().enumerate() {
        for (&recipient, decision) in recipients.iter().zip(&found.decisions) {
            let is_unfit = !decision.is_answer && decision.code().is_permanent();
            let waits =
                decisive.get(&recipient).is_some_and(|known| known.decision.code().is_transient());
            if !(is_unfit && waits) {
                decisive.insert(recipient, RecipientDecision { offer, found, decision });
            }
        }
    }
    decisive
}

/// Returns those of `recipients` that have failed, as far as is known.
pub(super) fn failed(offers: &[Offer], recipients: &[usize]) -> Vec<usize> {
    if offers.is_empty() {
        return Vec::new();
    }
    let decisive = final_decisions(offers);
    let has_failed = |at: &usize| {
        decisive.get(at).is_some_and(|decisive| decisive.decision.code().is_permanent())
    };
    recipients.iter().copied().filter(has_failed).collect()
}

/// Returns how an attempt went, as far as it matters to its destination's capacity.
pub(super) fn attempt_result(offers: &[Offer]) -> AttemptResult {
    let mut decisions = offers.iter().flat_map(|offer| &offer.found.decisions);
    if !offers.iter().any(|offer| offer.found.is_reached) {
        AttemptResult::Unreachable
    } else if decisions.any(|decision| decision.code().is_positive()) {
        AttemptResult::Good
    } else {
        AttemptResult::Other
    }
}
