//! Where settings are written, below the options: the config file and the environment; and how all are laid together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::declared::{Settings, place_of};
use super::layer::{Layer, Written, nearest};
use super::origin::Origin;
use crate::error::Error;
use crate::text::escape_untrusted;

/// The config file that is read unasked, where it stands in the working directory.
pub(crate) const CONFIG_FILE: &str = "config.toml";
/// What the names of the environment's settings begin with.
pub(crate) const PREFIX: &str = "BATCH_DETACH_";
/// Bytes of a config file at most.
const MAX_FILE: u64 = 1 << 20;

/// All that [`load`] reads, but for the environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources<'a> {
    pub options: Layer,
    /// `--config`; without it, [`CONFIG_FILE`] in `directory`, if it is there.
    pub config: Option<&'a Path>,
    /// Empty for the working directory.
    pub directory: &'a str,
    /// For `run JOURNAL`: the journal's path and the settings it was planned with, which hold below the options.
    pub planned: Option<(&'a str, &'a BTreeMap<String, String>)>,
}

/// The settings, and how they came about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loaded {
    pub settings: Settings,
    /// The config file that was read.
    pub config: Option<PathBuf>,
    /// What is probably a mistake and changes nothing; a line each.
    pub warnings: Vec<String>,
}

/// Lays options over the environment, over the config file, over the defaults; then checks the whole.
///
/// * `environment`: as from [`std::env::vars_os`].
///
/// # Errors
/// [`Error::Setting`] with the place of what is wrong; [`Error::Input`] where the config file is no TOML;
/// [`Error::File`] where it can't be read.
pub(crate) fn load(
    sources: Sources<'_>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Error> {
    let by_default = Path::new(sources.directory).join(CONFIG_FILE);
    let path = sources.config.unwrap_or(&by_default);
    let (file, config) = match read(path) {
        Ok(text) => {
            let layer = from_toml(&text, &path.display().to_string())
                .map_err(|error| if sources.config.is_some() { error } else { read_unasked(error) })?;
            (layer, Some(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && sources.config.is_none() => (Layer::default(), None),
        Err(source) => return Err(Error::File { verb: "read the config file", path: path.to_owned(), source }),
    };
    let (environment, warnings) = from_environment(environment)?;
    let mut below = environment.over(file);
    if let Some((journal, planned)) = sources.planned {
        below = below.under_plan(journal, planned)?;
    }
    Ok(Loaded { settings: sources.options.over(below).resolve()?, config, warnings })
}

/// `config.toml` is a common name: somebody who never meant this file must learn why it is read.
fn read_unasked(error: Error) -> Error {
    let explain = |problem: String| {
        format!("{problem} ({CONFIG_FILE} in the working directory is read by itself; `--config FILE` names another)")
    };
    match error {
        Error::Setting { name, origin, problem } => Error::Setting { name, origin, problem: explain(problem) },
        Error::Input { path, problem } => Error::Input { path, problem: explain(problem) },
        other => other,
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB, which no config file is"));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text; save it as UTF-8"))
}

/// Reads a config file. Its tables are headings: a key counts wherever it stands.
///
/// * `path`: as it shall be named in errors and origins.
pub fn from_toml(text: &str, path: &str) -> Result<Layer, Error> {
    // Its own message would print the line, which may hold what somebody took for the place of a secret (P19).
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let problem = format!("not TOML: {}", escape_untrusted(error.message().trim(), 200));
        Error::Input { path: format!("{path}:{}:{column}", line_of(text, start)), problem }
    })?;
    let mut file = FileReader { text, path: path.into(), layer: Layer::default(), lines: BTreeMap::new() };
    file.table(table.get_ref())?;
    Ok(file.layer)
}

/// The line that byte `at` stands on, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

struct FileReader<'a> {
    text: &'a str,
    path: Arc<str>,
    layer: Layer,
    /// The line that each key stands on.
    lines: BTreeMap<String, usize>,
}

