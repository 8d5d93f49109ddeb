//! Renewals at the operator's wish.
//!
//! Of several nodes, the one that has the duty of a certificate renews it, whichever the operator asked. Another one
//! leaves a *wish* in the store, of which all nodes hear at once, and waits for the answer. So behind a load balancer nobody
//! has to know which node it is, and no two nodes write the record of a certificate at once.

use super::{CertificateKeeper, OrderKey, RenewalError, Whose};
use crate::sign::certificates::{self, IssuedLine, names::Leads, record, schedule};
use posta_mail::Timestamp;
use posta_store::{CERTIFICATE_WISHES as WISHES, NodeState, StoreError};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::sleep;

/// How often a node that waits for an answer looks for it.
const LOOK: Duration = Duration::from_millis(500);

/// The number of looks after which nobody waits for an answer any more: two minutes, longer than most orders take.
const LOOKS: u32 = 240;

/// The number of looks within which some node must have the duty: 20 seconds, in which that of a dead node is free.
const LOOKS_FOR_HOLDER: u32 = 40;

/// The number of looks after which the node that waits sees whether the duty is its own by now.
const LOOKS_FOR_DUTY: u32 = 10;

/// The time for which a wish is kept. Nobody grants it later.
const KEPT: Duration = Duration::from_secs(10 * 60);

/// What an operator asked for at a node that does not look after the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wish {
    /// The name of the certificate.
    name: String,
    new_key: bool,
    until: Timestamp,
    /// What became of it: the record of the certificate tells of the attempt, or there was none, for this reason.
    answer: Option<Result<(), String>>,
}

impl CertificateKeeper {
    /// Asks the authority for the certificate of a name, or of all names that are due, whatever the time; the
    /// authority's limits hold. Returns what became of them. With `new_key`, the certificate of the name is for a new
    /// private key.
    ///
    /// # Errors
    /// When the store fails, the name is none of this server's, DNS pins the present key, or another node looks after the
    /// name and does not answer.
    pub async fn renew(
        &self,
        name: Option<&str>,
        new_key: bool,
    ) -> Result<Vec<IssuedLine>, RenewalError> {
        let chosen = match name {
            None if new_key => return Err(RenewalError::NoName),
            None => self.wanted().await?,
            Some(name) => vec![self.known(name).await?],
        };
        for chosen in &chosen {
            match self.renew_one(chosen, new_key, name.is_some()).await {
                // Of all names, those are left out that cannot have one now.
                Err(
                    RenewalError::Limited(..)
                    | RenewalError::Refused(_)
                    | RenewalError::Elsewhere(_),
                ) if name.is_none() => {}
                done => done?,
            }
        }
        let mut lines = certificates::list(&*self.store, self.clock.now()).await?;
        lines.retain(|line| chosen.contains(&line.name));
        Ok(lines)
    }

    async fn renew_one(
        &self,
        name: &str,
        new_key: bool,
        is_named: bool,
    ) -> Result<(), RenewalError> {
        if !is_named {
            // Only those that have failed or are missing: the others have time.
            let record = record::read(&*self.store, name).await?;
            if record.chain.is_some() && record.failures == 0 {
                return Ok(());
            }
        }
        match self.renew_here(name, new_key).await? {
            Whose::Ours(_) => Ok(()),
            // Nobody has to publish the names that are not the server's own.
            Whose::Elsewhere(_) if !is_named => Ok(()),
            Whose::Elsewhere(why) => self.ask_others(name, new_key, &why).await,
            Whose::Another => {
                let why = match self.store.standing().is_draining {
                    true => "this one is drained, and takes nothing new",
                    false => "this one did not get the duty",
                };
                self.ask_others(name, new_key, why).await
            }
        }
    }

    /// Returns a name as it is known here, in lower case: one of this server's, or another node's.
    async fn known(&self, name: &str) -> Result<String, RenewalError> {
        let name = name.to_ascii_lowercase();
        let is_known = self.wanted().await?.contains(&name)
            || self.nodes().await?.iter().any(|node| node.is_live && node.name == name);
        if is_known { Ok(name) } else { Err(RenewalError::UnknownName(name)) }
    }

    async fn nodes(&self) -> Result<Vec<NodeState>, StoreError> {
        match self.store.nodes().await {
            Err(StoreError::OneNode) => Ok(Vec::new()),
            nodes => nodes,
        }
    }

