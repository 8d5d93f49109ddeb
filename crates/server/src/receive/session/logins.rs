//! Logging in within an SMTP session, and whether the login still holds.

use super::SmtpHost;
use crate::{
    directory::store_failed,
    limits::metrics::LoginCount,
    login::{LoginError, login_log, sasl::Peer},
};
use posta_mail::{
    Reply,
    sasl::{Exchange, Progress},
};
use posta_smtp::server::{self as smtp, Service};

impl SmtpHost {
    /// Refuses a command in a session whose login no longer holds, with a 421 that ends the session.
    /// Anything begun while a token was valid may end, however large it is.
    pub(super) async fn check_login(&mut self, is_end: bool) -> smtp::Verdict {
        let Some(account) = self.account.as_mut() else { return Ok(()) };
        let words = match account.is_current(&*self.acceptor.store).await {
            Ok(true) if is_end || !account.has_expired(&*self.acceptor.clock) => return Ok(()),
            Ok(true) => "The token has expired: connect and log in with a new one",
            Ok(false) => "The account or its password has changed: connect and log in again",
            Err(error) => return Err(store_failed(&error)),
        };
        let refusal = Reply::new(421, (4, 7, 0), words);
        self.refused.note("the session".to_owned(), refusal.to_string());
        self.abandon().await;
        Err(refusal)
    }

    pub(super) async fn authenticate(&mut self, message: Exchange) -> smtp::Authentication {
        let peer = Peer::new(self.client, self.tls.as_deref());
        match self.dialogue.step(message, &self.acceptor.authenticator, &peer).await {
            Ok(Progress::Challenge(challenge)) => Ok(Progress::Challenge(challenge)),
            Ok(Progress::Done(account)) => {
                let protocol = match self.acceptor.service {
                    Service::Submission => "submission",
                    Service::Smtp | Service::Lmtp => "smtp",
                };
                self.acceptor.metrics.login(LoginCount::Ok);
                login_log::succeeded(self.client, &account, protocol, self.tls.is_some());
                self.account = Some(Box::new(account));
                Ok(Progress::Done(()))
            }
            Err(error) => Err(self.login_failed(&error)),
        }
    }

    pub(super) async fn broken_off(&mut self) {
        let error = self.dialogue.break_off(&self.acceptor.authenticator, self.client).await;
        self.login_failed(&error);
    }

    /// Records a failed login for the history, and returns the reply for the client.
    fn login_failed(&mut self, error: &LoginError) -> Reply {
        let reply = match error {
            LoginError::Credentials(_) => Reply::new(535, (5, 7, 8), "Authentication failed"),
            LoginError::Locked(_) => Reply::new(454, (4, 7, 0), "Too many failures, try later"),
            // RFC 5248 has registered both codes for this case.
            LoginError::Disabled(_) => {
                let words = "The account is disabled: ask the postmaster of this server";
                Reply::new(525, (5, 7, 13), words)
            }
            LoginError::Store(_) | LoginError::Tokens(_) => {
                let client = login_log::place(self.client);
                tracing::error!(%error, client, "a login could not be checked");
                return Reply::new(454, (4, 7, 0), "Temporary authentication failure");
            }
        };
        // `login/lockout.rs` decides what guessing costs.
        self.refused.note_login("AUTH", reply.to_string(), error.failed_login());
        reply
    }
}
