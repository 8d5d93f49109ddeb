//! Removed accounts, until they are purged.

use super::{System, system_on};
use crate::store::store;
use posta_mail::Timestamp;
use posta_net::clock::SimulatedClock;
use posta_server::admin::{AdminError, Request, Response};
use std::{sync::Arc, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn undelete(system: &System) -> Result<Response, AdminError> {
    let (address, since) = ("ana@x.test".to_owned(), None);
    system.admin.execute(Request::AccountUndelete { address, since }).await
}

#[tokio::test(start_paused = true)]
async fn a_removed_account_is_purged_after_a_week() {
    let start = Timestamp::from_second(1_700_000_000).unwrap();
    let clock = Arc::new(SimulatedClock::new(start, 7));
    let system = system_on(store(), clock.clone(), |_| {}).await;
    let send = "HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<ana@x.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\nQUIT\r\n";
    assert!(system.say(25, send).await.contains("kept as"));
    let remove = || Request::AccountRemove { address: "ana@x.test".to_owned() };
    system.admin.execute(remove()).await.unwrap();
    assert!(system.say(25, send).await.contains("550 5.1.1"));
    clock.set(start + DAY * 6);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let Ok(Response::AccountRestored { messages: 1, .. }) = undelete(&system).await else {
        panic!("it is there for a week");
    };
    assert!(system.say(25, send).await.contains("kept as"));
    system.admin.execute(remove()).await.unwrap();
    clock.set(start + DAY * 14);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(matches!(undelete(&system).await, Err(AdminError::NothingToUndelete(_))));
    system.server.stop().await;
}
