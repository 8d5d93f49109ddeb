//! The clients that may submit mail, and the authors that a message may claim.

use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Returns the login of Ana.
fn login() -> String {
    format!("EHLO c.test\r\nAUTH PLAIN {}\r\n", BASE64.encode("\0ana@x.test\0parola"))
}

/// Submits a message from Ana with this header section. Returns the reply to the end of the data.
async fn submit(system: &System, reverse_path: &str, header: &str) -> String {
    let login = login();
    let said = system
        .say(
            587,
            &format!(
                "{login}MAIL FROM:<{reverse_path}>\r\nRCPT TO:<bob@x.test>\r\nDATA\r\n\
                 {header}\r\n\r\nbody\r\n.\r\nQUIT\r\n"
            ),
        )
        .await;
    said.split("354 ").nth(1).unwrap_or(&said).lines().nth(1).unwrap_or_default().to_owned()
}

/// Header sections that some reader could attribute to another author than Ana.
const FOREIGN: [&str; 37] = [
    "From: bob@x.test",
    "From: sales@x.test",
    "From: eva@z.test",
    "FROM\t: Bob <bob@x.test>",
    "From: Ana <bob@x.test> (ana@x.test)",
    "From: ana@x.test\r\nFrom: bob@x.test",
    "From: bob@x.test\r\nfrom: ana@x.test",
    "From: ana@x.test\r\nSubject: a\r\nFrom : bob@x.test",
    "From: ana@x.test, bob@x.test",
    "From: bob@x.test, sales@x.test\r\nSender: ana@x.test",
    "From: bob@x.test, ana@x.test\r\nSender: bob@x.test",
    "From: ana@x.test\r\nSender: bob@x.test",
    "From: ana@x.test\r\nSender: ana@x.test\r\nSender: bob@x.test",
    "From: ana@x.test\r\nResent-From: bob@x.test",
    "From: ana@x.test\r\nResent-Sender: bob@x.test",
    "From: bob@x.test <ana@x.test>",
    "From: ana@x.test <bob@x.test>",
    "From: <ana@x.test> <bob@x.test>",
    "From: bob@x.test ana@x.test",
    "From: ana(x)@x.test",
    "From: bob @x.test, ana@x.test",
    "From: <@bob.test:ana@x.test>",
    "From: ana@x.test .evil.test",
    "From: friends:;",
    "From:",
    "From: \"ana@x.test",
    "From: (ana@x.test",
    "From: <ana@x.test",
    "From: us: ana@x.test, bob@x.test;",
    // Many programs display only the first author.
    "From: CEO <ceo@bank.test>, ana@x.test\r\nSender: Ana <ana@x.test>",
    "From: us: bob@x.test, ana@x.test;\r\nSender: ana@x.test",
    "From: =?utf-8?b?Ym9i?=@x.test",
    "From: ana@x.test\0bob@x.test",
    "From: ana@x.test\r\nSubject: a\0b",
    "From:\r\n bob@x.test",
    "From: ana@x.test,\r\n\tbob@x.test",
    "From: ana@x.test\u{a0}",
];

/// Every address that a mail program may display as the author must be the account's own.
#[tokio::test]
async fn from_is_the_accounts_own() {
    let system = system_with(|settings| settings.smtp_limits.commands = 1_000).await;
    for (name, target) in [("info@x.test", "ana@x.test"), ("sales@x.test", "bob@x.test")] {
        let (name, targets) = (name.to_owned(), vec![target.to_owned()]);
        system.admin.execute(Request::AliasAdd { name, targets }).await.unwrap();
    }
    for header in [
        "Subject: none",
        "From: ana@x.test",
        "From: Ana Pop <ANA@X.test>",
        "FROM : \"bob@x.test\" <ana+work@x.test> (bob@x.test)",
        "From: =?utf-8?q?Ana_P=C3=B6p?= <ana@x.test>",
        "From: \"Ana\r\n Pop\"\r\n\t<ana@x.test>",
        "From: info@x.test\r\nSender: ana@x.test",
        "From: ana@x.test, info@x.test\r\nReply-To: bob@x.test",
        "From: us: ana@x.test, <info@x.test>;",
    ] {
        let said = submit(&system, "ana@x.test", header).await;
        assert!(said.starts_with("250 "), "{header}: {said}");
    }
    for header in FOREIGN {
        for reverse_path in ["ana@x.test", ""] {
            let said = submit(&system, reverse_path, header).await;
            assert!(said.starts_with("550 5.7.1 "), "{header}: {said}");
        }
    }
    let padding = format!("From: ana@x.test,{}", "\r\n ana@x.test,".repeat(10_000));
    assert!(submit(&system, "ana@x.test", &padding).await.starts_with("550 5.7.1 "));
    // The same after a header section of a megabyte.
    let padding = "Subject: 0123456789abcdef0123456789abcdef\r\n".repeat(25_000);
    let said = submit(&system, "ana@x.test", &format!("{padding}From: bob@x.test")).await;
    assert!(said.starts_with("550 5.7.1 "), "{said}");
    assert!(said.contains("bob@x.test") && said.contains("posta account allow"), "{said}");
    system.server.stop().await;
}

