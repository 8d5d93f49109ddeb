//! The codes of errors that other crates make.

use posta_backup::BackupError;
use posta_net::{dns::TrustAnchorError, socket_words::SILENT};
use posta_server::{admin::AdminError, assembly::StartError, collect::CollectError};
use posta_store::StoreError;
use std::{error::Error, io};

/// Returns the code of an error, if it is of a kind that is known here.
pub(super) fn code(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<CollectError>() {
        return Some(of_collect(error));
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return Some(error.code());
    }
    if let Some(error) = error.downcast_ref::<AdminError>() {
        return Some(error.code());
    }
    if let Some(error) = error.downcast_ref::<StartError>() {
        return Some(match error {
            StartError::Bind { .. } => "cannot-listen",
            StartError::NoCertificate(_) | StartError::Tls(_) => "certificate",
            StartError::Store(error) => error.code(),
        });
    }
    if error.is::<BackupError>() {
        return Some("backup-unusable");
    }
    if error.is::<TrustAnchorError>() {
        return Some("trust-anchor");
    }
    error.downcast_ref::<io::Error>().map(|error| match error.kind() {
        io::ErrorKind::NotFound => "file-not-found",
        io::ErrorKind::PermissionDenied => "permission-denied",
        io::ErrorKind::StorageFull => "disk-full",
        _ => "system-error",
    })
}

fn of_collect(error: &CollectError) -> &'static str {
    match error {
        CollectError::Connect(..) => "cannot-connect",
        CollectError::Tls(..) | CollectError::NoTls => "tls-failed",
        CollectError::Impostor => "impostor",
        CollectError::Refused(reply) if reply.starts_with("[AUTH]") => "login-refused",
        CollectError::Refused(_) => "server-refused",
        CollectError::Protocol(_) => "not-a-mail-server",
        CollectError::Password(error) => error.code(),
        CollectError::NoPassword => "password-needed",
        CollectError::Broken(words) if words == SILENT => "server-silent",
        CollectError::Broken(_) => "server-closed",
        CollectError::TooLong(_) => "message-too-long",
        CollectError::NoUniqueIds => "no-unique-ids",
        CollectError::Destination(_) => "not-stored",
    }
}
