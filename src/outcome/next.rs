//! What an exit code means, and the exact command that comes next.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::error::Exit;
use crate::model::{Given, Outcome, Repeat, StillAccess};
use crate::outcome::counts::Counts;
use crate::text::{columns, shell_line, wrap};
use crate::text::{serialized, timestamp_now};

/// The end of a run, and what it has to offer for going on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub exit: Exit,
    pub counts: &'a Counts,
    /// A plan: nothing was sent, and `run` comes next.
    pub planned: bool,
    /// A failed canary is final for its journal: only `--fresh` goes on.
    pub canary_failed: bool,
    /// As it was named on the command line; `-` is standard input. In an undo, the journal that is taken back.
    pub input: &'a OsStr,
    /// An undo: its rows must never be given to `run`, which would detach them.
    pub undo: bool,
    pub results: Option<&'a OsStr>,
    pub journal: Option<&'a OsStr>,
    /// Who still gets in, where that was looked for.
    pub still: Option<&'a StillAccess>,
    /// Options of this command line that the next command needs as well.
    pub repeat: &'a Repeat,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Next {
    /// A sentence.
    pub words: String,
    /// Words of the command; `None` where nothing is left to do, or a person must act first.
    pub command: Option<Vec<OsString>>,
}

impl Next {
    /// The command, quoted for a POSIX shell.
    pub(crate) fn line(&self) -> Option<String> {
        self.command.as_ref().map(|words| shell_line(words))
    }
}

/// What an exit code means, in words.
///
/// * `plans`: of a command that only plans, and so changes nothing whatever it finds.
pub(crate) const fn meaning(exit: Exit, plans: bool) -> &'static str {
    match exit {
        Exit::Done if plans => "the plan is made, nothing was changed",
        Exit::SomeRows if plans => "the plan is made, nothing was changed; some rows would not be done",
        Exit::Rejected if plans => "the command line, a setting or the input is wrong; nothing was changed",
        Exit::Refused if plans => "a guard or an approval refuses this plan; nothing was changed",
        Exit::NoAccess if plans => "no plan: credentials, permission or the endpoint failed; nothing was changed",
        Exit::Stopped if plans => "stopped before the plan was made; nothing was changed",
        Exit::Done => "all is as requested",
        Exit::SomeRows => "done, but not all is as requested",
        Exit::Rejected => "the command line, a setting or the input is wrong; nothing was sent",
        Exit::Refused => "refused by a guard, an approval or a missing confirmation; nothing was sent",
        Exit::NoAccess => "credentials, permission or the endpoint failed before anything was sent",
        Exit::Stopped => "stopped before its end; it can go on",
        Exit::Held => "another process is working on this run",
        Exit::Fault => "a fault of the program itself",
    }
}

/// What the exit code means, and in whose words it came to that.
fn ending(exit: Exit, plans: bool, why: Option<&str>) -> String {
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    format!("exit code {}: {}{why}", exit.code(), meaning(exit, plans))
}

/// The last line on standard error: what the exit code means, and what to type.
///
/// * `plans`: as [`meaning`] takes it.
/// * `why`: why a run stopped before its end, or what it left.
pub(crate) fn last_line(exit: Exit, plans: bool, why: Option<&str>, next: Option<&Next>) -> String {
    let line = ending(exit, plans, why);
    match (next.and_then(Next::line), next) {
        (Some(command), _) => format!("{line}; next: {command}"),
        // Nothing to type, but something to do first.
        (None, Some(next)) if exit != Exit::Done => format!("{line}. {}", next.words),
        _ => line,
    }
}

/// [`last_line`] for a terminal: where that is too narrow, the command stands on a line of its own.
pub(crate) fn last_words(exit: Exit, plans: bool, why: Option<&str>, next: Option<&Next>, width: usize) -> String {
    let line = last_line(exit, plans, why, next);
    match next.and_then(Next::line) {
        _ if columns(&line) <= width => line,
        Some(command) => {
            let words = format!("{}; next:", ending(exit, plans, why));
            format!("{}\n  {command}", wrap(&words, width).join("\n"))
        }
        None => wrap(&line, width).join("\n"),
    }
}

