//! What leaves a server is signed, and whoever gets it can verify that.

mod filtered;

use super::{
    handed_on::{Heard, next_hop, zone_with_next_hop},
    *,
};
use crate::settings::unsigned;
use posta_net::dns::{DnsAnswer, Family, LookupError, PendingLookup, ServiceHost, Tlsa};
use posta_origin::{
    arc::{ArcResult, ArcVerified},
    dkim::{DkimResult, Keys, Verified},
    dns::{Zone, now_or_never},
    observer::{Needs, Observed, Observer},
};
use posta_server::{
    admin::{DomainKeyLine, KeyRequest},
    deliver::checked::OriginPolicy,
    filter::FilterSettings,
    settings::LoopbackTrust,
    sign::{SigningSettings, keys::KeyState},
};
use std::sync::Mutex;

/// A zone that changes while servers ask.
#[derive(Default)]
pub(super) struct LiveZone {
    zone: Mutex<FixedZone>,
    /// The end of names whose texts nobody gets to know: a question for them has no answer.
    pub(super) mute: Mutex<Option<String>>,
}

impl LiveZone {
    pub(super) fn new(zone: FixedZone) -> Self {
        Self { zone: Mutex::new(zone), mute: Mutex::default() }
    }

    fn ask<'a, T: Send + 'a>(
        &self,
        ask: impl AsyncFnOnce(&FixedZone) -> Result<DnsAnswer<T>, LookupError>,
    ) -> PendingLookup<'a, DnsAnswer<T>> {
        // A fixed zone answers at once.
        let zone = self.zone.lock().unwrap().clone();
        Box::pin(std::future::ready(now_or_never(ask(&zone)).unwrap()))
    }

    fn change(&self, change: impl FnOnce(&mut FixedZone)) {
        change(&mut self.zone.lock().unwrap());
    }
}

impl Resolver for LiveZone {
    fn exchangers<'a>(&'a self, domain: &'a str) -> PendingLookup<'a, DnsAnswer<(u16, String)>> {
        self.ask(async |zone: &FixedZone| zone.exchangers(domain).await)
    }

    fn addresses<'a>(&'a self, host: &'a str) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        self.ask(async |zone: &FixedZone| zone.addresses(host).await)
    }

    fn addresses_of<'a>(
        &'a self,
        host: &'a str,
        family: Family,
    ) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        self.ask(async |zone: &FixedZone| zone.addresses_of(host, family).await)
    }

    fn names(&self, address: IpAddr) -> PendingLookup<'_, DnsAnswer<String>> {
        self.ask(async |zone: &FixedZone| zone.names(address).await)
    }

    fn certificates<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<Tlsa>> {
        self.ask(async |zone: &FixedZone| zone.certificates(name).await)
    }

    fn services<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<ServiceHost>> {
        self.ask(async |zone: &FixedZone| zone.services(name).await)
    }

    fn texts<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<String>> {
        if self.mute.lock().unwrap().as_deref().is_some_and(|end| name.ends_with(end)) {
            return Box::pin(std::future::pending());
        }
        self.ask(async |zone: &FixedZone| zone.texts(name).await)
    }
}

/// Two servers that sign, and one of `next.test` that notes what it gets.
struct Signing {
    two: Two,
    zone: Arc<LiveZone>,
    heard: Heard,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROTATE: Duration = Duration::from_secs(180 * 24 * 60 * 60);

async fn signing(offers: &'static str) -> Signing {
    signing_with(offers, Vec::new()).await
}

/// The same, with filters for what users of the first server send.
async fn signing_with(offers: &'static str, filters: Vec<FilterSettings>) -> Signing {
    let zone = Arc::new(LiveZone::new(zone_with_next_hop()));
    let change = move |settings: &mut Settings| {
        settings.filters = filters.clone();
        settings.relay.private_addresses = PrivateAddresses::Allow;
        settings.signing = SigningSettings { enabled: true, rotate: Some(ROTATE), ..unsigned() };
        if settings.hostname.as_str() == "mx.y.test" {
            // To the second server everybody is a stranger, whose mail it checks.
            settings.trust_loopback = LoopbackTrust::Nothing;
            settings.checks = Some(OriginPolicy { obey: true, trusted_sealers: Vec::new() });
        }
    };
    let two = two_under(zone.clone(), Box::new(change)).await;
    let heard = next_hop(&two, offers).await;
    Signing { two, zone, heard }
}

async fn keys(side: &Side, domain: &str) -> Vec<DomainKeyLine> {
    let request = KeyRequest::List;
    let request = Request::DomainKeys { domain: domain.to_owned(), request };
    match side.admin.execute(request).await.unwrap() {
        Response::DomainKeys(lines) => lines,
        other => panic!("{other:?}"),
    }
}

impl Signing {
    /// Waits until the keys of a domain are in these states.
    async fn states_of(
        &self,
        side: &Side,
        domain: &str,
        states: &[KeyState],
    ) -> Vec<DomainKeyLine> {
        for _ in 0..PATIENCE.as_secs() {
            let keys = keys(side, domain).await;
            if keys.iter().map(|key| key.state).eq(states.iter().copied()) {
                return keys;
            }
            self.wait().await;
        }
        panic!("{:?}", keys(side, domain).await);
    }

