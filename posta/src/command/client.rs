//! The commands that are a client of other servers, or of one's own: `posta send`, `fetch`,
//! `talk` and `bench`.

pub(crate) mod bench;
pub(crate) mod fetch;
pub(crate) mod send;
pub(crate) mod talk;
