//! DNS block and allow lists.

use super::*;
use std::collections::HashMap;

/// A client that a block list has.
const BAD: &str = "192.0.2.66";

/// The same of the other family.
const BAD_SIX: &str = "2001:db8::66";

/// Its name below a list.
const BAD_SIX_NAME: &str = "6.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";

/// A client that two lists have.
const KNOWN: &str = "192.0.2.77";

fn door() -> DoorSettings {
    DoorSettings {
        block_lists: vec!["bl.test".parse().unwrap()],
        allow_lists: vec!["wl.test".parse().unwrap()],
        ..DoorSettings::open()
    }
}

/// Two lists that work, and who is on them.
fn zone() -> FixedZone {
    let addresses: HashMap<_, _> = [
        ("2.0.0.127.bl.test".to_owned(), "127.0.0.2"),
        ("2.0.0.127.wl.test".to_owned(), "127.0.10.3"),
        ("66.2.0.192.bl.test".to_owned(), "127.0.0.4"),
        (format!("{BAD_SIX_NAME}.bl.test"), "127.0.0.4"),
        ("77.2.0.192.bl.test".to_owned(), "127.0.0.4"),
        ("77.2.0.192.wl.test".to_owned(), "127.0.10.3"),
    ]
    .into_iter()
    .map(|(name, code)| (name, vec![code.parse().unwrap()]))
    .collect();
    let said = "Sends spam,\r\n250 see https://bl.test/66".to_owned();
    let texts = [("66.2.0.192.bl.test".to_owned(), vec![said])].into();
    FixedZone { addresses, texts, ..FixedZone::default() }
}

const REFUSAL: &str =
    "550 5.7.1 192.0.2.66 is on the block list bl.test: Sends spam,250 see https://bl.test/66";

#[tokio::test(start_paused = true)]
async fn who_is_on_a_block_list_is_refused_and_hears_why() {
    let system = system_behind(zone(), door()).await;
    let said = system.rcpt(BAD, "s@y.test", &["ana@x.test", "bob@x.test"]).await;
    assert_eq!(said, [REFUSAL, REFUSAL]);
    // RFC 5782 §2.4.
    let said = system.rcpt(BAD_SIX, "s@y.test", &["ana@x.test"]).await;
    let words = "550 5.7.1 2001:db8::66 is on the block list bl.test: it says no more";
    assert_eq!(said, [words]);
    for client in [GOOD, KNOWN] {
        let said = system.rcpt(client, "s@y.test", &["ana@x.test"]).await;
        assert_eq!(said, ["250 2.1.5 Ok"], "{client}");
    }
    let told = system.told(BAD).await;
    assert!(told.contains("is on the block list bl.test: Sends spam"), "{told}");
    system.server.stop().await;
}

/// RFC 5321 §4.5.1, RFC 2142 §2: who is refused by mistake can say so.
#[tokio::test(start_paused = true)]
async fn postmaster_and_abuse_are_reached_all_the_same() {
    let system = system_behind(zone(), door()).await;
    let recipients = ["Postmaster@x.test", "abuse@x.test", "ana@x.test", "postmaster"];
    let said = system.rcpt(BAD, "s@y.test", &recipients).await;
    assert_eq!(said, ["250 2.1.5 Ok", "250 2.1.5 Ok", REFUSAL, "250 2.1.5 Ok"]);
    system.server.stop().await;
}

/// A list may die, be sold, or refuse to answer this server's resolvers. Then mail comes in as without it.
#[tokio::test(start_paused = true)]
async fn a_list_that_is_not_to_be_believed_refuses_nobody() {
    for (case, name, codes) in [
        ("it lists everybody", "1.0.0.127.bl.test", &["127.0.0.2"][..]),
        ("it lists nobody", "2.0.0.127.bl.test", &[]),
        ("it was sold", "66.2.0.192.bl.test", &["198.51.100.7"]),
        ("it refuses to answer", "66.2.0.192.bl.test", &["127.255.255.254"]),
        ("it does not answer", "66.2.0.192.bl.test", &["failing"]),
        ("nor about itself", "1.0.0.127.bl.test", &["failing"]),
    ] {
        let mut zone = zone();
        if codes == ["failing"] {
            zone.failing.push(name.to_owned());
        } else {
            let codes = codes.iter().map(|code| code.parse().unwrap()).collect();
            zone.addresses.insert(name.to_owned(), codes);
        }
        let system = system_behind(zone, door()).await;
        let said = system.rcpt(BAD, "s@y.test", &["ana@x.test"]).await;
        assert_eq!(said, ["250 2.1.5 Ok"], "{case}");
        system.server.stop().await;
    }
}

/// Nothing is asked about users, neighbours and programs of this machine; whom a front server names by XCLIENT is a
/// stranger.
#[tokio::test(start_paused = true)]
async fn only_strangers_are_looked_up() {
    let mut zone = zone();
    let own = ("1.2.3.127.bl.test".to_owned(), vec!["127.0.0.4".parse().unwrap()]);
    zone.addresses.extend([own]);
    for (xclient, trust, relays_for, code) in [
        ("", LoopbackTrust::Anywhere, "192.0.2.0/24", "250 2.1.5"),
        ("XCLIENT ADDR=192.0.2.66\r\n", LoopbackTrust::Anywhere, "198.51.100.0/24", "550 5.7.1"),
        ("XCLIENT ADDR=192.0.2.66\r\n", LoopbackTrust::Anywhere, "192.0.2.0/24", "250 2.1.5"),
        ("XCLIENT ADDR=127.3.2.1\r\n", LoopbackTrust::Nothing, "192.0.2.0/24", "550 5.7.1"),
    ] {
        let store = store();
        let now = Timestamp::from_second(1_074_188_330).unwrap();
        let change = |settings: &mut Settings| {
            settings.door = door();
            settings.forwarders = vec!["127.0.0.0/8".parse().unwrap()];
            settings.trust_loopback = trust;
            settings.relays_for = vec![relays_for.parse().unwrap()];
        };
        let clock = Arc::new(SimulatedClock::new(now, 7));
        let system = system_asking(Arc::new(zone.clone()), store, clock, change).await;
        let text = format!(
            "EHLO c\r\n{xclient}EHLO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nQUIT\r\n"
        );
        let said = system.say(25, &text).await;
        assert!(said.contains(&format!("\r\n{code} ")), "{xclient}{trust:?} {relays_for}: {said}");
        system.server.stop().await;
    }
}

/// Settings that are read again hold for the next session.
#[tokio::test(start_paused = true)]
async fn lists_may_change_while_the_server_runs() {
    let mut system = system_behind(zone(), door()).await;
    let change = |lists: &[&str]| {
        let mut settings = settings("mail.x.test");
        settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.door.block_lists = lists.iter().map(|list| list.parse().unwrap()).collect();
        settings
    };
    for (lists, code) in [(&[][..], "250"), (&["bl.test"], "550")] {
        system.server.reload(change(lists)).unwrap();
        let said = system.rcpt(BAD, "s@y.test", &["ana@x.test"]).await;
        assert!(said[0].starts_with(code), "{lists:?}: {said:?}");
    }
    system.server.stop().await;
}
