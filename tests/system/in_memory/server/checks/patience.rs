//! DNS that fails, and DNS that does not answer.

use super::*;
use posta_net::dns::{DnsAnswer, Family, LookupError, PendingLookup, ServiceHost, Tlsa};
use posta_server::receive::checks::CHECKS_TIME;
use std::net::IpAddr;
use tokio::time::Instant;

/// DNS in which some names are never answered.
struct Hanging {
    zone: FixedZone,
    names: Vec<&'static str>,
}

impl Hanging {
    fn or<'a, T: Send + 'a>(
        &self,
        name: &str,
        answer: PendingLookup<'a, DnsAnswer<T>>,
    ) -> PendingLookup<'a, DnsAnswer<T>> {
        match self.names.iter().any(|hanging| name.ends_with(hanging)) {
            true => Box::pin(std::future::pending::<Result<_, LookupError>>()),
            false => answer,
        }
    }
}

impl Resolver for Hanging {
    fn exchangers<'a>(&'a self, domain: &'a str) -> PendingLookup<'a, DnsAnswer<(u16, String)>> {
        self.or(domain, self.zone.exchangers(domain))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        self.or(host, self.zone.addresses(host))
    }

    fn addresses_of<'a>(
        &'a self,
        host: &'a str,
        family: Family,
    ) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        self.or(host, self.zone.addresses_of(host, family))
    }

    fn names(&self, address: IpAddr) -> PendingLookup<'_, DnsAnswer<String>> {
        self.or(&address.to_string(), self.zone.names(address))
    }

    fn certificates<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<Tlsa>> {
        self.or(name, self.zone.certificates(name))
    }

    fn services<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<ServiceHost>> {
        self.or(name, self.zone.services(name))
    }

    fn texts<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<String>> {
        self.or(name, self.zone.texts(name))
    }
}

/// A chain of includes, each of which is slow, takes longer than a message is kept waiting.
fn slow_chain(zone: &mut FixedZone) -> Vec<&'static str> {
    let hanging = ["h1.test", "h2.test", "h3.test", "h4.test"];
    zone.texts.insert(
        "slow.test".to_owned(),
        vec!["v=spf1 a:h1.test a:h2.test a:h3.test a:h4.test -all".to_owned()],
    );
    hanging.to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_for_its_checks_so_long_and_no_longer() {
    let mut zone = zone();
    let names = slow_chain(&mut zone);
    let mut all = names.clone();
    all.push(A);
    for (names, from, least) in [(all, "sue@n.test", 7), (vec!["test"], "sue@n.test", 7)] {
        let system = system_of(Hanging { zone: zone.clone(), names }, obeying()).await;
        let content = format!("From: {from}\r\n\r\nbody");
        let start = Instant::now();
        let said = system.bring(A, "x@slow.test", &content).await;
        let waited = start.elapsed();
        assert!(waited.as_secs() >= least && waited <= CHECKS_TIME, "{waited:?}: {said}");
        system.server.stop().await;
    }
}

/// What is not known in time is a temporary error, and refuses nobody by itself.
#[tokio::test(start_paused = true)]
async fn what_is_not_known_in_time_is_a_temporary_error() {
    let names = vec!["e._domainkey.a.test", "192.0.2.66", "evil.test"];
    let system = system_of(Hanging { zone: zone(), names }, obeying()).await;
    let content = signed("From: sue@n.test\r\n\r\nbody\r\n", &[signer("a.test", "e")]);
    let said = system.bring(EVIL, "eve@evil.test", &content).await;
    assert!(said.starts_with("250 2.0.0"), "{said}");
    let message = system.read(1).await;
    for words in
        ["iprev=temperror", "spf=temperror", "dkim=temperror", "dmarc=fail header.from=n.test"]
    {
        assert!(message.contains(words), "{words}: {message}");
    }
    system.server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_found_out_defers() {
    for (failing, sender, from, reply) in [
        ("_dmarc.a.test", "eve@evil.test", "sue@a.test", "451 4.7.0"),
        // The author's own domain might have shown that it is the author's.
        ("a.test", "sue@a.test", "sue@a.test", "451 4.7.0"),
        // Nothing would follow from that.
        ("n.test", "sue@n.test", "sue@n.test", "250 2.0.0"),
        // Nobody but the author's domain matters to its policy.
        ("evil.test", "eve@evil.test", "sue@a.test", "550 5.7.1"),
    ] {
        let mut zone = zone();
        zone.failing.push(failing.to_owned());
        let system = system_of(zone, obeying()).await;
        let said = system.bring(EVIL, sender, &format!("From: {from}\r\n\r\nbody")).await;
        assert!(said.starts_with(reply), "{failing} {sender} {from}: {said}");
        system.server.stop().await;
    }
}
