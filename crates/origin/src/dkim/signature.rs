//! The field that contains a signature (RFC 6376 §3.5), parsed into types.

use super::{
    Algorithm,
    tags::{TagError, Tags, WHITE_SPACE},
};
use crate::body::{BodyCover, Canonicalization};
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use posta_mail::Domain;

/// The maximal number of field names in `h=`. The longest lists of real signers have about fifty.
pub const SIGNED_NAMES: usize = 256;

/// The maximal number of octets of a signature: that of the longest RSA key that counts, 4,096 bits.
pub const SIGNATURE_OCTETS: usize = 512;

/// A signature as written in its field, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The algorithm (`a`).
    pub algorithm: Algorithm,
    /// The canonical form of the fields (the first part of `c`).
    pub header: Canonicalization,
    /// The covered part of the body, and its canonical form (`c`, `l`).
    pub body: BodyCover,
    /// The domain that takes responsibility for the message (`d`), in lower case and A-labels.
    pub domain: String,
    /// The selector, which names the key within the domain (`s`).
    pub selector: String,
    /// The user or agent for whom the domain signed (`i`); `@domain` if the field has none.
    pub identity: String,
    /// The names of the covered fields (`h`), in lower case and in their order.
    pub fields: Vec<String>,
    /// The hash of the body (`bh`).
    pub body_hash: Vec<u8>,
    /// The signature itself (`b`).
    pub signature: Vec<u8>,
    /// The time of signing, in seconds since 1970 (`t`).
    pub made: Option<u64>,
    /// The time of expiry, in seconds since 1970 (`x`).
    pub expires: Option<u64>,
}

