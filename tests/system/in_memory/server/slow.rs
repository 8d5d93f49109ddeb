//! Senders that hold resources that others need: memory for content and for envelopes.

use super::*;
use crate::{settings::smtp_limits, store::store};
use posta_server::deliver::checked::OriginPolicy;

/// Starts a system behind a load balancer, which names the clients.
async fn crowded(memory: usize) -> System {
    let change = |settings: &mut Settings| {
        settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.sessions = 600;
        settings.sessions_per_client = 600;
        settings.memory = memory;
    };
    system_with(change).await
}

/// Opens a session from an address, which has sent this text and not waited for the replies.
async fn from(system: &System, address: &str, text: &str) -> Box<dyn Stream> {
    let family = if address.contains(':') { "TCP6" } else { "TCP4" };
    let here = if address.contains(':') { "::1" } else { "127.0.0.1" };
    let mut stream = system.connect(25).await;
    stream.write_all(format!("PROXY {family} {address} {here} 1 25\r\n").as_bytes()).await.unwrap();
    if stream.write_all(text.as_bytes()).await.is_err() {
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        panic!("{address} is turned away: {}", &said[said.len().saturating_sub(300)..]);
    }
    stream
}

const BEGIN: &str = "HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n";

fn body(octets: usize) -> String {
    format!("Subject: s\r\n\r\n{}", "0123456789abcde\r\n".repeat(octets / 17))
}

/// Delivers a message of 100 KB. Returns the time that it took.
async fn deliver(system: &System, address: &str) -> std::time::Duration {
    let began = tokio::time::Instant::now();
    let mail = format!("{BEGIN}{}.\r\nQUIT\r\n", body(100_000));
    let mut stream = from(system, address, &mail).await;
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("kept as"), "{address}: {said}");
    began.elapsed()
}

