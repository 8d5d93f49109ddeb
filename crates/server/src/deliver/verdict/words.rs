//! The words of a verdict: for the sender in the reply, for the operator in the history.

use super::Refused;
use crate::{
    deliver::checked::{Checked, SpfChecked},
    directory::senders::SenderPattern,
};
use posta_mail::{Reply, visible};
use posta_origin::{
    dmarc::DmarcError,
    header::{FIELDS, HEADER_SECTION},
    spf::SpfResult,
};

/// The maximal number of octets in the words of a reply: a reply line has 512 (RFC 5321 §4.5.3.1.5),
/// including its codes.
const REPLY: usize = 480;

/// The maximal number of octets in the history's explanation of a refusal.
const SUMMARY: usize = 1_000;

/// The maximal number of signatures that a reply mentions.
const SIGNATURES: usize = 3;

/// The reason for refusing a message because of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// DMARC fails, and the author's domain wants such mail refused.
    Dmarc,
    /// It is unknown which policy the author's domain has, or whether that domain sent the message.
    NoPolicy,
    /// The sender's domain sends no mail.
    SendsNothing,
    /// There is no From field.
    NoFrom,
    /// There is more than one From field.
    SeveralFrom,
    /// A field has NUL, or CR or LF that ends no line.
    HiddenLines,
    /// The header section is too large to be examined as a whole.
    HeaderTooLarge,
    /// A From field follows a line that is no field.
    LateFrom,
}

impl Refusal {
    /// Returns the reply to the sender.
    pub(super) fn reply(self, checked: &Checked) -> Reply {
        let author = checked.dmarc.author.as_deref().unwrap_or("the author's domain");
        match self {
            Self::Dmarc => {
                let policy = checked.dmarc.record.as_ref().map_or(author, |(domain, _)| domain);
                let words = format!(
                    "{policy} wants mail refused that is not shown to be from {author} (DMARC p=reject). {}",
                    found(checked)
                );
                Reply::new(550, (5, 7, 1), cut(words, REPLY))
            }
            Self::NoPolicy => {
                let error = checked.dmarc.error.as_ref();
                let error = error.map(ToString::to_string).unwrap_or_default();
                let words = format!(
                    "It cannot be found out whether {author} sent this: {error}. Try again later"
                );
                Reply::new(451, (4, 7, 0), cut(words, REPLY))
            }
            Self::SendsNothing => {
                let domain = checked.spf.as_ref().map_or("the domain", SpfChecked::domain);
                let words = format!("{domain} sends no mail: its SPF record is v=spf1 -all");
                Reply::new(550, (5, 7, 1), cut(words, REPLY))
            }
            Self::NoFrom => {
                Reply::new(550, (5, 6, 0), "The message has no From field (RFC 5322 section 3.6)")
            }
            Self::SeveralFrom => {
                let words = "The message has more than one From field (RFC 5322 section 3.6)";
                Reply::new(550, (5, 6, 0), words)
            }
            Self::HiddenLines => {
                let words = "A header field has NUL, or CR or LF alone (RFC 5322 section 2.2)";
                Reply::new(550, (5, 6, 0), words)
            }
            Self::HeaderTooLarge => {
                let words = format!(
                    "The header section is too large: it may have {} KiB and {FIELDS} fields",
                    HEADER_SECTION / 1024
                );
                Reply::new(550, (5, 6, 0), words)
            }
            Self::LateFrom => {
                let words =
                    "A From field follows a line that is no header field (RFC 5322 section 2.2)";
                Reply::new(550, (5, 6, 0), words)
            }
        }
    }
}

/// Returns the reason for which a message goes to the folder for junk.
pub(super) fn quarantined(checked: &Checked) -> String {
    let author = checked.dmarc.author.as_deref();
    match (author, &checked.dmarc.record) {
        (Some(author), Some((policy, _))) => cut(
            format!(
                "{policy} wants that of mail that is not shown to be from {author}. {}",
                found(checked)
            ),
            SUMMARY,
        ),
        _ if checked.dmarc.error == Some(DmarcError::UnreadableAuthor) => {
            "mail programs could read different domains in its From field".to_owned()
        }
        _ => "it claims to be from too many domains to check them".to_owned(),
    }
}

/// Returns the results of SPF and DKIM. None that passed is aligned, since DMARC would pass otherwise.
fn found(checked: &Checked) -> String {
    let mut words = match &checked.spf {
        None => "SPF: the client is not known".to_owned(),
        Some(spf) => {
            let result = spf.outcome.result;
            let aligned = if result == SpfResult::Pass { ", which is not aligned" } else { "" };
            format!("SPF: {result} for {}{aligned}", spf.domain())
        }
    };
    if checked.dkim.is_empty() {
        words.push_str(". DKIM: no signature");
    }
    for verified in checked.dkim.iter().take(SIGNATURES) {
        let result = verified.result.name();
        let domain = verified.signature.as_ref().map_or("a signature", |it| &it.domain);
        words.push_str(&format!(". DKIM: {result} for {domain}"));
        match &verified.reason {
            reason if !reason.is_empty() => words.push_str(&format!(" ({reason})")),
            _ if result == "pass" => words.push_str(", which is not aligned"),
            _ => {}
        }
    }
    words
}

/// Returns the refusal of a sender that a list blocks. The reply does not reveal which list that is.
pub(super) fn blocked(sender: &SenderPattern) -> Refused {
    let reply = Reply::new(550, (5, 7, 1), "The recipient takes no mail from this sender");
    Refused { reply, why: Some(format!("{sender} is blocked")) }
}

/// Returns all results, for the history of a message that is refused.
pub(super) fn summary(checked: &Checked) -> String {
    let results = checked.results();
    let told = results.iter().map(|told| match told.about.as_str() {
        "" => format!("{} {}", told.method, told.result),
        about => format!("{} {} for {about}", told.method, told.result),
    });
    cut(told.collect::<Vec<_>>().join(", "), SUMMARY)
}

/// Cuts a text, and escapes characters that cannot be seen or sent: names in it come from strangers.
fn cut(text: String, octets: usize) -> String {
    let mut text = match text.is_ascii() {
        true => text,
        false => text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect(),
    };
    text = visible::escaped(&text).into_owned();
    text.truncate(octets);
    text
}
