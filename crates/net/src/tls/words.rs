//! TLS errors in words for people. The library's own messages are names from its code and links to its
//! manual.
//!
//! Both sides wrap their streams in [`InWords`], so every error that a session sees has such words.

use crate::tls::{failure::TlsFailure, fault::CertificateFault};
use rustls::{AlertDescription, CertificateError, Error};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The message for a port that speaks plaintext.
const NOT_TLS: &str = "what it sent is not TLS";

/// A failure of TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The other side's certificate is faulty.
    #[error(transparent)]
    Certificate(CertificateFault),
    /// Something else, in words.
    #[error("{0}")]
    Other(&'static str),
}

/// Returns the name of an error in TLS reports (RFC 8460 §4.3).
pub fn failure(error: &io::Error) -> TlsFailure {
    match fault(error) {
        Some(TlsFault::Certificate(fault)) => fault.failure(),
        _ => TlsFailure::ValidationFailure,
    }
}

/// Returns the TLS fault behind an error, if it is one.
pub fn fault(error: &io::Error) -> Option<&TlsFault> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Returns whether an error is due to the other side's certificate.
pub fn is_certificate_fault(error: &io::Error) -> bool {
    matches!(fault(error), Some(TlsFault::Certificate(_)))
}

/// Returns whether an error means that the other side speaks plaintext.
pub fn is_plaintext(error: &io::Error) -> bool {
    matches!(fault(error), Some(TlsFault::Other(NOT_TLS)))
}

/// Returns an error of the library in words for people, and any other error unchanged.
pub fn in_words(error: io::Error) -> io::Error {
    let kind = error.kind();
    let fault = match error.get_ref() {
        Some(inner) if let Some(error) = inner.downcast_ref() => tls_fault(error),
        // The library's own message is mainly a link to its manual.
        Some(inner) if kind == io::ErrorKind::UnexpectedEof && !inner.is::<TlsFault>() => {
            TlsFault::Other("the connection was closed in the middle of TLS")
        }
        _ => return error,
    };
    io::Error::new(kind, fault)
}

fn tls_fault(error: &Error) -> TlsFault {
    TlsFault::Other(match error {
        Error::InvalidCertificate(why) => return TlsFault::Certificate(certificate_fault(why)),
        Error::AlertReceived(alert) => alert_in_words(*alert),
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerSentOversizedRecord => NOT_TLS,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => {
            "it has no version or cipher suite of TLS in common with this side"
        }
        Error::PeerMisbehaved(_) => "it breaks the rules of TLS",
        Error::NoCertificatesPresented => "it shows no certificate",
        Error::DecryptError => "what it sent cannot be decrypted",
        _ => "TLS failed",
    })
}

/// Returns the fault that our own verifier found, or the one that the library found in a signature.
fn certificate_fault(why: &CertificateError) -> CertificateFault {
    match why {
        CertificateError::Other(other) => {
            let found = other.0.downcast_ref::<CertificateFault>().cloned();
            found.unwrap_or_else(|| match other.0.downcast_ref() {
                Some(webpki::Error::UnsupportedCertVersion) => CertificateFault::OldVersion,
                _ => CertificateFault::Malformed,
            })
        }
        CertificateError::BadSignature => CertificateFault::Forged,
        _ => CertificateFault::Malformed,
    }
}

/// Explains an alert of the other side (RFC 8446 §6.2).
const fn alert_in_words(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired => {
            "it asks for a client certificate, and this side has none"
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it found no cipher suite that both sides support"
        }
        AlertDescription::ProtocolVersion => "it supports no version of TLS that this side has",
        AlertDescription::UnrecognisedName => "it says that it has no certificate for that name",
        AlertDescription::AccessDenied => "it says that access is denied",
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown => "it does not accept the certificate of this side",
        AlertDescription::InternalError => "it says that something failed on its side",
        _ => "it ended TLS with an alert",
    }
}

/// A stream whose errors have words for people.
pub struct InWords<S>(pub S);

fn worded<T>(polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    polled.map(|result| result.map_err(in_words))
}

impl<S: AsyncRead + Unpin> AsyncRead for InWords<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        worded(Pin::new(&mut self.0).poll_read(context, buffer))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InWords<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        worded(Pin::new(&mut self.0).poll_write(context, octets))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        worded(Pin::new(&mut self.0).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        worded(Pin::new(&mut self.0).poll_shutdown(context))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        worded(Pin::new(&mut self.0).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use crate::tls::client::{ClientTls, Verify};
    use rustls::{
        RootCertStore, ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    };
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::TlsAcceptor;

    /// Returns a server that requires a client certificate.
    fn asking() -> TlsAcceptor {
        let made = rcgen::generate_simple_self_signed(vec!["mx.y.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Sends a TLS hello, and reads. Returns the resulting error.
    async fn error_of(stream: DuplexStream) -> String {
        let tls = ClientTls::new(&[]).unwrap();
        match tls.connect(Box::new(stream), "mx.y.test", &Verify::Anyone).await {
            Ok((mut stream, _)) => {
                stream.read_to_end(&mut Vec::new()).await.unwrap_err().to_string()
            }
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn no_words_are_out_of_the_librarys_code() {
        let (ours, theirs) = duplex(65_536);
        let (error, _) = tokio::join!(error_of(ours), asking().accept(theirs));
        assert_eq!(error, "it asks for a client certificate, and this side has none");
        let (ours, mut theirs) = duplex(65_536);
        theirs.write_all(b"220 mx.y.test ESMTP\r\n").await.unwrap();
        assert_eq!(error_of(ours).await, "what it sent is not TLS");
        let (ours, theirs) = duplex(65_536);
        drop(theirs);
        let said = error_of(ours).await;
        assert!(!said.contains("docs.rs") && !said.is_empty(), "{said}");
    }
}
