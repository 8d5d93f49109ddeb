//! SPF: the examples of RFC 7208, and records of strangers who mean harm.
#![allow(clippy::unwrap_used)]

use posta_origin::{
    dns::{ANSWER_OCTETS, Record, Zone, now_or_never},
    spf::{self, SpfError, SpfOutcome, SpfRequest, SpfResult},
};

fn check_from(zone: &Zone, address: &str, domain: &str) -> SpfOutcome {
    let request = SpfRequest::helo(address.parse().unwrap(), "helo.test", "mx.test", 0);
    let request = SpfRequest { local_part: "ana", domain, ..request };
    now_or_never(spf::check(zone, &request)).unwrap()
}

fn check(zone: &Zone, domain: &str) -> SpfOutcome {
    check_from(zone, "192.0.2.1", domain)
}

/// The records of RFC 7208, appendix A, and one of `example.com`.
fn appendix_a(record: &str) -> Zone {
    let address = |host: &'static str, address: &str| (host, address.parse().unwrap());
    let mut zone = Zone::default()
        .with_txt("example.com", record)
        .with_txt("_spf.example.com", "v=spf1 mx:example.org -all")
        .with("example.com", Record::Mx(10, "mail-a.example.com".into()))
        .with("example.com", Record::Mx(20, "mail-b.example.com".into()))
        .with("example.org", Record::Mx(10, "mail-c.example.org".into()))
        .with_ptr("192.0.2.10".parse().unwrap(), "example.com")
        .with_ptr("192.0.2.65".parse().unwrap(), "amy.example.com")
        .with_ptr("192.0.2.140".parse().unwrap(), "mail-c.example.org")
        .with_ptr("10.0.0.4".parse().unwrap(), "bob.example.com");
    for (host, address) in [
        address("example.com", "192.0.2.10"),
        address("example.com", "192.0.2.11"),
        address("amy.example.com", "192.0.2.65"),
        address("bob.example.com", "192.0.2.66"),
        address("mail-a.example.com", "192.0.2.129"),
        address("mail-b.example.com", "192.0.2.130"),
        address("mail-c.example.org", "192.0.2.140"),
        address("www.example.com", "192.0.2.10"),
    ] {
        zone = zone.with_address(host, address);
    }
    zone
}

/// RFC 7208, appendix A.1.
#[test]
fn the_examples_of_the_rfc() {
    let all = ["192.0.2.10", "192.0.2.11", "192.0.2.65", "192.0.2.129", "192.0.2.140", "10.0.0.4"];
    for (record, passing) in [
        ("v=spf1 +all", &all[..]),
        ("v=spf1 a -all", &["192.0.2.10", "192.0.2.11"]),
        ("v=spf1 a:example.org -all", &[]),
        ("v=spf1 mx -all", &["192.0.2.129"]),
        ("v=spf1 mx:example.org -all", &["192.0.2.140"]),
        ("v=spf1 mx mx:example.org -all", &["192.0.2.129", "192.0.2.140"]),
        ("v=spf1 mx/30 mx:example.org/30 -all", &["192.0.2.129", "192.0.2.140"]),
        ("v=spf1 ptr -all", &["192.0.2.10", "192.0.2.65"]),
        ("v=spf1 ip4:192.0.2.128/28 -all", &["192.0.2.129", "192.0.2.140"]),
        ("v=spf1 include:_spf.example.com -all", &["192.0.2.140"]),
        ("v=spf1 redirect=_spf.example.com", &["192.0.2.140"]),
    ] {
        for address in all {
            let outcome = check_from(&appendix_a(record), address, "example.com");
            let expected =
                if passing.contains(&address) { SpfResult::Pass } else { SpfResult::Fail };
            assert_eq!(outcome.result, expected, "{record} {address}: {outcome:?}");
        }
    }
}

/// RFC 7208, appendix A.2: the servers of one domain are those of two others.
#[test]
fn the_example_of_several_domains() {
    let mut zone = appendix_a("v=spf1 mx -all")
        .with_txt("example.net", "v=spf1 ip4:192.0.2.200 -all")
        .with_txt("example.org", "v=spf1 include:example.com include:example.net -all");
    for domain in ["la.example.org", "ny.example.org", "sf.example.org"] {
        zone.add(domain, Record::Txt("v=spf1 redirect=example.org".into()));
    }
    for domain in ["example.org", "la.example.org", "ny.example.org", "sf.example.org"] {
        for (address, expected) in [
            ("192.0.2.129", SpfResult::Pass),
            ("192.0.2.200", SpfResult::Pass),
            ("192.0.2.140", SpfResult::Fail),
        ] {
            assert_eq!(check_from(&zone, address, domain).result, expected, "{domain} {address}");
        }
    }
}

