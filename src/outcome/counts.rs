//! How many rows came to which end, and the exit code that follows.

use std::fmt;

use crate::error::Exit;
use crate::model::Outcome;
use crate::text::grouped;

/// Rows by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([u64; Outcome::ALL.len()]);

impl Counts {
    pub fn add(&mut self, outcome: Outcome, rows: u64) {
        *self.slot(outcome) += rows;
    }

    /// Moves rows from one outcome to another, as the last read of a run may.
    pub fn amend(&mut self, from: Outcome, to: Outcome, rows: u64) {
        let from = self.slot(from);
        *from = from.saturating_sub(rows);
        self.add(to, rows);
    }

    pub fn get(&self, outcome: Outcome) -> u64 {
        self.iter().find_map(|(each, rows)| (each == outcome).then_some(rows)).unwrap_or_default()
    }

    /// Every outcome with its rows, zeros included, in the order of a summary.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        Outcome::ALL.into_iter().zip(self.0)
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Rows that are as the operator wanted them.
    pub fn successes(&self) -> u64 {
        self.iter().filter(|(outcome, _)| outcome.is_success()).map(|(_, rows)| rows).sum()
    }

    fn slot(&mut self, outcome: Outcome) -> &mut u64 {
        let place = match outcome {
            Outcome::Detached => 0,
            Outcome::AlreadyDetached => 1,
            Outcome::Attached => 2,
            Outcome::AlreadyAttached => 3,
            Outcome::NotDue => 4,
            Outcome::Failed => 5,
            Outcome::Unknown => 6,
            Outcome::Invalid => 7,
            Outcome::NotSent => 8,
            Outcome::Planned => 9,
        };
        &mut self.0[place]
    }
}

/// The reconciliation line: `2,000 rows = 1,696 detached + 4 already_detached + 300 failed`.
///
/// It adds up by construction: the left side is the sum of the right.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        write!(f, "{} {} = ", grouped(total), if total == 1 { "row" } else { "rows" })?;
        let mut first = true;
        for (outcome, rows) in self.iter().filter(|(_, rows)| *rows > 0) {
            write!(f, "{}{} {outcome}", if first { "" } else { " + " }, grouped(rows))?;
            first = false;
        }
        if first { f.write_str("0") } else { Ok(()) }
    }
}

/// The exit code of a run (or plan) that came to its end. One that was stopped is [`Exit::Stopped`] whatever its
/// rows say, which only its caller knows.
///
/// * `is_open`: whether somebody still gets in, or might, and that is to be told by the exit code.
pub(crate) fn exit_of(counts: &Counts, is_open: bool) -> Exit {
    let as_wanted = counts.successes() + counts.get(Outcome::Planned);
    if as_wanted == counts.total() && !is_open { Exit::Done } else { Exit::SomeRows }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(of: &[(Outcome, u64)]) -> Counts {
        let mut counts = Counts::default();
        for (outcome, rows) in of {
            counts.add(*outcome, *rows);
        }
        counts
    }

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        for outcome in Outcome::ALL {
            let one = counts(&[(outcome, 3)]);
            assert_eq!(one.get(outcome), 3);
            assert_eq!(one.iter().filter(|(_, rows)| *rows > 0).collect::<Vec<_>>(), [(outcome, 3)]);
        }
    }

    #[test]
    fn the_line_reads_as_a_sum() {
        let all = counts(&[(Outcome::Failed, 300), (Outcome::Detached, 1696), (Outcome::AlreadyDetached, 4)]);
        assert_eq!(all.to_string(), "2,000 rows = 1,696 detached + 4 already_detached + 300 failed");
        assert_eq!(counts(&[(Outcome::Detached, 1)]).to_string(), "1 row = 1 detached");
        assert_eq!(Counts::default().to_string(), "0 rows = 0");
    }

    #[test]
    fn the_exit_code_is_0_only_where_every_row_is_as_wanted() {
        for outcome in Outcome::ALL {
            let exit = exit_of(&counts(&[(Outcome::Detached, 1), (outcome, 1)]), false);
            let good = outcome.is_success() || outcome == Outcome::Planned;
            assert_eq!(exit, if good { Exit::Done } else { Exit::SomeRows }, "{outcome}");
        }
        assert_eq!(exit_of(&Counts::default(), false), Exit::Done);
        assert_eq!(exit_of(&counts(&[(Outcome::Detached, 1)]), true), Exit::SomeRows);
    }

    proptest! {
        #[test]
        fn p01_the_line_always_sums(rows in proptest::array::uniform9(0_u64..1 << 40)) {
            let mut all = Counts::default();
            for (outcome, rows) in Outcome::ALL.into_iter().zip(rows) {
                all.add(outcome, rows);
            }
            let line = all.to_string().replace(',', "");
            let (left, right) = line.split_once(" = ").unwrap();
            let number = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
            prop_assert_eq!(number(left), right.split(" + ").map(number).sum::<u64>());
        }

        #[test]
        fn an_amendment_keeps_the_sum(rows in 1_u64..1000, moved in 0_u64..1000) {
            let mut all = counts(&[(Outcome::Detached, rows)]);
            all.amend(Outcome::Detached, Outcome::Failed, moved.min(rows));
            prop_assert_eq!(all.total(), rows);
        }
    }
}
