//! Rows on their way from the thread that reads and checks them to the one that numbers their desktops and keeps them.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::ids::Texts;
use super::table::{Full, Head, Table};
use crate::model::Kind;

/// Bytes of cells and index that are handed over together, and how many such batches may wait: more than a thread reads
/// while another one has its core.
const BATCH: usize = 96 * 1024;
const AHEAD: usize = 32;

/// What a batch is told of a row beside its cells.
pub(super) struct NewRow<'r> {
    pub(super) line: u64,
    /// What its type means.
    pub(super) kind: Option<Kind>,
    /// See [`Record::is_plain`](super::row::Record::is_plain).
    pub(super) is_plain: bool,
    /// Its desktop's, where the input has such a column.
    pub(super) id: Option<&'r str>,
    /// Its name, id and domain.
    pub(super) user: [&'r str; 3],
}

/// Some rows as a [`Table`] keeps them, but for what depends on the rows before: where their cells start, and the
/// numbers of their desktops.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Every cell but the desktops' ids.
    pub(super) text: String,
    /// As the table's.
    pub(super) index: Vec<u16>,
    /// Of each row, where rows have ids.
    pub(super) ids: Texts,
    /// From row `.0` on, a row's line is its place in the batch plus `.1`.
    pub(super) jumps: Vec<(usize, u64)>,
    rows: usize,
}

impl Batch {
    /// * `ids`: no texts yet.
    pub(super) fn new(ids: Texts) -> Self {
        Self { text: String::new(), index: Vec::new(), ids, jumps: Vec::new(), rows: 0 }
    }

    /// An empty one for the same table.
    fn another(&self) -> Self {
        Self::new(self.ids.another())
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.index.clear();
        self.ids.clear();
        self.jumps.clear();
        self.rows = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    pub(super) fn is_full(&self) -> bool {
        self.text.len() + self.ids.bytes() + 2 * self.index.len() >= BATCH
    }

    /// Appends a row.
    ///
    /// * `cells`: those of the input's fields but the desktop's id, in the order of
    ///   [`Field::ALL`](super::Field::ALL), then its extras.
    ///
    /// # Errors
    /// A cell of 64 KiB or more, or a place that takes more than 32 bits: neither can be after the checks of records.
    pub(super) fn push<'c>(&mut self, row: &NewRow<'_>, cells: impl Iterator<Item = &'c str>) -> Result<(), Full> {
        let start = u32::try_from(self.text.len()).map_err(|_| Full)?;
        let mark = match row.user {
            [name, "", ""] => self.ids.half(name),
            whole => self.ids.half(whole),
        };
        self.index.extend(Head { start, id: 0, kind: row.kind, is_plain: row.is_plain, mark }.numbers());
        for cell in cells {
            self.index.push(u16::try_from(cell.len()).map_err(|_| Full)?);
            self.text.push_str(cell);
        }
        if let Some(id) = row.id {
            self.ids.push(id);
        }
        let before = u64::try_from(self.rows).map_err(|_| Full)?;
        let offset = row.line.checked_sub(before).ok_or(Full)?;
        if self.jumps.last().is_none_or(|&(_, last)| last != offset) {
            self.jumps.push((self.rows, offset));
        }
        self.rows += 1;
        Ok(())
    }
}

/// Where rows go.
pub(super) trait Rest {
    /// An empty batch.
    fn batch(&self) -> Batch;

    /// Takes the rows of a batch, which is empty afterwards.
    ///
    /// # Errors
    /// In words: no more rows are wanted.
    fn take(&mut self, batch: &mut Batch) -> Result<(), String>;
}

/// What a table that is [`Full`] means to the user.
pub(super) fn too_much(line: u64) -> String {
    format!("line {line}: the cells of the file take more than 2 GiB; split the file")
}

impl Rest for Table {
    fn batch(&self) -> Batch {
        Batch::new(self.texts())
    }

    fn take(&mut self, batch: &mut Batch) -> Result<(), String> {
        let line = batch.jumps.first().map_or(0, |&(_, line)| line);
        self.append(batch).map_err(|Full| too_much(line))?;
        batch.clear();
        Ok(())
    }
}

/// The checking thread's end.
pub(super) struct Sending {
    empty: Batch,
    full: SyncSender<Batch>,
    used: Receiver<Batch>,
}

/// The keeping thread's end.
pub(super) struct Receiving {
    full: Receiver<Batch>,
    back: Sender<Batch>,
}

/// Both ends of a line of batches for this table.
pub(super) fn line(table: &Table) -> (Sending, Receiving) {
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
    pub(super) fn hand_to(self, table: &mut Table) -> Result<(), String> {
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

    use super::super::header::Field;
    use super::super::table::RowRef;
    use super::*;

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
        table.finish(&FIELDS, Vec::new());
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
