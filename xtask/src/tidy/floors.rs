//! The floors of the server, which are the rooms of `crates/server/src`, and the imports allowed between
//! them.

use super::rooms::Imports;
use std::collections::BTreeMap;

/// Each floor of the server, with the floors that it may import.
const FLOORS: [(&str, &[&str]); 16] = [
    ("directory", &[]),
    ("limits", &["directory"]),
    ("filter", &[]),
    ("login", &["directory", "limits"]),
    ("sign", &["limits"]),
    ("deliver", &["directory", "filter", "limits", "sign"]),
    ("reports", &["deliver", "directory", "limits", "sign"]),
    ("send", &["deliver", "directory", "limits", "reports", "sign"]),
    ("settings", &["deliver", "filter", "limits", "login", "send", "sign"]),
    ("receive", &["deliver", "directory", "limits", "login", "settings", "sign"]),
    ("access", &["directory", "limits", "login", "receive", "settings"]),
    ("collect", &["deliver", "directory", "limits", "login", "settings"]),
    (
        "admin",
        &[
            "access",
            "collect",
            "deliver",
            "directory",
            "limits",
            "login",
            "receive",
            "reports",
            "send",
            "settings",
            "sign",
        ],
    ),
    ("web", &["admin", "limits", "login", "send", "settings"]),
    ("listen", &["access", "limits", "login", "receive", "send", "settings", "web"]),
    (
        "assembly",
        &[
            "access",
            "admin",
            "collect",
            "deliver",
            "directory",
            "filter",
            "limits",
            "listen",
            "login",
            "receive",
            "reports",
            "send",
            "settings",
            "sign",
            "web",
        ],
    ),
];

/// Returns the forbidden imports between the server's floors.
pub(crate) fn problems(imports: &Imports) -> Vec<String> {
    let floors: BTreeMap<_, _> = FLOORS.into_iter().collect();
    let mut problems = Vec::new();
    for ((from, to), file) in imports.get(&Vec::new()).into_iter().flatten() {
        match floors.get(from.as_str()) {
            None => problems
                .push(format!("{file}: {from} is no floor that xtask/src/tidy/floors.rs knows")),
            Some(known) if !known.contains(&to.as_str()) => {
                problems.push(format!(
                    "{file}: {from} may not import {to}; see xtask/src/tidy/floors.rs"
                ));
            }
            Some(_) => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(from: &str, to: &str) -> usize {
        let imports = BTreeMap::from([((from.to_owned(), to.to_owned()), "a.rs".to_owned())]);
        problems(&Imports::from([(Vec::new(), imports)])).len()
    }

    #[test]
    fn a_floor_imports_what_the_table_says() {
        assert_eq!(problems_of("deliver", "directory"), 0);
        assert_eq!(problems_of("directory", "deliver"), 1, "upwards");
        assert_eq!(problems_of("cellar", "directory"), 1, "a floor that nobody knows");
    }

    /// Each floor comes before those that may import it, so the table itself has no circle.
    #[test]
    fn the_table_has_no_circle() {
        for (position, (floor, known)) in FLOORS.iter().enumerate() {
            for known in *known {
                assert!(
                    FLOORS[..position].iter().any(|(below, _)| below == known),
                    "{floor}: {known}"
                );
            }
        }
    }
}
