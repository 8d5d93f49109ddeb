//! The answers to an authority that checks whether a name leads to this server (RFC 8555 §8). The ACME
//! client fills them in; the listener for plain HTTP and the handshakes of TLS give them out.
//!
//! Where several servers stand behind a name, the authority may ask any of them. They share the answers by a
//! [`SharedAnswers`]: an answer is kept there before the authority is told to ask, and looked for there by a
//! server that has none of its own.

use parking_lot::RwLock;
use rustls::{crypto::CryptoProvider, pki_types::PrivateKeyDer, sign::CertifiedKey};
use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The protocol that an authority asks for in the TLS handshake of a check (RFC 8737 §3).
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// The most octets in a token (RFC 8555 §8.1 asks for 128 bits at least; authorities use 43 octets) or in a
/// name that is looked for among the shared answers: strangers ask for what they like.
const QUESTION: usize = 255;

/// Something that takes place later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps answers where other servers find them.
pub trait SharedAnswers: Send + Sync {
    /// Keeps the answer to a question for an hour or more. When this ends, others can find it.
    fn keep<'a>(&'a self, question: &'a str, answer: &'a [u8]) -> Later<'a, Result<(), String>>;

    /// Returns the answer to a question, if there is one.
    fn find<'a>(&'a self, question: &'a str) -> Later<'a, Option<Vec<u8>>>;
}

/// The answers that are ready. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Challenges(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether there are any certificates: read in every handshake.
    has_certificates: AtomicBool,
    answers: RwLock<Answers>,
    elsewhere: RwLock<Option<Arc<dyn SharedAnswers>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenges")
    }
}

#[derive(Debug, Default)]
struct Answers {
    /// The answers to HTTP requests, by token.
    tokens: HashMap<String, String>,
    /// The certificates for TLS handshakes, by name.
    certificates: HashMap<String, Arc<CertifiedKey>>,
}

/// An answer that is given until this value is dropped.
#[derive(Debug)]
pub struct Answering {
    challenges: Challenges,
    question: Question,
}

#[derive(Debug)]
enum Question {
    Token(String),
    Name(String),
}

/// The error of a certificate for a challenge that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no certificate for a challenge can be made: {0}")]
pub struct ChallengeError(String);

impl Challenges {
    /// Shares the answers with other servers from now on.
    pub fn share(&self, elsewhere: Arc<dyn SharedAnswers>) {
        *self.0.elsewhere.write() = Some(elsewhere);
    }

    fn elsewhere(&self) -> Option<Arc<dyn SharedAnswers>> {
        self.0.elsewhere.read().clone()
    }

    /// Answers HTTP requests for a token (http-01, RFC 8555 §8.3).
    ///
    /// # Errors
    /// When other servers cannot be given the answer.
    pub async fn answer_http(
        &self,
        token: &str,
        answer: &str,
    ) -> Result<Answering, ChallengeError> {
        self.keep(&of_token(token), answer.as_bytes()).await?;
        self.0.answers.write().tokens.insert(token.to_owned(), answer.to_owned());
        Ok(Answering { challenges: self.clone(), question: Question::Token(token.to_owned()) })
    }

    /// Answers TLS handshakes for a name with a certificate that contains `digest` (tls-alpn-01, RFC 8737
    /// §3).
    ///
    /// # Errors
    /// When the certificate cannot be made, or other servers cannot be given the digest.
    pub async fn answer_tls(&self, name: &str, digest: &[u8]) -> Result<Answering, ChallengeError> {
        let key = certificate(name, digest).map_err(ChallengeError)?;
        self.keep(&of_name(name), digest).await?;
        self.0.answers.write().certificates.insert(name.to_owned(), Arc::new(key));
        self.0.has_certificates.store(true, Ordering::Release);
        Ok(Answering { challenges: self.clone(), question: Question::Name(name.to_owned()) })
    }

    async fn keep(&self, question: &str, answer: &[u8]) -> Result<(), ChallengeError> {
        match self.elsewhere() {
            Some(elsewhere) => elsewhere.keep(question, answer).await.map_err(ChallengeError),
            None => Ok(()),
        }
    }

    async fn find(&self, question: &str) -> Option<Vec<u8>> {
        let elsewhere = self.elsewhere().filter(|_| question.len() <= QUESTION)?;
        elsewhere.find(question).await
    }

