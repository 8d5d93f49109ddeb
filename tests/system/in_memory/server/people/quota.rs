//! The warnings to the owner of a mailbox that is nearly full.

use super::*;

#[tokio::test]
async fn the_owner_is_warned_once_at_each_mark() {
    let (system, _) = away::started().await;
    let quota = Request::AccountQuota { address: "ana@x.test".to_owned(), quota: Some(20_000) };
    system.admin.execute(quota).await.unwrap();
    let post = async |octets: usize| {
        let line = format!("\r\n {}", "x".repeat(70));
        let fields = format!("X-Filler: x{}\r\n", line.repeat(octets / line.len()));
        system.post("s@y.test", &["ana@x.test"], &fields).await;
        system.last("ana").await
    };
    assert_eq!(post(7_700).await.0, 1);
    let (count, warning) = post(8_200).await;
    assert_eq!(count, 3, "{warning}");
    for part in [
        "Return-Path: <>\r\n",
        "From: Mail System <postmaster@x.test>\r\n",
        "To: <ana@x.test>\r\n",
        "Subject: Your mailbox is 8",
        "Auto-Submitted: auto-generated\r\n",
        " of 19.5 KiB",
    ] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    assert_eq!(post(10).await.0, 4, "once");
    let (count, warning) = post(1_700).await;
    assert!(count == 6 && warning.contains("Subject: Your mailbox is 9"), "{count} {warning}");
    // Room is made, and the mark is crossed again.
    system.say(110, &format!("{LOGIN}DELE 1\r\nDELE 2\r\nQUIT\r\n")).await;
    assert_eq!(post(10).await.0, 5);
    assert_eq!(post(12_500).await.0, 7, "that is a warning again");
    // Who has no quota is never warned.
    system.post("s@y.test", &["bob@x.test"], "Subject: s\r\n").await;
    assert_eq!(system.last("bob").await.0, 1);
    system.server.stop().await;
}
