//! The Debian package.

use crate::{cargo, need, root, run, step};
use std::{fs, process::Command};

/// The oldest version of cargo-deb that is known to make the package.
const CARGO_DEB: &str = "^3.8";

/// Makes the Debian package in target/package, from a release build.
pub fn debian() -> Result<(), String> {
    need("dpkg-shlibdeps --version", "dpkg-dev")?;
    cargo_deb()?;
    cargo("release build", &["build", "--release", "-p", "posta"])?;
    pages()?;
    step("package");
    run(
        Command::new("packaging/deb.sh").args(["target/release/posta", "target/package"]),
        "the package",
    )
}

/// Makes sure that cargo-deb is installed: compiling it takes a minute and a half, once.
pub fn cargo_deb() -> Result<(), String> {
    let version = Command::new(env!("CARGO")).args(["deb", "--version"]).output();
    if version.is_ok_and(|ran| ran.status.success()) {
        return Ok(());
    }
    let install = ["install", "cargo-deb", "--locked", "--quiet", "--version", CARGO_DEB];
    cargo("installing cargo-deb", &install)
}

/// Writes the manual pages and completions. The tests' package makes them, which has the library for that.
fn pages() -> Result<(), String> {
    let folder = "target/package/pages";
    // Pages of commands that are no more would be in the package.
    let _ = fs::remove_dir_all(root().join(folder));
    let options = ["run", "--quiet", "-p", "posta-tests", "--bin", "posta-pages", "--", folder];
    cargo("manual pages", &options)
}
