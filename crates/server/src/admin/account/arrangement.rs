//! The requests about mail of somebody who is not there: notes while away, and forwards.
//!
//! Where mail is forwarded to is an alias of the same name, which `posta alias` shows and changes as any other. Here it
//! also gets an end and a note to senders.

use super::super::{
    Admin, AdminError, Response,
    alias::{AliasError, parse_targets},
    parse_address,
};
use crate::directory::{
    arrangements::{self, ArrangementOwner, Arrangements, Away, Forwarded},
    canonical,
};
use posta_mail::{Address, Timestamp};
use posta_store::{Account, Alias, AliasName, StoreError, keeps_copy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most octets of the text of a note.
const TEXT: usize = 10_000;

/// The most characters of the subject of a note.
const SUBJECT: usize = 200;

/// An action on the note that senders get while somebody is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AwayRequest {
    /// Sets it, in place of an earlier one.
    Set {
        /// The time from which it is sent; none for at once.
        #[serde(default)]
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        from: Option<Timestamp>,
        /// The time until which it is sent; none until it is ended.
        #[serde(default)]
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        until: Option<Timestamp>,
        /// The subject; none for that of the sender's message.
        #[serde(default)]
        subject: Option<String>,
        /// The text.
        text: String,
    },
    /// Returns it.
    Show,
    /// Ends it.
    Off,
}

/// An action on the forward of an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardRequest {
    /// Sets it, in place of an earlier one.
    Set {
        /// The addresses that get the mail.
        targets: Vec<String>,
        /// Whether an account's own mailbox gets no copy.
        #[serde(default)]
        pass_on: bool,
        /// The time when it ends; none for never.
        #[serde(default)]
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        until: Option<Timestamp>,
        /// The text of a note to senders, if they get one.
        #[serde(default)]
        note: Option<String>,
    },
    /// Returns it.
    Show,
    /// Ends it.
    Off,
}

/// Where the mail of an address goes, and what its senders are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ArrangementState {
    /// The address.
    pub address: String,
    /// Whether it is an account's.
    pub is_account: bool,
    /// The addresses that get its mail; none if it goes to the mailbox.
    pub targets: Vec<String>,
    /// Whether the mailbox gets it.
    pub keeps_copy: bool,
    /// The note while its owner is away.
    pub away: Option<Away>,
    /// Whether that note is sent now.
    pub is_away: bool,
    /// The end of the forward and its note.
    pub forward: Option<Forwarded>,
}

/// An address whose arrangements are shown or changed.
struct Arranged {
    address: Address,
    account: Option<Account>,
    owner: ArrangementOwner,
}

impl Admin {
    /// Acts on the note of an account or an alias.
    pub(in crate::admin) async fn away(
        &self,
        address: String,
        request: AwayRequest,
    ) -> Result<Response, AdminError> {
        let arranged = self.arranged(address).await?;
        if arranged.account.is_none() {
            let alias = AliasName::Address(arranged.address.clone());
            if self.store.alias(&alias).await?.is_none() {
                return Err(StoreError::NoSuchAccount.into());
            }
        }
        match request {
            AwayRequest::Show => {}
            AwayRequest::Off => {
                let off = |it: &mut Arrangements| it.away = None;
                arrangements::change(&*self.store, &arranged.owner, off).await?;
            }
            AwayRequest::Set { from, until, subject, text } => {
                let set = self.clock.now();
                check_until(until, from, set)?;
                let (subject, text) = (subject.map(checked_subject).transpose()?, checked(text)?);
                let away = Away { set, from, until, subject, text };
                let on = |it: &mut Arrangements| it.away = Some(away.clone());
                arrangements::change(&*self.store, &arranged.owner, on).await?;
            }
        }
        self.arrangement_state(&arranged).await
    }

    /// Acts on the forward of an address.
    pub(in crate::admin) async fn forward(
        &self,
        address: String,
        request: ForwardRequest,
    ) -> Result<Response, AdminError> {
        let arranged = self.arranged(address).await?;
        match request {
            ForwardRequest::Show => {}
            ForwardRequest::Off => {
                let name = AliasName::Address(arranged.address.clone());
                let _changing = self.changing.lock().await;
                self.store.remove_alias(&name).await?;
                self.forget_forward(&arranged.owner).await?;
            }
            ForwardRequest::Set { targets, pass_on, until, note } => {
                let (set, note) = (self.clock.now(), note.map(checked).transpose()?);
                check_until(until, None, set)?;
                let forwarded = Forwarded { set, until, note };
                self.set_forward(&arranged, targets, pass_on, forwarded).await?;
            }
        }
        self.arrangement_state(&arranged).await
    }

