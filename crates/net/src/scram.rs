//! SCRAM-SHA-256, both sides (RFC 5802, RFC 7677): the client proves that it knows the password without sending
//! it, and the server proves that it knows the account.
//!
//! The server's side is [`ClientFirst`] and [`ScramExchange`], for `login/sasl`; the client's is [`ScramClient`],
//! for [`client_session`](crate::client_session).

use crate::clock::Clock;
use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_mail::Secret;
use std::{fmt, num::NonZeroU32, str::FromStr};

/// The number of PBKDF2 rounds. RFC 7677 §4 requires at least 4,096. This number costs a client about
/// ten milliseconds at each login, and a thief of the store the same time for each guess.
const ROUNDS: u32 = 100_000;

const SALT: usize = 16;
const HASH: usize = 32;
const NONCE: usize = 18;

/// The data for checking a client's proof, stored as `SCRAM-SHA-256$ROUNDS:SALT$STORED:SERVER` (RFC
/// 5803).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    rounds: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Verifier {
    /// Returns the verifier of a password, with a new salt.
    #[must_use]
    pub fn new(password: &[u8], clock: &dyn Clock) -> Self {
        let mut salt = [0; SALT];
        clock.random(&mut salt);
        Self::salted(password, salt.to_vec(), ROUNDS)
    }

    /// Returns the verifier of another password of the same account, with the same salt: the server names the salt
    /// before it knows which of the passwords the client has.
    #[must_use]
    pub fn of_other_password(&self, password: &[u8]) -> Self {
        Self::salted(password, self.salt.clone(), self.rounds)
    }

    fn salted(password: &[u8], salt: Vec<u8>, rounds: u32) -> Self {
        let mut salted = [0; HASH];
        let times = NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, times, &salt, password, &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key).as_ref().to_vec();
        let server_key = sign(&salted, b"Server Key");
        Self { rounds, salt, stored_key, server_key }
    }

    /// Returns whether a client can prove that it has either password in answer to one challenge.
    #[must_use]
    pub fn has_salt_of(&self, other: &Self) -> bool {
        (self.rounds, &self.salt) == (other.rounds, &other.salt)
    }

    /// Returns a verifier for an account that does not exist. It cannot be told apart from a real one,
    /// and no proof matches it. The same `octets` give the same salt.
    #[must_use]
    pub fn decoy(octets: &[u8]) -> Self {
        let salt = octets.iter().copied().take(SALT).collect();
        Self { rounds: ROUNDS, salt, stored_key: vec![0; HASH], server_key: vec![0; HASH] }
    }

    /// Returns a verifier with the same salt that no proof matches.
    #[must_use]
    pub fn without_keys(&self) -> Self {
        let (stored_key, server_key) = (vec![0; HASH], vec![0; HASH]);
        Self { rounds: self.rounds, salt: self.salt.clone(), stored_key, server_key }
    }
}

impl Verifier {
    /// Returns whether a proof shows that the client has the password (RFC 5802 §3).
    fn fits(&self, proof: &[u8], signed: &[u8]) -> bool {
        let mut client_key = proof.to_vec();
        let signature = sign(&self.stored_key, signed);
        client_key.iter_mut().zip(signature).for_each(|(key, octet)| *key ^= octet);
        let stored = digest::digest(&digest::SHA256, &client_key);
        constant_time::verify_slices_are_equal(stored.as_ref(), &self.stored_key).is_ok()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, salt, stored_key, server_key } = self;
        let text = |octets: &[u8]| BASE64.encode(octets);
        let (salt, stored, server) = (text(salt), text(stored_key), text(server_key));
        write!(f, "SCRAM-SHA-256${rounds}:{salt}${stored}:{server}")
    }
}

impl FromStr for Verifier {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '$');
        let (name, salted, keys) = (parts.next(), parts.next(), parts.next());
        let (rounds, salt) = salted.and_then(|part| part.split_once(':')).ok_or(())?;
        let (stored, server) = keys.and_then(|part| part.split_once(':')).ok_or(())?;
        let octets = |text| BASE64.decode(text).map_err(|_| ());
        if name != Some("SCRAM-SHA-256") {
            return Err(());
        }
        Ok(Self {
            rounds: rounds.parse().map_err(|_| ())?,
            salt: octets(salt)?,
            stored_key: octets(stored)?,
            server_key: octets(server)?,
        })
    }
}

/// The bindings to the TLS connection among which a client may choose.
#[derive(Debug, Clone, Default)]
pub struct ChannelBindings {
    /// `tls-exporter` (RFC 9266).
    pub exporter: Option<Vec<u8>>,
    /// `tls-server-end-point` (RFC 5929 §4).
    pub server_end_point: Option<Vec<u8>>,
}