/// RFC 7208, appendix A.3: the users who may send from anywhere, or from some addresses, are in DNS.
#[test]
fn the_example_in_the_style_of_dns_lists() {
    let listed = "127.0.0.2".parse().unwrap();
    let record = "v=spf1 mx include:mobile-users._spf.%{d} include:remote-users._spf.%{d} -all";
    let zone = appendix_a(record)
        .with_txt("mobile-users._spf.example.com", "v=spf1 exists:%{l1r+}.%{d}")
        .with_txt("remote-users._spf.example.com", "v=spf1 exists:%{ir}.%{l1r+}.%{d}")
        .with_address("mary.mobile-users._spf.example.com", listed)
        .with_address("fred.mobile-users._spf.example.com", listed)
        .with_address("15.15.168.192.joel.remote-users._spf.example.com", listed)
        .with_address("16.15.168.192.joel.remote-users._spf.example.com", listed);
    for (local_part, address, expected) in [
        ("mary", "198.51.100.9", SpfResult::Pass),
        ("fred", "198.51.100.9", SpfResult::Pass),
        ("fred+lists", "198.51.100.9", SpfResult::Pass),
        ("joel", "192.168.15.15", SpfResult::Pass),
        ("joel", "192.168.15.16", SpfResult::Pass),
        ("joel", "192.168.15.17", SpfResult::Fail),
        ("mary.joel", "192.168.15.15", SpfResult::Fail),
        ("anne", "192.0.2.129", SpfResult::Pass),
        ("anne", "192.0.2.130", SpfResult::Pass),
        ("anne", "198.51.100.9", SpfResult::Fail),
    ] {
        let request = SpfRequest::helo(address.parse().unwrap(), "helo.test", "mx.test", 0);
        let request = SpfRequest { local_part, domain: "example.com", ..request };
        let outcome = now_or_never(spf::check(&zone, &request)).unwrap();
        assert_eq!(outcome.result, expected, "{local_part} {address}");
    }
}

/// RFC 7208, appendix A.4: an address must meet two requirements. As printed, `ptr` asks for names in
/// `ptr._spf.example.com`, which nobody has; erratum 6216 names the domain.
#[test]
fn the_example_of_several_requirements() {
    let record = "v=spf1 -include:ip4._spf.%{d} -include:ptr._spf.%{d} +all";
    for (ptr, passing) in [("-ptr", &[][..]), ("-ptr:example.com", &["192.0.2.10", "192.0.2.65"])] {
        let zone = appendix_a(record)
            .with_txt("ip4._spf.example.com", "v=spf1 -ip4:192.0.2.0/24 +all")
            .with_txt("ptr._spf.example.com", &format!("v=spf1 {ptr} +all"))
            .with_ptr("198.51.100.9".parse().unwrap(), "away.example.com")
            .with_address("away.example.com", "198.51.100.9".parse().unwrap());
        // In the range with such a name, in the range without, and with such a name elsewhere.
        for address in ["192.0.2.10", "192.0.2.65", "192.0.2.140", "198.51.100.9"] {
            let expected =
                if passing.contains(&address) { SpfResult::Pass } else { SpfResult::Fail };
            let outcome = check_from(&zone, address, "example.com");
            assert_eq!(outcome.result, expected, "{ptr} {address}: {outcome:?}");
        }
    }
}

#[test]
fn what_matched_is_told() {
    let zone = Zone::default()
        .with_txt("a.test", "v=spf1 include:b.test -all exp=why.a.test")
        .with_txt("b.test", "v=spf1 ip4:192.0.2.0/28 ?all")
        .with_txt("why.a.test", "%{i} is none of %{d}'s, %{s}")
        .with_txt("none.test", "v=spf1 -all");
    let passed = check(&zone, "a.test");
    let matched = passed.matched.unwrap();
    assert_eq!((matched.domain.as_str(), matched.term.as_str()), ("a.test", "include:b.test"));
    let failed = check_from(&zone, "192.0.2.77", "a.test");
    assert_eq!(failed.matched.unwrap().term, "-all");
    assert_eq!(failed.explanation.unwrap(), "192.0.2.77 is none of a.test's, ana@a.test");
    assert!(!failed.sends_nothing);
    assert!(check(&zone, "none.test").sends_nothing);
}

#[test]
fn includes_end_after_ten_lookups() {
    let mut wide = Zone::default();
    let includes: Vec<_> = (0..400).map(|n| format!("include:i{n}.test")).collect();
    wide.add("a.test", Record::Txt(format!("v=spf1 {} -all", includes.join(" "))));
    let mut deep = Zone::default().with_txt("a.test", "v=spf1 include:i0.test -all");
    for n in 0..1_000 {
        wide.add(&format!("i{n}.test"), Record::Txt("v=spf1 ?all".into()));
        let next = format!("v=spf1 include:i{}.test ?all", n + 1);
        deep.add(&format!("i{n}.test"), Record::Txt(next));
    }
    let mut looping = Zone::default().with_txt("a.test", "v=spf1 include:a.test include:a.test");
    looping.add("b.test", Record::Txt("v=spf1 redirect=b.test".into()));
    for (zone, domain) in
        [(&wide, "a.test"), (&deep, "a.test"), (&looping, "a.test"), (&looping, "b.test")]
    {
        let before = zone.asked();
        let outcome = check(zone, domain);
        assert_eq!(outcome.error, Some(SpfError::TooManyLookups));
        assert_eq!(outcome.result, SpfResult::PermError);
        assert_eq!(zone.asked() - before, 11, "the record, and those that ten terms lead to");
    }
}

