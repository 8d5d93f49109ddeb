//! A stranger's visit: the questions about a client, asked once in its session, and the decision on each recipient.

use super::{
    Door, DoorMeans,
    client_name::{check_hello, check_reverse},
    dns_list::ListKind,
    greylist::{self, Greylisted, Provenance, Secret},
    sender_network::SenderNetwork,
};
use crate::{
    directory::{postmaster::DUTIES, store_failed},
    receive::{ahead::Ahead, origin_dns::OriginDns},
    settings::ReverseDns,
};
use posta_mail::{Address, ClientAddress, ForwardPath, Reply, ReversePath};
use posta_origin::{
    iprev::{self, IprevOutcome, IprevResult},
    spf::{self, SpfRequest, SpfResult},
};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// The maximal time for a question about a client to DNS: all lists together, or SPF.
const ASKED_TIME: Duration = Duration::from_secs(8);

/// The state of a stranger's session at the door. Dropping it ends the questions to DNS.
pub(crate) struct Visit {
    door: Arc<Door>,
    client: ClientAddress,
    network: SenderNetwork,
    /// The answers of the lists, until they are needed.
    asked: Option<(Ahead<Standing>, Option<Ahead<IprevOutcome>>)>,
    standing: Standing,
    reverse: Option<IprevResult>,
    /// The sender of the last message, and its origin for greylisting.
    provenance: Option<(ReversePath, Provenance)>,
}

/// What a client claims with a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// The name in its HELO or EHLO.
    pub(crate) hello: &'a str,
    /// The reverse-path.
    pub(crate) sender: &'a ReversePath,
}

/// The result of the DNS lists for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// The client is on no trusted list.
    Unlisted,
    /// The client is on an allow list.
    Allowed,
    /// The client is on a block list; this is the text of the refusal.
    Blocked(String),
}

impl Visit {
    /// Begins the questions about a client; `None` if everybody passes.
    pub(crate) fn begin(door: &Arc<Door>, client: ClientAddress) -> Option<Self> {
        if door.is_open() {
            return None;
        }
        let asked = client.ip().map(|address| {
            let asking = door.clone();
            let standing = Ahead::begin(async move { standing(&asking, address).await });
            let wants_name = door.settings.reverse_dns != ReverseDns::Any;
            let dns = OriginDns(door.means.dns.clone());
            let look_up = async move { iprev::check(&dns, address).await };
            (standing, wants_name.then(|| Ahead::begin(look_up)))
        });
        Some(Self {
            door: door.clone(),
            client,
            network: SenderNetwork::of(client),
            asked,
            standing: Standing::Unlisted,
            reverse: None,
            provenance: None,
        })
    }