/// [`last_line`] as a record, for `--log-format json`; without a newline.
pub(crate) fn last_record(exit: Exit, plans: bool, why: Option<&str>, next: Option<&Next>) -> String {
    let level = if exit == Exit::Done { "INFO" } else { "ERROR" };
    let record = LogRecord {
        timestamp: timestamp_now(),
        level,
        message: meaning(exit, plans),
        event: Some("exit"),
        target: None,
        fields: BTreeMap::from([
            ("exit_code", exit.code().into()),
            ("why", why.into()),
            ("next", next.and_then(Next::line).into()),
            ("to_do", next.filter(|next| exit != Exit::Done && next.command.is_none()).map(|next| &*next.words).into()),
        ]),
    };
    serde_json::json!(record).to_string()
}

/// One record of the log in JSON: a line.
#[derive(Serialize, JsonSchema)]
struct LogRecord<'a> {
    /// UTC, RFC 3339.
    timestamp: String,
    /// ERROR, WARN, INFO, DEBUG or TRACE.
    level: &'a str,
    message: &'a str,
    /// What happened, in one word: `begun`, `sent`, `answered`, `stopping`, … The last record's is `exit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    /// The part of the program that says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    /// What belongs to the event; of the last record `exit_code`, `why` it stopped before its end, `next`, the command
    /// to type, and, where there is none before something else is done, `to_do`.
    #[serde(flatten)]
    fields: BTreeMap<&'a str, serde_json::Value>,
}

/// The schema of a record of the log.
pub(crate) fn log_schema() -> Schema {
    serialized::<LogRecord<'static>>()
}

/// The next step after a run, an undo or a plan that came far enough to have counts.
pub(crate) fn next(of: &Situation<'_>) -> Next {
    let rows_of = |outcome| of.counts.get(outcome);
    if of.planned {
        return of.again(&[], "Nothing was sent. To do what this plan says:", "Nothing was sent.");
    }
    if of.exit == Exit::Stopped && of.canary_failed {
        let alone = "The canary failed. Find out why, then start over with --fresh.";
        return of.again(&["--fresh"], "The canary failed. Find out why, then start over:", alone);
    }
    if matches!(of.exit, Exit::Stopped | Exit::NoAccess) {
        // Nothing got through, and the plan is in its journal all the same.
        return of.resume("To go on where it stopped:", "Run again to go on where it stopped.");
    }
    if rows_of(Outcome::Unknown) > 0 {
        return of.resume(
            "To ask the service what became of the unknown rows:",
            "Run again to ask the service what became of the unknown rows.",
        );
    }
    let unsettled: Vec<&str> = [Outcome::Failed, Outcome::NotSent]
        .into_iter()
        .filter(|outcome| rows_of(*outcome) > 0)
        .map(Outcome::as_str)
        .collect();
    let alone = "When the causes are gone, run these rows again.";
    if of.undo && of.exit == Exit::SomeRows {
        let words = "When the causes are gone, to try again (what is attached already stays as it is):";
        return of.again(&["--fresh"], words, alone);
    }
    if !unsettled.is_empty() {
        let command = of.results.map(|path| of.command("run", path, &["--only", &unsettled.join(",")], false));
        return Next::new(command, "When the causes are gone, to try just these rows again:", alone);
    }
    if rows_of(Outcome::Invalid) > 0 {
        let alone = "Correct the invalid rows in the input, then run again.";
        return of.again(&[], "Correct the invalid rows in the input, then:", alone);
    }
    let words = match of.still {
        Some(still) if still.people > 0 => {
            format!("Nothing is left to send, but {}: see the column still_via of the results.", still.in_words())
        }
        Some(still) if still.unknown > 0 => format!("Nothing is left to send; {}.", still.in_words()),
        _ => "Nothing is left to do.".to_owned(),
    };
    Next::new(None, "", &words)
}

