//! Delimited text: RFC 4180 records out of blocks of text, in buffers of fixed size.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr_iter};

use crate::input::header;
use crate::input::record::{DELIMITERS, MAX_CELL, MAX_COLUMNS, MAX_RECORD, Record, Sink, is_odd, is_plain};
use crate::text::bytes::{eight, holds, to_usize};

/// Splits text into records, keeping count of lines.
pub(in crate::input) struct Records {
    delimiter: u8,
    reader: Reader,
    /// The current record's cells, and where each ends. Both one longer than allowed, so that "full" means "too much".
    cells: Box<[u8]>,
    used: usize,
    ends: Box<[usize]>,
    found: usize,
    /// The line of the next byte; inside a record, the line that the record started on.
    line: u64,
    in_record: bool,
    /// Whether the byte before was a CR that ended a record: an LF now belongs to it.
    after_cr: bool,
    last_byte: Option<u8>,
}

impl Records {
    pub(in crate::input) fn new(delimiter: u8) -> Self {
        let mut reader = ReaderBuilder::new().delimiter(delimiter).build();
        // It would take a byte order mark off the first record that it reads, which is seldom the file's first.
        reader.read_record(b"\n", &mut [0], &mut [0]);
        Self {
            delimiter,
            reader,
            cells: vec![0; MAX_RECORD + 1].into(),
            used: 0,
            ends: vec![0; MAX_COLUMNS + 1].into(),
            found: 0,
            line: 1,
            in_record: false,
            after_cr: false,
            last_byte: None,
        }
    }

    /// The first byte stands on another line than the first.
    pub(in crate::input) const fn starting_on(mut self, line: u64) -> Self {
        self.line = line;
        self
    }

    /// Takes the next block of text.
    ///
    /// # Errors
    /// In words, with the line: a NUL, a record over its cap, or what `rows` refuses.
    pub(in crate::input) fn feed(&mut self, text: &str, rows: &mut impl Sink) -> Result<(), String> {
        let Some(nul) = memchr(0, text.as_bytes()) else { return self.split(text, rows) };
        self.split(text.get(..nul).unwrap_or_default(), rows)?;
        Err(format!(
            "line {}: a zero byte; this is no text, or text in an encoding to be named with --encoding",
            self.here()
        ))
    }

    fn split(&mut self, text: &str, rows: &mut impl Sink) -> Result<(), String> {
        let bytes = text.as_bytes();
        self.last_byte = bytes.last().copied().or(self.last_byte);
        let lines = Lines::of(bytes);
        let (mut at, mut quote) = (0, 0);
        loop {
            if !self.in_record {
                at += self.skip_line_ends(&bytes[at..]);
                if quote <= at {
                    quote = memchr(b'"', &bytes[at..]).map_or(bytes.len(), |found| at + found);
                }
                at = self.plain(text, at, quote.min(lines.end), lines.are_plain, rows)?;
                at += self.skip_line_ends(&bytes[at..]);
            }
            if at == bytes.len() {
                return Ok(());
            }
            self.in_record = true;
            let (result, read, wrote, found) =
                self.reader.read_record(&bytes[at..], &mut self.cells[self.used..], &mut self.ends[self.found..]);
            self.used += wrote;
            self.found += found;
            at += read;
            match result {
                ReadRecordResult::Record => {
                    self.after_cr = bytes[at - 1] == b'\r';
                    self.emit(rows)?;
                    self.line += 1;
                }
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return Ok(()),
                ReadRecordResult::OutputFull => return Err(self.too_long()),
                ReadRecordResult::OutputEndsFull => return Err(self.too_many_columns()),
            }
        }
    }

