//! Where the input comes from: a file, standard input, bytes; and which of the readers takes it.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use encoding_rs::UTF_8;
use tempfile::SpooledTempFile;

use super::encoding::{self, Block, Reading, TextBlocks};
use super::fast::delimited;
use super::fast::handover::{self, Sending};
use super::options::ReadOptions;
use super::record::{Bytes, Trouble};
use super::row::{Checked, Collected, Rows};
use super::{RowFault, Table, kind, sheet, twice};
use crate::error::Error;
use crate::model::Doubt;
use crate::text::escape_untrusted;

/// Bytes of delimited text that are read: twice what [`MAX_ROWS`] usual rows need, and few enough that lines and
/// places fit 32 bits.
const MAX_INPUT: u64 = 2 << 30;
/// Bytes of a stream that are kept in memory; more goes to a nameless temporary file.
const MAX_IN_MEMORY: usize = 16 << 20;

/// Where the input comes from.
pub enum Source {
    Path(PathBuf),
    /// Bytes that are in memory anyway.
    Bytes {
        name: String,
        bytes: Vec<u8>,
    },
    /// A pipe, such as standard input. It may have to be read twice, so much of it goes through a temporary file.
    Stream {
        name: String,
        reader: Box<dyn Read + Send>,
    },
}

/// An input that was read to its end.
#[derive(Debug)]
pub struct Input {
    /// As shown in messages: control and bidirectional characters escaped.
    pub name: String,
    /// SHA-256 of the raw bytes, hex.
    pub sha256: String,
    pub table: Table,
    /// Every fault of every row in the table, in the order of the rows.
    pub faults: Vec<RowFault>,
    /// Rows that are not due yet (see [`Due`](super::Due)), rising; none of them has a fault.
    pub not_due: Vec<u32>,
    /// Rows whose user's cell may not hold what was meant, rising, each once: worth a word where nobody is found by it.
    pub doubts: Vec<(u32, Doubt)>,
    /// What the plan should tell about the file: guesses, oddities, signs of a cut-off copy. No user names.
    pub notes: Vec<String>,
    /// Whether results of it start with a byte order mark: it had one, or was not UTF-8 text at all.
    pub had_bom_or_not_utf8: bool,
}

/// Reads the whole input: all its rows, and every fault of every row.
///
/// # Errors
/// [`Error::File`] where it cannot be read; [`Error::Input`] where it is not a table that a run could be made of.
/// Faults of rows are no error here.
pub fn read(source: Source, options: &ReadOptions) -> Result<Input, Error> {
    let path = match &source {
        Source::Path(path) => path.clone(),
        Source::Bytes { name, .. } | Source::Stream { name, .. } => PathBuf::from(name),
    };
    let name = escape_untrusted(&path.display().to_string(), 1_000);
    let read = open(source).and_then(|mut bytes| read_bytes(&mut *bytes, &path, &name, options));
    read.map_err(|trouble| match trouble {
        Trouble::Problem(problem) => Error::Input { path: name, problem },
        Trouble::Undecodable(line) => Error::Input { path: name, problem: format!("line {line}: undecodable bytes") },
        Trouble::Io(source) => Error::File { verb: "read", path, source },
    })
}

fn open(source: Source) -> Result<Box<dyn Bytes>, Trouble> {
    match source {
        Source::Bytes { bytes, .. } => Ok(Box::new(Cursor::new(bytes))),
        Source::Stream { reader, .. } => spool(reader),
        Source::Path(path) => {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
            }
            if !metadata.is_file() {
                return spool(Box::new(file)); // a named pipe cannot be read twice
            }
            if metadata.len() > MAX_INPUT { Err(too_large().into()) } else { Ok(Box::new(file)) }
        }
    }
}

fn spool(reader: Box<dyn Read>) -> Result<Box<dyn Bytes>, Trouble> {
    let mut spooled = SpooledTempFile::new(MAX_IN_MEMORY);
    let copied = io::copy(&mut reader.take(MAX_INPUT + 1), &mut spooled)?;
    if copied > MAX_INPUT { Err(too_large().into()) } else { Ok(Box::new(spooled)) }
}

