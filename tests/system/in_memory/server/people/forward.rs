//! Forwards with an end and a note, also for people who have left.

use super::*;
use posta_server::admin::{ArrangementState, ForwardRequest};

const NOW: i64 = 1_074_188_330;

fn at(days: i64) -> Timestamp {
    Timestamp::from_second(NOW + days * 24 * 60 * 60).unwrap()
}

async fn forward(
    system: &System,
    address: &str,
    request: ForwardRequest,
) -> Result<ArrangementState, String> {
    match system.personal(address, PersonalRequest::Forward(request)).await {
        Ok(Response::Arrangement(state)) => Ok(state),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn set(target: &str, pass_on: bool, until: Option<i64>, note: Option<&str>) -> ForwardRequest {
    let (targets, note) = (vec![target.to_owned()], note.map(str::to_owned));
    ForwardRequest::Set { targets, pass_on, until: until.map(at), note }
}

#[tokio::test]
async fn an_account_keeps_a_copy_or_passes_on() {
    let (system, _) = away::started().await;
    let state = forward(&system, "ana@x.test", set("bob@x.test", false, None, None)).await.unwrap();
    assert!(state.keeps_copy && state.targets == ["bob@x.test"], "{state:?}");
    system.post("s@y.test", &["ana@x.test"], "To: ana@x.test\r\n").await;
    assert_eq!((system.last("ana").await.0, system.last("bob").await.0), (1, 1));
    let state = forward(&system, "ana@x.test", set("bob@x.test", true, None, None)).await.unwrap();
    assert!(!state.keeps_copy, "{state:?}");
    system.post("s@y.test", &["ana@x.test"], "To: ana@x.test\r\n").await;
    assert_eq!((system.last("ana").await.0, system.last("bob").await.0), (1, 2));
    let state = forward(&system, "ana@x.test", ForwardRequest::Off).await.unwrap();
    assert!(state.keeps_copy && state.targets.is_empty(), "{state:?}");
    for (request, words) in [
        (ForwardRequest::Off, "there is no alias ana@x.test"),
        (set("ana@x.test", false, None, None), "needs an address"),
        (set("eva@x.test", false, None, None), "eva@x.test does not exist here"),
        (set("bob@x.test", false, Some(0), None), "is over"),
        (set("bob@x.test", false, None, Some("")), "1 to 10000 octets"),
    ] {
        let refused = forward(&system, "ana@x.test", request).await.unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
    system.server.stop().await;
}

/// Somebody left: the colleague gets the mail, the senders are told, and after some time the address is gone.
#[tokio::test]
async fn one_who_left_is_told_of_until_a_day() {
    let store = store();
    let clock = Arc::new(SimulatedClock::new(at(0), 7));
    let change = |settings: &mut Settings| settings.sessions_per_client = 0;
    let system = system_on(store.clone(), clock.clone(), change).await;
    let note = Some("Eva has left: write to bob@x.test.");
    forward(&system, "eva@x.test", set("bob@x.test", false, Some(30), note)).await.unwrap();
    // One leaves later, and what was arranged stays with the alias.
    forward(&system, "ana@x.test", set("bob@x.test", true, Some(30), note)).await.unwrap();
    let remove = Request::AccountRemove { address: "ana@x.test".to_owned() };
    system.admin.execute(remove).await.unwrap();
    for to in ["eva@x.test", "ana@x.test"] {
        system.post("s@y.test", &[to], &format!("To: {to}\r\nSubject: s\r\n")).await;
    }
    assert_eq!(system.last("bob").await.0, 2);
    assert_eq!(system.queued().await, ["s@y.test", "s@y.test"], "a note for each");
    system.server.stop().await;
    clock.set(at(30));
    // The first sweep takes place at the start.
    let system = system_on(store.clone(), clock, change).await;
    let gone = async |to: &str| {
        for _ in 0..200 {
            let text = format!("HELO c\r\nMAIL FROM:<s@y.test>\r\nRCPT TO:<{to}>\r\nQUIT\r\n");
            if system.say(25, &text).await.contains("550 5.1.1") {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    };
    assert!(gone("eva@x.test").await);
    system.server.stop().await;
}
