//! Certificates from an authority by ACME (RFC 8555), such as Let's Encrypt, for names that lead to this
//! server.
//!
//! The messages of the protocol are instant-acme's; they travel over this crate's own TLS and DNS. This
//! module obtains one certificate at a time. Which names need one, when it is renewed and where it is
//! kept are the caller's business. While an order runs, [`Challenges`] has the answers that prove to the
//! authority that the name leads here.

mod authority_client;
mod certificate_id;

use crate::{https::HttpsClient, tls::server::challenges::Challenges};
use authority_client::AuthorityClient;
use aws_lc_rs::digest::{SHA256, digest};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use posta_mail::{Secret, Timestamp};
use rcgen::PublicKeyData as _;
use std::time::Duration;

/// The longest wait for the authority to check a name, and again for it to issue the certificate.
const PATIENCE: Duration = Duration::from_secs(120);

/// The first wait before the authority is asked how far it is; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How long the authority waits at least before it wants to be asked again about a renewal time
/// (RFC 9773 §4.3.2 has no lower limit).
const ASKED_AGAIN: Duration = Duration::from_secs(60 * 60);

/// An authority, as the configuration names it.
#[derive(Clone)]
pub struct Authority {
    /// The address of its directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// The e-mail address that it may write to.
    pub contact: Option<String>,
    /// Finds it, opens the connections, and negotiates TLS.
    pub https: HttpsClient,
}

/// The way in which a name is proved to lead to this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A request to port 80 (http-01, RFC 8555 §8.3).
    Http,
    /// A TLS handshake on port 443 (tls-alpn-01, RFC 8737).
    TlsAlpn,
}

/// An account at an authority.
pub struct AcmeAccount {
    account: Account,
    exchange: AuthorityClient,
}

/// A certificate to be obtained.
#[derive(Debug, Clone, Copy)]
pub struct CertificateOrder<'a> {
    /// The name that it is for.
    pub name: &'a str,
    /// The private key, in PKCS #8.
    pub key: &'a Secret,
    /// The way of the proof.
    pub proof: Proof,
    /// The certificate that it replaces, in PEM. An authority that knows it need not count the new one
    /// against its limits (RFC 9773 §5).
    pub replaces: Option<&'a str>,
}

/// When the authority wants a certificate to be renewed (RFC 9773 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalWindow {
    /// The beginning of the time for the renewal.
    pub start: Timestamp,
    /// The end of the time for the renewal.
    pub end: Timestamp,
    /// The time after which the authority is asked again.
    pub ask_again: Duration,
}

/// The reason why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct AcmeError {
    /// What happened, in words.
    pub why: String,
    /// The kind of the failure.
    pub kind: AcmeErrorKind,
    /// The time that the authority wants to pass before the next attempt.
    pub retry_after: Option<Duration>,
}

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeErrorKind {
    /// The authority found that the name does not lead to this server: it has counted the attempt.
    Unproved,
    /// The authority does not know the account (any more).
    NoAccount,
    /// Anything else.
    Other,
}

/// Returns a new private key for a certificate (ECDSA with P-256), in PKCS #8.
///
/// # Errors
/// When the library fails.
pub fn new_key() -> Result<Secret, AcmeError> {
    let key = rcgen::KeyPair::generate().map_err(|error| other(format!("no key: {error}")))?;
    Ok(Secret::new(key.serialized_der()))
}

/// Returns the SHA-256 of a private key's public key, as a TLSA record `3 1 1` has it (RFC 6698 §2.1).
///
/// # Errors
/// When the key is none in PKCS #8.
pub fn public_key_sha256(key: &Secret) -> Result<[u8; 32], AcmeError> {
    let key = rcgen::KeyPair::try_from(key.expose()).map_err(|error| other(error.to_string()))?;
    let digest = digest(&SHA256, &key.subject_public_key_info());
    digest.as_ref().try_into().map_err(|_| other("SHA-256 has another length"))
}

