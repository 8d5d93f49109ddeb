//! A conversation with a milter: the engine of [`posta_filters::milter`], driven over a connection.

use super::{Failure, content::FilterContent};
use posta_filters::{
    facts::MessageFacts,
    milter::{self, Milter},
    verdict::FilterVerdict,
};
use posta_net::{
    driver::{Driver, Host},
    transport::Stream,
};
use posta_store::StoreError;
use std::{io, sync::Arc};

/// Answers for the content.
struct MilterHost<'a> {
    content: &'a FilterContent<'a>,
    next: u32,
    failed: Option<StoreError>,
}

/// Asks a milter about a message.
pub(super) async fn ask(
    driver: &Driver,
    stream: Box<dyn Stream>,
    facts: Arc<MessageFacts>,
    content: &FilterContent<'_>,
) -> Result<FilterVerdict, Failure> {
    let mut engine = Milter::new(facts);
    let mut host = MilterHost { content, next: 0, failed: None };
    let driven = driver.drive(stream, &mut engine, &mut host).await;
    if let Some(error) = host.failed {
        return Err(Failure::Store(error));
    }
    match (engine.outcome(), driven) {
        (Ok(verdict), _) => Ok(verdict),
        (Err(_), Err(error)) => Err(Failure::Filter(format!("the connection broke: {error}"))),
        (Err(error), Ok(_)) => Err(Failure::Filter(error.to_string())),
    }
}

impl Host<Milter> for MilterHost<'_> {
    async fn answer(&mut self, question: milter::Question) -> milter::Answer {
        let milter::Question::Content(ticket) = question;
        let piece = match self.content.piece(self.next).await {
            Ok(piece) => piece,
            Err(error) => {
                // The conversation ends as if the content were complete, and its outcome is ignored.
                self.failed = Some(error);
                None
            }
        };
        self.next += 1;
        ticket.answer(piece)
    }

    async fn content(&mut self, _: &[u8]) {}

    fn has_enough(&self) -> bool {
        self.failed.is_some()
    }

    async fn secure(&mut self, _: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