impl ChannelBindings {
    /// Returns whether there is any binding.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.exporter.is_some() || self.server_end_point.is_some()
    }

    fn named(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_deref(),
            "tls-server-end-point" => self.server_end_point.as_deref(),
            _ => None,
        }
    }
}

/// The client's first message, parsed.
#[derive(Debug)]
pub struct ClientFirst {
    /// The account whose password the client has (authentication identity).
    pub name: String,
    /// The account to act as, if the client names one (authorization identity).
    pub authorization: Option<String>,
    /// The octets that the client must repeat in its last message: the GS2 header and the channel
    /// binding.
    binding: Vec<u8>,
    bare: String,
    nonce: String,
}

/// The server's side of an exchange after its first message.
#[derive(Debug)]
pub struct ScramExchange {
    /// The verifiers of the account's passwords, all with the same salt. At least one.
    verifiers: Vec<Verifier>,
    binding: Vec<u8>,
    nonce: String,
    /// The text that both sides sign, except for the client's last message.
    signed: String,
}

impl ClientFirst {
    /// Parses `gs2-header client-first-message-bare` (RFC 5802 §7). `plus` says whether the client chose
    /// SCRAM-SHA-256-PLUS, `is_offered` whether this server offers that on TLS connections. Returns `None` if
    /// the message is malformed or its binding impossible.
    #[must_use]
    pub fn parse(
        message: &[u8],
        plus: bool,
        bindings: &ChannelBindings,
        is_offered: bool,
    ) -> Option<Self> {
        let text = str::from_utf8(message).ok()?;
        let mut parts = text.splitn(3, ',');
        let (flag, authorization, bare) = (parts.next()?, parts.next()?, parts.next()?);
        let channel: &[u8] = match (flag, plus) {
            ("n", false) => &[],
            // The client supports binding, but saw no offer of it. If this server made one, an attacker
            // in between has removed it (a downgrade attack, RFC 5802 §6).
            ("y", false) if !(is_offered && bindings.is_some()) => &[],
            (flag, true) => bindings.named(flag.strip_prefix("p=")?)?,
            _ => return None,
        };
        let header = format!("{flag},{authorization},");
        let mut fields = bare.split(',');
        let name = unescape(fields.next()?.strip_prefix("n=")?)?;
        let nonce = fields.next()?.strip_prefix("r=")?.to_owned();
        if nonce.is_empty() || !nonce.bytes().all(|octet| matches!(octet, b'!'..=b'~')) {
            return None;
        }
        let authorization = match authorization {
            "" => None,
            text => Some(unescape(text.strip_prefix("a=")?)?),
        };
        let binding = [header.as_bytes(), channel].concat();
        Some(Self { name, authorization, binding, bare: bare.to_owned(), nonce })
    }

    /// Returns the server's first message, and the exchange that the message begins.
    #[must_use]
    pub fn challenge(self, verifier: Verifier, clock: &dyn Clock) -> (Vec<u8>, ScramExchange) {
        let mut octets = [0; NONCE];
        clock.random(&mut octets);
        let nonce = self.nonce + &BASE64.encode(octets);
        let (salt, rounds) = (BASE64.encode(&verifier.salt), verifier.rounds);
        let first = format!("r={nonce},s={salt},i={rounds}");
        let signed = format!("{},{first}", self.bare);
        let verifiers = vec![verifier];
        (first.into_bytes(), ScramExchange { verifiers, binding: self.binding, nonce, signed })
    }
}

impl ScramExchange {
    /// Adds the verifiers of further passwords, as far as their salt is that of the first.
    #[must_use]
    pub fn with_others(mut self, others: impl IntoIterator<Item = Verifier>) -> Self {
        self.verifiers.extend(others);
        self
    }

    /// Checks the client's last message. If its proof is good, returns the position of the verifier that it fits, and
    /// the server's last message, which proves to the client that the server knows the account.
    #[must_use]
    pub fn verify(&self, message: &[u8]) -> Option<(usize, Vec<u8>)> {
        let text = str::from_utf8(message).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let binding = BASE64.decode(fields.next()?.strip_prefix("c=")?).ok()?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        if binding != self.binding || nonce != self.nonce {
            return None;
        }
        let signed = format!("{},{without_proof}", self.signed);
        let proof = BASE64.decode(proof).ok().filter(|proof| proof.len() == HASH)?;
        let fits = |verifier: &Verifier| verifier.fits(&proof, signed.as_bytes());
        let position = self.verifiers.iter().position(fits)?;
        let ours = BASE64.encode(sign(&self.verifiers[position].server_key, signed.as_bytes()));
        Some((position, format!("v={ours}").into_bytes()))
    }
}

