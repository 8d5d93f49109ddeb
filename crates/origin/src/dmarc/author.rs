//! The claimed author of a message: the domains of the From field.
//!
//! RFC 9989 §5.3.1 requires exactly one domain and leaves everything else to the receiver, and §11.5
//! names the attack: a message with a second From field, or with a From field that programs read
//! differently, presents an author whom nobody has checked. Therefore every domain counts that a mail
//! program could take for the author's:
//!
//! - A name and one address in angle brackets has the domain of that address, even if the name mentions another:
//!   people take `bob@b.test via List <l@l.test>` for a message of the list. A name that is nothing but an address
//!   counts, too.
//! - Any other field that a strict reader understands has the domains of its addresses, nearly always one. Address
//!   literals have none.
//! - Any other field has every domain after an `@`, even inside a name, a comment or quotes. Programs that
//!   drop comments, white space, quotes or invisible characters within a domain (RFC 5322 §4.4 permits some)
//!   read another one. If one of them could, or there is no domain after an `@`, the author is unreadable.
//! - If there are several fields, all domains count.
//!
//! Each of these domains is checked, and the strictest outcome applies. Without any domain, as when
//! there is no From field or only a group without members (RFC 6854), there is nothing for DMARC to
//! protect.

use posta_mail::Domain;
use posta_mime::originators;

/// The maximal number of domains that are checked for one message. RFC 9989 §11.5 requires a limit.
pub const AUTHOR_DOMAINS: usize = 4;

/// The domains that a message claims to be from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// The message claims no domain.
    Nobody,
    /// The message claims these domains, at most [`AUTHOR_DOMAINS`].
    Domains(Vec<Domain>),
    /// The message claims more domains than are checked.
    TooMany,
    /// A From field has an `@`, and programs differ in the domain that follows, or find none.
    Unreadable,
}

impl Author {
    /// Returns the domains of a message's From fields, given the text after the colon of each.
    #[must_use]
    pub fn of_fields<'b>(bodies: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let mut domains: Vec<Domain> = Vec::new();
        for body in bodies {
            let found = match domains_of(body) {
                Ok(found) => found,
                Err(author) => return author,
            };
            for domain in found {
                if domains.contains(&domain) {
                    continue;
                }
                if domains.len() == AUTHOR_DOMAINS {
                    return Self::TooMany;
                }
                domains.push(domain);
            }
        }
        if domains.is_empty() { Self::Nobody } else { Self::Domains(domains) }
    }
}

/// Returns the domains of a field, possibly with repetitions.
///
/// # Errors
/// The author, if it has no domains that can be checked: too many, or unreadable ones.
fn domains_of(body: &[u8]) -> Result<Vec<Domain>, Author> {
    if let Some(address) = originators::named_address(body) {
        let domain: Domain = address.domain().parse().map_err(|_| Author::Unreadable)?;
        return Ok(if domain.is_literal() { Vec::new() } else { vec![domain] });
    }
    let text = String::from_utf8_lossy(body);
    if let Some(addresses) = originators::addresses(body) {
        // Of `ceo@victim (x).test <a@evil.test>`, programs make two different pairs of addresses.
        if addresses.len() > 1 {
            for rest in after_signs(&text)?.iter().filter(|rest| !rest.starts_with('[')) {
                domain_after(rest)?;
            }
        }
        let domains = addresses.iter().map(|address| address.domain().parse());
        let domains: Result<Vec<Domain>, _> = domains.collect();
        let domains = domains.map_err(|_| Author::Unreadable)?;
        return Ok(domains.into_iter().filter(|domain| !domain.is_literal()).collect());
    }
    let signs = after_signs(&text)?;
    let mut domains = Vec::new();
    for rest in &signs {
        domains.extend(domain_after(rest)?);
    }
    if !signs.is_empty() && domains.is_empty() {
        return Err(Author::Unreadable);
    }
    Ok(domains)
}

/// The maximal number of at signs in a field with several addresses or none that a strict reader finds.
const SIGNS: usize = 128;

