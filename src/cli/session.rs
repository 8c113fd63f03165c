//! What every run and plan begins with: settings, logs, and how the screen is used.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::args::RunOptions;
use super::outputs::Outputs;
use crate::config::{Layer, Loaded, Origin, Progress, SettingLine, Settings, Sources, load};
use crate::error::Error;
use crate::report::{Look, ProgressKind, Screen, Shape, start_logging};

/// Settings in force, and the screen that logs and progress share.
pub(super) struct Session {
    pub(super) settings: Settings,
    pub(super) config: Option<PathBuf>,
    pub(super) shape: Shape,
    pub(super) screen: Screen,
    /// Whether standard error carries JSON records.
    pub(super) records: bool,
    /// Whether every event becomes a record of the log, too.
    pub(super) logged: bool,
    /// Options that the next command needs as well.
    pub(super) repeat: Vec<String>,
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
        let mut repeat = repeated(options, &layer);
        let sources = Sources { options: layer, config: options.api.config.as_deref(), directory: "", planned };
        let Loaded { settings, config, warnings } = load(sources, std::env::vars_os())?;
        outputs.keep("the settings", config.as_deref());
        outputs.keep("the file of certificates", settings.ca_file.as_deref());
        let approved = options.safety.approved.as_deref().map(std::path::Path::new);
        outputs.keep("the approved plan", approved.filter(|path| path.is_file()));
        if !options.safety.dry_run {
            outputs.write("--metrics", settings.metrics.as_deref());
        }
        outputs.write("--log-file", settings.log_file.as_deref());
        outputs.write("--requests", options.output.requests.as_deref());
        outputs.check()?;
        if options.safety.allow_detach_all {
            repeat.push("--allow-detach-all".to_owned());
        }
        let format = match settings.log_format {
            crate::config::LogFormat::Json => crate::report::LogFormat::Json,
            crate::config::LogFormat::Text => crate::report::LogFormat::Text,
        };
        let records = format == crate::report::LogFormat::Json && settings.log_file.is_none();
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
        Ok(Self { settings, config, shape, screen, records, logged, repeat })
    }
}

/// The options of this command line that shape every later command on the same run.
fn repeated(options: &RunOptions, layer: &Layer) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(config) = &options.api.config {
        words.extend(["--config".to_owned(), config.display().to_string()]);
    }
    for SettingLine { name, value, origin } in layer.lines() {
        match origin {
            Origin::Option(_) if matches!(name, "verbose" | "quiet") => {}
            Origin::Option(_) => words.extend([format!("--{name}"), value]),
            _ => {}
        }
    }
    if options.api.simulate {
        words.push("--simulate".to_owned());
    }
    words
}
