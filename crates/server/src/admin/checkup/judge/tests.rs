use super::judge;
use crate::admin::checkup::tests::example;
use crate::admin::checkup::{
    facts::{Facts, Machine},
    finding::{Finding, Severity, Subject, highest},
    look::{Looking, look},
    publish::{
        MailSetup,
        record::{RecordData, records},
    },
};
use crate::sign::certificates::{CertificateState, IssuedLine};
use posta_net::{
    dial::{Dialer, PrivateAddresses},
    dns::FixedZone,
    https::HttpsClient,
    tls::{client::ClientTls, summary::CertificateSummary},
    transport::{Endpoint, MemoryNet, Net},
};
use std::{net::IpAddr, sync::Arc};
use tokio::io::AsyncWriteExt;

/// A zone that has every record of a setup.
fn published(setup: &MailSetup) -> FixedZone {
    let mut zone = FixedZone { is_secure: true, ..FixedZone::default() };
    for record in records(setup) {
        let name = record.name;
        match record.data {
            RecordData::Exchanger(preference, host) => {
                zone.exchangers.entry(name).or_default().push((preference, host));
            }
            RecordData::Address(address) => zone.addresses.entry(name).or_default().push(address),
            RecordData::Text(text) => zone.texts.entry(name).or_default().push(text),
            RecordData::Certificate(tlsa) => zone.certificates.entry(name).or_default().push(tlsa),
            RecordData::Service(service) => zone.services.entry(name).or_default().push(service),
            RecordData::Pointer(_) | RecordData::Alias(_) => {}
        }
    }
    for address in &setup.addresses {
        zone.names.insert(address.to_string(), vec![setup.hostname.to_string()]);
    }
    let list = |zone: &mut FixedZone, name: &str, answer: [u8; 4]| {
        zone.addresses.insert(format!("{name}.list.test"), vec![IpAddr::from(answer)]);
    };
    list(&mut zone, "2.0.0.127", [127, 0, 0, 2]);
    zone
}

fn machine() -> Machine {
    Machine {
        issued: Vec::new(),
        now: "2027-01-10T12:00:00Z".parse().unwrap(),
        postmaster: vec!["ana@x.test".to_owned()],
        certificate: Some(CertificateSummary {
            names: vec!["mail.x.test".to_owned(), "mta-sts.x.test".to_owned()],
            not_before: "2027-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2027-04-01T00:00:00Z".parse().unwrap(),
            key_sha256: [0xab; 32],
            is_trusted: true,
        }),
        keeps_time: Some(true),
        ahead: None,
    }
}

/// What is right, without the policy: there is no web server in memory.
fn setup() -> MailSetup {
    MailSetup { policy: None, ..example() }
}

fn dialer(net: Arc<MemoryNet>) -> Dialer {
    Dialer::new(net, PrivateAddresses::Allow, Vec::new())
}

/// A server elsewhere, which is tried where the zone has it.
const FAR: &str = "far.test";

async fn seen(zone: FixedZone, setup: MailSetup, machine: Machine, dialer: Dialer) -> Facts {
    let tries_ports = !setup.services.is_empty();
    let outgoing = zone.addresses.contains_key(FAR).then(|| FAR.to_owned());
    let https = HttpsClient { dialer, resolver: Arc::new(zone), tls: ClientTls::new(&[]).unwrap() };
    let looking =
        Looking { https, block_lists: vec!["list.test".to_owned()], tries_ports, outgoing };
    look(&looking, setup, machine).await
}

async fn found(zone: FixedZone, setup: MailSetup, machine: Machine) -> Vec<Finding> {
    judge(&seen(zone, setup, machine, dialer(Arc::default())).await)
}

/// Returns the findings of a subject.
fn of(findings: &[Finding], subject: Subject) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.subject == subject).collect()
}

