//! Workbooks: one sheet of an `.xlsx`, `.xls` or `.ods` file as records.

use std::ffi::OsStr;
use std::io::{BufReader, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use calamine::{
    Data, DataRef, DataType, Dimensions, ExcelDateTime, Ods, OdsError, Range, Reader, SheetType, SheetVisible, Xls,
    XlsError, Xlsx,
};
use sha2::{Digest, Sha256};

use super::Table;
use super::header::NO_USER;
use super::options::ReadOptions;
use super::record::{Bytes, MAX_COLUMNS, Mark, Record, Sink, Trouble, is_plain, show_number};
use super::row::{Collected, Rows};
use super::shown::Shown;
use crate::text::escape_untrusted;

/// Bytes of a workbook file.
const MAX_FILE: u64 = 256 << 20;
/// Unpacked bytes of the sheets of an `.xlsx`, which are read as a stream.
const MAX_SHEETS: u64 = 2 << 30;
/// Unpacked bytes of all else, which is held in memory.
const MAX_PARTS: u64 = 256 << 20;
/// Cells of an `.ods` sheet, its repeated ones multiplied out as the reader does.
const MAX_ODS_CELLS: u64 = 12_000_000;

/// Which kind of workbook a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `.xlsx` or `.ods`: what is inside tells which.
    Zip,
    /// `.xls`.
    Compound,
}

impl Kind {
    /// Goes by the first bytes: names lie. `None` for anything that may be text.
    ///
    /// # Errors
    /// In words: a name that promises a workbook, on a file that is none.
    pub(super) fn of(head: &[u8], extension: Option<&OsStr>) -> Result<Option<Self>, String> {
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            return Ok(Some(Self::Zip));
        }
        if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
            return Ok(Some(Self::Compound));
        }
        // `.xls` is not in the list: many programs give that name to text.
        let promised = extension.and_then(OsStr::to_str).map(str::to_ascii_lowercase);
        match promised.as_deref() {
            Some(promised @ ("xlsx" | "xlsm" | "xlsb" | "ods")) => {
                Err(format!("the name ends in .{promised}, but this is no workbook; save it again, or as CSV"))
            }
            _ => Ok(None),
        }
    }
}

/// Reads the chosen sheet.
pub(super) fn read(bytes: &mut dyn Bytes, kind: Kind, options: &ReadOptions) -> Result<(String, Collected), Trouble> {
    let sha256 = hash(bytes)?;
    let format = match kind {
        Kind::Compound => Format::Xls,
        Kind::Zip => check_parts(bytes)?,
    };
    bytes.rewind()?;
    let mut rows = Rows::new(options, true, Table::default());
    // The reader of old formats indexes into what the file claims; a damaged file must not end the program.
    let walked = catch_unwind(AssertUnwindSafe(|| {
        if format == Format::Xls {
            Shown::check_xls(BufReader::new(&mut *bytes))?;
            bytes.rewind().map_err(|error| error.to_string())?;
        }
        let mut book = Book::open(format, BufReader::new(&mut *bytes))?;
        let chosen = book.choose(options.sheet.as_deref())?;
        let place = book.place(&chosen.name);
        drop(book);
        let rewound = |bytes: &mut dyn Bytes| bytes.rewind().map_err(|error| error.to_string());
        rewound(bytes)?;
        let reader = BufReader::new(&mut *bytes);
        let shown = match format {
            Format::Xlsx => Shown::of_xlsx(reader, &chosen.name),
            Format::Ods => Shown::of_ods(reader, &chosen.name),
            Format::Xls => Shown::of_xls(reader, place),
        }?;
        rewound(bytes)?;
        let mut book = Book::open(format, BufReader::new(&mut *bytes))?;
        book.walk(&chosen.name, shown, &mut rows)?;
        Ok::<Chosen, String>(chosen)
    }))
    .unwrap_or_else(|_| Err("the workbook is damaged; open it in a spreadsheet program and save it again".to_owned()));
    let is_encrypted = walked.is_err() && format == Format::Xls && holds_encrypted_part(bytes);
    let chosen = walked.map_err(|problem| if is_encrypted { ENCRYPTED.to_owned() } else { problem })?;
    let (checked, table) = rows.finish().map_err(|problem| match chosen.others.as_str() {
        others if problem.contains(NO_USER) && !others.is_empty() => {
            format!("{problem}\nOther sheets of the workbook hold something, too: {others}. Choose with --sheet NAME")
        }
        _ => problem,
    })?;
    let mut collected = checked.complete(table);
    collected.notes.splice(0..0, chosen.notes);
    if options.encoding.is_some() || options.delimiter.is_some() {
        let note = "the settings `encoding` and `delimiter` say nothing here: this is a workbook";
        collected.notes.push(note.to_owned());
    }
    collected.table.describe(String::new(), None, Some(escape_untrusted(&chosen.name, 100)));
    Ok((sha256, collected))
}

