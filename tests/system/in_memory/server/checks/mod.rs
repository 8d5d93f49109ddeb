//! Mail from strangers, checked while it arrives: SPF, DKIM, DMARC and ARC.

mod forged_results;
mod junk;
mod notes;
mod patience;
mod policies;
mod senders;

use super::*;
use posta_origin::{
    dkim::{Algorithm, KeyPair, Signer},
    observer::{Needs, Observer},
};
use posta_server::{admin::FolderRequest, deliver::checked::OriginPolicy, settings::LoopbackTrust};
use posta_store::Event;
use std::sync::LazyLock;

/// The client of `a.test`.
const A: &str = "192.0.2.1";

/// A client that may send for nobody but `evil.test`.
const EVIL: &str = "192.0.2.66";

const NOW: i64 = 1_074_188_330;

fn obeying() -> OriginPolicy {
    OriginPolicy { obey: true, trusted_sealers: vec!["lists.test".to_owned()] }
}

static SIGNERS: LazyLock<Vec<Signer>> = LazyLock::new(|| {
    let key = |algorithm| KeyPair::generate(algorithm).unwrap();
    vec![
        Signer::new("a.test".parse().unwrap(), "r".into(), key(Algorithm::RsaSha256)),
        Signer::new("a.test".parse().unwrap(), "e".into(), key(Algorithm::Ed25519Sha256)),
        Signer::new("lists.test".parse().unwrap(), "e".into(), key(Algorithm::Ed25519Sha256)),
        Signer::new("evil.test".parse().unwrap(), "e".into(), key(Algorithm::Ed25519Sha256)),
    ]
});

fn signer(domain: &str, selector: &str) -> &'static Signer {
    let is_it = |one: &&Signer| one.domain().as_str() == domain && one.selector() == selector;
    SIGNERS.iter().find(is_it).unwrap()
}

/// DNS: domains that want forgeries refused, put aside, or neither.
fn zone() -> FixedZone {
    let mut zone = FixedZone::default();
    let mut text = |name: &str, text: &str| {
        zone.texts.entry(name.to_owned()).or_default().push(text.to_owned());
    };
    text("a.test", "v=spf1 ip4:192.0.2.1 -all");
    text("_dmarc.a.test", "v=DMARC1; p=reject");
    text("q.test", "v=spf1 ip4:192.0.2.1 -all");
    text("_dmarc.q.test", "v=DMARC1; p=quarantine");
    text("_dmarc.n.test", "v=DMARC1; p=none");
    text("n.test", "v=spf1 ip4:192.0.2.1 -all");
    text("parked.test", "v=spf1 -all");
    text("evil.test", "v=spf1 ip4:192.0.2.66 -all");
    for signer in SIGNERS.iter() {
        let name = format!("{}._domainkey.{}", signer.selector(), signer.domain().as_str());
        text(&name, &signer.key().record().unwrap());
    }
    zone.names.insert(A.to_owned(), vec!["mail.a.test".to_owned()]);
    zone.addresses.insert("mail.a.test".to_owned(), vec![A.parse().unwrap()]);
    zone
}

async fn system_of(zone: impl Resolver, policy: OriginPolicy) -> System {
    let store = store();
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(NOW).unwrap(), 7));
    let change = |settings: &mut Settings| {
        settings.checks = Some(policy);
        settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        (settings.sessions, settings.sessions_per_client) = (0, 0);
    };
    system_asking(Arc::new(zone), store, clock, change).await
}

async fn checking() -> System {
    system_of(zone(), obeying()).await
}

/// A message as it is sent, signed by these.
fn signed(content: &str, signers: &[&Signer]) -> String {
    let fields: Vec<_> = signers
        .iter()
        .map(|signer| {
            let mut observer = Observer::new(Needs { verify: false, sign: true });
            observer.write(content.as_bytes());
            let time = Timestamp::from_second(NOW).unwrap();
            observer.finish().sign(signer, time).unwrap().unwrap()
        })
        .collect();
    fields.concat() + content
}

impl System {
    /// Brings a message to ana from a client elsewhere, and returns the reply to its end.
    async fn bring(&self, client: &str, from: &str, content: &str) -> String {
        let text = format!(
            "PROXY TCP4 {client} 127.0.0.1 1 2\r\nEHLO mail.a.test\r\nMAIL FROM:<{from}>\r\n\
             RCPT TO:<ana@x.test>\r\nDATA\r\n{content}\r\n.\r\nQUIT\r\n"
        );
        let said = self.say(25, &text).await;
        let replies: Vec<_> = said.lines().collect();
        let [.., reply, _] = &replies[..] else { panic!("{said}") };
        (*reply).to_owned()
    }

    /// Returns a message of ana's.
    async fn read(&self, number: usize) -> String {
        let balancer = "PROXY TCP4 192.0.2.9 127.0.0.1 1 2\r\n";
        let read = self.say(110, &format!("{balancer}{LOGIN}RETR {number}\r\nQUIT\r\n")).await;
        let (_, message) = read.split_once("octets\r\n").unwrap_or_else(|| panic!("{read}"));
        message.to_owned()
    }

    /// Returns how many messages a folder of ana's has.
    async fn count(&self, folder: &str) -> u64 {
        self.count_of("ana@x.test", folder).await
    }

    /// Returns how many messages a folder of an account has.
    async fn count_of(&self, account: &str, folder: &str) -> u64 {
        let request = FolderRequest::List;
        let request = Request::Folder { address: account.to_owned(), request };
        let listed = self.admin.execute(request).await.unwrap();
        let Response::Folders(folders) = listed else { panic!("no folders") };
        folders.iter().find(|listed| listed.name == folder).unwrap().messages
    }

