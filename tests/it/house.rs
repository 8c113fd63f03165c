//! The drawing in `src/lib.rs` is what the code is: which module imports which, and no two files each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module's path within the crate: `["plan", "show"]`.
type Module = Vec<String>;

/// The house as its files have it, tests left out.
struct House {
    /// The text of each module.
    texts: BTreeMap<Module, String>,
    /// What a module hands on under its own name: where that is.
    handed_on: BTreeMap<(Module, String), (Module, String)>,
}

impl House {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut texts, mut folders) = (BTreeMap::new(), vec![(root, Module::new())]);
        let mut for_tests = BTreeSet::new();
        while let Some((folder, module)) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let mut module = module.clone();
                let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
                module.extend((!matches!(name.as_str(), "mod" | "lib" | "main")).then_some(name));
                if path.is_dir() {
                    folders.push((path, module));
                } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("main.rs") {
                    let text = std::fs::read_to_string(path).unwrap();
                    for_tests.extend(modules_of_tests(&text).map(|name| [module.as_slice(), &[name]].concat()));
                    texts.insert(module, without_tests(&text));
                }
            }
        }
        texts.retain(|module, _| !for_tests.contains(module));
        let mut house = Self { texts, handed_on: BTreeMap::new() };
        for (module, text) in &house.texts {
            let uses = text.lines().enumerate().filter(|(_, line)| {
                line.starts_with("pub use ") || line.starts_with("pub(") && line.contains(") use ")
            });
            for (at, line) in uses {
                let rest = text.lines().skip(at + 1).collect::<Vec<_>>().join("\n");
                let (_, tree) = line.split_once("use ").unwrap();
                for path in paths(&format!("{tree}\n{rest}")) {
                    let (to, name) = house.find(module, &path);
                    if to == *module {
                        continue; // another crate's
                    }
                    house.handed_on.insert((module.clone(), path.last().unwrap().clone()), (to, name));
                }
            }
        }
        house
    }

    /// The module that a path leads into, and the name that it names there.
    fn find(&self, from: &Module, path: &[String]) -> (Module, String) {
        let (mut at, mut rest) = (from.clone(), path);
        while let [first, tail @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => _ = at.pop(),
                "self" => {}
                _ => break,
            }
            rest = tail;
        }
        while let [first, tail @ ..] = rest {
            let inner = [at.as_slice(), std::slice::from_ref(first)].concat();
            if !self.texts.contains_key(&inner) {
                break;
            }
            (at, rest) = (inner, tail);
        }
        (at, rest.first().cloned().unwrap_or_default())
    }

    /// The modules that one imports from, wherever what it takes from them is handed on.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let text = &self.texts[module];
        let starts = text.match_indices("crate::").chain(text.match_indices("super::"));
        let starts =
            starts.filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
        let mut found = BTreeSet::new();
        for path in starts.flat_map(|(at, _)| paths(&text[at..])) {
            let mut place = self.find(module, &path);
            while let Some(next) = self.handed_on.get(&place) {
                place = next.clone();
            }
            found.insert(place.0);
        }
        found.remove(module);
        found
    }
}

/// The modules in files of their own that are compiled for tests alone.
fn modules_of_tests(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().zip(text.lines().skip(1));
    let marked = lines.filter(|(mark, _)| mark.trim() == "#[cfg(test)]").map(|(_, item)| item);
    marked.filter_map(|item| Some(item.split_once("mod ")?.1.strip_suffix(';')?.to_owned()))
}

/// Without what is compiled for tests alone: rustfmt puts an item's end under its beginning.
fn without_tests(text: &str) -> String {
    let (mut kept, mut lines) = (Vec::new(), text.lines());
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = [format!("{indent}}}"), format!("{indent}}};")];
            if lines.next().is_some_and(|item| !item.ends_with(';')) {
                lines.find(|line| end.iter().any(|end| end == line));
            }
        } else if !line.trim_start().starts_with("//") {
            kept.push(line);
        }
    }
    kept.join("\n")
}

