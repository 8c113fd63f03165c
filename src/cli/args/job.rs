//! What `plan` and `run` work on, what they write beside it, and which options go together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::{OutputOptions, RunArgs, UndoArgs};
use crate::config::value::list_text;
use crate::config::{DECLARED, Settings, Shapes};
use crate::error::Error;
use crate::text::escape_untrusted;

/// The option's name, in the plan-shaping settings, too.
pub(crate) const AS_OF: &str = "as-of";

/// What `plan` and `run` work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    Stdin,
    File(&'a Path),
    /// A run to be resumed without its input.
    Journal(&'a Path),
}

impl RunArgs {
    pub fn source(&self) -> Source<'_> {
        if self.input.as_os_str() == "-" {
            Source::Stdin
        } else if self.input.extension().is_some_and(|ending| ending == "journal") {
            Source::Journal(&self.input)
        } else {
            Source::File(&self.input)
        }
    }

    /// Checks what clap can't: options that need each other, or not this source.
    ///
    /// * `writes`: whether the command is `run`; with `--dry-run` it is checked as `plan`.
    ///
    /// # Errors
    /// [`Error::Usage`], saying what to do.
    pub fn check(&self, writes: bool) -> Result<(), Error> {
        let (safety, output) = (&self.options.safety, &self.options.output);
        let writes = writes && !safety.dry_run;
        output.check(writes, "`plan`, or with `run --dry-run`")?;
        match self.source() {
            Source::Stdin if writes && output.results.is_none() => {
                usage("standard input has no name to call the results by: add `--results FILE`")
            }
            Source::Stdin if writes && !safety.yes && safety.approved.is_none() => {
                usage("standard input holds the rows, so no question can be answered: add `--yes` or `--approved PLAN`")
            }
            Source::Journal(path) if !writes => usage(&format!(
                "{} is a journal, and a plan needs the input; `batch-detach status` shows where that run stands",
                path.display()
            )),
            Source::Journal(_) if safety.fresh => {
                usage("`--fresh` starts over from the input: name the input instead of the journal")
            }
            Source::Journal(path) => match &output.results {
                Some(results) if *results != path.with_extension("") => usage(&format!(
                    "a resumed run keeps its results file: leave `--results` out, or name {}",
                    path.with_extension("").display()
                )),
                _ => Ok(()),
            },
            Source::File(_) | Source::Stdin => Ok(()),
        }
    }

    /// Where a run's results go; the journal is this with `.journal` appended. `None` for standard input without
    /// `--results`. (A plan writes results only where `--results` is given.)
    pub fn results_path(&self) -> Option<PathBuf> {
        self.options.output.results.clone().or_else(|| match self.source() {
            Source::Stdin => None,
            Source::File(input) => Some(results_beside(input)),
            Source::Journal(journal) => Some(journal.with_extension("")),
        })
    }

    /// All that shapes the plan (P16): the settings that do, and the two options that are no settings.
    ///
    /// * `day`: what rows are held against that have a day.
    /// * `planned`: for `run JOURNAL`, what the journal was planned with; it stands for the options left out.
    pub fn plan_shaping(
        &self,
        settings: &Settings,
        day: Option<Date>,
        planned: Option<&BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let mut shaping = settings.plan_shaping();
        let before = |name: &str| planned.and_then(|planned| planned.get(name).cloned());
        let only = if self.only.is_empty() {
            before("only")
        } else {
            let mut words: Vec<String> = self.only.iter().map(|outcome| outcome.as_str().to_owned()).collect();
            words.sort_unstable();
            words.dedup();
            Some(list_text(&words))
        };
        shaping.extend(only.map(|only| ("only".to_owned(), only)));
        let as_of = day.map(|day| day.to_string()).or_else(|| before(AS_OF));
        shaping.extend(as_of.map(|day| (AS_OF.to_owned(), day)));
        let all = if self.options.safety.allow_detach_all { Some("on".to_owned()) } else { before("allow-detach-all") };
        shaping.insert("allow-detach-all".to_owned(), all.unwrap_or_else(|| "off".to_owned()));
        shaping
    }
}

impl UndoArgs {
    /// All that shapes an undo's plan (P16). Its input is a journal, so how an input is read does not.
    pub fn plan_shaping(&self, settings: &Settings) -> BTreeMap<String, String> {
        let mut shaping = undo_shaping(settings);
        for (name, mut only) in [("only-user", self.only_users()), ("only-desktop", self.only_desktop.clone())] {
            if !only.is_empty() {
                only.sort_unstable();
                only.dedup();
                shaping.insert(name.to_owned(), list_text(&only));
            }
        }
        shaping
    }