    /// Hands on, as they stand in the text, all records that are told by delimiters and line feeds alone. The place of
    /// the first record that is not: csv-core reads it.
    ///
    /// * `at`: where a record starts.
    /// * `end`: up to here there is no quote, and no line ends otherwise.
    fn plain(
        &mut self,
        text: &str,
        mut at: usize,
        end: usize,
        are_plain: bool,
        rows: &mut impl Sink,
    ) -> Result<usize, String> {
        let bytes = text.as_bytes();
        let delimiter = eight(self.delimiter);
        let (mut word_at, mut found) = (at, 0);
        // A record that ends in the last few bytes of the text is one for csv-core.
        let (words, _) = bytes.get(at..).unwrap_or_default().as_chunks::<8>();
        for word in words {
            let mut cell_ends = cell_ends(u64::from_le_bytes(*word), delimiter);
            while cell_ends != 0 {
                let next = word_at + to_usize(cell_ends.trailing_zeros() / 8);
                cell_ends &= cell_ends - 1;
                if next >= end {
                    return Ok(at);
                }
                let is_line_end = bytes[next] == b'\n';
                let stop = if is_line_end && next > at && bytes[next - 1] == b'\r' { next - 1 } else { next };
                let is_empty = is_line_end && stop == at;
                if !is_empty {
                    if found >= MAX_COLUMNS || stop - at > MAX_CELL {
                        return Ok(at);
                    }
                    self.ends[found] = stop - at;
                    found += 1;
                }
                if is_line_end {
                    if !is_empty {
                        let text = text.get(at..stop).unwrap_or_default();
                        let is_plain = are_plain || is_plain(text);
                        let ends = &self.ends[..found];
                        let record =
                            Record { line: self.line, text, ends, gap: 1, is_plain, marks: &[], is_hidden: false };
                        rows.take(&record, 0)?;
                    }
                    (at, found) = (next + 1, 0);
                    self.line += 1;
                }
            }
            word_at += 8;
        }
        Ok(at)
    }

    /// Between records only: an empty line is none. How many bytes they take.
    fn skip_line_ends(&mut self, text: &[u8]) -> usize {
        let mut rest = text;
        while let [first @ (b'\r' | b'\n'), after @ ..] = rest {
            if *first == b'\r' || !self.after_cr {
                self.line += 1;
            }
            self.after_cr = *first == b'\r';
            rest = after;
        }
        if !rest.is_empty() {
            self.after_cr = false;
        }
        text.len() - rest.len()
    }

    fn emit(&mut self, rows: &mut impl Sink) -> Result<(), String> {
        let cells = &self.cells[..self.used];
        // Only quotes can put a line end into a cell.
        let inside = line_ends(cells);
        let text = std::str::from_utf8(cells)
            .map_err(|_| format!("line {}: quotes divide a character; write the line anew", self.line))?;
        let (line, ends, is_plain) = (self.line, &self.ends[..self.found], is_plain(text));
        rows.take(&Record { line, text, ends, gap: 0, is_plain, marks: &[], is_hidden: false }, inside)?;
        self.line += inside;
        (self.used, self.found, self.in_record) = (0, 0, false);
        Ok(())
    }

    fn too_long(&self) -> String {
        let (line, open) = (self.line, self.open_cell_line());
        if line_ends(&self.cells[..self.used]) == 0 {
            format!("line {line}: longer than 1 MiB; shorten it, or say the delimiter with --delimiter")
        } else {
            format!("line {line}: a record longer than 1 MiB; the quote opened on line {open} is not closed")
        }
    }

    fn too_many_columns(&self) -> String {
        format!("line {}: more than {MAX_COLUMNS} columns; remove the surplus ones, or check --delimiter", self.line)
    }

    /// The line on which the cell that is being read starts.
    fn open_cell_line(&self) -> u64 {
        let before = self.found.checked_sub(1).map_or(0, |last| self.ends[last]);
        self.line + line_ends(&self.cells[..before.min(self.used)])
    }

    /// The line of the next byte, in or between records.
    pub(in crate::input) fn here(&self) -> u64 {
        self.line + line_ends(&self.cells[..self.used])
    }

    /// Whether the text ends without a line end; an empty text does not.
    pub(in crate::input) fn is_cut(&self) -> bool {
        self.last_byte.is_some_and(|byte| !matches!(byte, b'\n' | b'\r'))
    }

    /// Ends the last record.
    ///
    /// # Errors
    /// A quote that is still open. csv-core itself would accept it without a word and swallow all that follows the
    /// quote; so instead of telling it the end, give it one more line end: only inside quotes that is data.
    pub(in crate::input) fn finish(&mut self, rows: &mut impl Sink) -> Result<(), String> {
        if !self.in_record {
            return Ok(());
        }
        let (result, _, wrote, found) =
            self.reader.read_record(b"\n", &mut self.cells[self.used..], &mut self.ends[self.found..]);
        match result {
            ReadRecordResult::Record => {
                self.used += wrote;
                self.found += found;
                self.emit(rows)
            }
            ReadRecordResult::OutputFull => Err(self.too_long()),
            ReadRecordResult::OutputEndsFull => Err(self.too_many_columns()),
            ReadRecordResult::InputEmpty | ReadRecordResult::End => Err(format!(
                "line {}: the quote opened on this line is not closed before the end of the file; close it, or \
                 double it if it belongs to the text",
                self.open_cell_line()
            )),
        }
    }
}

