//! Two servers that share one store: what one of them does for both.

use super::{dmarc_reports::unpacked, signing::LiveZone, *};
use posta_server::{deliver::checked::OriginPolicy, settings::LoopbackTrust};
use posta_store::MemoryStore;

/// The domains that want reports, of DMARC and of TLS; the postmaster of x.test gets them all.
const DOMAINS: [&str; 3] = ["a.test", "m.test", "z.test"];

/// `mail.x.test` with the mailbox of the reports, and two nodes that serve `y.test`.
struct Nodes {
    two: Two,
    zone: Arc<LiveZone>,
}

/// Returns them, and the second of the nodes.
async fn nodes() -> (Nodes, Side) {
    let mut zone = zone();
    zone.addresses.insert("mx2.y.test".into(), vec![[192, 0, 2, 26].into()]);
    for domain in DOMAINS {
        for (name, text) in [
            (domain.to_owned(), "v=spf1 +all"),
            (format!("_dmarc.{domain}"), "v=DMARC1; p=none; rua=mailto:ana@x.test"),
            (format!("{domain}._report._dmarc.x.test"), "v=DMARC1"),
            (format!("_smtp._tls.{domain}"), "v=TLSRPTv1; rua=mailto:ana@x.test"),
        ] {
            zone.texts.insert(name, vec![text.to_owned()]);
        }
    }
    let zone = Arc::new(LiveZone::new(zone));
    let change = |settings: &mut Settings| {
        settings.relay.private_addresses = PrivateAddresses::Allow;
        settings.relays_for = Vec::new();
        settings.trust_loopback = LoopbackTrust::Nothing;
        settings.checks = Some(OriginPolicy { obey: true, trusted_sealers: Vec::new() });
    };
    let store = Arc::new(MemoryStore::new());
    let two = two_on(zone.clone(), Box::new(change), store.clone()).await;
    let shared = Shared {
        net: two.net.clone(),
        clock: two.clock.clone(),
        resolver: zone.clone(),
        tls: hops::trusting(),
        change: Box::new(change),
    };
    let other = Arc::new(store.another_node());
    let other = side_on(other, ("mx2.y.test", "192.0.2.26"), &[], &[], &shared);
    let other = Box::pin(other).await;
    (Nodes { two, zone }, other)
}

impl Nodes {
    /// Brings a message of each domain to both nodes, and counts a connection to each domain's servers.
    async fn observe(&self) {
        let nodes = ["192.0.2.25", "192.0.2.26"];
        for (node, domain) in nodes.iter().flat_map(|node| DOMAINS.map(|domain| (node, domain))) {
            let said = self
                .two
                .say(
                    &format!("{node}:25"),
                    &format!(
                        "EHLO c.test\r\nMAIL FROM:<s@{domain}>\r\nRCPT TO:<bob@y.test>\r\nDATA\r\n\
                         From: <s@{domain}>\r\nSubject: s\r\n\r\nbody\r\n.\r\nQUIT\r\n"
                    ),
                )
                .await;
            assert!(said.contains("kept as "), "{said}");
        }
        let counted = r#"[["no-policy-found", {"successes": 7, "failures": [], "servers": []}]]"#;
        let day = DOMAINS.map(|domain| format!("\"{domain}\": {counted}")).join(",");
        let today = self.two.clock.now().to_string()[..10].to_owned();
        let day = format!("{{{day}}}").into_bytes();
        self.two.theirs.store.keep("tls-report", &today, Some(day)).await.unwrap();
    }

    /// Lets the day end, and both nodes save what they counted; then it is the next morning.
    async fn next_day(&self) {
        self.two.pass(16 * HOUR);
        sleep(Duration::from_secs(6 * 60)).await;
        self.two.pass(8 * HOUR);
    }

