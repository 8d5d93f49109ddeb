//! The rules for submitting mail, and for the addresses that may be used (RFC 6409).
//!
//! A user who has logged in can only send in the account's own name: the reverse-path, and every address
//! that a mail program may display as a message's author or sender, must be the account's own (RFC 6409
//! §6.1, §8.1). Otherwise a stolen password, or a colleague, could write in anyone's name. An account's
//! own addresses are its address, the aliases that lead to it, and those that the operator has permitted
//! (`posta account allow`).
//!
//! Programs on this machine submit without a login as far as `submission.trust-loopback` allows, since
//! cron and web applications have no password. Any stranger may send to the local mailboxes on port 25,
//! with any reverse-path, so these programs may too. To other servers they can send only in the name of
//! a local domain, so that someone here gets the reports, and only to as many recipients an hour as an
//! account: a compromised web application cannot be used to send spam. A client behind a proxy is not
//! such a program, whatever address the proxy gives: `SmtpHost::is_program` decides.

use crate::{
    directory::{Directory, store_failed},
    limits::sending_rate::{PROGRAMS, Rates},
    login::principal::Principal,
    settings::LoopbackTrust,
};
use posta_mail::{Address, ClientAddress, Domain, MailId, Reply, ReversePath, Timestamp, trace};
use posta_mime::{
    header::RequiredFields,
    originators::{OriginatorError, Originators},
};
use posta_store::SendAs;

/// The submitter of a message, and the data that the decision needs.
pub(crate) struct Submitter<'s> {
    /// The account that has logged in, if any.
    pub(crate) account: Option<&'s Principal>,
    pub(crate) client: ClientAddress,
    pub(crate) directory: &'s Directory,
    pub(crate) rates: &'s Rates,
    /// The rights of programs on this machine that do not log in.
    pub(crate) loopback: LoopbackTrust,
    pub(crate) now: Timestamp,
}

impl Submitter<'_> {
    /// Decides whether a transaction with this reverse-path may begin (RFC 6409 §4.3, §6.1).
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn may_send_as(&self, reverse_path: &ReversePath) -> Result<(), Reply> {
        let Some(account) = self.account else {
            let is_near = self.client.is_on_this_machine();
            let refusal = Reply::new(530, (5, 7, 0), "Authentication required");
            return if is_near && self.loopback > LoopbackTrust::Nothing {
                Ok(())
            } else {
                Err(refusal)
            };
        };
        // The null reverse-path counts as well; otherwise it would be a way around the limit.
        self.rates.may_submit(account.id, self.now)?;
        let ReversePath::Address(address) = reverse_path else { return Ok(()) };
        if self.owns(account, address).await? {
            return Ok(());
        }
        let words = format!("{} may not send as {address}", account.address);
        Err(Reply::new(553, (5, 7, 1), words))
    }

    /// Decides whether a message may have one more recipient, and counts that recipient: for an account,
    /// or for all programs on this machine together, if one of them sends to another server.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn may_send_to(&self, is_program: bool) -> Result<(), Reply> {
        match self.account {
            Some(account) => self.rates.submit(account.id, self.now),
            None if is_program => self.rates.submit(PROGRAMS, self.now),
            None => Ok(()),
        }
    }

    /// Decides whether a message with these authors may be sent.
    ///
    /// Every address in From must be the account's own, and so must Sender's, which some programs
    /// display instead, and those of everyone who resent the message. A message with several authors
    /// (RFC 5322 §3.6.2) is no exception, since many programs display the first address only. An account
    /// that sends on behalf of others needs a permission for that.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn may_author(
        &self,
        originators: &Result<Originators, OriginatorError>,
    ) -> Result<(), Reply> {
        let Some(account) = self.account else { return Ok(()) };
        if account.send_as.contains(&SendAs::Anybody) {
            return Ok(());
        }
        let Originators { from, sender, resent } = originators.as_ref().map_err(malformed)?;
        for address in from.iter().chain(sender).chain(resent) {
            if !self.owns(account, address).await? {
                return Err(not_own(account, address));
            }
        }
        Ok(())
    }

    /// Returns whether an address is the account's own.
    async fn owns(&self, account: &Principal, address: &Address) -> Result<bool, Reply> {
        let owns = self.directory.may_send_from((account.id, &account.send_as[..]), address).await;
        owns.map_err(|error| store_failed(&error))
    }
}

fn malformed(error: &OriginatorError) -> Reply {
    let error = error.to_string();
    let (first, rest) = error.split_at(1);
    Reply::new(550, (5, 7, 1), first.to_uppercase() + rest)
}

fn not_own(account: &Principal, address: &Address) -> Reply {
    let words = format!(
        "{address} is not an address of {}: write From your own, or ask the operator to allow it \
         (posta account allow)",
        account.address
    );
    Reply::new(550, (5, 7, 1), words)
}

/// Returns the fields that are added to a message if they are missing.
pub(crate) fn required_fields(
    reverse_path: &ReversePath,
    account: Option<&Principal>,
    hostname: &Domain,
    (id, time): (MailId, Timestamp),
) -> RequiredFields {
    let from = match (reverse_path, account) {
        (ReversePath::Address(address), _) => format!("From: {address}\r\n"),
        (ReversePath::Null, Some(account)) => format!("From: {}\r\n", account.address),
        (ReversePath::Null, None) => format!("From: MAILER-DAEMON@{hostname}\r\n"),
    };
    RequiredFields {
        message_id: format!("Message-ID: <{id}@{hostname}>\r\n"),
        date: format!("Date: {}\r\n", trace::date(time)),
        from,
    }
}
