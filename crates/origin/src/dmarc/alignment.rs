//! What reports need to know of DMARC after the message is gone: the record of a domain as it is now, and
//! whether a domain is aligned with an author's. Reports tell the alignment of each mechanism (RFC 9990
//! §3.1.1.9), while a check ends with the first that is aligned.

use super::{
    is_within, plain,
    record::{Alignment, DmarcRecord},
    same_name,
    walk::{Published, Walker},
};
use crate::dns::{Lookup, LookupError};
use std::sync::Arc;

/// Returns the record that a domain itself publishes, if it has one that can be used.
///
/// # Errors
/// When DNS does not answer.
pub async fn published(
    dns: &dyn Lookup,
    domain: &str,
) -> Result<Option<Arc<DmarcRecord>>, LookupError> {
    Ok(match Walker::new(dns).published(domain).await? {
        Some(Published::Record(record)) => Some(record),
        Some(Published::Unusable(_)) | None => None,
    })
}

/// Compares domains, and remembers what DNS said of each: the comparisons for one report share most names.
pub struct AlignmentChecker<'d>(Walker<'d>);

impl<'d> AlignmentChecker<'d> {
    /// Returns a checker that knows nothing yet.
    #[must_use]
    pub fn new(dns: &'d dyn Lookup) -> Self {
        Self(Walker::new(dns))
    }

    /// Returns whether an authenticated domain is aligned with an author's (RFC 9989 §4.4). Identical domains
    /// need no look-up, and neither do domains that are not part of the author's organization.
    ///
    /// # Errors
    /// When DNS does not answer.
    pub async fn is_aligned(
        &mut self,
        author: &str,
        domain: &str,
        alignment: Alignment,
    ) -> Result<bool, LookupError> {
        if same_name(author, domain) {
            return Ok(true);
        }
        if alignment == Alignment::Strict {
            return Ok(false);
        }
        let organization = self.0.walk(&plain(author)).await?.organization;
        if !is_within(domain, &organization) {
            return Ok(false);
        }
        Ok(self.0.walk(&plain(domain)).await?.organization == organization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Zone, now_or_never};

    #[test]
    fn domains_of_one_organization_are_aligned() {
        let zone = Zone::default()
            .with_txt("_dmarc.x.test", "v=DMARC1; p=none; rua=mailto:a@x.test")
            .with_txt("_dmarc.own.x.test", "v=DMARC1; p=none; psd=n");
        let mut checker = AlignmentChecker::new(&zone);
        for (author, domain, alignment, expected) in [
            ("x.test", "X.test.", Alignment::Strict, true),
            ("x.test", "a.x.test", Alignment::Strict, false),
            ("x.test", "a.x.test", Alignment::Relaxed, true),
            ("b.x.test", "a.x.test", Alignment::Relaxed, true),
            ("x.test", "own.x.test", Alignment::Relaxed, false),
            ("x.test", "y.test", Alignment::Relaxed, false),
            ("x.test", "ax.test", Alignment::Relaxed, false),
        ] {
            let aligned = now_or_never(checker.is_aligned(author, domain, alignment)).unwrap();
            assert_eq!(aligned, Ok(expected), "{author} {domain}");
        }
        let record = now_or_never(published(&zone, "x.test")).unwrap().unwrap();
        assert_eq!(record.unwrap().reports.len(), 1);
        assert_eq!(now_or_never(published(&zone, "y.test")).unwrap(), Ok(None));
    }
}