/// How somebody approves a plan.
///
/// * `day`: what its rows were held against that have a day. On another day the plan would be another one.
pub(crate) fn approve(of: &Situation<'_>, hash: &str, day: Option<&str>) -> Next {
    let mut options = vec!["--approved", hash];
    let is_repeated = of.repeat.reading.iter().any(|given| given.name == "as-of");
    if let Some(day) = day.filter(|_| !is_repeated) {
        options.extend(["--as-of", day]);
    }
    let words = "If you agree, give this plan hash to the operator. The operator runs the command below: it does \
                 exactly this plan, once, and asks nothing more. If the list or the bindings have changed in between, \
                 it stops, and changes nothing.";
    let alone = "If you agree, give this plan hash to the operator. The list came from standard input: the operator \
                 gives it again to `run`, with --results FILE, --approved and this hash.";
    of.again(&options, words, alone)
}

impl Next {
    /// `words` lead to the command; `alone` stands where there is none.
    fn new(command: Option<Vec<OsString>>, words: &str, alone: &str) -> Self {
        Self { words: if command.is_some() { words } else { alone }.to_owned(), command }
    }
}

impl Situation<'_> {
    /// * `same_input`: whether it is done on what this command was given.
    fn command(&self, verb: &str, file: &OsStr, options: &[&str], same_input: bool) -> Vec<OsString> {
        // A file name that looks like an option would be read as one.
        let looks_like_an_option = file.as_encoded_bytes().starts_with(b"-");
        let file = if looks_like_an_option { Path::new(".").join(file).into() } else { file.to_owned() };
        let start = ["batch-detach".into(), verb.into(), file];
        let options = options.iter().map(OsString::from);
        let Repeat { place, reading, scope, results } = self.repeat;
        let of_input = [scope, reading, results].into_iter().filter(|_| same_input).flatten();
        start.into_iter().chain(options).chain(of_input.chain(place).flat_map(Given::words)).collect()
    }

    /// The same command once more, as far as its input can be read once more.
    fn again(&self, options: &[&str], words: &str, alone: &str) -> Next {
        let verb = if self.undo { "undo" } else { "run" };
        let can_be_read_again = self.undo || self.input != "-";
        let command = can_be_read_again.then(|| self.command(verb, self.input, options, true));
        Next::new(command, words, alone)
    }

    /// Takes the journal up again.
    fn resume(&self, words: &str, alone: &str) -> Next {
        Next::new(self.journal.map(|path| self.command("run", path, &[], false)), words, alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(exit: Exit, counts: &Counts) -> Situation<'_> {
        Situation {
            exit,
            counts,
            planned: false,
            canary_failed: false,
            still: None,
            input: "Q3 leavers.csv".as_ref(),
            undo: false,
            results: Some("Q3 leavers.results.csv".as_ref()),
            journal: Some("Q3 leavers.results.csv.journal".as_ref()),
            repeat: &NOTHING,
        }
    }

    static NOTHING: Repeat = Repeat { place: Vec::new(), reading: Vec::new(), scope: Vec::new(), results: Vec::new() };

    fn counts(of: &[Outcome]) -> Counts {
        let mut counts = Counts::default();
        for outcome in of {
            counts.add(*outcome, 1);
        }
        counts
    }

    #[test]
    fn each_end_has_its_next_command() {
        for (exit, rows, line) in [
            (Exit::Done, vec![Outcome::Detached], None),
            (Exit::SomeRows, vec![Outcome::Failed], Some("batch-detach run 'Q3 leavers.results.csv' --only failed")),
            (
                Exit::SomeRows,
                vec![Outcome::Failed, Outcome::NotSent, Outcome::Invalid],
                Some("batch-detach run 'Q3 leavers.results.csv' --only failed,not_sent"),
            ),
            (
                Exit::SomeRows,
                vec![Outcome::Failed, Outcome::Unknown],
                Some("batch-detach run 'Q3 leavers.results.csv.journal'"),
            ),
            (Exit::SomeRows, vec![Outcome::Invalid], Some("batch-detach run 'Q3 leavers.csv'")),
            (Exit::Stopped, vec![Outcome::NotSent], Some("batch-detach run 'Q3 leavers.results.csv.journal'")),
            (Exit::NoAccess, vec![Outcome::NotSent], Some("batch-detach run 'Q3 leavers.results.csv.journal'")),
        ] {
            assert_eq!(next(&situation(exit, &counts(&rows))).line().as_deref(), line, "{rows:?}");
        }
    }

    #[test]
    fn after_a_failed_canary_only_fresh_goes_on() {
        let rows = counts(&[Outcome::Failed, Outcome::NotSent]);
        let next = next(&Situation { canary_failed: true, ..situation(Exit::Stopped, &rows) });
        assert_eq!(next.line().as_deref(), Some("batch-detach run 'Q3 leavers.csv' --fresh"));
    }

    #[test]
    fn rows_of_an_undo_are_never_given_to_run() {
        let rows = counts(&[Outcome::Attached, Outcome::Failed, Outcome::Invalid]);
        let undo =
            Situation { undo: true, input: "l.results.csv.journal".as_ref(), ..situation(Exit::SomeRows, &rows) };
        assert_eq!(next(&undo).line().as_deref(), Some("batch-detach undo l.results.csv.journal --fresh"));
        let stopped = Situation { exit: Exit::Stopped, journal: Some("l.undo.csv.journal".as_ref()), ..undo };
        assert_eq!(next(&stopped).line().as_deref(), Some("batch-detach run l.undo.csv.journal"));
    }

    #[test]
    fn options_that_say_where_the_api_is_are_repeated() {
        let rows = counts(&[Outcome::Planned]);
        let repeat = Repeat { place: vec![Given::text("region", "cn-north-4")], ..Repeat::default() };
        let next = next(&Situation { planned: true, repeat: &repeat, ..situation(Exit::Done, &rows) });
        assert_eq!(next.line().as_deref(), Some("batch-detach run 'Q3 leavers.csv' --region cn-north-4"));
    }

    #[test]
    fn what_says_how_the_input_is_read_and_which_rows_are_meant_goes_with_the_input_alone() {
        let repeat = Repeat {
            place: vec![Given::flag("simulate")],
            reading: vec![Given::text("delimiter", ";")],
            scope: vec![Given::text("only", "failed")],
            results: vec![Given::file("results", Path::new("r.csv"))],
        };
        let rows = counts(&[Outcome::Planned]);
        let again = next(&Situation { planned: true, repeat: &repeat, ..situation(Exit::Done, &rows) });
        let line = "batch-detach run 'Q3 leavers.csv' --only failed --delimiter ';' --results r.csv --simulate";
        assert_eq!(again.line().as_deref(), Some(line));
        let rows = counts(&[Outcome::Failed]);
        let retry = next(&Situation { repeat: &repeat, ..situation(Exit::SomeRows, &rows) });
        let line = "batch-detach run 'Q3 leavers.results.csv' --only failed --simulate";
        assert_eq!(retry.line().as_deref(), Some(line));
        let stopped = next(&Situation { repeat: &repeat, ..situation(Exit::Stopped, &rows) });
        assert_eq!(stopped.line().as_deref(), Some("batch-detach run 'Q3 leavers.results.csv.journal' --simulate"));
        let undo = Situation {
            undo: true,
            input: "l.results.csv.journal".as_ref(),
            planned: true,
            repeat: &repeat,
            ..situation(Exit::Done, &rows)
        };
        assert!(next(&undo).line().unwrap().starts_with("batch-detach undo l.results.csv.journal --only failed"));
    }

    #[test]
    fn an_approval_names_hash_and_day_and_an_undo_stays_an_undo() {
        let rows = counts(&[Outcome::Planned]);
        let plan = Situation { planned: true, ..situation(Exit::Done, &rows) };
        let line = |of: &Situation<'_>, day| approve(of, "0f", day).line();
        assert_eq!(line(&plan, None).as_deref(), Some("batch-detach run 'Q3 leavers.csv' --approved 0f"));
        let of_a_day = line(&plan, Some("2026-11-30"));
        assert!(of_a_day.unwrap().ends_with("--approved 0f --as-of 2026-11-30"));
        let reading = vec![Given::text("as-of", "2026-11-30")];
        let given = Situation { repeat: &Repeat { reading, ..Repeat::default() }, ..plan };
        assert_eq!(line(&given, Some("2026-11-30")).unwrap().matches("--as-of").count(), 1);
        let undo = Situation { undo: true, input: OsStr::new("l.results.csv.journal"), ..plan };
        assert!(line(&undo, None).unwrap().starts_with("batch-detach undo l.results.csv.journal --approved 0f"));
        assert_eq!(line(&Situation { input: OsStr::new("-"), ..plan }, None), None);
    }

    #[test]
    fn standard_input_cannot_be_read_twice() {
        let rows = counts(&[Outcome::Invalid]);
        let next = next(&Situation { input: "-".as_ref(), ..situation(Exit::SomeRows, &rows) });
        assert_eq!(
            (next.words.as_str(), next.command),
            ("Correct the invalid rows in the input, then run again.", None)
        );
    }

    #[test]
    fn a_file_whose_name_looks_like_an_option_is_still_a_file() {
        let rows = counts(&[Outcome::Invalid]);
        let next = next(&Situation { input: "-x.csv".as_ref(), ..situation(Exit::SomeRows, &rows) });
        assert_eq!(next.line().as_deref(), Some("batch-detach run ./-x.csv"));
    }

    #[test]
    fn the_last_line_says_what_the_code_means_and_what_to_type() {
        let rows = counts(&[Outcome::NotSent]);
        let next = next(&situation(Exit::Stopped, &rows));
        insta::assert_snapshot!(
            last_line(Exit::Stopped, false, None, Some(&next)),
            @"exit code 5: stopped before its end; it can go on; next: batch-detach run 'Q3 leavers.results.csv.journal'"
        );
        assert_eq!(last_line(Exit::Done, false, None, None), "exit code 0: all is as requested");
        // On a terminal that is too narrow the command is not broken within a word.
        let told = last_line(Exit::Stopped, false, None, Some(&next));
        let words = |width| last_words(Exit::Stopped, false, None, Some(&next), width);
        assert_eq!((words(told.len()), words(told.len() - 1)), (told.clone(), told.replace("next: ", "next:\n  ")));
    }

    #[test]
    fn what_only_plans_never_says_that_something_is_done() {
        for exit in [Exit::Done, Exit::SomeRows, Exit::Rejected, Exit::Refused, Exit::NoAccess, Exit::Stopped] {
            let line = last_line(exit, true, None, None);
            assert!(line.ends_with("nothing was changed") || line.contains("nothing was changed; "), "{line}");
            assert!(!line.contains("as requested") && !line.contains("go on"), "{line}");
        }
    }

    #[test]
    fn the_last_record_says_the_same_to_a_program() {
        let rows = counts(&[Outcome::NotSent]);
        let next = next(&situation(Exit::Stopped, &rows));
        let record: serde_json::Value =
            serde_json::from_str(&last_record(Exit::Stopped, false, Some("no success"), Some(&next))).unwrap();
        assert_eq!(record["exit_code"], 5);
        assert_eq!(record["why"], "no success");
        assert_eq!(record["next"], "batch-detach run 'Q3 leavers.results.csv.journal'");
        let done: serde_json::Value = serde_json::from_str(&last_record(Exit::Done, false, None, None)).unwrap();
        assert!(done["next"].is_null() && done["level"] == "INFO");
    }
}
