//! The DNS tree walk: from a domain up to the record that applies to it (RFC 9989 §4.10).

use super::record::{self, DmarcRecord, ReadText, Suffix};
use crate::dns::{Lookup, LookupError};
use std::{collections::HashMap, sync::Arc};

/// The maximal number of queries in one walk (RFC 9989 §4.10).
pub const QUERIES: usize = 8;

/// The content of `_dmarc` under a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    Record(Arc<DmarcRecord>),
    Unusable(Suffix),
}

impl Published {
    fn suffix(&self) -> Suffix {
        match self {
            Self::Record(record) => record.suffix,
            Self::Unusable(suffix) => *suffix,
        }
    }
}

/// A domain and its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) domain: String,
    pub(super) published: Published,
}

/// The result of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walked {
    /// The organizational domain.
    pub(super) organization: String,
    /// The record for the domain where the walk started: its own, that of its organization, or that of
    /// the public suffix (RFC 9989 §4.10.1).
    pub(super) applies: Option<Found>,
}

/// The answers so far, by the domains that were asked for.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, Result<Option<Published>, LookupError>>);

/// Walks up the tree, and remembers the answers: the walks for one message share most of their way.
pub(super) struct Walker<'d> {
    dns: &'d dyn Lookup,
    known: Known,
}

impl<'d> Walker<'d> {
    pub(super) fn new(dns: &'d dyn Lookup) -> Self {
        Self { dns, known: Known::default() }
    }

    /// Returns a walker that goes on with the answers of an earlier one.
    pub(super) fn resuming(dns: &'d dyn Lookup, known: Known) -> Self {
        Self { dns, known }
    }

    /// Returns the answers, for a later walk about the same message.
    pub(super) fn into_known(self) -> Known {
        self.known
    }

    /// Returns the record of a domain itself.
    ///
    /// # Errors
    /// When DNS does not answer.
    pub(super) async fn published(
        &mut self,
        domain: &str,
    ) -> Result<Option<Published>, LookupError> {
        if let Some(known) = self.known.0.get(domain) {
            return known.clone();
        }
        let published = self.look_up(domain).await;
        self.known.0.insert(domain.to_owned(), published.clone());
        published
    }

    async fn look_up(&self, domain: &str) -> Result<Option<Published>, LookupError> {
        let texts = match self.dns.txt(&format!("_dmarc.{domain}")).await {
            Ok(texts) => texts,
            Err(LookupError::Nothing) => Vec::new(),
            Err(LookupError::Temporary) => return Err(LookupError::Temporary),
        };
        let records = texts.iter().map(|text| record::read(text));
        let mut records = records.filter(|reading| *reading != ReadText::Other);
        // RFC 9989 §4.10: if there are several, none counts.
        Ok(match (records.next(), records.next()) {
            (Some(ReadText::Record(record)), None) => Some(Published::Record(Arc::new(*record))),
            (Some(ReadText::Unusable(suffix)), None) => Some(Published::Unusable(suffix)),
            _ => None,
        })
    }

    /// Walks up from a domain.
    ///
    /// # Errors
    /// When DNS does not answer.
    pub(super) async fn walk(&mut self, domain: &str) -> Result<Walked, LookupError> {
        let mut found = Vec::new();
        for target in targets(domain) {
            let Some(published) = self.published(target).await? else { continue };
            let suffix = published.suffix();
            found.push(Found { domain: target.to_owned(), published });
            if suffix != Suffix::Unknown {
                break;
            }
        }
        let organization = organization(domain, &found);
        // The order is: the domain's own record, then that of the organization, then that of the suffix,
        // the only one above.
        let own = found.iter().position(|one| one.domain == domain);
        let of_organization = || found.iter().position(|one| one.domain == organization);
        let of_suffix = || {
            let is_suffix = |one: &Found| one.published.suffix() == Suffix::Yes;
            found.iter().position(is_suffix)
        };
        let applies = own.or_else(of_organization).or_else(of_suffix);
        let applies = applies.map(|position| found.swap_remove(position));
        Ok(Walked { organization, applies })
    }
}

/// Returns the domains that a walk asks for, the longest first: the domain itself, then those of at most
/// seven labels.
fn targets(domain: &str) -> impl Iterator<Item = &str> {
    let labels = domain.split('.').count();
    let longest = labels.saturating_sub(1).min(QUERIES - 1);
    std::iter::once(domain).chain((1..=longest).rev().map(|labels| last_labels(domain, labels)))
}

/// Returns the last `labels` labels of a domain.
fn last_labels(domain: &str, labels: usize) -> &str {
    let dots = domain.rmatch_indices('.');
    let mut before = dots.skip(labels.saturating_sub(1)).map(|(dot, _)| dot + 1);
    &domain[before.next().unwrap_or(0)..]
}

