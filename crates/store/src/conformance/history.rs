//! A message's events are kept in their order, and forgotten by age.

use super::{Make, at};
use crate::{Event, Store, What};

pub(super) async fn run(make: Make<'_>) {
    events_are_kept_in_order(&*make()).await;
}

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
    assert_eq!(store.events(Some(newer.id), 1).await.unwrap(), told[..2]);
    assert_eq!(store.forget(at(2)).await.unwrap(), 2);
    assert_eq!(store.events(None, 10).await.unwrap(), [newest, newer]);
}
