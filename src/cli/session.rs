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
