//! Attempts of strangers to make this server connect to services that only its own network can reach.

use super::*;
use crate::settings::{relay_settings, rules};
use posta_net::transport::Endpoint;
use posta_server::send::{Rules, Smarthost, SmarthostTls};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Starts an internal service, which sends a banner as many do, and counts connections.
async fn service(net: &MemoryNet, place: &str) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let endpoint: Endpoint = place.parse().unwrap();
    let mut listener = net.bind(&endpoint).await.unwrap();
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(b"554 go away\r\n").await;
        }
    });
    count
}

/// The domains whose owners publish internal servers.
const DOMAINS: [(&str, &str); 5] = [
    ("four.test", "127.0.0.9"),
    ("six.test", "::1"),
    ("any.test", "0.0.0.0"),
    ("mapped.test", "::ffff:127.0.0.9"),
    ("near.test", "10.0.0.7"),
];

fn hostile() -> FixedZone {
    let mut zone = zone();
    for (domain, address) in DOMAINS {
        zone.exchangers.insert(domain.to_owned(), vec![(10, format!("mx.{domain}"))]);
        zone.addresses.insert(format!("mx.{domain}"), vec![address.parse().unwrap()]);
    }
    // One of its addresses is public, but nothing listens there.
    zone.exchangers.insert("mixed.test".to_owned(), vec![(10, "mx.mixed.test".to_owned())]);
    let mixed = ["127.0.0.9", "2001:500::53", "::1"].map(|text| text.parse().unwrap());
    zone.addresses.insert("mx.mixed.test".to_owned(), mixed.to_vec());
    // It publishes an MTA-STS policy on an internal server.
    zone.texts.insert("_mta-sts.mixed.test".to_owned(), vec!["v=STSv1; id=1;".to_owned()]);
    zone.addresses.insert("mta-sts.mixed.test".to_owned(), vec![[127, 0, 0, 9].into()]);
    // It wants reports to be uploaded to an internal server.
    let report = "v=TLSRPTv1; rua=https://mta-sts.mixed.test/".to_owned();
    zone.texts.insert("_smtp._tls.mixed.test".to_owned(), vec![report]);
    zone
}

const INSIDE: [&str; 6] = [
    "127.0.0.9:25",
    "[::1]:25",
    "0.0.0.0:25",
    "[::ffff:127.0.0.9]:25",
    "10.0.0.7:25",
    "127.0.0.9:443",
];

async fn services(two: &Two) -> Vec<Arc<AtomicUsize>> {
    let mut counts = Vec::new();
    for place in INSIDE {
        counts.push(service(&two.net, place).await);
    }
    counts
}

fn reached(counts: &[Arc<AtomicUsize>]) -> Vec<&'static str> {
    let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
    counts.zip(INSIDE).filter(|(count, _)| *count > 0).map(|(_, place)| place).collect()
}

/// Whatever DNS or an address literal says, no internal service is connected to, and the sender gets a
/// report at once.
#[tokio::test(start_paused = true)]
async fn nobody_has_us_connect_to_what_is_inside() {
    let two = two_with(hostile(), relay_settings()).await;
    let counts = services(&two).await;
    let domains = DOMAINS.iter().map(|(domain, _)| *domain);
    for (number, domain) in domains.chain(["[127.0.0.9]", "[IPv6:::1]"]).enumerate() {
        two.send("<ana@x.test>", &[&format!("<a@{domain}>")]).await;
        let report = two.inbox("127.0.0.1", "ana", number + 1).await;
        assert!(report.contains("Action: failed\r\nStatus: 5.4.4\r\n"), "{domain}: {report}");
        assert!(report.contains("has no public address: "), "{domain}: {report}");
    }
    assert_eq!(reached(&counts), [""; 0]);
    // Reports to strangers' addresses take the same way, and nothing is there.
    two.send("<x@[127.0.0.9]>", &["<ana@x.test> NOTIFY=SUCCESS"]).await;
    two.send("<x@four.test>", &["<ana@x.test> NOTIFY=SUCCESS"]).await;
    two.tried(None).await;
    assert_eq!(reached(&counts), [""; 0]);
}

/// Of a server's several addresses, the public ones are tried. Its policy is not fetched from an
/// internal server, and no report is uploaded there.
#[tokio::test(start_paused = true)]
async fn the_public_addresses_of_a_server_are_tried() {
    let two = two_with(hostile(), relay_settings()).await;
    let counts = services(&two).await;
    two.send("<ana@x.test>", &["<a@mixed.test>"]).await;
    let line = two.tried(Some(1)).await.unwrap();
    let reply = line.recipients[0].reply.as_ref().unwrap();
    assert!(reply.starts_with("451 4.4.1") && reply.contains("[2001:500::53]:25"), "{reply}");
    two.pass(24 * HOUR);
    sleep(HOUR).await;
    assert_eq!(reached(&counts), [""; 0]);
}

/// Hosts that the operator names are reached wherever they are, and a closed network can be allowed.
#[tokio::test(start_paused = true)]
async fn what_the_configuration_names_is_exempt() {
    let smarthost = |host: &str| {
        let tls = SmarthostTls::None;
        Some(Arc::new(Smarthost { host: host.to_owned(), port: 25, tls, login: None }))
    };
    let all = Rules { route: smarthost("10.0.0.7"), ..rules() };
    let own = Rules { route: smarthost("mx.four.test"), ..rules() };
    let domains = HashMap::from([("route.test".to_owned(), own)]);
    let two = two_with(hostile(), RelaySettings { all, domains, ..relay_settings() }).await;
    let counts = services(&two).await;
    two.send("<ana@x.test>", &["<a@route.test>", "<a@six.test>"]).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(reached(&counts), ["127.0.0.9:25", "10.0.0.7:25"]);

    let private_addresses = PrivateAddresses::Allow;
    let open = RelaySettings { private_addresses, ..relay_settings() };
    let two = two_with(hostile(), open).await;
    let counts = services(&two).await;
    two.send("<ana@x.test>", &["<a@near.test>", "<a@mixed.test>"]).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(reached(&counts), ["127.0.0.9:25", "[::1]:25", "10.0.0.7:25", "127.0.0.9:443"]);
}
