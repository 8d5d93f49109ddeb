//! The checks of a message's origin, as a session begins and ends them.

use super::{Acceptor, SmtpHost};
use crate::{
    deliver::checked::Checked,
    directory::Recipient,
    receive::{
        checks::{Claimed, MessageChecks},
        content::{Incoming, LULL},
    },
    settings::LoopbackTrust,
    sign::sealing::seal,
};
use posta_mail::{ReversePath, Timestamp};
use posta_net::client_network::is_within;
use posta_origin::{
    dkim::DkimResult,
    observer::{Needs, Observed},
    results::ResultsRemover,
};
use posta_smtp::server::Service;
use tokio::{pin, time::timeout};

impl SmtpHost {
    /// Counts the results of the checks. Of several signatures, one that passes counts.
    pub(super) fn count_checks(&self, checked: Option<&Checked>) {
        let (Some(checked), metrics) = (checked, &self.acceptor.metrics) else { return };
        if let Some(spf) = &checked.spf {
            metrics.checked("spf", &spf.outcome.result.to_string());
        }
        let mut dkim = checked.dkim.iter().map(|verified| verified.result);
        let first = dkim.next();
        let best = dkim.find(|result| *result == DkimResult::Pass);
        metrics.checked("dkim", best.or(first).map_or("none", DkimResult::name));
        metrics.checked("dmarc", &checked.dmarc.result.to_string());
        metrics.checked("arc", checked.arc.result.name());
    }

    /// Returns whether the client is trusted without having logged in: it is in a network that may
    /// relay, or a trusted program on this machine. A client behind a proxy never is.
    pub(super) fn is_near(&self) -> bool {
        let is_here = self.is_direct && self.client.is_on_this_machine();
        is_within(&self.acceptor.relays_for, self.client)
            || is_here && self.acceptor.loopback != LoopbackTrust::Nothing
    }

    /// Begins the checks of a message's origin, if a stranger delivers it to port 25. Returns
    /// the checks and the purposes for which the message is observed.
    pub(super) fn begin_checks(
        &self,
        reverse_path: &ReversePath,
        time: Timestamp,
    ) -> Option<(MessageChecks, Needs)> {
        let checker = self.acceptor.checker.as_ref()?;
        if !self.is_stranger() {
            return None;
        }
        let claimed = Claimed {
            client: self.client.ip(),
            hello: self.hello.as_ref().map(|hello| hello.name.clone()).unwrap_or_default(),
            reverse_path: reverse_path.clone(),
            time,
        };
        // What is forwarded to another server is sealed.
        let sign = self.acceptor.signers.is_enabled() && self.leaves();
        Some((MessageChecks::begin(checker, claimed), Needs { verify: true, sign }))
    }

    /// Returns the remover of fields that claim to be this server's own results (RFC 8601 §5). A server
    /// in front of this one may use the same name, and its results are then accepted.
    pub(super) fn results_remover(&self) -> Option<ResultsRemover> {
        let is_in_front = self.acceptor.service == Service::Lmtp && self.is_near();
        (!is_in_front).then(|| ResultsRemover::new(self.acceptor.hostname.to_string()))
    }

    /// Ends the checks of a message that has come whole, and seals it if it is forwarded. While DNS keeps the message waiting, memory that others
    /// could use is given back.
    pub(super) async fn end_checks(
        &self,
        checks: Option<Box<MessageChecks>>,
        incoming: &mut Incoming,
        recipients: &[Recipient],
    ) -> Option<Box<Checked>> {
        if incoming.failure.is_some() {
            return None;
        }
        let (checks, observed) = (checks?, incoming.take_observed()?);
        let checked = {
            let finishing = checks.finish(&observed, incoming.time);
            pin!(finishing);
            match timeout(LULL, &mut finishing).await {
                Ok(checked) => checked,
                Err(_) => {
                    if incoming.holds_much() {
                        incoming.set_aside(&*self.acceptor.store, &self.acceptor.budget).await;
                    }
                    finishing.await
                }
            }
        };
        if observed.body_hash().is_some() {
            incoming.signatures = self.seal(&observed, &checked, recipients, incoming.time).await;
        }
        Some(Box::new(checked))
    }

    /// Returns the ARC set of a message that is forwarded, by the domain of the first address that leads elsewhere.
    async fn seal(
        &self,
        observed: &Observed,
        checked: &Checked,
        recipients: &[Recipient],
        now: Timestamp,
    ) -> String {
        let mut forwarding = recipients.iter().filter(|to| !to.resolved.elsewhere.is_empty());
        let domain = forwarding.next().and_then(|to| to.address.domain().parse().ok());
        let Some(domain) = domain else { return String::new() };
        let Acceptor { signers, hostname, .. } = &*self.acceptor;
        let results = checked.field(hostname.as_str());
        seal(observed, &checked.arc, &results, (signers, &domain), now).await
    }
}
