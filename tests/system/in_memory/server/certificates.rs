//! A certificate that cannot be obtained: what the operator is told, and how often.

use super::*;
use posta_net::tls::server::{Tls, self_signed};
use posta_server::{
    admin::CertificateRequest,
    sign::certificates::{AcmeSettings, CertificateState},
};

const HALF_HOUR: Duration = Duration::from_secs(30 * 60);

/// Returns the number of messages in ana's mailbox, who is postmaster.
async fn messages(system: &System) -> usize {
    let said = system.say(110, &format!("{LOGIN}STAT\r\nQUIT\r\n")).await;
    let stat = said.lines().nth(3).unwrap_or_default();
    stat.split(' ').nth(1).and_then(|count| count.parse().ok()).expect("a count")
}

#[tokio::test(start_paused = true)]
async fn the_postmaster_hears_once_a_day_of_a_certificate_that_fails() {
    let directory = tempfile::tempdir().unwrap();
    let files = self_signed(directory.path(), "mail.x.test").unwrap();
    let start = Timestamp::from_second(1_074_188_330).unwrap();
    let clock = Arc::new(SimulatedClock::new(start, 7));
    let system = system_on(store(), clock.clone(), |settings| {
        settings.tls = Some(Tls::load(vec![files]).unwrap());
        let directory = "https://authority.test/directory".to_owned();
        settings.acme = Some(AcmeSettings { directory, contact: None });
        settings.listeners.push(ListenerSettings {
            kind: ListenerKind::PlainWeb,
            endpoint: "127.0.0.1:80".parse().unwrap(),
            tls: TlsMode::None,
        });
    })
    .await;
    let said = system.say(80, "GET / HTTP/1.1\r\nHost: x.test\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
    let mut counts = Vec::new();
    for half_hours in 1..=54 {
        clock.set(start + HALF_HOUR * half_hours);
        tokio::time::sleep(HALF_HOUR).await;
        if [1, 6, 44, 54].contains(&half_hours) {
            counts.push(messages(&system).await);
        }
    }
    assert_eq!(counts, [0, 1, 1, 2], "after half an hour, three hours, 22 hours and 27 hours");
    let read = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
    assert!(read.contains("Subject: A certificate of mail.x.test cannot be renewed\r\n"), "{read}");
    let why = "mail.x.test: there is no certificate. The last attempt failed: mail.x.test has no address in DNS.";
    assert!(read.contains(why), "{read}");
    let listed =
        system.admin.execute(Request::Certificates { request: CertificateRequest::List }).await;
    let Response::Certificates(lines) = listed.unwrap() else { panic!("no list") };
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].state, CertificateState::Failing);
    assert!(lines[0].failures > 2, "{lines:?}");
    system.server.stop().await;
}
