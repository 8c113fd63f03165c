//! Compact texts and bytes for what the journal holds by the million.

use serde::{Deserialize, Serialize};

use crate::model::{DesktopId, Outcome, Refusal};

use super::record::{AnswerKind, AnswerRecord, AttemptId, EntryRef, Fate, Item, ItemId, RowOutcome, Slot, SlotNo};

/// What was read is not what this program writes; the text says which part.
pub(super) type Malformed = String;

/// `0-3,7`: runs of slots, in their order.
pub(super) fn write_slots(slots: &[SlotNo], out: &mut String) {
    use std::fmt::Write as _;
    let mut rest = slots;
    while let Some(first) = rest.first() {
        let run = rest.windows(2).take_while(|pair| pair[0].checked_add(1) == Some(pair[1])).count();
        let comma = if rest.len() == slots.len() { "" } else { "," };
        _ = match run {
            0 => write!(out, "{comma}{first}"),
            _ => write!(out, "{comma}{first}-{}", rest[run]),
        };
        rest = &rest[run + 1..];
    }
}

pub(super) fn read_slots(text: &str) -> Result<Vec<SlotNo>, Malformed> {
    let number = |text: &str| text.parse::<SlotNo>().map_err(|_| format!("slots {text:?}"));
    let mut slots = Vec::new();
    for run in text.split(',').filter(|run| !run.is_empty()) {
        match run.split_once('-') {
            Some((first, last)) => slots.extend(number(first)?..=number(last)?),
            None => slots.push(number(run)?),
        }
    }
    Ok(slots)
}

/// `17:0-3;18:0`: what a request carries.
pub(super) fn write_carries(carries: &[(ItemId, Vec<SlotNo>)]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(carries.len() * 8);
    for (n, (item, slots)) in carries.iter().enumerate() {
        _ = write!(out, "{}{item}:", if n == 0 { "" } else { ";" });
        write_slots(slots, &mut out);
    }
    out
}

pub(super) fn read_carries(text: &str) -> Result<Vec<(ItemId, Vec<SlotNo>)>, Malformed> {
    let one = |part: &str| {
        let (item, slots) = part.split_once(':')?;
        Some((item.parse().ok()?, read_slots(slots).ok()?))
    };
    text.split(';')
        .filter(|part| !part.is_empty())
        .map(|part| one(part).ok_or_else(|| format!("request contents {part:?}")))
        .collect()
}

/// An item without its id, which is the row's own.
#[derive(Serialize, Deserialize)]
struct ItemBody(u32, DesktopId, String, u8, Vec<SlotBody>);

#[derive(Serialize, Deserialize)]
struct SlotBody(crate::model::Kind, String, Option<String>, Option<String>, Option<String>, u32, u8, Option<String>);

const POOLED: u8 = 1;
const ALL: u8 = 2;
const SEEN: u8 = 4;
const SHARED: u8 = 8;

const SLOT_SEEN: u8 = 1;
const SLOT_HAS_NAMESAKE: u8 = 2;

const fn flag(is: bool, bit: u8) -> u8 {
    if is { bit } else { 0 }
}

pub(super) fn write_item(item: &Item) -> Result<String, Malformed> {
    #[derive(Serialize)]
    struct Body<'a>(u32, &'a str, &'a str, u8, Slots<'a>);
    struct Slots<'a>(&'a [Slot]);
    impl Serialize for Slots<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.0.iter().map(|slot| {
                let Slot { kind, user_name, user_id, user_group, sent_group, domain, rows, seen, has_namesake } = slot;
                let flags = flag(*seen, SLOT_SEEN) | flag(*has_namesake, SLOT_HAS_NAMESAKE);
                (kind, user_name, user_id, user_group, domain, rows, flags, sent_group)
            }))
        }
    }
    let flags = flag(item.pooled, POOLED) | flag(item.all, ALL) | flag(item.seen, SEEN) | flag(item.shared, SHARED);
    serde_json::to_string(&Body(item.chunk, item.desktop.as_str(), &item.desktop_name, flags, Slots(&item.slots)))
        .map_err(|error| format!("item {}: {error}", item.id))
}

