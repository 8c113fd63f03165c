//! What stops a run that goes wrong: the share of failures, the canary, and refusals that are all alike.

use super::super::rules::{ALIKE_LIMIT, FORBIDDEN_LIMIT, Rules, STOP_AT_FROM, StopReason};
use crate::config::Percent;
use crate::model::{Outcome, Refusal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Canary {
    None,
    /// Not judged yet; whether a row of it is not as wanted.
    Pending {
        bad: bool,
    },
    Passed,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Brakes {
    stop_at: Option<Percent>,
    /// Rows settled since this start, and those of them that failed.
    settled: u64,
    failed: u64,
    canary: Canary,
    canary_chunks: u32,
    /// The code of the latest single desktops that were refused, and how many in a row had it.
    alike: (String, u32),
    /// 403s in a row without a success.
    forbidden: u32,
}

impl Brakes {
    /// * `judged`: what became of the canary in an earlier process.
    /// * `failed_before`: whether rows of an earlier process failed already.
    pub(super) fn new(rules: &Rules, judged: Option<bool>, failed_before: bool) -> Self {
        let canary = match (rules.canary_chunks, judged) {
            (0, _) => Canary::None,
            (_, Some(true)) => Canary::Passed,
            _ => Canary::Pending { bad: failed_before || judged == Some(false) },
        };
        Self {
            stop_at: rules.stop_at,
            settled: 0,
            failed: 0,
            canary,
            canary_chunks: rules.canary_chunks,
            alike: (String::new(), 0),
            forbidden: 0,
        }
    }

    /// Rows have their outcome. The reason to stop, if too many failed.
    pub(super) fn settled(&mut self, outcome: Outcome, rows: u64) -> Option<StopReason> {
        self.settled += rows;
        self.failed += if outcome == Outcome::Failed { rows } else { 0 };
        if !outcome.is_success() {
            self.left_open();
        }
        let limit = self.stop_at?;
        let is_over = self.settled >= STOP_AT_FROM && limit.is_exceeded_by(self.failed, self.settled);
        is_over.then(|| {
            StopReason::Brake(format!(
                "the brake --stop-at {limit} stopped the run: {} of the {} rows settled since this start failed",
                self.failed, self.settled
            ))
        })
    }

    /// A row could not be verified, so the canary it may be of is not as wanted.
    pub(super) fn left_open(&mut self) {
        if let Canary::Pending { bad } = &mut self.canary {
            *bad = true;
        }
    }

    /// The highest chunk that may be sent: while the canary is out, its last.
    pub(super) fn last_chunk(&self) -> u32 {
        if matches!(self.canary, Canary::Pending { .. }) { self.canary_chunks } else { u32::MAX }
    }

    /// Judges the canary, all of which has come to its end. `None` where there is none to judge.
    pub(super) fn judge_canary(&mut self) -> Option<bool> {
        let Canary::Pending { bad } = self.canary else { return None };
        if !bad {
            self.canary = Canary::Passed;
        }
        Some(!bad)
    }

    /// One desktop was refused by itself, and no write was taken yet.
    pub(super) fn refused_alone(&mut self, cause: &Refusal) -> Option<StopReason> {
        if self.alike.0 == cause.code {
            self.alike.1 += 1;
        } else {
            self.alike = (cause.code.clone(), 1);
        }
        (self.alike.1 >= ALIKE_LIMIT).then(|| {
            StopReason::Endpoint(format!(
                "{ALIKE_LIMIT} desktops were refused alike and none was taken ({}: {}); the request itself is wrong",
                cause.code, cause.message
            ))
        })
    }

    /// A 403. Whether there were too many in a row.
    pub(super) fn forbidden(&mut self) -> bool {
        self.forbidden += 1;
        self.forbidden >= FORBIDDEN_LIMIT
    }

    /// A write was taken.
    pub(super) fn taken(&mut self) {
        self.forbidden = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brakes(stop_at: Option<&str>, canary_chunks: u32, judged: Option<bool>, failed_before: bool) -> Brakes {
        let stop_at = stop_at.map(|percent| Percent::read(percent).unwrap());
        Brakes::new(&Rules { stop_at, canary_chunks, ..Rules::default() }, judged, failed_before)
    }

    #[test]
    fn the_brake_counts_rows_from_the_twentieth_on() {
        for (steps, stops) in [
            (&[(Outcome::Failed, 19)][..], false),
            (&[(Outcome::Failed, 20)], true),
            (&[(Outcome::Detached, 18), (Outcome::Failed, 2)], false), // 10 %, not more
            (&[(Outcome::Detached, 17), (Outcome::Failed, 3)], true),
            (&[(Outcome::Unknown, 40)], false),
        ] {
            let mut brakes = brakes(Some("10%"), 0, None, false);
            let reason = steps.iter().filter_map(|(outcome, rows)| brakes.settled(*outcome, *rows)).last();
            assert_eq!(reason.is_some(), stops, "{steps:?}");
        }
        assert_eq!(brakes(None, 0, None, false).settled(Outcome::Failed, 100), None);
    }

    #[test]
    fn a_canary_passes_once_and_only_if_all_of_it_is_as_wanted() {
        // Chunks of the canary, an earlier judgement, earlier failures, an outcome: may more be sent, and the judgement.
        for (chunks, judged, failed_before, outcome, last, verdict) in [
            (0, None, true, Outcome::Failed, u32::MAX, None),
            (2, None, false, Outcome::Detached, 2, Some(true)),
            (2, None, false, Outcome::Failed, 2, Some(false)),
            (2, None, true, Outcome::Detached, 2, Some(false)),
            (2, Some(false), false, Outcome::Detached, 2, Some(false)),
            (2, Some(true), true, Outcome::Failed, u32::MAX, None),
        ] {
            let mut brakes = brakes(None, chunks, judged, failed_before);
            assert_eq!(brakes.last_chunk(), last);
            assert_eq!(brakes.settled(outcome, 1), None);
            assert_eq!(brakes.judge_canary(), verdict, "{chunks} {judged:?} {failed_before} {outcome}");
            assert_eq!(brakes.last_chunk(), if verdict == Some(false) { 2 } else { u32::MAX });
        }
    }

    #[test]
    fn twenty_single_desktops_refused_alike_are_a_wrong_request() {
        let refusal = |code: &str| Refusal { code: code.to_owned(), message: "no".to_owned() };
        let mut brakes = brakes(None, 0, None, false);
        for _ in 0..19 {
            assert_eq!(brakes.refused_alone(&refusal("A")), None);
        }
        assert_eq!(brakes.refused_alone(&refusal("B")), None, "another code begins anew");
        for _ in 0..19 {
            assert_eq!(brakes.refused_alone(&refusal("A")), None);
        }
        assert!(brakes.refused_alone(&refusal("A")).is_some());
    }

    #[test]
    fn three_403_in_a_row_are_a_missing_right() {
        let mut brakes = brakes(None, 0, None, false);
        assert_eq!([brakes.forbidden(), brakes.forbidden()], [false; 2]);
        brakes.taken();
        assert_eq!([brakes.forbidden(), brakes.forbidden(), brakes.forbidden()], [false, false, true]);
    }
}
