//! The cost of refusing strangers: on disk, and in time.

use super::*;
use posta_store::Store;

/// Starts a system behind a balancer, so that strangers have addresses of their own.
pub(super) async fn proxied(store: Arc<dyn Store>) -> System {
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_second(1_074_188_330).unwrap(), 7));
    system_on(store, clock, |settings| {
        settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        (settings.sessions, settings.sessions_per_client) = (0, 0);
        settings.smtp_limits.commands = 100_000;
        // A login that is refused without hashing serves the same purpose here.
        settings.failed_logins = 1;
    })
    .await
}

pub(super) fn header(network: usize) -> String {
    format!("PROXY TCP4 203.0.{}.{} 127.0.0.1 1 2\r\n", 113 + network / 250, 1 + network % 250)
}

/// Returns a mail transaction that is refused.
fn refused_transaction(from: usize) -> String {
    let named = |n| format!("RCPT TO:<nobody{n}@x.test>\r\n");
    let recipients: String = (from..from + 20).map(named).collect();
    format!("MAIL FROM:<stranger@else.test>\r\n{recipients}RSET\r\n")
}

/// Returns the number of octets in the whole history.
async fn told(store: &dyn Store) -> usize {
    let events = store.events(None, usize::MAX).await.unwrap();
    events.iter().map(|event| serde_json::to_vec(event).unwrap().len()).sum()
}

/// One session, or one from each of 256 networks, over and over: only a little is stored, and the
/// history still says which refusals there were, and how many.
#[tokio::test(start_paused = true)]
async fn a_stranger_who_is_refused_writes_little() {
    let login = "USER ana@x.test\r\nPASS wrong\r\n".repeat(3);
    let transactions: String = (0..10).map(refused_transaction).collect();
    let mail = format!("EHLO c.test\r\n{transactions}QUIT\r\n");
    for (port, networks, times, text) in
        [(25, 1, 200, &mail), (25, 256, 3, &mail), (110, 256, 10, &login)]
    {
        let store = store();
        let system = proxied(store.clone()).await;
        let mut sent = 0;
        for _ in 0..times {
            // The first network does twice as much as the others.
            for network in (0..networks).chain([0]) {
                let text = format!("{}{text}", header(network));
                sent += text.len();
                system.say(port, &text).await;
            }
        }
        let System { server, admin, .. } = system;
        server.stop().await;
        let told = told(&*store).await;
        println!("{port}, {networks} networks: {told} octets of {sent}");
        assert!(told * 5 <= sent, "{port}, {networks} networks: {told} octets of {sent}");
        let trace = Request::Trace { named: "203.0.113.1".to_owned(), within: None };
        let Response::Events(events) = admin.execute(trace).await.unwrap() else {
            panic!("no events")
        };
        let shown = serde_json::to_string(&events).unwrap();
        assert!(shown.contains("203.0.113.1") && shown.contains("times"), "{shown}");
    }
}

/// A client that guesses addresses waits longer and longer, and is disconnected, with the reason.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_refused_too_much_is_ended() {
    let system = proxied(store()).await;
    let recipients: String = (0..200).map(|n| format!("RCPT TO:<nobody{n}@x.test>\r\n")).collect();
    let begun = tokio::time::Instant::now();
    let hello = "EHLO c.test\r\nMAIL FROM:<s@y.test>\r\n";
    let said = system.say(25, &format!("{}{hello}{recipients}", header(0))).await;
    assert_eq!(said.matches("\r\n550 5.1.1").count(), 49, "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("421 4.7.0 ") && last.contains("refused"), "{last}");
    let waited = begun.elapsed().as_secs();
    assert!((30..60).contains(&waited), "{waited} s");
    // A client that delivers mail may have many old addresses among the valid ones.
    let message = "MAIL FROM:<s@y.test>\r\nRCPT TO:<gone1@x.test>\r\nRCPT TO:<gone2@x.test>\r\n\
                   RCPT TO:<ana@x.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\n";
    let begun = tokio::time::Instant::now();
    let text = format!("{}EHLO c.test\r\n{}QUIT\r\n", header(1), message.repeat(60));
    let said = system.say(25, &text).await;
    assert_eq!(said.matches("kept as").count(), 60, "{said}");
    assert_eq!(begun.elapsed().as_secs(), 0);
    system.server.stop().await;
}

/// A new session does not reset the counts of its network, and no other network has to wait.
#[tokio::test(start_paused = true)]
async fn a_network_that_guesses_is_slowed() {
    let system = proxied(store()).await;
    let guesses = format!("EHLO c.test\r\n{}QUIT\r\n", refused_transaction(0));
    let timed = async |network| {
        let begun = tokio::time::Instant::now();
        system.say(25, &format!("{}{guesses}", header(network))).await;
        begun.elapsed().as_secs()
    };
    assert!(timed(0).await < 10);
    for _ in 0..50 {
        timed(0).await;
    }
    assert!(timed(0).await >= 20 * 5, "every refusal takes its time");
    assert!(timed(1).await < 10, "of another nothing is held back");
    system.server.stop().await;
}
