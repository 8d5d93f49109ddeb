//! Sending in memory: two servers on one network, a fixed zone, and a clock that the test advances.

mod dmarc_reports;
mod handed_on;
mod held;
mod hops;
mod inside;
mod logins;
mod nodes;
mod odd;
mod reports;
mod signing;
mod trace;

use crate::{
    settings::{relay_settings, settings},
    store::store,
};
use posta_mail::{
    ReversePath, ThreadId, Timestamp,
    envelope::{Body, Notify},
};
use posta_net::{
    clock::{Clock, SimulatedClock},
    dial::PrivateAddresses,
    dns::{FixedZone, Resolver},
    tls::client::ClientTls,
    transport::{MemoryNet, Net},
};
use posta_server::{
    admin::{Admin, QueueAction, QueueLine, Request, Response, Selection, TRACED},
    assembly::{MailServer, World},
    send::RelaySettings,
    settings::{ListenerKind, ListenerSettings, Settings, TlsMode},
};
use posta_store::{
    Acceptance, Destination, Envelope, Event, Item, ItemId, ItemState, Store, Waiting, What,
};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

/// The time within which an expected event must happen.
const PATIENCE: Duration = Duration::from_secs(600);

struct Side {
    store: Arc<dyn Store>,
    admin: Admin,
    _server: MailServer,
}

struct Two {
    net: Arc<MemoryNet>,
    clock: Arc<SimulatedClock>,
    /// `mail.x.test` at 127.0.0.1, which relays for clients on its machine.
    ours: Side,
    /// `mx.y.test` at 192.0.2.25, which relays for no one.
    theirs: Side,
}

/// The parts that servers share: the network, the time, DNS, and the settings for sending.
struct Shared {
    net: Arc<MemoryNet>,
    clock: Arc<SimulatedClock>,
    resolver: Arc<dyn Resolver>,
    tls: ClientTls,
    /// Sets what the test is about.
    change: Box<dyn Fn(&mut Settings)>,
}

/// The DNS records of two servers, and of many that do not exist.
fn zone() -> FixedZone {
    let mut zone = FixedZone::default();
    let mx = |name: &str| vec![(10, name.to_owned())];
    zone.exchangers.insert("y.test".into(), mx("mx.y.test"));
    zone.exchangers.insert("null.test".into(), mx(""));
    zone.exchangers.insert("dead.test".into(), mx("mx.dead.test"));
    zone.exchangers.insert("x.test".into(), mx("mail.x.test"));
    zone.exchangers.insert("round.test".into(), mx("mx.round.test"));
    zone.addresses.insert("mx.round.test".into(), vec![[127, 0, 0, 1].into()]);
    zone.addresses.insert("mx.y.test".into(), vec![[192, 0, 2, 25].into()]);
    zone.addresses.insert("mail.x.test".into(), vec![[127, 0, 0, 1].into()]);
    zone.addresses.insert("mx.dead.test".into(), vec![[192, 0, 2, 99].into()]);
    zone.failing.push("broken.test".into());
    for number in 0..MUTE {
        let host = format!("mx.mute{number}.test");
        zone.exchangers.insert(format!("mute{number}.test"), mx(&host));
        zone.addresses.insert(host, vec![mute(number)]);
    }
    let wishes = vec!["v=TLSRPTv1; rua=mailto:ana@x.test".to_owned()];
    zone.texts.insert("_smtp._tls.y.test".into(), wishes);
    // It announces an MTA-STS policy that does not exist.
    zone.texts.insert("_mta-sts.y.test".into(), vec!["v=STSv1; id=1;".to_owned()]);
    zone
}

async fn side(
    name: &str,
    address: &str,
    relays_for: &[&str],
    accounts: &[&str],
    shared: &Shared,
) -> Side {
    side_on(store(), (name, address), relays_for, accounts, shared).await
}

