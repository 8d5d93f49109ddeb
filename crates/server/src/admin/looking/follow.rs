//! Following the history over HTTP: a line of JSON for each event as it is written, and for each gap.
//!
//! A reader that is too slow misses events and is told how many; the server does not wait for it. Whoever asks for one
//! address or message gets what concerns it, and everything that happens to such a message afterwards. A program with a
//! token that reads nothing for a while is let go, and so is one whose token has ended.

use super::trace::Wanted;
use crate::{
    admin::Admin,
    login::api_tokens::{self, ApiToken},
};
use axum::{
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use posta_mail::MailId;
use posta_net::clock::Clock;
use posta_store::{Event, Followed, HistoryFollower, Store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{interval, timeout},
};

/// The media type of the answer, which goes on until its reader leaves.
pub(crate) const JSON_LINES: &str = "application/jsonl";

/// The interval at which an empty line finds out whether the reader is still there.
const BEAT: Duration = Duration::from_secs(30);

/// The time within which a program with a token must read a line. The operator on the machine may stop a terminal for as
/// long as that is wanted.
const PATIENCE: Duration = Duration::from_secs(60);

/// The maximal number of lines on their way to the reader, beside what its connection holds.
const ON_THE_WAY: usize = 16;

/// The maximal number of messages whose later events are shown because an earlier one was.
const MESSAGES: usize = 1_000;

/// The body of a request to follow the history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FollowRequest {
    /// What the events concern, as in `Request::Trace`; everything, if none.
    #[serde(default)]
    pub named: Option<String>,
}

/// A line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FollowLine {
    /// An event.
    Event(Box<Event>),
    /// This number of events were written that the reader was too slow for.
    Missed(u64),
}

/// Serves the events that are written from now on, until the reader or the server goes away, or the token of the reader, if
/// it has one, ends. Returns `None` if no server runs.
pub(crate) fn follow(
    admin: &Admin,
    request: FollowRequest,
    token: Option<Arc<ApiToken>>,
) -> Option<Response> {
    let stopping = admin.running.as_ref()?.stopping.clone();
    let (sender, lines) = Channel::<Bytes, Infallible>::new(ON_THE_WAY);
    let filter = Filter::new(request.named.as_deref());
    let reader = Reader { store: admin.store.clone(), clock: admin.clock.clone(), token };
    tokio::spawn(forward(admin.store.follow(), filter, (sender, reader), stopping));
    Some(([(CONTENT_TYPE, JSON_LINES)], Body::new(lines)).into_response())
}

/// Who reads.
struct Reader {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// The token of a program; none of the operator on the machine.
    token: Option<Arc<ApiToken>>,
}

impl Reader {
    /// Returns whether the reader may go on.
    async fn may_read(&self) -> bool {
        let Some(token) = &self.token else { return true };
        // While the store cannot be read, there is nothing to follow.
        api_tokens::holds(&*self.store, token, self.clock.now()).await.unwrap_or(true)
    }

    /// Sends a line. Returns whether the reader is still there.
    async fn send(&self, line: Bytes, sender: &mut Sender<Bytes, Infallible>) -> bool {
        let sent = sender.send_data(line);
        match self.token {
            None => sent.await.is_ok(),
            Some(_) => timeout(PATIENCE, sent).await.is_ok_and(|sent| sent.is_ok()),
        }
    }
}