    async fn states(&self, states: &[KeyState]) -> Vec<DomainKeyLine> {
        self.states_of(&self.two.ours, "x.test", states).await
    }

    /// Lets a second pass.
    async fn wait(&self) {
        let second = Duration::from_secs(1);
        self.two.pass(second);
        sleep(second).await;
    }

    fn publish(&self, keys: &[DomainKeyLine]) {
        self.zone.change(|zone| {
            for key in keys {
                zone.texts.insert(key.name.clone(), vec![key.record.clone()]);
            }
        });
    }

    /// Has the first keys of a domain published and seen.
    async fn ready(&self, side: &Side, domain: &str) -> Vec<DomainKeyLine> {
        let keys = self.states_of(side, domain, &[KeyState::Waiting; 2]).await;
        self.publish(&keys);
        self.states_of(side, domain, &[KeyState::Active; 2]).await
    }

    /// Sends a message, and returns it as it arrived elsewhere.
    async fn through(&self, mail: &str, content: &str) -> String {
        self.two.submit(mail, "<r@next.test>", content).await;
        self.arrived().await
    }

    /// Returns the message that goes elsewhere.
    async fn arrived(&self) -> String {
        for _ in 0..PATIENCE.as_secs() {
            if self.heard.lock().unwrap().iter().any(|line| line == ".") {
                let heard = std::mem::take(&mut *self.heard.lock().unwrap());
                let content = heard.into_iter().skip_while(|line| line != "DATA").skip(1);
                let content = content.take_while(|line| line != ".");
                return content.map(|line| line + "\r\n").collect();
            }
            sleep(Duration::from_secs(1)).await;
        }
        panic!("nothing arrived");
    }

    /// Verifies the signatures of a message with what DNS has.
    fn verify(&self, message: &str) -> Vec<Verified> {
        let (observed, keys) = self.observe(message);
        observed.verify_dkim(&keys, self.two.clock.now())
    }

    /// Validates the ARC chain of a message with what DNS has.
    fn chain(&self, message: &str) -> ArcVerified {
        let (observed, keys) = self.observe(message);
        observed.verify_arc(&keys, self.two.clock.now())
    }

    fn observe(&self, message: &str) -> (Observed, Keys) {
        let mut observer = Observer::new(Needs { verify: true, sign: false });
        observer.write(message.as_bytes());
        let observed = observer.finish();
        let mut zone = Zone::default();
        for (name, texts) in &self.zone.zone.lock().unwrap().texts {
            zone = texts.iter().fold(zone, |zone, text| zone.with_txt(name, text));
        }
        let keys = now_or_never(Keys::look_up(&zone, &observed.key_names())).unwrap();
        (observed, keys)
    }

