//! Finds the configuration file: the path in `--config`, else in `POSTA_CONFIG`, else one of two usual places, else
//! none.

use crate::fault::demand;
use anyhow::Result;
use rustix::process::geteuid;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The configuration of the machine.
pub(crate) const SYSTEM: &str = "/etc/posta/posta.toml";

/// The configuration in the current directory, for trying things out.
pub(crate) const HERE: &str = "posta.toml";

/// Returns the path of the configuration when none is named, or `None` if there is none.
///
/// # Errors
/// Fails when the one in the current directory belongs to another user, who could redirect our mail with it.
pub(crate) fn find() -> Result<Option<PathBuf>> {
    find_in(Path::new(SYSTEM), Path::new(HERE))
}

fn find_in(system: &Path, here: &Path) -> Result<Option<PathBuf>> {
    // One that cannot be read is none that is missing: reading it tells why.
    if !is_missing(system) {
        return Ok(Some(system.to_owned()));
    }
    if is_missing(here) {
        return Ok(None);
    }
    // Neither the file nor a link in its place.
    for metadata in [fs::symlink_metadata(here), fs::metadata(here)].into_iter().flatten() {
        let (owner, us) = (metadata.uid(), geteuid().as_raw());
        demand!(
            owner == us || owner == 0,
            "config-of-another-user",
            "{} in this directory belongs to user {owner}, so it is not taken for the configuration \
             unawares: name it with --config, or run this elsewhere",
            here.display()
        );
    }
    Ok(Some(here.to_owned()))
}

fn is_missing(path: &Path) -> bool {
    let missing = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    fs::symlink_metadata(path).is_err_and(|error| missing.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_comes_before_that_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (system, here) =
            (directory.path().join("etc/posta.toml"), directory.path().join("here"));
        let found = || find_in(&system, &here).unwrap();
        assert_eq!(found(), None);
        fs::write(&here, "").unwrap();
        assert_eq!(found().as_ref(), Some(&here));
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(&system, "").unwrap();
        assert_eq!(found().as_ref(), Some(&system));
    }

    #[test]
    fn a_strangers_is_not_taken_unawares() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().join("posta.toml");
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can give a file to somebody else");
            return;
        }
        fs::write(&here, "").unwrap();
        std::os::unix::fs::chown(&here, Some(65_534), None).unwrap();
        let words = find_in(Path::new("/nowhere/posta.toml"), &here).unwrap_err().to_string();
        assert!(words.contains("belongs to user 65534") && words.contains("--config"), "{words}");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
        assert!(find_in(Path::new("/nowhere/posta.toml"), &link).is_err());
    }
}
