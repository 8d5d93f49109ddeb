//! The mailboxes of all accounts, by a pattern of their paths such as `/var/vmail/%d/%n/Maildir`.

use super::Job;
use crate::{
    fault::demand,
    operator::SharedSession,
    output::{self, say},
};
use anyhow::Result;
use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

/// The most mailboxes without an account that are looked for.
const LOOKED_AT: usize = 100_000;

/// Returns the mailboxes that belong to accounts, and the number of those that do not, which it names.
pub(super) async fn jobs(session: &SharedSession, pattern: &str) -> Result<(Vec<Job>, u64)> {
    demand!(
        pattern.contains("%n") || pattern.contains("%u"),
        "invalid-map",
        "--map needs %n, which stands for the name in an address, or %u: '/var/vmail/%d/%n/Maildir'"
    );
    let accounts = session.accounts().await?;
    let pattern = std::path::absolute(pattern)?;
    let mut paths = BTreeSet::new();
    let (mut jobs, mut skipped) = (Vec::new(), 0);
    for account in accounts {
        let Some(path) = expand(&pattern, &account.address) else {
            let words = "its address names no directory of its own: import it with its path";
            output::complain(format_args!("skipped {}: {words}", account.address));
            skipped += 1;
            continue;
        };
        match path.symlink_metadata() {
            Ok(_) => jobs.push(Job { address: account.address, path: path.clone() }),
            Err(error) => say!("{} has none: {}: {error}", account.address, path.display()),
        }
        paths.insert(path);
    }
    for path in all(&pattern).into_iter().filter(|path| !paths.contains(path)) {
        let words = "it belongs to no account (`posta account add`)";
        output::complain(format_args!("skipped {}: {words}", path.display()));
        skipped += 1;
    }
    demand!(
        !jobs.is_empty() || skipped > 0,
        "no-mailbox",
        "no account has a mailbox at {}: its directories are looked for by the addresses that `posta account \
         list` shows",
        pattern.display()
    );
    Ok((jobs, skipped))
}

/// Returns the path for an address. None if the path would lead elsewhere: whoever may add an account could have another
/// mailbox imported into it, by a name such as `ana/.Sent`, or `/var/vmail/ana`.
fn expand(pattern: &Path, address: &str) -> Option<PathBuf> {
    let (name, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let with = |part: &str| part.replace("%d", domain).replace("%n", name).replace("%u", address);
    let is_one = |part: &str| !part.contains(['/', '\0']) && !matches!(part, "" | "." | "..");
    let part = |part: Component<'_>| {
        let text = part.as_os_str().to_string_lossy();
        let expanded = with(&text);
        (expanded == text || is_one(&expanded)).then_some(expanded)
    };
    pattern.components().map(part).collect()
}

/// Returns all paths that exist for a pattern, for any address.
fn all(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy();
        let variable = ["%d", "%n", "%u"].iter().find_map(|name| text.split_once(name));
        let mut next = Vec::new();
        for above in found {
            match variable {
                Some((before, after)) if matches!(part, Component::Normal(_)) => {
                    let entries = fs::read_dir(&above).into_iter().flatten().flatten();
                    let matching = entries.filter(|entry| {
                        let name = entry.file_name();
                        let name = name.to_string_lossy();
                        let inner = name.strip_prefix(before).filter(|it| !it.starts_with('.'));
                        // Two in one name are not told apart.
                        after.contains('%') || inner.and_then(|it| it.strip_suffix(after)).is_some()
                    });
                    next.extend(matching.take(LOOKED_AT).map(|entry| entry.path()));
                }
                _ => next.push(above.join(part)),
            }
        }
        found = next;
        found.truncate(LOOKED_AT);
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_paths() {
        for (pattern, expected) in [
            ("/var/vmail/%d/%n/Maildir", "/var/vmail/x.test/ana/Maildir"),
            ("/home/%n/Maildir", "/home/ana/Maildir"),
            ("/var/mail/%u", "/var/mail/ana@x.test"),
        ] {
            let path = expand(Path::new(pattern), "ana@x.test");
            assert_eq!(path.as_deref(), Some(Path::new(expected)));
        }
        for address in ["../bob@x.test", "/etc@x.test", "..@x.test", ".@x.test", "a/b@x.test"] {
            for pattern in ["/var/vmail/%d/%n/Maildir", "/home/%n", "/var/mail/%u"] {
                let path = expand(Path::new(pattern), address);
                let is_whole = address.starts_with('.') && !address.contains('/');
                let expected = (pattern.contains("%u") && is_whole)
                    .then(|| PathBuf::from(format!("/var/mail/{address}")));
                assert_eq!(path, expected, "{address} {pattern}");
            }
        }
        let place = tempfile::tempdir().unwrap();
        for name in ["x.test/ana/Maildir", "x.test/bob/Maildir", "x.test/carl", "y.test/.d/Maildir"]
        {
            fs::create_dir_all(place.path().join(name)).unwrap();
        }
        let mut found = all(&place.path().join("%d/%n/Maildir"));
        found.sort();
        let expected = ["x.test/ana/Maildir", "x.test/bob/Maildir"];
        assert_eq!(found, expected.map(|name| place.path().join(name)));
        assert_eq!(all(&place.path().join("x.test/a%n/Maildir")).len(), 1);
    }
}
