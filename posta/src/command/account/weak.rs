//! Recognises passwords that an attacker would guess first. They cause a warning, not a refusal: the operator
//! knows what the password protects.

use posta_mail::Address;

/// The length in characters below which a password can be found by trying all.
const SHORT: usize = 10;

/// The longest piece, in characters, whose repetition is recognised.
const PIECE: usize = 4;

/// Words that are common in passwords, often with digits and punctuation around them or with letters written
/// as digits.
const COMMON: &str = "
    abc access admin administrator adobe amour angel asdf azerty bailey baseball basketball batman
    bonjour bunica changeme charlie chocolate computer cookie daniel default donald dragon dragoste
    email fotbal football freedom guest hallo hello hunter iloveyou internet jesus jordan letmein
    liverpool login loveme mail master michael monkey motdepasse mustang ninja parola pass passwd
    password passwort pokemon postmaster princess qwerty root schalke secret server shadow soccer
    starwars summer sunshine superman test trustno welcome winter whatever
";

/// Sequences of keys and characters that people type along.
const ROWS: [&str; 9] = [
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "qwertzuiopasdfghjklyxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujmikolp",
    "q1w2e3r4t5y6u7i8o9p0",
];

/// Returns why a password is easily guessed, or `None` if no reason is found.
pub(super) fn weakness(password: &str, address: &str) -> Option<String> {
    if password.chars().count() < SHORT {
        return Some(format!("it has fewer than {SHORT} characters"));
    }
    let lower = password.to_lowercase();
    let why = if is_repetition(&lower) {
        "it is one piece again and again"
    } else if is_row(&lower) {
        "it follows the keys"
    } else if is_common(&lower) {
        "it is among those that are tried first"
    } else if is_from_address(&lower, address) {
        "it is made of the address"
    } else {
        return None;
    };
    Some(why.to_owned())
}

fn is_repetition(password: &str) -> bool {
    let characters: Vec<_> = password.chars().collect();
    (1..=PIECE).any(|piece| {
        characters.iter().zip(characters.iter().skip(piece)).all(|(one, next)| one == next)
    })
}

fn is_row(password: &str) -> bool {
    let reversed: String = password.chars().rev().collect();
    ROWS.iter().any(|row| row.contains(password) || row.contains(&reversed))
}

/// Returns whether a password consists of common words with digits and punctuation around and between them.
fn is_common(password: &str) -> bool {
    let is_word =
        |word: &str| word.is_empty() || COMMON.split_whitespace().any(|common| common == word);
    let are_words = |text: &str| text.split(|c: char| !c.is_alphabetic()).all(is_word);
    let core = password.trim_matches(|c: char| !c.is_alphabetic());
    let twice =
        core.split_at_checked(core.len() / 2).is_some_and(|(one, two)| one == two && is_word(one));
    are_words(password) || twice || is_word(&as_letters(core)) || is_word(&as_letters(password))
}

/// Returns the letter that a digit or sign replaces in passwords, such as `a` for `4`.
fn as_letters(password: &str) -> String {
    let letter = |c| match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    };
    let letters: String = password.chars().map(letter).collect();
    letters.trim_matches(|c: char| !c.is_alphabetic()).to_owned()
}

/// Returns whether a password consists of parts of the address with digits and punctuation around them.
fn is_from_address(password: &str, address: &str) -> bool {
    let Ok(address) = address.parse::<Address>() else { return false };
    let (user, domain) = (address.local_part().to_lowercase(), address.domain());
    let name = domain.split('.').next().unwrap_or_default();
    let core = password.trim_matches(|c: char| !c.is_alphabetic());
    [format!("{user}@{domain}"), format!("{user}{name}"), user, domain.to_owned(), name.to_owned()]
        .iter()
        .any(|part| part == core || part == password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guessed_first_is_known() {
        for (password, why) in [
            ("parola", "fewer than 10 characters"),
            ("Xk7#mQ2pL", "fewer than 10 characters"),
            ("șțăîâșțăî", "fewer than 10 characters"),
            ("Parola123456", "tried first"),
            ("P@ssw0rd1234", "tried first"),
            ("passwordpassword", "tried first"),
            ("Welcome2024!", "tried first"),
            ("admin-password", "tried first"),
            ("qwerty123456", "tried first"),
            ("2026-11-28", "tried first"),
            ("1234567890", "follows the keys"),
            ("0987654321", "follows the keys"),
            ("qwertyuiop", "follows the keys"),
            ("1qaz2wsx3edc", "follows the keys"),
            ("aaaaaaaaaaaa", "again and again"),
            ("abc1abc1abc", "again and again"),
            ("ana.popescu1", "made of the address"),
            ("ana.popescu@firma.test", "made of the address"),
        ] {
            let found = weakness(password, "Ana.Popescu@firma.test").unwrap_or_default();
            assert!(found.contains(why), "{password}: {found:?}");
        }
        for password in [
            "correct horse battery",
            "Xk7#mQ2pLw",
            "testament der katze",
            "ana.popescu cere miere",
            "pasarea de la fereastra",
            "mv9!passw-3ord",
        ] {
            assert_eq!(weakness(password, "Ana.Popescu@firma.test"), None, "{password}");
        }
    }
}
