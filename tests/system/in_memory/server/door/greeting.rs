//! The greeting is kept back from strangers, and who speaks before it is refused.

use super::*;
use tokio::time::Instant;

const EARLY: &str = "554 5.5.1 A client waits for the greeting before it speaks";

fn door() -> DoorSettings {
    DoorSettings { greeting_delay: Duration::from_secs(5), ..DoorSettings::open() }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_is_greeted() {
    let system = system_behind(FixedZone::default(), door()).await;
    let begun = Instant::now();
    let mut stream = system.connect(25).await;
    stream.write_all(header(GOOD).as_bytes()).await.unwrap();
    let mut said = vec![0; 4];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!((&said[..], begun.elapsed().as_secs()), (&b"220 "[..], 5));
    let text = "EHLO c.test\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nQUIT\r\n";
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("\r\n250 2.1.5 Ok\r\n221 "), "{said}");
    assert_eq!(begun.elapsed().as_secs(), 5);
    system.server.stop().await;
}

/// RFC 5321 §4.3.1. Most programs that send spam do not read what a server says.
#[tokio::test(start_paused = true)]
async fn who_speaks_before_the_greeting_is_refused() {
    let system = system_behind(FixedZone::default(), door()).await;
    for (wait, text) in [(0, "EHLO c.test\r\nQUIT\r\n"), (4, "E"), (4, "\x16\x03\x01\x02")] {
        let begun = Instant::now();
        let mut stream = system.connect(25).await;
        stream.write_all(header("192.0.2.66").as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(wait)).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with(EARLY) && said.lines().count() == 1, "{text}: {said}");
        assert!(begun.elapsed().as_secs() <= wait, "{text}");
    }
    let told = system.told("192.0.2.66").await;
    assert!(told.contains("A client waits for the greeting"), "{told}");
    system.server.stop().await;
}

/// Programs of this machine, neighbours, other services and servers in front are greeted at once.
#[tokio::test(start_paused = true)]
async fn only_strangers_wait() {
    for (port, relays_for, forwarders) in [
        (25, None, None),
        (25, Some("127.0.0.1/32"), None),
        (25, None, Some("127.0.0.1/32")),
        (587, None, None),
    ] {
        let system = system_with(|settings| {
            settings.door = door();
            settings.trust_loopback = match (relays_for, forwarders) {
                (None, None) => LoopbackTrust::Anywhere,
                _ => LoopbackTrust::Nothing,
            };
            settings.relays_for =
                relays_for.iter().map(|net: &&str| net.parse().unwrap()).collect();
            settings.forwarders =
                forwarders.iter().map(|net: &&str| net.parse().unwrap()).collect();
        })
        .await;
        let begun = Instant::now();
        let said = system.say(port, "EHLO c.test\r\nQUIT\r\n").await;
        assert!(said.starts_with("220 "), "{port} {relays_for:?} {forwarders:?}: {said}");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        system.server.stop().await;
    }
}

/// A client that hangs up meanwhile, and a server that stops, end the wait.
#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_client_or_the_server() {
    let system = system_behind(FixedZone::default(), door()).await;
    let mut stream = system.connect(25).await;
    stream.write_all(header(GOOD).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "");
    let mut stream = system.connect(25).await;
    stream.write_all(header(GOOD).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ((), read) = tokio::join!(system.server.stop(), stream.read_to_string(&mut said));
    read.unwrap();
    assert!(said.starts_with("421 4.3.2 "), "{said}");
}
