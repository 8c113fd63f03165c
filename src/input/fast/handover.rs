//! Rows on their way from the thread that reads and checks them to the one that numbers their desktops and keeps them.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::batch::{Batch, Rest};
use crate::input::table::Table;

/// How many batches may wait: more than a thread reads while another one has its core.
const AHEAD: usize = 32;

/// The checking thread's end.
pub(in crate::input) struct Sending {
    empty: Batch,
    full: SyncSender<Batch>,
    used: Receiver<Batch>,
}

/// The keeping thread's end.
pub(in crate::input) struct Receiving {
    full: Receiver<Batch>,
    back: Sender<Batch>,
}

/// Both ends of a line of batches for this table.
pub(in crate::input) fn line(table: &Table) -> (Sending, Receiving) {
    let (full, filled) = sync_channel(AHEAD);
    let (back, used) = channel();
    (Sending { empty: table.batch(), full, used }, Receiving { full: filled, back })
}

impl Rest for Sending {
    fn batch(&self) -> Batch {
        self.empty.another()
    }

    fn take(&mut self, batch: &mut Batch) -> Result<(), String> {
        let next = self.used.try_recv().unwrap_or_else(|_| self.empty.another());
        let batch = std::mem::replace(batch, next);
        // The other end knows why.
        self.full.send(batch).map_err(|_| "the rest is not wanted".to_owned())
    }
}

impl Receiving {
    /// Hands all rows to the table until the other end is gone.
    ///
    /// # Errors
    /// The table's first, which ends the other end's work, too.
    pub(in crate::input) fn hand_to(self, table: &mut Table) -> Result<(), String> {
        for mut batch in self.full {
            table.take(&mut batch)?;
            _ = self.back.send(batch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::batch::{Full, NewRow, too_much};
    use super::*;
    use crate::input::field::Field;
    use crate::input::table::RowRef;
    use crate::model::Kind;

    const FIELDS: [Field; 3] = [Field::DesktopId, Field::UserName, Field::Type];

    /// Hands on rows in batches of this many.
    fn hand(rows: &[(u64, [String; 3])], most: usize, rest: &mut impl Rest) -> Result<(), String> {
        let mut batch = rest.batch();
        for (line, [id, user_name, kind]) in rows {
            let row = NewRow {
                line: *line,
                kind: Kind::parse(kind),
                is_plain: true,
                id: Some(id),
                user: [user_name, "", ""],
            };
            batch.push(&row, [user_name.as_str(), kind].into_iter()).map_err(|Full| too_much(*line))?;
            if batch.len() == most {
                rest.take(&mut batch)?;
            }
        }
        rest.take(&mut batch)
    }

    /// A row's line, its desktop's number, its kind and cells, and the first row with the same mark.
    type Told = (u64, u32, Option<Kind>, Vec<String>, Option<usize>);

    fn told(table: &mut Table) -> Vec<Told> {
        table.finish(&FIELDS, Vec::new(), None);
        let table = &*table;
        let row = |row: RowRef<'_>| {
            // Marks are other ones in every table: what counts is which rows share one.
            let first = table.rows().position(|other| other.mark() == row.mark());
            (row.line(), row.desktop(), row.kind(), FIELDS.map(|field| row.get(field).to_owned()).to_vec(), first)
        };
        table.rows().map(row).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_that_change_threads_in_batches_are_those_that_stay(
            rows in prop::collection::vec((1..4_u64, ["[a-c]{0,2}", "[a-c张]{0,2}", "USER|group|ALL|robot|"]), 0..120),
            most in 1..9_usize,
        ) {
            let mut line = 0;
            let rows: Vec<_> = rows.into_iter().map(|(step, cells)| { line += step; (line, cells) }).collect();
            let (mut plain, mut moved) = (Table::default(), Table::default());
            hand(&rows, usize::MAX, &mut plain).unwrap();
            std::thread::scope(|scope| {
                let (mut sending, receiving) = super::line(&moved);
                let rows = &rows;
                let work = scope.spawn(move || hand(rows, most, &mut sending));
                receiving.hand_to(&mut moved).unwrap();
                work.join().unwrap().unwrap();
            });
            let (plain, moved) = (told(&mut plain), told(&mut moved));
            let given: Vec<_> = rows.iter().map(|(line, cells)| (*line, cells.to_vec())).collect();
            prop_assert_eq!(plain.iter().map(|row| (row.0, row.3.clone())).collect::<Vec<_>>(), given);
            for (at, row) in plain.iter().enumerate() {
                let same_name = rows.iter().position(|(_, cells)| cells[1] == rows[at].1[1]);
                prop_assert_eq!(row.4, same_name);
            }
            prop_assert_eq!(moved, plain);
        }
    }
}
