//! The commands before any mail: the greeting, the hello and its offer, STARTTLS, and XCLIENT of a trusted proxy. Part of
//! the server's state machine.

use super::{Hello, MailPhase, Server, Service, Taken, Ticket, asked::Asked, question::Question};
use crate::{
    command::{Forwarded, HelloVerb},
    extension::{self, Standing},
    reply, words,
};
use posta_mail::{Reply, Step};

impl Server {
    pub(super) fn greet(&mut self, output: &mut Vec<u8>) {
        self.reply(MailPhase::Idle, &words::greeting(&self.profile), output);
    }

    pub(super) fn hello(
        &mut self,
        phase: MailPhase,
        verb: HelloVerb,
        name: String,
        output: &mut Vec<u8>,
    ) -> Taken {
        // RFC 2033 §4.1: LMTP knows LHLO only, and nothing else knows LHLO.
        if (verb == HelloVerb::Lhlo) != (self.profile.service == Service::Lmtp) {
            let words = match self.profile.service {
                Service::Lmtp => "This is LMTP: say LHLO",
                Service::Smtp | Service::Submission => "This is SMTP: say EHLO",
            };
            self.bad_command(phase, &Reply::new(500, (5, 5, 1), words), output);
            return None;
        }
        let ticket = Ticket::new(Asked::Hello(verb));
        Some(self.ask_outside(Question::Hello(Hello { verb, name }, ticket)))
    }

    pub(super) fn starttls(&mut self, phase: MailPhase, output: &mut Vec<u8>) -> Taken {
        if self.secured {
            self.out_of_order(phase, "TLS is on already", output);
            return None;
        }
        if !self.profile.starttls {
            let refusal = Reply::new(502, (5, 5, 1), "TLS is not offered here");
            self.bad_command(phase, &refusal, output);
            return None;
        }
        self.reply(MailPhase::Idle, &Reply::new(220, (2, 0, 0), "Go ahead"), output);
        Some(Step::StartTls)
    }

    pub(super) fn xclient(
        &mut self,
        phase: MailPhase,
        forwarded: Forwarded,
        output: &mut Vec<u8>,
    ) -> Taken {
        if !self.trusted {
            let refusal = Reply::new(550, (5, 7, 0), "You speak for yourself only");
            self.bad_command(phase, &refusal, output);
            return None;
        }
        if phase.is_open() {
            self.out_of_order(phase, "Not within a transaction", output);
            return None;
        }
        let ticket = Ticket::new(Asked::Forwarded { login: forwarded.login.is_some() });
        Some(self.ask_outside(Question::Forwarded(forwarded, ticket)))
    }

    pub(super) fn write_hello(&self, verb: HelloVerb, output: &mut Vec<u8>) {
        if verb == HelloVerb::Helo {
            reply::write(&Reply::plain(250, self.profile.hostname.to_string()), output);
            return;
        }
        reply::write_lines(250, &extension::offer(&self.profile, self.standing()), output);
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            secured: self.secured,
            may_authenticate: self.may_authenticate(),
            authenticated: self.authenticated,
            trusted: self.trusted,
        }
    }
}
