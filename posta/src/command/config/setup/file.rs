//! The configuration that setup writes: short, and with comments.

use super::{Target, answers::Answers, ports::Listening};
use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Returns the text of the configuration.
pub(super) fn text(target: &Target, answers: &Answers, listening: &Listening) -> String {
    let Answers { domain, hostname, account, acme, .. } = answers;
    let data = quoted(&target.data.display().to_string());
    let hostname = quoted(hostname.as_str());
    let mut text = format!(
        "# Posta's configuration, as `posta setup {domain}` wrote it. docs/configuration.md describes every option,\n\
         # `posta config show` shows all values, and `posta config check` tells whether this file is right.\n\n\
         # The server's own name, as DNS has it.\n\
         hostname = {hostname}\n\
         # Mail, accounts and keys: for the server's user alone.\n\
         data = {data}\n"
    );
    if target.is_system {
        let contact = quoted(account.as_str());
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n# Certificates from Let's Encrypt, renewed by the server: `posta certificate list`. Enabled, this accepts its\n\
             # terms of service (https://letsencrypt.org/repository/).\n\
             [acme]\nenabled = {acme}\ncontact = {contact}\n"
        );
    }
    for (socket, address) in &listening.sockets {
        let _ = write!(
            text,
            "\n# {}\n[[listen]]\nprotocol = \"{}\"\naddress = \"{address}\"\ntls = \"{}\"\n",
            socket.why, socket.protocol, socket.tls
        );
    }
    text
}

/// The SHA-256 of each configuration that a Debian package has installed, for programs on the machine only.
const PACKAGED: &str = include_str!("../../../../../packaging/posta.toml.sums");

/// The largest file that is compared with those, in octets.
const LARGEST: u64 = 64 * 1024;

/// Returns whether a configuration is a package's, in which nobody has changed anything: setup replaces it.
pub(super) fn is_packaged(path: &Path) -> bool {
    let mut text = Vec::new();
    let file = fs::File::open(path);
    if file.and_then(|file| file.take(LARGEST).read_to_end(&mut text)).is_err() {
        return false;
    }
    let sum = digest(&SHA256, &text).as_ref().iter().fold(String::new(), |mut sum, octet| {
        // Writing to a string cannot fail.
        let _ = write!(sum, "{octet:02x}");
        sum
    });
    PACKAGED.lines().any(|line| line.split_whitespace().next() == Some(&sum))
}

/// Returns a string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Writes the configuration, which must not exist unless it is the package's. It holds no secret, and the server's user has to read it.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let words = || format!("the configuration {} cannot be written", path.display());
    let parent = path.parent().unwrap_or(Path::new("/"));
    if !parent.exists() {
        fs::create_dir_all(parent).with_context(words)?;
        // Whatever the umask is: the server's user has to get there.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(parent, open).with_context(words)?;
    }
    if is_packaged(path) {
        fs::remove_file(path).with_context(words)?;
    }
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o644).open(path).with_context(words)?;
    file.write_all(text.as_bytes()).with_context(words)?;
    file.set_permissions(fs::Permissions::from_mode(0o644)).with_context(words)?;
    file.sync_all().with_context(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configurations_of_this_package_and_of_older_ones_are_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("posta.toml");
        let now = include_str!("../../../../../packaging/posta.toml");
        let before = include_str!("../../../../../tests/interop/packaged-before.toml");
        assert_ne!(now, before);
        for (text, expected) in
            [(now, true), (before, true), (&format!("{now}\n"), false), ("", false)]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(
                is_packaged(&path),
                expected,
                "a new packaging/posta.toml needs a line in posta.toml.sums"
            );
        }
        assert!(!is_packaged(directory.path()), "a directory");
    }
}
