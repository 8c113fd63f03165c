//! `status`: where a run stands, while it goes on or after.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::json;

use super::args::{Format, StatusArgs};
use super::task::started_with;
use super::{Closing, say, width};
use crate::error::{Error, Exit};
use crate::journal::{Identity, Progress, RunLock, View};
use crate::model::{Outcome, StillAccess};
use crate::outcome::next::{Next, Situation, next};
use crate::outcome::{Counts, JsonRun, exit_of};
use crate::text::escape_untrusted;
use crate::text::{counted, grouped, serialized, wrap};

/// `status JOURNAL`.
pub(super) fn command(args: &StatusArgs) -> Result<Closing, Error> {
    // Before the journal is opened: asking closes a handle on it, which would drop SQLite's locks.
    let running = RunLock::is_held(&args.journal);
    let view = View::open(&args.journal)?;
    let (identity, progress) = (view.identity(), view.progress()?);
    // Taking the lock for a moment is how one sees that nobody else has it.
    let counts = counts(&progress);
    let next = what_next(&args.journal, identity, &progress, &counts, running);
    let text = match args.format {
        Format::Human => human(identity, &progress, &counts, running, &next),
        Format::Json => json(identity, &progress, &counts, running, &next),
    };
    say(&text)?;
    Ok(Closing::silent())
}

/// Every row under one outcome: the open ones as results written now would have them.
fn counts(progress: &Progress) -> Counts {
    let mut counts = Counts::default();
    for (outcome, rows) in &progress.outcomes {
        counts.add(*outcome, *rows);
    }
    counts.add(Outcome::NotSent, progress.open_not_sent);
    counts.add(Outcome::Unknown, progress.open_unknown);
    counts
}

/// What to type next, for a run that stands like this.
pub(super) fn what_next(path: &Path, identity: &Identity, progress: &Progress, counts: &Counts, running: bool) -> Next {
    let status = |journal: &OsStr| Some(vec!["batch-detach".into(), "status".into(), journal.to_owned()]);
    if running {
        return Next {
            words: "A process is working on it; to look again:".to_owned(),
            command: status(path.as_os_str()),
        };
    }
    if let Some(undo) = progress.undone_by.as_ref().filter(|_| !progress.finished) {
        return Next {
            words: "It is being undone, or was undone, and can't be resumed; to see how far its undo is:".to_owned(),
            command: status(undo.as_ref()),
        };
    }
    let results = path.with_extension("");
    let (input, repeat) = started_with(identity);
    next(&Situation {
        exit: if progress.finished && !progress.still_open { exit_of(counts, false) } else { Exit::Stopped },
        counts,
        planned: false,
        canary_failed: progress.canary == Some(false),
        still: progress.still.as_ref(),
        input: &input,
        undo: identity.undo_of.is_some(),
        results: Some(results.as_os_str()),
        journal: Some(path.as_os_str()),
        repeat: &repeat,
    })
}

fn state(progress: &Progress, running: bool) -> &'static str {
    match (running, progress.finished) {
        (true, _) => "running",
        (false, true) => "finished",
        (false, false) => "stopped",
    }
}

