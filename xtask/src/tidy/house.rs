//! The rules about the crates as a whole: the number of rooms in a folder, the imports between rooms and
//! floors, and the names of public types.

use super::{
    MAY_KNOW, floors, folder, names,
    rooms::{self, Imports},
    source::Sources,
};
use std::path::Path;

/// The maximal number of rooms in a folder.
const ROOMS: usize = 16;

/// Returns the violations.
pub(crate) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    let mut crates = Vec::new();
    for (name, _) in MAY_KNOW {
        let src = root.join(folder(name)).join("src");
        for (path, rooms) in rooms::rooms(&src) {
            let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            check_rooms(&path, rooms.len(), &mut problems);
        }
        let sources = Sources::read(root, &src)?;
        let imports = rooms::between_rooms(&sources);
        check_circles(&format!("{}/src", folder(name)), &imports, &mut problems);
        if name == "posta-server" {
            problems.extend(floors::problems(&imports));
        }
        crates.push((name, sources));
    }
    check_names(&crates, &mut problems);
    Ok(problems)
}

fn check_rooms(path: &str, count: usize, problems: &mut Vec<String>) {
    if count > ROOMS {
        problems.push(format!("{path}: {count} rooms; a folder has {ROOMS} at most"));
    }
}

fn check_circles(src: &str, imports: &Imports, problems: &mut Vec<String>) {
    for (module, imports) in imports {
        let folder = [&[src.to_owned()], &module[..]].concat().join("/");
        for (from, to, file) in rooms::circular(imports) {
            problems.push(format!(
                "{file}: {from} imports {to}, which is part of a circle in {folder}"
            ));
        }
    }
}

fn check_names(crates: &[(&str, Sources)], problems: &mut Vec<String>) {
    for (name, file) in names::unclear(crates) {
        problems.push(format!(
            "{file}: `{name}` is the name of more than two public types: use it with its module, or rename one"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_too_many_rooms_is_noticed() {
        let mut problems = Vec::new();
        check_rooms("crates/x/src", ROOMS, &mut problems);
        assert!(problems.is_empty());
        check_rooms("crates/x/src", ROOMS + 1, &mut problems);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn a_circle_is_noticed() {
        let mut sources = Sources::default();
        sources.add("a.rs", vec!["a".into()], "use crate::b::B;").unwrap();
        sources.add("b.rs", vec!["b".into()], "use crate::a::A;").unwrap();
        let mut problems = Vec::new();
        check_circles("x/src", &rooms::between_rooms(&sources), &mut problems);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn a_name_of_three_types_is_noticed() {
        let mut sources = Sources::default();
        for module in ["a", "b", "c"] {
            sources.add(&format!("{module}.rs"), vec![module.into()], "pub struct State;").unwrap();
        }
        sources.add("d.rs", vec!["d".into()], "use crate::a::State;").unwrap();
        let mut problems = Vec::new();
        check_names(&[("posta-x", sources)], &mut problems);
        assert_eq!(problems.len(), 1);
    }
}
