//! What strangers publish in DNS, and sign, to keep a server busy: the real resolver asks a name server
//! that means harm, within bounds of time, questions and memory.

#![allow(clippy::disallowed_methods)] // What is measured here is real time.

use posta_mail::Timestamp;
use posta_origin::{
    dkim::{Algorithm, KeyPair, Signer},
    observer::{Needs, Observer},
};
use posta_tests::{DnsRecords, NameServer, Place, pop3, send_from, smtp};
use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

/// The questions that a message may cost besides those of SPF: for the client, the author's policy and
/// eight keys.
const OTHER_QUESTIONS: usize = 20;

/// The growth of memory that the server may show, whatever strangers send: chunks, caches, and what the
/// allocator keeps.
const GROWTH: u64 = 48 * 1024 * 1024;

const HELLO: &str = "From: sue@plain.test\r\nSubject: hello\r\n\r\nhello\r\n";

/// A server that checks the mail of this machine's programs as that of strangers, and asks these names.
fn server(names: DnsRecords) -> (Place, NameServer) {
    let mut place = Place::new(&[("smtp", "none"), ("pop3", "none")]);
    let names = names.txt("plain.test", "v=spf1 ip4:127.0.0.1 -all").serve();
    place.configure(&names.configuration());
    place.configure("[submission]\ntrust-loopback = false\n");
    place.add_account("ana@x.test");
    place.start();
    (place, names)
}

/// Sends a message, and returns the reply to its end and how long that took.
fn bring(place: &Place, from: &str, content: &str) -> (String, Duration) {
    let mut wire = smtp(place.address("smtp")).patience(Duration::from_secs(40));
    let start = Instant::now();
    (send_from(&mut wire, from, "ana@x.test", content), start.elapsed())
}

/// Returns the lines of the newest message of ana's, joined.
fn newest(place: &Place) -> String {
    let mut wire = pop3(place.address("pop3"), "ana@x.test");
    let count = wire.say("STAT");
    let count = count.split(' ').nth(1).unwrap().to_owned();
    wire.listing(&format!("RETR {count}")).join("\n")
}

#[track_caller]
fn expect(place: &Place, names: &NameServer, domain: &str, result: &str, most_asked: usize) {
    let before = names.asked();
    let (reply, took) = bring(place, &format!("sue@{domain}"), HELLO);
    let asked = names.asked() - before;
    assert!(reply.starts_with("250 2.0.0"), "{domain}: {reply}");
    let message = newest(place);
    assert!(message.contains(&format!("\tspf={result}")), "{domain}: {message}");
    assert!(asked <= most_asked + OTHER_QUESTIONS, "{domain}: {asked} questions");
    assert!(took < Duration::from_secs(5), "{domain}: {took:?}");
}

/// Records with a thousand includes, in one record and one below the other, and in loops.
#[test]
fn includes_without_end_cost_eleven_questions() {
    let includes =
        |count: usize| -> String { (0..count).map(|n| format!(" include:{n}.w")).collect() };
    let mut names = DnsRecords::default()
        .txt("thousand.test", &format!("v=spf1{} -all", includes(1_000)))
        .txt("wide.test", &format!("v=spf1{} -all", includes(500)))
        .txt("deep.test", "v=spf1 include:0.d -all")
        .txt("self.test", "v=spf1 include:self.test include:self.test -all")
        .txt("there.test", "v=spf1 include:back.test -all")
        .txt("back.test", "v=spf1 include:there.test -all")
        .txt("redirect.test", "v=spf1 redirect=redirect.test");
    for n in 0..1_000 {
        names = names
            .txt(&format!("{n}.w"), "v=spf1 ?all")
            .txt(&format!("{n}.d"), &format!("v=spf1 include:{}.d ?all", n + 1));
    }
    let (mut place, names) = server(names);
    // A record of more than 512 terms is wrong as a whole.
    expect(&place, &names, "thousand.test", "permerror", 1);
    for domain in ["wide.test", "deep.test", "self.test", "there.test", "redirect.test"] {
        expect(&place, &names, domain, "permerror", 11);
    }
    assert_eq!(place.stop(), Some(0));
}

/// Aliases that lead to themselves, round in a circle, and on and on. A few are followed; then the name
/// has no such record. (A recursive name server would have found the circle itself, and answered with an
/// error.)
#[test]
fn aliases_without_end_are_given_up() {
    let mut names = DnsRecords::default()
        .alias("self.test", "self.test")
        .alias("here.test", "there.test")
        .alias("there.test", "here.test")
        .txt("host.test", "v=spf1 a:here.test mx:0.c.test -all");
    for n in 0..1_000 {
        names = names.alias(&format!("{n}.c.test"), &format!("{}.c.test", n + 1));
    }
    let (mut place, names) = server(names);
    for (domain, result) in
        [("self.test", "none"), ("here.test", "none"), ("0.c.test", "none"), ("host.test", "fail")]
    {
        expect(&place, &names, domain, result, 20);
    }
    assert_eq!(place.stop(), Some(0));
}

/// Two hundred answers of 60 KiB, over TCP, twenty at a time.
#[test]
fn answers_of_sixty_kibibytes_take_no_memory() {
    let text = format!("v=spf1 {}-all", "ip4:192.0.2.1 ".repeat(4_200));
    let names = (0..200)
        .fold(DnsRecords::default(), |names, n| names.txt(&format!("n{n}.large.test"), &text));
    let (mut place, names) = server(names);
    expect(&place, &names, "n0.large.test", "temperror", 4);
    let before = place.resident();
    let (shared, start) = (&place, Instant::now());
    thread::scope(|scope| {
        for client in 0..20 {
            scope.spawn(move || {
                for n in (client..200).step_by(20) {
                    let (reply, _) = bring(shared, &format!("sue@n{n}.large.test"), HELLO);
                    assert!(reply.starts_with("250 2.0.0"), "{reply}");
                }
            });
        }
    });
    let (grown, took) = (place.resident().saturating_sub(before), start.elapsed());
    assert!(grown < GROWTH, "{} MiB more", grown >> 20);
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_eq!(place.stop(), Some(0));
}