#[tokio::test]
async fn a_domain_that_is_set_up_has_nothing_to_mend() {
    let setup = setup();
    let findings = found(published(&setup), setup, machine()).await;
    let wrong: Vec<_> = findings
        .iter()
        .filter(|it| it.severity > Severity::Ok && it.subject != Subject::Ports)
        .map(|it| (it.subject, it.severity))
        .collect();
    let notes = [(Subject::Dmarc, Severity::Note), (Subject::MtaSts, Severity::Note)];
    assert_eq!(wrong, notes, "{findings:#?}");
}

#[tokio::test]
async fn a_domain_without_records_is_told_all_of_them() {
    let findings = found(FixedZone::default(), setup(), machine()).await;
    assert_eq!(highest(&findings), Severity::Error);
    for (subject, severity, line) in [
        (Subject::Mx, Severity::Error, "x.test. 3600 IN MX 10 mail.x.test."),
        (Subject::Address, Severity::Error, "mail.x.test. 3600 IN A 192.0.2.1"),
        (Subject::Address, Severity::Error, "mail.x.test. 3600 IN AAAA 2001:db8::1"),
        (Subject::Ptr, Severity::Error, "ask whoever gave you 192.0.2.1 for a PTR record"),
        (Subject::Spf, Severity::Error, "x.test. 3600 IN TXT \"v=spf1 mx ~all\""),
        (Subject::Spf, Severity::Note, "mail.x.test. 3600 IN TXT \"v=spf1 a -all\""),
        (Subject::Dkim, Severity::Error, "s1._domainkey.x.test. 3600 IN TXT \"v=DKIM1"),
        (Subject::Dmarc, Severity::Warning, "_dmarc.x.test. 3600 IN TXT \"v=DMARC1; p=none"),
        (Subject::TlsReports, Severity::Note, "_smtp._tls.x.test. 3600 IN TXT"),
        (Subject::Services, Severity::Note, "_pop3s._tcp.x.test. 3600 IN SRV 0 1 995 mail.x.test."),
    ] {
        let of = of(&findings, subject);
        let is_told = |finding: &&Finding| {
            finding.severity == severity && finding.cure.iter().any(|cure| cure.contains(line))
        };
        assert!(of.iter().any(is_told), "{subject:?} {line}: {of:#?}");
    }
}