fn too_large() -> String {
    "larger than 2 GiB; split the file".to_owned()
}

fn read_bytes(
    bytes: &mut dyn Bytes,
    path: &std::path::Path,
    name: &str,
    options: &ReadOptions,
) -> Result<Input, Trouble> {
    let mut head = Vec::new();
    bytes.rewind()?;
    (&mut *bytes).take(8 * 1024).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err("the file is empty; it needs a header line and at least one row".to_owned().into());
    }
    if let Some(problem) = kind::refuse(&head, path) {
        return Err(problem.into());
    }
    if let Some(kind) = sheet::Kind::of(&head, path.extension())? {
        let (sha256, collected) = sheet::read(bytes, kind, options)?;
        return Ok(collected.into_input(name, sha256, true));
    }
    if let Some(delimiter) = options.delimiter
        && (!delimiter.is_ascii() || matches!(delimiter, 0 | b'"' | b'\r' | b'\n'))
    {
        let problem = "setting `delimiter`: must be one ASCII character, and no quote or line end; use , ; tab or |";
        return Err(problem.to_owned().into());
    }
    let mut reading = encoding::detect(&head, options.encoding.as_deref())?;
    let (sha256, collected) = loop {
        bytes.rewind()?;
        match read_text(bytes, reading, options) {
            Err(Trouble::Undecodable(line)) if reading.certain => return Err(undecodable(line, reading).into()),
            Err(Trouble::Undecodable(line)) => {
                bytes.rewind()?;
                reading = encoding::guess(&mut *bytes)?.map_err(|looks_like| {
                    format!(
                        "line {line}: bytes that are not UTF-8 and not surely GB18030 (they look like {looks_like}); \
                         save the file as UTF-8, or name its encoding with --encoding"
                    )
                })?;
            }
            other => break other?,
        }
    };
    let had_bom_or_not_utf8 = reading.bom > 0 || reading.encoding != UTF_8;
    Ok(collected.into_input(name, sha256, had_bom_or_not_utf8))
}

impl Collected {
    fn into_input(self, name: &str, sha256: String, had_bom_or_not_utf8: bool) -> Input {
        let Self { table, mut faults, not_due, doubts, notes } = self;
        twice::find(&table, &not_due, &mut faults);
        Input { name: name.to_owned(), sha256, table, faults, not_due, doubts, notes, had_bom_or_not_utf8 }
    }
}

fn undecodable(line: u64, reading: Reading) -> String {
    format!(
        "line {line}: bytes that mean nothing in {}; correct the line, or name the file's encoding with --encoding",
        reading.encoding.name()
    )
}

