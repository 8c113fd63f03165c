//! All rows in one flat text: a million rows are a million short slices, not three million strings.

use super::fast::{Batch, Full, HEAD, Ids, PLAIN, Rest, Texts, halves, too_much, whole};
use super::field::Field;
use super::record::{as_text, trim};
use crate::model::Kind;

/// The rows of an input, in its order.
///
/// Each desktop's id is kept once, and rows hold its number. One text holds every other cell; a row costs 14 bytes and
/// a cell 2 beside its text. Line numbers are kept as the places where they jump.
#[derive(Debug, Clone, Default)]
pub struct Table {
    text: String,
    /// What each row is found by, `HEAD + stride` numbers a row: its [`Head`], then the length of each cell. Side by
    /// side, because rows are looked up in the order of desktops, where each list would be one more wait for the
    /// memory.
    index: Vec<u16>,
    rows: usize,
    /// How many cells a row has in `text`: the input's fields first, in the order of [`Field::ALL`], then its extras.
    stride: usize,
    /// Which cell of a row a field is; the desktop's id is none.
    places: [Option<usize>; Field::READ.len()],
    /// Which field each cell of a row is, but for the extras.
    fields: Vec<Field>,
    ids: Ids,
    has_ids: bool,
    extras: Vec<String>,
    /// From row `.0` on, a row's line is its index plus `.1`.
    jumps: Vec<(u32, u32)>,
    trimmed: u64,
    blank_lines: u64,
    encoding: String,
    delimiter: Option<u8>,
    sheet: Option<String>,
    /// How often cells of a row were looked up: what a plan costs is counted by it in tests, whatever the machine.
    #[cfg(test)]
    pub(crate) looked_up: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

/// Bytes that the cells of one table may take, their index included: twice what ten million usual rows need.
const MAX_TABLE_BYTES: usize = 2 << 30;

impl Table {
    /// No texts yet, to be the ids of a [`Batch`] for this table.
    pub(super) fn texts(&self) -> Texts {
        self.ids.texts()
    }

    /// Appends the rows of a batch, all of whose rows have as many cells as those before.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), Full> {
        if batch.len() == 0 {
            return Ok(());
        }
        let start = u32::try_from(self.text.len()).map_err(|_| Full)?;
        u32::try_from(self.text.len() + batch.text.len()).map_err(|_| Full)?;
        let row = u32::try_from(self.rows).map_err(|_| Full)?;
        u32::try_from(self.rows + batch.len()).map_err(|_| Full)?;
        let mut numbers = self.ids.number(&batch.ids).ok_or(Full)?;
        numbers.resize(batch.len(), 0); // without a column for them
        let first = self.index.len();
        self.index.extend_from_slice(&batch.index);
        self.text.push_str(&batch.text);
        let width = batch.index.len() / batch.len();
        for (head, number) in self.index[first..].chunks_exact_mut(width).zip(numbers) {
            if let [start_low, start_high, number_low, number_high, ..] = head {
                [*start_low, *start_high] = halves(start + whole(*start_low, *start_high));
                [*number_low, *number_high] = halves(number);
            }
        }
        for &(at, offset) in &batch.jumps {
            // Lines are counted from 1, so that none is before its row.
            let offset =
                offset.checked_sub(u64::from(row)).and_then(|offset| u32::try_from(offset).ok()).ok_or(Full)?;
            if self.jumps.last().is_none_or(|&(_, last)| last != offset) {
                self.jumps.push((u32::try_from(self.rows + at).map_err(|_| Full)?, offset));
            }
        }
        self.rows += batch.len();
        if self.text.len() + 2 * self.index.len() + self.ids.bytes() > MAX_TABLE_BYTES { Err(Full) } else { Ok(()) }
    }

    /// No more rows come: says what their cells are, and gives back what the buffers grew to but do not use.
    ///
    /// * `fields`: those of [`Field::ALL`] that the input has a column for.
    /// * `email`: which of `extras` holds the users' addresses.
    pub(super) fn finish(&mut self, fields: &[Field], extras: Vec<String>, email: Option<usize>) {
        for field in Field::ALL.into_iter().filter(|field| fields.contains(field)) {
            if field == Field::DesktopId {
                self.has_ids = true;
            } else {
                self.places[field.index()] = Some(self.stride);
                self.fields.push(field);
                self.stride += 1;
            }
        }
        self.places[Field::UserEmail.index()] = email.map(|email| self.stride + email);
        self.stride += extras.len();
        self.extras = extras;
        self.ids.finish();
        self.text.shrink_to_fit();
        self.index.shrink_to_fit();
        self.jumps.shrink_to_fit();
    }

