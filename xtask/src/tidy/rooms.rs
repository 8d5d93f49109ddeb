//! The rooms of a folder, and the imports between them. A room is a file or folder beside `mod.rs`,
//! `lib.rs` or `main.rs`; `a.rs` and `a/` are the same room.

use super::source::{Module, Sources};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Returns the rooms of each folder below a `src` folder.
pub(crate) fn rooms(src: &Path) -> BTreeMap<PathBuf, BTreeSet<String>> {
    let mut rooms: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for file in super::rust_files(src) {
        let mut room = file.with_extension("");
        while let Some(folder) = room.parent().map(Path::to_owned) {
            let name = room.file_name().map(|name| name.display().to_string()).unwrap_or_default();
            if !["mod", "lib", "main"].contains(&name.as_str()) {
                rooms.entry(folder.clone()).or_default().insert(name);
            }
            if folder == src {
                break;
            }
            room = folder;
        }
    }
    rooms
}

/// The imports between rooms: for each module, the pairs of importing and imported room, each with a
/// file that contains such an import.
pub(crate) type Imports = BTreeMap<Module, BTreeMap<(String, String), String>>;

/// Returns the imports between rooms. An import belongs to the innermost folder that contains both ends.
pub(crate) fn between_rooms(sources: &Sources) -> Imports {
    let mut imports = Imports::new();
    for import in &sources.imports {
        let Some(target) = sources.resolve(import) else { continue };
        let shared = import.from.iter().zip(&target).take_while(|(from, to)| from == to).count();
        let (Some(from), Some(to)) = (import.from.get(shared), target.get(shared)) else {
            continue;
        };
        imports
            .entry(target[..shared].to_vec())
            .or_default()
            .entry((from.clone(), to.clone()))
            .or_insert_with(|| import.file.clone());
    }
    imports
}

/// Returns the imports that are part of a circle.
pub(crate) fn circular(imports: &BTreeMap<(String, String), String>) -> Vec<(&str, &str, &str)> {
    let mut circular = Vec::new();
    for ((from, to), file) in imports {
        let mut reached = BTreeSet::from([to]);
        let mut waiting = vec![to];
        while let Some(room) = waiting.pop() {
            for (_, next) in imports.keys().filter(|(from, _)| from == room) {
                if reached.insert(next) {
                    waiting.push(next);
                }
            }
        }
        if reached.contains(from) {
            circular.push((from.as_str(), to.as_str(), file.as_str()));
        }
    }
    circular
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the imports in a crate with these modules and texts.
    fn imports(files: &[(&str, &str)]) -> Imports {
        let mut sources = Sources::default();
        for (module, text) in files {
            let path = module.split_terminator("::").map(str::to_owned).collect();
            sources.add(&format!("{module}.rs"), path, text).unwrap();
        }
        between_rooms(&sources)
    }

    /// Returns whether this text makes `a` import its neighbour `b`.
    fn is_noticed(text: &str) -> bool {
        let all = imports(&[
            ("", "mod a; mod b; use b::Facade;"),
            ("a", text),
            ("b", "pub struct B; pub struct Facade;"),
            ("b::inner", ""),
        ]);
        all.get(&Vec::new()).is_some_and(|rooms| rooms.contains_key(&("a".into(), "b".into())))
    }

    #[test]
    fn every_way_to_import_is_noticed() {
        for text in [
            "use crate::b::B;",
            "use super::{b::inner, c};",
            "use super::b;",
            "use super::b::*;",
            // The name is one that the folder's own module exports.
            "use super::Facade;",
            "fn f(_: crate::b::B) {}",
            "fn f() { super::b::g(); }",
            "fn f() { println!(\"{}\", crate::b::N); }",
            "mod within { fn f() { super::super::b::g(); } }",
        ] {
            assert!(is_noticed(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_import_passes() {
        for text in [
            "use std::fmt; use b::B;",
            "#[cfg(test)] mod tests { use crate::b::B; }",
            "//! [`crate::b::B`]",
            "mod b { pub struct B; } use self::b::B;",
        ] {
            assert!(!is_noticed(text), "{text}");
        }
    }

    #[test]
    fn a_circle_is_found_and_what_leads_to_it_is_no_part() {
        let all = imports(&[
            ("", ""),
            ("a", "use crate::b::B;"),
            ("b", "use crate::c::C;"),
            ("c", "use crate::d::D;"),
            ("d", "use crate::b::B;"),
        ]);
        let found: Vec<_> =
            circular(&all[&Vec::new()]).into_iter().map(|(from, to, _)| (from, to)).collect();
        assert_eq!(found, [("b", "c"), ("c", "d"), ("d", "b")]);
    }

    /// An import belongs to the folder that contains both its ends.
    #[test]
    fn a_circle_within_a_room_is_of_that_room() {
        let all = imports(&[
            ("", ""),
            ("a", ""),
            ("a::x", "use super::y::Y;"),
            ("a::y", "use crate::a::x::X;"),
        ]);
        assert_eq!(all.keys().collect::<Vec<_>>(), [&vec!["a".to_owned()]]);
        assert_eq!(circular(&all[&vec!["a".to_owned()]]).len(), 2);
    }

    #[test]
    fn a_file_and_a_folder_of_one_name_are_one_room() {
        let src = std::env::temp_dir().join(format!("posta-rooms-{}", std::process::id()));
        for file in ["lib.rs", "a.rs", "a/b.rs", "a/c/mod.rs"] {
            let path = src.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let counted = rooms(&src);
        std::fs::remove_dir_all(&src).unwrap();
        assert_eq!(counted[&src], BTreeSet::from(["a".to_owned()]));
        assert_eq!(counted[&src.join("a")], BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    }
}
