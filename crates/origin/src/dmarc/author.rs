//! The claimed author of a message: the domains of the From field.
//!
//! RFC 9989 §5.3.1 requires exactly one domain and leaves everything else to the receiver, and §11.5
//! names the attack: a message with a second From field, or with a From field that programs read
//! differently, presents an author whom nobody has checked. Therefore every domain counts that a mail
//! program could take for the author's:
//!
//! - A single field that a strict reader understands has the domains of its addresses, nearly always one. Address
//!   literals have none.
//! - Any other field has every domain after an `@`, even inside a name, a comment or quotes.
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
}

impl Author {
    /// Returns the domains of a message's From fields, given the text after the colon of each.
    #[must_use]
    pub fn of_fields<'b>(bodies: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let mut domains: Vec<Domain> = Vec::new();
        for body in bodies {
            for domain in domains_of(body) {
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
fn domains_of(body: &[u8]) -> Vec<Domain> {
    if let Some(addresses) = originators::addresses(body) {
        let domains = addresses.iter().filter_map(|address| address.domain().parse().ok());
        return domains.filter(|domain: &Domain| !domain.is_literal()).collect();
    }
    let text = String::from_utf8_lossy(body);
    let mut domains = Vec::new();
    for (_, rest) in text.match_indices('@').map(|(at, _)| text.split_at(at + 1)) {
        let is_name = |c: char| c.is_alphanumeric() || ".-_".contains(c);
        // White space and comments may appear between the parts of an obsolete domain (RFC 5322 §4.4).
        let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let name = rest[..end].trim_matches('.');
        if let Ok(domain) = name.parse::<Domain>()
            && domains.last() != Some(&domain)
        {
            domains.push(domain);
        }
        // One domain more than the limit is enough to know that there are too many.
        if domains.len() > MOST_READ {
            break;
        }
    }
    domains
}

/// The maximal number of domains read from a field that cannot be read strictly. Repetitions count, so
/// there are more than are kept.
const MOST_READ: usize = 64;

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
        assert_eq!(author(&[&"<a@a.test> <b@b.test>".repeat(10_000)]), "a.test b.test");
    }
}
