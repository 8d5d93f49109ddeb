//! The cost of refusing strangers: how much of it is recorded, how fast the replies come, and when a
//! session is ended for it.
//!
//! A stranger decides how often it is refused, and each refusal could become a record that is kept for
//! thirty days: a session that repeats MAIL with refused RCPTs would write seven octets for each that it
//! sends. Therefore refusals are recorded in full only within the rates of `RECORDED_AT_ONCE`,
//! `RECORDED_A_SECOND` and `RECORDED_OF_A_NETWORK`, which is enough to find the sender of a mistyped
//! address. All others are counted by network, command and reply, and recorded as one event every
//! `COUNTED_EVERY`.
//!
//! A stranger also learns from each refusal: which addresses exist, or that a forged one does not.
//! Therefore the replies take longer the more refusals there were, in the session and from the network,
//! and a session ends after `REFUSALS_OF_A_SESSION` refusals without anything else. A delayed session
//! waits for its host; no thread waits, and no other session.

use crate::{
    deliver::message_log,
    limits::allowance::{Allowance, Rate},
    login::FailedLogin,
};
use parking_lot::Mutex;
use posta_mail::{ClientAddress, Reply, Timestamp};
use posta_net::{client_network::ClientNetwork, clock::Clock};
use posta_store::{CountedClient, CountedRefusals, Event, Origin, Refusal, Store, What};
use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::sleep};

/// The number of octets of refusals that are recorded in full at once.
const RECORDED_AT_ONCE: u64 = 16 * 1024;

/// The number of octets that become available again each second, up to [`RECORDED_AT_ONCE`]: 57 KB an
/// hour, a few hundred refusals.
const RECORDED_A_SECOND: u64 = 16;

/// The number of octets of refusals from one network that are recorded in full in an hour.
const RECORDED_OF_A_NETWORK: u64 = 2 * 1024;

/// The factor by which this machine may have more, since all users of a webmail share its address.
const THIS_MACHINE: u64 = 10;

/// The interval at which the counts are recorded.
const COUNTED_EVERY: Duration = Duration::from_secs(10 * 60);

/// The maximal number of networks whose refusals are counted separately; all others are counted as one.
const NETWORKS: usize = 8 * 1024;

/// The maximal number of networks named in one event: those with the most refusals.
const NETWORKS_NAMED: usize = 128;

/// The maximal number of pairs of command and reply that are counted separately.
const KINDS: usize = 64;

/// The number of octets in an event besides the text of its refusals: its key, its origin and the names
/// of fields.
const EVENT: u64 = 300;

/// The maximal number of refusals that an event contains one by one; each further one adds to the count
/// of a similar one.
const LISTED_ONE_BY_ONE: usize = 8;

/// The maximal number of these with the same command and reply.
const LISTED_OF_A_KIND: usize = 4;

/// The number of refusals since the last accepted message after which a session is ended (421).
const REFUSALS_OF_A_SESSION: u32 = 50;

/// The number of refusals in a session whose replies are not delayed, since people mistype addresses,
/// and addresses go out of use.
const PROMPT_OF_A_SESSION: u32 = 10;

/// The additional delay for each further refusal in a session, and the maximal delay. A session ends
/// after 36 seconds of delays in total, well within the five minutes that clients wait for the reply to
/// RCPT (RFC 5321 §4.5.3.2.3), even if all commands were sent at once.
const SESSION_STEP: Duration = Duration::from_millis(100);
const SESSION_DELAY: Duration = Duration::from_secs(1);

/// The number of refusals from a network in an hour whose replies are not delayed. A large provider's
/// server with many users who mistype addresses stays below that.
const PROMPT_OF_A_NETWORK: u32 = 200;

/// The additional delay for each further refusal from a network, and the maximal delay. Fifty of these
/// fit into the five minutes that a client waits.
const NETWORK_STEP: Duration = Duration::from_millis(10);
const NETWORK_DELAY: Duration = Duration::from_secs(5);

/// The number of seconds over which refusals from a network are counted.
const HOUR: i64 = 60 * 60;

