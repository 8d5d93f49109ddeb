//! How many recipients strangers write to in an hour.

use super::*;

fn codes(said: &[String]) -> Vec<&str> {
    said.iter().map(|reply| &reply[..9]).collect()
}

/// A network is counted as a whole, and what else comes from elsewhere is not held up.
#[tokio::test(start_paused = true)]
async fn networks_and_senders_have_limits() {
    let settings =
        DoorSettings { network_recipients: 5, sender_recipients: 3, ..DoorSettings::open() };
    let system = system_behind(FixedZone::default(), settings).await;
    let two = ["ana@x.test", "bob@x.test"];
    for (client, from, replies) in [
        (GOOD, "s@y.test", ["250 2.1.5", "250 2.1.5"]),
        ("192.0.2.99", "s@y.test", ["250 2.1.5", "450 4.7.1"]),
        ("198.51.100.1", "s@y.test", ["250 2.1.5", "250 2.1.5"]),
        (GOOD, "t@y.test", ["250 2.1.5", "450 4.7.1"]),
        // A report has no sender.
        ("2001:db8::1", "", ["250 2.1.5", "250 2.1.5"]),
        ("2001:db8::ffff:1", "", ["250 2.1.5", "250 2.1.5"]),
        ("2001:db8::2", "", ["250 2.1.5", "450 4.7.1"]),
        ("2001:db8:0:1::2", "", ["250 2.1.5", "250 2.1.5"]),
    ] {
        let said = system.rcpt(client, from, &two).await;
        assert_eq!(codes(&said), replies, "{client} {from}: {said:?}");
    }
    let told = system.told(GOOD).await;
    assert!(told.contains("From 192.0.2.0/24 come 5 recipients an hour at most"), "{told}");
    let told = system.told("192.0.2.99").await;
    assert!(told.contains("One sender has 3 recipients an hour at most"), "{told}");
    system.server.stop().await;
}

/// Users have a limit of their own (`limits.submissions`), and programs of this machine have none.
#[tokio::test(start_paused = true)]
async fn only_strangers_are_counted() {
    let system = system_with(|settings| {
        settings.door = DoorSettings { network_recipients: 1, ..DoorSettings::open() };
    })
    .await;
    let text = "EHLO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nRCPT TO:<bob@x.test>\r\n";
    let said = system.say(25, &format!("{text}QUIT\r\n")).await;
    assert_eq!(said.matches("250 2.1.5").count(), 2, "{said}");
    system.server.stop().await;
}