/// What is said of a workbook that only its password opens.
const ENCRYPTED: &str =
    "this workbook is encrypted with a password; open it in a spreadsheet program and save it without one";

/// Whether a compound file holds an encrypted workbook of a newer format as a part of it: the part's name is looked for,
/// since a reader of compound files takes a damaged one at its word, and there may be no end of what it claims.
fn holds_encrypted_part(bytes: &mut dyn Bytes) -> bool {
    let name: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (mut seen, mut block) = (Vec::new(), vec![0; 64 * 1024]);
    if bytes.rewind().is_err() {
        return false;
    }
    while let Ok(count @ 1..) = bytes.read(&mut block) {
        seen.extend_from_slice(&block[..count]);
        if seen.windows(name.len()).any(|part| part == name) {
            return true;
        }
        // The name may stand across two blocks.
        seen.drain(..seen.len().saturating_sub(name.len()));
    }
    false
}

fn hash(bytes: &mut dyn Bytes) -> Result<String, Trouble> {
    bytes.rewind()?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        let count = bytes.read(&mut block)?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        total += u64::try_from(count).unwrap_or(u64::MAX);
        if total > MAX_FILE {
            return Err("a workbook larger than 256 MiB; save the sheet as CSV".to_owned().into());
        }
        hash.update(&block[..count]);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Xlsx,
    Xls,
    Ods,
}

/// Unpacks the whole file into nothing and counts, before the reader unpacks it into memory: a few kilobytes can
/// hold gigabytes, and the sizes that a file claims for its parts need not be true.
fn check_parts(bytes: &mut dyn Bytes) -> Result<Format, Trouble> {
    bytes.rewind()?;
    let damaged = |error: &dyn std::fmt::Display| {
        format!("the workbook is damaged: {}", escape_untrusted(&error.to_string(), 200))
    };
    let mut archive = zip::ZipArchive::new(BufReader::new(bytes)).map_err(|error| damaged(&error))?;
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let part = archive.by_index_raw(index).map_err(|error| damaged(&error))?;
        let name = part.name().map_err(|error| damaged(&error))?;
        names.push(name.to_ascii_lowercase().replace('\\', "/"));
    }
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let format = if has("xl/workbook.xml") {
        Format::Xlsx
    } else if has("content.xml") {
        Format::Ods
    } else {
        let problem = "an archive that holds no .xlsx or .ods workbook; unpack it, or save the sheet as .xlsx or CSV";
        return Err(problem.to_owned().into());
    };
    let (mut sheets, mut parts) = (0, 0);
    for (index, name) in names.iter().enumerate() {
        let (count, max) = if format == Format::Xlsx && name.starts_with("xl/worksheets/") {
            (&mut sheets, MAX_SHEETS)
        } else {
            (&mut parts, MAX_PARTS)
        };
        let part = archive.by_index(index).map_err(|error| damaged(&error))?;
        let mut part = part.take(max + 1 - *count);
        if format == Format::Ods && name == "content.xml" {
            let mut content = Vec::new();
            *count += part.read_to_end(&mut content).map_err(|error| damaged(&error)).map(u64_of)?;
            if ods_cells(&content) > MAX_ODS_CELLS {
                return Err("more than 12 million cells, repeated ones included; save the sheet as CSV"
                    .to_owned()
                    .into());
            }
        } else {
            *count += std::io::copy(&mut part, &mut std::io::sink()).map_err(|error| damaged(&error))?;
        }
        if *count > max {
            return Err("the workbook unpacks to more than this program reads; save the sheet as CSV"
                .to_owned()
                .into());
        }
    }
    Ok(format)
}