/// The same, on a store.
async fn side_on(
    store: Arc<dyn Store>,
    (name, address): (&str, &str),
    relays_for: &[&str],
    accounts: &[&str],
    shared: &Shared,
) -> Side {
    let Shared { net, clock, resolver, tls, change } = shared;
    let listener = |kind, port| ListenerSettings {
        kind,
        endpoint: format!("{address}:{port}").parse().unwrap(),
        tls: TlsMode::None,
    };
    let mut settings = Settings {
        relays_for: relays_for.iter().map(|network| network.parse().unwrap()).collect(),
        listeners: vec![
            listener(ListenerKind::Smtp, 25),
            listener(ListenerKind::Submission, 587),
            listener(ListenerKind::Pop3, 110),
        ],
        ..settings(name)
    };
    change(&mut settings);
    let world = World {
        store: store.clone(),
        clock: clock.clone(),
        net: net.clone(),
        resolver: resolver.clone(),
        tls: tls.clone(),
    };
    let collectors = Arc::new(world.collectors("mail.x.test".parse().unwrap(), 2_000_000));
    let admin = Admin::new(store.clone(), clock.clone(), collectors);
    for account in accounts {
        let (address, password) = ((*account).to_owned(), "parola".to_owned());
        admin.execute(Request::AccountAdd { address, password, apop: false }).await.unwrap();
    }
    Side { store, admin, _server: MailServer::start(settings, world).await.unwrap() }
}

/// The number of servers that accept connections and stay silent.
const MUTE: usize = 700;

fn mute(number: usize) -> IpAddr {
    [198, 18, (number / 256) as u8, (number % 256) as u8].into()
}

/// Starts both servers, on a network whose other addresses are unused.
async fn two() -> Two {
    let private_addresses = PrivateAddresses::Allow;
    two_with(zone(), RelaySettings { private_addresses, ..relay_settings() }).await
}

async fn two_with(zone: FixedZone, relay: RelaySettings) -> Two {
    let change = move |settings: &mut Settings| settings.relay = relay.clone();
    two_under(Arc::new(zone), Box::new(change)).await
}

async fn two_under(resolver: Arc<dyn Resolver>, change: Box<dyn Fn(&mut Settings)>) -> Two {
    two_on(resolver, change, store()).await
}

/// The same, with their store.
async fn two_on(
    resolver: Arc<dyn Resolver>,
    change: Box<dyn Fn(&mut Settings)>,
    theirs: Arc<dyn Store>,
) -> Two {
    let net = Arc::new(MemoryNet::default());
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(1_800_000_000).unwrap(), 7));
    let shared = Shared { net, clock, resolver, tls: hops::trusting(), change };
    let ours = side("mail.x.test", "127.0.0.1", &["127.0.0.1/32"], &["ana@x.test"], &shared);
    let ours = Box::pin(ours).await;
    let theirs = side_on(theirs, ("mx.y.test", "192.0.2.25"), &[], &["bob@y.test"], &shared);
    let theirs = Box::pin(theirs).await;
    let Shared { net, clock, .. } = shared;
    Two { net, clock, ours, theirs }
}