pub(super) fn read_item(id: ItemId, text: &str) -> Result<Item, Malformed> {
    let ItemBody(chunk, desktop, desktop_name, flags, slots) =
        serde_json::from_str(text).map_err(|error| format!("item {id}: {error}"))?;
    let slots =
        slots.into_iter().map(|SlotBody(kind, user_name, user_id, user_group, domain, rows, flags, sent_group)| Slot {
            kind,
            user_name,
            user_id,
            user_group,
            sent_group,
            domain,
            rows,
            seen: flags & SLOT_SEEN != 0,
            has_namesake: flags & SLOT_HAS_NAMESAKE != 0,
        });
    Ok(Item {
        id,
        chunk,
        desktop,
        desktop_name,
        pooled: flags & POOLED != 0,
        all: flags & ALL != 0,
        slots: slots.collect(),
        seen: flags & SEEN != 0,
        shared: flags & SHARED != 0,
    })
}

/// `1,1,2`: how many rows each slot of an item stands for. Its body says so, too, but is longer to read.
pub(super) fn write_rows(item: &Item) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(item.slots.len() * 2);
    for (n, slot) in item.slots.iter().enumerate() {
        _ = write!(out, "{}{}", if n == 0 { "" } else { "," }, slot.rows);
    }
    out
}

pub(super) fn read_rows(id: ItemId, text: &str) -> Result<Box<[u32]>, Malformed> {
    let numbers = text.split(',').filter(|number| !number.is_empty()).map(str::parse);
    numbers.collect::<Result<_, _>>().map_err(|_| format!("rows of item {id}: {text:?}"))
}

/// Without item and slots: several have the same outcome.
pub(super) fn write_outcome(result: &RowOutcome) -> Result<String, Malformed> {
    let RowOutcome { outcome, code, message, job_id, attempts, request_id, part, finished_at, evidence, recheck } =
        result;
    let recheck = u8::from(*recheck);
    let body = (outcome, code, message, job_id, attempts, request_id, part, finished_at, evidence, recheck);
    serde_json::to_string(&body).map_err(|error| format!("an outcome: {error}"))
}

pub(super) fn read_outcome(text: &str) -> Result<RowOutcome, Malformed> {
    type Body = (Outcome, String, String, String, u32, String, String, String, String, u8);
    let body: Body = serde_json::from_str(text).map_err(|error| format!("an outcome: {error}"))?;
    let (outcome, code, message, job_id, attempts, request_id, part, finished_at, evidence, recheck) = body;
    let recheck = recheck != 0;
    Ok(RowOutcome { outcome, code, message, job_id, attempts, request_id, part, finished_at, evidence, recheck })
}

#[derive(Serialize, Deserialize)]
struct AnswerBody {
    status: Option<u16>,
    code: String,
    message: String,
    request_id: String,
    job_id: String,
    refused: Vec<(ItemId, Refusal)>,
    at: String,
    took_ms: u64,
}

/// Without attempt and kind, which are columns.
pub(super) fn write_answer(answer: AnswerRecord) -> Result<String, Malformed> {
    let AnswerRecord { attempt, kind: _, status, code, message, request_id, job_id, refused, at, took_ms } = answer;
    let body = AnswerBody { status, code, message, request_id, job_id, refused, at, took_ms };
    serde_json::to_string(&body).map_err(|error| format!("answer to attempt {attempt}: {error}"))
}

pub(super) fn read_answer(attempt: AttemptId, kind: &str, text: &str) -> Result<AnswerRecord, Malformed> {
    let kind = AnswerKind::parse(kind).ok_or_else(|| format!("answer to attempt {attempt}: kind {kind:?}"))?;
    let body = serde_json::from_str(text).map_err(|error| format!("answer to attempt {attempt}: {error}"))?;
    let AnswerBody { status, code, message, request_id, job_id, refused, at, took_ms } = body;
    Ok(AnswerRecord { attempt, kind, status, code, message, request_id, job_id, refused, at, took_ms })
}

/// Appends one cell: its length (LEB128), its bytes.
fn put(cell: &str, out: &mut Vec<u8>) {
    put_number(cell.len() as u64, out);
    out.extend_from_slice(cell.as_bytes());
}

