//! The operator's requests about lists of senders: whom an account or a domain always wants, or never.

use super::{Admin, AdminError, Response, parse_domain};
use crate::directory::senders::{
    self, ENTRIES, ListChange, ListChanged, ListOwner, SenderEntry, SenderPattern, SenderStanding,
};
use posta_store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose list of senders a request is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SenderScope {
    /// The account of this address.
    Account(String),
    /// This domain.
    Domain(String),
}

/// An action on a list of senders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SenderRequest {
    /// Returns the list.
    List,
    /// Adds an entry, in place of one about the same senders.
    Put {
        /// An address, a domain, the domains below one, or a network.
        sender: String,
        /// What becomes of their mail.
        standing: SenderStanding,
    },
    /// Removes the entry about these senders.
    Remove {
        /// The senders as they are listed.
        sender: String,
    },
}

impl Admin {
    /// Acts on a list of senders.
    pub(super) async fn senders(
        &self,
        scope: SenderScope,
        request: SenderRequest,
    ) -> Result<Response, AdminError> {
        let owner = self.list_owner(&scope).await?;
        let pattern = |text: &str| {
            text.parse::<SenderPattern>().map_err(|error| AdminError::Senders(error.to_string()))
        };
        let (change, sender) = match &request {
            SenderRequest::List => {
                let list = senders::list(&*self.store, &owner).await?;
                return Ok(Response::Senders(list.entries().to_vec()));
            }
            SenderRequest::Put { sender, standing } => {
                let entry = SenderEntry { sender: pattern(sender)?, standing: *standing };
                (ListChange::Put(entry), sender)
            }
            SenderRequest::Remove { sender } => (ListChange::Take(pattern(sender)?), sender),
        };
        match senders::change(&*self.store, &owner, &change).await? {
            ListChanged::Done => Ok(Response::Done),
            ListChanged::Missing => Err(AdminError::Senders(format!(
                "{sender} is not in the list; `posta sender list` shows it"
            ))),
            ListChanged::Full => Err(AdminError::Senders(format!(
                "a list has {ENTRIES} entries at most: name whole domains or networks, or remove some"
            ))),
            ListChanged::Busy => Err(AdminError::Senders(
                "others change the list all the time: try again".to_owned(),
            )),
        }
    }

    async fn list_owner(&self, scope: &SenderScope) -> Result<ListOwner, AdminError> {
        match scope {
            SenderScope::Account(address) => {
                Ok(ListOwner::Account(self.account(address.clone()).await?.id))
            }
            SenderScope::Domain(name) => {
                let domain = parse_domain(name.clone())?;
                if !self.store.domains().await?.contains(&domain) {
                    return Err(StoreError::NoSuchDomain(domain).into());
                }
                Ok(ListOwner::Domain(domain.to_string()))
            }
        }
    }
}