impl Two {
    /// Sends everything at once to a port of ours, and reads to the end.
    async fn say(&self, place: &str, text: &str) -> String {
        let mut stream = self.net.connect(place).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Sends a message. Returns its id.
    async fn send(&self, mail: &str, recipients: &[&str]) -> String {
        let recipients: Vec<_> = recipients.iter().map(|to| format!("RCPT TO:{to}\r\n")).collect();
        let said = self
            .say(
                "127.0.0.1:587",
                &format!(
                    "EHLO c.test\r\nMAIL FROM:{mail}\r\n{}DATA\r\nSubject: s\r\nMessage-ID: <m1@x.test>\r\n\r\nbody\r\n.\r\nQUIT\r\n",
                    recipients.concat()
                ),
            )
            .await;
        let id = said.split("kept as ").nth(1).unwrap_or_else(|| panic!("{said}"));
        id.lines().next().unwrap().to_owned()
    }

    /// Waits until a mailbox has this many messages. Returns the message with that number.
    async fn inbox(&self, host: &str, name: &str, count: usize) -> String {
        for _ in 0..PATIENCE.as_secs() {
            let said = self
                .say(
                    &format!("{host}:110"),
                    &format!("USER {name}\r\nPASS parola\r\nSTAT\r\nRETR {count}\r\nQUIT\r\n"),
                )
                .await;
            let stat = said.lines().nth(3).and_then(|line| line.split(' ').nth(1));
            if stat.and_then(|stat| stat.parse::<usize>().ok()) >= Some(count) {
                return said.split_once(" octets\r\n").map_or(String::new(), |(_, m)| m.to_owned());
            }
            sleep(Duration::from_secs(1)).await;
        }
        panic!("{name} has no {count} messages");
    }

    async fn queue(&self) -> Vec<QueueLine> {
        let request = Request::QueueList { selection: Selection::default(), after: None };
        match self.ours.admin.execute(request).await.unwrap() {
            Response::Queue { lines, .. } => lines,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the item in the queue has been tried this many times; `None` waits for an empty
    /// queue.
    async fn tried(&self, attempts: Option<u32>) -> Option<QueueLine> {
        for _ in 0..PATIENCE.as_secs() {
            let mut lines = self.queue().await;
            match (lines.pop(), attempts) {
                (None, None) => return None,
                (Some(line), Some(attempts)) if line.attempts == attempts => return Some(line),
                _ => sleep(Duration::from_secs(1)).await,
            }
        }
        panic!("{:?}", self.queue().await);
    }

    async fn change(&self, action: QueueAction) {
        let request = Request::QueueChange { selection: Selection::default(), action };
        let Response::Count(count) = self.ours.admin.execute(request).await.unwrap() else {
            panic!("no count");
        };
        assert_eq!(count, 1);
    }

    async fn trace(&self, named: &str) -> Vec<Event> {
        self.trace_within(named, None).await
    }

    async fn trace_within(&self, named: &str, within: Option<u64>) -> Vec<Event> {
        let request = Request::Trace { named: named.to_owned(), within };
        match self.ours.admin.execute(request).await.unwrap() {
            Response::Events(events) => events,
            other => panic!("{other:?}"),
        }
    }

    fn pass(&self, time: Duration) {
        self.clock.set(self.clock.now() + time);
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test(start_paused = true)]
async fn mail_for_elsewhere_arrives_and_its_story_is_told() {
    let two = two().await;
    let id = two.send("<ana@x.test>", &["<bob@y.test>", "<ana@x.test>"]).await;
    let got = two.inbox("192.0.2.25", "bob", 1).await;
    assert!(got.starts_with("Return-Path: <ana@x.test>\r\nDelivered-To: bob@y.test\r\n"), "{got}");
    assert_eq!(got.matches("Received: ").count(), 2);
    assert!(got.contains(&format!("(Posta) with ESMTP id {id}")), "{got}");
    two.inbox("127.0.0.1", "ana", 1).await;
    two.tried(None).await;
    let story = two.trace(&id).await;
    assert_eq!(two.trace("<m1@x.test>").await, story, "by its Message-ID too");
    assert_eq!(two.trace("BOB@y.test").await, story, "and by an address");
    let [Event { what: What::Accepted { octets, message_id, .. }, .. }, Event { what, .. }] =
        &story[..]
    else {
        panic!("{story:?}");
    };
    assert!(*octets > 100 && message_id.as_deref() == Some("<m1@x.test>"));
    let What::Attempted { host, recipients, next, .. } = what else { panic!("{what:?}") };
    assert_eq!((host.as_deref(), *next), (Some("mx.y.test"), None));
    assert!(recipients[0].reply.starts_with("250 2.0.0 Ok: kept as "), "{recipients:?}");
}

#[tokio::test(start_paused = true)]
async fn of_many_stories_the_newest_are_told() {
    let two = two().await;
    let mut ids = Vec::new();
    for _ in 0..TRACED + 20 {
        ids.push(two.send("<ana@x.test>", &["<ana@x.test>"]).await);
        two.pass(Duration::from_secs(1));
    }
    let told = |events: Vec<Event>| {
        let stories = events.chunk_by(|one, other| one.id == other.id);
        stories.map(|story| story[0].id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(two.trace("ana@x.test").await), ids[20..]);
    assert_eq!(told(two.trace_within("ana@x.test", Some(9)).await), ids[TRACED + 20 - 9..]);
    assert_eq!(told(two.trace_within("eva@x.test", None).await), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn strangers_do_not_relay() {
    let two = two().await;
    let said = two
        .say(
            "192.0.2.25:25",
            "EHLO c.test\r\nMAIL FROM:<s@z.test>\r\nRCPT TO:<a@z.test>\r\nQUIT\r\n",
        )
        .await;
    assert!(said.contains("550 5.7.1 That domain is not served here"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_elsewhere_is_reported_in_its_own_words() {
    let two = two().await;
    let id = two.send("<ana@x.test> ENVID=e1 RET=FULL", &["<eva@y.test>", "<bob@y.test>"]).await;
    let report = two.inbox("127.0.0.1", "ana", 1).await;
    for part in [
        "Return-Path: <>\r\n",
        "Subject: Your message was not delivered\r\n",
        "Your message to <eva@y.test> could not be delivered.\r\n",
        "The server mx.y.test answered:\r\n    550 5.1.1 No such user here\r\n",
        "Original-Envelope-Id: e1\r\n",
        "Final-Recipient: rfc822;eva@y.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "Content-Type: message/rfc822\r\n",
        "Subject: s\r\nMessage-ID: <m1@x.test>\r\n",
        "\r\n\r\nbody\r\n--report-",
    ] {
        assert!(report.contains(part), "{part}\n---\n{report}");
    }
    assert!(!report.contains("bob@y.test"), "of him there is nothing to tell");
    two.inbox("192.0.2.25", "bob", 1).await;
    let story = two.trace(&id).await;
    assert!(matches!(&story[2].what, What::Reported { action, .. } if action == "failed"));
    // A sender who wants no reports gets none, and a report is never answered.
    two.send("<ana@x.test>", &["<eva@y.test> NOTIFY=NEVER"]).await;
    two.send("<>", &["<eva@y.test>"]).await;
    two.tried(None).await;
    two.inbox("127.0.0.1", "ana", 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_routed_fails_at_once_or_waits() {
    let two = two().await;
    for (number, (domain, status, words)) in [
        ("null.test", "Status: 5.1.10", "The domain null.test takes no mail"),
        ("nowhere.test", "Status: 5.1.2", "the domain nowhere.test does not exist"),
        ("round.test", "Status: 5.4.6", "mx.round.test (127.0.0.1:25) is this server itself"),
    ]
    .into_iter()
    .enumerate()
    {
        two.send("<ana@x.test>", &[&format!("<a@{domain}>")]).await;
        let report = two.inbox("127.0.0.1", "ana", number + 1).await;
        assert!(report.contains(status) && report.contains(words), "{report}");
    }
    two.send("<ana@x.test>", &["<a@broken.test>"]).await;
    let line = two.tried(Some(1)).await.unwrap();
    assert!(line.recipients[0].reply.as_ref().unwrap().starts_with("451 4.4.3 DNS"), "{line:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_tried_again_reported_late_and_given_up() {
    let two = two().await;
    two.send("<ana@x.test>", &["<a@dead.test>"]).await;
    let line = two.tried(Some(1)).await.unwrap();
    assert!(line.recipients[0].reply.as_ref().unwrap().contains("192.0.2.99:25"), "{line:?}");
    let wait = line.next_attempt.unwrap().duration_since(two.clock.now());
    assert_eq!(wait.as_secs(), 60);
    // A held item stays, whatever the time; a released one is sent.
    two.change(QueueAction::Hold).await;
    two.pass(HOUR);
    sleep(HOUR).await;
    assert_eq!(two.queue().await[0].attempts, 1);
    two.change(QueueAction::Release).await;
    two.tried(Some(2)).await;
    two.change(QueueAction::Retry).await;
    two.tried(Some(3)).await;
    two.pass(4 * HOUR);
    two.tried(Some(4)).await;
    let notice = two.inbox("127.0.0.1", "ana", 1).await;
    assert!(notice.contains("Subject: Your message is delayed\r\n"), "{notice}");
    assert!(notice.contains("\r\nWill-Retry-Until: ") && notice.contains("You do not need to do"));
    for day in 1..=5 {
        two.pass(24 * HOUR);
        two.tried((day < 5).then_some(4 + day)).await;
    }
    let report = two.inbox("127.0.0.1", "ana", 2).await;
    assert!(report.contains("Action: failed\r\nStatus: 5.4.7\r\n"), "{report}");
    assert!(report.contains("Diagnostic-Code: x-posta; mx.dead.test cannot be"), "{report}");
}

/// With more mail for servers that hang than may be in hand at once, mail for a healthy server still
/// passes.
#[tokio::test(start_paused = true)]
async fn servers_that_hang_hold_up_nobody_else() {
    let two = two().await;
    let mut listening = Vec::new();
    for number in 0..MUTE {
        let endpoint = format!("{}:25", mute(number)).parse().unwrap();
        let mut listener = two.net.bind(&endpoint).await.unwrap();
        listening.push(tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok(accepted) = listener.accept().await {
                open.push(accepted);
            }
        }));
    }
    let recipients: Vec<_> = (0..MUTE).map(|number| format!("<a@mute{number}.test>")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    for _ in 0..16 {
        two.send("<ana@x.test>", &recipients).await;
    }
    // Wait until all capacity is used up.
    sleep(Duration::from_secs(60)).await;
    two.send("<ana@x.test>", &["<bob@y.test>"]).await;
    sleep(Duration::from_secs(5)).await;
    let attempts = two.trace("bob@y.test").await;
    assert!(attempts.iter().any(|event| matches!(event.what, What::Attempted { .. })), "it waits");
    listening.iter().for_each(|listening| listening.abort());
}

#[tokio::test(start_paused = true)]
async fn success_is_reported_to_those_who_ask() {
    let two = two().await;
    let alias = Request::AliasAdd {
        name: "both@x.test".into(),
        targets: vec!["ana@x.test".into(), "Bob@y.test".into()],
    };
    two.ours.admin.execute(alias).await.unwrap();
    two.send("<ana@x.test>", &["<both@x.test> NOTIFY=SUCCESS", "<ana@x.test> NOTIFY=FAILURE"])
        .await;
    let one = two.inbox("127.0.0.1", "ana", 2).await;
    assert!(one.contains("Action: expanded\r\nStatus: 2.0.0\r\n"), "{one}");
    // The other server supports DSN, so it sends the report, which comes back here.
    two.inbox("192.0.2.25", "Bob", 1).await;
    let other = two.inbox("127.0.0.1", "ana", 3).await;
    assert!(other.contains("Reporting-MTA: dns; mx.y.test\r\n"), "{other}");
    assert!(other.contains("Action: delivered\r\n"), "{other}");
}

/// RFC 8689 §5: a report about a message that must never travel in plaintext must not either.
#[tokio::test(start_paused = true)]
async fn reports_are_as_secret_as_what_they_are_about() {
    let two = two().await;
    let (id, time) = (two.clock.mail_id(), two.clock.now());
    let item = Item {
        id: ItemId { content: id, index: 0 },
        octets: 4,
        head: 0,
        added: 0,
        accepted: time,
        message_id: None,
        thread: None,
        envelope: Envelope {
            reverse_path: ReversePath::Address("bob@y.test".parse().unwrap()),
            envelope_id: None,
            ret: None,
            body: Body::SevenBit,
            utf8: false,
            require_tls: true,
            deadline: None,
            priority: 0,
        },
        destination: Destination::Domain("null.test".to_owned()),
        recipients: vec![Waiting {
            address: "a@null.test".parse().unwrap(),
            notify: Notify::default(),
            original: None,
            reply: None,
        }],
        due: time,
        state: ItemState::Waiting,
        attempts: 0,
        delay_told: false,
        shared: false,
    };
    let acceptance = Acceptance {
        id,
        time,
        head: Vec::new(),
        chunks: 0,
        added: 0,
        thread: ThreadId::alone(id),
        rest: b"a\r\n".to_vec(),
        deliveries: Vec::new(),
        items: vec![item],
        events: Vec::new(),
        reports: Vec::new(),
        collected: None,
        records: Vec::new(),
    };
    two.ours.store.accept(acceptance).await.unwrap();
    two.tried(None).await;
    let told = two.trace(&id.to_string()).await;
    let report = told.iter().find_map(|event| match &event.what {
        What::Reported { report, .. } => Some(report.to_string()),
        _ => None,
    });
    let story = two.trace(&report.expect("its sender is told")).await;
    let What::Attempted { recipients, .. } = &story.last().unwrap().what else {
        panic!("{story:?}")
    };
    assert!(recipients[0].reply.starts_with("550 5.7.30 Nothing proves"), "{recipients:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_or_told() {
    let two = two().await;
    two.send("<ana@x.test> BY=90;R", &["<a@dead.test>"]).await;
    two.tried(Some(1)).await;
    two.pass(Duration::from_secs(100));
    let report = two.inbox("127.0.0.1", "ana", 1).await;
    assert!(report.contains("Status: 5.4.7\r\n"), "{report}");
    two.send("<ana@x.test> BY=90;N", &["<a@dead.test>"]).await;
    two.tried(Some(1)).await;
    two.pass(Duration::from_secs(100));
    two.tried(Some(2)).await;
    let notice = two.inbox("127.0.0.1", "ana", 2).await;
    assert!(notice.contains("Your message is delayed"), "{notice}");
}

/// Forwarded mail has a sender address of ours, so that SPF holds there, and replies are passed on.
#[tokio::test(start_paused = true)]
async fn forwarded_mail_comes_from_us_and_finds_its_way_back() {
    let two = two().await;
    let alias = Request::AliasAdd { name: "all@x.test".into(), targets: vec!["bob@y.test".into()] };
    two.ours.admin.execute(alias).await.unwrap();
    two.send("<s@null.test>", &["<all@x.test>"]).await;
    let got = two.inbox("192.0.2.25", "bob", 1).await;
    let path = got.lines().next().unwrap().strip_prefix("Return-Path: ").unwrap();
    assert!(path.starts_with("<SRS0=") && path.ends_with("=null.test=s@mail.x.test>"), "{path}");
    // A bounce goes to the original sender, without following this server's alias. That domain accepts
    // no mail, and no one gets a report.
    two.send("<>", &[path]).await;
    two.tried(None).await;
    let story = two.trace("s@null.test").await;
    let sender = "s@null.test".parse().unwrap();
    let is_back = |event: &Event| match &event.what {
        What::Attempted { recipients, .. } => recipients[0].recipient == sender,
        _ => false,
    };
    assert!(story.iter().any(is_back), "{story:?}");
    // A forged address leads nowhere.
    let forged = path.replace("null.test=s", "null.test=t");
    let dialogue = format!("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:{forged}\r\nQUIT\r\n");
    let said = two.say("127.0.0.1:25", &dialogue).await;
    assert!(!said.contains("250 2.1.5"), "{said}");
    // Mail of our own users keeps its sender.
    two.send("<ana@x.test>", &["<all@x.test>"]).await;
    let got = two.inbox("192.0.2.25", "bob", 2).await;
    assert!(got.starts_with("Return-Path: <ana@x.test>\r\n"), "{got}");
}