/// One pass over delimited text: one thread reads, decodes and hashes it, one splits it into rows and checks them, this
/// one keeps them.
fn read_text(bytes: &mut dyn Bytes, reading: Reading, options: &ReadOptions) -> Result<(String, Collected), Trouble> {
    let mut table = Table::default();
    let (kept, rows, sha256) = std::thread::scope(|scope| {
        let (full, blocks) = sync_channel(BLOCKS_AHEAD);
        let (back, used) = channel();
        let text = scope.spawn(move || read_blocks(bytes, reading, &full, &used));
        let (sending, receiving) = handover::line(&table);
        let rows = Rows::new(options, false, sending);
        let rows = scope.spawn(move || split(blocks, &back, reading, options, rows));
        let kept = receiving.hand_to(&mut table);
        (
            kept,
            rows.join().unwrap_or_else(|panic| resume_unwind(panic)),
            text.join().unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    // Of two troubles the one on the earlier line.
    kept?;
    let Text { delimiter, checked, mut notes } = rows?;
    let mut collected = checked.complete(table);
    collected.table.describe(reading.encoding.name().to_owned(), delimiter, None);
    notes.append(&mut collected.notes);
    Ok((sha256, Collected { notes, ..collected }))
}

/// Blocks of text that may wait to be split.
const BLOCKS_AHEAD: usize = 32;

/// Reads the text to its end, for as long as somebody wants it. Its SHA-256, hex, if it came to the end.
fn read_blocks(
    bytes: &mut dyn Bytes,
    reading: Reading,
    full: &SyncSender<Result<Block, Trouble>>,
    used: &Receiver<String>,
) -> String {
    // The limit holds while reading, too: the file may grow.
    let mut blocks = match TextBlocks::new(bytes.take(MAX_INPUT + 1), reading) {
        Ok(blocks) => blocks,
        Err(error) => {
            _ = full.send(Err(error.into()));
            return String::new();
        }
    };
    loop {
        let block = match blocks.next(used.try_recv().unwrap_or_default()) {
            Ok(Block::End) if blocks.bytes_read() > MAX_INPUT => Err(too_large().into()),
            block => block.map_err(Trouble::from),
        };
        let is_last = !matches!(block, Ok(Block::Text(_)));
        if full.send(block).is_err() || is_last {
            return blocks.sha256();
        }
    }
}

/// What is known of a text at its end.
struct Text {
    delimiter: Option<u8>,
    checked: Checked,
    notes: Vec<String>,
}

/// Splits blocks into records and hands them on as rows.
fn split(
    blocks: Receiver<Result<Block, Trouble>>,
    back: &Sender<String>,
    reading: Reading,
    options: &ReadOptions,
    mut rows: Rows<'_, Sending>,
) -> Result<Text, Trouble> {
    let mut delimiter = options.delimiter;
    let mut notes: Vec<String> = reading.note.map(str::to_owned).into_iter().collect();
    let mut records: Option<delimited::Records> = None;
    for block in blocks {
        let block = match block? {
            Block::Text(text) => text,
            Block::Undecodable => return Err(Trouble::Undecodable(records.map_or(1, |records| records.here()))),
            Block::End => break,
        };
        let mut text = block.as_str();
        let records = records.get_or_insert_with(|| {
            // A second mark, or one that only its encoding shows: before a quote it would make the quote text.
            text = text.trim_start_matches('\u{feff}');
            let mut line = 1;
            if let Some(wanted) = options.header_row {
                let (after, skipped) = delimited::skip_lines(text, u64::from(wanted) - 1);
                (text, line) = (after, 1 + skipped);
            } else if text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("#type")) {
                // PowerShell's, which says what kind of object the rows were made from.
                let (after, skipped) = delimited::skip_lines(text, 1);
                (text, line) = (after, 1 + skipped);
            }
            let announced = delimited::announced(text.as_bytes());
            // What the user says goes above what the file says, and that above what it looks like.
            let (found, is_sure) =
                announced.map_or_else(|| delimited::detect(text.as_bytes()), |(found, _)| (found, true));
            text = text.get(announced.map_or(0, |(_, length)| length)..).unwrap_or_default();
            let found = *delimiter.get_or_insert_with(|| {
                if !is_sure {
                    notes.push(format!(
                        "the delimiter {} was guessed, and another one would fit as well: check the columns in the plan, \
                         or say it with --delimiter",
                        show(found)
                    ));
                }
                found
            });
            delimited::Records::new(found).starting_on(line + u64::from(announced.is_some()))
        });
        records.feed(text, &mut rows)?;
        _ = back.send(block);
    }
    if let Some(mut records) = records {
        records.finish(&mut rows)?;
        if records.is_cut() && rows.has_header() {
            notes.push("the last line has no newline: a cut-off copy looks like this".to_owned());
        }
    }
    if options.sheet.is_some() {
        notes.push("the setting `sheet` says nothing here: this is no workbook".to_owned());
    }
    // Dropped here, the sending end tells the other thread that all rows are there.
    let (checked, _) = rows.finish()?;
    Ok(Text { delimiter, checked, notes })
}

fn show(delimiter: u8) -> String {
    if delimiter == b'\t' { "tab".to_owned() } else { format!("`{}`", char::from(delimiter)) }
}