/// 256 sessions send 33 KiB each and then almost nothing, for half an hour: from a few networks, from
/// one network each, and from the addresses of one /64.
#[tokio::test(start_paused = true)]
async fn slow_senders_hold_up_nobody() {
    let few = |number: usize| format!("192.0.2.{}", 1 + number % 6);
    let many = |number: usize| format!("203.0.{}.{}", 113 + number / 200, 1 + number % 200);
    let one = |number: usize| format!("2001:db8:1:2::{:x}", number + 1);
    for addresses in [&few as &dyn Fn(usize) -> String, &many, &one] {
        let system = crowded(2 << 20).await;
        let mut slow = Vec::new();
        let start = format!("{BEGIN}{}", body(33 * 1024));
        for number in 0..256 {
            slow.push(from(&system, &addresses(number), &start).await);
        }
        for minute in 0..30 {
            let took = deliver(&system, "198.51.100.7").await;
            assert!(took.as_secs() < 3, "{} in minute {minute}: {took:?}", addresses(0));
            for _ in 0..60 {
                for stream in &mut slow {
                    // A session that was closed for its slowness has already done its harm.
                    let _ = stream.write_all(&[b'x'; 128]).await;
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
        drop(slow);
        system.server.stop().await;
    }
}

/// Where the origin of mail is checked, header sections are kept in memory, and count. The bodies that slow senders from
/// 256 networks have sent in one piece with the end of their header sections do not, and leave room for others.
#[tokio::test(start_paused = true)]
async fn bodies_of_slow_senders_do_not_count_as_header_sections() {
    let change = |settings: &mut Settings| {
        settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.sessions = 600;
        settings.memory = 2 << 20;
        settings.checks = Some(OriginPolicy { obey: true, trusted_sealers: Vec::new() });
    };
    let clock = SimulatedClock::new(Timestamp::from_second(1_074_188_330).unwrap(), 7);
    let (store, zone) = (store(), Arc::new(FixedZone::default()));
    let system = system_asking(zone, store, Arc::new(clock), change).await;
    // The network passes on 16,384 octets at a time: the header section ends in the second piece, and is as long as one
    // may be that costs no share of the memory.
    let fields = format!("X-Filling: {}\r\n", "x".repeat(87)).repeat(163);
    let header = format!("From: s@y.test\r\n{fields}X-More: {}\r\n", "x".repeat(30));
    assert_eq!(header.len() + "Subject: s\r\n\r\n".len(), 16_370);
    let mail = format!("{BEGIN}{header}{}", body(33 * 1024));
    let mut slow = Vec::new();
    for number in 0..256 {
        slow.push(from(&system, &format!("2001:db8:1:{number:x}::1"), &mail).await);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut stream = from(&system, "198.51.100.7", &format!("{mail}.\r\nQUIT\r\n")).await;
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("kept as"), "{said}");
    drop(slow);
    system.server.stop().await;
}

/// Content that was stored piece by piece comes back whole and in order.
#[tokio::test(start_paused = true)]
async fn what_a_slow_sender_sent_is_whole() {
    let system = crowded(1).await;
    let sent = body(300_000);
    let mut stream = from(&system, "192.0.2.1", BEGIN).await;
    read_until(&mut stream, "354 ").await;
    for piece in sent.as_bytes().chunks(20_000) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
    stream.write_all(b".\r\nQUIT\r\n").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("kept as"), "{said}");
    let read = system
        .say(110, &format!("PROXY TCP4 192.0.2.1 127.0.0.1 1 110\r\n{LOGIN}RETR 1\r\nQUIT\r\n"))
        .await;
    let text = &sent["Subject: s\r\n".len()..];
    assert!(read.contains(text), "{} octets", read.len());
    system.server.stop().await;
}

/// With open transactions of a thousand recipients, others can still write to several.
#[tokio::test(start_paused = true)]
async fn envelopes_are_within_the_memory() {
    for address in
        [|number| format!("2001:db8:1:2::{number:x}"), |number| format!("2001:db8:1:{number:x}::1")]
    {
        let change = |settings: &mut Settings| {
            settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
            settings.sessions = 600;
            settings.sessions_per_client = 600;
            settings.memory = 4 << 20;
            settings.smtp_limits = Limits { commands: 5_000, recipients: 1_000, ..smtp_limits() };
        };
        let system = system_with(change).await;
        let tag = "x".repeat(50);
        let mut open = Vec::new();
        let mut accepted = 0;
        for number in 1..=30 {
            let begin = "HELO c\r\nMAIL FROM:<s@y.test>\r\n";
            let mut stream = from(&system, &address(number), begin).await;
            for batch in 0..20 {
                let recipient = |one: usize| format!("RCPT TO:<ana+{tag}{one}@x.test>\r\n");
                let some: String = (batch * 50..batch * 50 + 50).map(recipient).collect();
                stream.write_all(format!("{some}NOOP\r\n").as_bytes()).await.unwrap();
                let said = read_until(&mut stream, "250 2.0.0 Ok").await;
                accepted += said.matches("250 2.1.5").count();
            }
            open.push(stream);
        }
        // Each recipient takes about 700 octets.
        assert!(accepted < 6_000, "{accepted} recipients are in memory");
        let few: String =
            (0..20).map(|number| format!("RCPT TO:<bob+{number}@x.test>\r\n")).collect();
        let mail =
            format!("HELO c\r\nMAIL FROM:<s@y.test>\r\n{few}DATA\r\nA: b\r\n\r\n.\r\nQUIT\r\n");
        let mut stream = from(&system, "198.51.100.7", &mail).await;
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said.matches("250 2.1.5").count(), 20, "{said}");
        assert!(said.contains("kept as"), "{said}");
        system.server.stop().await;
    }
}

/// Who is refused on purpose must not keep others from writing while the reply is delayed.
#[tokio::test(start_paused = true)]
async fn a_refused_message_frees_its_turn_to_write_before_the_delayed_reply() {
    // Two turns, and memory for one chunk.
    let system = crowded(1).await;
    let mut refused = Vec::new();
    for address in ["192.0.2.1", "203.0.113.1"] {
        let strangers = "RCPT TO:<nobody@x.test>\r\n".repeat(25);
        let begin = format!(
            "HELO c\r\nMAIL FROM:<s@y.test>\r\n{strangers}RCPT TO:<ana@x.test>\r\nDATA\r\n"
        );
        let mut stream = from(&system, address, &begin).await;
        read_until(&mut stream, "354 ").await;
        // A message that went through too many servers, most of which is set aside in the pause.
        let loops = "Received: from a by b; some day\r\n".repeat(101);
        stream.write_all(format!("{loops}{}", body(20_000)).as_bytes()).await.unwrap();
        refused.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    // Another session has the memory, so that those who come now need a turn to write.
    let start = format!("{BEGIN}{}", body(40_000));
    let holder = from(&system, "198.51.100.1", &start).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    for stream in &mut refused {
        stream.write_all(b".\r\n").await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let took = deliver(&system, "198.51.100.7").await;
    assert!(took < Duration::from_millis(500), "{took:?}");
    let before = tokio::time::Instant::now();
    for stream in &mut refused {
        read_until(stream, "554 5.4.6").await;
    }
    assert!(before.elapsed() > Duration::from_millis(400), "the reply was delayed");
    drop(holder);
    system.server.stop().await;
}
