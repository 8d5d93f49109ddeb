//! Accounts of programs that only send mail.

use super::*;

const PRINTER: &str = "printer@x.test";

async fn with_printer() -> System {
    let system = system_with(|settings| settings.sessions_per_client = 0).await;
    let (address, password) = (PRINTER.to_owned(), "parola".to_owned());
    let add = Request::AccountAdd { address, password, apop: false };
    system.admin.execute(add).await.unwrap();
    system.personal(PRINTER, PersonalRequest::SendOnly(true)).await.unwrap();
    system
}

async fn set_alias(system: &System, name: &str, target: &str) -> Result<Response, AdminError> {
    let (name, targets) = (name.to_owned(), vec![target.to_owned()]);
    system.admin.execute(Request::AliasSet { name, targets }).await
}

/// Returns the reply to a recipient.
async fn named(system: &System, to: &str) -> String {
    let said = system
        .say(25, &format!("HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<{to}>\r\nQUIT\r\n"))
        .await;
    said.lines().nth(3).unwrap().to_owned()
}

#[tokio::test]
async fn an_account_that_only_sends_has_no_mailbox() {
    let system = with_printer().await;
    let said = system
        .say(587, "EHLO c\r\nAUTH PLAIN AHByaW50ZXJAeC50ZXN0AHBhcm9sYQ==\r\nMAIL FROM:<printer@x.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nSubject: a scan\r\n\r\nb\r\n.\r\nQUIT\r\n")
        .await;
    assert!(said.contains("235 ") && said.contains("kept as"), "{said}");
    let read = system.say(110, "USER printer@x.test\r\nPASS parola\r\nQUIT\r\n").await;
    assert!(read.contains("-ERR [SYS/PERM] this account only sends mail"), "{read}");
    let read = system.say(110, "USER printer@x.test\r\nPASS wrong\r\nQUIT\r\n").await;
    assert!(
        read.contains("-ERR [AUTH] name or password is wrong"),
        "only its owner learns that: {read}"
    );
    for to in [PRINTER, "printer+tag@x.test"] {
        let refused = named(&system, to).await;
        assert_eq!(refused, "550 5.2.1 That address only sends mail, and takes none");
    }
    let refused = set_alias(&system, "info@x.test", PRINTER).await.unwrap_err().to_string();
    assert!(refused.contains("only sends mail") && refused.contains("send-only"), "{refused}");
    // Somebody else gets what is sent to it.
    set_alias(&system, PRINTER, "bob@x.test").await.unwrap();
    assert!(named(&system, PRINTER).await.starts_with("250 "));
    let text = "HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<printer@x.test>\r\nDATA\r\n\r\nb\r\n.\r\nQUIT\r\n";
    assert!(system.say(25, text).await.contains("kept as"));
    let read = system.say(110, "USER bob\r\nPASS parola\r\nQUIT\r\n").await;
    assert!(read.contains("+OK 1 messages"), "{read}");
    system.personal(PRINTER, PersonalRequest::SendOnly(false)).await.unwrap();
    let read = system.say(110, "USER printer@x.test\r\nPASS parola\r\nQUIT\r\n").await;
    assert!(read.contains("+OK 0 messages"), "{read}");
    system.server.stop().await;
}

/// An account that only sends is not the domain's first, whom mail for the postmaster reaches.
#[tokio::test]
async fn no_postmaster_is_a_printer() {
    let system = with_printer().await;
    for address in ["ana@x.test", "bob@x.test"] {
        let request = Request::AccountDisable { address: address.to_owned(), disabled: true };
        system.admin.execute(request).await.unwrap();
    }
    assert!(named(&system, "postmaster@x.test").await.starts_with("250 "), "ana is disabled");
    for address in ["ana@x.test", "bob@x.test"] {
        system.personal(address, PersonalRequest::SendOnly(true)).await.unwrap();
    }
    assert!(named(&system, "postmaster@x.test").await.starts_with("550 5.2.1"));
    system.server.stop().await;
}
