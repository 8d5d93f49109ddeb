//! The results of an attempt, server by server, and the choice of the server's answer that decides about
//! each recipient. `attempt` collects the offers, `settle` draws the conclusions.

use super::{capacity::AttemptResult, host_failure::HostFailure};
use posta_mail::Reply;
use posta_net::tls::failure::TlsFailure;
use posta_smtp::client::Decision;
use posta_store::Item;
use std::collections::BTreeMap;

/// What the history says about a message that cannot be read for now.
const UNREADABLE: &str =
    "The message cannot be read now where it waits: the log of this server says why";

/// The result of offering an item, or some of its recipients, to one server.
#[derive(Debug)]
pub(crate) struct OfferOutcome {
    /// The decision about each recipient offered.
    pub(crate) decisions: Vec<Decision>,
    /// The recipients that another server may accept now, as indices into [`Self::decisions`].
    pub(crate) elsewhere: Vec<usize>,
    /// The server that answered, if there was one.
    pub(crate) host: Option<String>,
    /// The version and cipher suite of TLS; `None` for plaintext.
    pub(crate) tls: Option<String>,
    /// The failure of TLS, if it was then left out.
    pub(crate) tls_failed: Option<TlsFailure>,
    /// Whether the server supports DSN, and so sends reports about the message itself.
    pub(crate) reports: bool,
    /// Whether a server was reached, or none was needed.
    pub(crate) is_reached: bool,
    /// Whether this is the destination's first message on the connection, the only one that counts for
    /// TLS reports.
    pub(crate) is_first: bool,
}

/// An item as it was offered to one server.
#[derive(Debug)]
pub(super) struct Offer {
    /// The recipients offered, as indices into the item's.
    pub(super) recipients: Vec<usize>,
    /// The result.
    pub(super) found: OfferOutcome,
}

impl Offer {
    /// Returns an offer that was never made, and whose result for all recipients is `reply`.
    pub(super) fn not_made(item: &Item, reply: Reply) -> Self {
        let recipients = (0..item.recipients.len()).collect();
        Self::decided(recipients, Decision::ours(reply), None)
    }

    /// Returns an offer that could be made to no server; the `last` failure represents all.
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
    /// Returns the result of a decision by this server, without any other server.
    pub(super) const fn decided_here(decisions: Vec<Decision>) -> Self {
        let (host, tls, tls_failed, reports, is_first) = (None, None, None, false, false);
        let elsewhere = Vec::new();
        Self { decisions, elsewhere, host, tls, tls_failed, reports, is_reached: true, is_first }
    }

    /// Returns the result for an item whose content the store cannot read now. No server is to blame.
    pub(super) fn unreadable(item: &Item) -> Self {
        let decision = Decision::ours(Reply::new(451, (4, 3, 0), UNREADABLE));
        Self::decided_here(vec![decision; item.recipients.len()])
    }
}

/// The offer that decides about a recipient.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecipientDecision<'v> {
    /// The index of the offer in the attempt.
    pub(super) offer: usize,
    pub(super) found: &'v OfferOutcome,
    pub(super) decision: &'v Decision,
}

/// Returns what decides about each recipient offered: the last server's answer. If that is only this
/// server's own finding that the other cannot accept the message, an earlier transient answer of another
/// server takes precedence.
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

/// Returns the result of an attempt, as far as it matters to the destination's capacity.
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