    pub(super) fn describe(&mut self, encoding: String, delimiter: Option<u8>, sheet: Option<String>) {
        (self.encoding, self.delimiter, self.sheet) = (encoding, delimiter, sheet);
    }

    pub(super) fn count(&mut self, trimmed: u64, blank_lines: u64) {
        (self.trimmed, self.blank_lines) = (trimmed, blank_lines);
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

    /// Reads a little of what each row is found by, before rows are looked up in an order that is not theirs. A loop as
    /// plain as this waits for the memory of many rows at once; the look-ups themselves would wait row by row.
    ///
    /// * `starts`: where their cells start.
    pub fn warm(&self, rows: &[u32], starts: &mut Vec<u32>) {
        let width = HEAD + self.stride;
        starts.clear();
        starts.extend(rows.iter().map(|&row| {
            let at = usize::try_from(row).unwrap_or(usize::MAX).saturating_mul(width);
            match self.index.get(at..) {
                Some([low, high, ..]) => whole(*low, *high),
                _ => u32::MAX,
            }
        }));
    }

    /// As [`Table::warm`], and reads a little of the rows' text.
    pub fn warm_text(&self, rows: &[u32], starts: &mut Vec<u32>) {
        self.warm(rows, starts);
        let (text, mut seen) = (self.text.as_bytes(), 0);
        for &start in &*starts {
            seen ^= text.get(usize::try_from(start).unwrap_or(usize::MAX)).copied().unwrap_or_default();
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
        self.table.places[field.index()].map_or("", |place| self.cell(place))
    }

    /// As [`RowRef::get`] of each field in the order of [`Field::ALL`], found in one walk; but for the desktop's id,
    /// which is kept elsewhere: empty.
    #[inline]
    pub fn cells(self) -> [&'t str; Field::ALL.len()] {
        let (mut start, lens) = self.place();
        let mut cells = [""; Field::ALL.len()];
        for (field, &len) in self.table.fields.iter().zip(lens) {
            let end = start + usize::from(len);
            cells[field.index()] = self.table.text.get(start..end).unwrap_or_default();
            start = end;
        }
        cells
    }

    /// The address that the row names its user by; empty where it gives none.
    pub fn email(self) -> &'t str {
        as_text(trim(self.get(Field::UserEmail)))
    }

    fn cell(self, place: usize) -> &'t str {
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
    #[inline]
    pub fn kind(self) -> Option<Kind> {
        match self.traits() & !PLAIN {
            1 => Some(Kind::User),
            2 => Some(Kind::Group),
            3 => Some(Kind::All),
            _ => None,
        }
    }

    /// Whether all its cells hold printable ASCII alone, and none that JSON escapes.
    #[inline]
    pub fn is_plain(self) -> bool {
        self.traits() & PLAIN != 0
    }

    #[inline]
    fn traits(self) -> u16 {
        match self.numbers() {
            [_, _, _, _, traits, ..] => *traits,
            _ => 0,
        }
    }

    /// Half of a hash of the user's name, id and domain: rows of different marks name different ones. It tells that
    /// without a look at any text, and is another one in every run of the program.
    #[inline]
    pub fn mark(self) -> u32 {
        match self.numbers() {
            [_, _, _, _, _, low, high, ..] => whole(*low, *high),
            _ => 0,
        }
    }

    /// Bytes of the field's cell.
    #[inline]
    pub fn len(self, field: Field) -> usize {
        if field == Field::DesktopId {
            return self.table.desktop(self.desktop()).len();
        }
        let [len] = self.lens([field]);
        len
    }

    /// As [`RowRef::len`] of each of these fields, found in one walk; the desktop's id is none of them.
    #[inline]
    pub fn lens<const N: usize>(self, fields: [Field; N]) -> [usize; N] {
        let (_, lens) = self.place();
        let len = |place: usize| lens.get(place).map_or(0, |&len| usize::from(len));
        fields.map(|field| self.table.places[field.index()].map_or(0, len))
    }

    /// Whether the field's cell holds nothing, or the file has no such column.
    #[inline]
    pub fn lacks(self, field: Field) -> bool {
        if field == Field::DesktopId { self.desktop() == 0 } else { self.len(field) == 0 }
    }

    /// The cells of [`Table::extra_columns`], as the file has them (the formula guard of a results file taken off).
    pub fn extras(self) -> impl Iterator<Item = &'t str> {
        let (first, lens) = self.place();
        let fields = self.table.fields.len();
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
        #[cfg(test)]
        self.table.looked_up.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match self.numbers() {
            [low, high, _, _, _, _, _, lens @ ..] => (usize::try_from(whole(*low, *high)).unwrap_or(usize::MAX), lens),
            _ => (0, &[]),
        }
    }