/// The reason why a field contains no signature that can be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The field is not a list of tags.
    #[error("the signature is no list of tags: {0}")]
    Tags(&'static str),
    /// A required tag is missing.
    #[error("the signature lacks the tag {0}")]
    Missing(&'static str),
    /// A tag has an invalid value.
    #[error("the signature's tag {0} has no valid value")]
    Invalid(&'static str),
    /// A tag names an undefined version, algorithm, canonical form or method of looking up keys.
    #[error("the signature's tag {0} names something unknown")]
    Unknown(&'static str),
    /// The From field is not covered (RFC 6376 §5.4).
    #[error("the signature does not cover the From field")]
    FromUnsigned,
    /// More than [`SIGNED_NAMES`] fields are named.
    #[error("the signature names too many fields")]
    TooManyFields,
}

impl Signature {
    /// Parses the value of a `DKIM-Signature` field.
    ///
    /// # Errors
    /// When the value is not a signature, or is one that verifiers must ignore according to RFC 6376
    /// §6.1.1.
    pub fn parse(value: &[u8]) -> Result<Self, SignatureError> {
        let tags = Tags::parse(value).map_err(tag_error)?;
        match tags.get("v") {
            Some("1") => {}
            Some(_) => return Err(SignatureError::Unknown("v")),
            None => return Err(SignatureError::Missing("v")),
        }
        let domain = domain_value(required(&tags, "d")?).ok_or(SignatureError::Invalid("d"))?;
        let identity = match tags.get("i") {
            Some(identity) => identity_within(identity, &domain)?,
            None => format!("@{domain}"),
        };
        let signature = Self { identity, domain, ..Self::common(&tags)? };
        if !signature.fields.iter().any(|name| name == "from") {
            return Err(SignatureError::FromUnsigned);
        }
        Ok(signature)
    }

    /// Parses the value of an `ARC-Message-Signature` field (RFC 8617 §4.1.2), which has the same tags
    /// without a version, and a different `i`.
    pub(crate) fn parse_arc(tags: &Tags<'_>) -> Result<Self, SignatureError> {
        let domain = domain_value(required(tags, "d")?).ok_or(SignatureError::Invalid("d"))?;
        Ok(Self { identity: String::new(), domain, ..Self::common(tags)? })
    }

    /// Parses the tags that both kinds of signature share.
    fn common(tags: &Tags<'_>) -> Result<Self, SignatureError> {
        let algorithm = required(tags, "a")?;
        let (header, body) = canonicalizations(tags.get("c").unwrap_or("simple/simple"))?;
        let selector = domain_value(required(tags, "s")?).ok_or(SignatureError::Invalid("s"))?;
        let (made, expires) = (optional_number(tags, "t")?, optional_number(tags, "x")?);
        // RFC 6376 §3.5: x must be greater than t.
        if expires.is_some_and(|expires| made.is_some_and(|made| made >= expires)) {
            return Err(SignatureError::Invalid("x"));
        }
        let is_dns =
            |method: &str| method.trim_matches(WHITE_SPACE).eq_ignore_ascii_case("dns/txt");
        if tags.get("q").is_some_and(|methods| !methods.split(':').any(is_dns)) {
            return Err(SignatureError::Unknown("q"));
        }
        let algorithm = Algorithm::named(algorithm).ok_or(SignatureError::Unknown("a"))?;
        let hash = base64_value(required(tags, "bh")?);
        let hash = hash.filter(|octets| octets.len() == algorithm.hash_octets());
        Ok(Self {
            algorithm,
            header,
            body: BodyCover { canonicalization: body, length: optional_number(tags, "l")? },
            domain: String::new(),
            selector,
            identity: String::new(),
            fields: field_names(required(tags, "h")?)?,
            body_hash: hash.ok_or(SignatureError::Invalid("bh"))?,
            signature: signature_value(required(tags, "b")?)?,
            made,
            expires,
        })
    }

    /// Returns the name of the DNS record with the key (RFC 6376 §3.6.2.1).
    #[must_use]
    pub fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// Returns the domain of the identity.
    #[must_use]
    pub fn identity_domain(&self) -> &str {
        self.identity.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

fn required<'a>(tags: &Tags<'a>, name: &'static str) -> Result<&'a str, SignatureError> {
    tags.get(name).ok_or(SignatureError::Missing(name))
}

fn tag_error(error: TagError) -> SignatureError {
    SignatureError::Tags(match error {
        TagError::Malformed => "one is not of the form name=value",
        TagError::Repeated => "one appears twice",
        TagError::TooMany => "there are too many",
    })
}

/// Returns a domain or selector in lower case and A-labels (RFC 8616 §4). Labels may contain
/// underscores, as some selectors do.
pub(crate) fn domain_value(text: &str) -> Option<String> {
    let text = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        text.parse::<Domain>().ok()?.as_str().to_owned()
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    // RFC 1035 §2.3.4, as text.
    (text.len() <= 253 && text.split('.').all(is_label)).then_some(text)
}

/// Decodes base64 that may be folded anywhere.
pub(crate) fn base64_value(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let is_space = |octet: u8| b" \t\r\n".contains(&octet);
    if !text.bytes().any(is_space) {
        return LENIENT.decode(text).ok();
    }
    let text: Vec<u8> = text.bytes().filter(|octet| !is_space(*octet)).collect();
    LENIENT.decode(text).ok()
}

/// Decodes `b`, which has at most [`SIGNATURE_OCTETS`].
pub(crate) fn signature_value(text: &str) -> Result<Vec<u8>, SignatureError> {
    let octets = base64_value(text).filter(|it| (1..=SIGNATURE_OCTETS).contains(&it.len()));
    octets.ok_or(SignatureError::Invalid("b"))
}

/// Parses a number of at most 18 digits: the values of `t` and `x` have at most twelve (RFC 6376 §3.5).
pub(crate) fn number(text: &str) -> Option<u64> {
    let is_number =
        (1..=18).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn optional_number(tags: &Tags<'_>, name: &'static str) -> Result<Option<u64>, SignatureError> {
    tags.get(name).map(|text| number(text).ok_or(SignatureError::Invalid(name))).transpose()
}

/// Parses `c`: the canonical form of the header, and that of the body, which is simple by default (RFC
/// 6376 §3.5).
fn canonicalizations(text: &str) -> Result<(Canonicalization, Canonicalization), SignatureError> {
    let (header, body) = text.split_once('/').unwrap_or((text, "simple"));
    let read = |name: &str| {
        let known = [Canonicalization::Simple, Canonicalization::Relaxed];
        known
            .into_iter()
            .find(|known| name.trim_matches(WHITE_SPACE).eq_ignore_ascii_case(known.name()))
            .ok_or(SignatureError::Unknown("c"))
    };
    Ok((read(header)?, read(body)?))
}

fn field_names(text: &str) -> Result<Vec<String>, SignatureError> {
    let mut names = Vec::new();
    for name in text.split(':').map(|name| name.trim_matches(WHITE_SPACE)) {
        if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(SignatureError::Invalid("h"));
        }
        if names.len() == SIGNED_NAMES {
            return Err(SignatureError::TooManyFields);
        }
        names.push(name.to_ascii_lowercase());
    }
    Ok(names)
}

/// Parses `i`, whose domain must be that of the signature or a subdomain (RFC 6376 §3.5).
fn identity_within(text: &str, domain: &str) -> Result<String, SignatureError> {
    let decoded = quoted_printable(text).ok_or(SignatureError::Invalid("i"))?;
    let (local, within) = decoded.rsplit_once('@').ok_or(SignatureError::Invalid("i"))?;
    let within = domain_value(within).ok_or(SignatureError::Invalid("i"))?;
    let is_within =
        within.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    is_within.then(|| format!("{local}@{within}")).ok_or(SignatureError::Invalid("i"))
}

/// Decodes `dkim-quoted-printable` (RFC 6376 §2.11), in which white space has no meaning.
fn quoted_printable(text: &str) -> Option<String> {
    let mut octets = text.bytes().filter(|octet| !b" \t\r\n".contains(octet));
    let mut decoded = Vec::new();
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'=' => {
                let digits = [octets.next()?, octets.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.contains(char::is_control)).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = " v=1; a=rsa-sha256; d=x.test; s=sel; h=From; bh=ISEhISEhISEhISEhISEhISEhISEhISEhISEhISEhISE=; b=Yg==";

    const HASH: &str = "bh=ISEhISEhISEhISEhISEhISEhISEhISEhISEhISEhISE=;";

    fn with(tags: &str) -> Result<Signature, SignatureError> {
        Signature::parse(format!("{MINIMAL}; {tags}").as_bytes())
    }

    fn replaced(from: &str, to: &str) -> Result<Signature, SignatureError> {
        assert!(MINIMAL.contains(from));
        Signature::parse(MINIMAL.replace(from, to).as_bytes())
    }

    #[test]
    fn defaults() {
        let signature = Signature::parse(MINIMAL.as_bytes()).unwrap();
        assert_eq!((signature.header, signature.body.canonicalization), Default::default());
        assert_eq!((signature.body.length, signature.made, signature.expires), (None, None, None));
        assert_eq!(signature.identity, "@x.test");
        assert_eq!(signature.key_name(), "sel._domainkey.x.test");
    }

    #[test]
    fn values() {
        let signature = with(
            "c=relaxed / simple; l=0; t=5; x=6; q = x/y : dns/txt; i=J=C3=B6 e=20\r\n\t@A.X.test; z=From:a",
        )
        .unwrap();
        assert_eq!(signature.header, Canonicalization::Relaxed);
        assert_eq!(
            signature.body,
            BodyCover { canonicalization: Canonicalization::Simple, length: Some(0) }
        );
        assert_eq!((signature.made, signature.expires), (Some(5), Some(6)));
        assert_eq!(signature.identity, "Jöe @a.x.test");
        assert_eq!(signature.identity_domain(), "a.x.test");
        assert_eq!(with("c=relaxed").unwrap().body.canonicalization, Canonicalization::Simple);
        let signature = replaced("h=From", "h=From :\r\n\tTO:to").unwrap();
        assert_eq!(signature.fields, ["from", "to", "to"]);
        assert_eq!(replaced("d=x.test", "d=Bücher.Test").unwrap().domain, "xn--bcher-kva.test");
        assert_eq!(replaced("ISE=;", "I\r\n\tSE =;").unwrap().body_hash, [b'!'; 32]);
    }

    #[test]
    fn what_cannot_be_verified() {
        use SignatureError::{FromUnsigned, Invalid, Missing, Tags, Unknown};
        for (from, to, error) in [
            ("v=1;", "", Missing("v")),
            ("v=1;", "v=2;", Unknown("v")),
            ("a=rsa-sha256;", "", Missing("a")),
            ("a=rsa-sha256;", "a=rsa-sha512;", Unknown("a")),
            ("d=x.test;", "", Missing("d")),
            ("d=x.test;", "d=x..test;", Invalid("d")),
            ("d=x.test;", "d=x test;", Invalid("d")),
            ("s=sel;", "", Missing("s")),
            ("s=sel;", "s=;", Invalid("s")),
            ("h=From;", "", Missing("h")),
            ("h=From;", "h=;", Invalid("h")),
            ("h=From;", "h=From:;", Invalid("h")),
            ("h=From;", "h=To:Sender;", FromUnsigned),
            (HASH, "", Missing("bh")),
            (HASH, "bh=;", Invalid("bh")),
            (HASH, "bh=YQ==;", Invalid("bh")),
            ("rsa-sha256", "rsa-sha1", Invalid("bh")),
            ("b=Yg==", "b=", Invalid("b")),
            ("b=Yg==", "b=Y!==", Invalid("b")),
            ("b=Yg==", "b=Yg==; d=x.test", Tags("one appears twice")),
        ] {
            assert_eq!(replaced(from, to).err(), Some(error), "{to}");
        }
        for (tags, error) in [
            ("c=nowsp", Unknown("c")),
            ("c=relaxed/relaxed/relaxed", Unknown("c")),
            ("l=-1", Invalid("l")),
            ("l=", Invalid("l")),
            ("l=9999999999999999999", Invalid("l")),
            ("t=now", Invalid("t")),
            ("t=6; x=6", Invalid("x")),
            ("q=http", Unknown("q")),
            ("i=joe", Invalid("i")),
            ("i=@test", Invalid("i")),
            ("i=@ax.test", Invalid("i")),
            ("i=a=0D=0A@x.test", Invalid("i")),
            ("i=a=4@x.test", Invalid("i")),
        ] {
            assert_eq!(with(tags).err(), Some(error), "{tags}");
        }
    }

    #[test]
    fn signatures_are_bounded() {
        let octets = |count: usize| {
            let b = ["; b=".to_owned(), "A".repeat((count * 4).div_ceil(3))].concat();
            replaced("; b=Yg==", &b)
        };
        assert_eq!(octets(SIGNATURE_OCTETS).unwrap().signature.len(), SIGNATURE_OCTETS);
        assert_eq!(octets(SIGNATURE_OCTETS + 1).err(), Some(SignatureError::Invalid("b")));
        let sha1 = MINIMAL.replace("rsa-sha256", "rsa-sha1");
        let sha1 = sha1.replace(HASH, "bh=ISEhISEhISEhISEhISEhISEhISE=;");
        assert_eq!(Signature::parse(sha1.as_bytes()).unwrap().body_hash.len(), 20);
    }

    #[test]
    fn names_are_bounded() {
        let names = |count: usize| replaced("h=From", &["h=From", &":a".repeat(count)].concat());
        assert!(names(SIGNED_NAMES - 1).is_ok());
        assert_eq!(names(SIGNED_NAMES).err(), Some(SignatureError::TooManyFields));
    }
}
