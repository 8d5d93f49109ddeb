//! The operator's request for the history of messages, and of refused clients.

use crate::admin::{Admin, AdminError, Response};
use posta_mail::{Address, MailId, ReversePath, Timestamp};
use posta_net::client_network::ClientNetwork;
use posta_store::{CheckResult, Event, InMailbox, Origin, Refusal, What};
use std::net::IpAddr;

/// The maximal number of messages in one answer.
pub const TRACED: usize = 100;

/// The number of events read from the store at a time.
pub(super) const PAGE: usize = 1_000;

/// The subject of the operator's request.
pub(super) struct Wanted {
    /// A Message-ID, without its brackets.
    message_id: String,
    client: Option<IpAddr>,
    /// An address, folded.
    address: Option<Address>,
    /// A domain, in lower case.
    domain: Option<String>,
}

impl Wanted {
    pub(super) fn new(named: &str) -> Self {
        let address: Option<Address> = named.parse().ok();
        let client: Option<IpAddr> = named.trim_matches(['[', ']']).parse().ok();
        let is_domain = client.is_none() && !named.contains(['@', '<', ' ', '/']);
        Self {
            message_id: named.trim_matches(['<', '>']).to_owned(),
            client: client.map(|client| client.to_canonical()),
            address: address.as_ref().map(Address::folded),
            domain: is_domain.then(|| named.trim_end_matches('.').to_lowercase()),
        }
    }

    fn is_it(&self, other: &Address) -> bool {
        self.domain.as_deref() == Some(other.domain())
            || self.address.as_ref().is_some_and(|address| other.folded() == *address)
    }

    fn is_path(&self, path: &ReversePath) -> bool {
        matches!(path, ReversePath::Address(other) if self.is_it(other))
    }

    fn is_in(&self, mailboxes: &[InMailbox]) -> bool {
        mailboxes.iter().flat_map(InMailbox::mailboxes).any(|mailbox| self.is_it(mailbox))
    }

    /// Returns whether the client came from the subject's address or domain, or logged in as the
    /// subject.
    fn is_from(&self, origin: &Origin) -> bool {
        let hello = origin.hello.to_lowercase();
        let is_host = |domain: &String| {
            hello
                .strip_suffix(domain.as_str())
                .is_some_and(|host| host.is_empty() || host.ends_with('.'))
        };
        self.client.is_some() && origin.client == self.client
            || self.domain.as_ref().is_some_and(is_host)
            || origin.account.as_ref().is_some_and(|account| self.is_it(account))
    }

    /// Returns whether the refused command names the subject, such as `RCPT TO:<ana@x.test>` or `USER
    /// ana@x.test`, or the reason does.
    fn is_about(&self, refusal: &Refusal) -> bool {
        let Refusal { about, why, .. } = refusal;
        let words = why.iter().flat_map(|why| why.split(' '));
        if words.filter_map(|word| word.parse().ok()).any(|address| self.is_it(&address)) {
            return true;
        }
        let inside = about.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let text = inside.map_or_else(|| about.split(' ').next_back(), |(text, _)| Some(text));
        text.and_then(|text| text.parse().ok()).is_some_and(|address| self.is_it(&address))
    }

    /// Whether a check was about an address or its domain.
    fn is_named(&self, found: &CheckResult) -> bool {
        self.domain.as_deref() == Some(found.about.as_str())
            || found.about.parse().is_ok_and(|address| self.is_it(&address))
    }

    pub(super) fn concerns(&self, event: &Event) -> bool {
        match &event.what {
            What::Accepted { origin, from, to, message_id, mailboxes, refused, .. } => {
                let given = message_id.as_deref().map(|id| id.trim_matches(['<', '>']));
                given == Some(self.message_id.as_str())
                    || self.is_from(origin)
                    || self.is_path(from)
                    || to.iter().any(|to| self.is_it(to))
                    || self.is_in(mailboxes)
                    || refused.iter().any(|refusal| self.is_about(refusal))
            }
            What::Refused { origin, from, refused } => {
                self.is_from(origin)
                    || from.as_ref().is_some_and(|from| self.is_path(from))
                    || refused.iter().any(|refusal| self.is_about(refusal))
            }
            What::LockedOut { who, name, .. } => {
                let is_named = |name: &String| name.parse().is_ok_and(|name| self.is_it(&name));
                is_named(who)
                    || name.as_ref().is_some_and(is_named)
                    || self
                        .client
                        .is_some_and(|client| ClientNetwork::of(client).to_string() == *who)
            }
            What::Counted { refusals, .. } => self.client.is_some_and(|client| {
                let network = ClientNetwork::of(client).to_string();
                let mut clients = refusals.iter().flat_map(|refused| &refused.clients);
                clients.any(|counted| counted.client == network)
            }),
            What::Collected { origin, refused, .. } => {
                self.is_from(origin) || refused.iter().any(|refusal| self.is_about(refusal))
            }
            What::Attempted { destination, recipients, mailboxes, .. } => {
                self.domain.as_ref() == Some(destination)
                    || recipients.iter().any(|fate| self.is_it(&fate.recipient))
                    || self.is_in(mailboxes)
            }
            What::Reported { to, .. } => self.is_it(to),
            What::Filtered { .. } | What::Released => false,
            What::Checked { results, .. } => results.iter().any(|found| self.is_named(found)),
            What::Removed { destination } => self.domain.as_ref() == Some(destination),
        }
    }
}

impl Admin {
    /// The stories of the newest messages that something names: a message's id, a Message-ID, an
    /// address that sent, received or has the mailbox where it is, a domain of such addresses or of a
    /// client's name, or the IP address of a client; oldest first, of those that came here within so
    /// many seconds.
    pub(in crate::admin) async fn trace(
        &self,
        named: &str,
        within: Option<u64>,
    ) -> Result<Response, AdminError> {
        let id = named.split_once('.').map_or(named, |(id, _)| id);
        if let Ok(id) = id.parse::<MailId>() {
            let events = self.store.history(id).await?;
            if !events.is_empty() {
                return Ok(Response::Events(events));
            }
        }
        let wanted = Wanted::new(named);
        let since = within.map(|seconds| {
            let since = self.clock.now().as_second().saturating_sub_unsigned(seconds);
            MailId::new(Timestamp::from_second(since.max(0)).unwrap_or_default(), 0)
        });
        let is_over = |id: MailId| since.is_some_and(|since| id < since);
        let (mut stories, mut before): (Vec<Vec<Event>>, _) = (Vec::new(), None);
        loop {
            let page = self.store.events(before, PAGE).await?;
            let Some(last) = page.last().map(|last| last.id) else { break };
            before = Some(last);
            let newest_first = page.chunk_by(|one, other| one.id == other.id);
            let is_meant = |story: &&[Event]| {
                !is_over(story[0].id) && story.iter().any(|event| wanted.concerns(event))
            };
            stories.extend(newest_first.filter(is_meant).map(<[_]>::to_vec));
            if stories.len() >= TRACED || is_over(last) {
                break;
            }
        }
        stories.truncate(TRACED);
        Ok(Response::Events(stories.into_iter().rev().flatten().collect()))
    }
}
