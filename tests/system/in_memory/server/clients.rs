//! The client of a session behind a proxy, and the networks that count as one client.

use super::*;
use ipnet::IpNet;

/// Makes all connections in these tests come through a load balancer on this machine.
fn behind_a_balancer(settings: &mut Settings) {
    settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
    settings.forwarders = settings.proxies.clone();
}

/// A PROXY header of version 2 with which a balancer connects on its own behalf.
const PROXY_LOCAL: &str = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A client whose address is unknown is a stranger: neither the balancer, nor a program on this machine.
#[tokio::test]
async fn an_unknown_client_is_a_stranger() {
    let here: IpNet = "127.0.0.0/8".parse().unwrap();
    let mail = "EHLO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<eva@z.test>\r\nQUIT\r\n";
    for (proxied, from) in [
        (true, "PROXY UNKNOWN\r\n"),
        (true, PROXY_LOCAL),
        (false, "XCLIENT ADDR=[UNAVAILABLE]\r\n"),
        (false, "XCLIENT ADDR=[TEMPUNAVAIL] LOGIN=[UNAVAILABLE]\r\n"),
    ] {
        let system = system_with(|settings| {
            behind_a_balancer(settings);
            if !proxied {
                settings.proxies.clear();
            }
            settings.relays_for = vec![here];
        });
        let system = system.await;
        let said = system.say(587, &format!("{from}{mail}")).await;
        assert!(said.contains("\r\n530 5.7.0"), "{from:?}: {said}");
        let said = system.say(25, &format!("{from}{mail}")).await;
        assert!(said.contains("\r\n550 5.7.1"), "{from:?}: {said}");
        if proxied {
            let said = system.say(25, &format!("{from}XCLIENT ADDR=127.0.0.1\r\nQUIT\r\n")).await;
            assert!(said.contains("\r\n550 5.7.0"), "it may speak for nobody: {said}");
        }
        let to_ana = "EHLO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n\r\n.\r\n";
        let said = system.say(25, &format!("{from}{to_ana}QUIT\r\n")).await;
        assert!(said.contains("kept as"), "{from:?}: {said}");
        let balancer = if proxied { "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" } else { "" };
        let read = system.say(110, &format!("{balancer}{LOGIN}RETR 1\r\nQUIT\r\n")).await;
        assert!(read.contains("Received: from c (unknown)"), "{from:?}: {read}");
        system.server.stop().await;
    }
}

/// A balancer or proxy that listens on `::` passes IPv4 clients on as `::ffff:a.b.c.d`.
#[tokio::test]
async fn a_mapped_address_is_the_ipv4_address() {
    for (proxied, from) in [
        (true, "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n"),
        (false, "XCLIENT ADDR=IPV6:::ffff:192.0.2.7\r\n"),
    ] {
        let system = system_with(|settings| {
            behind_a_balancer(settings);
            if !proxied {
                settings.proxies.clear();
            }
            settings.relays_for = vec!["192.0.2.7/32".parse().unwrap()];
            settings.failed_logins = 1;
        });
        let system = system.await;
        let mail = "EHLO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<eva@z.test>\r\nQUIT\r\n";
        let said = system.say(25, &format!("{from}{mail}")).await;
        assert!(said.contains("\r\n250 2.1.5"), "{from}: {said}");
        // A client that guesses passwords locks no other client out.
        let guess = "EHLO c\r\nAUTH PLAIN AGFuYQB3cm9uZw==\r\nQUIT\r\n";
        let good = "EHLO c\r\nAUTH PLAIN AGJvYgBwYXJvbGE=\r\nQUIT\r\n";
        assert!(system.say(587, &format!("{from}{guess}")).await.contains("\r\n535"));
        assert!(system.say(587, &format!("{from}{good}")).await.contains("\r\n454"));
        let other = from.replace("2.7", "2.8");
        assert!(system.say(587, &format!("{other}{good}")).await.contains("\r\n235"));
        let same = from.replace("IPV6:", "").replace("::ffff:", "").replace("TCP6", "TCP4");
        let same = same.replace("::1", "192.0.2.1");
        let said = system.say(587, &format!("{same}{good}")).await;
        assert!(said.contains("\r\n454"), "{same}: {said}");
        system.server.stop().await;
    }
}

/// A rented IPv6 server has 2^64 addresses; all unknown addresses together count as one client.
#[tokio::test]
async fn an_ipv6_network_has_the_sessions_of_one_client() {
    for clients in [
        ["PROXY TCP6 2001:db8::1 ::1 1 2", "PROXY TCP6 2001:db8::f:2 ::1 1 2"],
        ["PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2", "PROXY TCP4 192.0.2.1 192.0.2.9 1 2"],
        ["PROXY UNKNOWN", "PROXY UNKNOWN"],
    ] {
        let system = system_with(|settings| {
            behind_a_balancer(settings);
            (settings.sessions, settings.sessions_per_client) = (100, 4);
        });
        let system = system.await;
        let mut held = Vec::new();
        for (port, greeting) in [(25, "220"), (110, "+OK")] {
            for client in clients {
                let mut stream = system.connect(port).await;
                stream.write_all(format!("{client}\r\n").as_bytes()).await.unwrap();
                read_until(&mut stream, greeting).await;
                held.push(stream);
            }
        }
        for client in clients {
            let said = system.say(25, &format!("{client}\r\n")).await;
            assert!(said.starts_with("421 4.7.0 "), "{client}: {said}");
            let said = system.say(110, &format!("{client}\r\n")).await;
            assert!(said.starts_with("-ERR [SYS/TEMP] too many"), "{client}: {said}");
        }
        let other = "PROXY TCP6 2001:db8:0:1::1 ::1 1 2\r\nQUIT\r\n";
        assert!(system.say(25, other).await.starts_with("220"));
        drop(held);
        system.server.stop().await;
    }
}