impl FileReader<'_> {
    fn table(&mut self, table: &DeTable<'_>) -> Result<(), Error> {
        // In the order of the file, so that the first fault is the one that is named.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name: &str = key.get_ref();
            let line = line_of(self.text, key.span().start);
            let origin = Origin::File { path: Arc::clone(&self.path), line };
            let written = match value.get_ref() {
                DeValue::Table(fields) if name == "column" => Written::List(column_entries(fields, name, &origin)?),
                DeValue::Table(heading) => {
                    self.table(heading)?;
                    continue;
                }
                DeValue::Array(array) => {
                    let entries = array.iter().map(|entry| scalar(entry.get_ref(), name, &origin));
                    Written::List(entries.collect::<Result<_, Error>>()?)
                }
                other => Written::Text(scalar(other, name, &origin)?),
            };
            self.layer.set(name, written, origin.clone())?;
            if let Some(earlier) = self.lines.insert(name.to_owned(), line) {
                let problem = format!("stands on line {earlier}, too: tables are headings, and a key counts once");
                return Err(Error::Setting { name: name.to_owned(), origin: origin.to_string(), problem });
            }
        }
        Ok(())
    }
}

/// `column = { user_name = "Employee" }` is as good as `column = ["user_name=Employee"]`.
fn column_entries(fields: &DeTable<'_>, name: &str, origin: &Origin) -> Result<Vec<String>, Error> {
    let entry = |(field, header): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let field: &std::borrow::Cow<'_, str> = field.get_ref();
        Ok(format!("{field}={}", scalar(header.get_ref(), name, origin)?))
    };
    fields.iter().map(entry).collect()
}

/// A single value, as its text.
fn scalar(value: &DeValue<'_>, name: &str, origin: &Origin) -> Result<String, Error> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().replace('_', "")),
        DeValue::Float(number) => Ok(number.as_str().replace('_', "")),
        DeValue::Boolean(on) => Ok(if *on { "on" } else { "off" }.to_owned()),
        DeValue::Integer(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => Err(Error::Setting {
            name: escape_untrusted(name, 60),
            origin: origin.to_string(),
            problem: "takes a text in quotes, a decimal number, or true or false".to_owned(),
        }),
    }
}

/// Options that are no settings. Whoever sets a variable of such a name means to hold something back (`DRY_RUN`, `ONLY`)
/// or to say where something goes: to ignore it would do what was not meant.
pub(crate) const OPTIONS_ALONE: [&str; 18] = [
    "allow-detach-all",
    "approved",
    "as-of",
    "config",
    "dry-run",
    "format",
    "fresh",
    "html",
    "only",
    "only-desktop",
    "only-user",
    "output",
    "redact",
    "requests",
    "results",
    "simulate",
    "ticket",
    "yes",
];

/// Reads the variables that begin with [`PREFIX`]; empty ones count as not there. Also gives a warning for each that is
/// no setting.
///
/// # Errors
/// [`Error::Setting`] where a value can't be read.
pub(crate) fn from_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Layer, Vec<String>), Error> {
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty())
        .collect();
    ours.sort();
    let (mut layer, mut warnings) = (Layer::default(), Vec::new());
    for (variable, value) in ours {
        let name = variable[PREFIX.len()..].to_ascii_lowercase().replace('_', "-");
        if variable_of(&name) == variable && OPTIONS_ALONE.contains(&name.as_str()) {
            return Err(Error::Setting {
                problem: format!("is an option alone, and no variable sets it: give --{name}, or unset the variable"),
                name,
                origin: Origin::Variable(variable).to_string(),
            });
        }
        if variable_of(&name) != variable || place_of(&name).is_none() {
            warnings.push(format!(
                "environment variable {} is no setting and is ignored; the nearest is {}",
                escape_untrusted(&variable, 80),
                variable_of(nearest(&name))
            ));
            continue;
        }
        let origin = Origin::Variable(variable);
        let Ok(value) = value.into_string() else {
            let problem = "its value is not UTF-8 text".to_owned();
            return Err(Error::Setting { name, origin: origin.to_string(), problem });
        };
        layer.set(&name, Written::Text(value), origin)?;
    }
    Ok((layer, warnings))
}

