//! Small records of the server's own, and the secrets that the server has to read again.

use crate::{
    error::{Pending, StoreError},
    names::{AccountId, KeyId, SourceId},
};
use posta_mail::Secret;

/// The most octets in the name of a record, and in the name under which a collected or imported message is remembered.
/// Names become keys of tables, which cannot be of any length: those of PostgreSQL have 2,704 octets at most. No record has
/// a longer name, and none can be stored.
pub const NAME: usize = 2_048;

/// Checks that a name can be that of a record or of a collected message.
///
/// # Errors
/// When it is longer than [`NAME`].
pub fn check_name(name: &str) -> Result<(), StoreError> {
    if name.len() <= NAME {
        return Ok(());
    }
    let words = format!("a name of {} octets cannot be kept: {NAME} are the most", name.len());
    Err(StoreError::Failed(words))
}

/// The kind of the records with the keys that sign a domain's mail. They are part of the directory: a
/// watcher of the directory is informed of their changes.
pub const DOMAIN_KEYS: &str = "domain-keys";

/// The kind of the records with the passwords of accounts' programs. They are part of the directory, too.
pub const APP_PASSWORDS: &str = "app-passwords";

/// The kind of the records of certificates that an authority issued, by the name that each is for. They are part of the
/// directory, so that other nodes use a new one soon.
pub const CERTIFICATES: &str = "certificate";

/// The kind of the records by which a node asks others to renew a certificate. They are part of the directory, too.
pub const CERTIFICATE_WISHES: &str = "certificate-wish";

/// Returns whether the records of a kind are part of the directory, so that its watchers are informed of their changes.
#[must_use]
pub fn is_of_directory(kind: &str) -> bool {
    matches!(kind, DOMAIN_KEYS | APP_PASSWORDS | CERTIFICATES | CERTIFICATE_WISHES)
}

/// A small record that is stored in the same transaction as a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRecord {
    /// The kind of the record.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its content.
    pub record: Vec<u8>,
}

/// Small records of the server's own, each with a kind and a name; and secrets.
pub trait Records: Send + Sync + 'static {
    /// Stores a small record of the server's own, in place of the one with the same kind and name;
    /// `None` removes that one. A kind contains no NUL. A caller whose record depends on the previous
    /// one uses [`Records::keep_if`].
    fn keep(&self, kind: &'static str, name: &str, record: Option<Vec<u8>>) -> Pending<'_, ()>;

    /// Returns the records of a kind, by their names.
    fn kept(&self, kind: &'static str) -> Pending<'_, Vec<(String, Vec<u8>)>>;

    /// Returns records of a kind whose names begin with `prefix`, by their names: at most `most` of those after the
    /// name `after`, from the first if that is none. A kind with many records is read in such pages.
    fn kept_page(
        &self,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Pending<'_, Vec<(String, Vec<u8>)>>;

    /// Returns a record of a kind by its name.
    fn kept_one(&self, kind: &'static str, name: &str) -> Pending<'_, Option<Vec<u8>>>;

    /// Stores a record, or removes it if `record` is none, provided that the present record with its
    /// kind and name is `expected` (none if there must not be one). Returns the record that is stored
    /// afterwards, which is another process's if that came first. Two processes that make a key at the
    /// same moment thus end with the same one, and none overwrites a record that it has not read.
    fn keep_if(
        &self,
        kind: &'static str,
        name: &str,
        expected: Option<Vec<u8>>,
        record: Option<Vec<u8>>,
    ) -> Pending<'_, Option<Vec<u8>>> {
        self.keep_with_secrets(kind, name, expected, record, Vec::new())
    }

    /// Stores a record as [`Records::keep_if`] does, and in the same transaction replaces secrets, or
    /// removes those given as `None`. If the present record is not the expected one, no secret changes.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when a secret cannot be sealed.
    fn keep_with_secrets(
        &self,
        kind: &'static str,
        name: &str,
        expected: Option<Vec<u8>>,
        record: Option<Vec<u8>>,
        secrets: Vec<(SecretOf, Option<Secret>)>,
    ) -> Pending<'_, Option<Vec<u8>>>;

    /// Checks that sealed secrets can be opened. A caller that seals a secret without an operator's request has to check
    /// this first: if the key file is missing, the operator may put it back, and a new file must not take its place.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when they cannot be opened.
    fn check_seals(&self) -> Pending<'_, ()>;

    /// Returns a secret, if there is one. Callers must hold it no longer than necessary.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when the secret is stored, but cannot be read.
    fn secret(&self, of: SecretOf) -> Pending<'_, Option<Secret>>;
}

/// The name of a secret that is stored in such a way that it can be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretOf {
    /// The password of a mailbox elsewhere.
    Source(SourceId),
    /// The password of an account, for APOP.
    Apop(AccountId),
    /// A private key: one that signs mail or belongs to a certificate, in PKCS #8, or an account at an authority.
    Key(KeyId),
}
