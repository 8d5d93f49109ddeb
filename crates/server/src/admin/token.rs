//! The operator's requests about tokens.

use super::{Admin, AdminError, Response, parse_domain};
use crate::login::api_tokens::{self, ApiRights, ApiToken, NewApiToken};
use posta_mail::Timestamp;
use posta_store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An action on the tokens for the interface over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TokenRequest {
    /// Adds a token. The response has its secret, which is never shown again.
    Add {
        /// The name.
        name: String,
        /// What the token allows.
        rights: ApiRights,
        /// The local domains whose accounts and aliases it is for; empty for the whole server.
        #[serde(default)]
        domains: Vec<String>,
        /// When it ends; default: never.
        #[serde(default)]
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        until: Option<Timestamp>,
    },
    /// Lists the tokens.
    List,
    /// Removes a token, which ends it at once.
    Remove {
        /// The name.
        name: String,
    },
}

/// A token in a list, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TokenLine {
    /// The name.
    pub name: String,
    /// What the token allows.
    pub rights: ApiRights,
    /// The domains whose accounts and aliases it is for; empty for the whole server.
    pub domains: Vec<String>,
    /// When it was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub made: Timestamp,
    /// When it ends; null for never.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// When it was used last, to the hour; null if it never was.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub used: Option<Timestamp>,
}

impl From<ApiToken> for TokenLine {
    fn from(token: ApiToken) -> Self {
        let ApiToken { name, rights, domains, made, until, used, .. } = token;
        Self { name, rights, domains, made, until, used }
    }
}

impl Admin {
    /// Adds, lists or removes tokens.
    pub(super) async fn tokens(&self, request: TokenRequest) -> Result<Response, AdminError> {
        let store = &*self.store;
        match request {
            TokenRequest::Add { name, rights, domains, until } => {
                // So that none of the domains is removed meanwhile.
                let _changing = self.changing.lock().await;
                let domains = self.token_domains(domains).await?;
                let new = NewApiToken { name, rights, domains, until };
                let token = api_tokens::add(store, &*self.clock, new).await?;
                Ok(Response::TokenAdded { token })
            }
            TokenRequest::List => {
                let tokens = api_tokens::list(store).await?.into_iter();
                Ok(Response::Tokens(tokens.map(TokenLine::from).collect()))
            }
            TokenRequest::Remove { name } => {
                api_tokens::remove(store, &name).await?;
                Ok(Response::Done)
            }
        }
    }

    /// Returns the domains of a new token, each of which must be local.
    async fn token_domains(&self, names: Vec<String>) -> Result<Vec<String>, AdminError> {
        let mut domains = Vec::with_capacity(names.len());
        for name in names {
            let domain = parse_domain(name)?;
            if let Some(other) = self.store.domain_alias(domain.as_str()).await? {
                return Err(StoreError::DomainIsAlias(domain, other).into());
            }
            if !self.store.is_local(domain.as_str()).await? {
                return Err(StoreError::NoSuchDomain(domain).into());
            }
            domains.push(domain.to_string());
        }
        Ok(domains)
    }
}
