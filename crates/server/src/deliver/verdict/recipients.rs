//! The decision for each recipient of a message. The lists of allowed and blocked senders, first those of the
//! recipient's account and then those of its domain, override the verdict of the checks.
//!
//! In LMTP each recipient gets a reply of its own (RFC 2033 §4.2). In SMTP there is one reply for all recipients: a
//! message that one of them would refuse and others accept goes to the folder for junk of that one, so that nobody's
//! copy is lost.

use super::{Refused, Verdict, words};
use crate::{
    deliver::{Message, checked::Checked},
    directory::{
        Recipient,
        senders::{self, ListOwner, NamedSender, SenderEntry, SenderList, SenderStanding, Senders},
    },
};
use posta_mail::ReversePath;
use posta_origin::{dkim::DkimResult, dmarc::DmarcResult, spf::SpfResult};
use posta_store::{AccountId, Store, StoreError};
use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry};

/// The maximal number of decisions that the history lists one by one.
const TOLD: usize = 8;

/// Where a message may go for one recipient: a mailbox here, or on to another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deliver) struct CopyTarget {
    /// The recipient's position in the envelope.
    recipient: usize,
    /// The account; none for what goes on.
    account: Option<AccountId>,
    /// The entry for the sender in the lists that apply.
    listed: Option<SenderEntry>,
}

/// The decision about a message that at least one recipient accepts.
#[derive(Debug, Default)]
pub(in crate::deliver) struct Decided {
    /// The positions of recipients that the message is refused for. Empty where all get one reply.
    pub(in crate::deliver) refused: BTreeMap<usize, Refused>,
    /// The accounts in whose folder for junk it goes.
    junk: HashSet<AccountId>,
    /// The accounts that allow the sender, so that what a filter holds for junk is none to them.
    allowed: HashSet<AccountId>,
    /// What the history tells of that, in words.
    pub(in crate::deliver) decision: Option<String>,
}

impl Decided {
    /// Returns whether a recipient allows the sender.
    pub(in crate::deliver) fn has_allowed(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// Returns whether an account's copy goes to the folder for junk, given what filters say.
    pub(in crate::deliver) fn is_junk(&self, account: AccountId, is_filtered: bool) -> bool {
        self.junk.contains(&account) || is_filtered && !self.allowed.contains(&account)
    }
}

/// Looks up what the lists of recipients say of a message's senders.
///
/// # Errors
/// When the store fails.
pub(in crate::deliver) async fn targets(
    store: &dyn Store,
    message: &Message,
    recipients: &[Recipient],
) -> Result<Vec<CopyTarget>, StoreError> {
    let senders = senders_of(message);
    // A message may have many recipients who share accounts: each list is read once.
    let mut of_domains: HashMap<&str, SenderList> = HashMap::new();
    let mut of_accounts: HashMap<AccountId, SenderList> = HashMap::new();
    let mut targets = Vec::with_capacity(recipients.len());
    for (position, recipient) in recipients.iter().enumerate() {
        let domain = recipient.address.domain();
        if !of_domains.contains_key(domain) {
            let owner = ListOwner::Domain(domain.to_owned());
            of_domains.insert(domain, senders::list(store, &owner).await?);
        }
        let of_domain = of_domains.get(domain).and_then(|list| list.applying(&senders)).cloned();
        for &account in &recipient.resolved.accounts {
            let list = match of_accounts.entry(account) {
                Entry::Occupied(list) => list.into_mut(),
                Entry::Vacant(place) => {
                    place.insert(senders::list(store, &ListOwner::Account(account)).await?)
                }
            };
            let of_account = list.applying(&senders);
            let listed = of_account.cloned().or_else(|| of_domain.clone());
            targets.push(CopyTarget { recipient: position, account: Some(account), listed });
        }
        if !recipient.resolved.elsewhere.is_empty() {
            targets.push(CopyTarget { recipient: position, account: None, listed: of_domain });
        }
    }
    Ok(targets)
}

/// Returns the senders that a message names, each with whether it is authenticated.
fn senders_of(message: &Message) -> Senders<'_> {
    let checked = message.checked.as_deref();
    let mut named = Vec::with_capacity(2);
    if let ReversePath::Address(address) = &message.envelope.reverse_path {
        // A client that has logged in can send in no other name.
        let is_authenticated = message.origin.account.is_some()
            || checked.is_some_and(|checked| is_shown(checked, address.domain()));
        named.push(NamedSender { address, is_authenticated });
    }
    for address in checked.iter().flat_map(|checked| &checked.authors) {
        let is_authenticated = checked.is_some_and(|checked| {
            checked.dmarc.result == DmarcResult::Pass || is_shown(checked, address.domain())
        });
        named.push(NamedSender { address, is_authenticated });
    }
    Senders { client: message.origin.client, named }
}

