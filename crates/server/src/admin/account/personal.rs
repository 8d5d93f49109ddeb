//! The requests about what belongs to the person or program that has an account.

use super::{
    super::{Admin, AdminError, Response},
    app_password::AppPasswordRequest,
    arrangement::{AwayRequest, ForwardRequest},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An action on what belongs to the owner of an account.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PersonalRequest {
    /// Changes the password for the owner, who gives the old one.
    Password {
        /// The old password; an app password does not count.
        old: String,
        /// The new password.
        password: String,
    },
    /// Acts on the app passwords.
    AppPasswords(AppPasswordRequest),
    /// Sets whether the account only sends mail, and has no mailbox.
    SendOnly(bool),
    /// Acts on the note that senders get while the owner is away. The address may be an alias's.
    Away(AwayRequest),
    /// Acts on the forward of the address, which need not be an account's.
    Forward(ForwardRequest),
}

impl Admin {
    pub(in crate::admin) async fn personal(
        &self,
        address: String,
        request: PersonalRequest,
    ) -> Result<Response, AdminError> {
        match request {
            PersonalRequest::Password { old, password } => {
                self.change_own_password(address, old, password).await
            }
            PersonalRequest::AppPasswords(request) => self.app_passwords(address, request).await,
            PersonalRequest::Away(request) => self.away(address, request).await,
            PersonalRequest::Forward(request) => self.forward(address, request).await,
            PersonalRequest::SendOnly(send_only) => self.set_send_only(address, send_only).await,
        }
    }
}
