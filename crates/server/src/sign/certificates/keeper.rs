//! The task that obtains and renews certificates, and hands them to the listeners.
//!
//! A server asks the authority itself: a command such as `posta certificate renew` asks the running one. Of several nodes
//! that share a store, one at a time asks about a name, out of those to which it leads: the one that has the duty, which
//! alone writes the record. Any of them answers the authority's questions (`answers.rs`), and the others take the
//! certificate from the store. What an operator asks of another node comes to it through the store, too
//! (`keeper/renewal.rs`).

mod new_key;
mod renewal;

use super::{
    DAY, answers,
    names::{self, Leads},
    record::{self, CertificateRecord},
    schedule,
};
use posta_mail::{Domain, Secret, Timestamp};
use posta_net::{
    acme::{self, AcmeAccount, AcmeError, AcmeErrorKind, Authority, CertificateOrder, Proof},
    clock::Clock,
    dns::Resolver,
    tls::server::{IssuedCertificate, Tls},
};
use posta_store::{KeyId, SecretOf, Store, StoreError, Subject};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, watch},
    time::sleep,
};

/// The longest time from one round to the next.
const ROUND: Duration = Duration::from_secs(60);

/// The shortest time from one round to the next.
const SHORTEST: Duration = Duration::from_secs(5);

/// How long a round waits after a change of the directory, since domains are often added one after the other.
const PAUSE: Duration = Duration::from_secs(5);

/// The time after which a name below a domain that does not lead here is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Obtains certificates, renews them, and hands them to the listeners.
pub struct CertificateKeeper {
    /// The store, which keeps the certificates.
    pub store: Arc<dyn Store>,
    /// The source of time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Finds out whether a name leads to this server.
    pub resolver: Arc<dyn Resolver>,
    /// Uses the certificates, and answers the authority's challenges.
    pub tls: Tls,
    /// The authority that issues the certificates.
    pub authority: Authority,
    /// The server's name for itself.
    pub hostname: Domain,
    /// The ways in which the listeners can prove a name; at least one.
    pub proofs: Vec<Proof>,
    /// Held while the authority is asked, so that no name is ordered twice at once.
    pub asking: Mutex<()>,
    /// Held while wishes that came to other nodes are granted, so that none is granted twice.
    pub granting: Mutex<()>,
    /// The certificates that the listeners have.
    pub installed: Mutex<Vec<String>>,
}

/// The reason why a certificate is not renewed at the operator's wish.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name is none for which this server obtains certificates.
    #[error(
        "this server obtains no certificate for {0}: it does so for its own name, and for mta-sts, autoconfig and \
         autodiscover below each local domain"
    )]
    UnknownName(String),
    /// The authority's limits do not allow another attempt yet.
    #[error(
        "the authority is not asked about {0} before {1:.0}, because of its limits: five failed checks of a name in an \
         hour, five certificates of a name in a week"
    )]
    Limited(String, Timestamp),
    /// A new key was asked for, but not for which certificate.
    #[error("name the certificate that gets a new key")]
    NoName,
    /// DNS pins the present key.
    #[error(
        "DNS has TLSA records of {0} that do not allow the new key, and servers with DANE would send no mail here: publish \
         `_25._tcp.{0}. IN TLSA 3 1 1 {1}` beside them, wait for twice their TTL (RFC 7671 §8.1), and run this again; the \
         new key waits until then"
    )]
    Pinned(String, String),
    /// It is not known whether DNS pins the present key.
    #[error(
        "the key of {0} stays, since DNS does not tell whether a TLSA record pins it: {1}; try again"
    )]
    UnknownPins(String, String),
    /// The name leads to no server of ours; why.
    #[error("the authority is not asked: {0}")]
    Elsewhere(String),
    /// The node that looks after the certificate does not renew it, for this reason.
    #[error("{0}")]
    Refused(String),
    /// No node looks after the certificate; why this one does not.
    #[error("no node at work looks after the certificate of {0}: {1}")]
    NoNode(String, String),
    /// The node that looks after the certificate does not answer.
    #[error(
        "the node {1}, which looks after the certificate of {0}, was told and has not answered yet: `posta certificate list` \
         shows what becomes of it"
    )]
    NotAnswered(String, String),
    /// The authority does not change the account's key.
    #[error("the account's key stays: {0}")]
    AccountKey(String),
}