    /// Returns the answer to an HTTP request for a token.
    pub async fn token(&self, token: &str) -> Option<String> {
        let own = self.0.answers.read().tokens.get(token).cloned();
        let is_token = token.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it));
        match own {
            None if is_token => String::from_utf8(self.find(&of_token(token)).await?).ok(),
            own => own,
        }
    }

    /// Returns whether a TLS handshake may be a check.
    pub(super) fn may_be_asked(&self) -> bool {
        self.0.has_certificates.load(Ordering::Acquire) || self.elsewhere().is_some()
    }

    /// Returns the certificate for the check of a name.
    pub(super) async fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let own = self.0.answers.read().certificates.get(&name).cloned();
        match own {
            None => {
                let digest = self.find(&of_name(&name)).await?;
                certificate(&name, &digest).ok().map(Arc::new)
            }
            own => own,
        }
    }
}

fn of_token(token: &str) -> String {
    format!("token {token}")
}

fn of_name(name: &str) -> String {
    format!("name {name}")
}

impl Drop for Answering {
    fn drop(&mut self) {
        let shared = &self.challenges.0;
        let mut answers = shared.answers.write();
        match &self.question {
            Question::Token(token) => answers.tokens.remove(token).is_some(),
            Question::Name(name) => answers.certificates.remove(name).is_some(),
        };
        shared.has_certificates.store(!answers.certificates.is_empty(), Ordering::Release);
    }
}

fn certificate(name: &str, digest: &[u8]) -> Result<CertifiedKey, String> {
    let text = |error: rcgen::Error| error.to_string();
    // `new_acme_identifier` panics on any other length.
    let digest: &[u8; 32] = digest.try_into().map_err(|_| "the digest has another length")?;
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).map_err(text)?;
    params.custom_extensions.push(rcgen::CustomExtension::new_acme_identifier(digest));
    let key = rcgen::KeyPair::generate().map_err(text)?;
    let made = params.self_signed(&key).map_err(text)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let provider: CryptoProvider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    // Not `from_der`, which refuses a certificate with a critical extension that it does not know.
    Ok(CertifiedKey::new(vec![made.der().clone()], key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_given_for_as_long_as_it_is_held() {
        let challenges = Challenges::default();
        let http = challenges.answer_http("abc", "abc.thumb").await.unwrap();
        assert_eq!(challenges.token("abc").await.as_deref(), Some("abc.thumb"));
        assert_eq!(challenges.token("abd").await, None);
        assert!(!challenges.may_be_asked());
        let tls = challenges.answer_tls("x.test", &[7; 32]).await.unwrap();
        assert!(challenges.may_be_asked());
        assert!(challenges.certificate("X.test").await.is_some());
        assert!(challenges.certificate("y.test").await.is_none());
        drop((http, tls));
        assert_eq!(challenges.token("abc").await, None);
        assert!(!challenges.may_be_asked());
        assert!(challenges.answer_tls("x.test", &[7; 31]).await.is_err());
    }

    /// Answers that several servers share in this process, as servers share them in a store.
    #[derive(Default)]
    struct Board(parking_lot::Mutex<HashMap<String, Vec<u8>>>);

    impl SharedAnswers for Board {
        fn keep<'a>(
            &'a self,
            question: &'a str,
            answer: &'a [u8],
        ) -> Later<'a, Result<(), String>> {
            self.0.lock().insert(question.to_owned(), answer.to_vec());
            Box::pin(std::future::ready(Ok(())))
        }

        fn find<'a>(&'a self, question: &'a str) -> Later<'a, Option<Vec<u8>>> {
            assert!(question.len() <= QUESTION && !question.contains('/'), "{question}");
            Box::pin(std::future::ready(self.0.lock().get(question).cloned()))
        }
    }

    #[tokio::test]
    async fn another_server_gives_the_answer_too() {
        let (one, other, board) =
            (Challenges::default(), Challenges::default(), Arc::new(Board::default()));
        one.share(board.clone());
        other.share(board);
        let _http = one.answer_http("a-b_c", "abc.thumb").await.unwrap();
        assert_eq!(other.token("a-b_c").await.as_deref(), Some("abc.thumb"));
        let _tls = one.answer_tls("x.test", &[7; 32]).await.unwrap();
        assert!(other.may_be_asked());
        assert!(other.certificate("X.test").await.is_some());
        for token in ["abd", "", "../x", &"x".repeat(300)] {
            assert_eq!(other.token(token).await, None);
        }
        assert!(other.certificate("y.test").await.is_none());
    }
}
