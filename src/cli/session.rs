//! What every run and plan begins with: settings, logs, and how the screen is used.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::args::{RunArgs, RunOptions};
use super::outputs::Outputs;
use crate::config::{DECLARED, Group, Layer, Loaded, Origin, Progress, SettingLine, Settings, Sources, Takes, load};
use crate::error::Error;
use crate::outcome::next::Repeat;
use crate::report::{Look, ProgressKind, Screen, Shape, start_logging};

/// Settings in force, and the screen that logs and progress share.
pub(super) struct Session {
    pub(super) settings: Settings,
    pub(super) config: Option<PathBuf>,
    pub(super) shape: Shape,
    pub(super) screen: Screen,
    /// Whether every event becomes a record of the log, too.
    pub(super) logged: bool,
    /// Options that the next command needs as well.
    pub(super) repeat: Repeat,
}

impl Session {
    /// Loads the settings and starts logging.
    ///
    /// * `outputs`: what the command reads and writes; what the settings name is added to it, and all of it is checked
    ///   before anything is written.
    pub(super) fn begin(
        options: &RunOptions,
        layer: Layer,
        planned: Option<(&str, &std::collections::BTreeMap<String, String>)>,
        mut outputs: Outputs,
    ) -> Result<Self, Error> {
        let repeat = repeated(options, &layer);
        let sources = Sources { options: layer, config: options.api.config.as_deref(), directory: "", planned };
        let Loaded { settings, config, warnings } = load(sources, std::env::vars_os())?;
        refuse_unfollowed(&settings)?;
        outputs.keep("the settings", config.as_deref());
        outputs.keep("the file of certificates", settings.ca_file.as_deref());
        let approved = options.safety.approved.as_deref().map(std::path::Path::new);
        outputs.keep("the approved plan", approved.filter(|path| path.is_file()));
        if !options.safety.dry_run {
            outputs.write("--metrics", settings.metrics.as_deref());
        }
        outputs.write("--log-file", settings.log_file.as_deref());
        outputs.write("--requests", options.output.requests.as_deref());
        outputs.write("--html", options.output.html.as_deref());
        outputs.check()?;
        let format = match settings.log_format {
            crate::config::LogFormat::Json => crate::report::LogFormat::Json,
            crate::config::LogFormat::Text => crate::report::LogFormat::Text,
        };
        let records = format.is_on_stderr(settings.log_file.as_deref());
        let kind = match settings.progress {
            Progress::Auto => ProgressKind::Auto,
            Progress::On => ProgressKind::On,
            Progress::Off => ProgressKind::Off,
        };
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let shape = Look { kind, terminal, records, quiet: settings.quiet }.shape();
        let screen = shape.screen();
        let verbosity = if settings.quiet { -1 } else { i8::try_from(settings.verbose).unwrap_or(i8::MAX) };
        start_logging(format, settings.log_file.as_deref(), verbosity, &screen)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let logged = records || settings.log_file.is_some() || settings.verbose > 0;
        Ok(Self { settings, config, shape, screen, logged, repeat })
    }
}

/// Settings that this version knows and does not follow yet: whoever asks for one must not be left to believe that it
/// is done.
fn refuse_unfollowed(settings: &Settings) -> Result<(), Error> {
    let is_asked = |line: &&SettingLine| {
        line.name == "still-access" && matches!(line.origin, Origin::Option(_) | Origin::Variable(_))
    };
    if settings.origins().iter().find(is_asked).is_none() {
        return Ok(());
    }
    let problem = "`still-access` can't be followed by this version: what else a leaver still gets in by is not looked for; \
                   leave it out";
    Err(Error::Usage { problem: problem.to_owned() })
}

