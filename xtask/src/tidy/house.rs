//! The rules about the house as a whole: how many rooms a folder has, which rooms and floors import each other, and
//! what public types are called. Known breaches are counted as debts.

use super::{
    MAY_KNOW, debts, floors, folder, names,
    rooms::{self, Imports},
    source::Sources,
};
use std::{collections::BTreeSet, path::Path};

/// Rooms that a folder may have.
const ROOMS: usize = 16;

/// What was found: breaches, and how many of the known ones are left.
#[derive(Default)]
pub(crate) struct House {
    pub(crate) problems: Vec<String>,
    pub(crate) debts: Vec<(usize, &'static str)>,
}

pub(crate) fn check(root: &Path) -> Result<House, String> {
    let mut found = House::default();
    let mut crates = Vec::new();
    let (mut full, mut circles) = (0, 0);
    for (name, _) in MAY_KNOW {
        let src = root.join(folder(name)).join("src");
        for (path, rooms) in rooms::rooms(&src) {
            let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            full += check_rooms(&path, rooms.len(), &mut found.problems);
        }
        let sources = Sources::read(root, &src)?;
        let imports = rooms::between_rooms(&sources);
        circles += check_circles(
            &format!("{}/src", folder(name)),
            &imports,
            &debts::CIRCLES,
            &mut found.problems,
        );
        if name == "posta-server" {
            found.problems.extend(floors::problems(&imports));
        }
        crates.push((name, sources));
    }
    let names = check_names(&crates, &debts::NAMES, &mut found.problems);
    found.debts = vec![
        (full, "folders with too many rooms"),
        (circles, "imports that close a circle"),
        (names, "names of more than two types, used without their module"),
    ];
    Ok(found)
}

/// Returns the number of debts that are left, as all these do.
fn check_rooms(path: &str, count: usize, problems: &mut Vec<String>) -> usize {
    if count <= ROOMS {
        return 0;
    }
    if debts::ROOMS.iter().any(|(folder, known)| *folder == path && count <= *known) {
        return 1;
    }
    problems.push(format!("{path}: {count} rooms; a folder has {ROOMS} at most"));
    0
}

fn check_circles(
    src: &str,
    imports: &Imports,
    debts: &[(&str, usize)],
    problems: &mut Vec<String>,
) -> usize {
    let mut left = 0;
    for (module, imports) in imports {
        let folder = [&[src.to_owned()], &module[..]].concat().join("/");
        let circular = rooms::circular(imports);
        if debts.iter().any(|(known, count)| *known == folder && circular.len() <= *count) {
            left += circular.len();
            continue;
        }
        for (from, to, file) in circular {
            problems.push(format!(
                "{file}: {from} imports {to}, which is part of a circle in {folder}"
            ));
        }
    }
    left
}

fn check_names(crates: &[(&str, Sources)], debts: &[&str], problems: &mut Vec<String>) -> usize {
    let mut left = BTreeSet::new();
    for (name, file) in names::unclear(crates) {
        if debts.contains(&name.as_str()) {
            left.insert(name);
        } else {
            problems.push(format!(
                "{file}: `{name}` is the name of more than two public types: use it with its module, or rename one"
            ));
        }
    }
    left.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_too_many_rooms_is_noticed() {
        let mut problems = Vec::new();
        assert_eq!(check_rooms("crates/x/src", ROOMS, &mut problems), 0);
        assert!(problems.is_empty());
        check_rooms("crates/x/src", ROOMS + 1, &mut problems);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn a_circle_is_noticed_unless_it_is_a_known_debt() {
        let mut sources = Sources::default();
        sources.add("a.rs", vec!["a".into()], "use crate::b::B;").unwrap();
        sources.add("b.rs", vec!["b".into()], "use crate::a::A;").unwrap();
        let imports = rooms::between_rooms(&sources);
        let mut problems = Vec::new();
        assert_eq!(check_circles("x/src", &imports, &[], &mut problems), 0);
        assert_eq!(problems.len(), 2, "{problems:?}");
        problems.clear();
        assert_eq!(check_circles("x/src", &imports, &[("x/src", 2)], &mut problems), 2);
        assert!(problems.is_empty(), "{problems:?}");
        check_circles("x/src", &imports, &[("x/src", 1)], &mut problems);
        assert_eq!(problems.len(), 2, "more than the debt: {problems:?}");
    }

    #[test]
    fn a_name_of_three_types_is_noticed_unless_it_is_a_known_debt() {
        let mut sources = Sources::default();
        for module in ["a", "b", "c"] {
            sources.add(&format!("{module}.rs"), vec![module.into()], "pub struct State;").unwrap();
        }
        sources.add("d.rs", vec!["d".into()], "use crate::a::State;").unwrap();
        let crates = [("posta-x", sources)];
        let mut problems = Vec::new();
        assert_eq!(check_names(&crates, &[], &mut problems), 0);
        assert_eq!(problems.len(), 1);
        assert_eq!(check_names(&crates, &["State"], &mut problems), 1);
        assert_eq!(problems.len(), 1);
    }
}