/// Counts refusals, and records them in the history.
pub struct Refusals {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    networks: HashMap<Option<ClientNetwork>, Tally>,
    /// All networks for which [`NETWORKS`] leaves no room, together.
    crowd: Tally,
    /// The commands and replies that [`Tally::counted`] refers to, by index.
    kinds: Vec<Kind>,
    /// The time of the first refusal that was only counted; none if there was none since the counts were
    /// last recorded.
    since: Option<Timestamp>,
    /// The part of [`RECORDED_AT_ONCE`] that is used up.
    recorded: Allowance,
}

/// The refusals of a network.
#[derive(Default)]
struct Tally {
    /// The hour of the next two figures.
    hour: i64,
    refused: u32,
    /// The number of octets recorded in full.
    recorded: u64,
    /// The number of refusals that were only counted, by the index of their kind.
    counted: Vec<(u8, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    command: String,
    reply: String,
}

/// The refusals in a session since the last event about them.
#[derive(Debug, Default)]
pub(crate) struct SessionRefusals {
    refusals: Vec<Refusal>,
    /// The number of refusals since the last accepted message.
    in_a_row: u32,
}

/// The session's reaction to a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Response {
    /// The reply follows after this delay.
    After(Duration),
    /// The session ends after this delay.
    EndAfter(Duration),
}

impl SessionRefusals {
    /// Adds a refusal. `about` is the command with its argument.
    pub(crate) fn note(&mut self, about: String, reply: String) {
        self.note_why(about, reply, None);
    }

    /// Adds a refused login, with its command and the name and reason, if known.
    pub(crate) fn note_login(
        &mut self,
        command: &str,
        reply: String,
        denied: Option<&FailedLogin>,
    ) {
        let name = denied.map_or("", |denied| &denied.name);
        let about = if name.is_empty() { command.to_owned() } else { format!("{command} {name}") };
        self.note_why(about, reply, denied.map(|denied| denied.why.to_owned()));
    }

    /// Adds a refusal, with further details for the operator.
    pub(crate) fn note_why(&mut self, about: String, reply: String, why: Option<String>) {
        let kind = Kind::of(&about, &reply);
        let is_like = |other: &&mut Refusal| Kind::of(&other.about, &other.reply) == kind;
        let like = self.refusals.iter_mut().filter(is_like).count();
        if like < LISTED_OF_A_KIND && self.refusals.len() < LISTED_ONE_BY_ONE {
            self.refusals.push(Refusal { about, reply, why, times: 1 });
            return;
        }
        let last = match like {
            0 => self.refusals.last_mut(),
            _ => self.refusals.iter_mut().rfind(is_like),
        };
        if let Some(last) = last {
            last.times += 1;
        }
    }

    /// Records that a message was accepted: a client that delivers mail may have old addresses among the
    /// valid ones.
    pub(crate) fn accepted(&mut self) {
        self.in_a_row = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Takes the refusals that are not in the history yet.
    pub(crate) fn take(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }

    /// Puts refusals back that were taken and not recorded.
    pub(crate) fn put_back(&mut self, refusals: Vec<Refusal>) {
        self.refusals.splice(..0, refusals);
    }

    /// Counts a refusal, from a network with `of_network` refusals, and returns the reaction.
    fn response(&mut self, of_network: u32) -> Response {
        self.in_a_row += 1;
        let session = self.in_a_row.saturating_sub(PROMPT_OF_A_SESSION);
        let network = of_network.saturating_sub(PROMPT_OF_A_NETWORK);
        let delay = (SESSION_STEP.saturating_mul(session).min(SESSION_DELAY))
            .max(NETWORK_STEP.saturating_mul(network).min(NETWORK_DELAY));
        match self.in_a_row >= REFUSALS_OF_A_SESSION {
            true => Response::EndAfter(delay),
            false => Response::After(delay),
        }
    }
}

impl Kind {
    /// Returns the command, and the codes of the reply, which are the same for all addresses.
    fn of(about: &str, reply: &str) -> Self {
        let command = about.split([' ', ':']).next().unwrap_or_default();
        let is_code = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
        let codes: Vec<_> = reply.split(' ').take(2).take_while(is_code).collect();
        let reply = if codes.is_empty() { reply.to_owned() } else { codes.join(" ") };
        Self { command: command.to_owned(), reply }
    }

