//! From records to rows: the header first, then every rule that a row can break without a look at the API.

use super::cell::{is_usual, unlike_looks};
use super::due::{Day, Due, Unasked};
use super::fast::{Batch, Full, NewRow, Rest, too_much};
use super::fault::RowFault;
use super::field::Field;
use super::guard::unguard;
use super::header::{self, Layout};
use super::options::{Hidden, ReadOptions};
use super::record::{MAX_CELL, MAX_COLUMNS, MAX_LONG_CELL, MAX_RECORD, Mark, Record, Sink, as_text, trim};
use super::rules::{DESKTOP_MISSING, check_cells, check_looks, check_type, no_day};
use super::table::Table;
use crate::model::{Doubt, Kind, Outcome};
use crate::text::escape_untrusted;

/// Faults of one input: they are kept, and with more the file as a whole is the wrong one.
const MAX_FAULTS: usize = 1_000_000;

/// Takes the records of an input one after the other, the header first.
#[derive(Debug)]
pub(super) struct Rows<'o, R> {
    options: &'o ReadOptions,
    /// Whether empty cells at a row's end may simply be missing.
    is_sheet: bool,
    layout: Option<Box<Layout>>,
    /// The last rows, and where all go.
    batch: Batch,
    rest: R,
    /// How many there are.
    kept: usize,
    faults: Vec<RowFault>,
    /// Rows that are not due yet, in their order.
    not_due: Vec<u32>,
    /// Rows whose user's cell may not hold what was meant.
    doubts: Vec<(u32, Doubt)>,
    /// What a list says of days that nobody asked about.
    unasked: Unasked,
    /// Records after the header that are not blank.
    records: usize,
    trimmed: u64,
    blank: u64,
    /// Names with characters that the service's own rules do not list: how many, and the first one's line.
    unusual: (u64, u64),
    /// Rows that the spreadsheet hides: how many, and the lines of the first.
    hidden: (u64, Vec<u64>),
    /// What is wrong with the first record, which is no header line; one may come further down.
    no_header: Option<String>,
    /// Records since then.
    looked_at: usize,
}

/// Lines of hidden rows that are named.
const SHOWN_HIDDEN: usize = 10;
/// Records among which a header line is looked for that does not stand first.
const LOOKED_AT: usize = 100;

/// What is known of an input once all its rows are on their way.
#[derive(Debug)]
pub(super) struct Checked {
    layout: Box<Layout>,
    faults: Vec<RowFault>,
    not_due: Vec<u32>,
    doubts: Vec<(u32, Doubt)>,
    notes: Vec<String>,
    trimmed: u64,
    blank: u64,
}

impl Checked {
    /// * `table`: it holds the rows.
    pub(super) fn complete(self, mut table: Table) -> Collected {
        let layout = self.layout;
        let fields: Vec<_> = layout.present().collect();
        let email = layout.column_of(Field::UserEmail);
        let email = layout.extras.iter().position(|&column| Some(column) == email);
        table.finish(&fields, layout.extras.iter().map(|&column| layout.headers[column].clone()).collect(), email);
        table.count(self.trimmed, self.blank);
        let Self { faults, not_due, doubts, notes, .. } = self;
        Collected { table, faults, not_due, doubts, notes }
    }
}

/// What became of an input's records.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) table: Table,
    pub(super) faults: Vec<RowFault>,
    pub(super) not_due: Vec<u32>,
    pub(super) doubts: Vec<(u32, Doubt)>,
    pub(super) notes: Vec<String>,
}

impl<R: Rest> Sink for Rows<'_, R> {
    fn take(&mut self, record: &Record<'_>, inside: u64) -> Result<(), String> {
        self.one(record).map_err(|problem| {
            // Told here, because only here it is known that the record spans lines.
            if inside == 0 { problem } else { format!("{problem} (the record spans {} lines)", inside + 1) }
        })
    }
}

impl<'o, R: Rest> Rows<'o, R> {
    pub(super) fn new(options: &'o ReadOptions, is_sheet: bool, rest: R) -> Self {
        Self {
            options,
            is_sheet,
            layout: None,
            batch: rest.batch(),
            rest,
            kept: 0,
            faults: Vec::new(),
            not_due: Vec::new(),
            doubts: Vec::new(),
            unasked: Unasked::default(),
            records: 0,
            trimmed: 0,
            blank: 0,
            unusual: (0, 0),
            hidden: (0, Vec::new()),
            no_header: None,
            looked_at: 0,
        }
    }

