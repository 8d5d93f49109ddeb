//! The sets of a chain, found in a header section (RFC 8617 §4, §5.2).

use crate::{
    body::BodyCover,
    dkim::{Algorithm, Signature, SignatureError, Tags, domain_value, signature_value},
    header::HeaderSection,
};
use std::borrow::Cow;

/// The maximal number of sets in a chain (RFC 8617 §4.2.1).
pub const INSTANCES: usize = 50;

const RESULTS: &str = "ARC-Authentication-Results";
const SIGNATURE: &str = "ARC-Message-Signature";
const SEAL: &str = "ARC-Seal";

/// The chain of a message, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The sets from the oldest to the newest; empty if there are no ARC fields, and the fault if they
    /// form no chain.
    pub(super) sets: Result<Vec<FoundSet>, Cow<'static, str>>,
    /// The highest instance in any field.
    pub(super) highest: usize,
}

/// The statement of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArcSet {
    /// The domain of the sealer.
    pub domain: String,
    /// The sealer's findings, as in an `Authentication-Results` field: its authserv-id and results.
    pub results: String,
}

/// The fields of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundSet {
    pub(super) results: usize,
    pub(super) signature: usize,
    pub(super) seal: usize,
    /// The signature over the message.
    pub(super) message: Signature,
    pub(super) sealed: Seal,
    pub(super) statement: ArcSet,
}

/// A seal, as written in its field (RFC 8617 §4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) algorithm: Algorithm,
    pub(super) domain: String,
    pub(super) selector: String,
    pub(super) signature: Vec<u8>,
    pub(super) verdict: SealVerdict,
}

/// A sealer's verdict on the chain before its own set (`cv`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SealVerdict {
    None,
    Pass,
    Fail,
}

impl Seal {
    pub(super) fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
}

impl Chain {
    /// Finds the chain of a message.
    #[must_use]
    pub fn find(header: &HeaderSection) -> Self {
        let mut slots = Slots::default();
        let outcome = slots.fill(header);
        let highest = slots.highest;
        Self { sets: outcome.and_then(|()| slots.sets(header)), highest }
    }

    /// Returns the part of the body that must be hashed, which is what the newest signature covers. The
    /// older signatures need not hold any more (RFC 8617 §5.2).
    #[must_use]
    pub fn body(&self) -> Option<BodyCover> {
        self.sets.as_ref().ok()?.last().map(|set| set.message.body)
    }

    /// Returns the names of the keys that are needed.
    #[must_use]
    pub fn key_names(&self) -> Vec<String> {
        let Ok(sets) = &self.sets else { return Vec::new() };
        let seals = sets.iter().map(|set| set.sealed.key_name());
        seals.chain(sets.last().map(|set| set.message.key_name())).collect()
    }
}

/// The positions of fields by their instances.
#[derive(Default)]
struct Slots {
    /// Results, signature and seal of each instance.
    fields: Vec<[Option<usize>; 3]>,
    highest: usize,
}

impl Slots {
    fn fill(&mut self, header: &HeaderSection) -> Result<(), Cow<'static, str>> {
        let mut outcome = Ok(());
        for (position, field) in header.fields().enumerate() {
            let names = [RESULTS, SIGNATURE, SEAL];
            let Some(kind) = names.iter().position(|name| field.is(name)) else { continue };
            let instance = match kind {
                0 => results(field.value).map(|(instance, _)| instance),
                _ => Tags::parse(field.value).ok().and_then(|tags| instance(tags.get("i")?)),
            };
            let Some(instance) = instance else {
                outcome = outcome.and(Err(format!("{} has no instance", names[kind]).into()));
                continue;
            };
            self.highest = self.highest.max(instance);
            if self.fields.len() < instance {
                self.fields.resize(instance, [None; 3]);
            }
            if self.fields[instance - 1][kind].replace(position).is_some() {
                outcome =
                    outcome.and(Err(format!("{} {instance} appears twice", names[kind]).into()));
            }
        }
        outcome
    }

    fn sets(&self, header: &HeaderSection) -> Result<Vec<FoundSet>, Cow<'static, str>> {
        let sets = self.fields.iter().enumerate().map(|(index, fields)| {
            let [Some(results), Some(signature), Some(seal)] = *fields else {
                return Err(format!("set {} is not whole", index + 1).into());
            };
            let set = read_set(header, [results, signature, seal])
                .map_err(|error| Cow::from(format!("set {}: {error}", index + 1)))?;
            // RFC 8617 §5.2: the first set says that there was no chain before, the others that it
            // passed or failed.
            match (index, set.sealed.verdict) {
                (0, SealVerdict::None) | (1.., SealVerdict::Pass) | (_, SealVerdict::Fail) => {
                    Ok(set)
                }
                _ => {
                    Err(format!("the seal of set {} has another cv than it can have", index + 1)
                        .into())
                }
            }
        });
        sets.collect()
    }
}

