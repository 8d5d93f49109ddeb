//! Servers that refuse for now, give wrong answers or hang up, and the consequences for the mail.

use super::{
    hops::{Answers, Heard, Protection, hop},
    *,
};
use crate::settings::{relay_settings, rules, schedule};
use posta_server::send::{Rules, Smarthost, SmarthostTls, schedule::Schedule};
use tokio::time::Instant;

/// Two servers, and domains with two hops each.
struct Hops {
    two: Two,
    cases: usize,
}

/// A domain, with the answers of its first and its second hop.
struct Case {
    domain: String,
    one: Heard,
    other: Heard,
}

/// The number of domains that a test may have.
const CASES: usize = 8;

async fn hops() -> Hops {
    let mut zone = zone();
    for case in 0..CASES {
        let names = [format!("one.hop{case}.test"), format!("two.hop{case}.test")];
        let exchangers = (1..).zip(names.clone()).collect();
        zone.exchangers.insert(format!("hop{case}.test"), exchangers);
        for (name, number) in names.into_iter().zip(1u8..) {
            zone.addresses.insert(name, vec![[192, 0, 2 + number, case as u8].into()]);
        }
    }
    let schedule = Schedule { retry: vec![Duration::from_secs(2)], ..schedule() };
    let all = Rules { schedule, ..rules() };
    let private_addresses = PrivateAddresses::Allow;
    let two = two_with(zone, RelaySettings { all, private_addresses, ..relay_settings() }).await;
    Hops { two, cases: 0 }
}

impl Hops {
    async fn case(&mut self, one: Answers, other: Answers) -> Case {
        self.case_in(Protection::None, one, other).await
    }

    /// Adds a domain whose first hop protects its connections in this way.
    async fn case_in(&mut self, protection: Protection, one: Answers, other: Answers) -> Case {
        let case = self.cases;
        assert!(case < CASES, "DNS knows no more");
        self.cases += 1;
        let names = [format!("one.hop{case}.test"), format!("two.hop{case}.test")];
        let places = [format!("192.0.3.{case}:25"), format!("192.0.4.{case}:25")];
        let one = hop(&self.two.net, (&names[0], &places[0]), protection, one).await;
        let other = hop(&self.two.net, (&names[1], &places[1]), Protection::None, other).await;
        Case { domain: format!("hop{case}.test"), one, other }
    }