/// The paths of the tree of names that a text begins with: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if let Some(rest) = text.strip_prefix('{') {
        let (mut all, mut depth, mut from) = (Vec::new(), 0, 0);
        for (at, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                '}' => {
                    all.extend(paths(&rest[from..at]));
                    break;
                }
                ',' if depth == 0 => {
                    all.extend(paths(&rest[from..at]));
                    from = at + 1;
                }
                _ => {}
            }
        }
        return all;
    }
    if name.is_empty() {
        return Vec::new();
    }
    let inner = rest.strip_prefix("::").map(paths).unwrap_or_default();
    if inner.is_empty() {
        return vec![vec![name.to_owned()]];
    }
    inner.into_iter().map(|path| [vec![name.to_owned()], path].concat()).collect()
}

#[test]
fn the_drawing_shows_which_module_imports_which() {
    let house = House::read();
    let library = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let drawn = library.lines().filter_map(|line| line.strip_prefix("//! ")?.split_once('←'));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    let drawn: BTreeMap<String, BTreeSet<String>> =
        drawn.map(|(module, from)| (module.trim().to_owned(), words(from))).collect();
    let mut real: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for module in house.texts.keys().filter(|module| module.first().is_some_and(|top| top != "testing")) {
        let of_top = real.entry(module[0].clone()).or_default();
        of_top.extend(house.imports(module).into_iter().filter_map(|from| from.into_iter().next()));
        of_top.remove(&module[0]);
    }
    for (module, from) in &real {
        assert_eq!(drawn.get(module), Some(from), "{module}: the drawing, and the code");
    }
    assert_eq!(drawn.len(), real.len());
    // Each stands above all that it imports.
    let order: Vec<&str> =
        library.lines().filter_map(|line| Some(line.strip_prefix("//! ")?.split_once('←')?.0.trim())).collect();
    for (at, module) in order.iter().enumerate() {
        for from in &drawn[*module] {
            assert!(order[at..].contains(&from.as_str()), "{module} imports {from}, which stands above it");
        }
    }
}

#[test]
fn no_two_files_import_each_other_by_whatever_way() {
    let house = House::read();
    let imports: BTreeMap<&Module, BTreeSet<Module>> = house
        .texts
        .keys()
        .filter(|module| !module.is_empty() && module[0] != "testing")
        .map(|module| {
            // What a module hands on of its own parts is no import.
            let from = house.imports(module).into_iter().filter(|from| !from.starts_with(module));
            (module, from.collect())
        })
        .collect();
    let mut left: BTreeSet<&Module> = imports.keys().copied().collect();
    loop {
        let free: Vec<&Module> =
            left.iter().filter(|module| imports[*module].iter().all(|from| !left.contains(from))).copied().collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module| !free.contains(module));
    }
    assert!(left.is_empty(), "each of these imports another one of them: {left:#?}");
}

#[test]
fn every_file_and_function_that_the_tests_documents_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| {
        let found = ["", "src", "tests", "tests/bench"].iter().map(|folder| root.join(folder).join(name));
        found.map(std::fs::read_to_string).find_map(Result::ok)
    };
    for document in ["tests/README.md", "tests/bench/README.md"] {
        for line in read(document).unwrap().lines() {
            // In the first cell of a row functions follow the file that they are in.
            let first_cell =
                line.strip_prefix("| `").map_or(0, |rest| rest.split(" |").next().unwrap_or_default().len());
            let (mut at, mut file) = (0, None);
            for (n, piece) in line.split('`').enumerate() {
                let (is_quoted, is_first) = (n % 2 == 1, at <= first_cell);
                at += piece.len() + 1;
                if is_quoted && Path::new(piece).extension().is_some_and(|ending| ending == "rs") {
                    file = Some(read(piece).unwrap_or_else(|| panic!("{document} names {piece}, which is not there")));
                } else if is_quoted && is_first && !root.join("src").join(piece).is_dir() {
                    let is_there = file.as_ref().is_none_or(|text| text.contains(&format!("fn {piece}")));
                    assert!(is_there, "{document} names {piece}, which is not in its file: {line}");
                }
            }
        }
    }
}