    #[inline]
    fn numbers(self) -> &'t [u16] {
        let width = HEAD + self.table.stride;
        &self.table.index[self.index * width..][..width]
    }
}

#[cfg(test)]
mod tests {
    use super::super::fast::NewRow;
    use super::*;

    #[test]
    fn cells_and_lines_come_back_as_they_went_in() {
        let mut table = Table::default();
        let mut batch = table.batch();
        for rows in [
            [(2, Some(Kind::User), ["d1", "alice", "", "x"]), (3, Some(Kind::Group), ["d2", "鲍勃", "GROUP", ""])],
            [(7, None, ["d1", "c", "robot", "y"]), (8, Some(Kind::All), ["", "", "all", ""])],
        ] {
            for (line, kind, [id, cells @ ..]) in rows {
                let row = NewRow { line, kind, is_plain: cells[0].is_ascii(), id: Some(id), user: [cells[0], "", ""] };
                batch.push(&row, cells.into_iter()).unwrap();
            }
            table.take(&mut batch).unwrap();
        }
        table.finish(&[Field::Type, Field::DesktopId, Field::UserName], vec!["note".to_owned()], None);
        assert_eq!(table.len(), 4);
        assert_eq!(table.rows().map(RowRef::line).collect::<Vec<_>>(), [2, 3, 7, 8]);
        assert_eq!(table.row(1).get(Field::UserName), "鲍勃");
        assert_eq!(table.rows().map(|row| row.get(Field::DesktopId)).collect::<Vec<_>>(), ["d1", "d2", "d1", ""]);
        assert_eq!(table.rows().map(RowRef::desktop).collect::<Vec<_>>(), [1, 2, 1, 0]);
        assert_eq!(table.row(0).get(Field::Domain), "");
        for row in table.rows() {
            let but_the_id = |field| if field == Field::DesktopId { "" } else { row.get(field) };
            assert_eq!(row.cells(), Field::ALL.map(but_the_id));
        }
        assert_eq!(table.rows().map(|row| row.len(Field::UserName)).collect::<Vec<_>>(), [5, 6, 1, 0]);
        assert_eq!(table.rows().map(RowRef::is_plain).collect::<Vec<_>>(), [true, false, true, true]);
        assert!(table.row(3).lacks(Field::DesktopId) && table.row(0).lacks(Field::Domain));
        assert_ne!(table.row(0).mark(), table.row(2).mark());
        let kinds = [Some(Kind::User), Some(Kind::Group), None, Some(Kind::All)];
        assert_eq!(table.rows().map(RowRef::kind).collect::<Vec<_>>(), kinds);
        assert_eq!(table.rows().flat_map(RowRef::extras).collect::<Vec<_>>(), ["x", "", "y", ""]);
    }

    #[test]
    fn a_table_without_rows_is_empty() {
        let mut table = Table::default();
        table.finish(&[], Vec::new(), None);
        assert!(table.is_empty());
        assert_eq!(Table::default().rows().len(), 0);
    }

    #[test]
    fn p18_one_name_with_many_ids_has_many_marks() {
        let mut table = Table::default();
        let mut batch = table.batch();
        let users = [["x", "", ""], ["x", "1", ""], ["x", "2", ""], ["x", "", "2"], ["x", "2", ""]];
        for (line, user) in (2..).zip(users) {
            let row = NewRow { line, kind: Some(Kind::User), is_plain: true, id: None, user };
            batch.push(&row, user.into_iter()).unwrap();
        }
        table.take(&mut batch).unwrap();
        table.finish(&[Field::UserName, Field::UserId, Field::Domain], Vec::new(), None);
        // Slots of a desktop are found by them: all alike, every row would be compared with every other.
        let marks: Vec<_> = table.rows().map(RowRef::mark).collect();
        let different: std::collections::HashSet<_> = marks.iter().collect();
        assert_eq!((marks[2], different.len()), (marks[4], 4));
    }
}