/// Returns the certificates in the store, in the order of their names.
fn chains(records: &[(String, CertificateRecord)]) -> Vec<String> {
    records.iter().filter_map(|(_, record)| record.chain.clone()).collect()
}

/// The private key that a certificate is ordered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OrderKey {
    /// The same as before, so that a DANE record of it stays right.
    Same,
    /// The one that is to take its place.
    Next,
}

/// Who looks after a name.
enum Whose {
    /// This node, and the name leads there, as far as DNS tells.
    Ours(Leads),
    /// Another node, which has the duty.
    Another,
    /// A node to which the name leads, since it does not lead to this one. Contains the reason, in words.
    Elsewhere(String),
}

/// Returns the duty of asking the authority about a name.
fn duty(name: &str) -> String {
    format!("certificate of {name}")
}

/// The end of an attempt for a name.
enum Attempt {
    /// The certificate was issued, for a private key that the store has, or for a new one.
    Issued(String, KeyId, Option<Secret>),
    /// There is none.
    Failed(AcmeError),
}

impl CertificateKeeper {
    /// Looks after the certificates until the server stops.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut watcher = self.store.watch(&[Subject::Directory]);
        loop {
            let round = async {
                let next = self.round().await.unwrap_or_else(|error| {
                    tracing::error!(%error, "the certificates could not be looked after");
                    ROUND
                });
                tokio::select! {
                    () = sleep(next) => {}
                    _ = watcher.changed() => {
                        // Somebody may wait for these.
                        self.catch_up().await;
                        sleep(PAUSE).await;
                    }
                }
                self.catch_up().await;
            };
            tokio::select! {
                () = round => {}
                _ = stopping.wait_for(|&stopping| stopping) => return,
            }
        }
    }

    /// Does what other nodes want of this one, and takes the certificates that they have obtained.
    async fn catch_up(&self) {
        let (granted, taken) = (self.grant_wishes().await, self.take_others().await);
        if let Err(error) = granted.and(taken) {
            tracing::error!(%error, "what other nodes did about certificates could not be taken over");
        }
    }

    /// Hands the certificates in the store to the listeners, if they are not those that the listeners have.
    async fn take_others(&self) -> Result<(), StoreError> {
        let records = record::read_all(&*self.store).await?;
        let is_known = *self.installed.lock().await == chains(&records);
        if is_known { Ok(()) } else { self.install().await }
    }

    /// Hands the certificates in the store to the listeners. One that cannot be used is logged and left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn install(&self) -> Result<(), StoreError> {
        let mut issued = Vec::new();
        let records = record::read_all(&*self.store).await?;
        *self.installed.lock().await = chains(&records);
        for (name, record) in records {
            let (Some(id), Some(chain)) = (record.key, record.chain) else { continue };
            match self.store.secret(SecretOf::Key(id)).await {
                Ok(Some(key)) => issued.push(IssuedCertificate { name, chain, key }),
                Ok(None) => tracing::error!(name, "the private key of a certificate is missing"),
                Err(error) => tracing::error!(%error, name, "a certificate cannot be used"),
            }
        }
        if let Err(error) = self.tls.use_issued(&issued, self.hostname.as_str()) {
            tracing::error!(%error, "the certificates that were issued cannot be used");
        }
        Ok(())
    }

    /// Returns the names that may need a certificate of ours: all but those for which a file has one.
    async fn wanted(&self) -> Result<Vec<String>, StoreError> {
        let mut names = names::wanted(&*self.store, &self.hostname).await?;
        names.retain(|name| !self.tls.has_file_for(name));
        Ok(names)
    }

    /// Does what is due. Returns the time until the next round.
    async fn round(&self) -> Result<Duration, StoreError> {
        let _asking = self.asking.lock().await;
        let wanted = self.wanted().await?;
        let mut account: Option<AcmeAccount> = None;
        for name in &wanted {
            let record = record::read(&*self.store, name).await?;
            let now = self.clock.now();
            let done = if record.next.is_none_or(|next| now >= next) {
                self.attempt(name, record, OrderKey::Same, account).await
            } else if record.chain.is_some() && record.ask_window.is_none_or(|ask| now >= ask) {
                self.look_and_ask_window(name, record, account).await
            } else {
                continue;
            };
            // One name does not keep the others from their certificates.
            account = done.unwrap_or_else(|error| {
                tracing::error!(%error, name, "a certificate could not be looked after");
                None
            });
        }
        self.clean(&wanted).await?;
        self.take_others().await?;
        let records = record::read_all(&*self.store).await?;
        let next = records.iter().filter_map(|(_, record)| record.next).min();
        // What is due already, such as by the authority's word, has no time left.
        let left = |next| Duration::try_from(self.clock.now().duration_until(next));
        let wait = next.map(|next| left(next).unwrap_or_default());
        Ok(wait.unwrap_or(ROUND).clamp(SHORTEST, ROUND))
    }

    /// Removes the records of names that this server no longer needs, once their certificates have expired, unless another
    /// node needs them.
    async fn clean(&self, wanted: &[String]) -> Result<(), StoreError> {
        let now = self.clock.now();
        for (name, record) in record::read_all(&*self.store).await? {
            let is_over = record.summary().is_none_or(|summary| summary.not_after <= now);
            if is_over && !wanted.contains(&name) && !self.is_of_another(&name).await? {
                record::remove(&*self.store, &name, &record).await?;
            }
        }
        answers::forget_old(&*self.store, now).await
    }

    /// Finds out who looks after a name, and takes the duty of it if nobody does and the name leads here.
    async fn look(&self, name: &str) -> Result<Whose, StoreError> {
        let hostname = self.hostname.as_str();
        let leads = names::leads(&*self.resolver, hostname, name).await;
        if let Leads::Elsewhere(why) = &leads
            && name != hostname
            && self.store.standing().nodes > 1
        {
            return Ok(Whose::Elsewhere(why.clone()));
        }
        match self.store.take_duty(&duty(name)).await? {
            true => Ok(Whose::Ours(leads)),
            false => Ok(Whose::Another),
        }
    }

    /// Returns whether a record that was read before this node took the duty is what the store has now. If it is not, the
    /// node that had the duty has changed it, and the next round reads it.
    async fn is_current(&self, name: &str, record: &CertificateRecord) -> Result<bool, StoreError> {
        Ok(record::read(&*self.store, name).await? == *record)
    }

    /// Tries to obtain the certificate of a name. `account` is the one of an earlier attempt in the same round.
    async fn attempt(
        &self,
        name: &str,
        mut record: CertificateRecord,
        key: OrderKey,
        account: Option<AcmeAccount>,
    ) -> Result<Option<AcmeAccount>, StoreError> {
        let now = self.clock.now();
        let is_own = name == self.hostname.as_str();
        let Whose::Ours(leads) = self.look(name).await? else { return Ok(account) };
        if !self.is_current(name, &record).await? {
            return Ok(account);
        }
        match leads {
            Leads::Here => {}
            // Nobody has to publish these names, so there is nothing to report.
            Leads::Elsewhere(_) if !is_own && record.chain.is_none() => {
                if record.failures > 0 {
                    record::remove(&*self.store, name, &record).await?;
                }
                return Ok(account);
            }
            Leads::Elsewhere(why) | Leads::Unknown(why) => {
                record.fail(why, false, now);
                let wait = match is_own {
                    true => schedule::wait(record.failures, None, self.random()),
                    false => LOOK_AGAIN,
                };
                self.failed(name, record, now + wait).await?;
                return Ok(account);
            }
        }
        if let Some(until) = schedule::refused_until(&record, now) {
            record.next = Some(until);
            record::write(&*self.store, name, &record, Vec::new()).await?;
            return Ok(account);
        }
        let ordered = Box::pin(self.order(name, &record, key, account)).await;
        let (account, attempt) = match ordered {
            Err(StoreError::Sealed(why)) => (None, Attempt::Failed(failure(why))),
            ordered => ordered?,
        };
        match attempt {
            Attempt::Issued(chain, id, secret) => {
                self.succeeded(name, record, chain, (id, secret)).await?;
            }
            Attempt::Failed(error) => {
                let is_counted = error.kind == AcmeErrorKind::Unproved;
                record.fail(error.why, is_counted, now);
                let wait = schedule::wait(record.failures, error.retry_after, self.random());
                self.failed(name, record, now + wait).await?;
            }
        }
        Ok(account)
    }

    /// Orders a certificate.
    async fn order(
        &self,
        name: &str,
        record: &CertificateRecord,
        key: OrderKey,
        account: Option<AcmeAccount>,
    ) -> Result<(Option<AcmeAccount>, Attempt), StoreError> {
        let id = match key {
            OrderKey::Same => record.key,
            OrderKey::Next => record.next_key.map(|next| next.id),
        };
        let stored = match id {
            Some(id) => self.store.secret(SecretOf::Key(id)).await?,
            None => None,
        };
        self.store.check_seals().await?;
        let is_new = stored.is_none();
        let key = match stored.map_or_else(acme::new_key, Ok) {
            Ok(key) => key,
            Err(error) => return Ok((account, Attempt::Failed(error))),
        };
        let turn = usize::try_from(record.failures).unwrap_or_default();
        let Some(&proof) = self.proofs.get(turn % self.proofs.len().max(1)) else {
            return Ok((account, Attempt::Failed(failure("no listener can prove a name"))));
        };
        let wanted = CertificateOrder { name, key: &key, proof, replaces: record.chain.as_deref() };
        let mut account = account;
        for _ in 0..2 {
            let open = match account.take() {
                Some(open) => open,
                None => match self.open().await? {
                    Ok(open) => open,
                    Err(error) => return Ok((None, Attempt::Failed(error))),
                },
            };
            match open.obtain(wanted, self.tls.challenges()).await {
                Ok(chain) => {
                    let id = id.filter(|_| !is_new);
                    let id = id.unwrap_or_else(|| record::new_id(&*self.clock));
                    let issued = Attempt::Issued(chain, id, is_new.then_some(key));
                    return Ok((Some(open), issued));
                }
                Err(error) if error.kind == AcmeErrorKind::NoAccount => {
                    record::forget_account(&*self.store, &self.authority.directory).await?;
                }
                Err(error) => return Ok((Some(open), Attempt::Failed(error))),
            }
        }
        let why = "the authority does not know the account that it has just made";
        Ok((None, Attempt::Failed(failure(why))))
    }

    /// Opens the account at the authority, and makes it if there is none.
    async fn open(&self) -> Result<Result<AcmeAccount, AcmeError>, StoreError> {
        let directory = &self.authority.directory;
        let saved = record::account(&*self.store, directory).await?;
        match self.authority.account(saved.as_ref()).await {
            Ok((account, None)) => Ok(Ok(account)),
            Ok((account, Some(new))) => {
                record::keep_account(&*self.store, &*self.clock, directory, new).await?;
                Ok(Ok(account))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// Keeps a new certificate with its key, which is a new one or in the store, and hands it to the listeners.
    async fn succeeded(
        &self,
        name: &str,
        mut record: CertificateRecord,
        chain: String,
        (id, secret): (KeyId, Option<Secret>),
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        record.succeed(chain, now);
        let before = record.key.replace(id).filter(|before| *before != id);
        record.next_key = record.next_key.filter(|next| next.id != id);
        let mut keys: Vec<_> = before.map(|before| (before, None)).into_iter().collect();
        keys.extend(secret.map(|secret| (id, Some(secret))));
        let summary = record.summary();
        let renewal = summary.as_ref().map(|summary| schedule::renewal(summary, self.random()));
        record.next = Some(renewal.unwrap_or(now + DAY));
        record::write(&*self.store, name, &record, keys).await?;
        let until = summary.map(|summary| summary.not_after.to_string());
        tracing::info!(name, until, "a certificate was issued");
        self.install().await
    }

    /// Keeps a failure.
    async fn failed(
        &self,
        name: &str,
        mut record: CertificateRecord,
        next: Timestamp,
    ) -> Result<(), StoreError> {
        record.next = Some(next);
        record::write(&*self.store, name, &record, Vec::new()).await?;
        let why = record.failed.as_ref().map(|failed| failed.why.as_str());
        let until = record.summary().map(|summary| summary.not_after.to_string());
        let (failures, next) = (record.failures, format!("{next:.0}"));
        tracing::warn!(name, why, failures, next, until, "no certificate was issued");
        Ok(())
    }

    /// Asks the authority when a certificate should be renewed, if this node looks after it.
    async fn look_and_ask_window(
        &self,
        name: &str,
        record: CertificateRecord,
        account: Option<AcmeAccount>,
    ) -> Result<Option<AcmeAccount>, StoreError> {
        let is_ours = matches!(self.look(name).await?, Whose::Ours(_));
        if !is_ours || !self.is_current(name, &record).await? {
            return Ok(account);
        }
        self.ask_window(name, record, account).await
    }

    /// Asks the authority when a certificate should be renewed. Failing to learn it is no failure of the
    /// renewal.
    async fn ask_window(
        &self,
        name: &str,
        mut record: CertificateRecord,
        account: Option<AcmeAccount>,
    ) -> Result<Option<AcmeAccount>, StoreError> {
        let now = self.clock.now();
        let account = match account {
            Some(account) => account,
            None => match self.open().await? {
                Ok(account) => account,
                Err(error) => {
                    tracing::debug!(%error, "the authority is not asked about renewals");
                    record.ask_window = Some(now + LOOK_AGAIN * 6);
                    record::write(&*self.store, name, &record, Vec::new()).await?;
                    return Ok(None);
                }
            },
        };
        let chain = record.chain.clone().unwrap_or_default();
        let mut wait = LOOK_AGAIN * 6;
        match account.renewal_window(&chain).await {
            Ok(Some(window)) => {
                wait = window.ask_again;
                // After a failure the schedule of failures holds.
                if record.failures == 0 {
                    let summary = record.summary();
                    let moment = schedule::renewal_in(window, summary.as_ref(), self.random());
                    let is_chosen =
                        record.next.is_some_and(|next| (window.start..=window.end).contains(&next));
                    record.next = if is_chosen { record.next } else { Some(moment) };
                }
            }
            Ok(None) => wait = DAY,
            Err(error) => tracing::debug!(%error, "the authority does not say when to renew"),
        }
        record.ask_window = Some(now + wait);
        record::write(&*self.store, name, &record, Vec::new()).await?;
        Ok(Some(account))
    }

    fn random(&self) -> u32 {
        let mut octets = [0; 4];
        self.clock.random(&mut octets);
        u32::from_be_bytes(octets)
    }
}

fn failure(why: impl Into<String>) -> AcmeError {
    AcmeError { why: why.into(), kind: AcmeErrorKind::Other, retry_after: None }
}