    fn one(&mut self, record: &Record<'_>) -> Result<(), String> {
        let place = if self.is_sheet { "row" } else { "line" };
        if record.ends.len() > MAX_COLUMNS {
            return Err(format!("{place} {}: more than {MAX_COLUMNS} columns; remove the surplus ones", record.line));
        }
        if record.text.len() > MAX_RECORD {
            return Err(format!("{place} {}: longer than 1 MiB; shorten it", record.line));
        }
        if record.text.len() > MAX_CELL
            && let Some((column, most)) = self.too_long(record)
        {
            let header = self.layout.as_ref().and_then(|layout| layout.headers.get(column));
            let name = header.map_or(String::new(), |header| format!(" \"{}\"", escape_untrusted(header, 60)));
            return Err(format!(
                "{place} {}, column {}{name}: a cell is longer than {most}; a quote before it may be unbalanced",
                record.line,
                column + 1
            ));
        }
        if self.options.header_row.is_some_and(|row| record.line < u64::from(row)) {
            return Ok(());
        }
        let is_computed = record.marks.iter().all(|&(_, mark)| mark != Mark::NotComputed);
        if is_computed && record.cells().all(|cell| trim(cell).is_empty()) {
            self.blank += 1;
            return Ok(());
        }
        if record.is_hidden && self.options.hidden_rows != Hidden::Read {
            self.hidden.0 += 1;
            if self.hidden.1.len() < SHOWN_HIDDEN {
                self.hidden.1.push(record.line);
            }
            return Ok(());
        }
        // Out of its place, so that a row can be checked against it while faults are added.
        let Some(layout) = self.layout.take() else { return self.header(record) };
        let taken = self.row(&layout, record);
        self.layout = Some(layout);
        taken
    }

    /// The column of a cell that is too long, and how long it may be.
    fn too_long(&self, record: &Record<'_>) -> Option<(usize, &'static str)> {
        let layout = self.layout.as_ref();
        (0..record.ends.len()).find_map(|column| {
            let cell = record.cell(column);
            let is_read = layout.is_none_or(|layout| layout.fields.contains(&Some(column)));
            let is_long = || cell.len() > usize::from(u16::MAX) || cell.chars().count() > MAX_LONG_CELL;
            match cell.len() > MAX_CELL {
                true if is_read => Some((column, "4 KiB")),
                true if is_long() => Some((column, "32,767 characters, or 64 KiB")),
                _ => None,
            }
        })
    }

    fn header(&mut self, record: &Record<'_>) -> Result<(), String> {
        let place = if self.is_sheet { "row" } else { "line" };
        if let Some(&(column, _)) = record.marks.iter().find(|&&(_, mark)| mark == Mark::NotComputed) {
            return Err(format!(
                "{place} {}, column {}: the header is a formula without a stored value; open the file in a spreadsheet \
                 program and save it again",
                record.line,
                column + 1
            ));
        }
        let headers: Vec<String> = record.cells().map(|cell| as_text(trim(cell)).to_owned()).collect();
        if let Some(problem) = &self.no_header {
            // Only whether the header stands here counts: the file is refused already.
            if header::may_be(&headers) {
                return Err(format!(
                    "{problem}\nThe header seems to stand on {place} {0}: say --header-row {0}",
                    record.line
                ));
            }
            self.looked_at += 1;
            return if self.looked_at < LOOKED_AT { Ok(()) } else { Err(problem.clone()) };
        }
        if let Some(problem) = header::in_quotes(&headers) {
            return Err(format!("{place} {}: {problem}", record.line));
        }
        let layout = match Layout::new(headers, self.options) {
            Ok(layout) => layout,
            Err(problem) => {
                let problem = format!("{place} {}: {problem}", record.line);
                if self.options.header_row.is_some() || !problem.contains(header::NO_USER) {
                    return Err(problem);
                }
                self.no_header = Some(problem);
                return Ok(());
            }
        };
        if self.options.only.is_some() && layout.outcome.is_none() {
            return Err("--only chooses rows by their `outcome` column, and there is none; give it the results file \
                        of an earlier run"
                .to_owned());
        }
        self.layout = Some(Box::new(layout));
        Ok(())
    }

