//! All rows in one flat text: a million rows are a million short slices, not three million strings.

use super::header::Field;
use super::ids::{Ids, Texts};
use crate::model::Kind;

/// The rows of an input, in its order.
///
/// Each desktop's id is kept once, and rows hold its number. One text holds every other cell; a row costs 8 bytes and
/// a cell 2 beside its text. Line numbers are kept as the places where they jump.
#[derive(Debug, Clone, Default)]
pub struct Table {
    text: String,
    /// What each row is found by, `HEAD + stride` numbers a row: where its cells start in `text` and the number of its
    /// desktop's id (of each the lower half, then the upper half), then the length of each cell. Side by side, because
    /// rows are looked up in the order of desktops, where each list would be one more wait for the memory.
    index: Vec<u16>,
    rows: usize,
    /// How many cells a row has in `text`: the input's fields first, in the order of [`Field::ALL`], then its extras.
    stride: usize,
    /// Which cell of a row a field is; the desktop's id is none.
    places: [Option<usize>; Field::ALL.len()],
    /// The desktops' ids; the last rows' are still to be numbered.
    ids: Ids,
    unnumbered: Texts,
    /// Whether rows come with a desktop's id, as their first cell.
    has_ids: bool,
    extras: Vec<String>,
    /// From row `.0` on, a row's line is its index plus `.1`.
    jumps: Vec<(u32, u32)>,
    trimmed: u64,
    blank_lines: u64,
    encoding: String,
    delimiter: Option<u8>,
    sheet: Option<String>,
}

/// The table cannot take another row: its text or its index would pass what this program addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Bytes that the cells of one table may take, their index included: twice what ten million usual rows need.
const MAX_TABLE_BYTES: usize = 2 << 30;

/// Numbers of a row before the lengths of its cells.
const HEAD: usize = 4;

/// Rows whose desktops are numbered together.
const TOGETHER: usize = 512;

impl Table {
    /// * `fields`: those that the input has a column for.
    pub(super) fn new(fields: &[Field], extras: Vec<String>) -> Self {
        let mut table = Self { extras, ..Self::default() };
        for field in Field::ALL.into_iter().filter(|field| fields.contains(field)) {
            if field == Field::DesktopId {
                table.has_ids = true;
            } else {
                table.places[field.index()] = Some(table.stride);
                table.stride += 1;
            }
        }
        table.stride += table.extras.len();
        table
    }

    pub(super) fn describe(&mut self, encoding: String, delimiter: Option<u8>, sheet: Option<String>) {
        (self.encoding, self.delimiter, self.sheet) = (encoding, delimiter, sheet);
    }

    pub(super) fn count(&mut self, trimmed: u64, blank_lines: u64) {
        (self.trimmed, self.blank_lines) = (trimmed, blank_lines);
    }

    /// Appends a row; `cells` are those of the input's fields, in the order of [`Field::ALL`], then its extras, each of
    /// at most 64 KiB. It can be read once the table is finished.
    pub(super) fn push<'c>(&mut self, line: u64, mut cells: impl Iterator<Item = &'c str>) -> Result<(), Full> {
        let start = u32::try_from(self.text.len()).map_err(|_| Full)?;
        let row = u32::try_from(self.rows).map_err(|_| Full)?;
        let offset = u32::try_from(line).ok().and_then(|line| line.checked_sub(row)).ok_or(Full)?;
        let [low, high] = halves(start);
        self.index.extend([low, high, 0, 0]);
        if self.has_ids {
            self.unnumbered.push(cells.next().unwrap_or_default());
        }
        for cell in cells {
            self.index.push(u16::try_from(cell.len()).map_err(|_| Full)?);
            self.text.push_str(cell);
        }
        self.rows += 1;
        if self.jumps.last().is_none_or(|&(_, last)| last != offset) {
            self.jumps.push((row, offset));
        }
        if self.unnumbered.len() >= TOGETHER {
            self.number()?;
        }
        if self.text.len() + 2 * self.index.len() + self.ids.bytes() > MAX_TABLE_BYTES { Err(Full) } else { Ok(()) }
    }

    /// Numbers the desktops of the last rows.
    fn number(&mut self) -> Result<(), Full> {
        let mut numbers = Vec::with_capacity(self.unnumbered.len());
        self.ids.number(&self.unnumbered, &mut numbers).ok_or(Full)?;
        let width = HEAD + self.stride;
        let first = self.rows - numbers.len();
        for (row, number) in self.index[first * width..].chunks_exact_mut(width).zip(numbers) {
            row[2..HEAD].copy_from_slice(&halves(number));
        }
        self.unnumbered.clear();
        Ok(())
    }

    /// Makes all rows readable, and gives back what the buffers grew to but do not use.
    pub(super) fn finish(&mut self) -> Result<(), Full> {
        self.number()?;
        self.unnumbered = Texts::default();
        self.ids.finish();
        self.text.shrink_to_fit();
        self.index.shrink_to_fit();
        self.jumps.shrink_to_fit();
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// # Panics
    /// Using the answer panics where `index` is not less than [`Table::len`].
    pub fn row(&self, index: usize) -> RowRef<'_> {
        RowRef { table: self, index }
    }

    /// Reads a little of each row, before they are looked up in an order that is not theirs. A loop as plain as this
    /// waits for the memory of many rows at once; the look-ups themselves would wait row by row.
    pub fn warm(&self, rows: impl Iterator<Item = usize>) {
        let (text, mut seen) = (self.text.as_bytes(), 0);
        for row in rows {
            seen ^= text.get(self.row(row).place().0).copied().unwrap_or_default();
        }
        std::hint::black_box(seen);
    }

    /// How many numbers [`RowRef::desktop`] gives out: each different id has one, and 0 is that of no id.
    pub fn desktops(&self) -> usize {
        self.ids.len()
    }

    /// The desktop's id of this number.
    ///
    /// # Panics
    /// Where `number` is not less than [`Table::desktops`].
    pub fn desktop(&self, number: u32) -> &str {
        self.ids.get(number)
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = RowRef<'_>> {
        (0..self.len()).map(|index| self.row(index))
    }

    /// Headers of the columns that travel through to the results, as the file spells them.
    pub fn extra_columns(&self) -> &[String] {
        &self.extras
    }

    /// Whether the input has a column for this field.
    pub fn has(&self, field: Field) -> bool {
        self.places[field.index()].is_some() || (field == Field::DesktopId && self.has_ids)
    }

    /// How many cells lost outer blanks, no-break or zero-width characters.
    pub fn trimmed_cells(&self) -> u64 {
        self.trimmed
    }

    /// How many lines of blank cells alone were passed over; lines without any character are not counted.
    pub fn blank_lines(&self) -> u64 {
        self.blank_lines
    }

    /// The input's encoding by its usual name (`UTF-8`, `gb18030`); empty for a sheet.
    pub fn encoding(&self) -> &str {
        &self.encoding
    }

    /// `None` for a sheet.
    pub fn delimiter(&self) -> Option<u8> {
        self.delimiter
    }

    /// The sheet's name; `None` for delimited text.
    pub fn sheet(&self) -> Option<&str> {
        self.sheet.as_deref()
    }
}