/// What the lines of a block of text are like.
struct Lines {
    /// Up to here every line ends with a line feed, perhaps after a carriage return.
    end: usize,
    /// Whether each line is plain; see [`Record::is_plain`].
    are_plain: bool,
}

impl Lines {
    fn of(text: &[u8]) -> Self {
        let lone = memchr_iter(b'\r', text).find(|&at| text.get(at + 1) != Some(&b'\n'));
        let are_plain = !holds(text, |byte| is_odd(byte) & !matches!(byte, b'\n' | b'\r'));
        Self { end: lone.unwrap_or(text.len()), are_plain }
    }
}

/// Which of eight bytes are a delimiter or a line feed: the highest bit of each. Cells are a few bytes long: to look at
/// eight bytes at once costs less than to begin a search for each.
///
/// * `delimiter`: [`eight`] of them.
fn cell_ends(word: u64, delimiter: u64) -> u64 {
    const LINE_FEEDS: u64 = eight(b'\n');
    const HIGHEST: u64 = eight(0x80);
    // The highest bit of each byte that is not 0: no sum of seven bits reaches the next byte.
    let differ = |bytes: u64| ((bytes & !HIGHEST) + !HIGHEST) | bytes;
    !(differ(word ^ delimiter) & differ(word ^ LINE_FEEDS)) & HIGHEST
}

/// LF, CR and CRLF count as one each.
fn line_ends(text: &[u8]) -> u64 {
    // Nearly no record has one, and this runs for every record; `contains` is a fast search for a byte.
    if !text.contains(&b'\n') && !text.contains(&b'\r') {
        return 0;
    }
    let mut count = 0;
    let mut after_cr = false;
    for &byte in text {
        count += u64::from(byte == b'\r' || (byte == b'\n' && !after_cr));
        after_cr = byte == b'\r';
    }
    count
}

/// The text after so many lines, and how many there were.
pub(in crate::input) fn skip_lines(text: &str, lines: u64) -> (&str, u64) {
    let (mut rest, mut skipped) = (text, 0);
    while skipped < lines
        && let Some(end) = rest.find(['\r', '\n'])
    {
        let line_end = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + line_end..];
        skipped += 1;
    }
    (rest, skipped)
}

/// The line by which Excel is told the delimiter, before the header: `sep=;`, in quotes or not. The delimiter, and the
/// bytes of the line with its end.
pub(in crate::input) fn announced(text: &[u8]) -> Option<(u8, usize)> {
    let length = text.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(text.len());
    let line = &text[..length];
    let bare = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    let [word @ .., delimiter] = bare else { return None };
    // `sep=a` is a header like any other.
    let is_one = *delimiter == b'\t' || (delimiter.is_ascii_punctuation() && *delimiter != b'"');
    if !is_one || !word.eq_ignore_ascii_case(b"sep=") {
        return None;
    }
    let end = if text[length..].starts_with(b"\r\n") { 2 } else { usize::from(length < text.len()) };
    Some((*delimiter, length + end))
}

