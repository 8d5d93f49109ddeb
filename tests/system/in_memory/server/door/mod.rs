//! What strangers have to pass at port 25 before their mail is taken.

mod greeting;
mod greylisting;
mod lists;
mod names;
mod rates;

use super::*;
use posta_server::settings::{DoorSettings, LoopbackTrust, ReverseDns};

/// A client that no list has.
const GOOD: &str = "192.0.2.1";

/// A server whose clients come through a load balancer, so that each has an address of its own.
async fn system_behind(zone: FixedZone, door: DoorSettings) -> System {
    let store = store();
    system_at(store, Arc::new(SimulatedClock::new(time(0), 7)), zone, door).await
}

/// So many seconds after the tests begin.
fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_074_188_330 + seconds).unwrap()
}

/// The same, on a store and with a clock that the test has.
async fn system_at(
    store: Arc<dyn Store>,
    clock: Arc<SimulatedClock>,
    zone: FixedZone,
    door: DoorSettings,
) -> System {
    let change = |settings: &mut Settings| {
        settings.door = door;
        settings.proxies = vec!["127.0.0.0/8".parse().unwrap()];
        (settings.sessions, settings.sessions_per_client) = (0, 0);
    };
    system_asking(Arc::new(zone), store, clock, change).await
}

fn header(client: &str) -> String {
    let family = if client.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
    format!("PROXY {} {client} {} 1 2\r\n", family.0, family.1)
}

impl System {
    /// Returns the replies to the recipients of a message from a client elsewhere.
    async fn rcpt(&self, client: &str, from: &str, recipients: &[&str]) -> Vec<String> {
        let rcpt: String = recipients.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
        let text = format!("EHLO c.test\r\nMAIL FROM:<{from}>\r\n{rcpt}QUIT\r\n");
        let said = self.say(25, &(header(client) + &text)).await;
        let (_, replies) = said.split_once("250 2.1.0 Ok\r\n").unwrap_or_else(|| panic!("{said}"));
        replies.lines().take(recipients.len()).map(str::to_owned).collect()
    }

    /// Returns what the history tells of an address, as it is written. Of a session it tells after the client has heard
    /// the end.
    async fn told(&self, named: &str) -> String {
        for _ in 0..100 {
            let trace = Request::Trace { named: named.to_owned(), within: None };
            let Response::Events(events) = self.admin.execute(trace).await.unwrap() else {
                panic!("no events")
            };
            if !events.is_empty() {
                return serde_json::to_string(&events).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nothing is told of {named}");
    }
}
