//! Passwords as other servers keep them: hashes of many schemes, which accounts bring along when they move here.
//!
//! Such a hash is kept as it is, with its scheme in braces before it, which no hash of this server has. It is checked at
//! a login, and replaced by the hashes of this server at the first one that succeeds. Until then the account has no
//! verifier for SCRAM, so while there are such accounts, SCRAM is not offered: a mail program that prefers it would be
//! refused although it has the right password.
//!
//! Checking is bounded: a hash whose parameters make it cost more than a second is not taken.

use argon2::{Params, PasswordHash};
use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_mail::Secret;
use posta_store::{AccountId, Store, StoreError};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use yescrypt::Yescrypt;

/// The kind of the records that name the accounts with such hashes, by their ids.
pub(super) const KIND: &str = "foreign-password";

/// The records that are read at a time.
const PAGE: usize = 100;

/// The most rounds of SHA-crypt: a hundred times what systems use.
const ROUNDS: u32 = 500_000;

/// The greatest cost of bcrypt: a second or so.
const COST: u32 = 14;

/// The parameters of yescrypt that systems make (libxcrypt's costs 1 to 8): up to 128 MiB.
const YESCRYPT: [&str; 8] = ["j75", "j85", "j7T", "j8T", "j9T", "jAT", "jBT", "jCT"];

/// The most KiB, and the most KiB written in all passes, of argon2.
const ARGON2: (u32, u64) = (256 * 1024, 1024 * 1024);

/// A password from another server.
#[derive(Debug)]
pub enum ForeignPassword {
    /// The password itself.
    Plain(Secret),
    /// A hash, in the form in which it is kept.
    Hash(String),
}

/// The reason why a password cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignPasswordError {
    /// There is none.
    #[error("it has no password there, or is locked")]
    Locked,
    /// The password is in another file.
    #[error("its password is not in this file: import /etc/shadow")]
    Elsewhere,
    /// The scheme is not known here.
    #[error(
        "hashes of the scheme {0} cannot be checked here: set a password with `posta account add`"
    )]
    Scheme(String),
    /// The hash is too costly.
    #[error("checking its hash would take too long: set a password with `posta account add`")]
    TooCostly,
    /// The hash is damaged.
    #[error("its hash is damaged: set a password with `posta account add`")]
    Damaged,
}

/// The plain digests that LDAP servers and Dovecot use, with and without a salt behind them.
const DIGESTS: [(&str, &digest::Algorithm, bool); 7] = [
    ("SSHA", &digest::SHA1_FOR_LEGACY_USE_ONLY, true),
    ("SSHA256", &digest::SHA256, true),
    ("SSHA512", &digest::SHA512, true),
    ("SHA", &digest::SHA1_FOR_LEGACY_USE_ONLY, false),
    ("SHA1", &digest::SHA1_FOR_LEGACY_USE_ONLY, false),
    ("SHA256", &digest::SHA256, false),
    ("SHA512", &digest::SHA512, false),
];

/// Reads a password as another server keeps it: `{SCHEME}text` (Dovecot, LDAP), or a hash of crypt(3).
///
/// # Errors
/// When it cannot be taken over.
pub fn read(text: &str) -> Result<ForeignPassword, ForeignPasswordError> {
    let scheme = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let Some((scheme, text)) = scheme else { return read_crypt(text) };
    let scheme = scheme.to_ascii_uppercase();
    let (scheme, encoding) = scheme.split_once('.').unwrap_or((&scheme, ""));
    match scheme {
        "PLAIN" | "PLAINTEXT" | "CLEAR" | "CLEARTEXT" if encoding.is_empty() => {
            Ok(ForeignPassword::Plain(Secret::new(text.as_bytes())))
        }
        "CRYPT" | "SHA256-CRYPT" | "SHA512-CRYPT" | "BLF-CRYPT" | "ARGON2I" | "ARGON2ID" => {
            read_crypt(text)
        }
        _ => {
            let known = DIGESTS.iter().find(|(name, ..)| *name == scheme);
            let unknown = || ForeignPasswordError::Scheme(scheme.to_owned());
            let (name, algorithm, is_salted) = known.ok_or_else(unknown)?;
            let octets = match encoding {
                "" | "B64" | "BASE64" => BASE64.decode(text).ok(),
                "HEX" => from_hex(text),
                _ => return Err(unknown()),
            };
            let octets = octets.ok_or(ForeignPasswordError::Damaged)?;
            let has_salt = octets.len() > algorithm.output_len();
            if octets.len() < algorithm.output_len() || (has_salt && !is_salted) {
                return Err(ForeignPasswordError::Damaged);
            }
            Ok(ForeignPassword::Hash(format!("{{{name}}}{}", BASE64.encode(octets))))
        }
    }
}