    /// Decides whether the client may write to a recipient, before the recipient is looked up.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn admit(
        &mut self,
        claim: Claim<'_>,
        recipient: &ForwardPath,
    ) -> Result<(), Reply> {
        if let Some((standing, reverse)) = self.asked.take() {
            let deadline = Instant::now() + ASKED_TIME;
            self.standing = standing.by(deadline).await.unwrap_or(Standing::Unlisted);
            if let Some(reverse) = reverse {
                self.reverse = reverse.by(deadline).await.map(|outcome| outcome.result);
            }
        }
        if is_for_duty(recipient) {
            return Ok(());
        }
        match (&self.standing, self.client.ip()) {
            (Standing::Blocked(words), _) => Err(Reply::new(550, (5, 7, 1), words.clone())),
            (Standing::Allowed, _) | (Standing::Unlisted, None) => Ok(()),
            (Standing::Unlisted, Some(client)) => {
                let Door { settings, means, .. } = &*self.door;
                if settings.strict_hello {
                    check_hello(claim.hello, client, &means.hostname)?;
                }
                check_reverse(settings.reverse_dns, client, self.reverse)
            }
        }
    }

    /// Decides whether a message is accepted now for a recipient who exists: the client's limits are not reached, and
    /// greylisting does not defer the message.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn receive(
        &mut self,
        claim: Claim<'_>,
        path: &ForwardPath,
        recipient: &Address,
    ) -> Result<(), Reply> {
        let Door { settings, rates, means, .. } = &*self.door;
        // A client with this machine's own address may be a proxy for everybody.
        if !self.client.is_on_this_machine() {
            // Before greylisting, so that the limits bound what a client makes the store write.
            rates.take(settings, self.network, claim.sender, means.clock.now())?;
        }
        let is_exempt = self.standing == Standing::Allowed || is_for_duty(path);
        if settings.greylisting && !is_exempt {
            self.greylist(claim, recipient).await?;
        }
        Ok(())
    }

    async fn greylist(&mut self, claim: Claim<'_>, recipient: &Address) -> Result<(), Reply> {
        let provenance = self.provenance(claim).await;
        let Door { means: DoorMeans { store, clock, .. }, secret, .. } = &*self.door;
        let opened = secret.get_or_try_init(|| Secret::open(&**store, &**clock)).await;
        let secret = opened.map_err(|error| store_failed(&error))?;
        let (from, named) = ((&provenance, self.network), (claim.sender, recipient));
        match greylist::admit((&**store, secret), from, named, clock.now()).await {
            Ok(Greylisted::Passes) => Ok(()),
            Ok(Greylisted::Waits(seconds)) => {
                let words = format!(
                    "Greylisted: this server does not know your mail from {provenance} yet; try again in \
                     {seconds} seconds"
                );
                Err(Reply::new(451, (4, 7, 1), words))
            }
            Err(error) => Err(store_failed(&error)),
        }
    }

    /// Returns the origin of a message, as far as the client can prove it at this time.
    async fn provenance(&mut self, claim: Claim<'_>) -> Provenance {
        if let Some((_, known)) = self.provenance.as_ref().filter(|(of, _)| of == claim.sender) {
            return known.clone();
        }
        let domain = match self.client.ip() {
            Some(client) => self.authorized_domain(claim, client).await,
            None => None,
        };
        let provenance = domain.map_or(Provenance::Network(self.network), Provenance::Domain);
        self.provenance = Some((claim.sender.clone(), provenance.clone()));
        provenance
    }

    /// Returns the sender's domain, if SPF allows the client to send for it.
    async fn authorized_domain(&self, claim: Claim<'_>, client: IpAddr) -> Option<String> {
        let DoorMeans { dns, clock, hostname, .. } = &self.door.means;
        let sender = match claim.sender {
            ReversePath::Address(sender) => Some(sender),
            ReversePath::Null => None,
        };
        let time = u64::try_from(clock.now().as_second()).unwrap_or_default();
        let request = SpfRequest::helo(client, claim.hello, hostname.as_str(), time);
        let (dns, request) = (OriginDns(dns.clone()), request.mail_from(sender));
        let outcome = timeout(ASKED_TIME, spf::check(&dns, &request)).await.ok()?;
        (outcome.result == SpfResult::Pass).then(|| request.domain.to_owned())
    }
}

/// Returns whether a recipient is one that every domain must have.
fn is_for_duty(recipient: &ForwardPath) -> bool {
    match recipient {
        ForwardPath::Postmaster => true,
        ForwardPath::Address(address) => {
            DUTIES.iter().any(|duty| address.local_part().eq_ignore_ascii_case(duty))
        }
    }
}

/// Asks all lists about a client, at the same time.
async fn standing(door: &Arc<Door>, client: IpAddr) -> Standing {
    let asked: Vec<_> = door
        .lists
        .iter()
        .map(|list| {
            let (list, dns) = (list.clone(), door.means.dns.clone());
            Ahead::begin(async move { list.has(&*dns, client).await })
        })
        .collect();
    let (deadline, mut blocking) = (Instant::now() + ASKED_TIME, None);
    for (list, asked) in door.lists.iter().zip(asked) {
        // The allow lists come first.
        match (list.kind(), asked.by(deadline).await) {
            (_, Some(false) | None) => {}
            (ListKind::Allow, Some(true)) => return Standing::Allowed,
            (ListKind::Block, Some(true)) => {
                blocking = Some(list);
                break;
            }
        }
    }
    let Some(list) = blocking else { return Standing::Unlisted };
    let words = list.words(&*door.means.dns, client).await;
    let words = if words.is_empty() { "it says no more".to_owned() } else { words };
    Standing::Blocked(format!("{client} is on the block list {}: {words}", list.zone()))
}