/// Returns the organizational domain of a domain, given the records found on the way up from it (RFC
/// 9989 §4.10.2).
fn organization(domain: &str, found: &[Found]) -> String {
    for one in found {
        match one.published.suffix() {
            Suffix::No => return one.domain.clone(),
            Suffix::Yes if one.domain != domain => {
                let labels = one.domain.split('.').count() + 1;
                return last_labels(domain, labels).to_owned();
            }
            Suffix::Yes | Suffix::Unknown => {}
        }
    }
    found.last().map_or(domain, |one| &one.domain).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Zone, now_or_never};

    fn walk(zone: &Zone, domain: &str) -> (String, Option<String>) {
        let mut walker = Walker::new(zone);
        let walked = now_or_never(walker.walk(domain)).unwrap().unwrap();
        (walked.organization, walked.applies.map(|found| found.domain))
    }

    fn zone(records: &[(&str, &str)]) -> Zone {
        records.iter().fold(Zone::default(), |zone, (domain, record)| {
            zone.with_txt(&format!("_dmarc.{domain}"), record)
        })
    }

    /// The example of RFC 9989 §4.10.
    #[test]
    fn eight_queries_are_made_at_most() {
        let found: Vec<_> = targets("a.b.c.d.e.f.g.h.i.j.mail.example.com").collect();
        assert_eq!(
            found,
            [
                "a.b.c.d.e.f.g.h.i.j.mail.example.com",
                "g.h.i.j.mail.example.com",
                "h.i.j.mail.example.com",
                "i.j.mail.example.com",
                "j.mail.example.com",
                "mail.example.com",
                "example.com",
                "com",
            ]
        );
        // Appendix B.4.2 spells out another such walk.
        let found: Vec<_> = targets("a.b.c.d.e.f.g.h.i.j.k.example.com").collect();
        assert_eq!(
            found,
            [
                "a.b.c.d.e.f.g.h.i.j.k.example.com",
                "g.h.i.j.k.example.com",
                "h.i.j.k.example.com",
                "i.j.k.example.com",
                "j.k.example.com",
                "k.example.com",
                "example.com",
                "com",
            ]
        );
        assert_eq!(targets("1.2.3.4.5.6.7.8").count(), 8);
        assert_eq!(targets("2.3.4.5.6.7.8").count(), 7);
        assert_eq!(targets("com").collect::<Vec<_>>(), ["com"]);
        let zone = Zone::default();
        walk(&zone, &"a.".repeat(120).replace("a.", "x."));
        assert_eq!(zone.asked(), QUERIES);
    }

    /// The examples of RFC 9989 §4.10.2 and its appendix B.
    #[test]
    fn organizations_are_found() {
        let none = "v=DMARC1;p=none";
        let own = |domain: &str| (domain.to_owned(), Some(domain.to_owned()));
        let two = zone(&[("mail.example.com", none), ("example.com", none)]);
        assert_eq!(walk(&two, "a.mail.example.com"), own("example.com"));
        assert_eq!(
            walk(&two, "mail.example.com"),
            ("example.com".into(), Some("mail.example.com".into()))
        );
        let ended = zone(&[("mail.example.com", "v=DMARC1;p=none;psd=n"), ("example.com", none)]);
        assert_eq!(walk(&ended, "a.mail.example.com"), own("mail.example.com"));
        let suffix = zone(&[("com", "v=DMARC1;p=none;psd=y")]);
        assert_eq!(walk(&suffix, "a.mail.example.com"), ("example.com".into(), Some("com".into())));
        assert_eq!(walk(&suffix, "com"), own("com"));
        let bank =
            zone(&[("giant.bank.example", none), ("bank.example", "v=DMARC1;p=reject;psd=y")]);
        assert_eq!(walk(&bank, "giant.bank.example"), own("giant.bank.example"));
        assert_eq!(walk(&bank, "mail.giant.bank.example"), own("giant.bank.example"));
        assert_eq!(
            walk(&bank, "mail.mega.bank.example"),
            ("mega.bank.example".into(), Some("bank.example".into()))
        );
        assert_eq!(walk(&Zone::default(), "a.example.com"), ("a.example.com".into(), None));
    }

    #[test]
    fn of_several_records_none_counts() {
        let zone = zone(&[("a.test", "v=DMARC1;p=none"), ("a.test", "v=DMARC1;p=reject")]);
        assert_eq!(walk(&zone, "a.test"), ("a.test".into(), None));
        let other =
            zone.with_txt("_dmarc.b.test", "v=spf1").with_txt("_dmarc.b.test", "v=DMARC1;p=none");
        assert_eq!(walk(&other, "b.test").1.as_deref(), Some("b.test"));
    }
}