    /// Waits until this many reports have arrived, and for twenty minutes more. Returns which: the kind, the domain, and the
    /// node that sent it.
    async fn reports(&self, count: usize) -> Vec<(&'static str, String, String)> {
        self.two.inbox("127.0.0.1", "ana", count).await;
        sleep(Duration::from_secs(20 * 60)).await;
        let said =
            self.two.say("127.0.0.1:110", "USER ana\r\nPASS parola\r\nSTAT\r\nQUIT\r\n").await;
        assert!(said.contains(&format!("+OK {count} ")), "{said}");
        let mut reports = Vec::new();
        for number in 1..=count {
            let message = self.two.inbox("127.0.0.1", "ana", number).await;
            let (_, subject) = message.split_once("Subject: Report Domain: ").unwrap();
            let mut words = subject.split_whitespace();
            let (domain, node) = (words.next().unwrap(), words.nth(1).unwrap());
            let is_tls = message.contains("report-type=\"tlsrpt\"");
            let kind = if is_tls { "tls" } else { "dmarc" };
            reports.push((kind, domain.to_owned(), node.to_owned()));
        }
        reports.sort();
        reports
    }
}

/// Returns what reports of these kinds and domains a node sent.
fn of<const N: usize>(
    node: &str,
    reports: [(&'static str, &str); N],
) -> Vec<(&'static str, String, String)> {
    reports.map(|(kind, domain)| (kind, domain.to_owned(), node.to_owned())).into()
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_one_sends_the_reports() {
    let (nodes, _other) = nodes().await;
    nodes.observe().await;
    nodes.next_day().await;
    let reports = nodes.reports(6).await;
    let all = ["dmarc", "tls"].map(|kind| DOMAINS.map(|domain| (kind, domain.to_owned())));
    let whats: Vec<_> = reports.iter().map(|(kind, domain, _)| (*kind, domain.clone())).collect();
    assert_eq!(whats, all.concat());
    // It tells of what both have counted.
    let mut counted = 0;
    for number in 1..=6 {
        let message = nodes.two.inbox("127.0.0.1", "ana", number).await;
        if !message.contains("report-type") {
            assert!(unpacked(&message).contains("<count>2</count>"), "{}", unpacked(&message));
            counted += 1;
        }
    }
    assert_eq!(counted, DOMAINS.len());
    nodes.next_day().await;
    assert_eq!(nodes.reports(6).await, reports, "once");
}

/// A node dies while it sends the reports of a day. The other goes on with what is left, and sends nothing again.
#[tokio::test(start_paused = true)]
async fn when_a_node_dies_the_other_goes_on_with_its_reports() {
    let (nodes, other) = nodes().await;
    nodes.observe().await;
    // At the moment at which they are sent, DNS does not answer about one of the domains.
    *nodes.zone.mute.lock().unwrap() = Some("m.test".to_owned());
    nodes.next_day().await;
    let one = &nodes.two.theirs.store;
    let first = nodes.reports(3).await;
    let sent = of("mx.y.test", [("dmarc", "a.test"), ("dmarc", "z.test"), ("tls", "a.test")]);
    assert_eq!(first, sent);
    for duty in ["dmarc-reports", "tls-reports"] {
        assert!(one.take_duty(duty).await.unwrap(), "{duty}");
        assert!(!other.store.take_duty(duty).await.unwrap(), "{duty}");
    }
    let Nodes { two: Two { net, clock, ours, theirs }, zone } = nodes;
    let Side { store, _server: dying, .. } = theirs;
    drop(dying);
    store.leave().await.unwrap();
    *zone.mute.lock().unwrap() = None;
    let nodes = Nodes { two: Two { net, clock, ours, theirs: other }, zone };
    let mut all =
        [first, of("mx2.y.test", [("dmarc", "m.test"), ("tls", "m.test"), ("tls", "z.test")])]
            .concat();
    all.sort();
    assert_eq!(nodes.reports(6).await, all);
    nodes.next_day().await;
    assert_eq!(nodes.reports(6).await, all, "once");
}