    fn row(&mut self, layout: &Layout, record: &Record<'_>) -> Result<(), String> {
        self.records += 1;
        if self.records > self.options.max_rows {
            return Err(format!("more than {} rows; split the file", self.options.max_rows));
        }
        if let (Some(only), Some(column)) = (&self.options.only, layout.outcome) {
            let word = trim(record.cell(column));
            if !only.iter().any(|outcome: &Outcome| word.eq_ignore_ascii_case(outcome.as_str())) {
                return Ok(());
            }
        }
        let mut cells = [""; Field::READ.len()];
        for &(field, column) in &layout.read {
            let given = record.cell(column);
            let trimmed = trim(given);
            let is_trimmed = trimmed.len() != given.len();
            self.trimmed += u64::from(is_trimmed);
            if is_trimmed && matches!(field, Field::UserName | Field::UserId) {
                doubt(&mut self.doubts, self.kept, Doubt::TrimmedCell);
            }
            cells[field.index()] = match layout.is_results {
                true => unguard(trimmed),
                false if record.is_plain => trimmed, // without a quote
                false => as_text(trimmed),
            };
        }
        let kind = Kind::parse(cells[Field::Type.index()]);
        let others = layout.present().filter(|&field| field != Field::DesktopId);
        let fields = others.map(|field| cells[field.index()]);
        let extras = layout.extras.iter().map(|&column| {
            let cell = record.cell(column);
            if layout.is_results { unguard(cell) } else { cell }
        });
        let row = NewRow {
            line: record.line,
            kind,
            is_plain: record.is_plain,
            id: layout.column_of(Field::DesktopId).map(|_| cells[Field::DesktopId.index()]),
            user: [Field::UserName, Field::UserId, Field::Domain].map(|field| cells[field.index()]),
        };
        let pushed = self.batch.push(&row, fields.chain(extras));
        pushed.map_err(|Full| too_much(record.line))?;
        self.check(layout, record, &cells, kind);
        self.check_day(layout, record);
        self.kept += 1;
        if self.batch.is_full() {
            self.rest.take(&mut self.batch)?;
        }
        if self.faults.len() > MAX_FAULTS {
            return Err(format!(
                "line {}: this is fault number {MAX_FAULTS} of the file; is it the right one? The first: {}",
                record.line,
                super::fault::report(&self.faults[..1], 1)
            ));
        }
        Ok(())
    }

    fn check(&mut self, layout: &Layout, record: &Record<'_>, cells: &[&str; Field::READ.len()], kind: Option<Kind>) {
        let row = self.kept;
        let faults = &mut self.faults;
        let mut fault = |field: Option<Field>, code, message: String| {
            let column = field.and_then(|field| layout.header_of(field));
            faults.push(RowFault { row, line: record.line, column, code, message });
        };
        let cell = |field: Field| cells[field.index()];

        if (layout.headers.len()..record.ends.len()).any(|column| !trim(record.cell(column)).is_empty()) {
            let message = format!(
                "{} cells, but the header line has {} columns; put a cell that holds the delimiter in quotes, or give \
                 each column a header",
                record.ends.len(),
                layout.headers.len()
            );
            fault(None, "INVALID_RAGGED", message);
        }
        let has_desktop = !cell(Field::DesktopId).is_empty() || !cell(Field::DesktopName).is_empty();
        let is_cut = |field| layout.column_of(field).is_some_and(|column| column >= record.ends.len());
        if !self.is_sheet && !has_desktop {
            // Cut short before its desktop, the row would mean every desktop of the user.
            if let Some(field) = [Field::DesktopId, Field::DesktopName].into_iter().find(|&field| is_cut(field)) {
                let message = "the row ends before this column; write the missing cells, empty ones as well";
                fault(Some(field), "INVALID_RAGGED", message.to_owned());
            }
        }

        check_looks(layout, record, &mut fault);
        let is_user = matches!(kind, Some(Kind::User | Kind::Group));
        let has_column = layout.column_of(Field::DesktopId).or(layout.column_of(Field::DesktopName));
        // Results hold such a row where its list had no desktop column, and say so where it had one.
        let was_refused = || layout.error_code.is_some_and(|at| trim(record.cell(at)) == DESKTOP_MISSING);
        let lacks_desktop = is_user
            && !has_desktop
            && has_column.is_some()
            && !self.options.empty_desktop_is_every
            && (!layout.is_results || was_refused());

        check_type(kind, cells, has_desktop, self.options.forbid_all, &mut fault);
        if let Some(kind @ (Kind::User | Kind::Group)) = kind
            && !cell(Field::UserName).is_empty()
            && !is_usual(cell(Field::UserName), kind)
        {
            if self.unusual.0 == 0 {
                self.unusual.1 = record.line;
            }
            self.unusual.0 += 1;
            doubt(&mut self.doubts, row, Doubt::UnusualName);
        }
        check_cells(layout, record, cells, &mut fault);
        // Why the cell is empty may be told already.
        let says_why = |fault: &RowFault| {
            matches!(fault.code, "INVALID_RAGGED" | "INVALID_MERGED_CELL" | "INVALID_FORMULA" | "INVALID_LINE_IN_CELL")
        };
        if lacks_desktop && !self.faults.iter().rev().take_while(|fault| fault.row == row).any(says_why) {
            let field =
                if layout.column_of(Field::DesktopId).is_some() { Field::DesktopId } else { Field::DesktopName };
            let message = "the desktop is missing; write it, or say --empty-desktop every where an empty cell means \
                           every desktop of the row's user";
            let (line, column) = (record.line, layout.header_of(field));
            self.faults.push(RowFault { row, line, column, code: DESKTOP_MISSING, message: message.to_owned() });
        }
    }

