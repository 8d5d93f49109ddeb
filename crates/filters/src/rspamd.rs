//! rspamd over HTTP: the fields of the request `/checkv2`, and the meaning of the reply.
//!
//! | action          | treatment of the message    |
//! |-----------------|-----------------------------|
//! | `reject`        | refused, in rspamd's words if it has some |
//! | `soft reject`   | refused for now, as for greylisting |
//! | `add header`    | Junk, with the field `X-Spam: Yes` |
//! | `rewrite subject` | accepted, with rspamd's subject |
//! | `quarantine`    | quarantine |
//! | `discard`       | Junk: nothing is dropped in silence |
//! | `greylist`, `no action` | accepted: rspamd itself says `soft reject` while its greylisting wants the sender to wait |
//!
//! Fields that rspamd adds and removes (the section `milter` of its reply) are obeyed in each case.

use crate::{
    changes::{CHANGES, FieldEdit, HeaderChanges, OCTETS, Occurrence},
    facts::MessageFacts,
    fields::NewField,
    verdict::{FilterAction, FilterVerdict, one_line, reply_words},
};
use posta_mail::Reply;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The path of the request.
pub const PATH: &str = "/checkv2";

/// The maximal number of octets read of a reply. A reply about a message with many addresses has some tens of
/// thousands.
pub const REPLY: usize = 1024 * 1024;

/// The number of symbols that the history names, those with the highest scores.
const NAMED: usize = 8;

/// The maximal number of recipients that a request names. Each is a field, and HTTP servers accept a limited
/// number.
const RECIPIENTS: usize = 100;

/// Returns the fields of the request, each as its name and its value. A value may have octets outside ASCII.
#[must_use]
pub fn request_fields(facts: &MessageFacts) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("Queue-Id", facts.id.clone()),
        ("MTA-Name", facts.hostname.clone()),
        ("MTA-Tag", "posta".to_owned()),
        ("From", facts.sender_address().to_owned()),
        ("Helo", facts.hello.clone()),
        ("Milter", "Yes".to_owned()),
    ];
    if let Some(ip) = facts.client.ip() {
        fields.push(("IP", ip.to_string()));
        // "unknown" is what sendmail says of a client without a name, and rspamd understands.
        fields
            .push(("Hostname", facts.client_name.clone().unwrap_or_else(|| "unknown".to_owned())));
    }
    let mut named = BTreeSet::new();
    let recipients = facts.recipients.iter().map(|to| to.to_string());
    let recipients = recipients.filter(|to| named.insert(to.clone())).take(RECIPIENTS);
    fields.extend(recipients.map(|to| ("Rcpt", to)));
    fields.extend(facts.account.iter().map(|account| ("User", account.to_string())));
    if let Some((version, cipher)) = facts.tls_parts() {
        fields.push(("TLS-Version", version.to_owned()));
        fields.push(("TLS-Cipher", cipher.to_owned()));
    }
    fields
}

/// rspamd's reply is not understood.
#[derive(Debug, thiserror::Error)]
pub enum RspamdError {
    /// It is not JSON of the protocol's form.
    #[error("its reply is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// rspamd could not check the message.
    #[error("it could not check the message: {0}")]
    Failed(String),
    /// The reply wants more changes than a filter may make.
    #[error("it wants more than {CHANGES} changes, or more than {OCTETS} octets of fields")]
    TooMuch,
    /// The action is unknown.
    #[error("it answered the action {0:?}, which is not known")]
    Action(String),
}

#[derive(Deserialize)]
struct Checked {
    #[serde(default)]
    action: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    required_score: f64,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    symbols: BTreeMap<String, Symbol>,
    #[serde(default)]
    messages: Messages,
    #[serde(default)]
    milter: Changes,
}

#[derive(Deserialize)]
struct Symbol {
    #[serde(default)]
    score: f64,
}

#[derive(Default)]
struct Messages(Option<String>);

