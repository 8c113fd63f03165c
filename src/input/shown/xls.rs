//! `.xls`: the records of the binary format that say what rows and cells look like.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek};

use super::format::{built_in, shows_number, shows_text};
use super::{ShownRow, put};
use crate::input::record::Mark;

const BOUND_SHEET: u16 = 0x85;
const FORMAT: u16 = 0x41E;
const EXTENDED_FORMAT: u16 = 0xE0;
const ROW: u16 = 0x208;
const FORMULA: u16 = 0x06;
const NUMBER: u16 = 0x203;
const RK: u16 = 0x27E;
const MANY_RK: u16 = 0xBD;
const SHARED_TEXT: u16 = 0xFD;
const LABEL: u16 = 0x204;
const BEGIN: u16 = 0x809;
const END: u16 = 0x0A;
const DIMENSIONS: u16 = 0x200;

/// Rows and columns that a sheet has at most.
const MOST: (u32, u32) = (65_536, 256);

pub(super) fn read(bytes: impl Read + Seek, sheet: usize) -> Result<Vec<ShownRow>, String> {
    let stream = stream(bytes)?;
    let (starts, styles) = globals(&stream);
    let start = *starts.get(sheet).ok_or("the sheet is missing")?;
    Ok(rows(stream.get(start..).unwrap_or_default(), &styles))
}

/// Whether each sheet claims a size that one can have: the reader of the cells makes room for what is claimed, and no
/// machine has room for what a damaged byte may say.
pub(super) fn is_sized(bytes: impl Read + Seek) -> Result<bool, String> {
    let stream = stream(bytes)?;
    let (starts, _) = globals(&stream);
    Ok(starts.iter().all(|start| {
        let sizes = of_sheet(stream.get(*start..).unwrap_or_default()).filter(|(kind, _, _)| *kind == DIMENSIONS);
        sizes
            .filter_map(|(_, body, _)| size(body))
            .all(|(first, last, right)| last == 0 || right == 0 || first < last && last <= MOST.0 && right <= MOST.1)
    }))
}

/// First row, last row and last column of a sheet, the last two counted from 1.
fn size(body: &[u8]) -> Option<(u32, u32, u32)> {
    Some(match body.len() {
        10 => (short(body, 0)?.into(), short(body, 2)?.into(), short(body, 6)?.into()),
        _ => (long(body, 0)?, long(body, 4)?, short(body, 10)?.into()),
    })
}

