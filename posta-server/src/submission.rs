//! Who may submit mail, and as whom (RFC 6409).

use crate::{
    directory::{Directory, store_failed},
    rate::Rates,
};
use posta_mail::{Reply, ReversePath, Timestamp};
use posta_store::Account;
use std::net::IpAddr;

/// Whoever submits a message, and what the decision about it takes.
pub(crate) struct Submitter<'s> {
    /// The account that logged in, if any.
    pub(crate) account: Option<&'s Account>,
    /// The client's address; none for a Unix socket.
    pub(crate) client: Option<IpAddr>,
    pub(crate) directory: &'s Directory,
    pub(crate) rates: &'s Rates,
    pub(crate) now: Timestamp,
}

impl Submitter<'_> {
    /// Decides whether a transaction with this reverse-path may begin. RFC 6409 §4.3, §6.1:
    /// submission is for those who logged in, each with an address of its own, and for the people
    /// on this machine.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn may_send_as(&self, reverse_path: &ReversePath) -> Result<(), Reply> {
        let Some(account) = self.account else {
            let is_near = self.client.is_none_or(|client| client.is_loopback());
            let refusal = Reply::new(530, (5, 7, 0), "Authentication required");
            return if is_near { Ok(()) } else { Err(refusal) };
        };
        // The null reverse-path counts as well, or it would be the way around the limit.
        self.rates.count(account.id, self.now).map_err(|limit| {
            let words = format!("{limit} messages an hour may be sent: try again later");
            Reply::new(450, (4, 7, 1), words)
        })?;
        let ReversePath::Address(address) = reverse_path else { return Ok(()) };
        match self.directory.accounts(address).await {
            Ok(owners) if owners.iter().any(|owner| owner.id == account.id) => Ok(()),
            Ok(_) => {
                let words = format!("{} may not send as {address}", account.address);
                Err(Reply::new(553, (5, 7, 1), words))
            }
            Err(error) => Err(store_failed(&error)),
        }
    }
}