fn human(identity: &Identity, progress: &Progress, counts: &Counts, running: bool, next: &Next) -> String {
    let mut lines = vec![format!(
        "Run {} of {}: {}, {} of {} rows have their outcome",
        identity.run_id,
        escape_untrusted(&identity.input_path, 200),
        state(progress, running),
        grouped(progress.rows - progress.open()),
        grouped(progress.rows),
    )];
    lines.push(format!(
        "  endpoint     {}, project {}",
        escape_untrusted(&identity.endpoint, 200),
        escape_untrusted(&identity.caller.project(&identity.project_id), 200)
    ));
    if !identity.caller.credentials.is_empty() {
        lines.push(format!("  credentials  {}", escape_untrusted(&identity.caller.who(), 300)));
    }
    lines.push(format!("  begun        {} by {} on {}", identity.created_at, identity.operator, identity.host));
    if let Some(ticket) = &identity.ticket {
        lines.push(format!("  ticket       {}", escape_untrusted(ticket, 200)));
    }
    lines.push(format!(
        "  requests     {} of {} not finished",
        grouped(progress.chunks_open),
        counted(progress.chunks, "chunk", "chunks")
    ));
    if let Some(stopped) = progress.last.as_ref().and_then(|last| last.stopped.as_ref()).filter(|_| !running) {
        let reason = if stopped.reason.is_empty() { "ended normally" } else { &stopped.reason };
        lines.push(format!(
            "  last process ended {} (exit code {}): {}",
            stopped.at,
            stopped.exit,
            escape_untrusted(reason, 300)
        ));
    } else if progress.last.is_some() && !running {
        lines.push("  the last process was killed, or the machine went down".to_owned());
    }
    lines.push(String::new());
    for (outcome, rows) in counts.iter().filter(|(_, rows)| *rows > 0) {
        let open = match outcome {
            Outcome::NotSent if progress.open_not_sent > 0 && !progress.finished => "  (still to be sent)",
            Outcome::Unknown => "  (sent; what became of them is still to be read)",
            _ => "",
        };
        lines.push(format!("  {:<17} {:>9}{open}", outcome.as_str(), grouped(rows)));
    }
    let sum = wrap(&counts.to_string(), width().saturating_sub(2));
    lines.extend(sum.into_iter().map(|line| format!("  {line}")));
    if let Some(still) = &progress.still {
        lines.push(String::new());
        let said = if still.is_open() { still.in_words() } else { "nobody still gets in by something else".to_owned() };
        lines.push(format!("  {said}"));
        for one in &still.examples {
            let (user, ways) = (escape_untrusted(&one.user_name, 64), escape_untrusted(&one.still_via, 300));
            lines.push(format!("    line {}: {user} by {}", one.line, ways.replace(';', "; ")));
        }
    } else if progress.still_open && progress.finished {
        lines.push(String::new());
        lines.push("  it is not checked yet who still gets in".to_owned());
    }
    lines.push(String::new());
    lines.push(match next.line() {
        Some(command) => format!("{}\n  {command}", next.words),
        None => next.words.clone(),
    });
    lines.join("\n") + "\n"
}

fn json(identity: &Identity, progress: &Progress, counts: &Counts, running: bool, next: &Next) -> String {
    let value = JsonStatus {
        format: 1,
        run: JsonRun::of(identity),
        state: state(progress, running),
        input: &identity.input_path,
        created_at: &identity.created_at,
        plan_hash: &identity.plan_hash,
        rows: progress.rows,
        open: progress.open(),
        chunks: progress.chunks,
        chunks_open: progress.chunks_open,
        outcomes: counts.iter().map(|(outcome, rows)| (outcome.as_str(), rows)).collect(),
        finished: progress.finished,
        still_access: progress.still.as_ref(),
        next: next.line(),
    };
    let value = json!(value);
    format!("{value}\n")
}

/// Where a run stands.
#[derive(Serialize, JsonSchema)]
struct JsonStatus<'a> {
    /// Rises when a key changes its meaning or goes.
    format: u32,
    #[serde(flatten)]
    run: JsonRun<'a>,
    /// `running`, `stopped` or `finished`.
    state: &'a str,
    input: &'a str,
    /// UTC, RFC 3339.
    created_at: &'a str,
    plan_hash: &'a str,
    rows: u64,
    /// Rows without their outcome.
    open: u64,
    chunks: u64,
    chunks_open: u64,
    /// Every row under one outcome; the open ones as results written now would have them.
    outcomes: BTreeMap<&'a str, u64>,
    finished: bool,
    /// Who still gets in by something other than what the rows name; `null` where that was not looked for.
    still_access: Option<&'a StillAccess>,
    /// The command to type next.
    next: Option<String>,
}

/// The schema of a status in JSON.
pub(super) fn schema() -> Schema {
    serialized::<JsonStatus<'static>>()
}
