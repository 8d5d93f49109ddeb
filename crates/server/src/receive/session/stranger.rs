//! What a session asks at the door, where its client is a stranger.

use super::SmtpHost;
use crate::receive::door::{Claim, Visit};
use posta_mail::{Address, ForwardPath, Reply};
use posta_smtp::server::{self as smtp, Service};
use std::time::Duration;

impl SmtpHost {
    /// Returns whether the client is a stranger at port 25: it did not log in and is none of ours.
    pub(super) fn is_stranger(&self) -> bool {
        self.acceptor.service == Service::Smtp && self.account.is_none() && !self.is_near()
    }

    /// Returns how long the greeting is kept back from this client.
    pub(crate) fn greeting_delay(&self) -> Duration {
        match self.is_stranger() {
            true => self.acceptor.door.get().greeting_delay(),
            false => Duration::ZERO,
        }
    }

    /// Refuses a client that did not wait for the greeting (RFC 5321 §4.3.1).
    pub(super) async fn spoke_early(&mut self) -> smtp::Verdict {
        let words = "A client waits for the greeting before it speaks (RFC 5321 section 4.3.1)";
        let refusal = Reply::new(554, (5, 5, 1), words);
        Err(self.refuse("the connection".to_owned(), refusal).await)
    }

    /// Begins to ask about a stranger, at its first MAIL.
    pub(super) fn begin_visit(&mut self) {
        if self.visit.is_none() && self.is_stranger() {
            let visit = Visit::begin(&self.acceptor.door.get(), self.client);
            self.visit = visit.map(Box::new);
        }
    }

    /// Decides whether the client may write to a recipient, before it is known who that is.
    ///
    /// # Errors
    /// The refusal, which the history is told of.
    pub(super) async fn admit(&mut self, path: &ForwardPath) -> Result<(), Reply> {
        let Some((visit, claim)) = self.visit() else { return Ok(()) };
        let admitted = visit.admit(claim, path).await;
        self.note_denied(path, admitted).await
    }

    /// Decides whether the client's message may come in now for a recipient who exists.
    ///
    /// # Errors
    /// The refusal, which the history is told of.
    pub(super) async fn receive_for(
        &mut self,
        path: &ForwardPath,
        recipient: &Address,
    ) -> Result<(), Reply> {
        let Some((visit, claim)) = self.visit() else { return Ok(()) };
        let received = visit.receive(claim, path, recipient).await;
        self.note_denied(path, received).await
    }

    /// Returns a stranger's visit, and what it claims in the open transaction.
    fn visit(&mut self) -> Option<(&mut Visit, Claim<'_>)> {
        let (visit, transaction) = (self.visit.as_mut()?, self.transaction.as_ref()?);
        let hello = self.hello.as_ref().map_or("", |hello| &hello.name);
        Some((visit, Claim { hello, sender: &transaction.mail.reverse_path }))
    }

    async fn note_denied(
        &mut self,
        path: &ForwardPath,
        passed: Result<(), Reply>,
    ) -> Result<(), Reply> {
        match passed {
            Ok(()) => Ok(()),
            Err(refusal) => Err(self.refuse(format!("RCPT TO:{path}"), refusal).await),
        }
    }
}
