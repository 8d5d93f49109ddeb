//! `cargo xtask rfc`: checks that docs/rfc.md lists every RFC that the code cites, and that the tests
//! that it names exist.

use crate::tidy::{MAY_KNOW, folder, rust_files};
use std::{collections::BTreeSet, fs, path::Path};

pub(crate) fn run(root: &Path) -> Result<(), String> {
    let table = fs::read_to_string(root.join("docs/rfc.md"))
        .map_err(|error| format!("docs/rfc.md cannot be read: {error}"))?;
    let code: Vec<_> = MAY_KNOW
        .iter()
        .flat_map(|(name, _)| rust_files(&root.join(folder(name))))
        .filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?)))
        .collect();
    let listed = citations(&table);
    let mut problems = Vec::new();
    for (path, text) in &code {
        for number in citations(text).difference(&listed) {
            problems.push(format!("{}: RFC {number} is not listed in docs/rfc.md", path.display()));
        }
    }
    let tests = named_tests(&table);
    for test in &tests {
        let exists = if test.ends_with(".txt") {
            root.join("tests/transcripts").join(test).is_file()
        } else {
            code.iter().any(|(_, text)| text.contains(&format!("fn {test}(")))
        };
        if !exists {
            problems.push(format!("docs/rfc.md names the test {test}, which does not exist"));
        }
    }
    if listed.is_empty() || tests.is_empty() {
        problems.push("docs/rfc.md lists nothing".to_owned());
    }
    if problems.is_empty() {
        println!("{} RFCs are listed, and {} tests named", listed.len(), tests.len());
        return Ok(());
    }
    Err(problems.join("\n"))
}

/// Returns the numbers that follow `RFC `.
fn citations(text: &str) -> BTreeSet<u32> {
    text.split("RFC ")
        .skip(1)
        .filter_map(|rest| {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..digits].parse().ok()
        })
        .collect()
}

/// Returns the names between backquotes in the last column of the tables.
fn named_tests(table: &str) -> BTreeSet<&str> {
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_end_matches(['|', ' ']).rsplit('|').next())
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_are_found() {
        let found = citations("// RFC 5321 §4.2 and RFC 3463\nRFC x");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [3463, 5321]);
    }

    #[test]
    fn tests_are_named_in_the_last_column() {
        let table = "| §1 | `TOP` | yes | `a.txt`, `b` |\n| §2 | c | no | |\nsome `text`";
        assert_eq!(named_tests(table).into_iter().collect::<Vec<_>>(), ["a.txt", "b"]);
    }
}
