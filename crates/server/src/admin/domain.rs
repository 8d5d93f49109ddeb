//! The operator's requests about domains.

mod certificates;
pub(super) mod keys;

pub use certificates::CertificateRequest;

use super::{Admin, AdminError, AliasError, Response, parse_address, parse_domain};
use crate::{
    directory::{
        Follower,
        postmaster::{self, DUTIES},
    },
    login::api_tokens,
    sign::key_ring,
};
use posta_mail::{Address, Domain};
use posta_store::{Alias, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A local domain in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DomainLine {
    /// The domain's name.
    pub domain: String,
    /// The domain that it is an alias of, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<String>,
    /// The recipients of mail for postmaster; empty if that is refused.
    pub postmaster: Vec<String>,
    /// The recipients of mail for abuse.
    pub abuse: Vec<String>,
}

impl Admin {
    /// Makes a domain local, sets its postmaster, and makes its first keys.
    pub(super) async fn add_domain(
        &self,
        domain: String,
        postmaster: Option<String>,
    ) -> Result<Response, AdminError> {
        let domain = parse_domain(domain)?;
        let postmaster = postmaster.map(parse_address).transpose()?;
        if let Some(address) = &postmaster {
            self.check_postmaster(&domain, address).await?;
        }
        let _changing = self.changing.lock().await;
        self.store.add_domain(&domain).await?;
        if postmaster.is_some() {
            postmaster::name(&*self.store, &domain, postmaster.as_ref()).await?;
        }
        self.ensure_keys(domain).await
    }

    /// Makes the first keys of a domain that was just added.
    async fn ensure_keys(&self, domain: Domain) -> Result<Response, AdminError> {
        match key_ring::ensure(&*self.store, &*self.clock, &domain).await {
            Ok(_) => Ok(Response::Done),
            Err(error) => Err(AdminError::NoKeys(domain, error)),
        }
    }

    /// Checks that a postmaster exists as an account or an alias, not merely by being named here.
    async fn check_postmaster(&self, domain: &Domain, address: &Address) -> Result<(), AdminError> {
        let resolution = self.store.resolve(address).await?;
        let is_here = resolution.is_local || address.domain() == domain.as_str();
        if is_here && !resolution.exists() {
            return Err(AliasError::NoSuchAddress(address.clone()).into());
        }
        Ok(())
    }

    /// Makes a domain no longer local, and forgets its postmaster and its keys.
    pub(super) async fn remove_domain(&self, domain: String) -> Result<Response, AdminError> {
        let domain = parse_domain(domain)?;
        let _changing = self.changing.lock().await;
        self.store.remove_domain(&domain).await?;
        postmaster::name(&*self.store, &domain, None).await?;
        key_ring::forget(&*self.store, domain.as_str()).await?;
        let tokens = api_tokens::forget_domain(&*self.store, domain.as_str()).await?;
        if !tokens.is_empty() {
            let tokens = tokens.join(", ");
            tracing::info!(%domain, tokens, "these tokens are not for the removed domain any more");
        }
        let leads = |alias: &Alias| {
            let targets = alias.targets.iter();
            targets.clone().find(|target| target.domain() == domain.as_str()).cloned()
        };
        let aliases = self.store.aliases().await?.into_iter();
        let leading = aliases.filter_map(|alias| Some((alias.name.to_string(), leads(&alias)?)));
        let leading = leading.map(|(name, target)| (name, target.to_string()));
        Ok(Response::DomainRemoved { leading: leading.collect() })
    }

    /// Makes a domain an alias of another.
    pub(super) async fn stand_for(
        &self,
        alias: String,
        domain: String,
    ) -> Result<Response, AdminError> {
        let (alias, domain) = (parse_domain(alias)?, parse_domain(domain)?);
        let _changing = self.changing.lock().await;
        self.store.set_domain_alias(&alias, &domain).await?;
        postmaster::name(&*self.store, &alias, None).await?;
        self.ensure_keys(alias).await
    }

    pub(super) async fn domains(&self) -> Result<Response, AdminError> {
        let mut lines = Vec::new();
        for domain in self.store.domains().await? {
            let [postmaster, abuse] = DUTIES;
            let stands_for = self.store.domain_alias(domain.as_str()).await?;
            lines.push(DomainLine {
                postmaster: self.readers(postmaster, &domain).await?,
                abuse: self.readers(abuse, &domain).await?,
                stands_for: stands_for.map(|other| other.to_string()),
                domain: domain.to_string(),
            });
        }
        Ok(Response::Domains(lines))
    }

    async fn readers(&self, duty: &str, domain: &Domain) -> Result<Vec<String>, StoreError> {
        let Ok(address) = Address::new(duty, domain) else { return Ok(Vec::new()) };
        let followed = Follower::new(&*self.store).follow(&address).await?;
        let accounts = followed.accounts.into_iter().map(|it| it.account.address);
        Ok(accounts.chain(followed.elsewhere).map(String::from).collect())
    }
}
