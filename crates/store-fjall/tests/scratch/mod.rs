//! Directories for tests of what is in files, not of what a disk does to them.

use std::path::Path;
use tempfile::TempDir;

/// Octets that must be free in memory.
const FREE: u64 = 4 * 1024 * 1024 * 1024;

/// Makes a directory, in memory if there is room. A store opens thirty tables, each with several syncs: on a disk that
/// others use too, these tests would wait for nothing else.
pub fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    let made = if free > FREE { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

/// Returns where the octets end that are not zeros.
#[allow(dead_code, reason = "some tests write nothing ahead")]
pub fn end(octets: &[u8]) -> usize {
    let mut begins = octets.len();
    // A comparison of many zeros at a time is quick without optimisation, too.
    while begins > 0 {
        let from = begins.saturating_sub(ZEROS.len());
        if octets[from..begins] != ZEROS[..begins - from] {
            let last = octets[from..begins].iter().rposition(|&octet| octet != 0);
            return from + last.map_or(0, |at| at + 1);
        }
        begins = from;
    }
    0
}

const ZEROS: [u8; 4096] = [0; 4096];
