//! A plan of whatever kind, before anything of it is done.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::Value;

use super::fingerprint::HashFacts;
use super::policy::Policy;
use super::show::{Effect, Facts, Outline};
use crate::error::Error;
use crate::input::RowFault;
use crate::journal::{EntryRef, Item};
use crate::model::Outcome;

/// What `plan` shows, and what `run` and `undo` carry out: every row's fate, and the requests. The same value is looked
/// at, guarded, approved, asked about and written to the journal, so that nothing can be sent which was not shown.
pub(crate) trait Draft {
    /// Every invalid row, in the order of lines; of a row with several faults of its own all of them.
    fn faults(&self) -> Vec<RowFault>;

    /// See [`guard`].
    ///
    /// # Errors
    /// What is refused: the number, its limit, and the option that sets it.
    fn guard(&self, policy: &Policy) -> Result<(), String>;

    /// Writes the body of every request, one a line, in the order of chunks, and returns the plan's hash: SHA-256 in hex
    /// over its input, endpoint, project, settings, every row's fate, the bodies, and who is bound to each desktop that
    /// they touch; not time, power state or pace.
    ///
    /// # Errors
    /// Those of `out`.
    fn write_requests(&self, covered: HashFacts<'_>, out: &mut dyn Write) -> io::Result<String>;

    /// The plan in plain words, at most `width` columns wide where words allow it; with colours, for a stream that takes
    /// them off where they are not wanted.
    fn human(&self, facts: &Facts<'_>, width: usize) -> String;

    /// The plan in sentences.
    fn outline(&self, facts: &Facts<'_>) -> Outline;

    /// What is to be known of each desktop that is touched and was looked at, by its id.
    fn touched(&self) -> HashMap<&str, Touched>;

    /// The plan as one JSON object; also what `--approved` is compared with.
    ///
    /// # Errors
    /// None that a plan can cause.
    fn json(&self, facts: &Facts<'_>) -> serde_json::Result<String>;

    /// How it differs from an approved plan in JSON: a sentence each. Empty where only the division into requests does.
    fn compare(&self, approved: &Value, covered: HashFacts<'_>) -> Vec<String>;

    /// What a person has to say yes to. `None` where nothing is to be sent.
    fn question(&self) -> Option<String>;

    /// What the summary must say though no row does.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// How many chunks the canary takes: those with the lowest numbers.
    fn canary_chunks(&self) -> usize;

    /// What would become of each record, in order, if all went well.
    fn outcomes(&self) -> Box<dyn Iterator<Item = Outcome> + '_>;

    /// Every record of the results to be, in order.
    ///
    /// # Errors
    /// The first one of `f`.
    fn for_each_entry(&self, f: &mut dyn FnMut(EntryRef<'_>) -> Result<(), Error>) -> Result<(), Error>;

    /// Each desktop's share of each chunk, in the order of chunks, with all that an undo needs.
    fn items(&self) -> Box<dyn Iterator<Item = Item> + '_>;
}

/// What somebody should know of a desktop who approves that it is touched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Touched {
    pub in_use: bool,
    /// The service may refuse it for the state that it is in.
    pub may_be_refused: bool,
    /// Its last binding goes.
    pub left_with_nobody: bool,
    /// What it is like.
    pub effects: Vec<Effect>,
}

impl Touched {
    /// * `effects`: with the counts of this desktop alone.
    pub(crate) fn new(in_use: bool, may_be_refused: bool, left_with_nobody: bool, effects: &[Effect]) -> Self {
        let effects = effects.iter().filter(|effect| effect.desktops > 0).copied().collect();
        Self { in_use, may_be_refused, left_with_nobody, effects }
    }
}

/// The guards, in one place for every command alike.
///
/// * `touched`: desktops that the plan touches.
/// * `assigned`: desktops of the project that are assigned, where that was read.
///
/// # Errors
/// What is refused: the number, its limit, and the option that sets it.
pub(crate) fn guard(touched: u64, assigned: Option<u64>, policy: &Policy) -> Result<(), String> {
    if let Some(limit) = policy.max_desktops.filter(|&limit| touched > limit) {
        return Err(format!(
            "this would touch {touched} desktops, and --max-desktops allows {limit}; nothing was sent. \
             Take rows out, or raise --max-desktops"
        ));
    }
    let Some(limit) = policy.max_percent else { return Ok(()) };
    let Some(assigned) = assigned else {
        return Err(format!(
            "how many desktops of this project are assigned is not known, so --max-percent {limit} cannot be \
             judged; nothing was sent. Leave out --max-percent, or use --max-desktops"
        ));
    };
    if limit.is_exceeded_by(touched, assigned) {
        // For people alone: the comparison itself is exact.
        #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
        let share = 100.0 * touched as f64 / assigned.max(1) as f64;
        return Err(format!(
            "this would touch {touched} of {assigned} assigned desktops ({share:.1} %), more than the {limit} that \
             --max-percent allows; nothing was sent. Take rows out, or raise --max-percent"
        ));
    }
    Ok(())
}
