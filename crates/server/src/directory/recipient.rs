//! An accepted recipient and the places that its address leads to, and a refused one with the reply.

use crate::directory::{DeadEnd, Fault, follow::Followed};
use posta_mail::{Address, Reply, envelope::Notify};
use posta_store::{Account, AccountId, ResolvedAccount};

/// An accepted recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address as the client gave it.
    pub address: Address,
    /// The places that the address leads to.
    pub resolved: Resolved,
    /// The events about which the sender wants a report (RFC 3461 §4.1).
    pub notify: Notify,
    /// The original recipient, as `type;xtext` (ORCPT, RFC 3461 §4.2).
    pub original: Option<String>,
}

impl Recipient {
    /// Returns the approximate number of octets that the recipient takes in memory, including the spare room of a list
    /// that grows by doubling, and the cost of each text's allocation.
    #[must_use]
    pub fn octets(&self) -> usize {
        let text = |octets: usize| octets + 16;
        let elsewhere = self.resolved.elsewhere.iter().chain(&self.resolved.names);
        let elsewhere = elsewhere.map(|to| size_of::<Address>() + text(to.as_str().len()));
        2 * size_of::<Self>()
            + text(self.address.as_str().len())
            + text(self.resolved.accounts.len() * size_of::<AccountId>())
            + text(self.resolved.limited.len() * size_of::<AccountId>())
            + elsewhere.sum::<usize>()
            + self
                .resolved
                .broken
                .iter()
                .map(|broken| text(size_of_val(broken) + 2 * 256))
                .sum::<usize>()
            + self.original.as_ref().map_or(0, |original| text(original.len()))
    }
}

/// The places that an address leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The accounts whose mailboxes receive the mail.
    pub accounts: Vec<AccountId>,
    /// The addresses of these accounts, for the history; empty if there is only one, and its address is the recipient's.
    pub names: Vec<Address>,
    /// Those of the accounts whose mailboxes have a quota.
    pub limited: Vec<AccountId>,
    /// The addresses on other servers.
    pub elsewhere: Vec<Address>,
    /// The members of aliases on the way that lead to nobody, while other members do lead somewhere.
    pub broken: Vec<DeadEnd>,
    /// Whether this server made the address for a sender of forwarded mail (SRS).
    pub leads_back: bool,
}

/// A refused recipient.
#[derive(Debug)]
pub struct RefusedRecipient {
    /// The reply for the client.
    pub reply: Reply,
    /// Details that only the operator may know, for the log and the history.
    pub why: Option<String>,
}

impl RefusedRecipient {
    /// Returns the refusal for a full mailbox. The operator learns the owner's name if another address led to the mailbox.
    pub(super) fn of_mailbox(account: &Account, recipient: &Address, reply: Reply) -> Self {
        let is_about_room = reply.status.is_some_and(|status| status.subject == 2);
        let is_owner = account.address == recipient.folded();
        let why = format!("the mailbox of {} has no room for it", account.address);
        Self { reply, why: Some(why).filter(|_| is_about_room && !is_owner) }
    }
}

impl From<Reply> for RefusedRecipient {
    fn from(reply: Reply) -> Self {
        Self { reply, why: None }
    }
}

impl Resolved {
    /// Returns the resolution of an address that was followed to its ends.
    pub(super) fn new(address: &Address, followed: Followed) -> Self {
        let Followed { accounts, elsewhere, broken, .. } = followed;
        let accounts: Vec<_> = accounts.into_iter().map(|resolved| resolved.account).collect();
        let ids = accounts.iter().map(|account| account.id).collect();
        let limited = accounts.iter().filter(|account| account.quota.is_some());
        let limited = limited.map(|account| account.id).collect();
        let is_own = |account: &Account| {
            account.address.as_str().eq_ignore_ascii_case(address.as_str())
                || account.address == address.folded()
        };
        let names = match &accounts[..] {
            [only] if is_own(only) => Vec::new(),
            _ => accounts.into_iter().map(|account| account.address).collect(),
        };
        Self { accounts: ids, names, limited, elsewhere, broken, leads_back: false }
    }

    /// Returns whether the address leads nowhere.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.accounts.is_empty() && self.elsewhere.is_empty()
    }

    /// Returns whether the address leads to more than one mailbox or other address.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.accounts.len() + self.elsewhere.len() > 1
    }
}

/// Checks that a mailbox has room: 452 while it is full, 552 for a message that can never fit (RFC 5321 §4.2.2).
pub(super) fn has_room(resolved: &ResolvedAccount, announced: u64) -> Result<(), Reply> {
    let Some(quota) = resolved.account.quota else { return Ok(()) };
    if announced > quota {
        let words = format!("The mailbox may hold {quota} octets");
        return Err(Reply::new(552, (5, 2, 3), words));
    }
    let held = resolved.usage.unwrap_or_default().octets;
    if held.saturating_add(announced.max(1)) > quota {
        return Err(Reply::new(452, (4, 2, 2), "The mailbox is full"));
    }
    Ok(())
}

/// Returns the refusal of a recipient whose alias leads to nobody. The reply does not contain the alias's members, which
/// strangers must not learn; the operator finds them in the list of aliases.
pub(super) fn dead_end(broken: &DeadEnd) -> Reply {
    let words = match broken.fault {
        Fault::Missing => "That address leads to nobody: tell the postmaster of this server",
        Fault::SendOnly => "That address only sends mail, and takes none",
        Fault::Loop | Fault::TooDeep | Fault::TooMany => {
            "That address leads into a loop: tell the postmaster of this server"
        }
    };
    Reply::new(550, broken.fault.status(), words)
}