/// The maximal number of characters after an at sign among which the domain must end.
const DOMAIN_TEXT: usize = 1_000;

/// Returns the text after each at sign.
///
/// # Errors
/// [`Author::TooMany`] if there are more than [`SIGNS`].
fn after_signs(text: &str) -> Result<Vec<&str>, Author> {
    let signs: Vec<_> = text.match_indices('@').take(SIGNS + 1).collect();
    if signs.len() > SIGNS {
        return Err(Author::TooMany);
    }
    Ok(signs.iter().map(|(at, _)| &text[at + 1..]).collect())
}

/// Returns the domain at the beginning of the text after an at sign. Returns none if no program can find
/// a domain with several labels there, as in `Sales @ Acme Inc`.
///
/// # Errors
/// [`Author::Unreadable`] if there is nothing, or programs differ in what there is.
fn domain_after(text: &str) -> Result<Option<Domain>, Author> {
    let plain = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let plain = plain[..plain.find(|c| !is_name(c)).unwrap_or(plain.len())].trim_matches('.');
    let joined = joined(text).ok_or(Author::Unreadable)?;
    let joined = joined.trim_matches('.');
    let has_labels = joined.contains('.');
    if joined.is_empty() || (has_labels && joined != plain) {
        return Err(Author::Unreadable);
    }
    match plain.parse() {
        Ok(domain) => Ok(Some(domain)),
        Err(_) if has_labels => Err(Author::Unreadable),
        Err(_) => Ok(None),
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || ".-_".contains(character)
}

/// Returns the domain at the beginning of a text as the most lenient program would read it, which drops
/// comments and all characters that cannot be part of a domain, up to the end of the address. Returns none
/// if that is not within [`DOMAIN_TEXT`].
fn joined(text: &str) -> Option<String> {
    let mut name = String::new();
    let (mut depth, mut is_escaped) = (0_u32, false);
    for (count, character) in text.chars().enumerate() {
        if count == DOMAIN_TEXT {
            return None;
        }
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if depth > 0 => is_escaped = true,
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            // `?` ends an encoded word.
            '<' | '>' | ',' | ';' | ':' | '@' | '?' | ')' => break,
            // Programs take these for dots (UTS #46).
            '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => name.push('.'),
            other if is_name(other) => name.push(other),
            _ => {}
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(fields: &[&str]) -> String {
        match Author::of_fields(fields.iter().map(|field| field.as_bytes())) {
            Author::Nobody => "nobody".to_owned(),
            Author::Domains(domains) => {
                domains.iter().map(Domain::as_str).collect::<Vec<_>>().join(" ")
            }
            Author::TooMany => "too many".to_owned(),
            Author::Unreadable => "unreadable".to_owned(),
        }
    }

    #[test]
    fn every_domain_that_a_program_could_show_counts() {
        for (fields, expected) in [
            (&[" Ana <ana@A.test>\r\n"][..], "a.test"),
            (&["ana@a.test, Bob <bob@a.test>"], "a.test"),
            (&["ana@a.test, Bob <bob@b.test>"], "a.test b.test"),
            (&["\"bob@b.test\" <ana@a.test>"], "a.test"),
            (&["bob@b.test <ana@a.test>"], "b.test a.test"),
            (&["bob@b.test via List <ana@a.test>"], "a.test"),
            (&["Bob, bob@b.test <ana@a.test>"], "b.test a.test"),
            (&["ana@a.test", "bob@b.test"], "a.test b.test"),
            (&["us: ana@a.test, bob@b.test;"], "a.test b.test"),
            (&["ană@poștă.test"], "xn--pot-cpa20l.test"),
            // A strict reader does not understand these.
            (&["<ana@a.test> <bob@b.test>"], "a.test b.test"),
            (&["<@b.test:ana@a.test>"], "b.test a.test"),
            (&["=?utf-8?q?bob@b.test?= <ana@a.test>"], "b.test a.test"),
            (&["\"unclosed <ana@a.test>"], "a.test"),
            (&["ana@ a.test. (\0)"], "a.test"),
            (&["", "a", "us:;", "<>", "ana@[192.0.2.1]"], "nobody"),
            (&[], "nobody"),
            (&["a@a.test, a@b.test, a@c.test, a@d.test"], "a.test b.test c.test d.test"),
            (&["a@a.test, a@b.test, a@c.test, a@d.test, a@e.test"], "too many"),
        ] {
            assert_eq!(author(fields), expected, "{fields:?}");
        }
        let latin = Author::of_fields([&b"Andr\xe9 <ana@a.test>"[..]]);
        assert_eq!(latin, Author::Domains(vec!["a.test".parse().unwrap()]));
    }

    #[test]
    fn many_domains_are_not_all_read() {
        let many: Vec<_> = (0..10_000).map(|n| format!("<a@n{n}.test>")).collect();
        assert_eq!(author(&[&many.join(" ")]), "too many");
        assert_eq!(author(&[&"<a@a.test> <b@b.test>".repeat(10_000)]), "too many");
        assert_eq!(author(&[&"<a@a.test> <b@b.test>".repeat(30)]), "a.test b.test");
        // A domain is not hidden behind many repetitions of others.
        let hidden = ["<a@a.test> <b@b.test>".repeat(64), "<a@c.test>".into()].concat();
        assert_eq!(author(&[&hidden]), "too many");
        assert_eq!(author(&[&"(@".repeat(100_000)]), "too many");
        let long = "x".repeat(1_000);
        assert_eq!(author(&[&format!("ceo@victim({long}).test")]), "unreadable");
    }

    /// Programs drop comments, quotes and what cannot be seen, or do not: each shows another author.
    #[test]
    fn domains_in_obsolete_or_hidden_forms_are_not_overlooked() {
        for field in [
            "ceo@(x)victim.test",
            "ceo@ (x (y) \\) z) victim.test",
            "ceo@\"victim.test\"",
            "ceo@\u{200b}victim.test",
            "ceo@vic\u{200b}tim.test",
            "ceo@victim (x).test",
            "ceo@victim(x).(y)test",
            "ceo@victim .test",
            "ceo@victim. test",
            "ceo@vic tim.test <a@evil.test>",
            "ceo@victim (x).test <a@evil.test>",
            "ceo@evil.test .victim.test <a@evil.test>",
            "ceo@vic\r\n tim.test",
            "ceo@victim.test (x) .evil.test",
            "ceo@victim\\.test",
            "ceo@victim\u{3002}test (\0), a@evil.test",
            "ceo@victim..test",
            "a@evil.test, ceo@(x)victim.test",
            "a@evil.test, Ceo <ceo@(x)victim.test>",
            "a@evil.test, ceo@",
            "ceo@<victim.test>",
            "<ceo@>",
            "@",
        ] {
            assert_eq!(author(&[field]), "unreadable", "{field:?}");
            assert_eq!(author(&["a@evil.test", field]), "unreadable", "{field:?}");
        }
        assert_eq!(Author::of_fields([&b"ceo@victim\xff.test"[..]]), Author::Unreadable);
        // Names that no program takes for a domain do no harm.
        for (field, expected) in [
            ("Sales @ Acme Inc. <ana@a.test>", "acme a.test"),
            ("=?utf-8?q?Sales_@_Acme?= <ana@a.test>", "_acme a.test"),
            ("'bob@b.test' <ana@a.test>", "b.test a.test"),
            ("'bob@b.test' via List <ana@a.test>", "a.test"),
            ("[bob@b.test] <ana@ a.test>", "b.test a.test"),
            ("(bob@b.test) Ana <ana@ a.test>", "b.test a.test"),
            ("ana@[192.0.2.1], bob@b.test (Bob)", "b.test"),
            ("bob@b.test (Bob) <ana@a.test>", "b.test a.test"),
        ] {
            assert_eq!(author(&[field]), expected, "{field:?}");
        }
    }
}
