//! Notes of absence go to nobody whose name a message may only have borrowed.

use super::*;
use posta_server::admin::{AwayRequest, PersonalRequest};

impl System {
    /// Returns whom notes were sent to.
    async fn notes(&self) -> Vec<String> {
        let events = self.story("ana@x.test").await.into_iter();
        let note = |event: Event| match event.what {
            What::Reported { to, action, .. } if action == "away" => Some(to.to_string()),
            _ => None,
        };
        let mut notes: Vec<_> = events.filter_map(note).collect();
        notes.sort();
        notes
    }
}

#[tokio::test]
async fn forgeries_are_not_answered() {
    let system = checking().await;
    let text = "away".to_owned();
    let request = AwayRequest::Set { from: None, until: None, subject: None, text };
    let request = PersonalRequest::Away(request);
    let address = "ana@x.test".to_owned();
    system.admin.execute(Request::Personal { address, request }).await.unwrap();
    let from =
        |author: &str| format!("From: {author}\r\nTo: ana@x.test\r\nSubject: s\r\n\r\nb\r\n");
    // SPF and DMARC fail, and the policy takes the message all the same.
    system.bring(EVIL, "sue@n.test", &from("sue@n.test")).await;
    // The reverse-path is the attacker's own, the author is not.
    system.bring(EVIL, "x@evil.test", &from("sue@n.test")).await;
    assert_eq!(system.notes().await, [""; 0]);
    system.bring(A, "sue@n.test", &from("sue@n.test")).await;
    assert_eq!(system.notes().await, ["sue@n.test"]);
    // Nothing speaks for or against a domain without records.
    system.bring(A, "sue@free.test", &from("sue@free.test")).await;
    assert_eq!(system.notes().await, ["sue@free.test", "sue@n.test"]);
    system.server.stop().await;
}
