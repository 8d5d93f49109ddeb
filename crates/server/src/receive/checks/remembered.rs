//! The answers of DNS for one message, so that no question is asked twice. The search for the author's policy
//! begins before the results of SPF and DKIM are known, and is repeated with them.

use parking_lot::Mutex;
use posta_origin::dns::{Check, Family, Lookup, LookupError, Query};
use std::{future::ready, net::IpAddr, sync::Arc};

/// The maximal number of answers that are remembered for a message: those of a few walks up the tree and of
/// eight keys.
const ANSWERS: usize = 48;

/// The maximal number of octets of text in an answer that is remembered. Policies and keys have fewer; a longer
/// answer is asked for again.
const OCTETS: usize = 2 * 1024;

type Answer = Result<Vec<String>, LookupError>;

/// Asks DNS, and remembers texts.
pub(super) struct Remembered {
    dns: Arc<dyn Lookup>,
    texts: Mutex<Vec<(String, Answer)>>,
}

impl Remembered {
    /// Returns a memory without answers.
    pub(super) fn new(dns: Arc<dyn Lookup>) -> Self {
        Self { dns, texts: Mutex::default() }
    }

    fn known(&self, name: &str) -> Option<Answer> {
        let texts = self.texts.lock();
        texts.iter().find(|(known, _)| known == name).map(|(_, answer)| answer.clone())
    }

    fn remember(&self, name: &str, answer: &Answer) {
        let octets = |texts: &Vec<String>| texts.iter().map(String::len).sum::<usize>();
        let mut texts = self.texts.lock();
        if texts.len() < ANSWERS && answer.as_ref().map_or(0, octets) <= OCTETS {
            texts.push((name.to_owned(), answer.clone()));
        }
    }
}

impl Lookup for Remembered {
    fn txt<'a>(&'a self, name: &'a str) -> Query<'a, String> {
        if let Some(known) = self.known(name) {
            return Box::pin(ready(known));
        }
        Box::pin(async move {
            let answer = self.dns.txt(name).await;
            self.remember(name, &answer);
            answer
        })
    }

    fn addresses<'a>(&'a self, host: &'a str, family: Family) -> Query<'a, IpAddr> {
        self.dns.addresses(host, family)
    }

    fn mx<'a>(&'a self, domain: &'a str) -> Query<'a, (u16, String)> {
        self.dns.mx(domain)
    }

    fn ptr(&self, address: IpAddr) -> Query<'_, String> {
        self.dns.ptr(address)
    }

    fn exists<'a>(&'a self, name: &'a str) -> Check<'a> {
        self.dns.exists(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_origin::dns::{Record, Zone};

    #[tokio::test]
    async fn nothing_is_asked_for_twice() {
        let large = "x".repeat(OCTETS + 1);
        let zone = Zone::default()
            .with_txt("a.test", "text")
            .with_txt("large.test", &large)
            .with("slow.test", Record::Failure);
        let zone = Arc::new(zone);
        let remembered = Remembered::new(zone.clone());
        for (name, answer) in [
            ("a.test", Ok(vec!["text".to_owned()])),
            ("b.test", Err(LookupError::Nothing)),
            ("slow.test", Err(LookupError::Temporary)),
        ] {
            let before = zone.asked();
            assert_eq!(remembered.txt(name).await, answer, "{name}");
            assert_eq!(remembered.txt(name).await, answer, "{name}");
            assert_eq!(zone.asked() - before, 1, "{name}");
        }
        for _ in 0..2 {
            assert_eq!(remembered.txt("large.test").await.unwrap()[0].len(), large.len());
        }
        for n in 0..100 {
            assert!(remembered.txt(&format!("n{n}.test")).await.is_err());
        }
        assert_eq!(remembered.texts.lock().len(), ANSWERS);
    }
}