async fn forward(
    mut follower: HistoryFollower,
    mut filter: Filter,
    (mut sender, reader): (Sender<Bytes, Infallible>, Reader),
    mut stopping: watch::Receiver<bool>,
) {
    let mut beats = interval(BEAT);
    loop {
        let followed = tokio::select! {
            followed = follower.next() => Some(followed),
            _ = beats.tick() => None,
            _ = stopping.wait_for(|&stopping| stopping) => return,
        };
        let line = match followed {
            Some(followed) => match filter.line(&followed) {
                Some(line) => line,
                None => continue,
            },
            None if reader.may_read().await => Bytes::from_static(b"\n"),
            None => return,
        };
        tokio::select! {
            is_there = reader.send(line, &mut sender) => if !is_there { return },
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
    }
}

/// Decides which events are shown.
struct Filter {
    wanted: Option<Wanted>,
    id: Option<MailId>,
    /// The messages that were shown last.
    shown: VecDeque<MailId>,
}

impl Filter {
    fn new(named: Option<&str>) -> Self {
        let id = named.and_then(|named| named.split('.').next()?.parse().ok());
        Self { wanted: named.map(Wanted::new), id, shown: VecDeque::new() }
    }

    fn line(&mut self, followed: &Followed) -> Option<Bytes> {
        let line = match followed {
            Followed::Missed(count) => FollowLine::Missed(*count),
            Followed::Event(event) if self.is_wanted(event) => {
                FollowLine::Event(Box::new((**event).clone()))
            }
            Followed::Event(_) => return None,
        };
        let mut line = serde_json::to_vec(&line).ok()?;
        line.push(b'\n');
        Some(line.into())
    }

    fn is_wanted(&mut self, event: &Event) -> bool {
        let Some(wanted) = &self.wanted else { return true };
        if self.id == Some(event.id) || self.shown.contains(&event.id) {
            return true;
        }
        let is_wanted = wanted.concerns(event);
        if is_wanted {
            self.shown.truncate(MESSAGES - 1);
            self.shown.push_front(event.id);
        }
        is_wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::api_tokens::{ApiRights, NewApiToken};
    use http_body_util::BodyExt as _;
    use posta_mail::{ReversePath, Timestamp};
    use posta_net::clock::SimulatedClock;
    use posta_store::{MemoryStore, Origin, What};
    use tokio::task::JoinHandle;

    fn event(id: u64, what: What) -> Followed {
        let id = MailId::new(Timestamp::UNIX_EPOCH, id);
        Followed::Event(Event { id, time: Timestamp::UNIX_EPOCH, what }.into())
    }

    fn accepted(id: u64, to: &str) -> Followed {
        let to = vec![to.parse().unwrap()];
        let (origin, from) = (Origin::default(), ReversePath::Null);
        let (message_id, mailboxes, refused) = (None, Vec::new(), Vec::new());
        event(id, What::Accepted { origin, from, to, message_id, octets: 1, mailboxes, refused })
    }

    #[test]
    fn what_happens_to_a_shown_message_is_shown() {
        let removed = |id| event(id, What::Removed { destination: "y.test".to_owned() });
        let mut filter = Filter::new(Some("ana@x.test"));
        assert!(filter.line(&accepted(1, "bob@x.test")).is_none());
        assert!(filter.line(&accepted(2, "ana@x.test")).is_some());
        assert!(filter.line(&removed(1)).is_none());
        assert!(filter.line(&removed(2)).is_some());
        for id in 0..MESSAGES as u64 {
            assert!(filter.line(&accepted(3 + id, "ana@x.test")).is_some());
        }
        assert!(filter.line(&removed(2)).is_none(), "it was too long ago");
        let mut by_id = Filter::new(Some(&MailId::new(Timestamp::UNIX_EPOCH, 7).to_string()));
        assert!(by_id.line(&accepted(7, "bob@x.test")).is_some());
        assert!(by_id.line(&accepted(8, "bob@x.test")).is_none());
        let mut all = Filter::new(None);
        assert!(all.line(&removed(1)).is_some());
        assert_eq!(all.line(&Followed::Missed(3)).unwrap(), "{\"missed\":3}\n");
    }

    /// Follows a store's history, with a token if `has_token` says so. Returns the lines, what ends with them, and the store.
    async fn followed(
        has_token: bool,
    ) -> (Channel<Bytes, Infallible>, JoinHandle<()>, Arc<dyn Store>) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let clock = Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH, 7));
        let (name, domains) = ("reader".to_owned(), Vec::new());
        let new = NewApiToken { name, rights: ApiRights::Read, domains, until: None };
        let secret = api_tokens::add(&*store, &*clock, new).await.unwrap();
        let token = api_tokens::find(&*store, &secret).await.unwrap().map(Arc::new);
        let token = token.filter(|_| has_token);
        let reader = Reader { store: store.clone(), clock, token };
        let (sender, lines) = Channel::new(ON_THE_WAY);
        let follower = store.follow();
        let task = async move {
            let (_running, stopping) = watch::channel(false);
            forward(follower, Filter::new(None), (sender, reader), stopping).await;
        };
        (lines, tokio::spawn(task), store)
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_token_ends_what_it_opened() {
        let (mut lines, task, store) = followed(true).await;
        for _ in 0..3 {
            assert_eq!(lines.frame().await.unwrap().unwrap().into_data().unwrap(), "\n");
        }
        api_tokens::remove(&*store, "reader").await.unwrap();
        let rest = timeout(2 * BEAT, async { while lines.frame().await.is_some() {} }).await;
        assert!(rest.is_ok(), "it goes on");
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_reads_nothing_is_let_go() {
        let long = (ON_THE_WAY as u32 + 2) * BEAT + PATIENCE;
        let (_lines, task, _) = followed(true).await;
        assert!(timeout(long, task).await.is_ok(), "the program holds its connection");
        let (_lines, task, _) = followed(false).await;
        assert!(timeout(long * 10, task).await.is_err(), "the operator's terminal may stand still");
    }
}
