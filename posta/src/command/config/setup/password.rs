//! The first account's password: given, or made.

use super::answers::{Answers, PasswordFrom};
use crate::fault::fail;
use crate::wiring;
use anyhow::Result;
use posta_net::clock::Clock;

/// The characters of a password that is made: none that looks like another.
const CHARACTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The length of a password that is made, in groups: 100 bits that nobody guesses.
const GROUPS: usize = 4;
const GROUP: usize = 5;

/// Returns the password, and whether it was made.
pub(super) fn of(answers: &Answers) -> Result<(String, bool)> {
    let prompt = format!("Password of {} (empty: one is made): ", answers.account);
    let given = match answers.password {
        PasswordFrom::Made => return Ok((make(&*wiring::clock()), true)),
        PasswordFrom::Stdin => crate::command::read_password(true, &prompt)?,
        PasswordFrom::Terminal => {
            let given = crate::command::read_password(false, &prompt)?;
            if given.expose().is_empty() {
                return Ok((make(&*wiring::clock()), true));
            }
            if given != crate::command::read_password(false, "The same again: ")? {
                fail!(
                    "passwords-differ",
                    "the two passwords differ: run setup again, it goes on from here"
                );
            }
            given
        }
    };
    match str::from_utf8(given.expose()) {
        Ok(given) => Ok((given.to_owned(), false)),
        Err(_) => fail!("password-not-utf8", "the password is not UTF-8"),
    }
}

fn make(clock: &dyn Clock) -> String {
    let mut octets = [0; GROUPS * GROUP];
    clock.random(&mut octets);
    let character = |octet: &u8| char::from(CHARACTERS[usize::from(*octet) % CHARACTERS.len()]);
    let groups = octets.chunks(GROUP).map(|group| group.iter().map(character).collect());
    groups.collect::<Vec<String>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_differ() {
        let clock = wiring::clock();
        let (one, other) = (make(&*clock), make(&*clock));
        assert_eq!(one.len(), 23, "{one}");
        assert_ne!(one, other);
    }
}
