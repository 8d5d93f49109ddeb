//! What refusing strangers costs: how much of it is written down, how fast it goes, and when a
//! session is ended for it.
//!
//! A stranger decides how often it is refused, and each refusal could be a record that is kept for
//! thirty days: a session that repeats MAIL and refused RCPTs would write seven octets for each that
//! it sends. So what is refused is told in full only as far as `TOLD_AT_ONCE`, `TOLD_A_SECOND` and
//! `TOLD_OF_A_NETWORK` go: enough for the sender of a mistyped address to be found with its address.
//! The rest is counted by network, command and reply, and told as one event every
//! `COUNTED_EVERY`.
//!
//! A stranger also learns from each refusal: which addresses exist, or that a forged one does not. So
//! the answer takes longer the more refusals there were, in the session and from the network, and
//! a session that brought nothing else for `REFUSALS_OF_A_SESSION` of them is ended. The answer is
//! given later, by a session that waits for its host; no thread waits, and nobody else.

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

/// Octets of refusals that are told in full at once.
const TOLD_AT_ONCE: u64 = 16 * 1024;

/// Octets a second by which [`TOLD_AT_ONCE`] grows again: 57 KB an hour, a few hundred refusals.
const TOLD_A_SECOND: u64 = 16;

/// Octets of refusals of one network that are told in full in an hour.
const TOLD_OF_A_NETWORK: u64 = 2 * 1024;

/// How many times as many of this machine: a web mail has all its users behind one address.
const THIS_MACHINE: u64 = 10;

/// How often the refusals that were only counted are told.
const COUNTED_EVERY: Duration = Duration::from_secs(10 * 60);

/// Networks of which refusals are counted apart; those beyond are counted as one.
const NETWORKS: usize = 8 * 1024;

/// Networks that one event names at most: those with the most refusals.
const NETWORKS_TOLD: usize = 128;

/// Pairs of a command and a reply that are counted apart.
const KINDS: usize = 64;

/// Octets of an event beside the words of its refusals: its key, its origin and the names of fields.
const EVENT: u64 = 300;

/// Refusals that an event tells one by one; each further one adds to the count of one like it.
const TOLD_ONE_BY_ONE: usize = 8;

/// Refusals of one kind among these.
const TOLD_OF_A_KIND: usize = 4;

/// Refusals since the last message that was accepted, after which a session is ended (421).
const REFUSALS_OF_A_SESSION: u32 = 50;

/// Refusals of a session whose answers are not held back: addresses are mistyped and go out of use.
const PROMPT_OF_A_SESSION: u32 = 10;

/// By how much each further one of a session is held back longer, and for how long at most. A session
/// is ended after 36 seconds of this, well within the five minutes that clients wait for the reply to
/// RCPT (RFC 5321 §4.5.3.2.3) even where all commands came at once.
const SESSION_STEP: Duration = Duration::from_millis(100);
const SESSION_DELAY: Duration = Duration::from_secs(1);

/// Refusals of a network in an hour whose answers are not held back. A large provider's server with
/// many users who mistype stays below.
const PROMPT_OF_A_NETWORK: u32 = 200;

/// By how much each further one is held back longer, and for how long at most. Fifty of these fit in
/// the five minutes that a client waits.
const NETWORK_STEP: Duration = Duration::from_millis(10);
const NETWORK_DELAY: Duration = Duration::from_secs(5);

/// Seconds over which refusals of a network are counted.
const HOUR: i64 = 60 * 60;

/// Counts refusals, and tells the history of them.
pub struct Refusals {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    networks: HashMap<Option<ClientNetwork>, Tally>,
    /// All networks for which [`NETWORKS`] leaves no room.
    crowd: Tally,
    /// The commands and replies that [`Tally::untold`] counts, by their index.
    kinds: Vec<Kind>,
    /// When the first refusal came that was only counted; none if there was none since they were
    /// told.
    since: Option<Timestamp>,
    /// What is used up of [`TOLD_AT_ONCE`].
    told: Allowance,
}