    /// Returns the domain and the algorithm of each signature, all of which have to pass.
    fn signed(&self, message: &str) -> Vec<String> {
        let verified = self.verify(message).into_iter().map(|verified| {
            assert_eq!(verified.result, DkimResult::Pass, "{}\n{message}", verified.reason);
            let signature = verified.signature.unwrap();
            format!("{} {}", signature.domain, signature.algorithm.name())
        });
        verified.collect()
    }
}

const BOTH: [&str; 2] = ["x.test ed25519-sha256", "x.test rsa-sha256"];
const EIGHT: &str = "250-PIPELINING\r\n250 8BITMIME\r\n";
const PLAIN: &str = "From: Ana <ana@x.test>\r\nTo: r@next.test\r\nSubject: s\r\n\r\nbody  \r\n\r\n";

#[tokio::test(start_paused = true)]
async fn our_users_mail_has_two_signatures_once_dns_has_the_keys() {
    let signing = signing(EIGHT).await;
    let waiting = signing.states(&[KeyState::Waiting; 2]).await;
    let unsigned = signing.through("<ana@x.test>", PLAIN).await;
    assert!(unsigned.starts_with("Received: "), "{unsigned}");
    // One after the other.
    signing.publish(&waiting[..1]);
    signing.states(&[KeyState::Active, KeyState::Waiting]).await;
    let once = signing.through("<ana@x.test>", PLAIN).await;
    assert_eq!(signing.signed(&once), BOTH[..1]);
    signing.publish(&waiting);
    let keys = signing.states(&[KeyState::Active; 2]).await;
    let signed = signing.through("<ana@x.test>", PLAIN).await;
    assert_eq!(signing.signed(&signed), BOTH);
    let (signature, _) = signed.split_once("Received: ").unwrap();
    let signature = signature.replace("\r\n\t", "").replace(' ', "");
    for part in ["c=relaxed/relaxed;", &format!("s={};", keys[0].selector), "h=From:From:Sender:"] {
        assert!(signature.contains(part), "{part}: {signature}");
    }
    assert!(!signature.contains(";l="), "all of the body is covered: {signature}");
    // Nobody can add a field that mail programs show.
    for field in ["From: eva@x.test\r\n", "Subject: other\r\n", "Reply-To: eva@x.test\r\n"] {
        let forged = [field, &signed].concat();
        let verified = signing.verify(&forged);
        assert!(verified.iter().all(|it| it.result == DkimResult::Fail), "{field}");
    }
    // What is added to a message before it goes on is covered, too.
    assert!(signed.contains("\r\nDate: ") && signed.contains("\r\nMessage-ID: "), "{signed}");
}

#[tokio::test(start_paused = true)]
async fn only_domains_that_are_ours_sign_and_only_where_programs_agree_on_the_author() {
    let signing = signing(EIGHT).await;
    let ours = &signing.two.ours;
    let add = Request::DomainAdd { domain: "other.test".to_owned(), postmaster: None };
    ours.admin.execute(add).await.unwrap();
    signing.ready(ours, "other.test").await;
    signing.ready(ours, "x.test").await;
    let others = ["other.test ed25519-sha256", "other.test rsa-sha256"];
    let all = [others, BOTH].concat();
    for (fields, expected) in [
        ("From: ana@x.test\r\n", &BOTH[..]),
        ("From: a@other.test\r\n", &others),
        ("From: ana@X.Test\r\nSender: a@other.test\r\n", &BOTH),
        ("From: s@null.test\r\nSender: ana@x.test\r\n", &BOTH),
        ("From: a@other.test, ana@x.test, b@other.test\r\n", &all),
        // Neither above nor below a domain of ours.
        ("From: s@null.test\r\n", &[]),
        ("From: a@sub.x.test\r\n", &[]),
        ("From: a@test\r\n", &[]),
        // A name that looks like an address is none.
        ("From: \"ana@x.test\" <s@null.test>\r\n", &[]),
        ("From: ana@x.test\r\nFrom: s@null.test\r\n", &[]),
        ("From: <@null.test:ana@x.test>\r\n", &[]),
        // Programs differ in which of the two they show: both count, as authors of one message do.
        ("From: ana@x.test <s@null.test>\r\n", &BOTH),
        ("From: nobody:;\r\n", &[]),
    ] {
        let content = format!("{fields}Subject: s\r\n\r\nbody\r\n");
        let sent = signing.through("<ana@x.test>", &content).await;
        assert_eq!(signing.signed(&sent), expected, "{fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn mail_that_stays_here_or_passes_through_is_not_signed() {
    let signing = signing(EIGHT).await;
    let Two { ours, theirs, .. } = &signing.two;
    signing.ready(ours, "x.test").await;
    signing.two.send("<ana@x.test>", &["<ana@x.test>"]).await;
    let here = signing.two.inbox("127.0.0.1", "ana", 1).await;
    assert!(!here.contains("DKIM-Signature"), "{here}");
    // A stranger who says to be one of theirs, to an alias of theirs that leads elsewhere.
    signing.ready(theirs, "y.test").await;
    let (name, targets) = ("all@y.test".to_owned(), vec!["r@next.test".to_owned()]);
    theirs.admin.execute(Request::AliasAdd { name, targets }).await.unwrap();
    let content = "From: bob@y.test\r\nSubject: s\r\n\r\nbody\r\n";
    let dialogue = format!(
        "EHLO c.test\r\nMAIL FROM:<s@null.test>\r\nRCPT TO:<all@y.test>\r\nDATA\r\n{content}.\r\nQUIT\r\n"
    );
    let said = signing.two.say("192.0.2.25:25", &dialogue).await;
    assert!(said.contains("kept as"), "{said}");
    let passed = signing.arrived().await;
    assert!(!passed.contains("DKIM-Signature"), "{passed}");
}

/// RFC 6152 §3: a server that takes only ASCII gets another form of the message, which holds as well.
#[tokio::test(start_paused = true)]
async fn what_is_converted_is_signed_as_it_goes() {
    let signing = signing("250 PIPELINING\r\n").await;
    let ours = &signing.two.ours;
    let keys = signing.ready(ours, "x.test").await;
    let text = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: 8bit\r\n";
    let short = format!("From: ana@x.test\r\n{text}\r\ngrüße\r\n");
    let long = format!("{short}{}", "grüße  \r\n".repeat(60_000));
    for content in [&short, &long] {
        let sent = signing.through("<ana@x.test> BODY=8BITMIME", content).await;
        assert!(sent.contains("Content-Transfer-Encoding: quoted-printable\r\n"));
        assert!(sent.is_ascii());
        assert_eq!(
            sent.matches("DKIM-Signature:").count(),
            2,
            "those of the other form stay behind"
        );
        assert_eq!(signing.signed(&sent), BOTH);
    }
    // Where no key is left, it goes unsigned rather than with signatures that fail.
    let dialogue = format!(
        "EHLO c.test\r\nMAIL FROM:<ana@x.test> BODY=8BITMIME HOLDFOR=60\r\nRCPT TO:<r@next.test>\r\n\
         DATA\r\n{short}.\r\nQUIT\r\n"
    );
    let said = signing.two.say("127.0.0.1:587", &dialogue).await;
    assert!(said.contains("kept as "), "{said}");
    for key in keys {
        let (domain, request) =
            ("x.test".to_owned(), KeyRequest::Retire { selector: key.selector });
        ours.admin.execute(Request::DomainKeys { domain, request }).await.unwrap();
    }
    signing.two.pass(HOUR);
    sleep(HOUR).await;
    let sent = signing.arrived().await;
    assert!(sent.starts_with("Received: ") && sent.contains("quoted-printable"), "{sent}");
}

/// A DSN that leaves the server is from one of our domains, and has to be believed like any mail.
#[tokio::test(start_paused = true)]
async fn reports_that_leave_are_signed() {
    let signing = signing(EIGHT).await;
    signing.ready(&signing.two.ours, "x.test").await;
    // Whoever sends from next door is told elsewhere that its message failed.
    signing.two.submit("<r@next.test>", "<eva@y.test>", PLAIN).await;
    let report = signing.arrived().await;
    assert!(report.contains("Content-Type: multipart/report;"), "{report}");
    assert_eq!(signing.signed(&report), BOTH);
    // One that stays here is not.
    signing.two.submit("<ana@x.test>", "<eva@y.test>", PLAIN).await;
    let report = signing.two.inbox("127.0.0.1", "ana", 1).await;
    let (fields, _) = report.split_once("\r\n\r\n").unwrap();
    assert!(!fields.contains("DKIM-Signature"), "{report}");
}

/// New keys are made in time, sign once they are published, and those before stay in DNS until their mail is delivered.
#[tokio::test(start_paused = true)]
async fn keys_are_rotated_with_overlap() {
    use KeyState::{Active, Retired, Retiring, Waiting};
    let signing = signing(EIGHT).await;
    let first = signing.ready(&signing.two.ours, "x.test").await;
    let selector = |key: &DomainKeyLine| format!(" s={};", key.selector);
    signing.two.pass(ROTATE);
    let keys = signing.states(&[Active, Active, Waiting, Waiting]).await;
    assert!(keys[2..].iter().all(|key| first.iter().all(|other| other.selector != key.selector)));
    let before = signing.through("<ana@x.test>", PLAIN).await;
    assert!(before.replace("\r\n\t", " ").contains(&selector(&first[0])), "{before}");
    signing.publish(&keys);
    signing.states(&[Retiring, Retiring, Active, Active]).await;
    let after = signing.through("<ana@x.test>", PLAIN).await;
    assert!(after.replace("\r\n\t", " ").contains(&selector(&keys[2])), "{after}");
    assert_eq!(signing.signed(&before), BOTH, "what was signed before still holds");
    assert_eq!(signing.signed(&after), BOTH);
    // Five days in the queue, and a week.
    signing.two.pass(DAY * 11);
    sleep(HOUR).await;
    signing.states(&[Retiring, Retiring, Active, Active]).await;
    signing.two.pass(DAY * 2);
    signing.states(&[Retired, Retired, Active, Active]).await;
    signing.zone.change(|zone| {
        first.iter().for_each(|key| {
            zone.texts.remove(&key.name);
        });
    });
    signing.two.pass(DAY * 2);
    signing.states(&[Active, Active]).await;
}

/// A key that vanishes from DNS is told of, and one that DNS does not answer about is not.
#[tokio::test(start_paused = true)]
async fn a_key_that_dns_lost_is_told_of() {
    let signing = signing(EIGHT).await;
    let ready = signing.ready(&signing.two.ours, "x.test").await;
    signing.zone.change(|zone| {
        zone.texts.remove(&ready[0].name);
        zone.failing.push(ready[1].name.clone());
    });
    signing.two.pass(DAY * 2);
    for _ in 0..PATIENCE.as_secs() {
        let keys = keys(&signing.two.ours, "x.test").await;
        if keys[0].missing.is_some() {
            assert_eq!((keys[1].missing, keys[1].state), (None, KeyState::Active));
            return;
        }
        signing.wait().await;
    }
    panic!("nobody noticed");
}

/// RFC 8617: what is forwarded tells the next server what was found here, and the chain goes on.
#[tokio::test(start_paused = true)]
async fn forwarded_mail_is_sealed() {
    let signing = signing(EIGHT).await;
    let Two { ours, theirs, .. } = &signing.two;
    signing.ready(ours, "x.test").await;
    signing.ready(theirs, "y.test").await;
    let (name, targets) = ("all@y.test".to_owned(), vec!["r@next.test".to_owned()]);
    theirs.admin.execute(Request::AliasAdd { name, targets }).await.unwrap();
    // By way of a server that signs.
    signing.two.submit("<ana@x.test>", "<all@y.test>", PLAIN).await;
    let once = signing.arrived().await;
    let chain = signing.chain(&once);
    assert_eq!((chain.result, chain.sets.len()), (ArcResult::Pass, 1), "{}\n{once}", chain.reason);
    assert!(once.starts_with("ARC-Seal: i=1; a=rsa-sha256; cv=none; d=y.test;"), "{once}");
    let (set, rest) = once.split_once("Received: ").unwrap();
    for words in
        ["ARC-Authentication-Results: i=1; mx.y.test;", "dkim=pass header.d=x.test", "dmarc="]
    {
        assert!(set.contains(words), "{words}: {set}");
    }
    assert!(rest.contains("DKIM-Signature: "), "{once}");
    assert_eq!(signing.signed(&once), BOTH, "the author's signatures hold");
    // Whoever changes it breaks the chain.
    let changed = once.replace("\r\nbody\r\n", "\r\nother\r\n");
    assert_eq!(signing.chain(&changed).result, ArcResult::Fail);
    // It comes back, and is forwarded once more.
    let dialogue = format!(
        "EHLO c.test\r\nMAIL FROM:<s@null.test>\r\nRCPT TO:<all@y.test>\r\nDATA\r\n{once}.\r\nQUIT\r\n"
    );
    let said = signing.two.say("192.0.2.25:25", &dialogue).await;
    assert!(said.contains("kept as"), "{said}");
    let twice = signing.arrived().await;
    let chain = signing.chain(&twice);
    assert_eq!((chain.result, chain.sets.len()), (ArcResult::Pass, 2), "{}\n{twice}", chain.reason);
    assert!(twice.contains("arc=pass"), "{twice}");
}

/// A seal over the 8-bit form would not hold, and stays behind.
#[tokio::test(start_paused = true)]
async fn what_is_converted_is_not_sealed() {
    let signing = signing("250 PIPELINING\r\n").await;
    let theirs = &signing.two.theirs;
    signing.ready(theirs, "y.test").await;
    let (name, targets) = ("all@y.test".to_owned(), vec!["r@next.test".to_owned()]);
    theirs.admin.execute(Request::AliasAdd { name, targets }).await.unwrap();
    let text = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: 8bit\r\n";
    let dialogue = format!(
        "EHLO c.test\r\nMAIL FROM:<s@null.test> BODY=8BITMIME\r\nRCPT TO:<all@y.test>\r\nDATA\r\n\
         From: bob@y.test\r\n{text}\r\ngrüße\r\n.\r\nQUIT\r\n"
    );
    let said = signing.two.say("192.0.2.25:25", &dialogue).await;
    assert!(said.contains("kept as"), "{said}");
    let sent = signing.arrived().await;
    assert!(sent.contains("quoted-printable") && !sent.contains("ARC-"), "{sent}");
    // It is a stranger's, whoever it says that it is from.
    assert!(!sent.contains("DKIM-Signature"), "{sent}");
    assert!(sent.starts_with("Authentication-Results: mx.y.test;"), "{sent}");
}
