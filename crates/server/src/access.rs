//! Reading mail: the answers to the POP3 engine's questions. Further protocols for mail programs belong
//! here. `listen` starts the sessions.

pub mod maildrop;
pub mod view;
