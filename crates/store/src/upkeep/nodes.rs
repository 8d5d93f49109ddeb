//! Nodes: the servers that work with one store at the same moment.
//!
//! A node tells the store every few seconds that it lives (its *heartbeat*). What it has claimed belongs to it for as long
//! as it does; a node from which nothing was heard for [`DEAD`] has lost all of it. By then it must have stopped by itself:
//! whoever works on what was claimed remembers the *term* of the node ([`NodeStanding::term`]) from before the claim, and
//! takes no further step once [`NodeStanding::holds`] no longer says that the term goes on.
//!
//! A store that one process has for itself needs none of this: the methods have bodies for it, by which the process is
//! always alive and every duty is its own.

use crate::error::{Pending, StoreError};
use posta_mail::Timestamp;
use std::{fmt, future::ready, sync::Arc, time::Duration};

/// The time without a heartbeat after which a node counts as dead, by the clock of the database.
pub const DEAD: Duration = Duration::from_secs(15);

/// The difference between the clock of a node and that of the database from which it is worth a warning.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// The nodes of a store.
pub trait Nodes: Send + Sync + 'static {
    /// Makes this process a node, until it leaves. `vitals` tells how it is, at each heartbeat. A process that claims
    /// something without having joined becomes a node by that.
    fn join(&self, vitals: Vitals) -> Pending<'_, ()> {
        drop(vitals);
        done(())
    }

    /// Ends what [`join`](Self::join) began: what this process has claimed and its duties are free at once.
    fn leave(&self) -> Pending<'_, ()> {
        done(())
    }

    /// Returns how this process stands as a node, as it knows by itself, without waiting.
    fn standing(&self) -> NodeStanding {
        NodeStanding::ALONE
    }

    /// Returns the nodes, dead ones too, by name.
    ///
    /// # Errors
    /// [`StoreError::OneNode`] if one process has the store for itself.
    fn nodes(&self) -> Pending<'_, Vec<NodeState>> {
        one_node()
    }

    /// Makes a node, named by its name or its id, take nothing new (`draining`), or work again.
    ///
    /// # Errors
    /// [`StoreError::OneNode`]; [`StoreError::NoSuchNode`]; [`StoreError::AmbiguousNode`].
    fn drain_node(&self, node: &str, draining: bool) -> Pending<'_, ()> {
        let _ = (node, draining);
        one_node()
    }

    /// Forgets a node, and frees what it had claimed. One that lives must be draining, and takes no part any more until it
    /// is started again.
    ///
    /// # Errors
    /// [`StoreError::OneNode`]; [`StoreError::NoSuchNode`]; [`StoreError::AmbiguousNode`]; [`StoreError::NodeIsLive`].
    fn remove_node(&self, node: &str) -> Pending<'_, ()> {
        let _ = node;
        one_node()
    }

    /// Takes a duty, which one node has at a time. Returns whether it is this one's: it is if no other live node has it.
    /// A node keeps a duty until it dies or leaves, or asks while it drains. Whoever works on a duty for long asks again
    /// before each step that must not be taken twice.
    fn take_duty(&self, duty: &str) -> Pending<'_, bool> {
        let _ = duty;
        done(true)
    }
}

fn done<T: Send + 'static>(value: T) -> Pending<'static, T> {
    Box::pin(ready(Ok(value)))
}

fn one_node<T: Send + 'static>() -> Pending<'static, T> {
    Box::pin(ready(Err(StoreError::OneNode)))
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vital {
    /// The time by the node's clock.
    pub time: Timestamp,
    /// The number of its open sessions.
    pub sessions: u64,
}

/// What tells how a node is.
#[derive(Clone)]
pub struct Vitals(pub Arc<dyn Fn() -> Vital + Send + Sync>);

impl fmt::Debug for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vitals").field(&(self.0)()).finish()
    }
}

/// How this process stands as a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeStanding {
    /// Whether its heartbeat is on time, so that no other node takes it for dead.
    pub is_live: bool,
    /// Whether it is to take nothing new.
    pub is_draining: bool,
    /// The number of its term, which ends when its heartbeat is late. What it claimed in an earlier term may be
    /// another's.
    pub term: u64,
    /// The number of live nodes, itself included, at the last heartbeat; at least 1.
    pub nodes: u64,
    /// The number of live nodes that come before this one in an order on which all agree, at the last heartbeat.
    pub rank: u64,
    /// The milliseconds by which its clock was ahead of the database's at the last heartbeat; negative if it was behind.
    pub clock_ahead: i64,
}

impl NodeStanding {
    /// The standing of a process that has the store for itself.
    pub const ALONE: Self =
        Self { is_live: true, is_draining: false, term: 0, nodes: 1, rank: 0, clock_ahead: 0 };

    /// Returns whether the node may claim something.
    #[must_use]
    pub const fn takes_work(&self) -> bool {
        self.is_live && !self.is_draining
    }

    /// Returns whether what was claimed in a term may still be worked on.
    #[must_use]
    pub const fn holds(&self, term: u64) -> bool {
        self.is_live && self.term == term
    }

    /// Returns whether the clocks of the node and of the database differ by more than [`CLOCK_TOLERANCE`].
    #[must_use]
    pub const fn has_wrong_clock(&self) -> bool {
        self.clock_ahead.unsigned_abs() > CLOCK_TOLERANCE.as_millis() as u64
    }
}

/// A node, as the store knows it, by the database's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Names this run of the node: 16 hexadecimal digits.
    pub id: String,
    /// The name of the server.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// When it joined.
    pub since: Timestamp,
    /// The time since then.
    pub up: Duration,
    /// The time since its last heartbeat.
    pub silent: Duration,
    /// Whether its heartbeat is on time.
    pub is_live: bool,
    /// Whether it is to take nothing new.
    pub is_draining: bool,
    /// The number of its open sessions.
    pub sessions: u64,
    /// The number of items of the queue that it has claimed.
    pub items: u64,
    /// The number of sources that it has claimed.
    pub sources: u64,
    /// The duties that it has, by name.
    pub duties: Vec<String>,
    /// The milliseconds by which its clock is ahead of the database's; negative if it is behind; `None` for a command,
    /// whose clock nobody has compared.
    pub clock_ahead: Option<i64>,
}
