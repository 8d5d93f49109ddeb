//! Many requests of one command at the same time: over connections to the server, or on the store, which stays open
//! meanwhile.

use super::{UNEXPECTED, ask_server, is_absent, server_unusable};
use crate::{Place, private, wiring};
use anyhow::{Context, Result, bail};
use posta_server::admin::{AccountLine, Admin, AliasLine, Request, Response, control};
use std::{path::Path, sync::Arc};
use tokio::net::UnixStream;

/// Carries out requests, several at once.
#[derive(Clone)]
pub(crate) enum SharedSession {
    /// By the server with this control socket.
    Server(Arc<Path>),
    /// On the store.
    Store(Box<Admin>),
}

impl SharedSession {
    /// Finds the server of a place, or opens its store.
    pub(crate) async fn open(place: &Place) -> Result<Self> {
        let config = wiring::config(place)?;
        let socket = config.data.join(control::SOCKET);
        match UnixStream::connect(&socket).await {
            Ok(_) => Ok(Self::Server(socket.into())),
            Err(error) if is_absent(&error) => {
                if let Some(store) = wiring::open_database(&config).await? {
                    return Ok(Self::Store(Box::new(super::admin_on(store, &config)?)));
                }
                wiring::expect_store(&config.data)?;
                let owner = private::other_owner(&config.data)?;
                // The threads that read and write the store are the owner's. Those of the command stay what they are:
                // they read and write files elsewhere.
                let admin = private::as_owner(owner, move || super::admin(&config))?;
                Ok(Self::Store(Box::new(admin)))
            }
            Err(error) => Err(error).with_context(|| server_unusable(&socket)),
        }
    }

    /// Carries out a request.
    pub(crate) async fn ask(&self, request: Request) -> Result<Response> {
        let socket = match self {
            Self::Server(socket) => socket,
            Self::Store(admin) => return Ok(admin.execute(request).await?),
        };
        let gone = || format!("the server at {} did not do it", socket.display());
        let stream = UnixStream::connect(socket).await.with_context(gone)?;
        match ask_server(stream, &request).await.with_context(gone)? {
            Ok(response) => Ok(response),
            Err(problem) => Err(super::refused(problem)),
        }
    }

    /// Returns all accounts, by address.
    pub(crate) async fn accounts(&self) -> Result<Vec<AccountLine>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let Response::Accounts { lines, next } =
                self.ask(Request::AccountList { after }).await?
            else {
                bail!(UNEXPECTED);
            };
            all.extend(lines);
            if next.is_none() {
                return Ok(all);
            }
            after = next;
        }
    }

    /// Returns all aliases, by name.
    pub(crate) async fn aliases(&self) -> Result<Vec<AliasLine>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let Response::Aliases { lines, next } = self.ask(Request::AliasList { after }).await?
            else {
                bail!(UNEXPECTED);
            };
            all.extend(lines);
            if next.is_none() {
                return Ok(all);
            }
            after = next;
        }
    }
}