/// Returns whether SPF or DKIM shows that a message is from a domain or from one above it.
fn is_shown(checked: &Checked, domain: &str) -> bool {
    let covers = |authenticated: &str| {
        let below = domain.strip_suffix(authenticated);
        below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
    };
    let by_spf = checked.spf.as_ref().is_some_and(|spf| {
        spf.outcome.result == SpfResult::Pass && spf.sender.is_some() && covers(spf.domain())
    });
    let mut signed = checked.dkim.iter().filter(|verified| verified.result == DkimResult::Pass);
    by_spf
        || signed.any(|verified| verified.signature.as_ref().is_some_and(|it| covers(&it.domain)))
}

/// Decides for each recipient. `judged` is the verdict of the checks alone.
///
/// # Errors
/// The refusal, if no recipient accepts the message.
pub(in crate::deliver) fn decide(
    judged: &Result<Verdict, Refused>,
    recipients: &[Recipient],
    targets: &[CopyTarget],
    each_is_told: bool,
) -> Result<Decided, Refused> {
    let verdicts: Vec<_> = targets.iter().map(|target| verdict(judged, target)).collect();
    let taken = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
    let mut refusals = verdicts.iter().filter_map(|verdict| verdict.as_ref().err());
    // A message that may be accepted later is not refused for good.
    let first = refusals
        .clone()
        .find(|refused| refused.reply.code.is_transient())
        .or_else(|| refusals.next());
    if let (0, Some(refused)) = (taken, first) {
        return Err(refused.clone());
    }
    let mut decided = Decided::default();
    let mut told = Told::default();
    let is_taken = |recipient: usize| {
        targets
            .iter()
            .zip(&verdicts)
            .any(|(target, verdict)| target.recipient == recipient && verdict.is_ok())
    };
    let mut wanted = HashSet::new();
    for (target, verdict) in targets.iter().zip(&verdicts) {
        let name = &recipients[target.recipient].address;
        if let Some(SenderEntry { standing: SenderStanding::Allowed, .. }) = target.listed {
            decided.allowed.extend(target.account);
        }
        match verdict {
            Ok(Verdict::Take { although }) => {
                wanted.extend(target.account);
                told.add(although.as_ref().map(|although| match target.listed {
                    Some(_) => format!("{although} for {name}"),
                    None => although.clone(),
                }));
            }
            Ok(Verdict::Junk { because }) => {
                decided.junk.extend(target.account);
                told.add(Some(format!("into the folder for junk: {because}")));
            }
            Err(refused) if each_is_told && !is_taken(target.recipient) => {
                decided.refused.entry(target.recipient).or_insert_with(|| refused.clone());
            }
            Err(refused) => {
                decided.junk.extend(target.account);
                if target.account.is_some() {
                    let why = refused.why.as_deref().unwrap_or(&refused.reply.text);
                    told.add(Some(format!(
                        "into the folder for junk of {name}, since others take it: {why}"
                    )));
                }
            }
        }
    }
    // A mailbox that two recipients lead to gets the message in the inbox if either of them wants it there.
    decided.junk.retain(|account| !wanted.contains(account));
    decided.decision = told.words();
    Ok(decided)
}

/// Returns the verdict for one target.
fn verdict(judged: &Result<Verdict, Refused>, target: &CopyTarget) -> Result<Verdict, Refused> {
    match &target.listed {
        None => judged.clone(),
        Some(SenderEntry { sender, standing: SenderStanding::Blocked }) => {
            Err(words::blocked(sender))
        }
        Some(SenderEntry { sender, standing: SenderStanding::Allowed }) => match judged {
            Ok(Verdict::Take { although }) => Ok(Verdict::Take { although: although.clone() }),
            Ok(Verdict::Junk { .. }) | Err(_) => {
                Ok(Verdict::Take { although: Some(format!("taken, since {sender} is allowed")) })
            }
        },
    }
}

/// Decisions in words, each once.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn add(&mut self, decision: Option<String>) {
        let decision =
            decision.filter(|decision| self.0.len() < TOLD && !self.0.contains(decision));
        self.0.extend(decision);
    }

    fn words(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("\n"))
    }
}