impl Authority {
    /// Opens the account that `saved` has, or else makes one. Returns the account, and what to save if
    /// it is new: a secret.
    ///
    /// # Errors
    /// When the authority is not reached or refuses.
    pub async fn account(
        &self,
        saved: Option<&Secret>,
    ) -> Result<(AcmeAccount, Option<Secret>), AcmeError> {
        let exchange = AuthorityClient::new(self.https.clone());
        let builder = || Account::builder_with_http(Box::new(exchange.clone()));
        if let Some(saved) = saved {
            let credentials: AccountCredentials = serde_json::from_slice(saved.expose())
                .map_err(|error| other(format!("the saved account cannot be read: {error}")))?;
            let account = builder().from_credentials(credentials).await;
            let account = account.map_err(|error| failed(error, &exchange))?;
            return Ok((AcmeAccount { account, exchange }, None));
        }
        let contact = self.contact.as_ref().map(|address| format!("mailto:{address}"));
        let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let made = builder().create(&new, self.directory.clone(), None).await;
        let (account, credentials) = made.map_err(|error| failed(error, &exchange))?;
        let saved = serde_json::to_vec(&credentials).map_err(|error| other(error.to_string()))?;
        Ok((AcmeAccount { account, exchange }, Some(Secret::new(&saved))))
    }
}

impl AcmeAccount {
    /// Replaces the account's key by a new one (RFC 8555 §7.3.5). Returns what to save in place of what was saved before: a
    /// secret. The old key is worth nothing from now on.
    ///
    /// # Errors
    /// When the authority is not reached or refuses: the key stays.
    pub async fn replace_key(&mut self) -> Result<Secret, AcmeError> {
        let replaced = self.account.update_key().await;
        let credentials = replaced.map_err(|error| failed(error, &self.exchange))?;
        let saved = serde_json::to_vec(&credentials).map_err(|error| other(error.to_string()))?;
        Ok(Secret::new(&saved))
    }

    /// Obtains a certificate. Returns it and those that lead to its issuer, in PEM.
    ///
    /// # Errors
    /// When the authority is not reached, does not find that the name leads here, or refuses.
    pub async fn obtain(
        &self,
        wanted: CertificateOrder<'_>,
        challenges: &Challenges,
    ) -> Result<String, AcmeError> {
        let failed = |error| failed(error, &self.exchange);
        let request = request(wanted).map_err(other)?;
        let mut order = self.order(wanted).await.map_err(failed)?;
        let policy = RetryPolicy::new().initial_delay(FIRST_WAIT).timeout(PATIENCE);
        let answering = self.prove(&mut order, wanted, challenges).await?;
        // An order whose names were all proved before is ready at once.
        let ready = match order.state().status {
            OrderStatus::Pending => order.poll_ready(&policy).await,
            status => Ok(status),
        };
        drop(answering);
        match ready {
            Ok(OrderStatus::Ready) => {}
            Ok(_) | Err(Error::Api(_)) => return Err(self.unproved(&mut order).await),
            Err(error) => return Err(failed(error)),
        }
        order.finalize_csr(&request).await.map_err(failed)?;
        order.poll_certificate(&policy).await.map_err(failed)
    }

    /// Returns when a certificate, in PEM, should be renewed; `None` if the authority does not say.
    ///
    /// # Errors
    /// When the authority is not reached or refuses.
    pub async fn renewal_window(&self, chain: &str) -> Result<Option<RenewalWindow>, AcmeError> {
        let Some(id) = certificate_id::of(chain) else { return Ok(None) };
        let (info, after) = match self.account.renewal_info(&id).await {
            Ok(told) => told,
            Err(Error::Unsupported(_)) => return Ok(None),
            Err(error) => return Err(failed(error, &self.exchange)),
        };
        let window = info.suggested_window;
        let time = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        let (start, end) = (time(window.start.unix_timestamp()), time(window.end.unix_timestamp()));
        // RFC 9773 §4.2: a window that ends before it begins means nothing.
        let ask_again = after.max(ASKED_AGAIN);
        Ok((start < end).then_some(RenewalWindow { start, end, ask_again }))
    }