fn put_number(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends one entry to a block.
pub(super) fn write_entry(entry: &EntryRef<'_>, out: &mut Vec<u8>) {
    put_number(entry.line, out);
    for cell in entry.cells {
        put(cell, out);
    }
    match entry.fate {
        Fate::Send { item, slot } => {
            put_number(u64::from(*item), out);
            put_number(u64::from(*slot), out);
        }
        // Items are numbered from 1.
        Fate::Fixed { outcome, code, message } => {
            put_number(0, out);
            put(outcome.as_str(), out);
            put(code, out);
            put(message, out);
        }
    }
    for extra in entry.extras {
        put(extra, out);
    }
}

/// One entry, borrowed from its block; the extras are in the caller's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockEntry<'a> {
    pub(super) line: u64,
    pub(super) cells: [&'a str; 7],
    pub(super) fate: Fate<'a>,
}

/// Walks over a block of entries.
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    extras: usize,
}

impl<'a> Entries<'a> {
    /// `extras`: how many cells follow the fate of each entry.
    pub(super) fn new(block: &'a [u8], extras: usize) -> Self {
        Self { rest: block, extras }
    }

    /// The next entry, its extras put into `extras`; `None` at the block's end.
    pub(super) fn next(&mut self, extras: &mut Vec<&'a str>) -> Result<Option<BlockEntry<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.entry(extras).map(Some).ok_or_else(|| "a block of rows".to_owned())
    }

    fn entry(&mut self, extras: &mut Vec<&'a str>) -> Option<BlockEntry<'a>> {
        let line = self.number()?;
        let mut cells = [""; 7];
        for cell in &mut cells {
            *cell = self.cell()?;
        }
        let fate = match self.number()? {
            0 => Fate::Fixed {
                outcome: Outcome::parse(self.cell()?)?,
                code: self.cell()?.into(),
                message: self.cell()?.into(),
            },
            item => Fate::Send { item: item.try_into().ok()?, slot: self.number()?.try_into().ok()? },
        };
        extras.clear();
        for _ in 0..self.extras {
            extras.push(self.cell()?);
        }
        Some(BlockEntry { line, cells, fate })
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn cell(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (cell, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(cell).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_read_back_as_written(slots in prop::collection::vec(any::<SlotNo>(), 0..20)) {
            let mut text = String::new();
            write_slots(&slots, &mut text);
            prop_assert_eq!(read_slots(&text), Ok(slots));
        }

        #[test]
        fn a_block_of_rows_reads_back_as_written(
            line in any::<u64>(), cells in any::<[String; 7]>(), extras in prop::collection::vec(any::<String>(), 0..3),
            item in 0..3_u32, slot in any::<SlotNo>(),
        ) {
            let fate = match item {
                0 => Fate::Fixed { outcome: Outcome::Invalid, code: cells[0].clone().into(), message: cells[1].clone().into() },
                item => Fate::Send { item, slot },
            };
            let borrowed: Vec<&str> = extras.iter().map(String::as_str).collect();
            let cells = cells.each_ref().map(String::as_str);
            let mut block = Vec::new();
            for _ in 0..2 {
                write_entry(&EntryRef { line, cells, extras: &borrowed, fate: &fate }, &mut block);
            }
            let (mut entries, mut read) = (Entries::new(&block, extras.len()), Vec::new());
            for _ in 0..2 {
                let entry = entries.next(&mut read).unwrap().unwrap();
                prop_assert_eq!((entry.line, entry.cells), (line, cells));
                prop_assert_eq!(&read, &borrowed);
            }
            prop_assert_eq!(entries.next(&mut read), Ok(None));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
            let (mut entries, mut extras) = (Entries::new(&bytes, 1), Vec::new());
            while let Ok(Some(_)) = entries.next(&mut extras) {}
            _ = (read_slots(&text), read_carries(&text), read_item(1, &text), read_rows(1, &text), read_outcome(&text));
        }
    }

    #[test]
    fn runs_of_slots_are_short() {
        let mut text = String::new();
        write_slots(&[0, 1, 2, 7, 65_535, 0], &mut text);
        assert_eq!(text, "0-2,7,65535,0");
        assert_eq!(write_carries(&[(17, vec![0, 1]), (18, vec![])]), "17:0-1;18:");
        assert_eq!(read_carries("17:0-1;18:"), Ok(vec![(17, vec![0, 1]), (18, vec![])]));
    }
}
