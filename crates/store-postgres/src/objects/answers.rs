//! What is asked of the object store, what it answers, and what its refusals mean.

use super::{
    ListedObject,
    settings::Bucket,
    signature::{self, SigningKey, Unsigned},
};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use posta_store::StoreError;
use quick_xml::{Reader, events::Event};
use std::fmt::Display;

/// The most octets of an answer that brings neither an object nor a list.
const WORDS: usize = 64 * 1024;

/// The most characters of the store's own words in an error.
const QUOTED: usize = 200;

/// A request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The path, encoded.
    path: String,
    /// The query, in the order of names.
    query: Vec<(&'static str, String)>,
    /// The path and the query.
    pub(super) target: String,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// The most octets of the answer.
    pub(super) most: usize,
}

impl Call {
    /// Returns a request about an object of a bucket; about the bucket itself for an empty name.
    pub(super) fn new(method: Method, bucket: &Bucket, key: &str) -> Self {
        let path = format!("{}/{}", bucket.path, signature::path(key));
        let fields = vec![("host", bucket.authority.clone())];
        let (query, target) = (Vec::new(), path.clone());
        Self { method, path, query, target, fields, body: Bytes::new(), most: WORDS }
    }

    pub(super) fn with(mut self, field: &'static str, value: &str) -> Self {
        self.fields.push((field, value.to_owned()));
        self
    }

    pub(super) fn with_query(mut self, query: Vec<(&'static str, String)>) -> Self {
        self.query = query;
        self
    }

    pub(super) fn with_body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    pub(super) const fn with_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }
}

impl Call {
    /// Signs the request as it is now. A signature is good for 15 minutes.
    pub(super) fn sign(mut self, key: &SigningKey, now: Timestamp) -> Self {
        let query: Vec<_> = self.query.iter().map(|(name, value)| (*name, &value[..])).collect();
        let unsigned = Unsigned {
            method: self.method.as_str(),
            path: &self.path,
            query: &query,
            fields: &self.fields,
            body: &self.body,
        };
        let signed = signature::sign(&unsigned, key, now);
        if !query.is_empty() {
            self.target = format!("{}?{}", self.path, signature::query(&query));
        }
        self.fields.extend(signed);
        self
    }
}

/// What the store answered.
#[derive(Debug)]
pub(super) struct S3Answer {
    pub(super) status: StatusCode,
    /// The number of octets of the object.
    pub(super) length: Option<u64>,
    /// The SHA-256 of the object, if the store knows it.
    pub(super) checksum: Option<String>,
    /// The time by the store's clock.
    pub(super) date: Option<Timestamp>,
    pub(super) body: Bytes,
}

/// Why a request had no success.
#[derive(Debug, thiserror::Error)]
pub(super) enum ObjectFault {
    /// The store is away or overloaded.
    #[error("{0}")]
    Away(String),
    /// It refuses, or there is no such bucket.
    #[error("{0}")]
    Refused(String),
    /// It did not keep what it acknowledged.
    #[error("{0}")]
    Lost(String),
    /// The system failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ObjectFault {
    pub(super) const fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

impl S3Answer {
    /// Returns whether the same request may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        let is_busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        // 409 answers a PUT that meets another under the same name, which can only be an earlier attempt of its own.
        self.status.is_server_error()
            || is_busy.contains(&self.status)
            || self.status == StatusCode::CONFLICT
    }

    /// Returns the code of the error, such as `AccessDenied`; empty if there is none.
    pub(super) fn code(&self) -> &str {
        self.element("Code")
    }

    fn element(&self, name: &str) -> &str {
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let inner = text.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
        inner.map_or("", |(inner, _)| inner)
    }

    /// Returns the answer in words.
    pub(super) fn words(&self) -> String {
        let message: String = self.element("Message").chars().take(QUOTED).collect();
        let code: String = self.code().chars().take(QUOTED).collect();
        let status = self.status.as_u16();
        match (code.is_empty(), message.is_empty()) {
            (true, _) => format!("it answered {status}"),
            (false, true) => format!("it answered {status} {code}"),
            (false, false) => format!("it answered {status} {code} ({message})"),
        }
    }