    /// Returns the kind of all refusals for which [`KINDS`] leaves no room.
    fn other() -> Self {
        Self { command: "other commands".to_owned(), reply: "refused".to_owned() }
    }
}

impl Tally {
    fn begin(&mut self, now: Timestamp) {
        let hour = now.as_second() / HOUR;
        if self.hour != hour {
            (self.hour, self.refused, self.recorded) = (hour, 0, 0);
        }
    }

    fn count(&mut self, kind: u8, times: u32) {
        match self.counted.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count = count.saturating_add(times),
            None => self.counted.push((kind, times)),
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.hour != now.as_second() / HOUR && self.counted.is_empty()
    }
}

impl State {
    fn tally(&mut self, client: ClientAddress, now: Timestamp) -> &mut Tally {
        let network = ClientNetwork::of_client(client);
        let has_room = self.networks.len() < NETWORKS || self.networks.contains_key(&network);
        let tally =
            if has_room { self.networks.entry(network).or_default() } else { &mut self.crowd };
        tally.begin(now);
        tally
    }

    /// Returns whether an event of this many octets may be recorded in full, and if so counts it.
    fn may_record(&mut self, client: ClientAddress, octets: u64, now: Timestamp) -> bool {
        let times = if client.is_on_this_machine() { THIS_MACHINE } else { 1 };
        let of_network = self.tally(client, now).recorded + octets;
        let rate = Rate { at_once: RECORDED_AT_ONCE, a_second: RECORDED_A_SECOND };
        if of_network > RECORDED_OF_A_NETWORK * times || !self.recorded.take(octets, rate, now) {
            return false;
        }
        self.tally(client, now).recorded = of_network;
        true
    }

    fn count(&mut self, client: ClientAddress, refused: &[Refusal], now: Timestamp) {
        self.since.get_or_insert(now);
        for Refusal { about, reply, times, .. } in refused {
            let kind = self.kind(Kind::of(about, reply));
            self.tally(client, now).count(kind, *times);
        }
    }

    /// Returns the index of a kind.
    fn kind(&mut self, kind: Kind) -> u8 {
        let kind = if self.kinds.len() < KINDS - 1 { kind } else { self.known_or_other(kind) };
        let known = self.kinds.iter().position(|known| *known == kind);
        let index = known.unwrap_or_else(|| {
            self.kinds.push(kind);
            self.kinds.len() - 1
        });
        // There are at most KINDS.
        index as u8
    }

    fn known_or_other(&self, kind: Kind) -> Kind {
        if self.kinds.contains(&kind) { kind } else { Kind::other() }
    }

    /// Returns the refusals that were only counted, and starts counting again.
    fn take_counted(&mut self, now: Timestamp) -> Option<What> {
        let Some(since) = self.since.take() else {
            self.networks.retain(|_, tally| !tally.is_over(now));
            return None;
        };
        let mut kinds: Vec<_> =
            self.kinds.iter().map(|kind| (kind.clone(), 0_u64, Vec::new())).collect();
        let mut networks = 0;
        let crowd = std::mem::take(&mut self.crowd.counted);
        let named = self.networks.iter_mut().map(|(network, tally)| {
            let name = network.map_or_else(|| "this machine".to_owned(), |one| one.to_string());
            (Some(name), std::mem::take(&mut tally.counted))
        });
        for (name, counted) in named.chain([(None, crowd)]) {
            networks += u32::from(!counted.is_empty() && name.is_some());
            for (kind, times) in counted {
                let Some((_, all, clients)) = kinds.get_mut(usize::from(kind)) else { continue };
                *all += u64::from(times);
                clients.extend(name.clone().map(|client| CountedClient { client, times }));
            }
        }
        self.networks.retain(|_, tally| !tally.is_over(now));
        self.kinds.clear();
        kinds.retain(|(_, times, _)| *times > 0);
        let room = NETWORKS_NAMED / kinds.len().max(1);
        let refusals = kinds.into_iter().map(|(Kind { command, reply }, times, mut clients)| {
            clients.sort_by(|one, other| {
                other.times.cmp(&one.times).then_with(|| one.client.cmp(&other.client))
            });
            clients.truncate(room.max(1));
            CountedRefusals { command, reply, times, clients }
        });
        Some(What::Counted { since, networks, refusals: refusals.collect() })
    }
}

impl Refusals {
    /// Returns a counter that records refusals in the history of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, state: Mutex::default() }
    }