    /// Returns what the history tells of a domain or an address.
    async fn story(&self, named: &str) -> Vec<Event> {
        let trace = Request::Trace { named: named.to_owned(), within: None };
        let Response::Events(events) = self.admin.execute(trace).await.unwrap() else {
            panic!("no events")
        };
        events
    }
}

const HELLO: &str = "From: Sue <sue@a.test>\r\nTo: ana@x.test\r\nSubject: hello\r\n\r\nhello\r\n";

#[tokio::test]
async fn what_is_found_is_told_in_one_field() {
    let system = checking().await;
    let content = signed(HELLO, &[signer("a.test", "r"), signer("a.test", "e")]);
    let said = system.bring(A, "sue@a.test", &content).await;
    assert!(said.starts_with("250 2.0.0 "), "{said}");
    let message = system.read(1).await;
    let (above, _) = message.split_once("Received: from mail.a.test ([192.0.2.1])").unwrap();
    assert!(
        above.contains(
            "Delivered-To: ana@x.test\r\nAuthentication-Results: mail.x.test;\r\n\
             \tiprev=pass policy.iprev=192.0.2.1;\r\n\
             \tspf=pass smtp.mailfrom=sue@a.test;\r\n\
             \tdkim=pass header.d=a.test header.s=r"
        ),
        "{above}"
    );
    for words in [
        "header.a=rsa-sha256",
        "header.a=ed25519-sha256",
        "\tdkim=pass header.d=a.test header.s=e",
        "\tdmarc=pass header.from=a.test policy.dmarc=reject\r\n",
    ] {
        assert!(above.contains(words), "{words}: {above}");
    }
    assert_eq!(message.matches("\r\nAuthentication-Results:").count(), 1);
    let story = system.story("sue@a.test").await;
    let [_, Event { what: What::Checked { results, decision }, .. }] = &story[..] else {
        panic!("{story:?}")
    };
    let told: Vec<_> = results
        .iter()
        .map(|found| format!("{} {} {}", found.method, found.result, found.about))
        .collect();
    assert_eq!(
        told,
        [
            "iprev pass mail.a.test",
            "spf pass sue@a.test",
            "dkim pass a.test",
            "dkim pass a.test",
            "dmarc pass a.test"
        ]
    );
    assert_eq!(*decision, None);
    system.server.stop().await;
}

/// The least memory has room for a long header section: to refuse it for now would be to refuse it for ever.
#[tokio::test]
async fn long_header_sections_fit_the_least_memory() {
    let system = checking().await;
    let field = format!("X-Filling: {}\r\n", "x".repeat(900));
    for octets in [40_000, 250_000] {
        let content = field.repeat(octets / field.len()) + HELLO;
        let reply = system.bring(A, "sue@a.test", &content).await;
        assert!(reply.starts_with("250 "), "{octets}: {reply}");
    }
    system.server.stop().await;
}

/// Programs of this machine, neighbours and users are not strangers.
#[tokio::test]
async fn only_strangers_mail_is_checked() {
    let forged = "HELO c\r\nMAIL FROM:<sue@a.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nFrom: sue@a.test\r\n\r\nb\r\n.\r\nQUIT\r\n";
    for (port, change) in [
        (25, (|_| {}) as fn(&mut Settings)),
        (24, |_| {}),
        (587, |_| {}),
        (25, |settings| {
            settings.trust_loopback = LoopbackTrust::Nothing;
            settings.relays_for = vec!["127.0.0.0/8".parse().unwrap()];
        }),
    ] {
        let store = store();
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(NOW).unwrap(), 7));
        let change = |settings: &mut Settings| {
            settings.checks = Some(obeying());
            change(settings);
        };
        let system = system_asking(Arc::new(zone()), store, clock, change).await;
        let said = system
            .say(port, &forged.replace("HELO", if port == 24 { "LHLO" } else { "HELO" }))
            .await;
        assert!(said.contains("kept as"), "{said}");
        let read = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
        assert!(!read.contains("Authentication-Results"), "{read}");
        system.server.stop().await;
    }
    // Whoever is not trusted is a stranger, on this machine too.
    let store = store();
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(NOW).unwrap(), 7));
    let change = |settings: &mut Settings| {
        settings.checks = Some(obeying());
        settings.trust_loopback = LoopbackTrust::Nothing;
    };
    let system = system_asking(Arc::new(zone()), store, clock, change).await;
    let said = system.say(25, forged).await;
    assert!(said.contains("\r\n550 5.7.1 "), "{said}");
    system.server.stop().await;
}

/// XCLIENT says whose mail it is, as a PROXY header does.
#[tokio::test]
async fn the_client_may_be_named_by_xclient() {
    let store = store();
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(NOW).unwrap(), 7));
    let change = |settings: &mut Settings| {
        settings.checks = Some(obeying());
        settings.forwarders = vec!["127.0.0.0/8".parse().unwrap()];
    };
    let system = system_asking(Arc::new(zone()), store, clock, change).await;
    for (client, code) in [(A, "250 2.0.0"), (EVIL, "550 5.7.1")] {
        let said = system
            .say(25, &format!("EHLO front\r\nXCLIENT ADDR={client}\r\nEHLO c\r\nMAIL FROM:<sue@a.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n{HELLO}.\r\nQUIT\r\n"))
            .await;
        assert!(said.contains(&format!("\r\n{code} ")), "{client}: {said}");
    }
    system.server.stop().await;
}