/// The client's side of an exchange: it proves that it knows the password, and checks that the server knows the
/// account.
#[derive(Debug)]
pub struct ScramClient {
    password: Secret,
    /// The GS2 header and the channel binding.
    binding: Vec<u8>,
    bare: String,
    /// The signature that the server must send, once the client has sent its proof.
    expected: Option<Vec<u8>>,
    is_mutual: bool,
}

/// The maximal number of PBKDF2 rounds that a server may ask for: a hostile server could ask for
/// billions.
const MOST_ROUNDS: u32 = 1_000_000;

impl ScramClient {
    /// Begins an exchange, bound to the TLS connection if its `tls-exporter` (RFC 9266) is given.
    /// Returns the exchange and the client's first message.
    #[must_use]
    pub fn new(
        name: &str,
        password: Secret,
        exporter: Option<&[u8]>,
        clock: &dyn Clock,
    ) -> (Vec<u8>, Self) {
        let mut octets = [0; NONCE];
        clock.random(&mut octets);
        let name = name.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={name},r={}", BASE64.encode(octets));
        let header = if exporter.is_some() { "p=tls-exporter,," } else { "n,," };
        let first = format!("{header}{bare}").into_bytes();
        let binding = [header.as_bytes(), exporter.unwrap_or_default()].concat();
        (first, Self { password, binding, bare, expected: None, is_mutual: false })
    }