/// Binary content keeps its line ends on its way in; POP3 serves it with CRLF only.
#[tokio::test]
async fn a_bare_newline_hides_no_field() {
    let system = system().await;
    let login = login();
    for (header, code) in [
        ("Subject: a\nFrom: bob@x.test", "550 5.7.1"),
        ("Subject: a\rFrom: bob@x.test", "550 5.7.1"),
        ("Subject: a\r\r\nFrom: ana@x.test", "550 5.7.1"),
        ("Subject: a\r\nFrom: ana@x.test", "250 2.0.0"),
    ] {
        let content = format!("{header}\r\n\r\na\nb\r\n");
        let (first, last) = content.split_at(12);
        let said = system
            .say(
                587,
                &format!(
                    "{login}MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<bob@x.test>\r\n\
                     BDAT {}\r\n{first}BDAT {} LAST\r\n{last}QUIT\r\n",
                    first.len(),
                    last.len()
                ),
            )
            .await;
        assert!(said.lines().rev().nth(1).unwrap().starts_with(code), "{header:?}: {said}");
    }
    system.server.stop().await;
}

/// A trusted client's statement of who has logged in counts as a login, on every listener.
#[tokio::test]
async fn a_login_that_was_handed_on_is_held_to_the_same() {
    let near = "127.0.0.0/8".parse().unwrap();
    let system = system_with(|settings| settings.forwarders = vec![near]).await;
    for (port, hello) in [(587, "EHLO"), (25, "EHLO"), (24, "LHLO")] {
        for (from, path, code) in
            [("bob", "ana", "550 5.7.1"), ("ana", "bob", "553 5.7.1"), ("ana", "ana", "250 2.0.0")]
        {
            let said = system
                .say(
                    port,
                    &format!(
                        "XCLIENT ADDR=192.0.2.7 LOGIN=ana@x.test\r\n{hello} c.test\r\n\
                         MAIL FROM:<{path}@x.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\n\
                         From: {from}@x.test\r\n\r\nb\r\n.\r\nQUIT\r\n"
                    ),
                )
                .await;
            assert!(said.contains(&format!("\r\n{code}")), "{port}: {said}");
        }
    }
    system.server.stop().await;
}

/// A null reverse-path hides no one: a missing From field names the account.
#[tokio::test]
async fn who_submits_without_from_is_named() {
    let system = system().await;
    assert!(submit(&system, "", "Subject: s").await.starts_with("250 "));
    let login = "USER bob\r\nPASS parola\r\n";
    let read = system.say(110, &format!("{login}RETR 1\r\nQUIT\r\n")).await;
    assert!(read.contains("\r\nFrom: ana@x.test\r\n"), "{read}");
    system.server.stop().await;
}

#[tokio::test]
async fn an_account_may_be_allowed_more() {
    let system = system().await;
    let address = || "ana@x.test".to_owned();
    for (allowed, good, bad) in [
        ("eva@z.test", &["Eva@z.test", "ana@x.test"][..], &["dan@z.test", "bob@x.test"][..]),
        ("@z.test", &["eva@z.test"], &["eva@y.z.test", "bob@x.test"]),
        ("any", &["bob@x.test", "one@z.test, two@z.test", "no address at all"], &[]),
    ] {
        let allow = Request::AccountAllow { address: address(), from: allowed.to_owned() };
        system.admin.execute(allow).await.unwrap();
        for (from, code) in
            good.iter().map(|from| (from, "250")).chain(bad.iter().map(|from| (from, "550 5.7.1")))
        {
            let said = submit(&system, "", &format!("From: {from}")).await;
            assert!(said.starts_with(code), "{allowed}: {from}: {said}");
        }
        if let [path, ..] = good {
            assert!(submit(&system, path, "From: ana@x.test").await.starts_with("250"));
        }
        let list = Request::AccountList { after: None };
        let Response::Accounts { lines: accounts, .. } = system.admin.execute(list).await.unwrap()
        else {
            panic!("no accounts")
        };
        assert_eq!(accounts[0].send_as, [allowed]);
        let disallow = || Request::AccountDisallow { address: address(), from: allowed.to_owned() };
        system.admin.execute(disallow()).await.unwrap();
        assert!(submit(&system, "", &format!("From: {}", good[0])).await.starts_with("550"));
        let problem = system.admin.execute(disallow()).await.unwrap_err().to_string();
        assert!(problem.contains("posta account list"), "{problem}");
    }
    system.server.stop().await;
}