/// Reads a hash of crypt(3), or of argon2.
fn read_crypt(text: &str) -> Result<ForeignPassword, ForeignPasswordError> {
    let is_line = text.bytes().all(|octet| octet.is_ascii_graphic());
    let mut fields = text.strip_prefix('$').unwrap_or_default().split('$');
    match fields.next().unwrap_or_default() {
        _ if text.is_empty() || text.starts_with(['!', '*']) => Err(ForeignPasswordError::Locked),
        _ if text == "x" => Err(ForeignPasswordError::Elsewhere),
        _ if !is_line => Err(ForeignPasswordError::Damaged),
        "5" | "6" => {
            let rounds = fields.next().and_then(|field| field.strip_prefix("rounds="));
            let rounds = rounds.map_or(Ok(0), str::parse::<u32>);
            let rounds = rounds.map_err(|_| ForeignPasswordError::Damaged)?;
            bounded(rounds <= ROUNDS, text)
        }
        "2a" | "2b" | "2y" => {
            let cost = fields.next().and_then(|cost| cost.parse::<u32>().ok());
            bounded(cost.ok_or(ForeignPasswordError::Damaged)? <= COST, text)
        }
        "y" => bounded(fields.next().is_some_and(|cost| YESCRYPT.contains(&cost)), text),
        "argon2i" | "argon2id" => {
            let hash = PasswordHash::new(text).map_err(|_| ForeignPasswordError::Damaged)?;
            let params = Params::try_from(&hash).map_err(|_| ForeignPasswordError::Damaged)?;
            let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
            match params.m_cost() <= ARGON2.0 && work <= ARGON2.1 {
                _ if hash.hash.is_none() => Err(ForeignPasswordError::Damaged),
                // This server's own hashes have the same form.
                true => Ok(ForeignPassword::Hash(text.to_owned())),
                false => Err(ForeignPasswordError::TooCostly),
            }
        }
        "1" => Err(ForeignPasswordError::Scheme("MD5-CRYPT".to_owned())),
        "" => Err(ForeignPasswordError::Scheme("DES-CRYPT".to_owned())),
        other => Err(ForeignPasswordError::Scheme(format!("${other}$"))),
    }
}

fn bounded(is_cheap: bool, text: &str) -> Result<ForeignPassword, ForeignPasswordError> {
    match is_cheap {
        true => Ok(ForeignPassword::Hash(format!("{{CRYPT}}{text}"))),
        false => Err(ForeignPasswordError::TooCostly),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.is_ascii() && text.len().is_multiple_of(2);
    let pairs = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok());
    digits.then(|| pairs.collect()).flatten()
}

/// Returns whether a hash that is kept is another server's.
pub(crate) fn is_foreign(stored: &str) -> bool {
    stored.starts_with('{')
}