    /// Opens an order: as the successor of the certificate that it replaces, if the authority wants to
    /// know that.
    async fn order(&self, wanted: CertificateOrder<'_>) -> Result<Order, Error> {
        let identifiers = [Identifier::Dns(wanted.name.to_owned())];
        if let Some(replaced) = wanted.replaces.and_then(certificate_id::of) {
            match self.account.new_order(&NewOrder::new(&identifiers).replaces(replaced)).await {
                // Unsupported, or the certificate was replaced already (RFC 9773 §5).
                Err(Error::Unsupported(_) | Error::Other(_)) => {}
                Err(Error::Api(problem)) if !is(&problem, "rateLimited") => {}
                opened => return opened,
            }
        }
        self.account.new_order(&NewOrder::new(&identifiers)).await
    }

    /// Makes the answers to the authority's challenges ready, and tells it so. The answers are given
    /// until the returned values are dropped.
    async fn prove(
        &self,
        order: &mut Order,
        wanted: CertificateOrder<'_>,
        challenges: &Challenges,
    ) -> Result<Vec<crate::tls::server::challenges::Answering>, AcmeError> {
        let failed = |error| failed(error, &self.exchange);
        let (kind, word) = match wanted.proof {
            Proof::Http => (ChallengeType::Http01, "http-01"),
            Proof::TlsAlpn => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        };
        let mut answering = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(failed)?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(kind.clone());
            let mut challenge = challenge
                .ok_or_else(|| other(format!("the authority offers no challenge {word}")))?;
            let proof = challenge.key_authorization();
            let answer = match wanted.proof {
                Proof::Http => challenges.answer_http(&challenge.token, proof.as_str()).await,
                Proof::TlsAlpn => challenges.answer_tls(wanted.name, proof.digest().as_ref()).await,
            };
            answering.push(answer.map_err(|error| other(error.to_string()))?);
            challenge.set_ready().await.map_err(failed)?;
        }
        Ok(answering)
    }

    /// Returns what the authority found wrong with a challenge of an order.
    async fn unproved(&self, order: &mut Order) -> AcmeError {
        let mut why = "the authority could not check the name, and does not say why".to_owned();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else { continue };
            let problem = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
            if let Some(problem) = problem {
                why = format!("the authority could not check the name: {}", words(problem));
            }
        }
        AcmeError { why, kind: AcmeErrorKind::Unproved, retry_after: self.exchange.retry_after() }
    }
}

/// Returns the request for a certificate (PKCS #10), in DER.
fn request(wanted: CertificateOrder<'_>) -> Result<Vec<u8>, String> {
    let text = |error: rcgen::Error| error.to_string();
    let key = rcgen::KeyPair::try_from(wanted.key.expose()).map_err(text)?;
    let mut params = rcgen::CertificateParams::new(vec![wanted.name.to_owned()]).map_err(text)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(text)?.der().to_vec())
}

fn other(why: impl Into<String>) -> AcmeError {
    AcmeError { why: why.into(), kind: AcmeErrorKind::Other, retry_after: None }
}

fn failed(error: Error, exchange: &AuthorityClient) -> AcmeError {
    let (why, kind) = match &error {
        Error::Api(problem) if is(problem, "accountDoesNotExist") => {
            ("the authority does not know the account".to_owned(), AcmeErrorKind::NoAccount)
        }
        Error::Api(problem) => {
            (format!("the authority refuses: {}", words(problem)), AcmeErrorKind::Other)
        }
        Error::Timeout(_) => {
            ("the authority did not finish in time".to_owned(), AcmeErrorKind::Other)
        }
        Error::Json(_) => {
            ("the answer is not that of an ACME server".to_owned(), AcmeErrorKind::Other)
        }
        error => (error.to_string(), AcmeErrorKind::Other),
    };
    AcmeError { why, kind, retry_after: exchange.retry_after() }
}

/// Returns whether a problem is of a type of RFC 8555 §6.7.
fn is(problem: &Problem, name: &str) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix("urn:ietf:params:acme:error:") == Some(name)
}

/// The maximal number of characters of an authority's words.
const WORDS: usize = 500;

fn words(problem: &Problem) -> String {
    let details = problem.subproblems.iter().filter_map(|problem| problem.detail.clone());
    let all = problem.detail.iter().cloned().chain(details).collect::<Vec<_>>().join("; ");
    let kind = problem.r#type.as_deref().unwrap_or("no reason");
    let all = if all.is_empty() { kind.to_owned() } else { all };
    all.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(WORDS)
        .collect()
}
