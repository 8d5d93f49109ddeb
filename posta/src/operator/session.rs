//! Many requests of one command: over one connection to the server, or on the store, which stays open meanwhile.

use super::{UNEXPECTED, is_absent, server_unusable};
use crate::{Place, private, wiring};
use anyhow::{Context, Result, bail};
use http_body_util::Full;
use hyper::{body::Bytes, client::conn::http1::SendRequest};
use posta_server::admin::{
    Admin, BackupRequest, BackupResponse, Request, Response, RestoreRequest, control,
};
use tokio::net::UnixStream;

/// Carries out requests, one after the other.
pub(crate) enum AdminSession {
    /// By the server.
    Server(SendRequest<Full<Bytes>>),
    /// On the store.
    Store(Box<Admin>),
}

impl AdminSession {
    /// Connects to the server of a place, or opens its store.
    pub(crate) async fn open(place: &Place) -> Result<Self> {
        let config = wiring::config(place)?;
        let socket = config.data.join(control::SOCKET);
        match UnixStream::connect(&socket).await {
            Ok(stream) => Ok(Self::Server(super::speak(stream).await?)),
            Err(error) if is_absent(&error) => {
                if let Some(store) = wiring::open_database(&config).await? {
                    return Ok(Self::Store(Box::new(super::admin_on(store, &config)?)));
                }
                wiring::expect_store(&config.data)?;
                let owner = private::other_owner(&config.data)?;
                // The threads that read and write the store are the owner's, as whoever starts them is.
                let admin = private::as_owner(owner, move || super::admin(&config))?;
                Ok(Self::Store(Box::new(admin)))
            }
            Err(error) => Err(error).with_context(|| server_unusable(&socket)),
        }
    }

    /// Carries out a request.
    pub(crate) async fn execute(&mut self, request: Request) -> Result<Response> {
        match self {
            Self::Server(sender) => {
                sender.ready().await.context("the server closed the connection")?;
                match super::ask(sender, &request).await? {
                    Ok(response) => Ok(response),
                    Err(problem) => Err(super::refused(problem)),
                }
            }
            Self::Store(admin) => Ok(admin.execute(request).await?),
        }
    }

    /// Carries out a request that has no result.
    pub(crate) async fn order(&mut self, request: Request) -> Result<()> {
        match self.execute(request).await? {
            Response::Done => Ok(()),
            _ => bail!(UNEXPECTED),
        }
    }

    /// Carries out a request for a backup.
    pub(crate) async fn backup(&mut self, request: BackupRequest) -> Result<BackupResponse> {
        match self.execute(Request::Backup { request }).await? {
            Response::Backup(response) => Ok(response),
            _ => bail!(UNEXPECTED),
        }
    }

    /// Carries out a request that brings something back.
    pub(crate) async fn restore(&mut self, request: RestoreRequest) -> Result<Response> {
        self.execute(Request::Restore { request }).await
    }
}
