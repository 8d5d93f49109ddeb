//! No file contains the plain text of a password that has to be readable again (of mailboxes elsewhere,
//! and for APOP).

use posta_tests::{Place, stdout};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread::sleep, time::Duration};

const ELSEWHERE: &str = "of-the-mailbox-elsewhere";
const FOR_APOP: &str = "of-the-account-for-apop";

/// Returns the files below a directory that contain some octets, each with the number of occurrences.
fn holding(directory: &Path, octets: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, octets));
        } else if path.is_file() {
            let content = fs::read(&path).unwrap();
            let times = content.windows(octets.len()).filter(|at| *at == octets.as_bytes()).count();
            if times > 0 {
                found.push(format!("{}: {times} times", path.display()));
            }
        }
    }
    found
}

/// Makes an account with a password for APOP, and a source at a server that does not exist.
fn place() -> Place {
    let place = Place::new(&[("smtp", "none")]);
    let add = ["account", "add", "ana@x.test", "--password-stdin", "--apop"];
    stdout(&place.posta(&add, FOR_APOP));
    let add =
        ["collect", "add", "--no-check", "ana@x.test", "--server", "127.0.0.1:9", "--user", "ana"];
    stdout(&place.posta(&[&add[..], &["--password-stdin"]].concat(), ELSEWHERE));
    place
}

fn data(place: &Place) -> std::path::PathBuf {
    place.directory.path().join("data")
}

#[test]
fn no_file_shows_a_password() {
    let mut place = place();
    for _ in 0..3 {
        place.posta(&["collect", "run", "1"], "");
    }
    stdout(&place.posta(&["account", "quota", "ana@x.test", "1MiB"], ""));
    place.start();
    place.posta(&["collect", "run", "1"], "");
    place.kill();
    for password in [ELSEWHERE, FOR_APOP] {
        assert_eq!(holding(&data(&place), password), [""; 0], "{password}");
    }
}

/// Returns the outcome of a visit to the source.
fn visited(place: &Place) -> String {
    for _ in 0..100 {
        let run = String::from_utf8(place.posta(&["collect", "run", "1"], "").stderr).unwrap();
        if !run.contains("is being visited right now") {
            return run;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("the server never leaves the source");
}

/// The server continues without its key file, and says which passwords have to be given again; giving
/// one again keeps the source.
#[test]
fn a_lost_key_file_does_not_stop_the_server() {
    let mut place = place();
    let keys = data(&place).join("store.keys");
    fs::rename(&keys, place.directory.path().join("aside")).unwrap();
    place.start();
    let mut wire = posta_tests::smtp(place.address("smtp"));
    assert!(posta_tests::send(&mut wire, "ana@x.test", "Subject: 1\r\n\r\n").starts_with("250 "));
    let words = visited(&place);
    let cause = format!("the key file {} is missing: put it back", keys.display());
    assert!(words.contains(&cause) && words.contains("`posta collect add`"), "{words}");
    let list = stdout(&place.posta(&["collect", "list", "--json"], ""));
    assert!(list.contains("is missing: put it back"), "{list}");

    let add =
        ["collect", "add", "--no-check", "ana@x.test", "--server", "127.0.0.1:9", "--user", "ana"];
    let said = stdout(&place.posta(&[&add[..], &["--password-stdin"]].concat(), ELSEWHERE));
    assert!(said.contains("source 1 is collected"), "{said}");
    let run = visited(&place);
    assert!(run.contains("cannot connect to 127.0.0.1:9"), "{run}");
}

/// A key file in a place that the operator chose is not silently made private.
#[test]
fn a_key_file_elsewhere_that_others_can_read_is_refused() {
    let place = Place::new(&[("smtp", "none")]);
    let keys = place.directory.path().join("elsewhere");
    let config = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), format!("key-file = {keys:?}\n{config}")).unwrap();
    let add = ["account", "add", "ana@x.test", "--password-stdin", "--apop"];
    stdout(&place.posta(&add, FOR_APOP));
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let add = ["account", "password", "ana@x.test", "--password-stdin", "--apop"];
    let refused = place.posta(&add, "another");
    let words = String::from_utf8(refused.stderr).unwrap();
    let cure = format!("`chmod 600 {}`", keys.display());
    assert!(!refused.status.success() && words.contains(&cure), "{words}");
}
