//! Breaches of the house's rules that are known. Nothing is added here: what is mended is taken off.

/// Folders with more rooms than a folder may have, and how many they have.
pub(crate) const ROOMS: [(&str, usize); 0] = [];

/// Folders in which rooms import each other in a circle, and how many imports are part of one.
pub(crate) const CIRCLES: [(&str, usize); 0] = [];

/// Names that more than two public types have, and that are used without their module.
pub(crate) const NAMES: [&str; 16] = [
    "Answer",
    "Answered",
    "Command",
    "Directory",
    "Failure",
    "Kind",
    "Login",
    "Pending",
    "Piece",
    "Question",
    "Recipient",
    "Request",
    "Response",
    "Server",
    "Ticket",
    "Told",
];

/// Lines of ARCHITECTURE.md that are wider than they may be.
pub(crate) const WIDE_LINES: usize = 0;