    /// Counts a refusal by the server, and returns the session's reaction.
    pub(crate) fn refused(&self, client: ClientAddress, session: &mut SessionRefusals) -> Response {
        let now = self.clock.now();
        let of_network = self.with(|state| {
            let tally = state.tally(client, now);
            tally.refused = tally.refused.saturating_add(1);
            tally.refused
        });
        // This machine's own address may be that of a proxy with any number of clients.
        session.response(if client.is_on_this_machine() { 0 } else { of_network })
    }

    /// Records an event about a refused client in the history: in full if there is room for that,
    /// otherwise later, together with similar ones.
    pub(crate) async fn tell(&self, client: ClientAddress, what: What) {
        let What::Refused { refused, origin, .. } = &what else { return };
        let now = self.clock.now();
        let words = |refusal: &Refusal| {
            let why = refusal.why.as_ref().map_or(0, String::len);
            (refusal.about.len() + refusal.reply.len() + why) as u64
        };
        let octets = EVENT + origin.hello.len() as u64 + refused.iter().map(words).sum::<u64>();
        let is_recorded = self.with(|state| {
            let is_recorded = state.may_record(client, octets, now);
            if !is_recorded {
                state.count(client, refused, now);
            }
            is_recorded
        });
        if is_recorded {
            message_log::refused(origin, refused);
            self.note(what, now).await;
        }
    }

    /// Records a client that was turned away because there were too many sessions.
    pub(crate) async fn tell_turned_away(&self, client: ClientAddress) {
        let origin = Origin { client: client.ip(), ..Origin::default() };
        let refusal = Refusal {
            about: "the connection".to_owned(),
            reply: "421 4.7.0 too many sessions".to_owned(),
            why: None,
            times: 1,
        };
        self.tell(client, What::Refused { origin, from: None, refused: vec![refusal] }).await;
    }

    /// Records the refusals that were only counted so far.
    pub(crate) async fn tell_counted(&self) {
        let now = self.clock.now();
        let Some(what) = self.with(|state| state.take_counted(now)) else { return };
        if let What::Counted { networks, refusals, .. } = &what {
            tracing::info!("{}", in_words(*networks, refusals));
        }
        self.note(what, now).await;
    }

    async fn note(&self, what: What, time: Timestamp) {
        let event = Event { id: self.clock.mail_id(), time, what };
        if let Err(error) = self.store.note(vec![event]).await {
            tracing::error!(%error, "the history could not be written");
        }
    }

    /// Records the counts from time to time, until the server stops.
    pub(crate) async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = sleep(COUNTED_EVERY) => {}
                _ = stopping.wait_for(|&stopping| stopping) => return,
            }
            self.tell_counted().await;
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock())
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

/// Returns a log line with the numbers of refusals and the network with the most.
fn in_words(networks: u32, refusals: &[CountedRefusals]) -> String {
    let mut text = format!("more refusals, of {networks} networks");
    for CountedRefusals { command, reply, times, clients } in refusals {
        // Writing to a string cannot fail.
        let _ = write!(text, "; {command}: {reply}, {times} times");
        if let Some(CountedClient { client, times }) = clients.first() {
            let _ = write!(text, " ({client} {times})");
        }
    }
    text
}

/// Returns the reply with which a session ends after too many refusals.
pub(crate) fn goodbye() -> Reply {
    let words = format!(
        "{REFUSALS_OF_A_SESSION} commands of this session were refused; send to addresses that exist"
    );
    Reply::new(421, (4, 7, 0), words)
}
