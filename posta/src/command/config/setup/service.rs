//! The machine's server: its user, its data directory, and its service.

use super::told;
use crate::{
    config::SPOOL,
    fault::{demand, fail},
};
use anyhow::{Context, Result};
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

/// The data directory of the machine's server.
pub(super) const DATA: &str = "/var/lib/posta";

/// The user that the service runs as.
const USER: &str = "posta";

/// The service for systemd.
const UNIT: &str = include_str!("../../../../../packaging/posta.service");

/// Where the operator's services are.
const OWN_UNIT: &str = "/etc/systemd/system/posta.service";

/// Where packages put theirs.
const PACKAGED_UNITS: [&str; 2] =
    ["/usr/lib/systemd/system/posta.service", "/lib/systemd/system/posta.service"];

/// The program in [`UNIT`].
const PROGRAM: &str = "/usr/bin/posta";

/// Returns whether systemd runs this machine.
pub(super) fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Returns whether systemd runs the service.
pub(super) fn is_running() -> bool {
    let asked = Command::new("systemctl").args(["is-active", "--quiet", "posta.service"]).status();
    has_systemd() && asked.is_ok_and(|status| status.success())
}

/// Makes the server's user, if there is none.
pub(super) fn ensure_user() -> Result<()> {
    if owner().is_some() {
        told("there", "user", USER);
        return Ok(());
    }
    let nologin = ["--home-dir", DATA, "--no-create-home", "--shell", "/usr/sbin/nologin", USER];
    run("useradd", &[&["--system", "--user-group"][..], &nologin].concat())?;
    told("made", "user", USER);
    Ok(())
}

/// Makes the data directory, which only the server's user may enter.
pub(super) fn ensure_data() -> Result<()> {
    let words = || format!("the data directory {DATA} cannot be made");
    match fs::symlink_metadata(DATA) {
        Ok(_) => {
            told("there", "data", DATA);
            return Ok(());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(words),
    }
    let Some((uid, gid)) = owner() else { fail!("no-such-user", "there is no user {USER}") };
    let parent = Path::new(DATA).parent().unwrap_or(Path::new("/"));
    demand!(
        parent.is_dir(),
        "data-directory",
        "{} is missing, in which the data directory belongs",
        parent.display()
    );
    fs::DirBuilder::new().mode(0o700).create(DATA).with_context(words)?;
    std::os::unix::fs::chown(DATA, Some(uid), Some(gid)).with_context(words)?;
    told("made", "data", DATA);
    Ok(())
}

/// Makes the spool, into which every user may put mail by `posta sendmail`.
pub(super) fn ensure_spool() -> Result<()> {
    let words = || format!("the spool {SPOOL} cannot be made");
    if fs::symlink_metadata(SPOOL).is_ok() {
        told("there", "spool", SPOOL);
        return Ok(());
    }
    let Some((uid, gid)) = owner() else { fail!("no-such-user", "there is no user {USER}") };
    fs::DirBuilder::new().mode(0o700).create(SPOOL).with_context(words)?;
    std::os::unix::fs::chown(SPOOL, Some(uid), Some(gid)).with_context(words)?;
    let mode = fs::Permissions::from_mode(posta_server::receive::spool::MODE);
    fs::set_permissions(SPOOL, mode).with_context(words)?;
    told("made", "spool", SPOOL);
    Ok(())
}

/// Returns the ids of the server's user and its group.
fn owner() -> Option<(u32, u32)> {
    let id = |option: &str| {
        let said = Command::new("id").args([option, USER]).output().ok()?;
        String::from_utf8(said.stdout).ok()?.trim().parse().ok()
    };
    Some((id("-u")?, id("-g")?))
}

/// Installs the service, and starts it unless it runs. If the configuration was replaced, a service that runs is restarted.
pub(super) fn install(config: &Path, is_replaced: bool) -> Result<()> {
    let packaged = PACKAGED_UNITS.iter().find(|unit| Path::new(unit).exists());
    match packaged.copied().or_else(|| Path::new(OWN_UNIT).exists().then_some(OWN_UNIT)) {
        Some(unit) => told("there", "service", unit),
        None => {
            fs::write(OWN_UNIT, unit(&program()?, config))
                .with_context(|| format!("the service {OWN_UNIT} cannot be written"))?;
            fs::set_permissions(OWN_UNIT, fs::Permissions::from_mode(0o644)).context(OWN_UNIT)?;
            told("made", "service", OWN_UNIT);
        }
    }
    let runs = is_running();
    run("systemctl", &["daemon-reload"])?;
    if is_replaced && runs {
        run("systemctl", &["restart", "posta.service"])?;
    }
    run("systemctl", &["enable", "--now", "posta.service"])?;
    let what = if runs && !is_replaced { "there" } else { "made" };
    told(what, "start", "the server runs, and starts with the machine");
    Ok(())
}

/// Returns the path of this program, as the service has to find it.
fn program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("the program's own path")?;
    let hidden = ["/home/", "/root/", "/tmp/", "/var/tmp/"];
    demand!(
        !hidden.iter().any(|folder| program.starts_with(folder)),
        "service-failed",
        "the service may not look into {0}: `install -m 755 {0} {PROGRAM}`, then run {PROGRAM} setup",
        program.display()
    );
    let others = fs::metadata(&program).map(|metadata| metadata.mode() & 0o001);
    demand!(
        others.is_ok_and(|others| others != 0),
        "service-failed",
        "the user {USER} may not run {0}: `chmod 755 {0}`",
        program.display()
    );
    Ok(program)
}

/// Returns the service for a program and a configuration in other places than usual.
fn unit(program: &Path, config: &Path) -> String {
    let option = match config == Path::new(crate::config::find::SYSTEM) {
        true => String::new(),
        false => format!(" --config {}", config.display()),
    };
    ["serve", "reload"].into_iter().fold(UNIT.to_owned(), |unit, verb| {
        let command = format!("{} {verb}{option}", program.display());
        unit.replace(&format!("{PROGRAM} {verb}"), &command)
    })
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let whole = format!("{program} {}", arguments.join(" "));
    let ran = Command::new(program).args(arguments).output();
    let ran = ran.with_context(|| format!("`{whole}` cannot be run"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    demand!(ran.status.success(), "service-failed", "`{whole}` failed: {}", said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_names_the_program_and_the_configuration() {
        let usual = unit(Path::new(PROGRAM), Path::new("/etc/posta/posta.toml"));
        assert_eq!(usual, UNIT);
        let other = unit(Path::new("/opt/posta"), Path::new("/opt/posta.toml"));
        assert!(
            other.contains("\nExecStart=/opt/posta serve --config /opt/posta.toml\n"),
            "{other}"
        );
        assert!(
            other.contains("\nExecReload=/opt/posta reload --config /opt/posta.toml\n"),
            "{other}"
        );
    }
}
