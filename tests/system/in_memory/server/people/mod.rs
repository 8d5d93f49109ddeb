//! What belongs to the people and programs that have accounts.

mod app_passwords;
mod away;
mod forward;
mod purged;
mod quota;
mod send_only;

use super::*;
use posta_server::admin::{AdminError, PersonalRequest};

impl System {
    /// Acts on what belongs to the owner of an account.
    async fn personal(
        &self,
        address: &str,
        request: PersonalRequest,
    ) -> Result<Response, AdminError> {
        self.admin.execute(Request::Personal { address: address.to_owned(), request }).await
    }
}
