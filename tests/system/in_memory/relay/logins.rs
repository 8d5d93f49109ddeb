//! Smarthosts that require a login, but refuse the mechanism that they offer first.

use super::{
    hops::{Answers, Heard, Protection, hop},
    *,
};
use crate::settings::{relay_settings, rules};
use posta_mail::Secret;
use posta_server::send::{Rules, Smarthost, SmarthostTls};

/// Starts two servers; ours sends all mail through a smarthost with these answers.
async fn through(answers: Answers) -> (Two, Heard) {
    let mut zone = zone();
    zone.addresses.insert("out.test".to_owned(), vec![[192, 0, 2, 40].into()]);
    let smarthost = Smarthost {
        host: "out.test".to_owned(),
        port: 587,
        tls: SmarthostTls::StartTls,
        login: Some(("user".to_owned(), Secret::new(b"parola"))),
    };
    let all = Rules { route: Some(Arc::new(smarthost)), ..rules() };
    let two = two_with(zone, RelaySettings { all, ..relay_settings() }).await;
    let heard = hop(&two.net, ("out.test", "192.0.2.40:587"), Protection::Tls, answers).await;
    (two, heard)
}

fn tried(heard: &Heard) -> Vec<String> {
    let lines = heard.with("AUTH").into_iter();
    lines.filter_map(|line| line.split(' ').nth(2).map(str::to_owned)).collect()
}

/// A smarthost refuses the strongest mechanism that it offers, before it has seen the password: after 535 or 504, the next
/// one is tried.
#[tokio::test(start_paused = true)]
async fn a_smarthost_is_offered_one_login_after_the_other() {
    let scram: Answers = &[
        ("TLS EHLO", "250-out.test\r\n250 AUTH SCRAM-SHA-256 PLAIN LOGIN"),
        ("TLS AUTH SCRAM", "535 5.7.8 authentication failed"),
        ("TLS AUTH PLAIN AHVzZXIAcGFyb2xh", "235 2.7.0 in"),
    ];
    let plain: Answers = &[
        ("TLS EHLO", "250-out.test\r\n250 AUTH PLAIN LOGIN"),
        ("TLS AUTH PLAIN", "504 5.5.4 not that one"),
        ("TLS AUTH LOGIN", "334 VXNlcm5hbWU6"),
        ("TLS dXNlcg==", "334 UGFzc3dvcmQ6"),
        ("TLS cGFyb2xh", "235 2.7.0 in"),
    ];
    for (answers, expected) in [(scram, ["SCRAM-SHA-256", "PLAIN"]), (plain, ["PLAIN", "LOGIN"])] {
        let (two, heard) = through(answers).await;
        two.send("<ana@x.test>", &["<a@far.test>"]).await;
        two.tried(None).await;
        assert_eq!(tried(&heard), expected);
        assert_eq!(heard.count("TLS ."), 1, "{:?}", heard.lines());
    }
}

/// If no mechanism is accepted, the mail waits, and the last refusal is the reason, whether or not the
/// server hangs up after it. A wrong password is tried once: a server may lock out who fails a few times. An impostor,
/// detected by SCRAM, gets no password.
#[tokio::test(start_paused = true)]
async fn a_smarthost_that_lets_nobody_in_is_told_of() {
    let offered = ("TLS EHLO", "250-out.test\r\n250 AUTH SCRAM-SHA-256 PLAIN LOGIN");
    let all = [offered, ("TLS AUTH", "535 5.7.8 no")];
    let wrong = [("TLS EHLO", "250-out.test\r\n250 AUTH PLAIN LOGIN"), all[1]];
    let last = [offered, ("TLS AUTH SCRAM", "535 5.7.8 no"), ("TLS AUTH PLAIN", "X")];
    let forged =
        [offered, ("TLS AUTH SCRAM", "334 cj1YLHM9WCxpPTQwOTY="), ("TLS *", "501 5.0.0 x")];
    let unsafe_only = [("TLS EHLO", "250-out.test\r\n250 AUTH NTLM")];
    for (answers, attempts, words) in [
        (&all[..], 2, "does not let us log in: 535 5.7.8 no"),
        (&wrong, 1, "does not let us log in: 535 5.7.8 no"),
        (&last, 2, "does not let us log in: 535 5.7.8 no"),
        (&forged, 1, "it is an impostor"),
        (&unsafe_only, 0, "it offers no safe login"),
    ] {
        let (two, heard) = through(answers.to_vec().leak()).await;
        two.send("<ana@x.test>", &["<a@far.test>"]).await;
        let line = two.tried(Some(1)).await.unwrap();
        let reply = line.recipients[0].reply.as_ref().unwrap();
        assert!(reply.starts_with("451 4.7.8 ") && reply.contains(words), "{reply}");
        assert_eq!(tried(&heard).len(), attempts, "{:?}", heard.lines());
    }
}
