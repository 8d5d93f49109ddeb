//! The operator's requests about passwords of an account: those of its programs, and the one that its owner changes.

use super::super::{Admin, AdminError, Response};
use crate::login::{
    AppPassword, Authenticator, LoginError,
    app_passwords::{self, NewAppPassword},
};
use posta_mail::Secret;
use posta_store::SecretOf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An action on the app passwords of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AppPasswordRequest {
    /// Makes one, and returns it.
    Add {
        /// The name of the program or device that will have it.
        name: String,
    },
    /// Lists them.
    List,
    /// Withdraws one.
    Remove {
        /// Its name.
        name: String,
    },
}

/// What is known of an account's app passwords after a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AppPasswords {
    /// A new one: this is the only time that it is shown.
    Made(String),
    /// All of them, in the order in which they were made.
    List(Vec<AppPassword>),
    /// One was withdrawn.
    Removed,
}

impl Admin {
    pub(in crate::admin) async fn app_passwords(
        &self,
        address: String,
        request: AppPasswordRequest,
    ) -> Result<Response, AdminError> {
        let account = self.account(address).await?;
        let store = &*self.store;
        let done = match request {
            AppPasswordRequest::List => {
                AppPasswords::List(app_passwords::list(store, account.id).await?)
            }
            AppPasswordRequest::Remove { name } => {
                app_passwords::remove(store, account.id, &name).await?;
                AppPasswords::Removed
            }
            AppPasswordRequest::Add { name } => {
                // The list has one salt, so it must not get another one meanwhile.
                let _changing = self.changing.lock().await;
                let salt_of = app_passwords::salt_of(store, &account).await?;
                let clock = self.clock.clone();
                let made = self
                    .hashers
                    .run(move |_| NewAppPassword::make(&*clock, salt_of.as_ref()))
                    .await
                    .ok_or(AdminError::Stopping)?;
                let now = self.clock.now();
                let shown = app_passwords::add(store, account.id, &name, now, made).await?;
                AppPasswords::Made(shown)
            }
        };
        Ok(Response::AppPasswords(done))
    }

    /// Changes the password of an account for its owner, who knows the old one. Whether it is kept for APOP stays.
    pub(in crate::admin) async fn change_own_password(
        &self,
        address: String,
        old: String,
        password: String,
    ) -> Result<Response, AdminError> {
        let authenticator = match &self.authenticator {
            Some(authenticator) => authenticator.clone(),
            None => {
                let (store, clock) = (self.store.clone(), self.clock.clone());
                Arc::new(Authenticator::open(store, clock).await?)
            }
        };
        let old = Secret::new(old.as_bytes());
        let owner = authenticator.owner(&address, &old).await.map_err(|error| match error {
            LoginError::Store(error) => AdminError::Store(error),
            error => AdminError::NotOwner(address, error.to_string()),
        })?;
        let apop = self.store.secret(SecretOf::Apop(owner.id)).await?.is_some();
        self.change_password(owner.address.to_string(), password, apop).await?;
        Ok(Response::Done)
    }
}