    /// Asks the authority for the certificate of a name, if this node looks after it. Returns who does.
    async fn renew_here(&self, name: &str, new_key: bool) -> Result<Whose, RenewalError> {
        if !self.wanted().await?.iter().any(|wanted| wanted == name) {
            return Ok(Whose::Another);
        }
        let _asking = self.asking.lock().await;
        let whose = self.look(name).await?;
        if !matches!(whose, Whose::Ours(_)) {
            return Ok(whose);
        }
        let record = record::read(&*self.store, name).await?;
        if let Whose::Ours(Leads::Elsewhere(why)) = &whose
            && record.chain.is_none()
            && name != self.hostname.as_str()
        {
            return Err(RenewalError::Elsewhere(why.clone()));
        }
        if let Some(until) = schedule::refused_until(&record, self.clock.now()) {
            return Err(RenewalError::Limited(name.to_owned(), until));
        }
        let (record, key) = match new_key {
            true => (self.with_next_key(name, record).await?, OrderKey::Next),
            false => (record, OrderKey::Same),
        };
        self.attempt(name, record, key, None).await?;
        Ok(whose)
    }

    /// Has another node renew a certificate, and waits for its answer. `why` tells why this one does not.
    async fn ask_others(&self, name: &str, new_key: bool, why: &str) -> Result<(), RenewalError> {
        let until = self.clock.now() + KEPT;
        let wish = Wish { name: name.to_owned(), new_key, until, answer: None };
        let id = format!("{name}/{:016x}", record::new_id(&*self.clock).0);
        self.store.keep(WISHES, &id, Some(record::encode(&wish)?)).await?;
        let mut holder = None;
        for look in 1..=LOOKS {
            sleep(LOOK).await;
            if let Some(answer) = self.answer(&id).await? {
                self.store.keep(WISHES, &id, None).await?;
                // The listeners of this node have the certificate when its operator hears of it.
                self.install().await?;
                return answer.map_err(RenewalError::Refused);
            }
            if look % LOOKS_FOR_DUTY == 0 {
                self.grant_wishes().await?;
                holder = self.holder(name).await?;
            }
            if look >= LOOKS_FOR_HOLDER && holder.is_none() {
                self.store.keep(WISHES, &id, None).await?;
                return Err(RenewalError::NoNode(name.to_owned(), why.to_owned()));
            }
        }
        // The wish stays: it may be granted at this moment.
        Err(RenewalError::NotAnswered(name.to_owned(), holder.unwrap_or_default()))
    }

    async fn answer(&self, id: &str) -> Result<Option<Result<(), String>>, StoreError> {
        let record = self.store.kept_one(WISHES, id).await?;
        Ok(record.and_then(|record| parse(&record)).and_then(|wish| wish.answer))
    }

    /// Returns whether a name is that of another node, or one that another node looks after.
    pub(super) async fn is_of_another(&self, name: &str) -> Result<bool, StoreError> {
        let duty = super::duty(name);
        let mut others = self.nodes().await?.into_iter();
        Ok(others.any(|node| {
            let has_duty = node.is_live && node.duties.contains(&duty);
            node.name != self.hostname.as_str() && (node.name == name || has_duty)
        }))
    }

    /// Returns the name of the node that has the duty of a certificate.
    async fn holder(&self, name: &str) -> Result<Option<String>, StoreError> {
        let duty = super::duty(name);
        let mut nodes = self.nodes().await?.into_iter();
        let holder = nodes.find(|node| node.is_live && node.duties.contains(&duty));
        Ok(holder.map(|node| node.name))
    }

    /// Renews what operators asked for at other nodes, of the certificates that this one looks after.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn grant_wishes(&self) -> Result<(), StoreError> {
        let _granting = self.granting.lock().await;
        for (id, record) in self.store.kept(WISHES).await? {
            let wish = parse(&record).filter(|wish| self.clock.now() < wish.until);
            let Some(wish) = wish else {
                self.store.keep_if(WISHES, &id, Some(record), None).await?;
                continue;
            };
            if wish.answer.is_some() {
                continue;
            }
            let answer = match self.renew_here(&wish.name, wish.new_key).await {
                Ok(Whose::Ours(_)) => Ok(()),
                Ok(Whose::Another | Whose::Elsewhere(_)) => continue,
                Err(error) => Err(error.to_string()),
            };
            tracing::info!(name = wish.name, "a renewal that another node was asked for was tried");
            // If it is gone, nobody waits for the answer any more.
            let answered = record::encode(&Wish { answer: Some(answer), ..wish })?;
            self.store.keep_if(WISHES, &id, Some(record), Some(answered)).await?;
        }
        Ok(())
    }
}

fn parse(record: &[u8]) -> Option<Wish> {
    serde_json::from_slice(record).ok()
}
