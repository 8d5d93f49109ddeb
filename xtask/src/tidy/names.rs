//! One name, one thing: a public type's name may occur in two files, unless its module names it at each
//! use (`demo::Arguments`, not `Arguments`).

use super::source::{Import, Module, Sources};
use std::collections::{BTreeMap, BTreeSet};

/// The maximal number of files that define public types of the same name.
const FILES: usize = 2;

/// Returns the unqualified uses of names that too many public types have: the name, and the file of the
/// use.
pub(crate) fn unclear(crates: &[(&str, Sources)]) -> BTreeSet<(String, String)> {
    let mut defined: BTreeMap<&str, Vec<(&str, &Module, &str)>> = BTreeMap::new();
    for (package, sources) in crates {
        for (name, module, file) in &sources.types {
            defined.entry(name).or_default().push((package, module, file));
        }
    }
    let files = |places: &[(&str, &Module, &str)]| {
        places.iter().map(|(_, _, file)| *file).collect::<BTreeSet<_>>().len()
    };
    defined.retain(|_, places| files(places) > FILES);
    let mut unclear = BTreeSet::new();
    for (package, sources) in crates {
        for import in &sources.imports {
            let (Some(name), Some(last)) = (&import.name, import.path.last()) else { continue };
            let Some(places) = defined.get(name.as_str()) else { continue };
            let is_one_of_them = places.iter().any(|(of, module, _)| {
                leads_to(import, sources, package, of, module)
                    && !(package == of && is_within(import, sources.home(name, module)))
            });
            if name == last && is_one_of_them {
                unclear.insert((name.clone(), import.file.clone()));
            }
        }
    }
    unclear
}

/// Returns whether an import takes a type from a module or, from another crate, from the crate of that
/// module.
fn leads_to(import: &Import, sources: &Sources, package: &str, of: &str, module: &Module) -> bool {
    match sources.resolve(import) {
        Some(target) => package == of && target == *module,
        None => import.path.first().is_some_and(|first| *first == of.replace('-', "_")),
    }
}

/// Returns whether an import is inside the module that is a type's home, or below.
fn is_within(import: &Import, home: &[String]) -> bool {
    !home.is_empty() && import.from.starts_with(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of unclear uses in the file `user`, in a crate with three public types of one
    /// name.
    fn unclear_beside_three(user: &str) -> usize {
        let mut sources = Sources::default();
        for (module, text) in [
            ("", user),
            ("a", "pub enum State {}"),
            ("b", "pub struct State;"),
            ("c", "pub(crate) type State = u8;"),
        ] {
            let path = module.split_terminator("::").map(str::to_owned).collect();
            sources.add(&format!("{module}.rs"), path, text).unwrap();
        }
        unclear(&[("posta-x", sources)]).len()
    }

    #[test]
    fn a_name_of_three_types_needs_its_module() {
        assert_eq!(unclear_beside_three("use a::State;"), 1);
        assert_eq!(unclear_beside_three("pub use crate::b::{State, Other};"), 1);
        for clear in [
            "use a; fn f(_: a::State) {}",
            "use a::State as Mine;",
            "use a::Other;",
            "use std::State;",
        ] {
            assert_eq!(unclear_beside_three(clear), 0, "{clear}");
        }
    }

    /// The home of `server::Question` is `server`, no matter which file of `server` defines it.
    #[test]
    fn a_type_is_at_home_where_its_module_hands_it_on() {
        let unclear_with = |server: &str, user: &str| {
            let mut sources = Sources::default();
            for (module, text) in [
                ("", "pub mod server;"),
                ("server", server),
                ("server::question", "pub enum Question {}"),
                ("server::chunking", "use super::question::Question;"),
                ("b", "pub enum Question {}"),
                ("c", "pub enum Question {}"),
                ("user", user),
            ] {
                let path = module.split_terminator("::").map(str::to_owned).collect();
                sources.add(&format!("{module}.rs"), path, text).unwrap();
            }
            unclear(&[("posta-x", sources)]).len()
        };
        assert_eq!(unclear_with("pub use question::Question;", ""), 0);
        assert_eq!(unclear_with("pub use question::Question;", "use crate::server::Question;"), 1);
        assert_eq!(unclear_with("", ""), 1, "not handed on: its module is `question`");
    }

    #[test]
    fn two_types_may_share_a_name() {
        let mut sources = Sources::default();
        sources.add("a.rs", vec!["a".into()], "pub enum State {}").unwrap();
        sources
            .add("b.rs", vec!["b".into()], "use crate::a::State; struct Kept; pub struct State;")
            .unwrap();
        sources.add("c.rs", vec!["c".into()], "struct State;").unwrap();
        assert!(unclear(&[("posta-x", sources)]).is_empty());
    }
}