    /// Returns the response to a challenge; `None` if it is malformed, asks for too many rounds, or fails to
    /// prove that the server knows the account.
    pub fn respond(&mut self, challenge: &[u8]) -> Option<Vec<u8>> {
        let text = str::from_utf8(challenge).ok()?;
        if let Some(expected) = &self.expected {
            let signature = BASE64.decode(text.strip_prefix("v=")?).ok()?;
            constant_time::verify_slices_are_equal(&signature, expected).ok()?;
            self.is_mutual = true;
            return Some(Vec::new());
        }
        let mut fields = text.split(',');
        let nonce = fields.next()?.strip_prefix("r=")?;
        let salt = BASE64.decode(fields.next()?.strip_prefix("s=")?).ok()?;
        let rounds: NonZeroU32 = fields.next()?.strip_prefix("i=")?.parse().ok()?;
        let (_, ours) = self.bare.split_once(",r=")?;
        if !nonce.starts_with(ours) || nonce.len() == ours.len() || rounds.get() > MOST_ROUNDS {
            return None;
        }
        let mut salted = [0; HASH];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, rounds, &salt, self.password.expose(), &mut salted);
        let mut proof = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &proof);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(&self.binding));
        let signed = format!("{},{text},{without_proof}", self.bare);
        let signature = sign(stored_key.as_ref(), signed.as_bytes());
        proof.iter_mut().zip(signature).for_each(|(key, octet)| *key ^= octet);
        let server_key = sign(&salted, b"Server Key");
        self.expected = Some(sign(&server_key, signed.as_bytes()));
        Some(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Returns whether the server has proved that it knows the account.
    #[must_use]
    pub const fn is_mutual(&self) -> bool {
        self.is_mutual
    }
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// Decodes a name: `=2C` is a comma, `=3D` an equals sign, and any other `=` is an error (RFC 5802 §5.1).
fn unescape(name: &str) -> Option<String> {
    let plain = name.replace("=2C", ",").replace("=3D", "\u{0}");
    (!plain.contains('=')).then(|| plain.replace('\u{0}', "="))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677 §3.
    #[test]
    fn the_example_of_the_rfc() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let mut salted = [0; HASH];
        let rounds = NonZeroU32::new(4096).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, b"pencil", &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let verifier = Verifier {
            rounds: 4096,
            salt,
            stored_key: digest::digest(&digest::SHA256, &client_key).as_ref().to_vec(),
            server_key: sign(&salted, b"Server Key"),
        };
        assert_eq!(verifier.to_string().parse(), Ok(verifier.clone()));
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let challenge = ScramExchange {
            signed: format!(
                "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
            ),
            verifiers: vec![verifier],
            binding: b"n,,".to_vec(),
            nonce: nonce.to_owned(),
        };
        let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let (position, ours) = challenge.verify(last.as_bytes()).unwrap();
        assert_eq!(position, 0);
        assert_eq!(ours, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        for wrong in [
            last.replace("dHzb", "dHzc"),
            last.replace("biws", "eSws"),
            last.replace("k0,", "k1,"),
            last.replace(",p=", ",q="),
        ] {
            assert_eq!(challenge.verify(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn both_sides_understand_each_other() {
        use crate::clock::SimulatedClock;
        let clock = SimulatedClock::new(posta_mail::Timestamp::UNIX_EPOCH, 1);
        let verifier = Verifier::new(b"pencil", &clock);
        let bound = ChannelBindings { exporter: Some(b"channel".to_vec()), server_end_point: None };
        for (exporter, password, good) in
            [(None, "pencil", true), (Some(&b"channel"[..]), "pencil", true), (None, "pen", false)]
        {
            let secret = Secret::new(password.as_bytes());
            let (first, mut proof) = ScramClient::new("a,b=c", secret, exporter, &clock);
            let first = ClientFirst::parse(&first, exporter.is_some(), &bound, false).unwrap();
            assert_eq!(first.name, "a,b=c");
            let (challenge, exchange) = first.challenge(verifier.clone(), &clock);
            let last = proof.respond(&challenge).unwrap();
            let signature = exchange.verify(&last);
            assert_eq!(signature.is_some(), good);
            if let Some((_, signature)) = signature {
                assert_eq!(proof.respond(b"v=AAAA"), None, "a server that knows nothing");
                assert_eq!(proof.respond(&signature), Some(Vec::new()));
            }
        }
        let (_, mut proof) = ScramClient::new("a", Secret::new(b"x"), None, &clock);
        for challenge in ["r=other,s=AAAA,i=4096", "", "r=,s=,i=0", "v=AAAA"] {
            assert_eq!(proof.respond(challenge.as_bytes()), None, "{challenge}");
        }
    }

    /// A challenge names one salt, so the passwords of an account share it.
    #[test]
    fn one_of_several_passwords_is_proved() {
        use crate::clock::SimulatedClock;
        let clock = SimulatedClock::new(posta_mail::Timestamp::UNIX_EPOCH, 1);
        let own = Verifier::new(b"pencil", &clock);
        let others = [own.of_other_password(b"phone"), own.of_other_password(b"laptop")];
        assert!(others.iter().all(|other| other.has_salt_of(&own)));
        assert!(!Verifier::new(b"phone", &clock).has_salt_of(&own));
        for (password, position) in
            [("pencil", Some(0)), ("phone", Some(1)), ("laptop", Some(2)), ("pen", None)]
        {
            let secret = Secret::new(password.as_bytes());
            let (first, mut proof) = ScramClient::new("ana", secret, None, &clock);
            let none = ChannelBindings::default();
            let first = ClientFirst::parse(&first, false, &none, false).unwrap();
            let (challenge, exchange) = first.challenge(own.clone(), &clock);
            let exchange = exchange.with_others(others.clone());
            let verified = exchange.verify(&proof.respond(&challenge).unwrap());
            assert_eq!(verified.as_ref().map(|(position, _)| *position), position);
            if let Some((_, signature)) = verified {
                assert_eq!(proof.respond(&signature), Some(Vec::new()));
            }
        }
    }

    #[test]
    fn first_messages() {
        let none = ChannelBindings::default();
        let some = ChannelBindings { exporter: Some(b"channel".to_vec()), server_end_point: None };
        let parse = |text: &str, plus, bindings| {
            ClientFirst::parse(text.as_bytes(), plus, bindings, true)
                .map(|first| (first.name, first.binding))
        };
        assert_eq!(
            parse("n,,n=a=2Cb=3D,r=x", false, &none),
            Some(("a,b=".into(), b"n,,".to_vec()))
        );
        assert!(parse("n,a=b,n=a,r=x", false, &some).is_some());
        assert!(parse("y,,n=a,r=x", false, &none).is_some(), "in plaintext nothing is offered");
        let unannounced = ClientFirst::parse(b"y,,n=a,r=x", false, &some, false);
        assert!(unannounced.is_some(), "we made no offer that somebody could have taken away");
        let bound = parse("p=tls-exporter,,n=a,r=x", true, &some).unwrap();
        assert_eq!(bound.1, b"p=tls-exporter,,channel");
        for (text, plus, bindings, why) in [
            ("y,,n=a,r=x", false, &some, "the offer was taken away"),
            ("p=tls-exporter,,n=a,r=x", false, &some, "not the bound mechanism"),
            ("n,,n=a,r=x", true, &some, "the bound mechanism without binding"),
            ("p=tls-unique,,n=a,r=x", true, &some, "unknown binding"),
            ("n,,n=a=b,r=x", false, &none, "a bare equals sign"),
            ("n,,n=a,r=", false, &none, "no nonce"),
            ("n,,m=x,n=a,r=x", false, &none, "a mandatory extension"),
            ("", false, &none, "nothing"),
        ] {
            assert_eq!(parse(text, plus, bindings), None, "{why}");
        }
    }
}