/// The options of this command line, by what they belong to.
fn repeated(options: &RunOptions, layer: &Layer) -> Repeat {
    let mut repeat = Repeat::default();
    if let Some(config) = &options.api.config {
        push(&mut repeat.place, "config", config.as_os_str());
    }
    for SettingLine { name, value, origin } in layer.lines() {
        if !matches!(origin, Origin::Option(_)) || matches!(name, "verbose" | "quiet") {
            continue;
        }
        let Some(setting) = DECLARED.iter().find(|setting| setting.name == name) else { continue };
        let words = match setting.group {
            Group::Reading | Group::Meaning => &mut repeat.reading,
            Group::Safety | Group::Pace | Group::Api | Group::Output | Group::Nowhere => &mut repeat.place,
        };
        // A list is given by its option once for each of its entries.
        match serde_json::from_str::<Vec<String>>(&value) {
            Ok(entries) if setting.takes != Takes::One => {
                push_each(words, name, entries.iter().map(String::as_str));
            }
            _ => push(words, name, value.as_ref()),
        }
    }
    if options.api.simulate {
        repeat.place.push("--simulate".into());
    }
    if options.safety.allow_detach_all {
        repeat.place.push("--allow-detach-all".into());
    }
    if let Some(results) = &options.output.results {
        push(&mut repeat.results, "results", results.as_os_str());
    }
    repeat
}

/// Adds what `run` and `plan` say of the rows that are meant.
pub(super) fn limit_to(repeat: &mut Repeat, args: &RunArgs) {
    if !args.only.is_empty() {
        let only: Vec<&str> = args.only.iter().map(|outcome| outcome.as_str()).collect();
        push(&mut repeat.scope, "only", only.join(",").as_ref());
    }
    if let Some(day) = args.meaning.as_of {
        push(&mut repeat.reading, "as-of", day.to_string().as_ref());
    }
}

/// Appends an option and its value, in one word where the value would be read as another option.
pub(super) fn push(words: &mut Vec<OsString>, option: &str, value: &OsStr) {
    let mut option = OsString::from(format!("--{option}"));
    if value.as_encoded_bytes().starts_with(b"-") && value != "-" {
        option.push("=");
        option.push(value);
        words.push(option);
    } else {
        words.extend([option, value.to_owned()]);
    }
}