/// DnsRecords that are never answered, and a chain of answers that take three seconds each: the message waits
/// for twenty seconds at most, and nobody waits for it.
#[test]
fn slow_answers_keep_nobody_else_waiting() {
    let mut names = DnsRecords::default()
        .mute("mute.test")
        .slow("drip.test", Duration::from_secs(3))
        .txt("drip.test", "v=spf1 include:0.drip.test -all")
        .txt("quick.test", "v=spf1 ip4:127.0.0.1 -all");
    for n in 0..10 {
        names = names
            .txt(&format!("{n}.drip.test"), &format!("v=spf1 include:{}.drip.test -all", n + 1));
    }
    let (mut place, _names) = server(names);
    let shared = &place;
    thread::scope(|scope| {
        let waits = |domain, least: u64, most: u64| {
            scope.spawn(move || {
                let (reply, took) = bring(shared, &format!("sue@{domain}"), HELLO);
                assert!(reply.starts_with("250 2.0.0"), "{domain}: {reply}");
                assert!((least..=most).contains(&took.as_secs()), "{domain}: {took:?}");
            })
        };
        let (mute, drip) = (waits("mute.test", 4, 12), waits("drip.test", 18, 23));
        thread::sleep(Duration::from_secs(1));
        for _ in 0..5 {
            let (reply, took) = bring(shared, "sue@quick.test", HELLO);
            assert!(reply.starts_with("250 2.0.0"), "{reply}");
            assert!(took < Duration::from_secs(3), "{took:?}");
        }
        assert!(!mute.is_finished() && !drip.is_finished(), "the others still wait");
    });
    let message = newest(&place);
    assert!(message.contains("sue@drip.test") && message.contains("\tspf=temperror"), "{message}");
    assert_eq!(place.stop(), Some(0));
}

/// Ten thousand signatures are refused, since a header section of that size is not read to its end; of
/// nine hundred, eight are looked at.
#[test]
fn ten_thousand_signatures_cost_as_much_as_eight() {
    let (mut place, names) = server(DnsRecords::default());
    let signature = |n: usize| {
        format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d=n{n}.test; s=k; h=from;\r\n\
             \tbh=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=; b=AAAA\r\n"
        )
    };
    let content =
        |count: usize| (0..count).map(signature).chain([HELLO.to_owned()]).collect::<String>();
    bring(&place, "sue@plain.test", HELLO);
    let memory = place.resident();
    for (count, code) in [(10_000, "550 5.6.0"), (900, "250 2.0.0")] {
        let before = names.asked();
        let (reply, took) = bring(&place, "sue@y.test", &content(count));
        let asked = names.asked() - before;
        assert!(reply.starts_with(code), "{count}: {reply}");
        assert!(asked <= OTHER_QUESTIONS, "{count}: {asked} questions");
        assert!(took < Duration::from_secs(10), "{count}: {took:?}");
    }
    let grown = place.resident().saturating_sub(memory);
    assert!(grown < GROWTH, "{} MiB more", grown >> 20);
    assert_eq!(newest(&place).matches("\tdkim=").count(), 8, "results that are told");
    assert_eq!(place.stop(), Some(0));
}

/// A key in a hundred strings is one key (RFC 6376 §3.6.2.2). Of a hundred texts under its name, eight
/// are tried.
#[test]
fn a_key_may_have_a_hundred_strings_but_not_a_hundred_records() {
    let key = KeyPair::generate(Algorithm::RsaSha256).unwrap();
    let record = key.record().unwrap();
    let signer = Signer::new("plain.test".parse().unwrap(), "k".into(), key);
    let mut observer = Observer::new(Needs { verify: false, sign: true });
    observer.write(HELLO.as_bytes());
    let now = Timestamp::try_from(SystemTime::now()).unwrap();
    let signed = observer.finish().sign(&signer, now).unwrap().unwrap() + HELLO;
    let cut = |n: usize| n * record.len() / 100;
    let strings: Vec<_> = (0..100).map(|n| &record.as_bytes()[cut(n)..cut(n + 1)]).collect();
    let key = "k._domainkey.plain.test";
    let split = || DnsRecords::default().strings(key, strings.iter().copied());
    let beside = |first: usize, more: usize| {
        let names =
            (0..first).fold(DnsRecords::default(), |names, n| names.txt(key, &format!("v=spf{n}")));
        let names = names.strings(key, strings.iter().copied());
        (0..more).fold(names, |names, n| names.txt(key, &format!("v=spf{n}")))
    };
    for (names, result) in
        [(split(), "dkim=pass"), (beside(7, 92), "dkim=pass"), (beside(8, 91), "dkim=permerror")]
    {
        let (mut place, _names) = server(names);
        let (reply, took) = bring(&place, "sue@plain.test", &signed);
        assert!(reply.starts_with("250 2.0.0"), "{result}: {reply}");
        assert!(took < Duration::from_secs(5), "{result}: {took:?}");
        let message = newest(&place);
        assert!(message.contains(result), "{result}: {message}");
        assert_eq!(place.stop(), Some(0));
    }
}
