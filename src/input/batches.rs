//! Rows on their way from the thread that reads and checks them to the one that numbers their desktops and keeps them.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::ids::Texts;
use super::table::{Full, Head, Table};
use crate::model::Kind;

/// Bytes of cells that are handed over together, and how many such batches may wait: more than a thread reads while
/// another one has its core.
const BATCH: usize = 64 * 1024;
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
    pub(super) user_name: &'r str,
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
        self.text.len() + self.ids.bytes() >= BATCH
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
        let mark = self.ids.half(row.user_name);
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
    fn batch(&mut self) -> Batch;

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
    fn batch(&mut self) -> Batch {
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
pub(super) fn line(table: &mut Table) -> (Sending, Receiving) {
    let (full, filled) = sync_channel(AHEAD);
    let (back, used) = channel();
    (Sending { empty: table.batch(), full, used }, Receiving { full: filled, back })
}

impl Rest for Sending {
    fn batch(&mut self) -> Batch {
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
