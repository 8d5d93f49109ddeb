//! DMARC: the examples of RFC 9989, policies, errors and forged authors.
#![allow(clippy::unwrap_used)]

use posta_origin::{
    dmarc::{
        self, Author, DmarcOutcome, DmarcPolicy, DmarcResult, IDENTIFIERS, Identifier, Mechanism,
        QUERIES,
    },
    dns::{Record, Zone, now_or_never},
};

const fn spf(domain: &str) -> Identifier<'_> {
    Identifier { mechanism: Mechanism::Spf, domain, is_certain: true }
}

const fn dkim(domain: &str) -> Identifier<'_> {
    Identifier { mechanism: Mechanism::Dkim, domain, is_certain: true }
}

fn zone(records: &[(&str, &str)]) -> Zone {
    records.iter().fold(Zone::default(), |zone, (domain, record)| {
        zone.with_txt(&format!("_dmarc.{domain}"), record)
    })
}

fn check(zone: &Zone, from: &str, identifiers: &[Identifier<'_>]) -> DmarcOutcome {
    let author = Author::of_fields([from.as_bytes()]);
    now_or_never(dmarc::check(zone, &author, identifiers, 50)).unwrap()
}

/// RFC 9989 §4.4 and appendix B.1.
#[test]
fn identifiers_are_aligned() {
    let relaxed = zone(&[("example.com", "v=DMARC1;p=reject")]);
    let strict = zone(&[
        ("example.com", "v=DMARC1;p=reject;aspf=s;adkim=s"),
        ("news.example.com", "v=DMARC1;p=reject;aspf=s;adkim=s"),
    ]);
    for (from, domain, is_relaxed, is_strict) in [
        ("news.example.com", "news.example.com", true, true),
        ("news.example.com", "NEWS.example.com.", true, true),
        ("news.example.com", "foo.example.com", true, false),
        ("news.example.com", "foo.example.net", false, false),
        ("example.com", "child.example.com", true, false),
        ("child.example.com", "example.com", true, false),
        ("example.com", "example.net", false, false),
        ("child.example.com", "example.net", false, false),
        ("example.com", "notexample.com", false, false),
        ("example.com", "com", false, false),
    ] {
        for identifier in [spf(domain), dkim(domain)] {
            let from = format!("a@{from}");
            let result =
                |is_aligned| if is_aligned { DmarcResult::Pass } else { DmarcResult::Fail };
            let outcome = check(&relaxed, &from, &[identifier]);
            assert_eq!(outcome.result, result(is_relaxed), "{from} {domain}");
            let is_strict = is_strict && !from.contains("child");
            assert_eq!(
                check(&strict, &from, &[identifier]).result,
                result(is_strict),
                "{from} {domain}"
            );
        }
    }
}

#[test]
fn one_aligned_identifier_is_enough() {
    let zone = zone(&[("a.test", "v=DMARC1;p=reject")]);
    let outcome =
        check(&zone, "a@a.test", &[spf("list.test"), dkim("list.test"), dkim("x.a.test")]);
    assert_eq!(outcome.result, DmarcResult::Pass);
    assert_eq!(outcome.aligned, Some((Mechanism::Dkim, "x.a.test".into())));
    assert_eq!((outcome.policy, outcome.wanted), (DmarcPolicy::Reject, DmarcPolicy::None));
}

#[test]
fn an_organization_below_another_is_another() {
    let zone = zone(&[("a.test", "v=DMARC1;p=reject"), ("b.a.test", "v=DMARC1;p=reject;psd=n")]);
    assert_eq!(check(&zone, "x@a.test", &[spf("b.a.test")]).result, DmarcResult::Fail);
    assert_eq!(check(&zone, "x@b.a.test", &[spf("a.test")]).result, DmarcResult::Fail);
    assert_eq!(check(&zone, "x@b.a.test", &[spf("c.b.a.test")]).result, DmarcResult::Pass);
}

#[test]
fn policies_for_domains_below() {
    let record = "v=DMARC1;p=reject;sp=quarantine;np=none";
    let zone = zone(&[("a.test", record), ("own.a.test", "v=DMARC1;p=none;sp=reject")])
        .with_address("www.a.test", "192.0.2.1".parse().unwrap())
        .with("slow.a.test", Record::Failure);
    for (from, policy, record) in [
        ("a.test", DmarcPolicy::Reject, "a.test"),
        ("www.a.test", DmarcPolicy::Quarantine, "a.test"),
        ("www2.a.test", DmarcPolicy::None, "a.test"),
        ("own.a.test", DmarcPolicy::None, "own.a.test"),
        // Records between a domain and its organization say nothing.
        ("x.own.a.test", DmarcPolicy::None, "a.test"),
    ] {
        let outcome = check(&zone, &format!("x@{from}"), &[]);
        assert_eq!((outcome.policy, outcome.wanted), (policy, policy), "{from}");
        assert_eq!(outcome.record.unwrap().0, record, "{from}");
    }
    assert_eq!(check(&zone, "x@slow.a.test", &[]).result, DmarcResult::TempError);
}

/// RFC 9989, appendices B.4.1 and B.4.2: a record at the domain of a signature is not that of the organization.
#[test]
fn the_highest_record_is_that_of_the_organization() {
    let zone =
        zone(&[("example.com", "v=DMARC1;p=reject"), ("signing.example.com", "v=DMARC1;p=none")]);
    for author in ["example.com", "a.b.c.d.e.f.g.h.i.j.k.example.com"] {
        for identifier in [spf("example.com"), dkim("signing.example.com")] {
            let outcome = check(&zone, &format!("x@{author}"), &[identifier]);
            assert_eq!(outcome.result, DmarcResult::Pass, "{author}");
            assert_eq!(outcome.record.unwrap().0, "example.com", "{author}");
        }
        let other = check(&zone, &format!("x@{author}"), &[dkim("example.net")]);
        assert_eq!((other.result, other.wanted), (DmarcResult::Fail, DmarcPolicy::Reject));
    }
}

/// RFC 9989, appendix B.4.3.
#[test]
fn a_public_suffix_has_a_policy_for_those_without() {
    let zone = zone(&[
        ("giant.bank.example", "v=DMARC1;p=quarantine"),
        ("bank.example", "v=DMARC1;p=reject;psd=y"),
    ]);
    let giant = check(&zone, "x@giant.bank.example", &[spf("mail.giant.bank.example")]);
    assert_eq!(giant.result, DmarcResult::Pass);
    let mega = check(&zone, "x@giant.bank.example", &[dkim("mail.mega.bank.example")]);
    assert_eq!((mega.result, mega.wanted), (DmarcResult::Fail, DmarcPolicy::Quarantine));
    let none = check(&zone, "x@mega.bank.example", &[]);
    assert_eq!((none.result, none.wanted), (DmarcResult::Fail, DmarcPolicy::Reject));
}

#[test]
fn policies_that_are_tested_are_milder() {
    for (tags, policy, wanted) in [
        ("p=reject;t=y", DmarcPolicy::Reject, DmarcPolicy::Quarantine),
        ("p=quarantine;t=y", DmarcPolicy::Quarantine, DmarcPolicy::None),
        ("p=reject;t=n", DmarcPolicy::Reject, DmarcPolicy::Reject),
        // The sample is 50.
        ("p=reject;pct=50", DmarcPolicy::Reject, DmarcPolicy::Quarantine),
        ("p=reject;pct=51", DmarcPolicy::Reject, DmarcPolicy::Reject),
        ("p=quarantine;pct=0", DmarcPolicy::Quarantine, DmarcPolicy::None),
    ] {
        let outcome = check(&zone(&[("a.test", &format!("v=DMARC1;{tags}"))]), "x@a.test", &[]);
        assert_eq!((outcome.policy, outcome.wanted), (policy, wanted), "{tags}");
    }
}

#[test]
fn without_a_record_nothing_is_asked_of_a_message() {
    let outcome = check(&Zone::default(), "x@a.test", &[spf("b.test")]);
    assert_eq!((outcome.result, outcome.author.as_deref()), (DmarcResult::None, Some("a.test")));
    assert_eq!(check(&Zone::default(), "us:;", &[]).result, DmarcResult::None);
    let unusable = check(&zone(&[("a.test", "v=DMARC1;p=x")]), "x@a.test", &[]);
    assert_eq!((unusable.result, unusable.wanted), (DmarcResult::PermError, DmarcPolicy::None));
    assert_eq!(
        unusable.error.unwrap().to_string(),
        "the DMARC record of a.test has no valid policy"
    );
}

/// What DNS did not tell is neither pass nor fail (RFC 9989 §5.3.6).
#[test]
fn dns_that_does_not_answer_fails_nobody() {
    let reject = zone(&[("a.test", "v=DMARC1;p=reject")]);
    let failing = Zone::default().with("_dmarc.a.test", Record::Failure);
    let outcome = check(&failing, "x@a.test", &[spf("a.test")]);
    assert_eq!((outcome.result, outcome.record), (DmarcResult::TempError, None));
    let unknown = Identifier { is_certain: false, ..dkim("mail.a.test") };
    let outcome = check(&reject, "x@a.test", &[unknown]);
    assert_eq!((outcome.result, outcome.wanted), (DmarcResult::TempError, DmarcPolicy::None));
    assert_eq!(outcome.policy, DmarcPolicy::Reject, "the policy is known");
    // An unknown of another's domain could change nothing, and one that is aligned is enough.
    let elsewhere = Identifier { is_certain: false, ..dkim("b.test") };
    assert_eq!(check(&reject, "x@a.test", &[elsewhere]).result, DmarcResult::Fail);
    assert_eq!(check(&reject, "x@a.test", &[unknown, spf("x.a.test")]).result, DmarcResult::Pass);
}

/// RFC 9989 §11.5: the reader may be shown any of several authors.
#[test]
fn of_several_authors_the_strictest_outcome_holds() {
    let zone = zone(&[("bank.test", "v=DMARC1;p=reject"), ("evil.test", "v=DMARC1;p=none")]);
    let signed = [dkim("evil.test")];
    for from in [
        "x@evil.test, service@bank.test",
        "service@bank.test <x@evil.test>",
        "<service@bank.test> <x@evil.test>",
        "<@bank.test:x@evil.test>",
    ] {
        let outcome = check(&zone, from, &signed);
        assert_eq!(outcome.author.as_deref(), Some("bank.test"), "{from}");
        assert_eq!((outcome.result, outcome.wanted), (DmarcResult::Fail, DmarcPolicy::Reject));
    }
    let author = Author::of_fields([&b"x@evil.test"[..], &b"service@bank.test"[..]]);
    let outcome = now_or_never(dmarc::check(&zone, &author, &signed, 0)).unwrap();
    assert_eq!(outcome.wanted, DmarcPolicy::Reject, "two fields");
    let outcome = check(&zone, "x@evil.test, service@(x)bank.test", &signed);
    assert_eq!((outcome.result, outcome.wanted), (DmarcResult::PermError, DmarcPolicy::Quarantine));
    let many: Vec<_> = (0..9).map(|n| format!("x@n{n}.test")).collect();
    let outcome = check(&zone, &many.join(","), &signed);
    assert_eq!((outcome.result, outcome.wanted), (DmarcResult::PermError, DmarcPolicy::Quarantine));
}

#[test]
fn look_ups_are_few() {
    let zone = zone(&[("a.test", "v=DMARC1;p=reject")]);
    check(&zone, "x@a.test", &[spf("a.test")]);
    assert_eq!(zone.asked(), 1, "of most mail, the author's record");
    let strangers: Vec<_> = (0..10_000).map(|n| format!("n{n}.test")).collect();
    let identifiers: Vec<_> = strangers.iter().map(|name| dkim(name)).collect();
    check(&zone, "x@a.test", &identifiers);
    assert_eq!(zone.asked(), 1 + 2, "strangers' signatures cost none");
    let deep: Vec<_> = (0..100).map(|n| format!("1.2.3.4.5.6.7.n{n}.a.test")).collect();
    let identifiers: Vec<_> = deep.iter().map(|name| dkim(name)).collect();
    let apart = Zone::default()
        .with_txt("_dmarc.a.test", "v=DMARC1;p=reject")
        .with_txt("_dmarc.test", "v=DMARC1;p=none;psd=n");
    check(&apart, "x@a.test", &identifiers);
    assert!(apart.asked() <= QUERIES * (IDENTIFIERS + 1), "{}", apart.asked());
}
