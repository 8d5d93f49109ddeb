//! The letters for flags in the names of a Maildir's files, and Dovecot's file with the names of keywords.

use posta_server::collect::plain_files::{self, OpenDirectory};
use posta_store::Keyword;
use std::ffi::OsStr;

/// The file in which Dovecot keeps the names of a folder's keywords.
pub(super) const KEYWORDS_FILE: &str = "dovecot-keywords";

/// The most octets of that file that are read.
const KEYWORDS_OCTETS: u64 = 64 * 1024;

/// The most keywords in a folder: one for each letter from `a`.
const KEYWORDS: usize = 26;

/// The other letters, in their order, and the flags and keywords that they mean.
const LETTERS: [(u8, &str); 6] = [
    (b'D', "draft"),
    (b'F', "flagged"),
    (b'P', "$forwarded"),
    (b'R', "answered"),
    (b'S', "seen"),
    (b'T', "deleted"),
];

/// The letters of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letters {
    /// The keywords of the letters from `a`.
    keywords: Vec<Option<String>>,
}

impl Letters {
    /// Reads the names of a folder's keywords, if it has any.
    pub(super) fn read(folder: &OpenDirectory) -> Self {
        let octets = folder.file(OsStr::new(KEYWORDS_FILE));
        let octets = octets.and_then(|file| plain_files::read(file, KEYWORDS_OCTETS));
        // Without the file, as with other servers than Dovecot, the letters mean nothing.
        Self::parse(&String::from_utf8_lossy(&octets.unwrap_or_default()))
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut keywords = vec![None; KEYWORDS];
        for line in text.lines() {
            let Some((number, keyword)) = line.split_once(' ') else { continue };
            let at = number.parse().unwrap_or(usize::MAX);
            let is_keyword = keyword.parse::<Keyword>().is_ok();
            if let Some(place) = keywords.get_mut(at).filter(|_| is_keyword) {
                *place = Some(keyword.to_owned());
            }
        }
        Self { keywords }
    }

    /// Returns the text of the file.
    pub(super) fn text(&self) -> String {
        let named = self.keywords.iter().enumerate();
        let named =
            named.filter_map(|(at, name)| name.as_ref().map(|name| format!("{at} {name}\n")));
        named.collect()
    }

    /// Returns the flags and keywords that letters mean. Others mean nothing.
    pub(super) fn flags(&self, letters: &[u8]) -> Vec<String> {
        let flag = |letter: &u8| match letter {
            b'a'..=b'z' => self.keywords[usize::from(letter - b'a')].clone(),
            letter => {
                let known = LETTERS.iter().find(|(known, _)| known == letter);
                known.map(|(_, flag)| (*flag).to_owned())
            }
        };
        letters.iter().filter_map(flag).collect()
    }

    /// Returns the letters for flags and keywords, in their order. A new keyword gets the next letter. Returns also
    /// whether there is none left for one of them.
    pub(super) fn letters(&mut self, flags: &[String]) -> (String, bool) {
        let (mut letters, mut is_full) = (String::new(), false);
        for flag in flags {
            let known = LETTERS.iter().find(|(_, known)| known == flag);
            match known.map(|(letter, _)| *letter).or_else(|| self.keyword(flag)) {
                Some(letter) => letters.push(char::from(letter)),
                None => is_full = true,
            }
        }
        let mut sorted: Vec<_> = letters.chars().collect();
        sorted.sort_unstable();
        sorted.dedup();
        (sorted.into_iter().collect(), is_full)
    }

    fn keyword(&mut self, keyword: &str) -> Option<u8> {
        let is_it = |name: &&str| name.eq_ignore_ascii_case(keyword);
        let known = self.keywords.iter().position(|name| name.as_deref().filter(is_it).is_some());
        let at = known.or_else(|| self.keywords.iter().position(Option::is_none))?;
        self.keywords[at].get_or_insert_with(|| keyword.to_owned());
        u8::try_from(at).ok().map(|at| b'a' + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_mean_flags() {
        let mut letters = Letters::parse("0 $work\n2 junk\n27 x\nx y\n3 a(b\n");
        assert_eq!(
            letters.flags(b"DFPRSTabcx"),
            ["draft", "flagged", "$forwarded", "answered", "seen", "deleted", "$work", "junk"]
        );
        let flags = ["seen", "$other", "draft", "$Work"].map(str::to_owned);
        assert_eq!(letters.letters(&flags), ("DSab".to_owned(), false));
        assert_eq!(letters.text(), "0 $work\n1 $other\n2 junk\n");
        let many: Vec<_> = (0..30).map(|number| format!("k{number}")).collect();
        let (_, is_full) = letters.letters(&many);
        assert!(is_full);
        assert_eq!(Letters::parse(&letters.text()), letters);
    }
}
