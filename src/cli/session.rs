//! What every run and plan begins with: settings, logs, and how the screen is used.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use super::args::{RunArgs, RunOptions};
use super::outputs::Outputs;
use crate::api::{ProcessEnv, credential_files};
use crate::config::{
    DECLARED, Declared, Group, Layer, Loaded, Origin, SettingLine, Settings, Shapes, Sources, Takes, load,
};
use crate::error::Error;
use crate::model::{Given, Repeat};
use crate::report::{Look, Screen, Shape, records_on_stderr, start_logging};

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
        outputs.keep("the settings", config.as_deref());
        outputs.keep("the file of certificates", settings.ca_file.as_deref());
        outputs.keep("the simulated world", options.api.world());
        let approved = options.safety.approved.as_deref().map(Path::new);
        outputs.keep("the approved plan", approved.filter(|path| path.is_file()));
        for file in credential_files(&ProcessEnv) {
            outputs.keep("a file of credentials", Some(&file));
        }
        if !options.safety.dry_run {
            outputs.write("--metrics", settings.metrics.as_deref());
        }
        outputs.write("--log-file", settings.log_file.as_deref());
        outputs.write("--requests", options.output.requests.as_deref());
        outputs.write("--html", options.output.html.as_deref());
        outputs.check()?;
        let records = records_on_stderr(settings.log_format, settings.log_file.as_deref());
        let terminal = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let shape = Look { progress: settings.progress, terminal, records, quiet: settings.quiet }.shape();
        let screen = shape.screen();
        let verbosity = if settings.quiet { -1 } else { i8::try_from(settings.verbose).unwrap_or(i8::MAX) };
        start_logging(settings.log_format, settings.log_file.as_deref(), verbosity, &screen)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let logged = records || settings.log_file.is_some() || settings.verbose > 0;
        Ok(Self { settings, config, shape, screen, logged, repeat })
    }

    /// For `run JOURNAL`, which rows are meant and how their plan was made are in the journal, and not typed again.
    pub(super) fn go_on_with(&mut self, started: Repeat) {
        let shapes = |name: &str| {
            name == "allow-detach-all" || setting(name).is_some_and(|setting| setting.shapes != Shapes::Nothing)
        };
        let Repeat { place, reading, scope, results } = started;
        let now = &mut self.repeat;
        let of_plan: Vec<Given> =
            place.into_iter().filter(|given| shapes(&given.name) && !now.has(&given.name)).collect();
        now.place.extend(of_plan);
        for (typed, before) in [(&mut now.reading, reading), (&mut now.scope, scope), (&mut now.results, results)] {
            if typed.is_empty() {
                *typed = before;
            }
        }
    }
}

/// The options of this command line, by what they belong to.
pub(super) fn repeated(options: &RunOptions, layer: &Layer) -> Repeat {
    let mut repeat = Repeat::default();
    repeat.place.extend(options.api.config.as_deref().map(|config| Given::file("config", config)));
    for line in layer.lines() {
        if !matches!(line.origin, Origin::Option(_)) || matches!(line.name, "verbose" | "quiet") {
            continue;
        }
        let Some(setting) = setting(line.name) else { continue };
        let given_here = match setting.group {
            Group::Reading | Group::Meaning => &mut repeat.reading,
            Group::Safety | Group::Pace | Group::Api | Group::Output | Group::Nowhere => &mut repeat.place,
        };
        // A list is given by its option once for each of its entries.
        match serde_json::from_str::<Vec<String>>(&line.value) {
            Ok(entries) if setting.takes != Takes::One => {
                given_here.extend(entries.iter().map(|entry| Given::text(line.name, entry)));
            }
            _ => given_here.push(given(&line)),
        }
    }
    repeat.place.extend(options.api.is_simulated().then(|| match options.api.world() {
        Some(world) => Given::file("simulate", world),
        None => Given::flag("simulate"),
    }));
    repeat.place.extend(options.safety.allow_detach_all.then(|| Given::flag("allow-detach-all")));
    repeat.results.extend(options.output.results.as_deref().map(|results| Given::file("results", results)));
    repeat
}

pub(super) fn setting(name: &str) -> Option<&'static Declared> {
    DECLARED.iter().find(|setting| setting.name == name)
}

/// A setting of one value, as an option.
pub(super) fn given(line: &SettingLine) -> Given {
    match setting(line.name) {
        Some(setting) if setting.placeholder == "FILE" => Given::file(line.name, Path::new(&line.value)),
        _ => Given::text(line.name, &line.value),
    }
}

/// Adds what `run` and `plan` say of the rows that are meant.
pub(super) fn limit_to(repeat: &mut Repeat, args: &RunArgs) {
    if !args.only.is_empty() {
        let only: Vec<&str> = args.only.iter().map(|outcome| outcome.as_str()).collect();
        repeat.scope.push(Given::text("only", only.join(",")));
    }
    repeat.reading.extend(args.meaning.as_of.map(|day| Given::text("as-of", day.to_string())));
}
