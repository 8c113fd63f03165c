//! What was typed, as far as a later command has to say it again.

use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// An option with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) name: String,
    value: Option<OsString>,
    /// A relative path means another file in another directory.
    is_path: bool,
}

/// Options of a command line, by what they belong to: the next command has those that mean the same for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Repeat {
    /// Where the API is, and how a run is done: for every command.
    pub(crate) place: Vec<Given>,
    /// How the input is read and what its rows mean: for the same input alone, never for the program's own results.
    pub(crate) reading: Vec<Given>,
    /// Just a part of the rows (`--only`, `--only-user`, …): for the same input alone, and never left out there.
    pub(crate) scope: Vec<Given>,
    /// `--results`, for the same input alone.
    pub(crate) results: Vec<Given>,
}

/// What a run was started with. Kept with it: whoever looks at it later may sit in another directory, and in a shell
/// without its variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typed {
    /// Where it was typed.
    pub(crate) directory: OsString,
    /// The list; in an undo, the journal that is taken back. `-` is standard input.
    pub(crate) input: OsString,
    pub(crate) options: Repeat,
}

impl Given {
    pub(crate) fn flag(name: &str) -> Self {
        Self { name: name.to_owned(), value: None, is_path: false }
    }

    pub(crate) fn text(name: &str, value: impl Into<OsString>) -> Self {
        Self { name: name.to_owned(), value: Some(value.into()), is_path: false }
    }

    pub(crate) fn file(name: &str, path: &Path) -> Self {
        Self { name: name.to_owned(), value: Some(path.into()), is_path: true }
    }

    /// Whether the value would be read as another option, or as the input.
    fn is_joined(&self, value: &OsString) -> bool {
        self.name == "simulate" || value.as_encoded_bytes().starts_with(b"-") && value != "-"
    }

    /// As it is typed: in one word where it must be.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut option = OsString::from(format!("--{}", self.name));
        match &self.value {
            None => vec![option],
            Some(value) if self.is_joined(value) => {
                option.push("=");
                option.push(value);
                vec![option]
            }
            Some(value) => vec![option, value.clone()],
        }
    }
}

impl Repeat {
    /// Whether an option is among those of the place.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.place.iter().any(|given| given.name == name)
    }

    /// The file that an option of the place names.
    pub(crate) fn file(&self, name: &str) -> Option<&Path> {
        let given = self.place.iter().find(|given| given.name == name && given.is_path)?;
        given.value.as_deref().map(Path::new)
    }
}

impl Typed {
    /// The input and the options as they are typed in another directory.
    pub(crate) fn seen_from(&self, here: &Path) -> (OsString, Repeat) {
        let there = Path::new(&self.directory);
        let of = |path: &OsString| {
            let whole = there.join(path);
            // Where all of it has moved, the old name of its directory leads nowhere.
            if here == there || path == "-" || !whole.exists() { path.clone() } else { whole.into() }
        };
        let mut options = self.options.clone();
        let Repeat { place, reading, scope, results } = &mut options;
        for given in [place, reading, scope, results].into_iter().flatten().filter(|given| given.is_path) {
            given.value = given.value.as_ref().map(of);
        }
        (of(&self.input), options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_leads_to_the_same_file_from_another_directory() {
        let there = tempfile::tempdir().unwrap();
        std::fs::write(there.path().join("c.toml"), "").unwrap();
        std::fs::write(there.path().join("list.csv"), "").unwrap();
        let place = vec![Given::file("config", Path::new("c.toml")), Given::file("metrics", Path::new("gone.prom"))];
        let options = Repeat { place, ..Repeat::default() };
        let typed = Typed { directory: there.path().into(), input: "list.csv".into(), options };
        assert_eq!(typed.seen_from(there.path()), (typed.input.clone(), typed.options.clone()));
        let (input, elsewhere) = typed.seen_from(Path::new("/"));
        assert_eq!(input, there.path().join("list.csv").into_os_string());
        let words: Vec<_> = elsewhere.place.iter().flat_map(Given::words).collect();
        let config = there.path().join("c.toml").into_os_string();
        assert_eq!(words, ["--config".into(), config, "--metrics".into(), OsString::from("gone.prom")]);
    }
}