    /// Checks what clap can't.
    ///
    /// # Errors
    /// [`Error::Usage`], saying what to do.
    pub fn check(&self) -> Result<(), Error> {
        if self.options.api.world().is_some() {
            return usage("the simulated world of an undo is what its run left: say `--simulate` without a list");
        }
        self.options.output.check(!self.options.safety.dry_run, "`--dry-run`")
    }

    /// Where the undo's results go; its journal is this with `.journal` appended.
    pub fn results_path(&self) -> PathBuf {
        self.options.output.results.clone().unwrap_or_else(|| beside_journal(&self.journal, "undo.csv"))
    }
}

impl OutputOptions {
    /// Checks what a plan alone can write.
    ///
    /// * `plans`: what makes one.
    fn check(&self, writes: bool, plans: &str) -> Result<(), Error> {
        let of_plans = [("--requests", self.requests.is_some()), ("--html", self.html.is_some())];
        if let Some((option, _)) = of_plans.into_iter().find(|(_, is_given)| writes && *is_given) {
            return usage(&format!("`{option}` goes with {plans}"));
        }
        if self.html.as_ref().is_some_and(|path| path.as_os_str() == "-") {
            return usage("`--html` needs a file; standard output has the plan");
        }
        Ok(())
    }
}

/// What of the settings shapes an undo's plan.
fn undo_shaping(settings: &Settings) -> BTreeMap<String, String> {
    let mut shaping = settings.plan_shaping();
    for setting in DECLARED.iter().filter(|setting| setting.shapes == Shapes::Input) {
        shaping.remove(setting.name);
    }
    shaping
}

/// [`UndoArgs::plan_shaping`] for `run JOURNAL` on an undo's journal: whom it was for, it keeps.
pub(crate) fn resumed_undo_shaping(
    settings: &Settings,
    planned: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut shaping = undo_shaping(settings);
    for name in ["only-user", "only-desktop"] {
        shaping.extend(planned.get(name).map(|only| (name.to_owned(), only.clone())));
    }
    shaping
}

fn usage(problem: &str) -> Result<(), Error> {
    Err(Error::Usage { problem: problem.to_owned() })
}

/// What differs between the plan-shaping settings of a journal and those of now (P16), in words, by name.
pub(crate) fn plan_differences(planned: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = planned.keys().chain(now.keys()).collect();
    let differ = names.into_iter().filter(|name| planned.get(*name) != now.get(*name));
    let word =
        |value: Option<&String>| value.map_or_else(|| "not set".to_owned(), |value| escape_untrusted(value, 200));
    differ.map(|name| format!("`{name}` was {}, and is {} now", word(planned.get(name)), word(now.get(name)))).collect()
}

/// INPUT with its ending replaced by `.results.csv`; of a results file by `.retry.results.csv`.
pub(crate) fn results_beside(input: &Path) -> PathBuf {
    let name = input.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.strip_suffix(".results.csv") {
        Some(stem) => input.with_file_name(format!("{stem}.retry.results.csv")),
        None => input.with_extension("results.csv"),
    }
}