/// The environment variable of a setting: `write-rate` is `BATCH_DETACH_WRITE_RATE`.
pub(crate) fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::super::declared::DECLARED;
    use super::*;

    const SHIPPED: &str = include_str!("../../config.toml");

    fn vars(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    fn option(name: &'static str, value: &str) -> Layer {
        let mut layer = Layer::default();
        layer.set(name, Written::Text(value.to_owned()), Origin::Option(name)).unwrap();
        layer
    }

    fn fault(text: &str) -> String {
        from_toml(text, "config.toml").unwrap_err().to_string()
    }

    #[test]
    fn options_lie_over_environment_over_file_over_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let text =
            "[pace]\nconcurrency = 2\nwrite-rate = \"2/s\"\nread-rate = \"2/s\"\n[safety]\nprotect = [\"file\"]\n";
        std::fs::write(directory.path().join(CONFIG_FILE), text).unwrap();
        let sources = Sources {
            options: option("concurrency", "4").over(option("protect", "option")),
            directory: directory.path().to_str().unwrap(),
            ..Sources::default()
        };
        let environment =
            [("BATCH_DETACH_CONCURRENCY", "3"), ("BATCH_DETACH_WRITE_RATE", "3/s"), ("BATCH_DETACH_PROTECT", "env")];
        let loaded = load(sources, vars(&environment)).unwrap();
        let settings = &loaded.settings;
        assert_eq!(settings.concurrency.get(), 4);
        assert_eq!(settings.write_rate.to_string(), "3/s");
        assert_eq!(settings.read_rate.to_string(), "2/s");
        assert_eq!(settings.max_users_per_request.get(), 5_000);
        assert_eq!(settings.protect.patterns().collect::<Vec<_>>(), ["option", "env", "file"]);
        assert_eq!(loaded.config, Some(directory.path().join(CONFIG_FILE)));
        let origins: Vec<String> = settings.origins().iter().map(|line| line.origin.to_string()).collect();
        assert!(origins.iter().any(|origin| origin.ends_with("config.toml:4")), "{origins:?}");
        assert!(origins.contains(&"option --concurrency".to_owned()));
        assert!(origins.contains(&"environment variable BATCH_DETACH_WRITE_RATE".to_owned()));
    }

    #[test]
    fn a_config_file_is_needed_only_where_it_was_named() {
        let directory = tempfile::tempdir().unwrap();
        let sources = Sources { directory: directory.path().to_str().unwrap(), ..Sources::default() };
        assert_eq!(load(sources.clone(), []).unwrap().config, None);
        let named = directory.path().join("other.toml");
        let error = load(Sources { config: Some(&named), ..sources }, []).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
    }

    #[test]
    fn a_file_read_unasked_says_why_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["baseURL = 1", "[[["] {
            std::fs::write(directory.path().join(CONFIG_FILE), text).unwrap();
            let sources = Sources { directory: directory.path().to_str().unwrap(), ..Sources::default() };
            assert!(load(sources, []).unwrap_err().to_string().contains("--config FILE"));
        }
    }

    #[test]
    fn p18_a_config_file_is_small_and_utf_8() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        for bytes in [vec![b'#'; 2 << 20], vec![0xff, 0xfe]] {
            std::fs::write(&path, bytes).unwrap();
            let error = load(Sources { config: Some(&path), ..Sources::default() }, []).unwrap_err();
            assert!(matches!(error, Error::File { .. }), "{error}");
        }
    }

    #[test]
    fn tables_are_headings_at_any_depth() {
        let layer = from_toml("region = 'a'\n[x]\nconcurrency = 1_000\n[x.y]\nverify = false\n", "f").unwrap();
        let lines: Vec<_> =
            layer.lines().into_iter().map(|line| (line.name, line.value, line.origin.to_string())).collect();
        let line = |name, value: &str, origin: &str| (name, value.to_owned(), origin.to_owned());
        assert_eq!(
            lines,
            [line("region", "a", "f:1"), line("concurrency", "1000", "f:3"), line("verify", "off", "f:5")]
        );
    }

    #[test]
    fn p18_no_depth_of_headings_ends_the_program() {
        for deep in [format!("{}x = 1", "a.".repeat(100_000)), format!("[{}a]\nx = 1", "a.".repeat(100_000))] {
            assert!(from_toml(&deep, "f").is_err());
        }
    }

    #[test]
    fn a_key_in_two_tables_is_refused_with_both_lines() {
        let error = fault("[a]\nconcurrency = 1\n[b]\nconcurrency = 1\n");
        assert!(error.contains("config.toml:4") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_one() {
        let error = fault("# one\n[pace]\nconcurency = 1\n");
        assert!(error.contains("config.toml:3") && error.contains("nearest is `concurrency`"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line() {
        assert!(fault("\n\nwrite-rate = \"fast\"\n").contains("config.toml:3"));
        for wrong in
            ["concurrency = 0x10", "region = 2026-01-01", "region = [1]", "protect = [[1]]", "[[pace]]\nregion = 'a'"]
        {
            assert!(from_toml(wrong, "f").is_err(), "{wrong}");
        }
    }

    #[test]
    fn p19_a_file_that_is_no_toml_is_refused_without_its_text() {
        let error = fault("region = 'a'\nkey hunter2 = \n");
        assert!(error.contains("config.toml:2:") && !error.contains("hunter2"), "{error}");
        let error = fault("[auth]\nsecret-key = 'hunter2'\n");
        assert!(error.contains("config.toml:2") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn columns_are_a_list_or_a_table() {
        let list = from_toml("column = ['user_name=Who', 'desktop_id=Desk, top']", "f").unwrap();
        let table = from_toml("[column]\nuser_name = 'Who'\ndesktop_id = 'Desk, top'\n", "f").unwrap();
        assert_eq!(list.resolve().unwrap().columns, table.resolve().unwrap().columns);
    }

    #[test]
    fn an_unknown_variable_is_a_warning_and_a_wrong_value_an_error() {
        let environment = [("BATCH_DETACH_CONCURENCY", "1"), ("HOME", "/"), ("BATCH_DETACH_REGION", "")];
        let (layer, warnings) = from_environment(vars(&environment)).unwrap();
        assert_eq!(layer, Layer::default());
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].contains("CONCURENCY") && warnings[0].ends_with("BATCH_DETACH_CONCURRENCY"),
            "{warnings:?}"
        );
        let error = from_environment(vars(&[("BATCH_DETACH_CANARY", "x")])).unwrap_err().to_string();
        assert!(error.contains("BATCH_DETACH_CANARY"), "{error}");
        let error = from_environment(vars(&[("BATCH_DETACH_DRY_RUN", "true")])).unwrap_err().to_string();
        assert!(error.contains("BATCH_DETACH_DRY_RUN") && error.contains("--dry-run"), "{error}");
        let (_, warnings) = from_environment(vars(&[("BATCH_DETACH_write_rate", "1/s")])).unwrap();
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn p16_a_journal_s_settings_lie_below_the_options_alone() {
        let planned = option("canary", "5").resolve().unwrap().plan_shaping();
        let directory = tempfile::tempdir().unwrap();
        let sources = Sources {
            directory: directory.path().to_str().unwrap(),
            planned: Some(("j", &planned)),
            ..Sources::default()
        };
        let environment = [("BATCH_DETACH_CANARY", "7"), ("BATCH_DETACH_PROTECT", "x")];
        let resumed = load(sources.clone(), vars(&environment)).unwrap().settings;
        assert_eq!(resumed.plan_shaping(), planned);
        let other = load(Sources { options: option("canary", "9"), ..sources }, []).unwrap().settings;
        assert_ne!(other.plan_shaping(), planned);
    }

    #[test]
    fn the_shipped_config_file_says_the_defaults_and_nothing_else() {
        let shipped = from_toml(SHIPPED, "config.toml").unwrap();
        assert_eq!(shipped.plan_shaping(), {
            let defaults = Layer::defaults().unwrap();
            defaults.plan_shaping()
        });
        let said = |layer: Layer| layer.lines().into_iter().map(|line| (line.name, line.value)).collect::<Vec<_>>();
        assert_eq!(said(shipped), said(Layer::defaults().unwrap()));
    }

    #[test]
    fn the_shipped_config_file_names_every_setting_once() {
        for name in DECLARED.iter().map(|setting| setting.name) {
            let names_it = |line: &&str| {
                line.trim_start_matches("# ").strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with("= "))
            };
            assert_eq!(SHIPPED.lines().filter(names_it).count(), 1, "{name}");
        }
    }

    #[test]
    fn every_commented_example_of_the_shipped_config_file_can_be_read() {
        let examples: Vec<&str> = SHIPPED.lines().filter_map(|line| line.strip_prefix("# ")).collect();
        let settings =
            examples.iter().filter(|line| line.split_once(" = ").is_some_and(|(name, _)| place_of(name).is_some()));
        let text: Vec<&str> = settings.copied().collect();
        assert!(text.len() >= 9, "{text:?}");
        from_toml(&text.join("\n"), "examples").unwrap().resolve().unwrap();
    }
}