/// One row of a [`Table`].
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'t> {
    table: &'t Table,
    index: usize,
}

impl<'t> RowRef<'t> {
    /// The row's index in its table, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// The line that the row starts on (the header is line 1); in a sheet, the sheet's row.
    pub fn line(self) -> u64 {
        let jumps = &self.table.jumps;
        let after = jumps.partition_point(|&(row, _)| usize::try_from(row).is_ok_and(|row| row <= self.index));
        let offset = after.checked_sub(1).and_then(|at| jumps.get(at)).map_or(0, |&(_, offset)| offset);
        u64::try_from(self.index).map_or(u64::MAX, |row| row + u64::from(offset))
    }

    /// The field's cell, trimmed; empty where it is, or where the file has no such column.
    #[inline]
    pub fn get(self, field: Field) -> &'t str {
        if field == Field::DesktopId {
            return self.table.desktop(self.desktop());
        }
        let Some(place) = self.table.places[field.index()] else { return "" };
        let (first, lens) = self.place();
        let start = first + lens[..place].iter().map(|&len| usize::from(len)).sum::<usize>();
        self.table.text.get(start..start + usize::from(lens[place])).unwrap_or_default()
    }

    /// The number of its desktop's id, by first sight; 0 where the row has none.
    #[inline]
    pub fn desktop(self) -> u32 {
        match self.numbers() {
            [_, _, low, high, ..] => whole(*low, *high),
            _ => 0,
        }
    }

    /// What the row asks to detach; `None` where its type is no known word.
    pub fn kind(self) -> Option<Kind> {
        Kind::parse(self.get(Field::Type))
    }

    /// The cells of [`Table::extra_columns`], as the file has them (the formula guard of a results file taken off).
    pub fn extras(self) -> impl Iterator<Item = &'t str> {
        let (first, lens) = self.place();
        let fields = self.table.stride - self.table.extras.len();
        let mut end = first + lens[..fields].iter().map(|&len| usize::from(len)).sum::<usize>();
        lens[fields..].iter().map(move |&len| {
            let start = end;
            end += usize::from(len);
            self.table.text.get(start..end).unwrap_or_default()
        })
    }

    /// Where its cells start, and the length of each.
    #[inline]
    fn place(self) -> (usize, &'t [u16]) {
        match self.numbers() {
            [low, high, _, _, lens @ ..] => (usize::try_from(whole(*low, *high)).unwrap_or(usize::MAX), lens),
            _ => (0, &[]),
        }
    }

    #[inline]
    fn numbers(self) -> &'t [u16] {
        let width = HEAD + self.table.stride;
        &self.table.index[self.index * width..][..width]
    }
}

fn halves(number: u32) -> [u16; 2] {
    let [a, b, c, d] = number.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}

fn whole(low: u16, high: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_and_lines_come_back_as_they_went_in() {
        let mut table = Table::new(&[Field::Type, Field::DesktopId, Field::UserName], vec!["note".to_owned()]);
        for (line, cells) in
            [(2, ["d1", "alice", "", "x"]), (3, ["d2", "鲍勃", "GROUP", ""]), (7, ["d1", "c", "robot", "y"])]
        {
            table.push(line, cells.into_iter()).unwrap();
        }
        table.finish().unwrap();
        assert_eq!(table.len(), 3);
        assert_eq!(table.rows().map(RowRef::line).collect::<Vec<_>>(), [2, 3, 7]);
        assert_eq!(table.row(1).get(Field::UserName), "鲍勃");
        assert_eq!(table.rows().map(|row| row.get(Field::DesktopId)).collect::<Vec<_>>(), ["d1", "d2", "d1"]);
        assert_eq!(table.rows().map(RowRef::desktop).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(table.row(0).get(Field::Domain), "");
        assert_eq!(table.rows().map(RowRef::kind).collect::<Vec<_>>(), [Some(Kind::User), Some(Kind::Group), None]);
        assert_eq!(table.rows().flat_map(RowRef::extras).collect::<Vec<_>>(), ["x", "", "y"]);
    }

    #[test]
    fn a_table_without_rows_is_empty() {
        assert!(Table::new(&[], Vec::new()).is_empty());
        assert_eq!(Table::default().rows().len(), 0);
    }
}