fn read_set(
    header: &HeaderSection,
    [results_at, signature, seal]: [usize; 3],
) -> Result<FoundSet, SignatureError> {
    let value = |position| header.get(position).map_or(&b""[..], |field| field.value);
    let tags = |position| {
        Tags::parse(value(position)).map_err(|_| SignatureError::Tags("a tag is malformed"))
    };
    let message = Signature::parse_arc(&tags(signature)?)?;
    // RFC 8617 §4.1.2: only seals cover seals.
    if message.fields.iter().any(|name| name.eq_ignore_ascii_case(SEAL)) {
        return Err(SignatureError::Invalid("h"));
    }
    let sealed = read_seal(&tags(seal)?)?;
    let text = results(value(results_at)).map_or("", |(_, text)| text);
    let statement = ArcSet { domain: sealed.domain.clone(), results: text.to_owned() };
    Ok(FoundSet { results: results_at, signature, seal, message, sealed, statement })
}

fn read_seal(tags: &Tags<'_>) -> Result<Seal, SignatureError> {
    let required = |name| tags.get(name).ok_or(SignatureError::Missing(name));
    // RFC 8617 §4.1.3: a seal with a list of fields is not valid.
    if tags.get("h").is_some() {
        return Err(SignatureError::Invalid("h"));
    }
    let verdict = match required("cv")? {
        cv if cv.eq_ignore_ascii_case("none") => SealVerdict::None,
        cv if cv.eq_ignore_ascii_case("pass") => SealVerdict::Pass,
        cv if cv.eq_ignore_ascii_case("fail") => SealVerdict::Fail,
        _ => return Err(SignatureError::Unknown("cv")),
    };
    Ok(Seal {
        algorithm: Algorithm::named(required("a")?).ok_or(SignatureError::Unknown("a"))?,
        domain: domain_value(required("d")?).ok_or(SignatureError::Invalid("d"))?,
        selector: domain_value(required("s")?).ok_or(SignatureError::Invalid("s"))?,
        signature: signature_value(required("b")?)?,
        verdict,
    })
}

/// Reads an instance: one or two digits, at most [`INSTANCES`] (RFC 8617 §4.2.1).
fn instance(text: &str) -> Option<usize> {
    let is_number =
        (1..=2).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    is_number
        .then(|| text.parse().ok())
        .flatten()
        .filter(|instance| (1..=INSTANCES).contains(instance))
}

/// Reads the value of `ARC-Authentication-Results`: the instance, and the text after it (RFC 8617
/// §4.1.1). Comments may appear around each of its parts.
fn results(value: &[u8]) -> Option<(usize, &str)> {
    let text = after_comments(str::from_utf8(value).ok()?)?;
    let text = after_comments(text.strip_prefix(['i', 'I'])?)?;
    let text = after_comments(text.strip_prefix('=')?)?;
    let digits = text.len() - text.trim_start_matches(|next: char| next.is_ascii_digit()).len();
    let instance = instance(&text[..digits])?;
    let text = after_comments(&text[digits..])?.strip_prefix(';')?;
    Some((instance, text.trim_ascii()))
}

/// Returns the text after white space and comments (RFC 5322 §3.2.2).
fn after_comments(text: &str) -> Option<&str> {
    let (mut depth, mut is_escaped) = (0_u32, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if depth > 0 => is_escaped = true,
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            ' ' | '\t' | '\r' | '\n' => {}
            _ if depth > 0 => {}
            _ => return Some(&text[at..]),
        }
    }
    (depth == 0).then_some("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_an_instance() {
        for (value, expected) in [
            (" i=1; a.test; spf=pass", Some((1, "a.test; spf=pass"))),
            ("\r\n\ti = 50 ;a", Some((50, "a"))),
            (" (one (two \\) ) ) i(x)=(y)2(z); a", Some((2, "a"))),
            ("i=1", None),
            ("i=0; a", None),
            ("i=51; a", None),
            ("i=001; a", None),
            ("i=x; a", None),
            ("(i=1; a", None),
            ("a.test; i=1", None),
        ] {
            assert_eq!(results(value.as_bytes()), expected, "{value}");
        }
    }
}