fn u64_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// How many cells the reader would make of an `.ods` content: it multiplies repeated rows and columns out, up to
/// the last one that holds something.
fn ods_cells(content: &[u8]) -> u64 {
    let (mut total, mut widest, mut rows, mut empty_rows) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (mut row_repeat, mut width, mut pending) = (1_u64, 0_u64, 0_u64);
    for tag in content.split(|&b| b == b'<').skip(1) {
        let end = tag.iter().position(|&b| b == b'>').unwrap_or(tag.len());
        let tag = &tag[..end];
        if tag.starts_with(b"table:table-row") {
            (row_repeat, width, pending) = (repeat(tag, b"number-rows-repeated"), 0, 0);
        } else if tag.starts_with(b"table:table-cell") || tag.starts_with(b"table:covered-table-cell") {
            let count = repeat(tag, b"number-columns-repeated").min(16_384);
            let is_empty = tag.ends_with(b"/") && !tag.windows(7).any(|part| part == b"office:" || part == b":formul");
            if is_empty {
                pending += count;
            } else {
                (width, pending) = (width.saturating_add(pending).saturating_add(count), 0);
            }
        } else if tag.starts_with(b"/table:table-row") {
            // The reader keeps each row once as it stands, then all of them multiplied out.
            total = total.saturating_add(width);
            let repeats = row_repeat.min(1_048_576);
            if width == 0 {
                empty_rows = empty_rows.saturating_add(repeats);
            } else {
                rows = rows.saturating_add(empty_rows).saturating_add(repeats);
                (widest, empty_rows) = (widest.max(width), 0);
            }
        } else if tag.starts_with(b"/table:table") && !tag.starts_with(b"/table:table-") {
            total = total.saturating_add(rows.saturating_mul(widest));
            (widest, rows, empty_rows) = (0, 0, 0);
        }
    }
    total.saturating_add(rows.saturating_mul(widest))
}

/// The number in an attribute, 1 without it.
fn repeat(tag: &[u8], attribute: &[u8]) -> u64 {
    let Some(at) = tag.windows(attribute.len()).position(|part| part == attribute) else { return 1 };
    let value =
        tag[at + attribute.len()..].iter().skip_while(|b| !b.is_ascii_digit()).take_while(|b| b.is_ascii_digit());
    value.fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))).max(1)
}

enum Book<R: Read + Seek> {
    Xlsx(Xlsx<R>),
    Xls(Xls<R>),
    Ods(Ods<R>),
}

/// The sheet to read, with what to tell about the choice.
#[derive(Debug)]
struct Chosen {
    name: String,
    notes: Vec<String>,
    /// Other sheets that hold something, as they are told.
    others: String,
}

impl<R: Read + Seek> Book<R> {
    fn open(format: Format, reader: R) -> Result<Self, String> {
        let damaged = |error: &dyn std::fmt::Display| {
            format!(
                "cannot open the workbook ({}); open it in a spreadsheet program and save it again as .xlsx or CSV",
                escape_untrusted(&error.to_string(), 200)
            )
        };
        match format {
            Format::Xlsx => Xlsx::new(reader).map(Self::Xlsx).map_err(|error| damaged(&error)),
            Format::Xls => Xls::new(reader).map(Self::Xls).map_err(|error| match error {
                XlsError::Password => ENCRYPTED.to_owned(),
                error => damaged(&error),
            }),
            Format::Ods => Ods::new(reader).map(Self::Ods).map_err(|error| match error {
                OdsError::Password => ENCRYPTED.to_owned(),
                error => damaged(&error),
            }),
        }
    }

    fn choose(&mut self, wanted: Option<&str>) -> Result<Chosen, String> {
        let sheets = match self {
            Self::Xlsx(book) => book.sheets_metadata(),
            Self::Xls(book) => book.sheets_metadata(),
            Self::Ods(book) => book.sheets_metadata(),
        };
        let sheets: Vec<(String, bool)> = sheets
            .iter()
            .filter(|sheet| sheet.typ == SheetType::WorkSheet)
            .map(|sheet| (sheet.name.clone(), sheet.visible == SheetVisible::Visible))
            .collect();
        if let Some(wanted) = wanted {
            let exact = sheets.iter().find(|(name, _)| name == wanted);
            let alike = || sheets.iter().find(|(name, _)| name.to_lowercase() == wanted.trim().to_lowercase());
            return match exact.or_else(alike) {
                Some((name, _)) => Ok(Chosen { name: name.clone(), notes: Vec::new(), others: String::new() }),
                None => Err(format!("no sheet \"{}\"; there are: {}", escape_untrusted(wanted, 60), list(&sheets))),
            };
        }
        let mut filled = Vec::new();
        for sheet in sheets {
            if !self.is_blank(&sheet.0)? {
                filled.push(sheet);
            }
        }
        let Some((name, _)) = filled.iter().find(|(_, is_visible)| *is_visible) else {
            return Err("no visible sheet holds anything; name a hidden one with --sheet".to_owned());
        };
        let others: Vec<(String, bool)> = filled.iter().filter(|(other, _)| other != name).cloned().collect();
        let mut notes = Vec::new();
        if !others.is_empty() {
            notes.push(format!(
                "only the sheet \"{}\" is read; others hold something, too: {}. Choose with --sheet",
                escape_untrusted(name, 60),
                list(&others)
            ));
        }
        let others = list(&others);
        Ok(Chosen { name: name.clone(), notes, others })
    }