/// Programs on this machine submit without a login, unless the configuration forbids it.
#[tokio::test]
async fn trust_in_this_machine_can_be_withdrawn() {
    use posta_server::settings::LoopbackTrust::{Anywhere, Local, Nothing};
    for (trust, submission, relay) in [
        (Anywhere, "250 2.1.0", "250 2.1.5"),
        (Local, "250 2.1.0", "550 5.7.1"),
        (Nothing, "530 5.7.0", "550 5.7.1"),
    ] {
        let system = system_with(|settings| settings.trust_loopback = trust).await;
        let said = system.say(587, "EHLO c\r\nMAIL FROM:<s@y.test>\r\nQUIT\r\n").await;
        assert!(said.contains(&format!("\r\n{submission}")), "{trust:?}: {said}");
        let said = to_elsewhere(&system, "", 25, "<ana@x.test>").await;
        assert_eq!(&said[..9], relay, "{trust:?}: {said}");
        system.server.stop().await;
    }
}

/// Returns the reply to a recipient elsewhere, for a client that does not log in.
async fn to_elsewhere(system: &System, before: &str, port: u16, from: &str) -> String {
    let dialogue =
        format!("{before}EHLO c\r\nMAIL FROM:{from}\r\nRCPT TO:<eva@y.test>\r\nQUIT\r\n");
    let said = system.say(port, &dialogue).await;
    said.lines().rev().nth(1).unwrap().to_owned()
}

/// cron, PHP and printer drivers have no password: they can send to other servers from local addresses.
#[tokio::test]
async fn programs_on_this_machine_send_from_addresses_of_here() {
    let system = system().await;
    for from in ["<ana@x.test>", "<www-data@X.test>", "<root@mail.x.test>", "ana+cron@x.test"] {
        for port in [25, 587] {
            let said = to_elsewhere(&system, "", port, from).await;
            assert_eq!(said, "250 2.1.5 Ok", "{from} at {port}");
        }
    }
    for from in
        ["<s@y.test>", "<>", "<ana@x.test.z.test>", "<\"ana@x.test\"@z.test>", "<x@[127.0.0.1]>"]
    {
        for port in [25, 587] {
            let said = to_elsewhere(&system, "", port, from).await;
            assert!(said.starts_with("550 5.7.1 "), "{from} at {port}: {said}");
            assert!(said.ends_with(", use a sender address of a domain here"), "{said}");
        }
    }
    // LMTP carries mail from a server in front of this one.
    let lmtp = "LHLO c\r\nMAIL FROM:<ana@x.test>\r\nRCPT TO:<eva@y.test>\r\nQUIT\r\n";
    let said = system.say(24, lmtp).await;
    assert!(said.contains("\r\n550 5.7.1 "), "{said}");
    // Nothing of a transaction remains for the next one.
    let said = system
        .say(25, "EHLO c\r\nMAIL FROM:<ana@x.test>\r\nRSET\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<eva@y.test>\r\nQUIT\r\n")
        .await;
    assert!(said.contains("\r\n550 5.7.1 "), "{said}");
    system.server.stop().await;
}

