//! Messages that wait here until the time that their sender chose (RFC 4865).

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_is_kept_back_until_its_time() {
    let two = two().await;
    two.send("<ana@x.test> HOLDFOR=3600", &["<ana@x.test> NOTIFY=SUCCESS", "<bob@y.test>"]).await;
    sleep(HOUR).await;
    assert_eq!(two.queue().await.len(), 2);
    two.inbox("127.0.0.1", "ana", 0).await;
    two.pass(HOUR);
    two.inbox("127.0.0.1", "ana", 2).await;
    two.inbox("192.0.2.25", "bob", 1).await;
    two.tried(None).await;
}

/// A message that is held for an account is delivered to it even if the account was renamed meanwhile. Whoever gets the
/// address after that gets only what comes then.
#[tokio::test(start_paused = true)]
async fn held_mail_follows_a_renamed_account() {
    let two = two().await;
    two.send("<s@y.test> HOLDFOR=7200", &["<ana+a@x.test>", "<ana@x.test>"]).await;
    let rename = |address: &str, new: &str| {
        let (address, new) = (address.to_owned(), new.to_owned());
        two.ours.admin.execute(Request::AccountRename { address, new, alias: false })
    };
    two.pass(HOUR);
    rename("ana@x.test", "anna@x.test").await.unwrap();
    let catch_all =
        Request::AliasAdd { name: "@x.test".into(), targets: vec!["bob@y.test".into()] };
    two.ours.admin.execute(catch_all).await.unwrap();
    two.pass(HOUR);
    two.tried(None).await;
    two.inbox("127.0.0.1", "anna", 1).await;
    let story = two.trace("anna@x.test").await;
    let mailboxes = story.iter().find_map(|event| match &event.what {
        What::Attempted { mailboxes, .. } => Some(format!("{mailboxes:?}")),
        _ => None,
    });
    assert!(mailboxes.as_ref().is_some_and(|them| them.contains("anna@x.test")), "{story:?}");
    two.send("<s@y.test>", &["<ana@x.test>"]).await;
    two.inbox("192.0.2.25", "bob", 1).await;
    // If the account is gone when the time comes, the sender gets a report.
    two.send("<bob@y.test> HOLDFOR=7200", &["<anna@x.test>"]).await;
    rename("anna@x.test", "eva@x.test").await.unwrap();
    two.ours
        .admin
        .execute(Request::AliasRemove { name: "@x.test".into(), targets: vec![] })
        .await
        .unwrap();
    two.ours.admin.execute(Request::AccountRemove { address: "eva@x.test".into() }).await.unwrap();
    two.pass(2 * HOUR);
    let report = two.inbox("192.0.2.25", "bob", 2).await;
    assert!(report.contains("Status: 5.1.1\r\n"), "{report}");
}
