//! The command line: what may be said, and what of it is a setting.
//!
//! Options that are settings, too, are taken as text and become a [`Layer`]: one reader serves options, environment
//! and config file, and clap never looks at the environment. Secrets are no options (P19).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::config::{Layer, Origin, Written};
use crate::error::Error;
use crate::model::Outcome;
use crate::text;

mod job;
mod settings;

pub(crate) use job::{AS_OF, Source, beside_journal, journal_of, plan_differences, resumed_undo_shaping};
use settings::{ApiSettings, MeaningSettings, OutputSettings, PaceSettings, ReadingSettings, SafetySettings};

const EXIT_CODES: &str = "\
Exit codes:
  0   every row is detached, already_detached or not_due; a plan with nothing wrong
  1   the run ended, and some row is failed, unknown, invalid or left not_sent by a setting
  2   usage, config or input is wrong; nothing was sent
  3   refused by a guard, an approval, a missing confirmation or a \"no\"; nothing was sent
  4   credentials, permission or the endpoint failed before any write
  5   stopped before its end; run again to resume
  6   another process holds this journal
  70  a fault of the program itself";

const SETTINGS: &str = "\
Most options are settings, too: they can stand in a config file (`write-rate = \"100/min\"`) and in the environment \
(BATCH_DETACH_WRITE_RATE). Options win over the environment, that wins over the file. Waits are settings alone.

Secrets are never options; credentials come from the environment or the files of the SDK.";

/// Detaches users from Huawei Cloud Workspace desktops in bulk, with one true outcome for every row.
#[derive(Debug, Parser)]
#[command(name = "batch-detach", version, arg_required_else_help = true, after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows what a run would do; can't change anything
    ///
    /// Reads, checks, groups and chunks the input, and looks at the live bindings. Leaves no journal, and results only
    /// where `--results` is given.
    #[command(after_long_help = SETTINGS)]
    Plan(RunArgs),
    /// Does the job: plan, confirm, send, verify, write the results
    ///
    /// Every row gets one outcome. When a run was stopped, give the same command again: it goes on where it was.
    #[command(after_long_help = SETTINGS)]
    Run(RunArgs),
    /// Shows where a run stands, and the next command
    Status(StatusArgs),
    /// Attaches again what a run detached
    ///
    /// Each binding gets its own privilege group back; user data is kept. An undo is itself a run, with plan,
    /// confirmation, journal and results. A stopped run can be undone, too, and is not resumed after that.
    #[command(after_long_help = SETTINGS)]
    Undo(UndoArgs),
    /// Writes one self-contained HTML page about a run
    Report(ReportArgs),
    /// Serves a simulated Workspace API on this machine
    ///
    /// Until interrupted, on a loopback port, its world holding INPUT's bindings. Prints the `export` lines that point
    /// a shell at it.
    Simulate(SimulateArgs),
    /// Prints the completions for a shell
    Completions {
        /// The shell they are for
        shell: clap_complete::Shell,
    },
    /// Prints the manual page
    Man,
    /// Prints the JSON schema of an output
    ///
    /// Of `--format json` (a plan, a summary, a status), or of a record of `--log-format json`.
    Schema {
        /// The output
        of: SchemaOf,
    },
}

/// What programs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    Plan,
    Summary,
    Status,
    Log,
}

/// How standard output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    #[default]
    Human,
    Json,
}

/// `plan` and `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A CSV, .xlsx, .xls or .ods file; `-` is standard input
    ///
    /// From standard input `run` needs `--results`, and `--yes` or `--approved`. `run` takes a path that ends in
    /// `.journal`, too, and resumes that run without its input.
    #[arg(value_name = "INPUT")]
    pub input: PathBuf,
    #[command(flatten)]
    pub reading: ReadingOptions,
    /// Just the rows of these outcomes, in a results file [default: all rows]
    #[arg(long, value_name = "OUTCOME,…", help_heading = "Input", value_delimiter = ',')]
    #[arg(value_parser = outcome_parser(), hide_possible_values = true)]
    pub only: Vec<Outcome>,
    #[command(flatten)]
    pub meaning: MeaningOptions,
    #[command(flatten)]
    pub options: RunOptions,
}

fn outcome_parser() -> impl clap::builder::TypedValueParser<Value = Outcome> {
    PossibleValuesParser::new(Outcome::ALL.map(Outcome::as_str))
        .try_map(|word| Outcome::parse(&word).ok_or("it is no outcome"))
}

/// How to read the input.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Input")]
pub struct ReadingOptions {
    #[command(flatten)]
    settings: ReadingSettings,
}