/// The journal that goes with a results file.
pub(crate) fn journal_of(results: &Path) -> PathBuf {
    let mut name = results.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

/// A file beside a journal: `leavers.results.csv.journal` with `undo.csv` is `leavers.undo.csv`.
pub(crate) fn beside_journal(journal: &Path, ending: &str) -> PathBuf {
    let name = journal.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".journal").unwrap_or(&name);
    let stem = name.strip_suffix(".results.csv").or_else(|| name.strip_suffix(".csv")).unwrap_or(name);
    journal.with_file_name(format!("{stem}.{ending}"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Cli, Command};
    use super::*;
    use crate::config::Layer;

    fn run(line: &[&str]) -> RunArgs {
        let line = ["batch-detach", "run"].iter().chain(line).map(OsString::from);
        match Cli::read(line).unwrap().command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn problem(args: &RunArgs, writes: bool) -> String {
        args.check(writes).unwrap_err().to_string()
    }

    #[test]
    fn standard_input_needs_a_results_file_and_an_answer() {
        assert!(problem(&run(&["-", "--yes"]), true).contains("--results"));
        assert!(problem(&run(&["-", "--results", "r"]), true).contains("--approved"));
        assert!(run(&["-", "--results", "r", "--approved", "p.json"]).check(true).is_ok());
        assert!(run(&["-", "--dry-run"]).check(true).is_ok());
        assert!(run(&["-"]).check(false).is_ok());
    }

    #[test]
    fn a_journal_is_resumed_and_neither_planned_nor_started_over() {
        let args = run(&["d/x.results.csv.journal"]);
        assert_eq!(args.source(), Source::Journal(Path::new("d/x.results.csv.journal")));
        assert_eq!(args.results_path(), Some("d/x.results.csv".into()));
        assert!(args.check(true).is_ok());
        assert!(problem(&args, false).contains("status"));
        assert!(problem(&run(&["x.journal", "--fresh"]), true).contains("name the input"));
        assert!(problem(&run(&["x.journal", "--results", "y"]), true).contains("leave `--results` out"));
        assert!(run(&["x.journal", "--results", "x"]).check(true).is_ok());
    }

    #[test]
    fn requests_and_the_page_go_with_a_plan() {
        assert!(run(&["in.csv"]).check(true).is_ok());
        for option in ["--requests", "--html"] {
            let said = problem(&run(&["in.csv", option, "r"]), true);
            assert!(said.contains(option) && said.contains("plan"), "{said}");
            assert!(run(&["in.csv", option, "r"]).check(false).is_ok());
        }
        assert!(problem(&run(&["in.csv", "--html", "-"]), false).contains("file"));
    }

    #[test]
    fn a_journal_stands_beside_its_results() {
        assert_eq!(journal_of(Path::new("d/x.results.csv")), Path::new("d/x.results.csv.journal"));
    }

    #[test]
    fn results_stand_beside_their_input() {
        for (input, results) in [
            ("d/leavers.csv", "d/leavers.results.csv"),
            ("leavers.xlsx", "leavers.results.csv"),
            ("leavers", "leavers.results.csv"),
            ("leavers.results.csv", "leavers.retry.results.csv"),
            ("leavers.retry.results.csv", "leavers.retry.retry.results.csv"),
        ] {
            assert_eq!(results_beside(Path::new(input)), Path::new(results));
        }
        let journal = Path::new("d/leavers.results.csv.journal");
        assert_eq!(beside_journal(journal, "undo.csv"), Path::new("d/leavers.undo.csv"));
        assert_eq!(beside_journal(Path::new("r.csv.journal"), "report.html"), Path::new("r.report.html"));
    }

    #[test]
    fn p16_the_options_that_shape_a_plan_are_part_of_its_identity() {
        let settings = Layer::default().resolve().unwrap();
        let plain = run(&["a"]).plan_shaping(&settings, None, None);
        let failed = run(&["a", "--only", "unknown,failed,failed"]).plan_shaping(&settings, None, None);
        let all = run(&["a", "--allow-detach-all"]).plan_shaping(&settings, None, None);
        assert_eq!(failed["only"], r#"["failed","unknown"]"#);
        assert_ne!(plain, failed);
        assert_ne!(plain, all);
        assert_eq!(plan_differences(&plain, &plain), Vec::<String>::new());
        assert_eq!(plan_differences(&plain, &all), ["`allow-detach-all` was off, and is on now"]);
        assert_eq!(plan_differences(&failed, &plain), [r#"`only` was ["failed","unknown"], and is not set now"#]);
        for planned in [&plain, &failed, &all] {
            assert_eq!(run(&["a.journal"]).plan_shaping(&settings, None, Some(planned)), *planned);
        }
        assert_ne!(run(&["a.journal", "--allow-detach-all"]).plan_shaping(&settings, None, Some(&plain)), plain);
    }

    #[test]
    fn p16_an_undo_is_shaped_by_whom_it_takes_back_and_not_by_how_inputs_are_read() {
        let undo = |line: &[&str]| {
            let line = ["batch-detach", "undo", "d/x.results.csv.journal"].iter().chain(line).map(OsString::from);
            match Cli::read(line).unwrap().command {
                Command::Undo(args) => args,
                other => panic!("{other:?}"),
            }
        };
        let settings = Layer::default().resolve().unwrap();
        let some = undo(&["--only-user", "b,a,b"]);
        assert_eq!(some.plan_shaping(&settings)["only-user"], r#"["a","b"]"#);
        let quoted = undo(&["--only-user", "\"Doe, John\",li.si", "--only-user", "o\"x"]);
        assert_eq!(quoted.only_users(), ["Doe, John", "li.si", "o\"x"]);
        assert_ne!(some.plan_shaping(&settings), undo(&[]).plan_shaping(&settings));
        assert!(!some.plan_shaping(&settings).contains_key("encoding"));
        assert_eq!(some.results_path(), Path::new("d/x.undo.csv"));
    }
}
