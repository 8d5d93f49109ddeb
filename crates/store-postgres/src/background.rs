//! The tasks of a node beside its work: it tells the others of changes and of what it counts and listens to theirs, and its
//! heart beats. Listening and the heartbeat have connections of their own.

pub(crate) mod heartbeat;
pub(crate) mod listening;
pub(crate) mod tallies;
