//! Signatures of requests to S3 (AWS Signature Version 4), which cover the method, the path, the query, the header fields
//! and the SHA-256 of the body. A store that is sent another body than was signed refuses it.
//!
//! This is our own, since all that it takes is HMAC and SHA-256, which aws-lc-rs has, and the examples of the
//! specification prove it. rusty-s3 0.11 signs without I/O too, but brings seven crates, a second jiff among them, and
//! leaves the body out of the signature. object_store 0.14 (`aws-base`) brings fourteen, among them chrono and a second
//! quick-xml, and with them retries and credentials that would have to be turned off: pieces are small, and what is to be
//! done while the store is away is this store's affair.

use aws_lc_rs::{digest, hmac};
use jiff::Timestamp;
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// The name of the algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The octets that stand for themselves in a path or a query (RFC 3986 §2.3).
const UNRESERVED: &[u8] = b"-._~";

/// A key, and where it is good.
#[derive(Clone)]
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) region: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is signed of a request.
#[derive(Debug)]
pub(super) struct Unsigned<'r> {
    pub(super) method: &'r str,
    /// The path, encoded.
    pub(super) path: &'r str,
    /// The query: names and values as they are, in the order of names.
    pub(super) query: &'r [(&'r str, &'r str)],
    /// The header fields: names in small letters, in any order. Host is among them.
    pub(super) fields: &'r [(&'static str, String)],
    pub(super) body: &'r [u8],
}

/// Returns the header fields that sign a request, and the time among them.
pub(super) fn sign(
    request: &Unsigned<'_>,
    key: &SigningKey,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let (time, day) =
        (now.strftime("%Y%m%dT%H%M%SZ").to_string(), now.strftime("%Y%m%d").to_string());
    let body = hex(digest::digest(&digest::SHA256, request.body).as_ref());
    let mut signed = vec![("x-amz-content-sha256", body.clone()), ("x-amz-date", time.clone())];

    let mut fields: Vec<_> = request.fields.iter().chain(&signed).collect();
    fields.sort_unstable();
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, query(request.query));
    for (name, value) in fields {
        let _ = writeln!(canonical, "{name}:{}", value.trim());
    }
    let _ = write!(canonical, "\n{names}\n{body}");

    let scope = format!("{day}/{}/s3/aws4_request", key.region);
    let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{canonical}");
    let secret = Zeroizing::new(format!("AWS4{}", *key.secret));
    let mut tag = mac(secret.as_bytes(), day.as_bytes());
    for part in [&key.region[..], "s3", "aws4_request", &to_sign] {
        tag = mac(tag.as_ref(), part.as_bytes());
    }
    let signature = hex(tag.as_ref());
    let id = &key.id;
    let words =
        format!("{ALGORITHM} Credential={id}/{scope},SignedHeaders={names},Signature={signature}");
    signed.push(("authorization", words));
    signed
}

/// Returns a query as it is sent and signed.
pub(super) fn query(parts: &[(&str, &str)]) -> String {
    let parts: Vec<_> = parts
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name, b""), encode(value, b"")))
        .collect();
    parts.join("&")
}

/// Returns a path as it is sent and signed.
pub(super) fn path(path: &str) -> String {
    encode(path, b"/")
}

/// Encodes all octets of a text but those that stand for themselves, and `kept`.
fn encode(text: &str, kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || UNRESERVED.contains(&octet) || kept.contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            let _ = write!(encoded, "%{octet:02X}");
        }
    }
    encoded
}

fn mac(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Amazon's specification ("Signature Calculations for the Authorization Header").
    #[test]
    fn the_examples_of_the_specification_are_signed_so() {
        let key = SigningKey {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            region: "us-east-1".to_owned(),
        };
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        let host = ("host", "examplebucket.s3.amazonaws.com".to_owned());
        let get = Unsigned {
            method: "GET",
            path: "/test.txt",
            query: &[],
            fields: &[host.clone(), ("range", "bytes=0-9".to_owned())],
            body: b"",
        };
        let put = Unsigned {
            method: "PUT",
            path: &path("/test$file.text"),
            query: &[],
            fields: &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()),
                host.clone(),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned()),
            ],
            body: b"Welcome to Amazon S3.",
        };
        let list = Unsigned {
            method: "GET",
            path: "/",
            query: &[("max-keys", "2"), ("prefix", "J")],
            fields: &[host],
            body: b"",
        };
        for (request, expected) in [
            (get, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            (put, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
            (list, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ] {
            let signed = sign(&request, &key, now);
            let (name, words) = signed.last().unwrap();
            assert_eq!(*name, "authorization");
            let signature = words.rsplit_once("Signature=").unwrap().1;
            assert_eq!(signature, expected, "{words}");
            assert!(words.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="
            ));
        }
        assert!(!format!("{key:?}").contains("wJalr"), "secrets are shown to nobody");
    }
}