/// Which delimiter the header line speaks for: the one that makes most known headers of it, then the most columns.
/// The comma where there is none; the flag says whether another one fits as well.
pub(in crate::input) fn detect(text: &[u8]) -> (u8, bool) {
    let start = text.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(text.len());
    let head = &text[start..text.len().min(start + MAX_RECORD)];
    let mut best = (b',', (0, 0));
    let mut is_sure = true;
    let (mut cells, mut ends) = (vec![0; MAX_RECORD + 1], vec![0; MAX_COLUMNS + 1]);
    for delimiter in DELIMITERS {
        let mut reader = ReaderBuilder::new().delimiter(delimiter).build();
        let (mut result, _, _, mut found) = reader.read_record(head, &mut cells, &mut ends);
        if result == ReadRecordResult::InputEmpty {
            let (ended, _, _, more) = reader.read_record(&[], &mut cells, &mut ends[found..]);
            (result, found) = (ended, found + more);
        }
        if result != ReadRecordResult::Record && found == 0 {
            continue;
        }
        let mut from = 0;
        let headers = ends[..found].iter().map(|&end| {
            let cell = cells.get(from..end).and_then(|cell| std::str::from_utf8(cell).ok()).unwrap_or_default();
            from = end;
            if cell.len() > MAX_CELL { "" } else { cell }
        });
        let score = (header::known(headers), found);
        if score > best.1 {
            // One column is what every wrong delimiter makes.
            is_sure = best.1.0 == 0 || best.1.1 < 2 || score.0 > best.1.0;
            best = (delimiter, score);
        } else if score.0 > 0 && score.0 == best.1.0 && score.1 > 1 {
            is_sure = false;
        }
    }
    (best.0, is_sure)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keeps all records in words, and refuses one.
    #[derive(Default)]
    struct Kept {
        records: Vec<(u64, Vec<String>, u64)>,
        refuse: Option<usize>,
    }

    impl Sink for Kept {
        fn take(&mut self, record: &Record<'_>, inside: u64) -> Result<(), String> {
            if self.refuse == Some(self.records.len()) {
                return Err("enough".to_owned());
            }
            let cells = (0..record.ends.len()).map(|column| record.cell(column).to_owned()).collect::<Vec<_>>();
            assert_eq!(record.is_plain, is_plain(&cells.concat()), "{record:?}");
            self.records.push((record.line, cells, inside));
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn records_that_stand_in_the_text_are_those_that_csv_core_reads(
            parts in prop::collection::vec("[a张\\\\]{0,2}|,|\"|\"\"|\n|\r\n|\r|x\n|,\n", 0..60),
            cuts in prop::collection::vec(0..120_usize, 0..4), refuse in prop::option::of(0..20_usize),
        ) {
            let text = parts.concat();
            let (mut plain, mut kept) = (Kept::default(), Kept::default());
            (plain.refuse, kept.refuse) = (refuse, refuse);
            // In blocks of one character no record is whole, so that csv-core reads them all.
            let mut records = Records::new(b',');
            let fed = text.chars().try_for_each(|c| records.feed(c.encode_utf8(&mut [0; 4]), &mut plain));
            let wanted = fed.and_then(|()| records.finish(&mut plain));
            let mut records = Records::new(b',');
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| text.is_char_boundary(cut)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let fed = cuts.windows(2).try_for_each(|cut| records.feed(&text[cut[0]..cut[1]], &mut kept));
            let is = fed.and_then(|()| records.finish(&mut kept));
            prop_assert_eq!(is, wanted);
            prop_assert_eq!(kept.records, plain.records);
        }
    }

    proptest! {
        #[test]
        fn cell_ends_are_delimiters_and_line_feeds(
            text in prop::array::uniform8(prop_oneof![Just(b','), Just(b'\n'), Just(b'-'), Just(b'\x8a'), any::<u8>()]),
            delimiter in prop_oneof![Just(b','), 1..0x80_u8],
        ) {
            let is_end = |byte: u8| byte == delimiter || byte == b'\n';
            let plain = u64::from_le_bytes(text.map(|byte| if is_end(byte) { 0x80 } else { 0 }));
            prop_assert_eq!(cell_ends(u64::from_le_bytes(text), eight(delimiter)), plain);
        }
    }

    #[test]
    fn the_delimiter_is_the_one_that_makes_known_headers() {
        for (header, delimiter, is_sure) in [
            ("desktop,user\n", b',', true),
            ("\r\n\ndesktop;user\n", b';', true),
            ("desktop\tuser name", b'\t', true),
            ("desktop|user|note, long", b'|', true),
            ("\"desktop,id\";user;type", b';', true),
            ("\"de\nsktop\";user", b';', true),
            ("user\nalice", b',', true),
            ("user", b',', true),
            ("", b',', true),
            ("a,user;b", b',', true),
            ("user,x;desktop", b',', false),
        ] {
            assert_eq!(detect(header.as_bytes()), (delimiter, is_sure), "{header:?}");
        }
    }

    #[test]
    fn the_line_that_tells_excel_the_delimiter_is_known_by_its_form_alone() {
        for (text, found) in [
            ("sep=;\ndesktop;user\n", Some((b';', 6))),
            ("SEP=,\r\ndesktop,user\r\n", Some((b',', 7))),
            ("\"sep=|\"\rdesktop|user\r", Some((b'|', 8))),
            ("sep=\t\ndesktop\tuser\n", Some((b'\t', 6))),
            ("sep=;", Some((b';', 5))),
            ("sep=\nuser\n", None),
            ("sep=a\nuser\n", None),
            ("sep=;;\nuser\n", None),
            ("sep=\"\nuser\n", None),
            ("sep;user\n", None),
            ("", None),
        ] {
            assert_eq!(announced(text.as_bytes()), found, "{text:?}");
        }
    }

    #[test]
    fn line_ends_of_all_three_kinds_count_once() {
        assert_eq!(line_ends(b"a\nb\rc\r\nd\n\re"), 5);
        assert_eq!(line_ends(b""), 0);
    }
}