/// A network's refusals.
#[derive(Default)]
struct Tally {
    /// The hour that the next two count for.
    hour: i64,
    refused: u32,
    /// Octets told in full.
    told: u64,
    /// Refusals that were only counted, by the index of their kind.
    untold: Vec<(u8, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    command: String,
    reply: String,
}

/// What was refused in a session, since the last event that told of it.
#[derive(Debug, Default)]
pub(crate) struct SessionRefusals {
    told: Vec<Refusal>,
    /// Refusals since the last message that was accepted.
    in_a_row: u32,
}

/// What a session does about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Response {
    /// It answers, after so long.
    After(Duration),
    /// It answers after so long that it ends.
    EndAfter(Duration),
}

impl SessionRefusals {
    /// Notes a refusal. `about` is the command with its argument.
    pub(crate) fn note(&mut self, about: String, reply: String) {
        self.note_why(about, reply, None);
    }

    /// Notes a refused login: by its command, and for what else is known of it.
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

    /// The same, with what the operator is told beside the reply.
    pub(crate) fn note_why(&mut self, about: String, reply: String, why: Option<String>) {
        let kind = Kind::of(&about, &reply);
        let is_like = |told: &&mut Refusal| Kind::of(&told.about, &told.reply) == kind;
        let like = self.told.iter_mut().filter(is_like).count();
        if like < TOLD_OF_A_KIND && self.told.len() < TOLD_ONE_BY_ONE {
            self.told.push(Refusal { about, reply, why, times: 1 });
            return;
        }
        let last = match like {
            0 => self.told.last_mut(),
            _ => self.told.iter_mut().rfind(is_like),
        };
        if let Some(last) = last {
            last.times += 1;
        }
    }

    /// A message was accepted: whoever brings mail may have old addresses among the good ones.
    pub(crate) fn accepted(&mut self) {
        self.in_a_row = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Hands out what the history has not been told.
    pub(crate) fn take(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.told)
    }

    /// Takes back what was handed out and not told.
    pub(crate) fn put_back(&mut self, untold: Vec<Refusal>) {
        self.told.splice(..0, untold);
    }

    /// Counts a refusal, of a network with so many of them, and decides what it costs.
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
    /// The command, and the reply's codes: what is the same for all addresses.
    fn of(about: &str, reply: &str) -> Self {
        let command = about.split([' ', ':']).next().unwrap_or_default();
        let is_code = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
        let codes: Vec<_> = reply.split(' ').take(2).take_while(is_code).collect();
        let reply = if codes.is_empty() { reply.to_owned() } else { codes.join(" ") };
        Self { command: command.to_owned(), reply }
    }

    /// All for which [`KINDS`] leaves no room.
    fn other() -> Self {
        Self { command: "other commands".to_owned(), reply: "refused".to_owned() }
    }
}

impl Tally {
    fn begin(&mut self, now: Timestamp) {
        let hour = now.as_second() / HOUR;
        if self.hour != hour {
            (self.hour, self.refused, self.told) = (hour, 0, 0);
        }
    }

