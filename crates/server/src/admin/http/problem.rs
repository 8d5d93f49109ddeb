//! Errors as programs read them: problem details (RFC 9457) with a stable code.

use crate::{
    admin::{AdminError, AliasError},
    login::api_tokens::ApiTokenError,
};
use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use posta_store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of a response other than 2xx.
///
/// It has no member `type`, which then means `about:blank` (RFC 9457 §4.2.1): the title says no more than the status,
/// and the code tells the cases apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// The cause and the cure, for a person.
    pub detail: String,
    /// A word for programs. The same cause has the same code in later versions.
    pub code: String,
}

impl Problem {
    /// Returns a problem.
    #[must_use]
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
        }
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        let (status, code) = status_and_code(&error);
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2: a 401 names what to log in with.
            let challenge = HeaderValue::from_static("Bearer realm=\"posta\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

const WRONG: StatusCode = StatusCode::BAD_REQUEST;
const ABSENT: StatusCode = StatusCode::NOT_FOUND;
const CONFLICT: StatusCode = StatusCode::CONFLICT;
const REFUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
const ELSEWHERE: StatusCode = StatusCode::BAD_GATEWAY;
const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

/// Returns the status and the code of an error.
fn status_and_code(error: &AdminError) -> (StatusCode, &'static str) {
    match error {
        AdminError::Name(..) => (WRONG, "invalid-address"),
        AdminError::Domain(_) => (WRONG, "invalid-domain"),
        AdminError::SendAs(_) => (WRONG, "invalid-sender"),
        AdminError::UnknownAccount(..) => (ABSENT, "no-such-account"),
        AdminError::UnknownDomain(..) => (ABSENT, "no-such-domain"),
        AdminError::NoSuchKey(..) => (ABSENT, "no-such-key"),
        AdminError::KeysWait(_) => (CONFLICT, "keys-wait"),
        AdminError::NoKeys(..) | AdminError::Keys(_) => (BROKEN, "no-keys"),
        AdminError::TooManyAllowed(_) => (REFUSED, "too-many-senders"),
        AdminError::NotAllowed(..) => (ABSENT, "no-such-permission"),
        AdminError::Alias(error) => match error {
            AliasError::NoMember => (WRONG, "no-member"),
            AliasError::NoSuchAddress(_) => (REFUSED, "no-such-address"),
            AliasError::Itself(_) | AliasError::Loop { .. } => (REFUSED, "alias-loop"),
            AliasError::TooMuch(_) | AliasError::TooMany(_) => (REFUSED, "alias-too-large"),
            AliasError::SendOnly(_) => (REFUSED, "send-only"),
            AliasError::NoSuchMember(..) => (ABSENT, "no-such-member"),
        },
        AdminError::ForeignPassword(_) => (REFUSED, "foreign-password-refused"),
        AdminError::AppPassword(_) => (REFUSED, "app-password-refused"),
        AdminError::NotOwner(..) => (StatusCode::FORBIDDEN, "not-owner"),
        AdminError::Arrangement(_) => (REFUSED, "arrangement-refused"),
        AdminError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        AdminError::Password(_) => (REFUSED, "password-refused"),
        AdminError::Store(error) => of_store(error),
        AdminError::NothingToUndelete(_) => (ABSENT, "no-such-account"),
        AdminError::Succeeded(..) => (CONFLICT, "address-in-use"),
        AdminError::Mail(_) => (REFUSED, "mail-refused"),
        AdminError::Senders(_) => (REFUSED, "sender-refused"),
        AdminError::Backup(_) => (REFUSED, "backup-refused"),
        AdminError::Renewal(_) => (ELSEWHERE, "renewal-failed"),
        AdminError::NoAuthority => (CONFLICT, "no-authority"),
        AdminError::Config(_) => (REFUSED, "config-refused"),
        AdminError::NoServer => (CONFLICT, "no-server"),
        AdminError::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
        AdminError::Token(error) => match error {
            ApiTokenError::Name(_) => (WRONG, "invalid-name"),
            ApiTokenError::Exists(_) => (CONFLICT, "token-exists"),
            ApiTokenError::Missing(_) => (ABSENT, "no-such-token"),
            ApiTokenError::TooMany => (REFUSED, "too-many-tokens"),
            ApiTokenError::Past(_) => (WRONG, "time-is-past"),
            ApiTokenError::Store(error) => of_store(error),
        },
        AdminError::NoLockout(_) => (ABSENT, "no-such-lockout"),
        AdminError::NoSuchSource(_) => (ABSENT, "no-such-source"),
        AdminError::OwnMailbox(_) => (REFUSED, "own-mailbox"),
        AdminError::Import(_) => (REFUSED, "import-failed"),
        AdminError::Unchecked(_) => (ELSEWHERE, "login-elsewhere-failed"),
        AdminError::Collect(_) => (ELSEWHERE, "visit-failed"),
    }
}

const fn of_store(error: &StoreError) -> (StatusCode, &'static str) {
    use StoreError as Error;
    let status = match error {
        Error::AccountExists(_)
        | Error::IsAlias(_)
        | Error::DomainInUse(_)
        | Error::DomainIsAlias(..)
        | Error::FolderExists(_)
        | Error::FolderIsFixed(_)
        | Error::FolderNotEmpty(_)
        | Error::Occupied
        | Error::TooManyBackups
        | Error::OneNode
        | Error::AmbiguousNode(_)
        | Error::NodeIsLive(_) => CONFLICT,
        Error::NoSuchAccount
        | Error::NoSuchAlias(_)
        | Error::NoSuchDomain(_)
        | Error::NoSuchFolder
        | Error::NoSuchNode(_) => ABSENT,
        Error::TooManyFolders | Error::TooManyKeywords => REFUSED,
        Error::Full => StatusCode::INSUFFICIENT_STORAGE,
        Error::Sealed(_)
        | Error::ObjectStore(_)
        | Error::Damaged(_)
        | Error::InUse(_)
        | Error::Incomplete(_)
        | Error::TooNew { .. }
        | Error::Failed(_) => BROKEN,
    };
    (status, error.code())
}

impl AdminError {
    /// Returns a word that names the cause, for programs and for `posta explain`. It does not change in later versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        status_and_code(self).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_have_a_code_and_their_own_media_type() {
        let problem = Problem::from(AdminError::Store(StoreError::NoSuchAccount));
        assert_eq!((problem.status, problem.code.as_str()), (404, "no-such-account"));
        assert!(problem.detail.contains("`posta account list`"), "{}", problem.detail);
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        let unknown = Problem::new(StatusCode::UNAUTHORIZED, "token-needed", "").into_response();
        assert_eq!(unknown.headers()[WWW_AUTHENTICATE], "Bearer realm=\"posta\"");
    }
}
