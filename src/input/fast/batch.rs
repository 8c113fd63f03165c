//! Some rows in the form in which a table keeps them.

use super::ids::Texts;
use crate::model::Kind;

/// Bytes of cells and index that are handed over together.
const BATCH: usize = 96 * 1024;

/// The table cannot take another row: its text or its index would pass what this program addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::input) struct Full;

/// What the index holds of a row before the lengths of its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::input) struct Head {
    /// Where its cells start.
    pub(in crate::input) start: u32,
    /// The number of its desktop's id.
    pub(in crate::input) id: u32,
    pub(in crate::input) kind: Option<Kind>,
    pub(in crate::input) is_plain: bool,
    /// See [`crate::input::RowRef::mark`].
    pub(in crate::input) mark: u32,
}

/// The numbers that a [`Head`] takes.
pub(in crate::input) const HEAD: usize = 7;

/// Stands beside the type, in one number.
pub(in crate::input) const PLAIN: u16 = 4;

impl Head {
    pub(in crate::input) fn numbers(self) -> [u16; HEAD] {
        let kind = match self.kind {
            None => 0,
            Some(Kind::User) => 1,
            Some(Kind::Group | Kind::UserGroup) => 2,
            Some(Kind::All) => 3,
        };
        let ([start, start_high], [id, id_high]) = (halves(self.start), halves(self.id));
        let [mark, mark_high] = halves(self.mark);
        [start, start_high, id, id_high, kind | if self.is_plain { PLAIN } else { 0 }, mark, mark_high]
    }
}

/// What a batch is told of a row beside its cells.
pub(in crate::input) struct NewRow<'r> {
    pub(in crate::input) line: u64,
    /// What its type means.
    pub(in crate::input) kind: Option<Kind>,
    /// Whether all its cells are printable ASCII that JSON writes as it stands.
    pub(in crate::input) is_plain: bool,
    /// Its desktop's, where the input has such a column.
    pub(in crate::input) id: Option<&'r str>,
    /// Its name, id and domain.
    pub(in crate::input) user: [&'r str; 3],
}

/// Some rows as a [`Table`] keeps them, but for what depends on the rows before: where their cells start, and the
/// numbers of their desktops.
#[derive(Debug, Clone)]
pub(in crate::input) struct Batch {
    /// Every cell but the desktops' ids.
    pub(in crate::input) text: String,
    /// As the table's.
    pub(in crate::input) index: Vec<u16>,
    /// Of each row, where rows have ids.
    pub(in crate::input) ids: Texts,
    /// From row `.0` on, a row's line is its place in the batch plus `.1`.
    pub(in crate::input) jumps: Vec<(usize, u64)>,
    rows: usize,
}

impl Batch {
    /// * `ids`: no texts yet.
    pub(in crate::input) fn new(ids: Texts) -> Self {
        Self { text: String::new(), index: Vec::new(), ids, jumps: Vec::new(), rows: 0 }
    }

    /// An empty one for the same table.
    pub(in crate::input) fn another(&self) -> Self {
        Self::new(self.ids.another())
    }

    pub(in crate::input) fn clear(&mut self) {
        self.text.clear();
        self.index.clear();
        self.ids.clear();
        self.jumps.clear();
        self.rows = 0;
    }

    pub(in crate::input) fn len(&self) -> usize {
        self.rows
    }

    pub(in crate::input) fn is_full(&self) -> bool {
        self.text.len() + self.ids.bytes() + 2 * self.index.len() >= BATCH
    }

    /// Appends a row.
    ///
    /// * `cells`: those of the input's fields but the desktop's id, in the order of
    ///   [`Field::ALL`](crate::input::Field::ALL), then its extras.
    ///
    /// # Errors
    /// A cell of 64 KiB or more, or a place that takes more than 32 bits: neither can be after the checks of records.
    pub(in crate::input) fn push<'c>(
        &mut self,
        row: &NewRow<'_>,
        cells: impl Iterator<Item = &'c str>,
    ) -> Result<(), Full> {
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
pub(in crate::input) trait Rest {
    /// An empty batch.
    fn batch(&self) -> Batch;

    /// Takes the rows of a batch, which is empty afterwards.
    ///
    /// # Errors
    /// In words: no more rows are wanted.
    fn take(&mut self, batch: &mut Batch) -> Result<(), String>;
}

/// What a table that is [`Full`] means to the user.
pub(in crate::input) fn too_much(line: u64) -> String {
    format!("line {line}: the cells of the file take more than 2 GiB; split the file")
}

pub(in crate::input) fn halves(number: u32) -> [u16; 2] {
    let [a, b, c, d] = number.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}

pub(in crate::input) fn whole(low: u16, high: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}
