//! Outside filters: programs that are asked about each message before it is committed, rspamd over HTTP and milters.
//!
//! [`Filters::judge`] is the one call, made by `deliver` between content and commit. The filters are asked in the order
//! of the configuration. Each sees the content as its sender sent it, and has a time limit; the operator chooses what
//! follows if it fails. The first refusal ends the round. [`posta_filters`] holds the protocols, this folder the
//! connections: `milter` and `rspamd`. [`content`] reads the content from the store, chunk by chunk, and [`rewrite`]
//! writes it anew if a filter changed its fields.

pub mod content;
mod milter;
pub mod rewrite;
mod rspamd;

use content::FilterContent;
use parking_lot::Mutex;
use posta_filters::{
    changes::HeaderChanges,
    facts::MessageFacts,
    verdict::{FilterAction, FilterVerdict, one_line},
};
use posta_mail::{Domain, MailId, Reply};
use posta_net::{clock::Clock, driver::Driver, transport::Net};
use posta_store::{FilterResult, StoreError};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// The number of messages that one filter is asked about at once; others wait. Each of them keeps the end of
/// its content in memory meanwhile, at most a chunk.
const AT_ONCE: usize = 64;

/// The protocol of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKind {
    /// The milter protocol, version 6.
    Milter,
    /// rspamd's protocol over HTTP.
    Rspamd,
}

/// The mail that a filter is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilteredMail {
    /// Mail from other servers.
    Incoming,
    /// Mail from users and from neighbours that may relay.
    Submitted,
    /// Both.
    All,
}

/// The treatment of a message if a filter fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It goes on as if the filter had accepted it.
    Accept,
    /// It is refused for now, so its sender tries again.
    Tempfail,
}

/// A filter, as the operator set it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSettings {
    /// Its protocol.
    pub kind: FilterKind,
    /// Its address: `host:port`, or `unix:/path`.
    pub address: String,
    /// The mail that it is asked about.
    pub mail: FilteredMail,
    /// The longest time that it may take for one message.
    pub time_limit: Duration,
    /// The treatment of a message if it fails.
    pub on_failure: OnFailure,
}

/// The filters of a server, shared by all deliveries.
pub struct Filters {
    filters: Vec<Filter>,
    hostname: Domain,
    net: Arc<dyn Net>,
    clock: Arc<dyn Clock>,
    driver: Driver,
}

struct Filter {
    settings: FilterSettings,
    at_once: Semaphore,
    /// Whether it failed the last time, so that only changes are logged.
    is_failing: Mutex<bool>,
}

/// The decision of all filters about a message.
#[derive(Debug)]
pub struct Judged {
    /// The action for the message.
    pub action: FilterAction,
    /// The changes to its header section. Empty if the message is refused.
    pub changes: HeaderChanges,
    /// The words of each filter, for the history.
    pub results: Vec<FilterResult>,
}

/// The reason why a filter gave no verdict.
enum Failure {
    /// It failed, in words.
    Filter(String),
    /// Its turn did not come in time, since it is asked about many other messages.
    Crowded,
    /// The content could not be read.
    Store(StoreError),
}

impl Filters {
    /// Returns the filters of these settings.
    #[must_use]
    pub fn new(
        settings: Vec<FilterSettings>,
        hostname: Domain,
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let filter = |settings| Filter {
            settings,
            at_once: Semaphore::new(AT_ONCE),
            is_failing: Mutex::new(false),
        };
        let filters = settings.into_iter().map(filter).collect();
        Self { filters, hostname, net, clock, driver: Driver::unstoppable() }
    }

    /// Returns whether any filter is asked about such mail.
    #[must_use]
    pub fn are_for(&self, is_submitted: bool) -> bool {
        self.filters.iter().any(|filter| filter.is_for(is_submitted))
    }

    /// Returns this server's name for itself, which filters see.
    #[must_use]
    pub const fn hostname(&self) -> &Domain {
        &self.hostname
    }

    /// Returns an id for a copy of content that is being rewritten.
    #[must_use]
    pub fn copy_id(&self) -> MailId {
        self.clock.mail_id()
    }

    /// Asks each filter that is responsible for such mail.
    ///
    /// # Errors
    /// When the content cannot be read. A filter that fails is no error.
    pub async fn judge(
        &self,
        facts: MessageFacts,
        is_submitted: bool,
        content: &FilterContent<'_>,
    ) -> Result<Judged, StoreError> {
        let facts = Arc::new(facts);
        let mut judged = Judged {
            action: FilterAction::Accept,
            changes: HeaderChanges::default(),
            results: Vec::new(),
        };
        for filter in self.filters.iter().filter(|filter| filter.is_for(is_submitted)) {
            match self.ask(filter, &facts, content).await {
                Ok(verdict) => {
                    filter.works();
                    judged.take(filter.name(), verdict);
                }
                Err(Failure::Filter(words)) => judged.take_failure(filter, &words),
                Err(Failure::Crowded) => judged.take_crowded(filter),
                Err(Failure::Store(error)) => return Err(error),
            }
            if let FilterAction::Refuse(_) = judged.action {
                judged.changes = HeaderChanges::default();
                break;
            }
        }
        Ok(judged)
    }

    /// Asks a filter. Its time limit begins with its turn: otherwise many messages at once would lead past a filter
    /// whose failures are accepted. The wait for the turn has the same limit.
    async fn ask(
        &self,
        filter: &Filter,
        facts: &Arc<MessageFacts>,
        content: &FilterContent<'_>,
    ) -> Result<FilterVerdict, Failure> {
        let limit = filter.settings.time_limit;
        let Ok(Ok(_turn)) = timeout(limit, filter.at_once.acquire()).await else {
            return Err(Failure::Crowded);
        };
        let asked = timeout(limit, self.converse(filter, facts, content)).await;
        asked.unwrap_or_else(|_| Err(Failure::Filter("no answer in time".to_owned())))
    }

