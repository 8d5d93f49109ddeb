//! What the header section of a message says about answering it: whether a program sent it, whom it is addressed to, and
//! what an answer refers to.
//!
//! The section is read as text, and no address in it is relied on: that one of the owner's addresses is named keeps an
//! answer from mail that was sent to many, no more.

use posta_mail::Address;
use posta_mime::header::header_section;

/// The most words in To and Cc among which addresses are looked for.
const WORDS: usize = 2_000;

/// The maximal number of characters of a subject that is repeated.
const SUBJECT: usize = 300;

/// The facts about a message that an answer depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HeaderFacts {
    /// Whether a list or a program sent the message, or a sender who wants no answers.
    pub(super) forbids_answers: bool,
    /// The addresses in To and Cc.
    pub(super) addressed: Vec<Address>,
    /// The value of the Subject field; empty if there is none.
    pub(super) subject: String,
    /// The value of the References field, or of In-Reply-To if there is none.
    pub(super) references: Option<String>,
}

impl HeaderFacts {
    /// Reads the facts from the beginning of a message.
    pub(super) fn read(beginning: &[u8]) -> Self {
        let mut facts = Self::default();
        let mut in_reply_to = None;
        let mut words = 0;
        for (name, value) in fields(header_section(beginning)) {
            facts.forbids_answers |= forbids(&name, &value.to_ascii_lowercase());
            match name.as_str() {
                "to" | "cc" | "resent-to" | "resent-cc" => {
                    for word in value.split(is_delimiter) {
                        words += 1;
                        if words <= WORDS && word.contains('@') {
                            facts.addressed.extend(word.parse::<Address>());
                        }
                    }
                }
                "subject" if facts.subject.is_empty() => facts.subject = shortened(&value),
                "references" => facts.references = Some(value),
                "in-reply-to" => in_reply_to = Some(value),
                _ => {}
            }
        }
        facts.references = facts.references.or(in_reply_to);
        facts
    }
}

/// Returns whether a sender's address is that of a program (RFC 3834 §2), judged by its name.
pub(super) fn is_program(sender: &Address) -> bool {
    let name = sender.local_part().to_lowercase();
    name.starts_with("owner-")
        || name.starts_with("bounce")
        || ["-request", "-owner", "-bounces", "-bounce", "-errors"]
            .iter()
            .any(|end| name.ends_with(end))
        || ["mailer-daemon", "noreply", "no-reply", "no_reply", "donotreply", "do-not-reply"]
            .iter()
            .any(|part| name.contains(part))
}

/// Returns whether a field tells that its message is not to be answered automatically. The value is in lower case.
fn forbids(name: &str, value: &str) -> bool {
    match name {
        // RFC 3834 §5. A comment or a parameter may follow.
        "auto-submitted" => value.split([' ', ';', '(']).next() != Some("no"),
        "precedence" => ["bulk", "list", "junk", "auto_reply"].iter().any(|it| value.contains(it)),
        // What Exchange sends: RFC 3834 has no name for it.
        "x-auto-response-suppress" => {
            ["all", "oof", "autoreply"].iter().any(|it| value.contains(it))
        }
        "x-autoreply" | "x-autorespond" | "mailing-list" => true,
        // Reports of delivery and of reading.
        "content-type" => value.starts_with("multipart/report"),
        // RFC 2369, RFC 2919, RFC 8058.
        name => name.starts_with("list-"),
    }
}

/// Returns the fields, their names in lower case and their values unfolded.
fn fields(header: &[u8]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in header.split(|&octet| octet == b'\n') {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    fields
}

fn is_delimiter(character: char) -> bool {
    character.is_whitespace() || "<>,;:()\"[]".contains(character)
}

/// Returns the beginning of a subject, up to a space.
fn shortened(subject: &str) -> String {
    match subject.char_indices().nth(SUBJECT) {
        None => subject.to_owned(),
        Some((end, _)) => {
            let beginning = &subject[..end];
            let end = beginning.rfind(' ').unwrap_or(end);
            format!("{} …", &beginning[..end])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> HeaderFacts {
        HeaderFacts::read(format!("{fields}\r\nbody: x\r\n").as_bytes())
    }

    #[test]
    fn programs_and_lists_are_not_answered() {
        for field in [
            "Auto-Submitted: auto-generated",
            "auto-submitted: AUTO-REPLIED; owner-email=\"x\"",
            "Auto-Submitted: ",
            "List-Id: <a.test>",
            "LIST-Unsubscribe:\r\n <https://a.test>",
            "Mailing-List: a",
            "Precedence: bulk",
            "Precedence:\r\n\tList",
            "Precedence: junk",
            "X-Auto-Response-Suppress: DR, OOF",
            "Content-Type: multipart/report; report-type=delivery-status",
        ] {
            assert!(read(&format!("Subject: s\r\n{field}\r\n")).forbids_answers, "{field}");
        }
        for field in [
            "Auto-Submitted: no",
            "Auto-Submitted: No (a person)",
            "Precedence: first-class",
            "X-Auto-Response-Suppress: DR",
            "Listing: a",
            "Content-Type: multipart/mixed",
            "Subject: List-Id: a",
        ] {
            assert!(!read(&format!("{field}\r\n")).forbids_answers, "{field}");
        }
        assert!(!read("Subject: s\r\n\r\nList-Id: a\r\n").forbids_answers, "the body says nothing");
    }

    #[test]
    fn senders_that_are_programs_are_known_by_name() {
        for (name, expected) in [
            ("owner-list", true),
            ("list-request", true),
            ("list-bounces+ana", false),
            ("bounces+ana=x.test", true),
            ("MAILER-DAEMON", true),
            ("no-reply", true),
            ("shop.noreply", true),
            ("sue", false),
            ("ownership", false),
        ] {
            assert_eq!(is_program(&format!("{name}@y.test").parse().unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn addressees_and_what_an_answer_repeats_are_found() {
        let facts = read(
            "To: \"Ana, Pop\" <Ana@x.test>, group:bob@x.test;\r\nCC:\r\n\tinfo@x.test (Info)\r\n\
             Bcc: eva@x.test\r\nsubject: one\r\n two\r\nIn-Reply-To: <1@y.test>\r\nReferences: <0@y.test>\r\n\t<1@y.test>\r\n",
        );
        let addressed: Vec<_> = facts.addressed.iter().map(Address::as_str).collect();
        assert_eq!(addressed, ["Ana@x.test", "bob@x.test", "info@x.test"]);
        assert_eq!(facts.subject, "one two");
        assert_eq!(facts.references.as_deref(), Some("<0@y.test> <1@y.test>"));
        let facts = read("In-Reply-To: <1@y.test>\r\n");
        assert_eq!((facts.references.as_deref(), facts.subject.as_str()), (Some("<1@y.test>"), ""));
        let long = read(&format!("Subject: {}\r\n", "word ".repeat(100))).subject;
        assert!(long.ends_with("word …") && long.len() < 310, "{long}");
        let many = read(&format!("To: {}\r\n", "a@x.test,".repeat(5_000)));
        assert!(many.addressed.len() <= WORDS);
        assert_eq!(read("\u{0}\r\n:\r\n x\r\n").addressed.len(), 0);
    }
}