    fn is_blank(&mut self, name: &str) -> Result<bool, String> {
        if let Self::Xlsx(book) = self {
            let mut cells = book.worksheet_cells_reader(name).map_err(|error| unreadable(name, &error))?;
            while let Some(cell) = cells.next_cell().map_err(|error| unreadable(name, &error))? {
                if !matches!(cell.get_value(), DataRef::Empty) {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        Ok(self.range(name)?.is_empty())
    }

    fn range(&mut self, name: &str) -> Result<Range<Data>, String> {
        match self {
            Self::Xlsx(book) => book.worksheet_range(name).map_err(|error| unreadable(name, &error)),
            Self::Xls(book) => book.worksheet_range(name).map_err(|error| unreadable(name, &error)),
            Self::Ods(book) => book.worksheet_range(name).map_err(|error| unreadable(name, &error)),
        }
    }

    /// Where the sheet stands among all sheets.
    fn place(&self, name: &str) -> usize {
        let sheets = match self {
            Self::Xlsx(book) => book.sheets_metadata(),
            Self::Xls(book) => book.sheets_metadata(),
            Self::Ods(book) => book.sheets_metadata(),
        };
        sheets.iter().position(|sheet| sheet.name == name).unwrap_or_default()
    }

    fn walk(&mut self, name: &str, shown: Shown, rows: &mut Rows<'_, Table>) -> Result<(), String> {
        let merged = match self {
            Self::Xlsx(book) => book.merge_cells_by_sheet_name(name).map_err(|error| unreadable(name, &error))?,
            Self::Xls(book) => book.merge_cells_by_sheet_name(name).map_err(|error| unreadable(name, &error))?,
            Self::Ods(_) => Vec::new(), // each covered cell is marked as one
        };
        let mut line = Line { merged: Merged::new(merged), shown, ..Line::default() };
        if let Self::Xlsx(book) = self {
            // Cell by cell: a range would reserve room for all between the first and the last one.
            let mut cells = book.worksheet_cells_reader(name).map_err(|error| unreadable(name, &error))?;
            while let Some(cell) = cells.next_cell().map_err(|error| unreadable(name, &error))? {
                let (row, column) = cell.get_position();
                line.put(row, column, cell.get_value(), rows)?;
            }
        } else {
            let range = self.range(name)?;
            let (first_row, first_column) = range.start().unwrap_or_default();
            for (row, column, value) in range.used_cells() {
                let row = u32::try_from(row).unwrap_or(u32::MAX).saturating_add(first_row);
                let column = u32::try_from(column).unwrap_or(u32::MAX).saturating_add(first_column);
                line.put(row, column, value, rows)?;
            }
        }
        line.flush(rows)?;
        line.uncomputed(u32::MAX, rows)
    }
}

fn unreadable(name: &str, error: &dyn std::fmt::Display) -> String {
    format!("sheet \"{}\" cannot be read: {}", escape_untrusted(name, 60), escape_untrusted(&error.to_string(), 200))
}

fn list(sheets: &[(String, bool)]) -> String {
    let names: Vec<String> =
        sheets.iter().take(12).map(|(name, _)| format!("\"{}\"", escape_untrusted(name, 60))).collect();
    names.join(", ")
}

/// The row of a sheet that is being put together.
#[derive(Debug, Default)]
struct Line {
    row: Option<u32>,
    cells: Vec<(String, bool)>,
    merged: Merged,
    shown: Shown,
    /// The first row that is not handed on yet.
    next: u32,
}

/// The merged cells of a sheet, gone through from top to bottom.
#[derive(Debug, Default)]
struct Merged {
    /// Those that start further down, the next one last.
    coming: Vec<Dimensions>,
    /// Those that reach the current row. In a sound file they do not overlap, so they are few.
    here: Vec<Dimensions>,
}

impl Merged {
    fn new(mut coming: Vec<Dimensions>) -> Self {
        coming.sort_unstable_by_key(|area| std::cmp::Reverse(area.start));
        Self { coming, here: Vec::new() }
    }

    /// The columns of this row that a merged cell covers, its own first cell apart. Rows must rise.
    fn covered(&mut self, row: u32) -> Result<Vec<usize>, String> {
        self.here.retain(|area| area.end.0 >= row);
        while let Some(area) = self.coming.pop_if(|area| area.start.0 <= row) {
            if area.end.0 >= row {
                self.here.push(area);
            }
        }
        if self.here.len() > MAX_COLUMNS {
            return Err(format!("row {}: too many merged cells; unmerge them", u64::from(row) + 1));
        }
        let mut columns = Vec::new();
        for area in &self.here {
            let covered = (area.start.1..=area.end.1).filter(|&column| (row, column) != area.start);
            columns
                .extend(covered.filter_map(|column| usize::try_from(column).ok()).take_while(|&at| at < MAX_COLUMNS));
        }
        Ok(columns)
    }
}

impl Line {
    fn put(&mut self, row: u32, column: u32, value: &impl Value, rows: &mut Rows<'_, Table>) -> Result<(), String> {
        if value.is_nothing() {
            return Ok(());
        }
        if let Some(current) = self.row.filter(|&current| current != row) {
            if row < current {
                return Err(format!("the sheet's row {} comes after row {}; save it again", row + 1, current + 1));
            }
            self.flush(rows)?;
        }
        if self.row.is_none() {
            self.uncomputed(row, rows)?;
        }
        self.row = Some(row);
        let column = usize::try_from(column).unwrap_or(usize::MAX);
        if column >= MAX_COLUMNS {
            let row = u64::from(row) + 1;
            return Err(format!("row {row}: more than {MAX_COLUMNS} columns; remove the surplus ones"));
        }
        if self.cells.len() <= column {
            self.cells.resize_with(column + 1, Default::default);
        }
        self.cells[column] = value.show();
        Ok(())
    }

    /// Hands on the rows before this one of which nothing is there but formulas that were never computed: to leave them
    /// out would be to take them for blank.
    fn uncomputed(&mut self, before: u32, rows: &mut Rows<'_, Table>) -> Result<(), String> {
        while self.shown.tells_empty_results {
            let Some(row) = self.shown.next_uncomputed(self.next).map(|row| row.first) else { break };
            if row >= before {
                break;
            }
            self.row = Some(row);
            self.flush(rows)?;
        }
        Ok(())
    }

    fn flush(&mut self, rows: &mut Rows<'_, Table>) -> Result<(), String> {
        let Some(row) = self.row.take() else { return Ok(()) };
        let mut text = String::new();
        self.next = row.saturating_add(1);
        let (mut ends, mut marks) = (Vec::with_capacity(self.cells.len()), Vec::new());
        for (column, (cell, is_damaged)) in self.cells.iter().enumerate() {
            text.push_str(cell);
            ends.push(text.len());
            if *is_damaged {
                marks.push((column, Mark::Damaged));
            }
        }
        self.cells.clear();
        if text.contains('\0') {
            return Err(format!("row {}: a zero character; remove it", u64::from(row) + 1));
        }
        marks.extend(self.merged.covered(row)?.into_iter().map(|column| (column, Mark::Covered)));
        let seen = self.shown.row(row);
        marks.extend(seen.iter().flat_map(|row| row.marks.iter().copied()));
        let record = Record {
            line: u64::from(row) + 1,
            text: &text,
            ends: &ends,
            gap: 0,
            is_plain: is_plain(&text),
            marks: &marks,
            is_hidden: seen.is_some_and(|row| row.is_hidden),
        };
        rows.take(&record, 0)
    }
}

/// What a cell holds: calamine has an owned and a borrowed kind of it.
trait Value {
    fn is_nothing(&self) -> bool;

    /// The cell as text, and whether that cannot be what somebody typed as a name or an id.
    fn show(&self) -> (String, bool);
}

impl<T: DataType> Value for T {
    fn is_nothing(&self) -> bool {
        self.is_empty()
    }

    fn show(&self) -> (String, bool) {
        if let Some(text) = self.get_string() {
            (text.to_owned(), false)
        } else if let Some(number) = self.get_int() {
            (number.to_string(), false)
        } else if let Some(number) = self.get_float() {
            show_number(number)
        } else if let Some(truth) = self.get_bool() {
            (if truth { "TRUE" } else { "FALSE" }.to_owned(), false)
        } else if let Some(time) = self.get_datetime() {
            (show_time(time), true)
        } else if let Some(time) = self.get_datetime_iso().or(self.get_duration_iso()) {
            (time.to_owned(), true)
        } else if let Some(error) = self.get_error() {
            (error.to_string(), true)
        } else {
            (String::new(), false)
        }
    }
}

fn show_time(time: ExcelDateTime) -> String {
    if time.is_duration() {
        return time.as_f64().to_string();
    }
    let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
    if (hour, minute, second) == (0, 0, 0) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}
