//! Mail of a sender that is not known yet is put off once.

use super::*;

fn door() -> DoorSettings {
    DoorSettings {
        greylisting: true,
        allow_lists: vec!["wl.test".parse().unwrap()],
        ..DoorSettings::open()
    }
}

fn zone() -> FixedZone {
    let mut zone = FixedZone::default();
    let records = [("2.0.0.127.wl.test", "127.0.0.2"), ("77.2.0.192.wl.test", "127.0.0.2")];
    for (name, code) in records {
        zone.addresses.insert(name.to_owned(), vec![code.parse().unwrap()]);
    }
    let spf = "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/24 -all".to_owned();
    zone.texts.insert("large.test".to_owned(), vec![spf]);
    zone
}

fn codes(said: &[String]) -> Vec<&str> {
    said.iter().map(|reply| &reply[..9]).collect()
}

#[tokio::test(start_paused = true)]
async fn who_tries_again_passes_and_is_known() {
    let (store, clock) = (store(), Arc::new(SimulatedClock::new(time(0), 7)));
    let system = system_at(store.clone(), clock.clone(), zone(), door()).await;
    let said = system.rcpt(GOOD, "s@y.test", &["ana@x.test"]).await;
    assert_eq!(
        said,
        ["451 4.7.1 Greylisted: this server does not know your mail from 192.0.2.0/24 yet; try \
          again in 60 seconds"]
    );
    let recipients = ["ana@x.test", "bob@x.test", "nobody@x.test", "postmaster@x.test"];
    for (seconds, client, from, codes_of) in [
        (59, GOOD, "s@y.test", ["451 4.7.1", "451 4.7.1", "550 5.1.1", "250 2.1.5"]),
        // Any server of the same network may try again; then the sender's domain is known there.
        (60, "192.0.2.200", "s@y.test", ["250 2.1.5", "250 2.1.5", "550 5.1.1", "250 2.1.5"]),
        (61, "192.0.2.3", "t@y.test", ["250 2.1.5", "250 2.1.5", "550 5.1.1", "250 2.1.5"]),
        (61, "192.0.2.3", "t@z.test", ["451 4.7.1", "451 4.7.1", "550 5.1.1", "250 2.1.5"]),
        (61, "192.0.3.3", "t@y.test", ["451 4.7.1", "451 4.7.1", "550 5.1.1", "250 2.1.5"]),
        // An allow list knows better.
        (61, "192.0.2.77", "t@w.test", ["250 2.1.5", "250 2.1.5", "550 5.1.1", "250 2.1.5"]),
    ] {
        clock.set(time(seconds));
        let said = system.rcpt(client, from, &recipients).await;
        assert_eq!(codes(&said), codes_of, "{seconds} {client} {from}");
    }
    let told = system.told(GOOD).await;
    assert!(told.contains("Greylisted"), "{told}");
    system.server.stop().await;
    // A restart forgets nothing.
    let system = system_at(store, clock, zone(), door()).await;
    let said = system.rcpt(GOOD, "u@y.test", &["bob@x.test"]).await;
    assert_eq!(codes(&said), ["250 2.1.5"]);
    system.server.stop().await;
}

/// Large providers try again from anywhere; SPF says which servers are theirs.
#[tokio::test(start_paused = true)]
async fn a_domain_may_try_again_from_all_of_its_networks() {
    let (store, clock) = (store(), Arc::new(SimulatedClock::new(time(0), 7)));
    let system = system_at(store, clock.clone(), zone(), door()).await;
    for (seconds, client, reply) in [
        (0, "198.51.100.1", "451 4.7.1"),
        // Not its own.
        (60, "192.0.2.1", "451 4.7.1"),
        (60, "203.0.113.1", "250 2.1.5"),
        (60, "198.51.100.1", "250 2.1.5"),
        (61, "192.0.2.1", "451 4.7.1"),
    ] {
        clock.set(time(seconds));
        let said = system.rcpt(client, "s@large.test", &["ana@x.test"]).await;
        assert_eq!(codes(&said), [reply], "{seconds} {client}: {said:?}");
    }
    system.server.stop().await;
}
