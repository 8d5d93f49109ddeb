//! A message that arrives: what is prepared before its content, and the trace field that goes above it.

use super::{Acceptor, SmtpHost};
use crate::{
    directory::Recipient,
    receive::{
        content::{FREE, Incoming},
        submission,
    },
    sign::outgoing::Outgoing,
};
use posta_mail::trace::Received;
use posta_mime::header::HeaderCompleter;
use posta_smtp::command::HelloVerb;

/// The number of octets reserved for a message of unknown size.
const USUAL_MESSAGE: usize = 6 * 1024;

impl SmtpHost {
    /// Returns the protocol's name: RFC 3848, RFC 6531 §4.3, and RFC 5321 §4.4 for older ones.
    pub(super) fn protocol(&self, utf8: bool) -> String {
        let base = match self.hello.as_ref().map(|hello| hello.verb) {
            Some(HelloVerb::Lhlo) if utf8 => "UTF8LMTP",
            Some(HelloVerb::Lhlo) => "LMTP",
            Some(HelloVerb::Ehlo) if utf8 => "UTF8SMTP",
            Some(HelloVerb::Ehlo) => "ESMTP",
            _ => return "SMTP".to_owned(),
        };
        let secured = if self.tls.is_some() { "S" } else { "" };
        let authenticated = if self.account.is_some() { "A" } else { "" };
        format!("{base}{secured}{authenticated}")
    }

    pub(super) fn begin_content(&mut self) {
        let utf8 = self.transaction.as_ref().is_some_and(|open| open.mail.parameters.utf8);
        let completion = self.completion();
        let owner = self.memory_owner();
        let (id, time) = (self.acceptor.clock.mail_id(), self.acceptor.clock.now());
        let remover = self.results_remover();
        let open = self.transaction.as_ref();
        let checks = open.and_then(|open| self.begin_checks(&open.mail.reverse_path, time));
        let is_signed = self.is_signed();
        let Some(transaction) = &mut self.transaction else { return };
        let Acceptor { hostname, clock, .. } = &*self.acceptor;
        let announced =
            transaction.mail.parameters.size.and_then(|size| usize::try_from(size).ok());
        let room = announced.map_or(USUAL_MESSAGE, |size| size.min(FREE) + 1_024);
        let fields = submission::required_fields(
            &transaction.mail.reverse_path,
            self.account.as_deref(),
            hostname,
            (id, time),
        );
        let mut completer = HeaderCompleter::new(fields, completion);
        if self.account.is_some() {
            completer = completer.gathering_originators();
        }
        let incoming = Incoming::new((id, clock.mail_id()), time, owner, room, completer);
        let mut incoming = incoming.without_results(remover);
        if let Some((checks, needs)) = checks {
            incoming = incoming.observing(needs);
            transaction.checks = Some(Box::new(checks));
        }
        incoming.outgoing = is_signed.then(|| Box::new(Outgoing::new()));
        transaction.incoming = Some(if utf8 { incoming.saying_utf8() } else { incoming });
    }

    /// Returns the trace field that goes above a message (RFC 5321 §4.4).
    pub(super) fn received(
        &self,
        utf8: bool,
        incoming: &Incoming,
        recipients: &[Recipient],
    ) -> String {
        let protocol = self.protocol(utf8);
        let received = Received {
            hello: self.hello.as_ref().map_or("unknown", |hello| &hello.name),
            client: self.client,
            by: &self.acceptor.hostname,
            with: &protocol,
            id: incoming.id,
            recipient: match recipients {
                [only] => Some(&only.address),
                _ => None,
            },
            tls: self.tls.as_ref().map(|tls| (tls.version, tls.cipher.as_str())),
            time: incoming.time,
        };
        received.field()
    }
}
