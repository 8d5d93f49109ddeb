//! Learns from the system when a file has come into the spool.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::{
    io::{self, ErrorKind},
    path::Path,
};
use tokio::net::unix::pipe::Receiver;

/// The octets of events that are read at once. What they say does not matter.
const EVENTS: usize = 1_024;

/// Watches a directory for files that get their names in it. The events of inotify are read as those of a pipe are.
pub(super) struct Watcher(Receiver);

impl Watcher {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, directory, WatchFlags::MOVED_TO | WatchFlags::ONLYDIR)?;
        Receiver::from_owned_fd_unchecked(events).map(Self)
    }

    /// Returns when a file has come since the last call.
    pub(super) async fn changed(&self) -> io::Result<()> {
        let mut events = [0; EVENTS];
        let mut is_changed = false;
        loop {
            match self.0.try_read(&mut events) {
                Ok(_) => is_changed = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_changed => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.0.readable().await?,
                Err(error) => return Err(error),
            }
        }
    }
}