#[test]
fn names_that_do_not_exist_end_a_check() {
    let zone = |voids: usize| {
        let terms: Vec<_> = (0..voids).map(|n| format!("a:n{n}.test")).collect();
        Zone::default().with_txt("a.test", &format!("v=spf1 {} -all", terms.join(" ")))
    };
    assert_eq!(check(&zone(2), "a.test").result, SpfResult::Fail);
    assert_eq!(check(&zone(3), "a.test").error, Some(SpfError::TooManyVoidLookups));
    // Servers of a domain that do not exist count as well.
    let mut servers = Zone::default().with_txt("a.test", "v=spf1 mx -all");
    for n in 0..10 {
        servers.add("a.test", Record::Mx(n, format!("n{n}.test")));
    }
    assert_eq!(check(&servers, "a.test").error, Some(SpfError::TooManyVoidLookups));
    assert_eq!(servers.asked(), 5);
    servers.add("a.test", Record::Mx(10, "n10.test".into()));
    let error = check(&servers, "a.test").error;
    assert_eq!(error, Some(SpfError::TooManyServers("a.test".into())));
}

/// The owner of a network writes names for its addresses: each costs a look-up, and no more than ten are made.
#[test]
fn few_of_a_clients_names_are_looked_at() {
    let mut zone = Zone::default().with_txt("a.test", "v=spf1 ptr exists:%{p}.a.test -all");
    for n in 0..100 {
        zone.add("1.2.0.192.in-addr.arpa", Record::Ptr(format!("n{n}.test")));
        zone.add(&format!("n{n}.test"), Record::A("192.0.2.99".parse().unwrap()));
    }
    assert_eq!(check(&zone, "a.test").result, SpfResult::Fail);
    assert_eq!(zone.asked(), 1 + 1 + 10 + 1, "record, PTR, its names, exists");
}

#[test]
fn aliases_in_a_loop_and_large_answers_are_temporary_errors() {
    let zone = Zone::default()
        .with("loop.test", Record::Cname("loop.test".into()))
        .with_txt("a.test", "v=spf1 a:loop.test -all")
        .with_txt("large.test", &format!("v=spf1 {}", "a".repeat(ANSWER_OCTETS)));
    for domain in ["loop.test", "a.test", "large.test"] {
        assert_eq!(check(&zone, domain).result, SpfResult::TempError, "{domain}");
    }
}

#[test]
fn a_record_of_sixteen_kibibytes_is_refused_in_words() {
    let zone = Zone::default().with_txt("a.test", &format!("v=spf1{}", " ?a".repeat(5_000)));
    let error = check(&zone, "a.test").error.unwrap().to_string();
    assert_eq!(error, "the SPF record of a.test is wrong: it has more than 512 terms");
}

/// An explanation reaches the client and logs; its author is a stranger.
#[test]
fn explanations_are_printable_and_short() {
    let explained = |text: &str| {
        let zone = Zone::default()
            .with_txt("a.test", "v=spf1 -all exp=why.test")
            .with_txt("why.test", text);
        check(&zone, "a.test").explanation
    };
    assert_eq!(explained("no\r\n250 yes"), None);
    assert_eq!(explained("\u{202e}"), None);
    assert_eq!(explained("%{x}"), None);
    assert_eq!(explained(&"x".repeat(9_000)).unwrap().len(), spf::macros::EXPLANATION);
    let zone =
        Zone::default().with_txt("a.test", "v=spf1 -all exp=why.test").with_txt("why.test", "%{l}");
    let request = SpfRequest::helo("192.0.2.1".parse().unwrap(), "helo.test", "mx.test", 0);
    let request = SpfRequest { local_part: "a\r\nß", domain: "a.test", ..request };
    let outcome = now_or_never(spf::check(&zone, &request)).unwrap();
    assert_eq!(outcome.explanation.unwrap(), "a???");
}

#[test]
fn addresses_of_ipv4_in_ipv6_are_what_they_are() {
    let zone = Zone::default().with_txt("a.test", "v=spf1 ip4:192.0.2.1 -all");
    assert_eq!(check_from(&zone, "::ffff:192.0.2.1", "a.test").result, SpfResult::Pass);
}
