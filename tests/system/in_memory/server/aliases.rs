//! Aliases and forwards: the recipients of copies, and that no copy is lost silently.

use super::{LOGIN, System, system, system_on};
use crate::store::store;
use posta_mail::Timestamp;
use posta_net::clock::SimulatedClock;
use posta_server::admin::{AliasState, Request, Response};
use posta_store::{Event, What};
use std::{sync::Arc, time::Duration};

async fn set(system: &System, name: &str, targets: &[&str]) -> Result<AliasState, String> {
    let targets = targets.iter().map(|&target| target.to_owned()).collect();
    state(system, Request::AliasSet { name: name.to_owned(), targets }).await
}

async fn add(system: &System, name: &str, targets: &[&str]) -> Result<AliasState, String> {
    let targets = targets.iter().map(|&target| target.to_owned()).collect();
    state(system, Request::AliasAdd { name: name.to_owned(), targets }).await
}

async fn remove(system: &System, name: &str, members: &[&str]) -> Result<AliasState, String> {
    let targets = members.iter().map(|&member| member.to_owned()).collect();
    state(system, Request::AliasRemove { name: name.to_owned(), targets }).await
}

async fn state(system: &System, request: Request) -> Result<AliasState, String> {
    match system.admin.execute(request).await {
        Ok(Response::Alias(state)) => Ok(state),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

async fn add_account(system: &System, address: &str) -> Result<(), String> {
    let (address, password) = (address.to_owned(), "parola".to_owned());
    let add = Request::AccountAdd { address, password, apop: false };
    system.admin.execute(add).await.map(drop).map_err(|error| error.to_string())
}

/// Removes an account. Returns the aliases that still lead to it.
async fn remove_account(system: &System, address: &str) -> Vec<String> {
    match system.admin.execute(Request::AccountRemove { address: address.to_owned() }).await {
        Ok(Response::AccountRemoved { leading, .. }) => leading,
        other => panic!("{:?}", other.map_err(|error| error.to_string())),
    }
}

async fn send(system: &System, parameters: &str, to: &str) -> String {
    let text = format!(
        "EHLO c.test\r\nMAIL FROM:<bob@x.test>{parameters}\r\nRCPT TO:<{to}>\r\nDATA\r\n\
         Subject: s\r\n\r\nbody\r\n.\r\nQUIT\r\n"
    );
    system.say(587, &text).await
}

/// Returns the number of messages of each account, by address.
async fn counts(system: &System) -> Vec<u64> {
    match system.admin.execute(Request::AccountList { after: None }).await.unwrap() {
        Response::Accounts { lines, .. } => lines.iter().map(|line| line.messages).collect(),
        other => panic!("{other:?}"),
    }
}

async fn events(system: &System, named: &str) -> Vec<Event> {
    let trace = Request::Trace { named: named.to_owned(), within: None };
    match system.admin.execute(trace).await.unwrap() {
        Response::Events(events) => events,
        other => panic!("{other:?}"),
    }
}

fn members(state: &AliasState) -> Vec<&str> {
    state.members.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn members_are_added_replaced_and_removed() {
    let system = system().await;
    let info = add(&system, "info@x.test", &["ana@x.test"]).await.unwrap();
    assert_eq!(members(&info), ["ana@x.test"]);
    let info = add(&system, "Info@x.test", &["eva@z.test", "ANA@x.test"]).await.unwrap();
    assert_eq!(members(&info), ["ana@x.test", "eva@z.test"], "each once");
    let info = set(&system, "info@x.test", &["bob@x.test", "ana@x.test", "Bob@x.test"]).await;
    assert_eq!(members(&info.unwrap()), ["bob@x.test", "ana@x.test"]);
    let info = remove(&system, "info@x.test", &["BOB@x.test"]).await.unwrap();
    assert_eq!(members(&info), ["ana@x.test"]);
    let wrong = remove(&system, "info@x.test", &["bob@x.test"]).await.unwrap_err();
    assert!(wrong.contains("does not lead to bob@x.test") && wrong.contains("alias list"));
    assert_eq!(members(&remove(&system, "info@x.test", &["ana@x.test"]).await.unwrap()), [""; 0]);
    let wrong = remove(&system, "info@x.test", &[]).await.unwrap_err();
    assert!(wrong.contains("no alias info@x.test"), "{wrong}");
    system.server.stop().await;
}

#[tokio::test]
async fn what_would_lose_mail_is_refused_with_its_cure() {
    let system = system().await;
    add(&system, "a@x.test", &["ana@x.test"]).await.unwrap();
    add(&system, "b@x.test", &["a@x.test"]).await.unwrap();
    set(&system, "bob@x.test", &["b@x.test"]).await.unwrap();
    let several = &["ana@x.test", "gone@x.test"][..];
    for (name, targets, cause, cure) in [
        ("info@x.test", several, "gone@x.test does not exist", "posta account add gone@x.test"),
        ("info@x.test", &["info@x.test"], "back to itself", "posta account add info@x.test"),
        ("info@x.test", &["ana@x.test", "INFO+a@x.test"], "back to", "posta alias list"),
        ("a@x.test", &["b@x.test"], "in a loop", "posta alias list"),
        ("a@x.test", &["bob@x.test"], "in a loop", "posta alias remove b@x.test a@x.test"),
        ("@x.test", &["who@x.test"], "who@x.test does not exist", "posta account add"),
        ("info@z.test", &["ana@x.test"], "no local domain", "posta domain add z.test"),
        ("info@x.test", &["ana"], "not valid", "local-part@domain"),
    ] {
        for refused in [add(&system, name, targets).await, set(&system, name, targets).await] {
            let words = refused.unwrap_err();
            assert!(words.contains(cause) && words.contains(cure), "{name}: {words}");
        }
    }
    set(&system, "ana@x.test", &["b@x.test"]).await.unwrap_err();
    add(&system, "ana@x.test", &["b@x.test"]).await.expect("a copy ends the way round");
    system.server.stop().await;
}

/// An account's address counts as an alias for its own mailbox until an alias has the same name.
#[tokio::test]
async fn an_account_forwards_with_a_copy_or_without() {
    let system = system().await;
    let ana = add(&system, "ana@x.test", &["bob@x.test"]).await.unwrap();
    assert_eq!(members(&ana), ["ana@x.test", "bob@x.test"], "what is added takes nothing away");
    send(&system, "", "ana@x.test").await;
    assert_eq!(counts(&system).await, [1, 1]);
    set(&system, "ana@x.test", &["bob@x.test"]).await.unwrap();
    send(&system, "", "ana@x.test").await;
    assert_eq!(counts(&system).await, [1, 2], "without a copy");
    let said = system.say(110, &format!("{LOGIN}STAT\r\nQUIT\r\n")).await;
    assert!(said.contains("\r\n+OK 1 "), "the mailbox is still ana's: {said}");
    let ana = add(&system, "ana@x.test", &["ana@x.test"]).await.unwrap();
    assert_eq!(members(&ana), ["bob@x.test", "ana@x.test"]);
    let ana = remove(&system, "ana@x.test", &["bob@x.test"]).await.unwrap();
    assert!(ana.members.is_empty() && ana.is_account, "only its mailbox is left");
    send(&system, "", "ana@x.test").await;
    assert_eq!(counts(&system).await, [2, 2]);
    system.server.stop().await;
}

#[tokio::test]
async fn an_account_is_not_added_where_an_alias_would_take_its_mail() {
    let system = system().await;
    add(&system, "info@x.test", &["ana@x.test"]).await.unwrap();
    let words = add_account(&system, "Info@x.test").await.unwrap_err();
    assert!(words.contains("is an alias") && words.contains("posta alias remove info@x.test"));
    remove(&system, "info@x.test", &[]).await.unwrap();
    add_account(&system, "info@x.test").await.unwrap();
    // An alias with a copy for the account can be added before the account exists.
    add(&system, "info@x.test", &["ana@x.test"]).await.unwrap();
    assert_eq!(remove_account(&system, "info@x.test").await, ["info@x.test"]);
    add_account(&system, "info@x.test").await.unwrap();
    send(&system, "", "info@x.test").await;
    assert_eq!(counts(&system).await, [1, 0, 1], "ana, bob, info");
    system.server.stop().await;
}

/// Existing members get their copies; lost ones are reported to the sender and in the history.
#[tokio::test]
async fn a_broken_member_costs_its_copy_and_is_told_of() {
    let system = system().await;
    add_account(&system, "eva@x.test").await.unwrap();
    add(&system, "team@x.test", &["eva@x.test", "ana@x.test"]).await.unwrap();
    add(&system, "all@x.test", &["team@x.test", "ana@x.test"]).await.unwrap();
    add(&system, "only@x.test", &["eva@x.test"]).await.unwrap();
    assert_eq!(remove_account(&system, "eva@x.test").await, ["only@x.test", "team@x.test"]);
    let said = send(&system, "", "all@x.test").await;
    assert!(said.contains("250 2.0.0 Ok: kept as"), "{said}");
    assert_eq!(counts(&system).await, [1, 1], "ana's copy, and bob's report");
    let report = system.say(110, "USER bob\r\nPASS parola\r\nRETR 1\r\nQUIT\r\n").await;
    for part in [
        "Subject: Your message was not delivered\r\n",
        "team@x.test is an alias that leads to eva@x.test, which does not exist",
        "Final-Recipient: rfc822;eva@x.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
    ] {
        assert!(report.contains(part), "{part}\n---\n{report}");
    }
    let story = events(&system, "eva@x.test").await;
    let is_told = |event: &Event| match &event.what {
        What::Attempted { recipients, .. } => {
            recipients[0].action == "failed" && recipients[0].reply.starts_with("550 5.1.1 team@")
        }
        _ => false,
    };
    assert!(story.iter().any(is_told), "{story:?}");
    // A sender who wants no report gets none, but the history has the event.
    let quiet = "EHLO c.test\r\nMAIL FROM:<bob@x.test>\r\nRCPT TO:<team@x.test> NOTIFY=NEVER\r\n\
                 DATA\r\nSubject: s\r\n\r\nbody\r\n.\r\nQUIT\r\n";
    system.say(587, quiet).await;
    assert_eq!(counts(&system).await, [2, 1]);
    assert_eq!(
        events(&system, "eva@x.test").await.iter().filter(|event| is_told(event)).count(),
        2
    );
    // The copies of a report are in the history, too.
    let report = "EHLO c.test\r\nMAIL FROM:<team@x.test>\r\nRCPT TO:<all@x.test>\r\n\
                  DATA\r\nSubject: s\r\n\r\nbody\r\n.\r\nQUIT\r\n";
    system.say(587, report).await;
    assert_eq!(counts(&system).await, [4, 1], "the message, and what became of a copy");
    assert_eq!(
        events(&system, "eva@x.test").await.iter().filter(|event| is_told(event)).count(),
        4
    );
    let said = send(&system, "", "only@x.test").await;
    assert!(said.contains("550 5.1.1 That address leads to nobody"), "{said}");
    assert!(!said.contains("eva@x.test"), "where it led is not for strangers");
    let list = Request::AliasList { after: None };
    let Response::Aliases { lines, .. } = system.admin.execute(list).await.unwrap() else {
        panic!("no aliases");
    };
    let problems: Vec<_> = lines.iter().map(|line| (&line.name[..], line.problems.len())).collect();
    assert_eq!(problems, [("all@x.test", 0), ("only@x.test", 1), ("team@x.test", 1)]);
    // Other members can still be added, and the broken one removed.
    add(&system, "only@x.test", &["ana@x.test"]).await.unwrap();
    remove(&system, "only@x.test", &["eva@x.test"]).await.unwrap();
    assert!(send(&system, "", "only@x.test").await.contains("250 2.0.0 Ok: kept as"));
    system.server.stop().await;
}

/// A loop can arise when an account in its middle is removed.
#[tokio::test]
async fn a_loop_is_told_of() {
    let system = system().await;
    add_account(&system, "eva@x.test").await.unwrap();
    add(&system, "eva@x.test", &["a@z.test"]).await.unwrap();
    add(&system, "b@x.test", &["eva@x.test", "ana@x.test"]).await.unwrap();
    add(&system, "eva@x.test", &["b@x.test"]).await.unwrap();
    remove(&system, "eva@x.test", &["a@z.test"]).await.unwrap();
    send(&system, "", "b@x.test").await;
    assert_eq!(counts(&system).await, [1, 0, 1], "eva keeps a copy: no loop");
    remove_account(&system, "eva@x.test").await;
    send(&system, "", "b@x.test").await;
    assert_eq!(counts(&system).await, [2, 1]);
    let report = system.say(110, "USER bob\r\nPASS parola\r\nRETR 1\r\nQUIT\r\n").await;
    assert!(report.contains("Status: 5.4.6\r\n"), "{report}");
    assert!(report.contains("which leads back to it: a loop"), "{report}");
    remove(&system, "b@x.test", &["ana@x.test"]).await.unwrap();
    let said = send(&system, "", "b@x.test").await;
    assert!(said.contains("550 5.4.6 That address leads into a loop"), "{said}");
    system.server.stop().await;
}

/// A held message follows the aliases as they are at the time of its release.
#[tokio::test(start_paused = true)]
async fn a_message_that_was_kept_back_is_told_of_too() {
    let start = Timestamp::from_second(1_700_000_000).unwrap();
    let clock = Arc::new(SimulatedClock::new(start, 7));
    let system = system_on(store(), clock.clone(), |_| {}).await;
    add_account(&system, "eva@x.test").await.unwrap();
    add(&system, "team@x.test", &["eva@x.test", "ana@x.test"]).await.unwrap();
    assert!(send(&system, " HOLDFOR=60", "team@x.test").await.contains("kept as"));
    assert!(send(&system, " HOLDFOR=600", "ana@x.test").await.contains("kept as"));
    remove_account(&system, "eva@x.test").await;
    assert_eq!(counts(&system).await, [0, 0]);
    clock.set(start + Duration::from_secs(61));
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if counts(&system).await == [1, 1] {
            break;
        }
    }
    assert_eq!(counts(&system).await, [1, 1]);
    let report = system.say(110, "USER bob\r\nPASS parola\r\nRETR 1\r\nQUIT\r\n").await;
    assert!(
        report.contains("Final-Recipient: rfc822;eva@x.test\r\nAction: failed\r\n"),
        "{report}"
    );
    set(&system, "ana@x.test", &["ana@z.test"]).await.unwrap();
    clock.set(start + Duration::from_secs(601));
    for _ in 0..700 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if counts(&system).await == [1, 2] {
            break;
        }
    }
    let report = system.say(110, "USER bob\r\nPASS parola\r\nRETR 2\r\nQUIT\r\n").await;
    assert!(report.contains("The address has moved to another server since"), "{report}");
    system.server.stop().await;
}
