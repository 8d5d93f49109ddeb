//! What came of an attempt, server by server, and what of it decides about each recipient.

use super::{capacity::Verdict, trouble::Trouble};
use posta_mail::Reply;
use posta_net::tls::failure::TlsFailure;
use posta_smtp::client::Decision;
use posta_store::Item;
use std::collections::BTreeMap;

/// What came of an item, or of some of its recipients, at one server.
#[derive(Debug)]
pub(crate) struct Found {
    /// What decided about each recipient that was offered.
    pub(crate) decisions: Vec<Decision>,
    /// Those of them that another server may take now, by their places.
    pub(crate) elsewhere: Vec<usize>,
    /// The server that was talked to, if it came to that.
    pub(crate) host: Option<String>,
    pub(crate) tls: Option<String>,
    /// What was wrong with TLS that was tried before, and done without.
    pub(crate) tls_failed: Option<TlsFailure>,
    /// Whether that server reports further.
    pub(crate) reports: bool,
    /// Whether anybody could be reached, or nobody had to.
    pub(crate) is_reached: bool,
    /// Whether it is the destination's first message in a session.
    pub(crate) is_first: bool,
}

/// A server was visited in an attempt.
#[derive(Debug)]
pub(super) struct Visit {
    /// The recipients that it was offered, by their places in the item.
    pub(super) recipients: Vec<usize>,
    /// What came of it.
    pub(super) found: Found,
}

impl Visit {
    /// No server was talked to.
    pub(super) fn nowhere(item: &Item, reply: Reply) -> Self {
        let recipients = (0..item.recipients.len()).collect();
        Self::decided(recipients, Decision::ours(reply), None)
    }

    /// No server let itself be talked to by these names; the last trouble stands for all.
    pub(super) fn in_vain(
        recipients: Vec<usize>,
        last: Option<(String, Trouble)>,
        domain: &str,
    ) -> Self {
        match last.filter(|(_, trouble)| !trouble.is_nobody) {
            Some((host, Trouble { decision, is_met, .. })) => {
                Self::decided(recipients, decision, is_met.then_some(host))
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
        Self { recipients, found: Found { is_reached, host, ..Found::here(decisions) } }
    }

    /// All recipients were offered.
    pub(super) fn of_all(found: Found) -> Self {
        Self { recipients: (0..found.decisions.len()).collect(), found }
    }
}

impl Found {
    /// No server had to be talked to.
    pub(super) const fn here(decisions: Vec<Decision>) -> Self {
        let (host, tls, tls_failed, reports, is_first) = (None, None, None, false, false);
        let elsewhere = Vec::new();
        Self { decisions, elsewhere, host, tls, tls_failed, reports, is_reached: true, is_first }
    }
}

/// What decides about a recipient.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decisive<'v> {
    /// The number of the visit.
    pub(super) visit: usize,
    pub(super) found: &'v Found,
    pub(super) decision: &'v Decision,
}

/// What decides about each recipient that was offered: what the last server said. That a server is not
/// fit for the message, which no server said, decides nothing where another may take it later.
pub(super) fn decisive(visits: &[Visit]) -> BTreeMap<usize, Decisive<'_>> {
    let mut decisive: BTreeMap<usize, Decisive<'_>> = BTreeMap::new();
    for (visit, Visit { recipients, found }) in visits.iter().enumerate() {
        for (&recipient, decision) in recipients.iter().zip(&found.decisions) {
            let is_unfit = !decision.is_answer && decision.code().is_permanent();
            let waits =
                decisive.get(&recipient).is_some_and(|known| known.decision.code().is_transient());
            if !(is_unfit && waits) {
                decisive.insert(recipient, Decisive { visit, found, decision });
            }
        }
    }
    decisive
}

/// Those of some recipients who have failed, as far as it is known.
pub(super) fn failed(visits: &[Visit], recipients: &[usize]) -> Vec<usize> {
    if visits.is_empty() {
        return Vec::new();
    }
    let decisive = decisive(visits);
    let has_failed = |at: &usize| {
        decisive.get(at).is_some_and(|decisive| decisive.decision.code().is_permanent())
    };
    recipients.iter().copied().filter(has_failed).collect()
}

/// How an attempt went, for its destination.
pub(super) fn verdict(visits: &[Visit]) -> Verdict {
    let mut decisions = visits.iter().flat_map(|visit| &visit.found.decisions);
    if !visits.iter().any(|visit| visit.found.is_reached) {
        Verdict::Unreachable
    } else if decisions.any(|decision| decision.code().is_positive()) {
        Verdict::Good
    } else {
        Verdict::Other
    }
}