/// What the input's rows mean.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Input")]
pub struct MeaningOptions {
    #[command(flatten)]
    settings: MeaningSettings,
    /// The day for --due-column, as 2026-11-30 [default: today]
    #[arg(long, value_name = "DATE", hide_short_help = true)]
    pub as_of: Option<jiff::civil::Date>,
}

/// The options that `run`, `plan` and `undo` share.
#[derive(Debug, Args)]
pub struct RunOptions {
    #[command(flatten)]
    pub safety: SafetyOptions,
    #[command(flatten)]
    pub pace: PaceOptions,
    #[command(flatten)]
    pub api: ApiOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct SafetyOptions {
    /// Ask no question [default: ask; without a terminal, refuse]
    #[arg(short, long)]
    pub yes: bool,
    /// Do exactly this plan, once, and ask nothing more [default: none]
    ///
    /// PLAN is a file from `plan --format json`, or the hash in it. If the list or the bindings have changed in
    /// between, it stops, and changes nothing; the differing rows are named where a file was given.
    #[arg(long, value_name = "PLAN")]
    pub approved: Option<String>,
    /// Only plan, as `plan` does [default: off]
    #[arg(long)]
    pub dry_run: bool,
    /// Start over; older files are moved aside [default: off]
    #[arg(long)]
    pub fresh: bool,
    /// Allow rows of type ALL, which detach everybody from a desktop [default: off]
    #[arg(long, hide_short_help = true)]
    pub allow_detach_all: bool,
    #[command(flatten)]
    settings: SafetySettings,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
pub struct PaceOptions {
    #[command(flatten)]
    settings: PaceSettings,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where the API is")]
pub struct ApiOptions {
    #[command(flatten)]
    settings: ApiSettings,
    /// Use the built-in simulator, without credentials [default: off]
    ///
    /// Its world holds the bindings of the input, or those of WORLD, a list like it: who is spelled otherwise there is
    /// told as the service would have it.
    #[arg(long, value_name = "WORLD", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    simulate: Option<OsString>,
    /// Settings [default: config.toml in the working directory, if there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Where the results go [default: beside the input]
    ///
    /// The default is INPUT with its ending replaced by `.results.csv`; of a results file, by `.retry.results.csv`; for
    /// an undo, by `.undo.csv`. Never over the input. The journal is this file with `.journal` appended.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Plan or summary on standard output [default: human]
    #[arg(
        long,
        value_name = "human|json",
        value_enum,
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub format: Format,
    /// With a plan: write every request body, one JSON a line; `-` is standard output [default: none]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub requests: Option<PathBuf>,
    /// With a plan: write it as a page for the person who approves it [default: none]
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// In that page, show users as salted hashes [default: off]
    #[arg(long, requires = "html", hide_short_help = true)]
    pub redact: bool,
    /// A text that is kept with the run, such as a change's number [default: none]
    #[arg(long, value_name = "TEXT", hide_short_help = true)]
    pub ticket: Option<String>,
    #[command(flatten)]
    settings: OutputSettings,
    /// Say more; -vv and -vvv still more [default: off]
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say errors alone [default: off]
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The run's journal, beside its results
    pub journal: PathBuf,
    /// How it is written [default: human]
    #[arg(
        long,
        value_name = "human|json",
        value_enum,
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The journal of the run to take back
    pub journal: PathBuf,
    /// Just these users, by name [default: all]
    ///
    /// A name that holds a comma stands in quotes, as in CSV: `--only-user '"Doe, John",li.si'`.
    #[arg(long, value_name = "NAME,…", help_heading = "Input", value_parser = Names::read)]
    only_user: Vec<Names>,
    /// Just these desktops, by id [default: all]
    #[arg(long, value_name = "ID,…", help_heading = "Input", value_delimiter = ',')]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub only_desktop: Vec<String>,
    #[command(flatten)]
    pub options: RunOptions,
}

/// Names as one line of CSV writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names(Vec<String>);

impl Names {
    fn read(text: &str) -> Result<Self, String> {
        let names =
            text::csv_line(text).ok_or("write names with commas between them, one that holds a comma in quotes")?;
        if names.iter().any(String::is_empty) {
            return Err("a name is empty".to_owned());
        }
        Ok(Self(names))
    }
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run's journal, beside its results
    pub journal: PathBuf,
    /// Where the page goes [default: beside the journal, as .report.html]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Show users as salted hashes [default: off]
    #[arg(long)]
    pub redact: bool,
}

#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Its bindings are the simulated world's [default: a small world of its own]
    pub input: Option<PathBuf>,
    /// The loopback port [default: a free one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// What decides which desktops fail, are pooled, hibernated or gone [default: 1]
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true)]
    pub seed: u64,
    #[command(flatten)]
    pub reading: ReadingOptions,
    /// Settings [default: config.toml in the working directory, if there]
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub config: Option<PathBuf>,
}

