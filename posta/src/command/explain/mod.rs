//! `posta explain`.

mod codes;

use crate::fault::{self, Code, fail};
use crate::output::{say, say_styled};
use anstyle::Style;
use anyhow::Result;
use clap::Args;
use codes::{CODES, DETAILS, Meaning};

/// Explain a reply code (452), an enhanced status code (4.2.2) or the code of an error (no-such-account), and what to
/// do about it.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The code to explain.
    code: String,
}

const TITLE: Style = Style::new().bold();

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let code = arguments.code.trim();
    if let Some((_, meaning)) = code.parse().ok().and_then(reply_code) {
        print(code, meaning, None);
        return Ok(());
    }
    let word = code.trim_matches(['[', ']']);
    if let Some(Code(_, meaning, cure)) = fault::find_code(word) {
        say_styled!("{TITLE}{word}{TITLE:#}  {meaning}");
        say!("do   {cure}");
        return Ok(());
    }
    let Some((class, detail)) = code.split_once('.') else {
        fail!(
            "unknown-code",
            "{code:?} is no code that Posta or RFC 5321 knows: try 452, 4.2.2, or the word in brackets behind an error"
        );
    };
    let class = match class {
        "2" => "Success.",
        "4" => "A persistent transient failure: the same message may succeed later.",
        "5" => "A permanent failure: the same message will not succeed.",
        _ => fail!("unknown-code", "an enhanced status code begins with 2, 4 or 5, as 4.2.2 does"),
    };
    match DETAILS.iter().find(|(known, _)| *known == detail) {
        Some((_, meaning)) => print(code, meaning, Some(class)),
        None => {
            fail!(
                "unknown-code",
                "{code} is not a status that Posta knows. {class} See RFC 3463 §3"
            )
        }
    }
    Ok(())
}

fn reply_code(code: u16) -> Option<&'static (u16, Meaning)> {
    CODES.iter().find(|(known, _)| *known == code)
}

/// Returns the meaning of a reply code, in a sentence.
pub(crate) fn reply_meaning(code: u16) -> Option<&'static str> {
    reply_code(code).map(|(_, meaning)| meaning.what)
}

/// Returns the meaning of an enhanced status code's second and third number, such as `2.2`, in a sentence.
pub(crate) fn status_meaning(detail: &str) -> Option<&'static str> {
    DETAILS.iter().find(|(known, _)| *known == detail).map(|(_, meaning)| meaning.what)
}

fn print(code: &str, meaning: &Meaning, class: Option<&str>) {
    say_styled!("{TITLE}{code}{TITLE:#}  {}", meaning.what);
    if let Some(class) = class {
        say!("     {class}");
    }
    say!("sent {}", meaning.who);
    say!("do   {}", meaning.cure);
    say!("see  {}", meaning.source);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_the_server_may_send_is_explained() {
        for code in [
            211, 214, 220, 221, 235, 250, 251, 252, 334, 354, 421, 432, 450, 451, 452, 454, 455,
            500, 501, 502, 503, 504, 521, 530, 534, 535, 538, 550, 551, 552, 553, 554, 555, 556,
        ] {
            let (_, meaning) = reply_code(code).unwrap_or_else(|| panic!("{code}"));
            assert!(meaning.source.contains("RFC"), "{code} names its source");
        }
        assert!(reply_code(299).is_none());
    }

    #[test]
    fn refusals_that_follow_from_checks_of_the_sender_are_explained() {
        for detail in ["7.20", "7.21", "7.22", "7.23", "7.24", "7.25", "7.26", "7.27"] {
            assert!(status_meaning(detail).is_some(), "{detail}");
        }
    }

    #[test]
    fn tables_are_in_order_and_without_repetition() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let number = |detail: &str| {
            let (subject, detail) = detail.split_once('.').unwrap();
            (subject.parse::<u16>().unwrap(), detail.parse::<u16>().unwrap())
        };
        assert!(DETAILS.windows(2).all(|pair| number(pair[0].0) < number(pair[1].0)));
    }
}