/// Returns whether a password is the one of another server's hash.
pub(super) fn verify(password: &[u8], stored: &str) -> bool {
    let Some((scheme, hash)) = stored.strip_prefix('{').and_then(|rest| rest.split_once('}'))
    else {
        return false;
    };
    if scheme == "CRYPT" {
        return match hash.split('$').nth(1) {
            Some("5" | "6") => ShaCrypt::default().verify_password(password, hash).is_ok(),
            Some("y") => Yescrypt::default().verify_password(password, hash).is_ok(),
            // Only the first 72 octets count, as where the hash was made.
            _ => bcrypt::verify(password, hash).unwrap_or_default(),
        };
    }
    let known = DIGESTS.iter().find(|(name, ..)| *name == scheme);
    let (Some((_, algorithm, _)), Ok(octets)) = (known, BASE64.decode(hash)) else { return false };
    let Some((expected, salt)) = octets.split_at_checked(algorithm.output_len()) else {
        return false;
    };
    let mut context = digest::Context::new(algorithm);
    context.update(password);
    context.update(salt);
    let found = context.finish();
    constant_time::verify_slices_are_equal(found.as_ref(), expected).is_ok()
}

/// Records whether an account has another server's hash.
///
/// # Errors
/// When the store fails.
pub(crate) async fn note(
    store: &dyn Store,
    account: AccountId,
    is_foreign: bool,
) -> Result<(), StoreError> {
    let name = account.0.to_string();
    if is_foreign || store.kept_one(KIND, &name).await?.is_some() {
        store.keep(KIND, &name, is_foreign.then(Vec::new)).await?;
    }
    Ok(())
}