    async fn set_forward(
        &self,
        arranged: &Arranged,
        targets: Vec<String>,
        pass_on: bool,
        forwarded: Forwarded,
    ) -> Result<(), AdminError> {
        let Arranged { address, account, owner } = arranged;
        let mut targets = parse_targets(targets)?;
        let keeps = account.as_ref().is_some_and(|account| !pass_on && !account.send_only);
        if keeps && !keeps_copy(address, &targets) {
            targets.push(address.clone());
        }
        if targets.iter().all(|target| target.folded() == *address) {
            return Err(AliasError::NoMember.into());
        }
        let alias = Alias { name: AliasName::Address(address.clone()), targets };
        let _changing = self.changing.lock().await;
        self.check_alias(&alias, &alias.targets).await?;
        // The end comes first, so that no forward is ever without it.
        let is_usual = forwarded.until.is_none() && forwarded.note.is_none();
        let on = |it: &mut Arrangements| it.forward = Some(forwarded.clone()).filter(|_| !is_usual);
        arrangements::change(&*self.store, owner, on).await?;
        if let Err(error) = self.store.set_alias(alias).await {
            self.forget_forward(owner).await?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Forgets what was arranged about an alias that is no more: the end and the note of an account's forward, or all
    /// that belongs to an alias of its own.
    pub(in crate::admin) async fn forget_alias(&self, name: &AliasName) -> Result<(), StoreError> {
        let AliasName::Address(address) = name else { return Ok(()) };
        match self.store.account(address).await? {
            Some(account) => self.forget_forward(&ArrangementOwner::Account(account.id)).await,
            None => {
                let owner = ArrangementOwner::Alias(address.clone());
                if arrangements::read(&*self.store, &owner).await? != Arrangements::default() {
                    let off = |it: &mut Arrangements| *it = Arrangements::default();
                    arrangements::change(&*self.store, &owner, off).await?;
                }
                Ok(())
            }
        }
    }

    /// Leaves what was arranged for an account that is removed to the alias of its name, if there is one.
    pub(in crate::admin) async fn leave_arrangements(
        &self,
        account: &Account,
    ) -> Result<(), StoreError> {
        let name = AliasName::Address(account.address.clone());
        let arranged =
            arrangements::read(&*self.store, &ArrangementOwner::Account(account.id)).await?;
        if arranged != Arrangements::default() && self.store.alias(&name).await?.is_some() {
            let owner = ArrangementOwner::Alias(account.address.clone());
            let leave = |it: &mut Arrangements| *it = arranged.clone();
            arrangements::change(&*self.store, &owner, leave).await?;
        }
        Ok(())
    }

    /// Forgets the end and the note of a forward that is no more.
    pub(in crate::admin) async fn forget_forward(
        &self,
        owner: &ArrangementOwner,
    ) -> Result<(), StoreError> {
        if arrangements::read(&*self.store, owner).await?.forward.is_some() {
            let off = |it: &mut Arrangements| it.forward = None;
            arrangements::change(&*self.store, owner, off).await?;
        }
        Ok(())
    }

    async fn arranged(&self, address: String) -> Result<Arranged, AdminError> {
        let address = parse_address(address)?;
        let address = canonical(&*self.store, &address).await?.folded();
        let account = self.store.account(&address).await?;
        let owner = match &account {
            Some(account) => ArrangementOwner::Account(account.id),
            None => ArrangementOwner::Alias(address.clone()),
        };
        Ok(Arranged { address, account, owner })
    }

    async fn arrangement_state(&self, arranged: &Arranged) -> Result<Response, AdminError> {
        let Arranged { address, account, owner } = arranged;
        let alias = self.store.alias(&AliasName::Address(address.clone())).await?;
        let keeps_copy = account.as_ref().is_some_and(|account| {
            !account.send_only && alias.as_ref().is_none_or(|to| keeps_copy(address, to))
        });
        let targets = alias.unwrap_or_default().into_iter();
        let targets = targets.filter(|target| account.is_none() || target.folded() != *address);
        let Arrangements { away, forward } = arrangements::read(&*self.store, owner).await?;
        let now = self.clock.now();
        Ok(Response::Arrangement(ArrangementState {
            address: address.to_string(),
            is_account: account.is_some(),
            targets: targets.map(|target| target.to_string()).collect(),
            keeps_copy,
            is_away: away.as_ref().is_some_and(|away| away.is_sent(now)),
            away,
            forward,
        }))
    }
}

fn check_until(
    until: Option<Timestamp>,
    from: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), AdminError> {
    match (until, from) {
        (Some(until), _) if until <= now => Err(AdminError::Arrangement(format!(
            "the end, {until:.0}, is over already: name a later day"
        ))),
        (Some(until), Some(from)) if until <= from => Err(AdminError::Arrangement(format!(
            "{until:.0} comes before {from:.0}: the last day is before the first"
        ))),
        _ => Ok(()),
    }
}

fn checked(text: String) -> Result<String, AdminError> {
    let is_usable = |character: char| !character.is_control() || "\r\n\t".contains(character);
    if text.trim().is_empty() || text.len() > TEXT || !text.chars().all(is_usable) {
        return Err(AdminError::Arrangement(format!(
            "the text of a note has 1 to {TEXT} octets, and no control characters but line ends and tabs"
        )));
    }
    Ok(text)
}

fn checked_subject(subject: String) -> Result<String, AdminError> {
    let subject = subject.trim().to_owned();
    let is_usable = (1..=SUBJECT).contains(&subject.chars().count());
    if !is_usable || subject.chars().any(char::is_control) {
        return Err(AdminError::Arrangement(format!(
            "the subject of a note has 1 to {SUBJECT} characters, and no line ends"
        )));
    }
    Ok(subject)
}