impl Cli {
    /// Reads the command line, the program's name first.
    ///
    /// # Errors
    /// clap's, which knows its exit code: 2, or 0 where help or version was asked for.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments)
    }
}

impl ReadingOptions {
    /// What these options say as settings.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the option.
    pub fn layer(&self) -> Result<Layer, Error> {
        let mut layer = Layer::default();
        self.settings.set(&mut layer)?;
        Ok(layer)
    }
}

impl RunOptions {
    /// What these options say as settings.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the option.
    pub fn layer(&self) -> Result<Layer, Error> {
        let mut layer = Layer::default();
        self.safety.settings.set(&mut layer)?;
        self.pace.settings.set(&mut layer)?;
        self.api.settings.set(&mut layer)?;
        self.output.settings.set(&mut layer)?;
        // Each of the two takes back the other of a lower layer: `-v` must work beside `quiet = true` in the file.
        let output = &self.output;
        if output.quiet || output.verbose > 0 {
            let (name, quiet) = if output.quiet { ("quiet", "on") } else { ("verbose", "off") };
            layer.set("quiet", Written::Text(quiet.to_owned()), Origin::Option(name))?;
            layer.set("verbose", Written::Text(output.verbose.min(3).to_string()), Origin::Option(name))?;
        }
        Ok(layer)
    }
}

impl ApiOptions {
    pub fn is_simulated(&self) -> bool {
        self.simulate.is_some()
    }

    /// The list whose bindings the simulated world has, where it is not the input.
    pub fn world(&self) -> Option<&Path> {
        self.simulate.as_deref().filter(|world| !world.is_empty()).map(Path::new)
    }
}

impl Command {
    /// Whether it shows what would be done, and can't do it.
    pub fn only_plans(&self) -> bool {
        match self {
            Self::Plan(_) => true,
            Self::Run(args) => args.options.safety.dry_run,
            Self::Undo(args) => args.options.safety.dry_run,
            _ => false,
        }
    }
}

impl UndoArgs {
    /// The users that it is for; none is all.
    pub fn only_users(&self) -> Vec<String> {
        self.only_user.iter().flat_map(|names| names.0.iter().cloned()).collect()
    }
}