/// Returns whether any account has another server's hash.
///
/// # Errors
/// When the store fails.
pub(super) async fn any(store: &dyn Store) -> Result<bool, StoreError> {
    let mut after = None;
    loop {
        let page = store.kept_page(KIND, "", after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        after = Some(last.clone());
        for (name, _) in page {
            let id = name.parse().map(AccountId).unwrap_or(AccountId(0));
            let account = store.account_by_id(id).await?;
            if account.is_some_and(|account| is_foreign(&account.credentials.password_hash)) {
                return Ok(true);
            }
            // The account was removed. Should it come back, this server is started again sooner or later.
            store.keep(KIND, &name, None).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> String {
        match read(text) {
            Ok(ForeignPassword::Hash(hash)) => hash,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// Hashes made by `openssl passwd`, `mkpasswd`, `doveadm pw` and Python's hashlib.
    #[test]
    fn hashes_of_other_servers_are_checked() {
        for text in HASHES {
            let stored = hash(text);
            if is_foreign(&stored) {
                assert!(verify(b"parola", &stored), "{text}");
                assert!(!verify(b"parole", &stored), "{text}");
                assert!(!verify(b"", &stored), "{text}");
            }
        }
        for damaged in ["{CRYPT}$6$", "{CRYPT}$y$j9T$", "{CRYPT}$2b$", "{SSHA}", "{", "{X}y", ""] {
            assert!(!verify(b"parola", damaged), "{damaged}");
        }
    }

    const HASHES: [&str; 18] = [
        "$6$abcdefgh$KMisBtZs2N6Qg5jDE3TC6hxCdcgUxnbfiJoqBu1CGPsEqQnPWpQGn.WGtl7osSbpRVyIhFlk7U5jzsWXT1Iez1",
        "$5$abcdefgh$yTZ7C.pzI87WVlPFotr0.Vbq4xrLtd5d/VGlVgAa54D",
        "$6$rounds=1000$saltsalt$J3TinN6MfqhsNXD1kfIci4gN8CMolV6L/2gkEtxssul8gqlQVvrsH5geBaYwUECw0GysrgPOCyEY4FtMneW8N.",
        "$5$rounds=1500$anothersalt$bqCPYFLQ08wxgrvFp9Wd9HZ4bfEfX22y581w1xr7234",
        "$2b$05$abcdefghijklmnopqrstuu3uqgcA8ARaATEh/AQstvCWIqosG3/pC",
        "$2y$05$abcdefghijklmnopqrstuu3uqgcA8ARaATEh/AQstvCWIqosG3/pC",
        "$2a$05$abcdefghijklmnopqrstuu3uqgcA8ARaATEh/AQstvCWIqosG3/pC",
        "$y$j75$saltsaltsalt$8I3UefW/LLpwpthJPb9A72lj4qHhiVOqAKggBRTlqX7",
        "$y$j7T$kq0qKXmbWYGVGcpWv1RSs0$/N7nzkMtPHuPFTkxqHk.SrnMX2MU6dJxwcsbszpNa1C",
        "{SSHA}eaIqr9DBETjWo0wQqhehtDPulHBzYWx6",
        "{SSHA256}Bu8w8MGZL8yMeGM/HnJpYdYNcGvPq9daOJ3SQU8QAqxzYWx6",
        "{SSHA512}vw98gtUaKQTftzx4C08EP17v5vzKCO9THnaySfoBJyh4PH8ODCzEVGIOc/nJKKcBRThENUoySqBPtypCJiwxZnNhbHo=",
        "{SHA}g1knlrwXcFZi3Jp1DIttCk/ZM5Y=",
        "{SHA256.HEX}a80b568a237f50391d2f1f97beaf99564e33d2e1c8a2e5cac21ceda701570312",
        "{SHA512.b64}Yib/DlC1MT8oemkE7PJCtn0A0ovSEd2uUejwRNJN4N79TaqjLuysm7E/nS/kYpQYOJN/FmE6r90HUHXvnf57ZA==",
        "{ssha256.hex}06ef30f0c1992fcc8c78633f1e726961d60d706bcfabd75a389dd2414f1002ac73616c7a",
        "{SHA512-CRYPT}$6$abcdefgh$KMisBtZs2N6Qg5jDE3TC6hxCdcgUxnbfiJoqBu1CGPsEqQnPWpQGn.WGtl7osSbpRVyIhFlk7U5jzsWXT1Iez1",
        "{BLF-CRYPT}$2y$05$abcdefghijklmnopqrstuu3uqgcA8ARaATEh/AQstvCWIqosG3/pC",
    ];

    #[test]
    fn what_cannot_be_checked_has_a_reason() {
        use ForeignPasswordError::{Damaged, Elsewhere, Locked, TooCostly};
        let scheme = |name: &str| ForeignPasswordError::Scheme(name.to_owned());
        for (text, expected) in [
            ("", Locked),
            ("*", Locked),
            ("!$6$ab$cd", Locked),
            ("!!", Locked),
            ("x", Elsewhere),
            ("$1$ab$cd", scheme("MD5-CRYPT")),
            ("{MD5-CRYPT}$1$ab$cd", scheme("MD5-CRYPT")),
            ("rl.3StKT.4T8M", scheme("DES-CRYPT")),
            ("{CRAM-MD5}ab", scheme("CRAM-MD5")),
            ("$7$ab", scheme("$7$")),
            ("{SSHA.X}ab", scheme("SSHA")),
            ("$6$rounds=999999999$ab$cd", TooCostly),
            ("$6$rounds=x$ab$cd", Damaged),
            ("$2y$31$ab", TooCostly),
            ("$2y$x$ab", Damaged),
            ("$y$jFT$ab$cd", TooCostly),
            (
                "$argon2id$v=19$m=4194304,t=3,p=1$YWJjZGVmZ2hpamtsbW5vcA$YWJjZGVmZ2hpamtsbW5vcA",
                TooCostly,
            ),
            ("$argon2id$v=19$m=65536", Damaged),
            ("{SSHA}YWJj", Damaged),
            ("{SHA256}!", Damaged),
            ("$6$a b$cd", Damaged),
        ] {
            assert_eq!(read(text).err(), Some(expected), "{text}");
        }
        let plain = read("{PLAIN}pa{}rola").unwrap();
        assert!(matches!(plain, ForeignPassword::Plain(secret) if secret.expose() == b"pa{}rola"));
    }
}