fn stream(bytes: impl Read + Seek) -> Result<Vec<u8>, String> {
    let mut file = cfb::CompoundFile::open(bytes).map_err(|error| error.to_string())?;
    let mut stream = Vec::new();
    let name = ["/Workbook", "/Book"].into_iter().find(|name| file.exists(name)).ok_or("no stream Workbook")?;
    let mut book = file.open_stream(name).map_err(|error| error.to_string())?;
    book.read_to_end(&mut stream).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// The records of a sheet, each with its kind, and whether it stands in the sheet itself: not in a chart there.
fn of_sheet(sheet: &[u8]) -> impl Iterator<Item = (u16, &[u8], bool)> {
    let mut depth = 0_u32;
    records(sheet).map_while(move |(kind, body)| {
        match kind {
            BEGIN => depth += 1,
            END if depth <= 1 => return None,
            END => depth -= 1,
            _ => {}
        }
        Some((kind, body, depth == 1))
    })
}

/// The records from here on, each with its kind.
fn records(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(4)?;
        let (kind, len) = (short(head, 0)?, usize::from(short(head, 2)?));
        let (body, next) = after.split_at_checked(len)?;
        rest = next;
        Some((kind, body))
    })
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn float(bytes: &[u8], at: usize) -> Option<f64> {
    Some(f64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Where each sheet starts, and the pattern of each style.
fn globals(stream: &[u8]) -> (Vec<usize>, Vec<Option<String>>) {
    let (mut starts, mut own, mut styles) = (Vec::new(), HashMap::new(), Vec::new());
    for (kind, body) in records(stream) {
        match kind {
            BOUND_SHEET => starts.extend(long(body, 0).and_then(|at| usize::try_from(at).ok())),
            FORMAT => {
                if let Some(id) = short(body, 0) {
                    own.insert(id, pattern(body.get(2..).unwrap_or_default()));
                }
            }
            EXTENDED_FORMAT => styles.push(short(body, 2).unwrap_or_default()),
            END => break,
            _ => {}
        }
    }
    let of = |id: &u16| own.get(id).cloned().or_else(|| built_in(u32::from(*id)).map(str::to_owned));
    (starts, styles.iter().map(of).collect())
}

/// A text with its length before it, of one or two bytes a character.
fn pattern(body: &[u8]) -> String {
    match (short(body, 0), body.get(2)) {
        (Some(len), Some(1)) => {
            let units = body.get(3..).unwrap_or_default().chunks_exact(2).take(usize::from(len));
            let units: Vec<u16> = units.filter_map(|unit| short(unit, 0)).collect();
            String::from_utf16_lossy(&units)
        }
        (Some(len), Some(0)) => {
            body.get(3..).unwrap_or_default().iter().take(usize::from(len)).copied().map(char::from).collect()
        }
        // Of Excel 95: the length is one byte.
        _ => body.get(1..).unwrap_or_default().iter().copied().map(char::from).collect(),
    }
}

/// A number in 30 bits, perhaps times 100.
fn small(rk: u32) -> f64 {
    let number = if rk & 2 == 0 {
        f64::from_bits(u64::from(rk & !3) << 32)
    } else {
        f64::from(i32::from_le_bytes(rk.to_le_bytes()) >> 2)
    };
    if rk & 1 == 0 { number } else { number / 100.0 }
}

fn rows(sheet: &[u8], styles: &[Option<String>]) -> Vec<ShownRow> {
    let mut rows: BTreeMap<u32, ShownRow> = BTreeMap::new();
    for (kind, body, _) in of_sheet(sheet).filter(|(_, _, is_own)| *is_own) {
        _ = one(kind, body, styles, &mut rows);
    }
    rows.into_values().collect()
}

fn one(kind: u16, body: &[u8], styles: &[Option<String>], rows: &mut BTreeMap<u32, ShownRow>) -> Option<()> {
    let row = u32::from(short(body, 0)?);
    let at = || usize::from(short(body, 2).unwrap_or_default());
    let style = |index: u16| styles.get(usize::from(index)).cloned().unwrap_or_else(|| Some("General".to_owned()));
    let number = |index: u16, number: f64| {
        let is_same = style(index).is_some_and(|pattern| shows_number(&pattern, number));
        (!is_same).then_some(Mark::ShownOtherwise)
    };
    let mut marks = Vec::new();
    let mut is_hidden = false;
    match kind {
        ROW => {
            // The highest bit says something else.
            let is_flat = short(body, 6)? << 1 == 0;
            is_hidden = is_flat || body.get(12)? & 0x20 != 0;
        }
        NUMBER => marks.push((at(), number(short(body, 4)?, float(body, 6)?))),
        RK => marks.push((at(), number(short(body, 4)?, small(long(body, 6)?)))),
        MANY_RK => {
            let cells = body.get(4..body.len().checked_sub(2)?)?.chunks_exact(6);
            for (next, cell) in cells.enumerate() {
                marks.push((at() + next, number(short(cell, 0)?, small(long(cell, 2)?))));
            }
        }
        SHARED_TEXT | LABEL => {
            let is_same = style(short(body, 4)?).is_none_or(|pattern| shows_text(&pattern));
            marks.push((at(), (!is_same).then_some(Mark::ShownOtherwise)));
        }
        FORMULA => {
            let mark = match (short(body, 12)?, body.get(6)?) {
                // An empty text: what a formula gave, or what a program wrote that computes none.
                (0xFFFF, 3) => Some(Mark::NotComputed),
                (0xFFFF, _) => None,
                _ => number(short(body, 4)?, float(body, 6)?),
            };
            marks.push((at(), mark));
        }
        _ => return None,
    }
    let known = rows.entry(row).or_insert_with(|| ShownRow { first: row, last: row, is_hidden: false, marks: vec![] });
    known.is_hidden |= is_hidden;
    marks.into_iter().filter_map(|(column, mark)| Some((column, mark?))).for_each(|(column, mark)| {
        put(&mut known.marks, column, mark);
    });
    Some(())
}
