//! Whatever was typed, the next command means the same rows in the same place: after a run, and to whoever looks at its
//! journal later on.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::process::Command as Process;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::args::{Cli, Command, RunArgs};
use super::session::{limit_to, repeated, setting};
use super::status::what_next;
use super::target::Place;
use super::task::to_keep;
use crate::config::{Group, Layer, Origin, Written};
use crate::error::Exit;
use crate::journal::sample::identity;
use crate::journal::{Identity, Progress};
use crate::model::{Given, Outcome, Typed};
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
        with("read-rate", word(&["3/s", "200/min"]).boxed()),
        with("concurrency", word(&["1", "64"]).boxed()),
        with("max-desktops-per-request", word(&["1", "99"]).boxed()),
        with("max-users-per-request", word(&["1", "50000"]).boxed()),
        with("max-request-bytes", word(&["6000", "64kb", "1048576"]).boxed()),
        with("max-runtime", word(&["90s", "7h", "90m"]).boxed()),
        with("max-desktops", word(&["8", "1"]).boxed()),
        with("max-percent", word(&["9", "2.5%"]).boxed()),
        with("in-use", word(&["skip", "detach"]).boxed()),
        with("on-invalid", word(&["skip", "abort"]).boxed()),
        with("stop-at", word(&["20%", "off"]).boxed()),
        with("verify", word(&["on", "off"]).boxed()),
        with("canary", word(&["10", "3"]).boxed()),
        with("encoding", word(&["gb18030", "utf-8", "windows-1252"]).boxed()),
        with("delimiter", word(&[";", "tab", "|", ","]).boxed()),
        with("sheet", text().boxed()),
        with("column", text().prop_map(|header| [OsStr::new("type="), &header].into_iter().collect()).boxed()),
        with("header-row", word(&["12", "1"]).boxed()),
        with("hidden-rows", word(&["read", "skip", "refuse"]).boxed()),
        with("empty-desktop", word(&["every", "refuse"]).boxed()),
        with("due-column", text().boxed()),
        with("as-of", word(&["2026-11-30"]).boxed()),
        with("unknown-users", word(&["gone", "invalid"]).boxed()),
        with("still-access", word(&["report", "fail", "off"]).boxed()),
        with("protect", text().boxed()),
        with("protect", text().boxed()),
        with("only", word(&["failed", "failed,not_sent", "invalid"]).boxed()),
        with("results", file().boxed()),
        with("metrics", text().boxed()),
        with("log-file", text().boxed()),
        Just(("simulate", None)).boxed(),
        with("simulate", file().boxed()),
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

/// Settings of the place that a shell's variables give.
fn variables() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let all = [
        ("region", "ap-southeast-1"),
        ("endpoint", "https://v.example"),
        ("project-id", "c0ffee"),
        ("ca-file", "v.pem"),
    ];
    subsequence(all.map(|(name, value)| (name, value.to_owned())).to_vec(), 0..=all.len())
}

/// Where credentials led to.
fn found_place() -> Place {
    let mut place = Place::simulated([]);
    "https://workspace.example".clone_into(&mut place.target.endpoint);
    "f00d".clone_into(&mut place.target.project_id);
    place.region = Some("cn-south-1".to_owned());
    place
}

/// Whether a setting says how an input is read, or what its rows mean.
fn of_input(name: &str) -> bool {
    matches!(setting(name).map(|setting| setting.group), Some(Group::Reading | Group::Meaning))
}

