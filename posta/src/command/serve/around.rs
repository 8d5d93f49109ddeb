//! What the running server's operator can ask of this program, which reads the configuration.

use crate::{
    Place,
    command::{check, config, domain::dns},
    config::Source,
    mail_setup,
    output::chain,
    wiring,
};
use anyhow::Result;
use posta_server::admin::{
    CheckQuery, Checking, ConfigChecked, Examining, LocalDomain, OptionLine, Program, Reloaded,
    Reloading,
    checkup::{
        message::{Arrival, ReadMessage},
        publish::record::RecordLine,
    },
};
use std::path::PathBuf;
use tokio::sync::{mpsc, oneshot};

/// A request to reload: where the result goes.
type Asked = oneshot::Sender<Result<Reloaded, String>>;

/// The number of requests to reload that wait at once.
const WAITING: usize = 8;

/// This program, around the running server.
pub(super) struct Around {
    place: Place,
    /// The data directory of the running server, in which a self-signed certificate is kept.
    data: PathBuf,
    reloads: mpsc::Sender<Asked>,
}

impl Around {
    /// Returns the program for a server of this place, and the requests to reload that reach it.
    pub(super) fn new(place: Place, data: PathBuf) -> (Self, mpsc::Receiver<Asked>) {
        let (reloads, asked) = mpsc::channel(WAITING);
        (Self { place, data, reloads }, asked)
    }

    fn source(&self) -> Result<Source> {
        let mut source = wiring::source(&self.place)?;
        source.config.data.clone_from(&self.data);
        Ok(source)
    }
}

impl Program for Around {
    fn options(&self) -> Result<Vec<OptionLine>, String> {
        let source = wiring::source(&self.place);
        source.and_then(|source| config::lines(&source)).map_err(|error| chain(&error))
    }

    fn check(&self) -> Result<ConfigChecked, String> {
        self.source().and_then(|source| config::checked(&source)).map_err(|error| chain(&error))
    }

    fn reload(&self) -> Reloading<'_> {
        Box::pin(async {
            let (asked, result) = oneshot::channel();
            let stopping = || "not reloaded: the server is stopping".to_owned();
            self.reloads.send(asked).await.map_err(|_| stopping())?;
            result.await.map_err(|_| stopping())?
        })
    }

    fn records(&self, domain: LocalDomain) -> Result<Vec<RecordLine>, String> {
        let mail = self.source().and_then(|source| mail_setup::made(&source.config, domain));
        mail.map(|mail| dns::lines(&mail.setup)).map_err(|error| chain(&error))
    }

    fn check_domain(&self, domain: LocalDomain, query: CheckQuery) -> Checking<'_> {
        Box::pin(async {
            let checked = async {
                let config = self.source()?.config;
                let mail = mail_setup::made(&config, domain)?;
                check::checked(&config, mail, query).await
            };
            Box::pin(checked).await.map_err(|error| chain(&error))
        })
    }

    fn check_message(&self, message: ReadMessage, arrival: Arrival) -> Examining<'_> {
        Box::pin(async move {
            let config = self.source().map_err(|error| chain(&error))?.config;
            let examined = check::message::examined(&config, &message, arrival);
            Box::pin(examined).await.map_err(|error| chain(&error))
        })
    }
}