    async fn converse(
        &self,
        filter: &Filter,
        facts: &Arc<MessageFacts>,
        content: &FilterContent<'_>,
    ) -> Result<FilterVerdict, Failure> {
        let connected = self.net.connect(&filter.settings.address).await;
        let stream =
            connected.map_err(|error| Failure::Filter(format!("no connection: {error}")))?;
        match filter.settings.kind {
            FilterKind::Milter => milter::ask(&self.driver, stream, facts.clone(), content).await,
            FilterKind::Rspamd => rspamd::ask(stream, facts, content).await,
        }
    }
}

impl Filter {
    fn is_for(&self, is_submitted: bool) -> bool {
        match self.settings.mail {
            FilteredMail::Incoming => !is_submitted,
            FilteredMail::Submitted => is_submitted,
            FilteredMail::All => true,
        }
    }

    fn name(&self) -> String {
        let kind = match self.settings.kind {
            FilterKind::Milter => "milter",
            FilterKind::Rspamd => "rspamd",
        };
        format!("{kind} {}", self.settings.address)
    }

    fn works(&self) {
        if std::mem::take(&mut *self.is_failing.lock()) {
            tracing::info!(filter = self.name(), "a filter answers again");
        }
    }

    fn fails(&self, words: &str) {
        if !std::mem::replace(&mut *self.is_failing.lock(), true) {
            let then = match self.settings.on_failure {
                OnFailure::Accept => "mail is taken without it",
                OnFailure::Tempfail => "mail is refused for now, and its senders try again",
            };
            tracing::warn!(
                filter = self.name(),
                "a filter fails: {words}; until it answers, {then}"
            );
        }
    }
}

impl Judged {
    /// Joins a filter's verdict with those before it. The more severe action holds.
    fn take(&mut self, filter: String, verdict: FilterVerdict) {
        let FilterVerdict { action, changes, refused, said, ignored } = verdict;
        for words in &ignored {
            tracing::warn!(filter, "a filter asked {words}, which no filter can have done");
        }
        let refused = refused.into_iter().map(|(to, reply)| {
            format!("it refused <{to}>, who gets the message with the others: {reply}")
        });
        let ignored = ignored.into_iter().map(|words| format!("it asked {words}, in vain"));
        let notes = refused.chain(ignored).collect();
        if !self.changes.join(changes) {
            // Many filters that change much: the changes of the first ones hold.
            tracing::warn!(filter, "what a filter wants changed is too much with the others");
        }
        self.results.push(FilterResult { filter, said, notes, failed: false });
        if gravity(&action) > gravity(&self.action) {
            self.action = action;
        }
    }

    fn take_failure(&mut self, filter: &Filter, words: &str) {
        filter.fails(words);
        self.note_failure(filter, words);
        if filter.settings.on_failure == OnFailure::Tempfail {
            let words = "A filter that checks mail here does not answer, try again later";
            self.action = FilterAction::Refuse(Reply::new(451, (4, 7, 1), words));
        }
    }

    /// Refuses a message for now, whatever failures of the filter mean: a flood is no failure of the filter, and must
    /// not lead past it.
    fn take_crowded(&mut self, filter: &Filter) {
        self.note_failure(filter, "too many other messages waited for it");
        let words = "A filter that checks mail here has much to do, try again later";
        self.action = FilterAction::Refuse(Reply::new(451, (4, 7, 1), words));
    }

    fn note_failure(&mut self, filter: &Filter, words: &str) {
        self.results.push(FilterResult {
            filter: filter.name(),
            said: one_line(words),
            notes: Vec::new(),
            failed: true,
        });
    }
}

const fn gravity(action: &FilterAction) -> u8 {
    match action {
        FilterAction::Accept => 0,
        FilterAction::Junk => 1,
        FilterAction::Quarantine(_) => 2,
        FilterAction::Refuse(_) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::{ClientAddress, ReversePath, Timestamp};
    use posta_net::{clock::SimulatedClock, transport::MemoryNet};
    use posta_store::MemoryStore;

    #[tokio::test(start_paused = true)]
    async fn a_flood_leads_past_no_filter() {
        let settings = FilterSettings {
            kind: FilterKind::Rspamd,
            address: "127.0.0.1:11333".to_owned(),
            mail: FilteredMail::All,
            time_limit: Duration::from_secs(10),
            on_failure: OnFailure::Accept,
        };
        let time = Timestamp::from_second(1_074_188_330).unwrap();
        let (net, clock) = (Arc::<MemoryNet>::default(), Arc::new(SimulatedClock::new(time, 1)));
        let filters = Filters::new(vec![settings], "x.test".parse().unwrap(), net, clock);
        let store = MemoryStore::new();
        let content =
            FilterContent { store: &store, id: filters.copy_id(), chunks: 0, rest: b"\r\n" };
        let facts = MessageFacts {
            id: String::new(),
            hostname: String::new(),
            client: ClientAddress::Unknown,
            client_name: None,
            hello: String::new(),
            tls: None,
            account: None,
            sender: ReversePath::Null,
            recipients: Vec::new(),
            octets: 2,
        };
        let failed = filters.judge(facts.clone(), false, &content).await.unwrap();
        assert_eq!(failed.action, FilterAction::Accept, "nobody listens");
        let _all = filters.filters[0].at_once.acquire_many(AT_ONCE as u32).await.unwrap();
        let crowded = filters.judge(facts, false, &content).await.unwrap();
        let FilterAction::Refuse(reply) = crowded.action else { panic!("{crowded:?}") };
        assert!(reply.code.is_transient() && crowded.results[0].failed);
    }
}
