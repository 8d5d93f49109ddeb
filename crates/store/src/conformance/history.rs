//! A message's events are kept in their order, followed as they are written, and forgotten by age.

use super::{at, message, queue::item};
use crate::{Event, Followed, Settlement, Store, What};

cases![events_are_kept_in_order, events_are_followed,];

async fn events_are_kept_in_order(store: &dyn Store) {
    let event = |number, second, destination: &str| Event {
        id: posta_mail::MailId::new(at(number), 1),
        time: at(second),
        what: What::Attempted {
            mailboxes: Vec::new(),
            destination: destination.to_owned(),
            host: None,
            tls: None,
            recipients: Vec::new(),
            next: Some(at(99)),
        },
    };
    let told = [event(1, 10, "a"), event(1, 10, "b"), event(2, 5, "c"), event(3, 1, "d")];
    store.note(vec![told[2].clone(), told[0].clone()]).await.unwrap();
    store.note(vec![told[1].clone(), told[3].clone()]).await.unwrap();
    assert_eq!(store.history(told[0].id).await.unwrap(), told[..2]);
    let [one, other, newer, newest] = told.clone();
    let some = store.events(None, 3).await.unwrap();
    assert_eq!(some, [newest.clone(), newer.clone(), one, other], "whole messages");
    assert_eq!(store.events(None, usize::MAX).await.unwrap(), some, "without a limit");
    assert_eq!(store.events(Some(newer.id), 1).await.unwrap(), told[..2]);
    assert_eq!(store.forget(at(2)).await.unwrap(), 2);
    assert_eq!(store.events(None, 10).await.unwrap(), [newest, newer]);
}

async fn events_are_followed(store: &dyn Store) {
    let event = |destination: &str| Event {
        id: posta_mail::MailId::new(at(0), 1),
        time: at(1),
        what: What::Removed { destination: destination.to_owned() },
    };
    store.note(vec![event("before")]).await.unwrap();
    let (mut follower, mut other) = (store.follow(), store.follow());
    assert_eq!(follower.take(), None, "what was written before");
    let mut accepted = message(1, at(0), b"x\r\n", &[]);
    (accepted.items, accepted.events) = (vec![item(1, 0, at(0), 0)], vec![event("accepted")]);
    let id = accepted.items[0].id;
    store.accept(accepted).await.unwrap();
    store.note(vec![event("noted"), event("noted too")]).await.unwrap();
    let settlement = Settlement {
        item: id,
        token: None,
        time: at(7),
        left: None,
        deliveries: Vec::new(),
        reports: Vec::new(),
        events: vec![event("settled")],
    };
    store.settle(settlement.clone()).await.unwrap();
    // The item is gone, so that nothing is written.
    store.settle(settlement).await.unwrap();
    for destination in ["accepted", "noted", "noted too", "settled"] {
        for follower in [&mut follower, &mut other] {
            assert_eq!(follower.take(), Some(Followed::Event(event(destination).into())));
        }
    }
    assert_eq!((follower.take(), other.take()), (None, None));
}