/// What is changed in a world where all is right, and what is said of it.
type Case = (
    &'static str,
    fn(&mut FixedZone, &mut MailSetup, &mut Machine),
    Subject,
    Severity,
    &'static str,
);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("nobody reads", |_, _, machine| machine.postmaster.clear(), Subject::Postmaster, Severity::Error, "nobody reads"),
    ("clock", |_, _, machine| machine.keeps_time = Some(false), Subject::Clock, Severity::Warning, "not synchronised"),
    ("unknown clock", |_, _, machine| machine.keeps_time = None, Subject::Clock, Severity::Note, "not checked"),
    ("a clock ahead", |_, _, machine| (machine.keeps_time, machine.ahead) = (None, Some(90)), Subject::Clock, Severity::Error, "90 seconds ahead of a time server's"),
    ("a clock behind", |_, _, machine| (machine.keeps_time, machine.ahead) = (Some(false), Some(-7)), Subject::Clock, Severity::Error, "7 seconds behind a time server's"),
    ("a clock that is right", |_, _, machine| (machine.keeps_time, machine.ahead) = (None, Some(-2)), Subject::Clock, Severity::Ok, "agrees with a time server's"),
    ("a clock that is still right", |_, _, machine| (machine.keeps_time, machine.ahead) = (Some(false), Some(0)), Subject::Clock, Severity::Warning, "not synchronised, but right"),
    ("other MX", |zone, _, _| mx(zone, &[(5, "other.test")]), Subject::Mx, Severity::Error, "not to mail.x.test"),
    ("backup MX", |zone, _, _| { mx(zone, &[(5, "mail.x.test"), (9, "b.test")]); address(zone, "b.test", "192.0.2.9"); },
        Subject::Mx, Severity::Ok, "mail.x.test, b.test"),
    ("MX by another name", |zone, _, _| { mx(zone, &[(5, "mx.x.test")]); address(zone, "mx.x.test", "192.0.2.1"); },
        Subject::Mx, Severity::Ok, "mx.x.test"),
    ("MX without an address", |zone, _, _| mx(zone, &[(5, "mail.x.test"), (9, "b.test")]),
        Subject::Mx, Severity::Error, "b.test has no address"),
    ("null MX", |zone, _, _| mx(zone, &[(0, "")]), Subject::Mx, Severity::Error, "accepts no mail"),
    ("MX unknown", |zone, _, _| zone.failing.push("x.test".into()), Subject::Mx, Severity::Warning, "cannot be looked up"),
    ("no AAAA", |zone, setup, _| { setup.addresses.pop(); address(zone, "mail.x.test", "192.0.2.1"); },
        Subject::Address, Severity::Note, "no IPv6"),
    ("AAAA missing", |zone, _, _| address(zone, "mail.x.test", "192.0.2.1"),
        Subject::Address, Severity::Warning, "lacks addresses"),
    ("other address", |zone, setup, _| { setup.addresses = vec!["192.0.2.7".parse().unwrap()]; address(zone, "mail.x.test", "192.0.2.8"); },
        Subject::Address, Severity::Warning, "lacks"),
    ("other PTR", |zone, _, _| { ptr(zone, "192.0.2.1", "vps.test"); address(zone, "vps.test", "192.0.2.1"); },
        Subject::Ptr, Severity::Warning, "greets as mail.x.test"),
    ("PTR leads elsewhere", |zone, _, _| ptr(zone, "192.0.2.1", "vps.test"), Subject::Ptr, Severity::Error, "does not lead back"),
    ("no PTR of IPv6", |zone, _, _| { zone.names.remove("2001:db8::1"); }, Subject::Ptr, Severity::Error, "2001:db8::1 has no name"),
    ("smarthost", |_, setup, _| setup.smarthost = Some("s.test".into()), Subject::Ptr, Severity::Note, "smarthost"),
    ("SPF of a smarthost", |_, setup, _| setup.smarthost = Some("s.test".into()), Subject::Spf, Severity::Note, "s.test"),
    ("two SPF records", |zone, _, _| zone.texts.get_mut("x.test").unwrap().push("v=spf1 -all".into()),
        Subject::Spf, Severity::Error, "2 records"),
    ("SPF lacks us", |zone, _, _| txt(zone, "x.test", "v=spf1 ip4:192.0.2.1 ~all"),
        Subject::Spf, Severity::Error, "2001:db8::1, an address of this server, has the result softfail"),
    ("SPF for all", |zone, _, _| txt(zone, "x.test", "v=spf1 +all"), Subject::Spf, Severity::Warning, "everybody"),
    ("SPF syntax", |zone, _, _| txt(zone, "x.test", "v=spf1 mx foo ~all"), Subject::Spf, Severity::Error, "\"foo\""),
    ("SPF costs", |zone, _, _| txt(zone, "x.test", "v=spf1 mx mx mx mx mx mx mx mx mx mx mx ~all"),
        Subject::Spf, Severity::Error, "more than 10"),
    ("SPF is counted", |zone, _, _| txt(zone, "x.test", "v=spf1 a:mail.x.test mx ~all"), Subject::Spf, Severity::Ok, "(2 of 10 look-ups)"),
    ("no keys", |_, setup, _| setup.keys.clear(), Subject::Dkim, Severity::Warning, "not signed"),
    ("other key", |zone, _, _| txt(zone, "s1._domainkey.x.test", "v=DKIM1; k=ed25519; p=AAAAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
        Subject::Dkim, Severity::Error, "another key"),
    ("key in other words", |zone, _, _| txt(zone, "s1._domainkey.x.test", "k=ed25519;p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
        Subject::Dkim, Severity::Ok, "s1"),
    ("no key", |zone, _, _| txt(zone, "s1._domainkey.x.test", "hello"), Subject::Dkim, Severity::Error, "no key"),
    ("a key that waits", |zone, setup, _| { setup.keys[0].is_waiting = true; zone.texts.remove("s1._domainkey.x.test"); },
        Subject::Dkim, Severity::Warning, "s1._domainkey.x.test. 3600 IN TXT"),
    ("old key gone", |zone, setup, _| { setup.keys[0].is_retiring = true; zone.texts.remove("s1._domainkey.x.test"); },
        Subject::Dkim, Severity::Note, "still be on its way"),
    ("strict DMARC", |zone, _, _| txt(zone, "_dmarc.x.test", "v=DMARC1; p=reject; rua=mailto:a@x.test"),
        Subject::Dmarc, Severity::Ok, "p=reject"),
    ("tested DMARC", |zone, _, _| txt(zone, "_dmarc.x.test", "v=DMARC1; p=reject; t=y; rua=mailto:a@x.test"),
        Subject::Dmarc, Severity::Note, "only tested"),
    ("DMARC without policy", |zone, _, _| txt(zone, "_dmarc.x.test", "v=DMARC1; q=1"), Subject::Dmarc, Severity::Error, "no valid policy"),
    ("two DMARC records", |zone, _, _| zone.texts.get_mut("_dmarc.x.test").unwrap().push("v=DMARC1; p=none".into()),
        Subject::Dmarc, Severity::Error, "2 records"),
    ("no reports", |zone, _, _| txt(zone, "_dmarc.x.test", "v=DMARC1; p=none"), Subject::Dmarc, Severity::Note, "no address for reports"),
    ("unwanted reports", |zone, _, _| txt(zone, "_dmarc.x.test", "v=DMARC1; p=none; rua=mailto:a@y.test"),
        Subject::Dmarc, Severity::Warning, "y.test does not say"),
    ("policy not told", |_, setup, _| setup.policy = example().policy, Subject::MtaSts, Severity::Warning, "no record announces"),
    ("policy not fetched", |zone, _, _| txt(zone, "_mta-sts.x.test", "v=STSv1; id=1"), Subject::MtaSts, Severity::Error, "cannot be fetched"),
    ("TLS reports", |zone, _, _| txt(zone, "_smtp._tls.x.test", "v=TLSRPTv1"), Subject::TlsReports, Severity::Warning, "wrong"),
    ("another certificate in DNS", |zone, _, _| zone.certificates.values_mut().for_each(|all| all[0].data[0] ^= 1),
        Subject::Tlsa, Severity::Error, "another key"),
    ("no DNSSEC", |zone, _, _| zone.is_secure = false, Subject::Tlsa, Severity::Note, "without DNSSEC"),
    ("no TLSA", |zone, _, _| zone.certificates.clear(), Subject::Tlsa, Severity::Note, "no record of the certificate"),
    ("certificate expired", |_, _, machine| end(machine, "2027-01-10T11:00:00Z"), Subject::Certificate, Severity::Error, "expired"),
    ("certificate expires", |_, _, machine| end(machine, "2027-01-20T00:00:00Z"), Subject::Certificate, Severity::Warning, "expires on 2027-01-20"),
    ("certificate of another", |_, _, machine| machine.certificate.as_mut().unwrap().names = vec!["y.test".into()],
        Subject::Certificate, Severity::Error, "not for mail.x.test"),
    ("certificate of nobody", |_, _, machine| machine.certificate.as_mut().unwrap().is_trusted = false,
        Subject::Certificate, Severity::Warning, "known authority"),
    ("issued, and renewed in vain", |_, _, machine| machine.issued = vec![issued(CertificateState::Failing)],
        Subject::Certificate, Severity::Warning, "expires on 2027-02-01, and its renewal fails"),
    ("issued, and too late", |_, _, machine| machine.issued = vec![issued(CertificateState::Expired)],
        Subject::Certificate, Severity::Error, "mta-sts.x.test: it expired"),
    ("issued, in time", |_, _, machine| machine.issued = vec![issued(CertificateState::Valid)],
        Subject::Certificate, Severity::Ok, "for mail.x.test"),
    ("no certificate", |_, _, machine| machine.certificate = None, Subject::Certificate, Severity::Note, "none yet"),
    ("no ports to try", |zone, setup, _| { setup.addresses.clear(); zone.addresses.remove("mail.x.test"); },
        Subject::Ports, Severity::Note, "not tried"),
    ("port 25 blocked", |zone, _, _| address(zone, FAR, "192.0.2.25"), Subject::Ports, Severity::Error, "port 25 of far.test cannot be reached"),
    ("smarthost in place of port 25", |zone, setup, _| { setup.services.clear(); setup.smarthost = Some("s.test".into()); address(zone, FAR, "192.0.2.25"); },
        Subject::Ports, Severity::Note, "through the smarthost"),
    ("listed", |zone, _, _| { address(zone, "1.2.0.192.list.test", "127.0.0.4"); txt(zone, "1.2.0.192.list.test", "spam"); },
        Subject::BlockLists, Severity::Error, "192.0.2.1 is on list.test: spam"),
    ("an answer that is none", |zone, _, _| address(zone, "1.2.0.192.list.test", "192.0.2.77"), Subject::BlockLists, Severity::Ok, "not on list.test"),
    ("a list of everybody", |zone, _, _| address(zone, "1.0.0.127.list.test", "127.0.0.2"), Subject::BlockLists, Severity::Note, "every address"),
    ("a list that is silent", |zone, _, _| { zone.addresses.remove("2.0.0.127.list.test"); }, Subject::BlockLists, Severity::Note, "list.test: no answer"),
    ("a list that refuses", |zone, _, _| address(zone, "2.0.0.127.list.test", "127.255.255.254"), Subject::BlockLists, Severity::Note, "list.test: refuses"),
    ("wrong SRV", |zone, _, _| zone.services.get_mut("_pop3s._tcp.x.test").unwrap()[0].port = 1, Subject::Services, Severity::Warning, "other hosts or ports"),
];

fn issued(state: CertificateState) -> IssuedLine {
    IssuedLine {
        name: "mta-sts.x.test".to_owned(),
        state,
        not_before: None,
        not_after: Some("2027-02-01T00:00:00Z".parse().unwrap()),
        days_left: None,
        key_sha256: None,
        next_key_sha256: None,
        is_trusted: true,
        next: None,
        failures: 2,
        problem: Some("no route".to_owned()),
    }
}

fn mx(zone: &mut FixedZone, exchangers: &[(u16, &str)]) {
    let all = exchangers.iter().map(|(preference, host)| (*preference, (*host).to_owned()));
    zone.exchangers.insert("x.test".to_owned(), all.collect());
}

fn address(zone: &mut FixedZone, name: &str, address: &str) {
    zone.addresses.insert(name.to_owned(), vec![address.parse().unwrap()]);
}

fn ptr(zone: &mut FixedZone, address: &str, name: &str) {
    zone.names.insert(address.to_owned(), vec![name.to_owned()]);
}

fn txt(zone: &mut FixedZone, name: &str, text: &str) {
    zone.texts.insert(name.to_owned(), vec![text.to_owned()]);
}

fn end(machine: &mut Machine, time: &str) {
    machine.certificate.as_mut().unwrap().not_after = time.parse().unwrap();
}

#[tokio::test]
async fn each_fault_is_told() {
    for (name, change, subject, severity, words) in CASES {
        let (mut setup, mut machine) = (setup(), machine());
        let mut zone = published(&setup);
        change(&mut zone, &mut setup, &mut machine);
        let findings = found(zone, setup, machine).await;
        let of = of(&findings, *subject);
        let is_told = |it: &&Finding| {
            it.severity == *severity
                && (it.says.contains(words) || it.cure.join(" ").contains(words))
        };
        assert!(of.iter().any(is_told), "{name}: {of:#?}");
        let highest = of.iter().map(|finding| finding.severity).max();
        assert!(highest <= Some(Severity::Warning.max(*severity)), "{name}: {of:#?}");
    }
}

/// Senders fetch the policy again only when the record has another id (RFC 8461 §3.1).
#[tokio::test]
async fn the_id_of_a_policy_is_compared() {
    let setup = example();
    let policy = setup.policy.clone().unwrap();
    let zone = published(&setup);
    let name = "_mta-sts.x.test";
    let right = zone.texts[name][0].clone();
    for (text, severity) in [
        (right.clone(), Severity::Ok),
        (right.replace("; id=", ";id=") + " ;", Severity::Ok),
        ("v=STSv1; id=0123456789abcdef0123".to_owned(), Severity::Warning),
        ("v=STSv1;".to_owned(), Severity::Warning),
        ("v=STSv1; id=2027-01-01;".to_owned(), Severity::Warning),
        // The operator's own.
        ("v=STSv1; id=20270101".to_owned(), Severity::Note),
    ] {
        let mut zone = zone.clone();
        txt(&mut zone, name, &text);
        let dialer = dialer(Arc::<MemoryNet>::default());
        let mut facts = seen(zone, setup.clone(), machine(), dialer).await;
        facts.policy = Some(Ok(policy.clone()));
        let findings = judge(&facts);
        let of = of(&findings, Subject::MtaSts);
        assert_eq!(of.iter().map(|it| it.severity).max(), Some(severity), "{text}: {of:#?}");
        let has_record = of.iter().any(|it| it.cure.join(" ").contains(&right));
        assert_eq!(has_record, severity == Severity::Warning, "{text}: {of:#?}");
    }
}

#[tokio::test]
async fn a_closed_port_is_an_error_where_no_router_is_between() {
    let severity = async |addresses: &[&str]| {
        let mut setup = setup();
        let zone = published(&setup);
        setup.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let findings = found(zone, setup, machine()).await;
        let ports = of(&findings, Subject::Ports);
        ports.iter().find(|it| it.says.starts_with("192.0.2.1 port 25")).map(|it| it.severity)
    };
    assert_eq!(severity(&["192.0.2.1"]).await, Some(Severity::Error));
    assert_eq!(severity(&[]).await, Some(Severity::Warning));
}

#[tokio::test]
async fn ports_are_tried() {
    let net = Arc::new(MemoryNet::default());
    for (address, greeting) in [
        ("192.0.2.1:25", "220 mail.x.test ESMTP\r\n"),
        ("[2001:db8::1]:25", "220 other.test\r\n"),
        ("192.0.2.25:25", "220 far.test\r\n"),
    ] {
        let mut listener = net.bind(&Endpoint::Tcp(address.parse().unwrap())).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(greeting.as_bytes()).await;
            }
        });
    }
    let setup = setup();
    let mut zone = published(&setup);
    address(&mut zone, FAR, "192.0.2.25");
    let facts = seen(zone, setup, machine(), dialer(net)).await;
    let findings = judge(&facts);
    let ports = of(&findings, Subject::Ports);
    let has = |severity, words: &str| {
        let is_it = |it: &&&Finding| it.severity == severity && it.says.contains(words);
        assert!(ports.iter().any(|it| is_it(&it)), "{words}: {ports:#?}");
    };
    has(Severity::Ok, "reachable from here: 25");
    has(Severity::Ok, "port 25 of far.test answers");
    has(Severity::Warning, "2001:db8::1 port 25 (smtp) greets with \"220 other.test\"");
    has(Severity::Warning, "192.0.2.1 port 465 (submissions) cannot be reached");
}