/// An option once for each value.
pub(super) fn push_each<'a>(words: &mut Vec<OsString>, option: &str, values: impl IntoIterator<Item = &'a str>) {
    for value in values {
        push(words, option, value.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::Path;
    use std::process::Command as Process;

    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::super::args::{Cli, Command};
    use super::*;
    use crate::error::Exit;
    use crate::model::Outcome;
    use crate::outcome::Counts;
    use crate::outcome::next::{Situation, next};

    fn read(words: &[OsString]) -> Result<RunArgs, String> {
        match Cli::read(words.to_vec()).map_err(|error| error.to_string())?.command {
            Command::Plan(args) | Command::Run(args) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    /// Any name that a file can have, given so that it is no option and not standard input.
    fn file() -> impl Strategy<Value = OsString> {
        let bytes = prop::collection::vec(1..=u8::MAX, 1..12);
        bytes.prop_map(|bytes| Path::new("./").join(OsString::from_vec(bytes)).into_os_string())
    }

    /// Any text that a name or a pattern in a spreadsheet may be.
    fn text() -> impl Strategy<Value = OsString> {
        prop_oneof!["[a-z'\"$`!*?;,é 张-]{1,9}", "\\PC{1,9}"].prop_map(OsString::from)
    }

    fn word(words: &'static [&'static str]) -> impl Strategy<Value = OsString> {
        select(words).prop_map(OsString::from)
    }

    /// Options in any order, each with a value; those that add up may come twice.
    fn options() -> impl Strategy<Value = Vec<(&'static str, Option<OsString>)>> {
        let with = |name: &'static str, value: BoxedStrategy<OsString>| (Just(name), value.prop_map(Some)).boxed();
        let all = vec![
            with("region", word(&["cn-north-4", "eu-west-101"]).boxed()),
            with("endpoint", word(&["https://w.example", "http://127.0.0.1:8080"]).boxed()),
            with("project-id", word(&["0a1b2c"]).boxed()),
            with("config", file().boxed()),
            with("ca-file", text().boxed()),
            with("write-rate", word(&["5/s", "100/min", "1/min"]).boxed()),
            with("concurrency", word(&["1", "64"]).boxed()),
            with("max-request-bytes", word(&["6000", "64kb", "1048576"]).boxed()),
            with("max-runtime", word(&["90s", "7h", "90m"]).boxed()),
            with("max-desktops", word(&["8", "1"]).boxed()),
            with("max-percent", word(&["9", "2.5%"]).boxed()),
            with("in-use", word(&["skip", "detach"]).boxed()),
            with("on-invalid", word(&["skip", "abort"]).boxed()),
            with("canary", word(&["10", "3"]).boxed()),
            with("encoding", word(&["gb18030", "utf-8", "windows-1252"]).boxed()),
            with("delimiter", word(&[";", "tab", "|", ","]).boxed()),
            with("sheet", text().boxed()),
            with("column", text().prop_map(|header| [OsStr::new("type="), &header].into_iter().collect()).boxed()),
            with("header-row", word(&["12", "1"]).boxed()),
            with("hidden-rows", word(&["read", "skip", "refuse"]).boxed()),
            with("due-column", text().boxed()),
            with("as-of", word(&["2026-11-30"]).boxed()),
            with("unknown-users", word(&["gone", "invalid"]).boxed()),
            with("protect", text().boxed()),
            with("protect", text().boxed()),
            with("only", word(&["failed", "failed,not_sent", "invalid"]).boxed()),
            with("results", file().boxed()),
            with("metrics", text().boxed()),
            with("log-file", text().boxed()),
            Just(("simulate", None)).boxed(),
            Just(("allow-detach-all", None)).boxed(),
        ];
        let most = all.len();
        subsequence(all, 0..=most).prop_shuffle().prop_flat_map(|chosen| chosen)
    }

    /// What the options say, but for how much is told.
    fn said(args: &RunArgs) -> Vec<(&'static str, String)> {
        let lines = args.layer().unwrap().lines().into_iter().map(|line| (line.name, line.value));
        lines.filter(|(name, _)| !matches!(*name, "verbose" | "quiet")).collect()
    }

    proptest! {
        #[test]
        fn p21_the_next_command_has_the_same_scope_and_place_whatever_was_typed(
            verb in word(&["plan", "run"]), input in file(), options in options(),
        ) {
            let mut words: Vec<OsString> = vec!["batch-detach".into(), verb, input];
            for (name, value) in options {
                match value {
                    None => words.push(format!("--{name}").into()),
                    Some(value) => push(&mut words, name, &value),
                }
            }
            let typed = read(&words);
            prop_assume!(typed.as_ref().is_ok_and(|args| args.layer().is_ok()));
            let typed = typed.unwrap();
            let mut repeat = repeated(&typed.options, &typed.layer().unwrap());
            limit_to(&mut repeat, &typed);
            let mut counts = Counts::default();
            counts.add(Outcome::Failed, 1);
            let results = Path::new("./r.results.csv").as_os_str();
            let of = |planned| Situation {
                exit: Exit::SomeRows, counts: &counts, planned, canary_failed: false, undo: false,
                input: typed.input.as_os_str(), results: Some(results), journal: None, repeat: &repeat,
            };

            // The same rows once more: all that was said of them.
            let next_command = next(&of(true));
            let told = next_command.command.clone().unwrap();
            let again = read(&told).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&again.input, &typed.input);
            prop_assert_eq!((&again.only, again.meaning.as_of), (&typed.only, typed.meaning.as_of));
            prop_assert_eq!(said(&again), said(&typed));
            let beside = |args: &RunArgs| {
                let options = &args.options;
                let (config, results) = (options.api.config.clone(), options.output.results.clone());
                (options.api.simulate, options.safety.allow_detach_all, config, results)
            };
            prop_assert_eq!(beside(&again), beside(&typed));

            // The failed rows of the results: nothing of how the input was read.
            let retry = read(&next(&of(false)).command.unwrap()).map_err(TestCaseError::fail)?;
            prop_assert_eq!((retry.input.as_os_str(), &retry.only), (results, &vec![Outcome::Failed]));
            let of_input = |name: &str| {
                let group = DECLARED.iter().find(|setting| setting.name == name).map(|setting| setting.group);
                matches!(group, Some(Group::Reading | Group::Meaning))
            };
            let place: Vec<_> = said(&typed).into_iter().filter(|(name, _)| !of_input(name)).collect();
            prop_assert_eq!(said(&retry), place);
            prop_assert_eq!(retry.options.api.simulate, typed.options.api.simulate);

            // As a shell reads it.
            let script = format!("set -- {}\nprintf '%s\\0' \"$@\"", next_command.line().unwrap());
            let typed_in = Process::new("sh").args(["-c", &script]).output().unwrap();
            let words: Vec<&[u8]> = told.iter().map(|word| word.as_bytes()).collect();
            let said: Vec<&[u8]> = typed_in.stdout.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
            prop_assert_eq!(said, words);
        }
    }
}