impl<'de> Deserialize<'de> for Messages {
    /// Without messages some versions write an empty array.
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        let message = value.get("smtp_message").and_then(|message| message.as_str());
        Ok(Self(message.map(str::to_owned)))
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Changes {
    add_headers: BTreeMap<String, Several<Added>>,
    remove_headers: BTreeMap<String, Several<i64>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Several<T> {
    One(T),
    Many(Vec<T>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Added {
    Plain(String),
    Ordered { value: String },
}

impl<T> Several<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Reads rspamd's reply about a message.
///
/// # Errors
/// When it cannot be understood, or reports an error.
pub fn verdict(reply: &[u8]) -> Result<FilterVerdict, RspamdError> {
    let checked: Checked = serde_json::from_slice(reply)?;
    if let Some(error) = &checked.error {
        return Err(RspamdError::Failed(one_line(error)));
    }
    let mut verdict = FilterVerdict::new(action(&checked)?, said(&checked));
    let (changes, ignored) = (&mut verdict.changes, &mut verdict.ignored);
    removals(&checked.milter, changes, ignored);
    for (name, values) in &checked.milter.add_headers {
        for added in values.as_slice() {
            let (Added::Plain(value) | Added::Ordered { value }) = added;
            match NewField::new(name.as_bytes(), value.as_bytes()) {
                Ok(field) => changes.added.push(field),
                Err(error) => ignored.push(format!("to add a field: {error}")),
            }
        }
    }
    match checked.action.as_str() {
        "add header" => changes.added.extend(NewField::new(b"X-Spam", b"Yes")),
        "rewrite subject" => changes.edits.extend(checked.subject.as_deref().and_then(new_subject)),
        _ => {}
    }
    if changes.are_too_many() {
        return Err(RspamdError::TooMuch);
    }
    ignored.truncate(NAMED);
    Ok(verdict)
}

fn action(checked: &Checked) -> Result<FilterAction, RspamdError> {
    let words = checked.messages.0.as_deref().map(reply_words).filter(|words| !words.is_empty());
    let reply = |code, status, usual: &str| {
        let words = words.clone().unwrap_or_else(|| usual.to_owned());
        FilterAction::Refuse(Reply::new(code, status, words))
    };
    Ok(match checked.action.as_str() {
        "reject" => reply(554, (5, 7, 1), "Refused as spam"),
        "soft reject" => reply(451, (4, 7, 1), "Try again later"),
        "add header" | "discard" => FilterAction::Junk,
        "rewrite subject" | "greylist" | "no action" => FilterAction::Accept,
        "quarantine" => FilterAction::Quarantine(said(checked)),
        other => return Err(RspamdError::Action(one_line(other))),
    })
}

/// Returns the reply in words: the action, the score, and the symbols that raised it most.
fn said(checked: &Checked) -> String {
    let Checked { action, score, required_score, .. } = checked;
    let mut symbols: Vec<_> =
        checked.symbols.iter().map(|(name, symbol)| (name, symbol.score)).collect();
    symbols.retain(|(_, score)| *score != 0.0);
    symbols.sort_by(|one, other| other.1.total_cmp(&one.1));
    let named: Vec<_> =
        symbols.iter().take(NAMED).map(|(name, score)| format!("{name} {score:.1}")).collect();
    let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
    one_line(&format!("{action}, score {score:.1} of {required_score:.1}{named}"))
}

fn removals(milter: &Changes, changes: &mut HeaderChanges, ignored: &mut Vec<String>) {
    for (name, numbers) in &milter.remove_headers {
        for &number in numbers.as_slice() {
            let which = match u32::try_from(number) {
                Ok(0) => Occurrence::All,
                Ok(number) => Occurrence::Nth(number),
                Err(_) => {
                    ignored.push(format!("to remove {}, counted from the end", one_line(name)));
                    continue;
                }
            };
            changes.edits.push(FieldEdit { name: name.clone(), which, new: None });
        }
    }
}

fn new_subject(subject: &str) -> Option<FieldEdit> {
    let new = NewField::new(b"Subject", subject.as_bytes()).ok()?;
    Some(FieldEdit { name: "Subject".to_owned(), which: Occurrence::Nth(1), new: Some(new) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(reply: &str) -> FilterVerdict {
        verdict(reply.as_bytes()).unwrap()
    }

    #[test]
    fn each_recipient_is_named_once_and_not_too_many() {
        let recipients = (0..300).map(|n| format!("r{}@x.test", n / 2).parse().unwrap());
        let facts = MessageFacts {
            id: "id1".into(),
            hostname: "mx.x.test".into(),
            client: posta_mail::ClientAddress::Unknown,
            client_name: None,
            hello: "c.test".into(),
            tls: None,
            account: None,
            sender: posta_mail::ReversePath::Null,
            recipients: recipients.collect(),
            octets: 1,
        };
        let fields = request_fields(&facts);
        let named: Vec<_> = fields.iter().filter(|(name, _)| *name == "Rcpt").collect();
        assert_eq!(named.len(), RECIPIENTS);
        assert_eq!((named[0].1.as_str(), named[1].1.as_str()), ("r0@x.test", "r1@x.test"));
    }

    #[test]
    fn each_action_is_known() {
        let refused = |code, status, words: &'static str| {
            FilterAction::Refuse(Reply::new(code, status, words))
        };
        for (reply, action) in [
            (r#"{"action":"reject"}"#, refused(554, (5, 7, 1), "Refused as spam")),
            (
                r#"{"action":"reject","messages":{"smtp_message":"Gtube\r\npattern"}}"#,
                refused(554, (5, 7, 1), "Gtube pattern"),
            ),
            (
                r#"{"action":"soft reject","messages":[]}"#,
                refused(451, (4, 7, 1), "Try again later"),
            ),
            (r#"{"action":"add header"}"#, FilterAction::Junk),
            (r#"{"action":"discard"}"#, FilterAction::Junk),
            (r#"{"action":"greylist"}"#, FilterAction::Accept),
            (r#"{"action":"no action"}"#, FilterAction::Accept),
            (r#"{"action":"rewrite subject","subject":"x"}"#, FilterAction::Accept),
            (
                r#"{"action":"quarantine","score":7}"#,
                FilterAction::Quarantine("quarantine, score 7.0 of 0.0".into()),
            ),
        ] {
            assert_eq!(of(reply).action, action, "{reply}");
        }
        for wrong in ["", "[]", "{}", r#"{"action":"x"}"#, r#"{"action":"reject","error":"e"}"#] {
            assert!(verdict(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn scores_are_told() {
        let reply = r#"{"action":"reject","score":16.5,"required_score":15.0,"is_skipped":false,
            "symbols":{"A":{"name":"A","score":0.0},"B":{"score":-1.0},"GTUBE":{"score":15.5}}}"#;
        assert_eq!(of(reply).said, "reject, score 16.5 of 15.0: GTUBE 15.5, B -1.0");
    }

    #[test]
    fn fields_are_added_and_removed() {
        let reply = r#"{"action":"rewrite subject","subject":"*** SPAM *** știre","milter":{
            "add_headers":{"X-A":{"value":"1","order":1},"X-B":["2",{"value":"3\n 4","order":0}],"X C":"5"},
            "remove_headers":{"X-Spam":0,"X-D":[1,2],"X-E":-1}}}"#;
        let verdict = of(reply);
        let added: Vec<_> = verdict
            .changes
            .added
            .iter()
            .map(|field| String::from_utf8_lossy(field.as_bytes()))
            .collect();
        assert_eq!(added, ["X-A: 1\r\n", "X-B: 2\r\n", "X-B: 3\r\n 4\r\n"]);
        let edits: Vec<_> =
            verdict.changes.edits.iter().map(|edit| (edit.name.as_str(), edit.which)).collect();
        let nth = Occurrence::Nth;
        let all = Occurrence::All;
        assert_eq!(edits, [("X-D", nth(1)), ("X-D", nth(2)), ("X-Spam", all), ("Subject", nth(1))]);
        assert_eq!(verdict.ignored.len(), 2);
        let junk = of(r#"{"action":"add header"}"#);
        assert_eq!(junk.changes.added[0].as_bytes(), b"X-Spam: Yes\r\n");
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_parser(reply in r#"(\{|\}|"action"|"reject"|:|,|\[|\]|"milter"|"add_headers"|[^a]){0,20}"#) {
            let _ = verdict(reply.as_bytes());
        }
    }
}