    /// Checks that the request succeeded. The error says what has to be changed.
    pub(super) fn expect_success(&self, bucket: &Bucket) -> Result<(), ObjectFault> {
        if self.status.is_success() {
            return Ok(());
        }
        let (said, bucket) = (self.words(), &bucket.name);
        let cure: &dyn Display = match (self.status.as_u16(), self.code()) {
            (_, "NoSuchBucket") => &"make the bucket, or correct [store.objects] bucket",
            (_, "InvalidAccessKeyId") => &"correct [store.objects] key-id",
            (_, "SignatureDoesNotMatch") => {
                &"correct the secret in the file that [store.objects] secret-file names, or region"
            }
            (_, "RequestTimeTooSkewed" | "AuthorizationQueryParametersError") => {
                &"set this server's clock (NTP), and see whether [store.objects] region is right"
            }
            (301 | 307, _) | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed") => {
                &"the bucket is in another region: correct [store.objects] region and endpoint"
            }
            (404, _) => &"correct [store.objects] endpoint and bucket",
            (403, _) => {
                &"the key must have the right to put, get, delete and list objects of the bucket"
            }
            _ => &"see whether [store.objects] is right",
        };
        Err(ObjectFault::Refused(format!(
            "the object store refuses the bucket {bucket}: {said}; {cure}"
        )))
    }
}

/// Reads a list. Names that do not begin with the prefix are left out. None has an octet that XML would write otherwise.
pub(super) fn listed(body: &[u8], prefix: &str) -> Result<Vec<ListedObject>, ObjectFault> {
    let unreadable = |error: &dyn Display| {
        ObjectFault::Refused(format!("the object store's list of objects cannot be read: {error}"))
    };
    let mut reader = Reader::from_reader(body);
    let (mut listed, mut element) = (Vec::new(), String::new());
    let (mut key, mut modified) = (String::new(), String::new());
    let mut is_list = false;
    loop {
        match reader.read_event().map_err(|error| unreadable(&error))? {
            Event::Start(start) => {
                element = start.local_name().as_ref().to_owned();
                is_list |= element == "ListBucketResult";
            }
            Event::Text(text) => {
                let text = text.xml10_content();
                match &element[..] {
                    "Key" => key.push_str(&text),
                    "LastModified" => modified.push_str(&text),
                    _ => {}
                }
            }
            Event::End(end) => {
                element.clear();
                if end.local_name().as_ref() == "Contents" {
                    let (key, modified) = (std::mem::take(&mut key), std::mem::take(&mut modified));
                    if key.starts_with(prefix) {
                        listed.push(ListedObject { key, modified });
                    }
                }
            }
            Event::Eof if is_list => return Ok(listed),
            Event::Eof => return Err(unreadable(&"it is none")),
            _ => {}
        }
    }
}

/// Returns octets in base64, as header fields have checksums.
pub(super) fn base64(octets: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> S3Answer {
        S3Answer {
            status: StatusCode::from_u16(status).unwrap(),
            length: None,
            checksum: None,
            date: None,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn a_refusal_says_what_to_change() {
        let settings = super::super::ObjectSettings::new("http://127.0.0.1:1", "mail", "r");
        let bucket = settings.bucket().unwrap();
        for (status, body, words) in [
            (404, "<Error><Code>NoSuchBucket</Code></Error>", "make the bucket"),
            (403, "<Error><Code>InvalidAccessKeyId</Code></Error>", "key-id"),
            (403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", "secret-file"),
            (403, "<Code>RequestTimeTooSkewed</Code>", "clock"),
            (
                403,
                "<Code>AccessDenied</Code><Message>no</Message>",
                "403 AccessDenied (no); the key must",
            ),
            (301, "<Code>PermanentRedirect</Code>", "another region"),
            (400, "rubbish", "it answered 400; see whether"),
        ] {
            let refused = answer(status, body).expect_success(&bucket).unwrap_err().to_string();
            assert!(refused.contains(words) && refused.contains("mail"), "{refused}");
        }
        assert!(answer(200, "").expect_success(&bucket).is_ok());
    }

    #[test]
    fn what_may_pass_is_told_from_what_stays() {
        for status in [500, 502, 503, 504, 429, 408, 409] {
            assert!(answer(status, "").is_passing(), "{status}");
        }
        for status in [200, 301, 400, 403, 404, 412] {
            assert!(!answer(status, "").is_passing(), "{status}");
        }
    }

    #[test]
    fn a_list_is_read() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
            <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>mail</Name>\
            <Contents><Key>posta-x/1</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>\
            <Contents><Key>other/2</Key></Contents><IsTruncated>false</IsTruncated></ListBucketResult>";
        let listed = listed(text.as_bytes(), "posta-x/").unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].key, "posta-x/1");
        assert_eq!(listed[0].modified, "2026-01-02T03:04:05.000Z");
        assert!(super::listed(b"<html>", "posta-x/").is_err());
    }
}