/// A client behind a proxy is not a program on this machine, whatever address the proxy gives; nor is
/// the proxy itself.
#[tokio::test]
async fn who_comes_through_a_proxy_is_no_program_of_this_machine() {
    let here = || vec!["127.0.0.0/8".parse().unwrap()];
    for (proxied, before) in [
        (true, "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"),
        (true, "PROXY TCP6 ::1 ::1 1 2\r\n"),
        (true, "PROXY TCP6 ::ffff:127.0.0.1 ::1 1 2\r\n"),
        (true, "PROXY UNKNOWN\r\n"),
        (false, "XCLIENT ADDR=127.0.0.1\r\n"),
        (false, "XCLIENT ADDR=IPV6:::1 LOGIN=[UNAVAILABLE]\r\n"),
        (false, "XCLIENT NAME=localhost\r\n"),
        (false, ""),
    ] {
        let system = system_with(|settings| match proxied {
            true => settings.proxies = here(),
            false => settings.forwarders = here(),
        });
        let system = system.await;
        for port in [25, 587] {
            let said = to_elsewhere(&system, before, port, "<ana@x.test>").await;
            let is_refused = ["550 5.7.1", "503 5.5.1"].contains(&&said[..9]);
            assert!(is_refused, "{before:?} at {port}: {said}");
        }
        system.server.stop().await;
    }
}

/// A compromised web application cannot be used to send spam.
#[tokio::test]
async fn programs_of_this_machine_send_no_more_than_an_account() {
    let system = system_with(|settings| settings.submissions = 3).await;
    for _ in 0..3 {
        assert_eq!(to_elsewhere(&system, "", 25, "<ana@x.test>").await, "250 2.1.5 Ok");
    }
    let said = to_elsewhere(&system, "", 587, "<bob@x.test>").await;
    assert!(said.starts_with("450 4.7.1 "), "{said}");
    let here = "EHLO c\r\nMAIL FROM:<bob@x.test>\r\nRCPT TO:<ana@x.test>\r\nQUIT\r\n";
    assert!(system.say(25, here).await.contains("\r\n250 2.1.5 "), "mail for here is not counted");
    system.server.stop().await;
}

/// Mail from cron to root at the server's name, and replies to it, reach the postmaster.
#[tokio::test]
async fn mail_for_the_servers_own_name_reaches_the_postmaster_from_here_only() {
    let system = system().await;
    let mail = |from: &str| {
        format!(
            "EHLO c\r\nMAIL FROM:{from}\r\nRCPT TO:<root@mail.x.test>\r\nDATA\r\nA: b\r\n\r\nb\r\n.\r\nQUIT\r\n"
        )
    };
    assert!(system.say(25, &mail("<root@mail.x.test>")).await.contains("kept as"));
    let read = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
    assert!(read.contains("\r\nDelivered-To: root@mail.x.test\r\n"), "{read}");
    assert!(system.say(25, &mail("<s@y.test>")).await.contains("\r\n550 5.7.1 "));
    system.server.stop().await;
}

/// Printers and scripts omit required fields. They are added for clients that may relay, but not for
/// strangers, and the history contains the message's own.
#[tokio::test]
async fn who_may_relay_gets_the_fields_that_are_missing() {
    let near = |settings: &mut Settings| settings.relays_for = vec!["127.0.0.0/8".parse().unwrap()];
    for (from, is_near, added) in
        [("<ana@x.test>", false, 3), ("<s@y.test>", false, 0), ("<s@y.test>", true, 3)]
    {
        let system = system_with(|settings| {
            if is_near {
                near(settings)
            }
        })
        .await;
        let said = system
            .say(25, &format!("EHLO c\r\nMAIL FROM:{from}\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nSubject: scan\r\nBcc: b@x.test\r\n\r\nb\r\n.\r\nQUIT\r\n"))
            .await;
        let id = said.split("kept as ").nth(1).unwrap().lines().next().unwrap();
        let read = system.say(110, &format!("{LOGIN}RETR 1\r\nQUIT\r\n")).await;
        let (_, content) = read.split_once("Subject: scan\r\nBcc: b@x.test\r\n").unwrap();
        let (fields, _) = content.split_once("\r\nb\r\n").unwrap();
        assert_eq!(fields.lines().count(), added, "{from}: {read}");
        let request = Request::Trace { named: id.to_owned(), within: None };
        let Response::Events(story) = system.admin.execute(request).await.unwrap() else {
            panic!("no story");
        };
        let posta_store::What::Accepted { message_id, .. } = &story[0].what else {
            panic!("{story:?}");
        };
        let own = format!("<{id}@mail.x.test>");
        assert_eq!(message_id.as_deref(), Some(&own[..]).filter(|_| added > 0), "{from}");
        assert_eq!(fields.contains(&own), added > 0);
        system.server.stop().await;
    }
}