    fn count(&mut self, kind: u8, times: u32) {
        match self.untold.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count = count.saturating_add(times),
            None => self.untold.push((kind, times)),
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.hour != now.as_second() / HOUR && self.untold.is_empty()
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

    /// Whether an event with so many octets may be told in full; if so it counts as told.
    fn may_tell(&mut self, client: ClientAddress, octets: u64, now: Timestamp) -> bool {
        let times = if client.is_on_this_machine() { THIS_MACHINE } else { 1 };
        let of_network = self.tally(client, now).told + octets;
        let rate = Rate { at_once: TOLD_AT_ONCE, a_second: TOLD_A_SECOND };
        if of_network > TOLD_OF_A_NETWORK * times || !self.told.take(octets, rate, now) {
            return false;
        }
        self.tally(client, now).told = of_network;
        true
    }

    fn count(&mut self, client: ClientAddress, refused: &[Refusal], now: Timestamp) {
        self.since.get_or_insert(now);
        for Refusal { about, reply, times, .. } in refused {
            let kind = self.kind(Kind::of(about, reply));
            self.tally(client, now).count(kind, *times);
        }
    }

    /// The index of a kind.
    fn kind(&mut self, kind: Kind) -> u8 {
        let kind = if self.kinds.len() < KINDS - 1 { kind } else { self.known_or_other(kind) };
        let known = self.kinds.iter().position(|known| *known == kind);
        let index = known.unwrap_or_else(|| {
            self.kinds.push(kind);
            self.kinds.len() - 1
        });
        // There are no more than KINDS.
        index as u8
    }

    fn known_or_other(&self, kind: Kind) -> Kind {
        if self.kinds.contains(&kind) { kind } else { Kind::other() }
    }

    /// What was only counted, and since when; begins to count anew.
    fn take_counted(&mut self, now: Timestamp) -> Option<What> {
        let Some(since) = self.since.take() else {
            self.networks.retain(|_, tally| !tally.is_over(now));
            return None;
        };
        let mut told: Vec<_> =
            self.kinds.iter().map(|kind| (kind.clone(), 0_u64, Vec::new())).collect();
        let mut networks = 0;
        let crowd = std::mem::take(&mut self.crowd.untold);
        let named = self.networks.iter_mut().map(|(network, tally)| {
            let name = network.map_or_else(|| "this machine".to_owned(), |one| one.to_string());
            (Some(name), std::mem::take(&mut tally.untold))
        });
        for (name, untold) in named.chain([(None, crowd)]) {
            networks += u32::from(!untold.is_empty() && name.is_some());
            for (kind, times) in untold {
                let Some((_, all, clients)) = told.get_mut(usize::from(kind)) else { continue };
                *all += u64::from(times);
                clients.extend(name.clone().map(|client| CountedClient { client, times }));
            }
        }
        self.networks.retain(|_, tally| !tally.is_over(now));
        self.kinds.clear();
        told.retain(|(_, times, _)| *times > 0);
        let room = NETWORKS_TOLD / told.len().max(1);
        let refusals = told.into_iter().map(|(Kind { command, reply }, times, mut clients)| {
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
    /// Tells the history of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, state: Mutex::default() }
    }

    /// Notes that a client was refused something, and decides what the session does about it.
    pub(crate) fn refused(&self, client: ClientAddress, session: &mut SessionRefusals) -> Response {
        let now = self.clock.now();
        let of_network = self.with(|state| {
            let tally = state.tally(client, now);
            tally.refused = tally.refused.saturating_add(1);
            tally.refused
        });
        // Behind this machine's own address there may be a proxy with all the world behind it.
        session.response(if client.is_on_this_machine() { 0 } else { of_network })
    }

    /// Tells the history that a client was refused something: in full where there is room for
    /// that, else later, with the others that are like it.
    pub(crate) async fn tell(&self, client: ClientAddress, what: What) {
        let What::Refused { refused, origin, .. } = &what else { return };
        let now = self.clock.now();
        let words = |refusal: &Refusal| {
            let why = refusal.why.as_ref().map_or(0, String::len);
            (refusal.about.len() + refusal.reply.len() + why) as u64
        };
        let octets = EVENT + origin.hello.len() as u64 + refused.iter().map(words).sum::<u64>();
        let is_told = self.with(|state| {
            let is_told = state.may_tell(client, octets, now);
            if !is_told {
                state.count(client, refused, now);
            }
            is_told
        });
        if is_told {
            message_log::refused(origin, refused);
            self.note(what, now).await;
        }
    }

    /// Tells the history of a client whose session was one too many.
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

    /// Tells what was only counted so far.
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

    /// Tells what was only counted, now and then.
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

/// A line for the log: how often was refused what, and whom most of all.
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

/// The reply with which a session ends that was refused too much.
pub(crate) fn goodbye() -> Reply {
    let words = format!(
        "{REFUSALS_OF_A_SESSION} commands of this session were refused; send to addresses that exist"
    );
    Reply::new(421, (4, 7, 0), words)
}
