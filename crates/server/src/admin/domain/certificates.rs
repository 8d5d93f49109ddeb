//! The operator's requests about certificates that an authority issues (ACME).

use crate::{
    admin::{Admin, AdminError, Response},
    sign::certificates,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An action on the certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateRequest {
    /// Lists the certificates.
    List,
    /// Asks the authority for a certificate, and waits until it is issued or refused.
    Renew {
        /// The name of the certificate; default: each name whose certificate is missing or could not be renewed.
        #[serde(default)]
        name: Option<String>,
        /// Whether the certificate of this name is for a new private key. If DNS pins the present key (TLSA), the new one
        /// is made and waits until DNS allows it.
        #[serde(default)]
        new_key: bool,
    },
    /// Replaces the key of the server's account at the authority by a new one.
    NewAccountKey,
}

impl Admin {
    /// Lists certificates, or has them renewed by the running server.
    pub(in crate::admin) async fn issued_certificates(
        &self,
        request: CertificateRequest,
    ) -> Result<Response, AdminError> {
        let lines = match request {
            CertificateRequest::List => certificates::list(&*self.store, self.clock.now()).await?,
            CertificateRequest::Renew { name, new_key } => {
                let keeper = self.certificates.as_ref().ok_or(AdminError::NoAuthority)?;
                Box::pin(keeper.renew(name.as_deref(), new_key)).await?
            }
            CertificateRequest::NewAccountKey => {
                let keeper = self.certificates.as_ref().ok_or(AdminError::NoAuthority)?;
                Box::pin(keeper.replace_account_key()).await?;
                return Ok(Response::Done);
            }
        };
        Ok(Response::Certificates(lines))
    }
}
