//! DKIM signatures (RFC 6376, with the algorithms of RFC 8301 and RFC 8463): verifying them as content
//! arrives, and making them.
//!
//! A signature covers fields of the header section and a hash of the body. The body is hashed while it
//! arrives ([`crate::observer`]); meanwhile, keys are looked up ([`Keys::look_up`]); and at the end,
//! [`verify()`] combines the two without waiting for anything. [`Signer`] makes signatures with a
//! [`KeyPair`].
//!
//! mail-auth 0.13 was examined for this and is not used. Its hasher counts `l=` before canonicalization
//! rather than after, and treats `l=0` and malformed numbers as no limit. It accepts repeated tags, keys
//! of services other than mail and of other hashes, and signatures that do not cover From.

mod algorithm;
mod canonical;
mod fold;
mod key;
mod key_pair;
mod known;
mod lookup;
mod sign;
mod signature;
mod tags;
mod verify;

pub use algorithm::{Algorithm, RSA_BITS};
pub use key::{DkimKey, KEY_RECORD, KeyError};
pub use key_pair::{KeyPair, KeyPairError};
pub use known::KnownKeys;
pub use lookup::{KEY_RECORDS, Keys};
pub use sign::Signer;
pub use signature::{SIGNED_NAMES, Signature, SignatureError};
pub use verify::{DkimResult, FoundSignature, SIGNATURES, Verified, found, verify};

pub(crate) use canonical::{add_relaxed, without_signature};
pub(crate) use fold::Folded;
pub(crate) use sign::{SIGNED_FIELDS, SIGNED_LIST_FIELDS, relaxed_hash};
pub(crate) use signature::{domain_value, signature_value};
pub(crate) use tags::Tags;
pub(crate) use verify::{SignatureFailure, check_signature, verify_hash};