proptest! {
    #[test]
    fn p21_the_next_command_has_the_same_scope_and_place_whatever_was_typed(
        verb in word(&["plan", "run"]), input in file(), options in options(), variables in variables(),
    ) {
        let mut words: Vec<OsString> = vec!["batch-detach".into(), verb, input];
        for (name, value) in options {
            match value {
                None => words.push(format!("--{name}").into()),
                Some(value) => words.extend(Given::text(name, value).words()),
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
            still: None,
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
            (options.api.is_simulated(), options.api.world().map(Path::to_owned), options.safety.allow_detach_all, config, results)
        };
        prop_assert_eq!(beside(&again), beside(&typed));

        // The failed rows of the results: nothing of how the input was read.
        let retry = read(&next(&of(false)).command.unwrap()).map_err(TestCaseError::fail)?;
        prop_assert_eq!((retry.input.as_os_str(), &retry.only), (results, &vec![Outcome::Failed]));
        let place: Vec<_> = said(&typed).into_iter().filter(|(name, _)| !of_input(name)).collect();
        prop_assert_eq!(said(&retry), place);
        prop_assert_eq!(retry.options.api.world(), typed.options.api.world());

        // To whoever looks at its journal later, in a shell without its variables: the same, and where it went.
        let mut below = Layer::default();
        for (name, value) in variables {
            below.set(name, Written::Text(value), Origin::Variable(name.to_owned())).unwrap();
        }
        let settings = typed.layer().unwrap().over(below).resolve();
        prop_assume!(settings.is_ok());
        let settings = settings.unwrap();
        let place = if typed.options.api.is_simulated() { Place::simulated([]) } else { found_place() };
        let kept = to_keep(&repeat, &settings, Some(Path::new("config.toml")), &typed.input, &place);
        let kept: Typed = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
        let identity = Identity { typed: Some(kept), endpoint: place.endpoint().to_owned(), ..identity() };
        let later = |progress: &Progress, counts: &Counts| {
            let told = what_next(Path::new("./r.results.csv.journal"), &identity, progress, counts, false);
            read(&told.command.unwrap()).map_err(TestCaseError::fail)
        };
        let finished = Progress { finished: true, ..Progress::default() };
        let canary_failed = Progress { canary: Some(false), ..Progress::default() };
        let (retry, resumed) = (later(&finished, &counts)?, later(&Progress::default(), &counts)?);
        let fresh = later(&canary_failed, &counts)?;
        prop_assert_eq!((retry.input.as_os_str(), &retry.only), (results, &vec![Outcome::Failed]));
        prop_assert_eq!(resumed.input.as_os_str(), "./r.results.csv.journal");
        prop_assert_eq!((&fresh.input, fresh.options.safety.fresh), (&typed.input, true));
        prop_assert_eq!((&fresh.only, fresh.meaning.as_of), (&typed.only, typed.meaning.as_of));
        prop_assert_eq!(&fresh.options.output.results, &typed.options.output.results);
        for (args, with_input) in [(&retry, false), (&resumed, false), (&fresh, true)] {
            let of = |args, name: &str| said(args).into_iter().filter(|(known, _)| known == &name).collect::<Vec<_>>();
            for (name, _) in said(&typed).iter().filter(|(name, _)| with_input || !of_input(name)) {
                prop_assert_eq!(of(args, name), of(&typed, name));
            }
            prop_assert_eq!(said(args).iter().any(|(name, _)| of_input(name)), with_input && said(&typed).iter().any(|(name, _)| of_input(name)));
            let options = &args.options;
            let (api, is_simulated) = (&options.api, typed.options.api.is_simulated());
            prop_assert_eq!((api.is_simulated(), options.safety.allow_detach_all), (is_simulated, typed.options.safety.allow_detach_all));
            if !is_simulated {
                let config = typed.options.api.config.clone().unwrap_or_else(|| "config.toml".into());
                prop_assert_eq!(api.config.as_deref(), Some(config.as_path()));
                let said_there = args.layer().unwrap().resolve().unwrap();
                let meant = |said: &Option<String>, found: &str| Some(said.clone().unwrap_or_else(|| found.to_owned()));
                prop_assert_eq!(&said_there.region, &meant(&settings.region, "cn-south-1"));
                prop_assert_eq!(&said_there.project_id, &meant(&settings.project_id, "f00d"));
                prop_assert_eq!(&said_there.endpoint, &settings.endpoint);
            }
        }

        // As a shell reads it.
        let script = format!("set -- {}\nprintf '%s\\0' \"$@\"", next_command.line().unwrap());
        let typed_in = Process::new("sh").args(["-c", &script]).output().unwrap();
        let words: Vec<&[u8]> = told.iter().map(|word| word.as_bytes()).collect();
        let said: Vec<&[u8]> = typed_in.stdout.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
        prop_assert_eq!(said, words);
    }
}
