//! The names of a client: in its HELO, and in DNS.

use super::*;

#[tokio::test(start_paused = true)]
async fn names_are_looked_at_where_that_is_wanted() {
    let mut zone = FixedZone { failing: vec!["192.0.2.9".to_owned()], ..FixedZone::default() };
    for (address, name, back) in [
        (GOOD, "mail.a.test", GOOD),
        ("192.0.2.2", "other.a.test", GOOD),
        ("2001:db8::1", "six.a.test", "2001:db8::1"),
    ] {
        zone.names.insert(address.to_owned(), vec![name.to_owned()]);
        zone.addresses.insert(name.to_owned(), vec![back.parse().unwrap()]);
    }
    let strict = DoorSettings {
        strict_hello: true,
        reverse_dns: ReverseDns::Confirmed,
        ..DoorSettings::open()
    };
    let lax = DoorSettings { reverse_dns: ReverseDns::Named, ..DoorSettings::open() };
    for (door, client, hello, reply) in [
        (&strict, GOOD, "mail.a.test", "250 2.1.5 Ok"),
        (&strict, "2001:db8::1", "[IPv6:2001:db8::1]", "250 2.1.5 Ok"),
        (&strict, GOOD, "localhost", "550 5.7.1 HELO localhost: say the full name"),
        (
            &strict,
            GOOD,
            "Mail.X.test",
            "550 5.7.1 HELO Mail.X.test: that is the name of this server",
        ),
        (&strict, GOOD, "[127.0.0.1]", "550 5.7.1 HELO [127.0.0.1]: that is not the address"),
        (&strict, "192.0.2.2", "mail.a.test", "550 5.7.25 192.0.2.2 has a name in DNS (PTR) that"),
        (&strict, "192.0.2.3", "mail.a.test", "550 5.7.25 192.0.2.3 has no name in DNS (PTR)"),
        (&strict, "192.0.2.9", "mail.a.test", "450 4.7.25 DNS does not answer for the name of"),
        (&lax, "192.0.2.2", "localhost", "250 2.1.5 Ok"),
        (&lax, "192.0.2.3", "localhost", "550 5.7.25 192.0.2.3 has no name in DNS (PTR)"),
        (&DoorSettings::open(), "192.0.2.3", "localhost", "250 2.1.5 Ok"),
    ] {
        let system = system_behind(zone.clone(), door.clone()).await;
        let text = format!(
            "{}EHLO {hello}\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<postmaster>\r\n\
             RCPT TO:<ana@x.test>\r\nQUIT\r\n",
            header(client)
        );
        let said = system.say(25, &text).await;
        let replies: Vec<_> = said.lines().rev().take(3).collect();
        assert!(replies[1].starts_with(reply), "{client} {hello}: {said}");
        assert_eq!(replies[2], "250 2.1.5 Ok", "postmaster: {said}");
        if reply.starts_with("550") {
            let told = system.told(client).await;
            assert!(told.contains(&reply[..30]), "{told}");
        }
        system.server.stop().await;
    }
}
