//! Passwords that people choose: which ones are acceptable, and the credentials that the store keeps of them.
//! `admin` makes credentials here, and `login` checks passwords against them.

use crate::login::{
    foreign,
    hashers::{FreeThread, Memory},
};
use posta_mail::Secret;
use posta_net::{clock::Clock, scram::Verifier};
use posta_store::Credentials;

/// The maximal number of octets in a password: as many as fit into a PASS command (RFC 2449 §4). Hashing more would be
/// work that any stranger could cause.
pub const PASSWORD: usize = 240;

/// The number of octets of salt (RFC 9106 §3.1).
const SALT: usize = 16;

/// The error of a password that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has 1 to 240 octets, and no line ends or NUL")]
pub struct PasswordError;

/// Returns the credentials to store for a password that a person has chosen. `salt_of` is the SCRAM verifier whose salt
/// is kept, for an account with app passwords: those of an account have one salt.
///
/// # Errors
/// When the password cannot be used, for example because it contains a line end, which POP3 cannot send.
pub(crate) fn credentials(
    password: &Secret,
    clock: &dyn Clock,
    memory: &mut Memory,
    salt_of: Option<&Verifier>,
) -> Result<Credentials, PasswordError> {
    let octets = password.expose();
    let unusable = |octet: &u8| matches!(octet, b'\r' | b'\n' | 0);
    if octets.is_empty() || octets.len() > PASSWORD || octets.iter().any(unusable) {
        return Err(PasswordError);
    }
    let scram = match salt_of {
        Some(other) => other.of_other_password(octets),
        None => Verifier::new(octets, clock),
    };
    let scram = Some(scram.to_string());
    Ok(Credentials { password_hash: hash(octets, clock, memory)?, scram, apop: None })
}

/// Hashes a password with a new salt.
pub(super) fn hash(
    password: &[u8],
    clock: &dyn Clock,
    memory: &mut Memory,
) -> Result<String, PasswordError> {
    let mut salt = [0; SALT];
    clock.random(&mut salt);
    memory.hash(password, &salt).map_err(|_| PasswordError)
}

/// Returns whether a password matches a stored hash. The work is done on `thread`, not on an asynchronous one. `decoy` is
/// the hash that is checked for accounts that do not exist.
pub(super) async fn matches(
    thread: FreeThread<'_>,
    stored: String,
    decoy: String,
    password: Secret,
) -> bool {
    if password.expose().len() > PASSWORD {
        return false;
    }
    let verify = move |memory: &mut Memory| {
        let octets = password.expose();
        if foreign::is_foreign(&stored) {
            // An account that does not exist costs a hash of this server, so this one does, too.
            let _ = std::hint::black_box(memory.verify(octets, &decoy));
            return foreign::verify(octets, &stored);
        }
        memory.verify(octets, &stored)
    };
    thread.run(verify).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::Timestamp;
    use posta_net::clock::SimulatedClock;

    #[test]
    fn unusable_passwords_are_refused() {
        let clock = SimulatedClock::new(Timestamp::UNIX_EPOCH, 1);
        for password in ["", "a\nb", "a\0", &"x".repeat(241)] {
            let password = Secret::new(password.as_bytes());
            let refused = credentials(&password, &clock, &mut Memory::default(), None);
            assert_eq!(refused, Err(PasswordError));
        }
    }
}