    /// Sends to these recipients of a domain. Returns the first recipient's reply after one attempt;
    /// none if the queue is empty.
    async fn attempt(&self, case: &Case, recipients: &[&str]) -> Option<String> {
        let to: Vec<_> =
            recipients.iter().map(|name| format!("<{name}@{}>", case.domain)).collect();
        let to: Vec<_> = to.iter().map(String::as_str).collect();
        self.two.send("<ana@x.test>", &to).await;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let line = self.two.queue().await.into_iter().find(|l| l.destination == case.domain);
            match line {
                None => return None,
                Some(line) if line.attempts > 0 => return line.recipients[0].reply.clone(),
                Some(_) => sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("no attempt ends");
    }
}

impl Case {
    /// Returns the numbers of messages that the hops received completely.
    fn taken(&self) -> (usize, usize) {
        let count = |heard: &Heard| heard.with(".").len();
        (count(&self.one), count(&self.other))
    }
}

/// RFC 5321 §5.1: after a transient refusal, the next server is tried in the same attempt.
#[tokio::test(start_paused = true)]
async fn the_next_server_is_tried_in_the_same_attempt() {
    let mut hops = hops().await;
    for (answers, taken) in [
        (&[("MAIL", "450 4.2.0 later")][..], (0, 1)),
        (&[("RCPT", "451 4.7.1 greylisted")], (0, 1)),
        (&[("DATA", "450 4.3.0 later")], (0, 1)),
        (&[(".", "451 4.3.0 later")], (1, 1)),
        (&[("connected", "421 4.3.2 too busy")], (0, 1)),
        (&[("RCPT", "421 4.3.2 too busy")], (0, 1)),
    ] {
        let case = hops.case(answers, &[]).await;
        assert_eq!(hops.attempt(&case, &["a"]).await, None, "{answers:?}");
        assert_eq!(case.taken(), taken, "{answers:?}");
    }
    // This holds for each recipient separately.
    let case = hops.case(&[("RCPT TO:<b@", "450 4.2.1 later")], &[]).await;
    assert_eq!(hops.attempt(&case, &["a", "b"]).await, None);
    assert_eq!(case.other.with("RCPT"), [format!("RCPT TO:<b@{}>", case.domain)]);
    let story = hops.two.trace(&format!("a@{}", case.domain)).await;
    let told = story.iter().filter_map(|event| match &event.what {
        What::Attempted { host, recipients, .. } => {
            let fates: Vec<_> = recipients.iter().map(|fate| fate.action.as_str()).collect();
            Some(format!("{} {}", &host.as_deref()?[..3], fates.join(" ")))
        }
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["one relayed delayed", "two relayed"]);
}

/// If all servers refuse for now, the mail waits, with the last reply; a permanent refusal ends the
/// attempts.
#[tokio::test(start_paused = true)]
async fn the_last_servers_words_count() {
    let mut hops = hops().await;
    let case = hops.case(&[("RCPT", "450 4.2.0 one")], &[("RCPT", "450 4.2.0 two")]).await;
    assert_eq!(hops.attempt(&case, &["a"]).await.unwrap(), "450 4.2.0 two");
    let case = hops.case(&[("RCPT", "450 4.2.0 one")], &[("connected", "X")]).await;
    let reply = hops.attempt(&case, &["a"]).await.unwrap();
    assert_eq!(reply, "450 4.2.0 one", "an answer tells more than none");
    let case = hops.case(&[("RCPT", "550 5.1.1 nobody")], &[]).await;
    assert_eq!(hops.attempt(&case, &["a"]).await, None);
    assert_eq!(case.other.count("connected"), 0, "it was answered");
}

/// A server that cannot accept a message decides nothing if another one may be able to, now or later.
#[tokio::test(start_paused = true)]
async fn who_is_not_fit_leaves_it_to_the_others() {
    let mut hops = hops().await;
    let small: Answers = &[("EHLO", "250-small\r\n250 SIZE 10")];
    let busy: Answers = &[("connected", "421 4.3.2 too busy")];
    let case = hops.case(small, &[]).await;
    assert_eq!(hops.attempt(&case, &["a"]).await, None);
    assert_eq!(case.taken(), (0, 1));
    let case = hops.case(small, busy).await;
    assert_eq!(hops.attempt(&case, &["a"]).await.unwrap(), "421 4.3.2 too busy");
    let case = hops.case(&[("RCPT", "450 4.2.0 later")], small).await;
    assert_eq!(hops.attempt(&case, &["a"]).await.unwrap(), "450 4.2.0 later");
    assert_eq!(hops.two.queue().await.len(), 2, "nothing was reported yet");
    let case = hops.case(small, small).await;
    assert_eq!(hops.attempt(&case, &["a"]).await, None);
    let report = hops.two.inbox("127.0.0.1", "ana", 1).await;
    assert!(report.contains("Action: failed\r\nStatus: 5.3.4\r\n"), "{report}");
}

/// The schedule holds, whatever the server answers to the end of a transaction.
#[tokio::test(start_paused = true)]
async fn the_schedule_holds_with_a_server_that_answers_no_rset() {
    let mut hops = hops().await;
    let answers: Answers = &[("RCPT", "450 4.2.0 later"), ("RSET", ""), ("QUIT", "")];
    let case = hops.case(answers, answers).await;
    let start = Instant::now();
    hops.two.send("<ana@x.test>", &[&format!("<a@{}>", case.domain)]).await;
    for attempts in 1..=6 {
        hops.two.tried(Some(attempts)).await;
        hops.two.pass(Duration::from_secs(2));
    }
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!((case.one.with("MAIL").len(), case.other.with("MAIL").len()), (6, 6));
}

/// A destination's own schedule holds even if others are tried less often: an unreachable server is
/// dialled each time.
#[tokio::test(start_paused = true)]
async fn a_destinations_own_schedule_holds() {
    let schedule = Schedule { retry: vec![Duration::from_secs(2)], ..schedule() };
    let own = Rules { schedule, ..rules() };
    let domains = [("y.test".to_owned(), own)].into();
    let private_addresses = PrivateAddresses::Allow;
    let mut zone = zone();
    zone.exchangers.insert("y.test".into(), vec![(10, "one.hop.test".to_owned())]);
    zone.addresses.insert("one.hop.test".into(), vec![[192, 0, 2, 40].into()]);
    let settings = RelaySettings { domains, private_addresses, ..relay_settings() };
    let two = two_with(zone, settings).await;
    let answers = &[("connected", "421 4.3.2 too busy")];
    let heard = hop(&two.net, ("one.hop.test", "192.0.2.40:25"), Protection::None, answers).await;
    two.send("<ana@x.test>", &["<a@y.test>"]).await;
    for attempts in 1..=4 {
        two.tried(Some(attempts)).await;
        assert_eq!(heard.count("connected"), attempts as usize);
        sleep(Duration::from_secs(1)).await;
        two.pass(Duration::from_secs(2));
    }
}

/// A reply that is neither positive nor negative: the next server is tried, or the mail waits and is
/// reported in the end. It never gets stuck, and never counts as delivered.
#[tokio::test(start_paused = true)]
async fn a_yes_to_data_is_no_answer() {
    let mut hops = hops().await;
    let yes: Answers = &[("DATA", "250 2.0.0 Ok")];
    let case = hops.case(yes, &[]).await;
    assert_eq!(hops.attempt(&case, &["a"]).await, None);
    assert_eq!(case.taken(), (0, 1));
    let case = hops.case(yes, yes).await;
    let reply = hops.attempt(&case, &["a"]).await.unwrap();
    assert!(reply.starts_with("451 4.5.0 two.hop1.test (192.0.4.1:25): "), "{reply}");
    assert!(reply.contains("it answers DATA with \"250 2.0.0 Ok\""), "{reply}");
    hops.two.pass(5 * 24 * HOUR);
    let report = hops.two.inbox("127.0.0.1", "ana", 1).await;
    assert!(report.contains("Action: failed\r\n"), "{report}");
    assert!(report.contains("it answers DATA with \"250 2.0.0 Ok\""), "{report}");
}

/// After a refusal of the whole session, the next server is tried; if there is no other, the refusal is
/// the result.
#[tokio::test(start_paused = true)]
async fn who_refuses_to_talk_for_good_is_quoted() {
    let banner: Answers = &[("connected", "554 5.7.1 Not from there")];
    let hello: Answers = &[("EHLO", "550 no"), ("HELO", "554 5.7.1 Not from there")];
    let hangs_up: Answers = &[("EHLO", "554 5.7.1 Not from there\r\nX")];
    let mut hops = hops().await;
    for (number, answers) in [banner, hello, hangs_up].into_iter().enumerate() {
        let case = hops.case(answers, &[]).await;
        assert_eq!(hops.attempt(&case, &["a"]).await, None, "{answers:?}");
        assert_eq!(case.taken(), (0, 1));
        let case = hops.case(answers, answers).await;
        assert_eq!(hops.attempt(&case, &["a"]).await, None);
        let report = hops.two.inbox("127.0.0.1", "ana", number + 1).await;
        let place = case.domain.replace("hop", "one.hop");
        for part in [
            &*format!("The server {place} answered:\r\n    554 5.7.1 Not from there\r\n"),
            "Diagnostic-Code: smtp; 554 5.7.1 Not from there\r\n",
            "Status: 5.7.1\r\n",
        ] {
            assert!(report.contains(part), "{answers:?} {part}\n{report}");
        }
    }
    // As long as one of the servers may accept the mail later, it waits.
    let case = hops.case(banner, &[("connected", "421 4.3.2 too busy")]).await;
    assert_eq!(hops.attempt(&case, &["a"]).await.unwrap(), "421 4.3.2 too busy");
}

/// A server that hangs up at EHLO is greeted with HELO.
#[tokio::test(start_paused = true)]
async fn who_hangs_up_at_ehlo_is_greeted_with_helo() {
    let mut hops = hops().await;
    let answers: [Answers; 3] =
        [&[("EHLO", "X")], &[("EHLO", "what?")], &[("EHLO", "250-one\r\n25\r\nX")]];
    for answers in answers {
        let case = hops.case(answers, &[("connected", "X")]).await;
        assert_eq!(hops.attempt(&case, &["a"]).await, None, "{answers:?}");
        assert_eq!(case.one.with("HELO"), ["HELO mail.x.test"], "{answers:?}");
        assert_eq!(case.taken(), (1, 0));
    }
}

/// If TLS is offered and fails, mail is sent in plaintext, unless TLS is required.
#[tokio::test(start_paused = true)]
async fn tls_that_does_not_work_is_done_without() {
    let mut hops = hops().await;
    let answers: [(Protection, Answers); 6] = [
        (Protection::ClientCertificate, &[]),
        (Protection::Tls, &[("STARTTLS", "X")]),
        (Protection::Tls, &[("STARTTLS", "220 go\r\nX")]),
        (Protection::Tls, &[("STARTTLS", "220 go\r\nnot TLS\r\nX")]),
        (Protection::Tls, &[("STARTTLS", "what?")]),
        (Protection::Tls, &[("TLS EHLO", "X")]),
    ];
    for (protection, answers) in answers {
        let case = hops.case_in(protection, answers, &[("connected", "X")]).await;
        assert_eq!(hops.attempt(&case, &["a"]).await, None, "{answers:?}");
        assert_eq!(case.one.count("STARTTLS"), 1, "{answers:?}");
        assert_eq!((case.one.count("."), case.one.count("connected")), (1, 2), "{answers:?}");
    }
}

/// If TLS is required and fails, mail waits, and the fault is reported in words.
#[tokio::test(start_paused = true)]
async fn tls_that_does_not_work_is_told_in_words() {
    for (protection, answers, words) in [
        (Protection::ClientCertificate, &[][..], "it asks for a client certificate"),
        (Protection::Tls, &[("STARTTLS", "X")], "after STARTTLS it closed the connection"),
        (
            Protection::Tls,
            &[("STARTTLS", "454 4.7.0 no key")],
            "STARTTLS is refused: 454 4.7.0 no key",
        ),
        (Protection::None, &[], "it is not offered"),
        (Protection::Tls, &[("TLS EHLO", "X")], "directly after the TLS handshake"),
    ] {
        let mut zone = zone();
        zone.addresses.insert("out.test".to_owned(), vec![[192, 0, 2, 40].into()]);
        let (host, tls) = ("out.test".to_owned(), SmarthostTls::StartTls);
        let smarthost = Smarthost { host, port: 587, tls, login: None };
        let all = Rules { route: Some(Arc::new(smarthost)), ..rules() };
        let two = two_with(zone, RelaySettings { all, ..relay_settings() }).await;
        let heard = hop(&two.net, ("out.test", "192.0.2.40:587"), protection, answers).await;
        two.send("<ana@x.test>", &["<a@far.test>"]).await;
        let line = two.tried(Some(1)).await.unwrap();
        let reply = line.recipients[0].reply.as_ref().unwrap();
        assert!(reply.starts_with("451 4.7."), "{reply}");
        assert!(reply.contains(" out.test (192.0.2.40:587): no TLS: "), "{reply}");
        assert!(reply.contains(words), "{reply}");
        assert!(!reply.contains("CertificateRequired") && !reply.contains("docs.rs"), "{reply}");
        assert!(heard.with("MAIL").is_empty(), "{:?}", heard.lines());
        let story = two.trace("a@far.test").await;
        let met = |event: &Event| matches!(&event.what, What::Attempted { host: Some(host), .. } if host == "out.test");
        assert!(story.iter().any(met), "it was talked to: {story:?}");
    }
}

/// Replies may end in a lone LF.
#[tokio::test(start_paused = true)]
async fn a_server_may_end_its_lines_in_lf() {
    let answers: Answers = &[
        ("connected", "220 one ready\n"),
        ("EHLO", "250-one\n250-8BITMIME\n250 PIPELINING\n"),
        ("MAIL", "250 ok\n"),
        ("RCPT", "250 ok\n"),
        ("DATA", "354 go\n"),
        (".", "250 taken\n"),
    ];
    let mut hops = hops().await;
    let case = hops.case(answers, &[]).await;
    assert_eq!(hops.attempt(&case, &["a"]).await, None);
    assert_eq!(case.taken(), (1, 0));
}

/// RFC 5321 §4.5.3.1.10: a 552 for a recipient after others were accepted means too many; the rest
/// follow at once in another transaction.
#[tokio::test(start_paused = true)]
async fn the_rest_of_too_many_recipients_follow_at_once() {
    let mut hops = hops().await;
    let case = hops.case(&[("3:RCPT", "552 5.5.3 too many"), ("4:RCPT", "552 x")], &[]).await;
    assert_eq!(hops.attempt(&case, &["a", "b", "c", "d"]).await, None);
    assert_eq!(case.taken(), (2, 0));
    assert_eq!(case.one.with("RCPT").len(), 6);
    assert_eq!(case.one.count("connected"), 1);
}

/// Unlabelled 8-bit text for a server that accepts only ASCII: the meaning is preserved, or the sender
/// gets a report.
#[tokio::test(start_paused = true)]
async fn text_that_nobody_declared_keeps_its_meaning() {
    let mut hops = hops().await;
    let ascii: Answers = &[("EHLO", "250 hop.test")];
    let case = hops.case(ascii, ascii).await;
    let send = async |content: &str| {
        let domain = &case.domain;
        let envelope = format!("MAIL FROM:<ana@x.test>\r\nRCPT TO:<a@{domain}>\r\nDATA\r\n");
        let said = format!("EHLO c.test\r\n{envelope}{content}\r\n.\r\nQUIT\r\n");
        let said = hops.two.say("127.0.0.1:587", &said).await;
        assert!(said.contains("kept as"), "{said}");
        hops.two.tried(None).await;
    };
    send("Subject: s\r\n\r\ngr\u{fc}\u{df}e").await;
    let lines = case.one.lines();
    for expected in [
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        "gr=C3=BC=C3=9Fe",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{lines:?}");
    }
    send("Subject: gr\u{fc}n\r\n\r\ntext").await;
    let report = hops.two.inbox("127.0.0.1", "ana", 1).await;
    assert!(report.contains("Status: 5.6.3\r\n"), "{report}");
    assert_eq!(case.taken(), (1, 0));
}

/// The connection breaks after some recipients have the message and others do not: the former get it
/// only once.
#[tokio::test(start_paused = true)]
async fn who_has_it_does_not_get_it_again() {
    let answers: Answers =
        &[("EHLO", "250-one\r\n250-8BITMIME\r\n250 LIMITS RCPTMAX=1"), ("RCPT TO:<b@", "X")];
    let mut hops = hops().await;
    let case = hops.case(answers, &[]).await;
    assert_eq!(hops.attempt(&case, &["a", "b"]).await, None);
    assert_eq!(case.taken(), (1, 1));
    assert_eq!(case.other.with("RCPT"), [format!("RCPT TO:<b@{}>", case.domain)]);
}

/// An operator who removes items may have mended the way to their server: the next message tries it at once.
#[tokio::test(start_paused = true)]
async fn what_is_removed_takes_the_memory_of_dead_servers_along() {
    let two = two().await;
    two.send("<ana@x.test>", &["<a@dead.test>"]).await;
    two.tried(Some(1)).await;
    let mut listener = two.net.bind(&"192.0.2.99:25".parse().unwrap()).await.unwrap();
    two.change(QueueAction::Remove).await;
    two.tried(None).await;
    let began = Instant::now();
    two.send("<ana@x.test>", &["<b@dead.test>"]).await;
    listener.accept().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