    /// Whether the row that was checked last is due: one that is not is kept apart, unless it is wrong in itself.
    fn check_day(&mut self, layout: &Layout, record: &Record<'_>) {
        for &column in &layout.days {
            let given = trim(record.cell(column));
            let cell = if layout.is_results { unguard(given) } else { as_text(given) };
            let day = self.options.due.read(cell);
            match &self.options.due {
                Due::Now => {}
                Due::Ask { today, .. } => {
                    if !was_due(layout, record) && !cell.is_empty() {
                        self.unasked.note(day, *today, column, record.line);
                    }
                }
                Due::By { as_of, .. } => {
                    let has_fault = self.faults.last().is_some_and(|fault| fault.row == self.kept);
                    let problem = unlike_looks(record, column).next().or_else(|| no_day(cell, day));
                    if let Some((code, message)) = problem {
                        let (row, line) = (self.kept, record.line);
                        let (column, message) = (layout.headers.get(column).cloned(), message.to_owned());
                        self.faults.push(RowFault { row, line, column, code, message });
                    } else if let (false, Day::Known(day)) = (has_fault, day)
                        && day > *as_of
                        && let Ok(row) = u32::try_from(self.kept)
                    {
                        self.not_due.push(row);
                    }
                }
            }
        }
    }

    /// The last rows go, too; gives back what they all went to.
    ///
    /// # Errors
    /// In words: no header, or no row.
    pub(super) fn finish(mut self) -> Result<(Checked, R), String> {
        let (hidden, lines) = &self.hidden;
        if *hidden > 0 && self.options.hidden_rows == Hidden::Refuse {
            let lines: Vec<String> = lines.iter().map(u64::to_string).collect();
            let more = if *hidden > u64::try_from(lines.len()).unwrap_or(0) { ", …" } else { "" };
            return Err(format!(
                "rows {}{more} are hidden or filtered out ({hidden} in all), and the list may be meant without them: leave \
                 them out with --hidden-rows skip, take them like any other with --hidden-rows read, or show them",
                lines.join(", ")
            ));
        }
        if let Some(problem) = self.no_header {
            return Err(problem);
        }
        let Some(layout) = self.layout else {
            return Err("the file is empty; it needs a header line and at least one row".to_owned());
        };
        if self.records == 0 && self.options.only.is_none() {
            return Err("the file has a header line, but no row".to_owned());
        }
        self.unasked.refuse(&layout.headers)?;
        self.rest.take(&mut self.batch)?;
        let mut notes = layout.notes.clone();
        notes.extend(self.unasked.unread_note(&layout.headers));
        if *hidden > 0 {
            notes.push(format!("{hidden} hidden or filtered rows were passed over (--hidden-rows skip)"));
        }
        if let (count @ 1.., line) = self.unusual {
            notes.push(format!(
                "{count} user or group name(s) hold characters that the service's rules do not list; the first is on \
                 line {line}"
            ));
        }
        let Self { faults, not_due, doubts, trimmed, blank, .. } = self;
        Ok((Checked { layout, faults, not_due, doubts, notes, trimmed, blank }, self.rest))
    }

    /// Whether the header line was seen.
    pub(super) fn has_header(&self) -> bool {
        self.layout.is_some()
    }
}

/// Whether the row is an earlier run's result that was done there: then it was due.
fn was_due(layout: &Layout, record: &Record<'_>) -> bool {
    let word = layout.outcome.filter(|_| layout.is_results).map(|column| trim(record.cell(column)));
    let outcome = word.and_then(|word| Outcome::parse(&word.to_ascii_lowercase()));
    outcome.is_some_and(|outcome| !matches!(outcome, Outcome::NotDue | Outcome::Invalid | Outcome::Planned))
}

/// Keeps the first doubt about the row that is being checked.
fn doubt(doubts: &mut Vec<(u32, Doubt)>, row: usize, doubt: Doubt) {
    if let Ok(row) = u32::try_from(row)
        && doubts.last().is_none_or(|&(last, _)| last != row)
    {
        doubts.push((row, doubt));
    }
}
