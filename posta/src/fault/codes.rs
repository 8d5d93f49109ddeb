//! The codes of errors, with what each means and what a person does about it: a list for each subject.

mod command;
mod elsewhere;
mod mail;
mod people;
mod server;
mod store;

/// A code, what it means, and what to do about it.
pub(crate) struct Code(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

/// The codes of each subject, in alphabetical order.
const SUBJECTS: [&[Code]; 6] =
    [command::CODES, people::CODES, mail::CODES, elsewhere::CODES, server::CODES, store::CODES];

/// Returns a code by its word.
pub(crate) fn find_code(word: &str) -> Option<&'static Code> {
    SUBJECTS.into_iter().flatten().find(|Code(known, ..)| *known == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_in_order_and_explained() {
        let mut all = BTreeSet::new();
        for subject in SUBJECTS {
            assert!(subject.windows(2).all(|pair| pair[0].0 < pair[1].0));
            for Code(code, meaning, cure) in subject {
                assert!(
                    code.bytes().all(|octet| octet.is_ascii_lowercase() || b"-8".contains(&octet))
                );
                assert!(meaning.ends_with('.') && cure.ends_with('.'), "{code}");
                assert!(all.insert(*code), "{code} has two subjects");
                assert_eq!(find_code(code).map(|found| found.1), Some(*meaning));
            }
        }
        assert!(find_code("no-such-code").is_none());
    }
}