impl RunArgs {
    /// What these options say as settings.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the option.
    pub fn layer(&self) -> Result<Layer, Error> {
        let mut layer = self.reading.layer()?.over(self.options.layer()?);
        self.meaning.settings.set(&mut layer)?;
        Ok(layer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory as _;

    use crate::config::DECLARED;

    use super::*;

    fn read(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::read(std::iter::once("batch-detach").chain(line.iter().copied()).map(OsString::from))
    }

    fn run(line: &[&str]) -> RunArgs {
        match read(&[&["run"], line].concat()).unwrap().command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_exits_2_and_help_exits_0_on_standard_output() {
        for line in [
            &["run"][..],
            &["run", "a", "--nope"],
            &["fly"],
            &["run", "a", "-v", "-q"],
            &[],
            &["run", "a", "--only", "x"],
        ] {
            let error = read(line).unwrap_err();
            assert_eq!((error.exit_code(), error.use_stderr()), (2, true), "{line:?}");
        }
        for line in [&["--help"][..], &["-V"], &["run", "-h"], &["help", "undo"]] {
            let error = read(line).unwrap_err();
            assert_eq!((error.exit_code(), error.use_stderr()), (0, false), "{line:?}");
        }
    }

    #[test]
    fn the_short_help_of_every_command_fits_a_screen() {
        let mut command = Cli::command().term_width(100);
        command.build();
        for sub in command.get_subcommands_mut() {
            let help = sub.render_help().to_string();
            assert!(help.lines().count() <= 40, "{help}");
        }
    }

    #[test]
    fn long_help_groups_the_options() {
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("run").unwrap().render_long_help().to_string();
        let places: Vec<usize> = ["\nInput:", "\nSafety:", "\nPace:", "\nWhere the API is:", "\nOutput:"]
            .iter()
            .map(|heading| help.find(heading).unwrap_or_else(|| panic!("{heading} in {help}")))
            .collect();
        assert!(places.is_sorted(), "{help}");
    }

    #[test]
    fn every_option_says_its_default_and_those_of_settings_the_true_one() {
        let defaults: BTreeMap<_, _> =
            DECLARED.iter().filter_map(|setting| Some((setting.name, setting.default?))).collect();
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            for arg in sub.get_opts().chain(sub.get_arguments().filter(|arg| !arg.is_positional())) {
                let name = arg.get_long().unwrap();
                if matches!(name, "help" | "version") {
                    continue;
                }
                let helps =
                    [arg.get_help(), arg.get_long_help().or(arg.get_help())].map(|help| help.unwrap().to_string());
                for help in helps {
                    let wanted = match defaults.get(name) {
                        Some(value) if !matches!(name, "verbose" | "quiet") => format!("[default: {value}"),
                        _ => "[default: ".to_owned(),
                    };
                    assert!(help.contains(&wanted), "{name}: {help}");
                }
            }
        }
    }

    #[test]
    fn every_setting_but_the_waits_is_an_option() {
        let command = Cli::command();
        let has = |sub: &str, name: &str| {
            command.find_subcommand(sub).unwrap().get_arguments().any(|arg| arg.get_long() == Some(name))
        };
        let waits = DECLARED.iter().position(|setting| setting.name == "request-timeout").unwrap();
        for (place, setting) in DECLARED.iter().enumerate() {
            assert_eq!(has("run", setting.name) && has("plan", setting.name), place < waits, "{}", setting.name);
        }
    }

    #[test]
    fn every_option_of_a_setting_reaches_its_layer() {
        let line = "in.csv --region r --endpoint https://e --iam-endpoint https://i --project-id p --ca-file c \
            --write-rate 1/s --read-rate 2/s --concurrency 3 --max-desktops-per-request 4 \
            --max-users-per-request 5 --max-request-bytes 6000 --max-runtime 7h --max-desktops 8 \
            --max-percent 9 --in-use skip --on-invalid skip --canary 10 --stop-at 11% --preflight on \
            --verify on --encoding gb18030 --delimiter ; --sheet s --metrics m --log-format json --log-file \
            l -vv --progress off --column type=Art --header-row 12 --hidden-rows read \
            --empty-desktop every --due-column last_day --date-format %m/%d/%Y --unknown-users gone \
            --still-access fail --protect a,b --protect c";
        let line: Vec<&str> = line.split_whitespace().collect();
        let lines = run(&line).layer().unwrap().lines();
        let said: Vec<&str> = lines.iter().map(|line| line.name).collect();
        for name in DECLARED.iter().map(|setting| &setting.name).take_while(|name| **name != "request-timeout") {
            assert!(said.contains(name), "{name}");
        }
        let values: Vec<&str> = lines.iter().map(|line| line.value.as_str()).collect();
        for value in
            ["1/s", "2/s", "3", "4", "5", "6 KB", "7h", "8", "9%", "10", "11%", "gb18030", ";", "2", "a", "b", "c"]
        {
            assert!(values.contains(&value), "{value} in {values:?}");
        }
        for line in lines.iter().filter(|line| line.name != "quiet") {
            assert_eq!(line.origin, Origin::Option(line.name));
        }
    }

    #[test]
    fn every_option_that_is_no_setting_is_refused_as_a_variable() {
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands().filter(|sub| ["run", "plan", "undo", "report"].contains(&sub.get_name())) {
            for name in sub.get_arguments().filter_map(clap::Arg::get_long) {
                let known = DECLARED.iter().any(|setting| setting.name == name)
                    || matches!(name, "help" | "version" | "verbose" | "quiet")
                    || crate::config::sources::OPTIONS_ALONE.contains(&name);
                assert!(known, "{name}");
            }
        }
    }

    #[test]
    fn an_option_left_out_says_nothing() {
        assert_eq!(run(&["in.csv"]).layer().unwrap(), Layer::default());
    }

    #[test]
    fn a_wrong_value_names_its_option() {
        let error = run(&["in.csv", "--write-rate", "fast"]).layer().unwrap_err().to_string();
        assert!(error.contains("option --write-rate") && error.contains("100/min"), "{error}");
    }

    #[test]
    fn quiet_takes_back_a_verbose_file_and_the_other_way_round() {
        let mut file = Layer::default();
        file.set("verbose", Written::Text("2".into()), Origin::Default).unwrap();
        let settings = run(&["a", "-q"]).layer().unwrap().over(file).resolve().unwrap();
        assert_eq!((settings.quiet, settings.verbose), (true, 0));
        let mut file = Layer::default();
        file.set("quiet", Written::Text("on".into()), Origin::Default).unwrap();
        let settings = run(&["a", "-vvvvv"]).layer().unwrap().over(file).resolve().unwrap();
        assert_eq!((settings.quiet, settings.verbose), (false, 3));
    }

    #[test]
    fn p19_no_option_takes_a_secret() {
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands() {
            for name in sub.get_arguments().filter_map(|arg| arg.get_long()) {
                let secret = ["secret", "password", "token", "access-key"].iter().any(|word| name.contains(word));
                assert!(!secret && !matches!(name, "ak" | "sk"), "{name}");
            }
        }
    }
}
