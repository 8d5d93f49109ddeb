//! The rights of a session's client: whether it submits mail, whether its mail may go to other servers,
//! and whose limits apply.

use super::SmtpHost;
use crate::{
    directory::{NOT_SERVED, Recipient, RefusedRecipient, Resolved},
    limits::memory::MemoryOwner,
    receive::{content::Incoming, submission::Submitter},
    settings::LoopbackTrust,
};
use posta_mail::{Address, Reply};
use posta_mime::header::Completion;
use posta_net::client_network::{ClientNetwork, is_within};
use posta_smtp::server::Service;

impl SmtpHost {
    /// Returns whether the rules of submission apply: on the submission listeners, and for every client
    /// that has logged in, even if only a trusted client says so.
    pub(super) fn is_submission(&self) -> bool {
        self.acceptor.service == Service::Submission || self.account.is_some()
    }

    pub(super) fn submitter(&self) -> Submitter<'_> {
        Submitter {
            account: self.account.as_deref(),
            client: self.client,
            directory: &self.acceptor.directory,
            rates: &self.acceptor.rates,
            loopback: self.acceptor.loopback,
            now: self.acceptor.clock.now(),
        }
    }

    /// Checks whether the recipient would exceed a rate, and counts it.
    pub(super) fn may_send_to(&self, address: &Address, resolved: &Resolved) -> Result<(), Reply> {
        let Some(transaction) = self.transaction.as_deref() else { return Ok(()) };
        if self.may_relay() {
            let is_program = self.account.is_none() && transaction.from_here;
            let is_elsewhere = resolved.elsewhere.contains(address);
            return self.submitter().may_send_to(is_program && is_elsewhere);
        }
        let (rates, now) = (&self.acceptor.rates, self.acceptor.clock.now());
        rates.answer(self.client, &transaction.mail.reverse_path, (address, resolved), now)
    }

    /// Leaves out a success report to a stranger that would exceed the rate. Returns whether a report
    /// may be sent now, even about a copy that leads to nobody: a stranger can give anyone's
    /// reverse-path.
    pub(super) fn limit_reports(&self, recipients: &mut [Recipient], from_here: bool) -> bool {
        let is_wanted = recipients
            .iter()
            .any(|recipient| recipient.notify.success || !recipient.resolved.broken.is_empty());
        let is_known = from_here || self.may_relay();
        let is_stranger = self.acceptor.service != Service::Lmtp && !is_known;
        let (rates, now) = (&self.acceptor.rates, self.acceptor.clock.now());
        if is_wanted && is_stranger && !rates.may_report_success(self.client, now) {
            recipients.iter_mut().for_each(|recipient| recipient.notify.success = false);
            return false;
        }
        true
    }

    /// RFC 5321 §3.6.1: mail for other servers is accepted from known clients only.
    pub(super) fn may_relay(&self) -> bool {
        self.account.is_some()
            || is_within(&self.acceptor.relays_for, self.client)
            || self.transaction.as_ref().is_some_and(|open| open.from_here)
    }

    /// Returns whether the client is a program on this machine that may send to other servers without a
    /// login. A client behind a proxy never is, even if the proxy gives 127.0.0.1, nor the proxy itself,
    /// since any client may be behind it. Nor is a client in `relay.networks`, which has that right
    /// anyway, without a limit.
    pub(super) fn is_program(&self) -> bool {
        self.account.is_none()
            && self.acceptor.service != Service::Lmtp
            && self.acceptor.loopback == LoopbackTrust::Anywhere
            && self.is_direct
            && self.client.is_on_this_machine()
            && !is_within(&self.acceptor.relays_for, self.client)
    }

    /// Returns whether the message that begins will be signed: it comes from a user or from a client that may relay, and
    /// a copy leaves the server.
    pub(super) fn is_signed(&self) -> bool {
        self.acceptor.signers.is_enabled()
            && self.acceptor.service != Service::Lmtp
            && (self.is_submission() || self.may_relay())
            && self.leaves()
    }

    /// Returns whether a copy of the message goes to another server.
    pub(super) fn leaves(&self) -> bool {
        let mut recipients = self.transaction.iter().flat_map(|open| &open.recipients);
        recipients.any(|recipient| !recipient.resolved.elsewhere.is_empty())
    }

    /// Returns the owner of the memory that a message needs.
    pub(super) fn memory_owner(&self) -> MemoryOwner {
        match (&self.account, ClientNetwork::of_client(self.client)) {
            (Some(account), _) => MemoryOwner::Account(account.id),
            (None, None) => MemoryOwner::Local,
            (None, Some(network)) if self.may_relay() => MemoryOwner::Trusted(network),
            (None, Some(network)) => MemoryOwner::Stranger(network),
        }
    }

    /// Returns to which messages missing fields are added. LMTP carries mail that another server has
    /// received.
    pub(super) fn completion(&self) -> Completion {
        match self.acceptor.service {
            _ if self.is_submission() => Completion::Always,
            Service::Smtp if self.may_relay() => Completion::IfMissing,
            _ => Completion::IfNoHeader,
        }
    }

    /// Returns the objection to sending a message that has arrived completely.
    pub(super) async fn may_be_sent(&self, incoming: &Incoming) -> Result<(), Reply> {
        if let Some(failure) = &incoming.failure {
            return Err(failure.reply());
        }
        match &incoming.originators {
            Some(originators) => self.submitter().may_author(originators).await,
            None => Ok(()),
        }
    }

    /// Informs a program on this machine of further reasons why its recipient is refused.
    pub(super) fn explain(&self, refused: RefusedRecipient) -> RefusedRecipient {
        if refused.reply.text != NOT_SERVED || !self.is_program() {
            return refused;
        }
        let words =
            format!("{NOT_SERVED}, or, from this machine, use a sender address of a domain here");
        RefusedRecipient { reply: Reply { text: words.into(), ..refused.reply }, ..refused }
    }
}
