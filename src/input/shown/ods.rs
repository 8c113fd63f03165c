//! `.ods`: what rows say, and the text that each cell shows, which the file keeps beside its value.

use std::collections::HashSet;
use std::io::{BufReader, Read, Seek};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

use super::{ShownRow, attribute, local, put};
use crate::input::record::{MAX_COLUMNS, Mark, show_number};

#[derive(Default)]
struct Cell {
    column: usize,
    repeats: usize,
    is_covered: bool,
    has_formula: bool,
    kind: Option<String>,
    value: Option<String>,
    text: Option<String>,
}

impl Cell {
    fn new(element: &BytesStart<'_>, column: usize, is_covered: bool) -> Self {
        let value = attribute(element, "value").or_else(|| attribute(element, "boolean-value"));
        Self {
            column,
            repeats: count(element, "number-columns-repeated").min(u32::from(u16::MAX)).try_into().unwrap_or(1),
            is_covered,
            has_formula: attribute(element, "formula").is_some(),
            kind: attribute(element, "value-type"),
            value,
            text: None,
        }
    }

    fn mark(&self) -> Option<Mark> {
        if self.is_covered {
            return Some(Mark::Covered);
        }
        if self.has_formula && self.value.is_none() && self.text.is_none() {
            let is_stored = matches!(self.kind.as_deref(), Some("string" | "date" | "time"));
            return (!is_stored).then_some(Mark::NotComputed);
        }
        let (value, text) = (self.value.as_deref()?, self.text.as_deref()?.trim());
        let is_same = match self.kind.as_deref() {
            Some("float" | "percentage" | "currency") => {
                value.parse().is_ok_and(|number: f64| show_number(number).0 == text)
            }
            Some("boolean") => value.eq_ignore_ascii_case(text),
            _ => true,
        };
        (!is_same).then_some(Mark::ShownOtherwise)
    }
}

fn count(element: &BytesStart<'_>, name: &str) -> u32 {
    attribute(element, name).and_then(|count| count.parse().ok()).unwrap_or(1).max(1)
}

/// Whether a length such as `0cm` is none.
fn is_nothing(length: &str) -> bool {
    let number: String = length.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    number.parse::<f64>().is_ok_and(|number| number == 0.0)
}

pub(super) fn read(bytes: impl Read + Seek, sheet: &str) -> Result<Vec<ShownRow>, String> {
    let mut archive = ZipArchive::new(bytes).map_err(|error| error.to_string())?;
    let part = archive.by_name("content.xml").map_err(|error| error.to_string())?;
    let mut reader = Reader::from_reader(BufReader::new(part));
    reader.config_mut().expand_empty_elements = true;
    let mut buffer = Vec::new();
    let mut flat: HashSet<String> = HashSet::new();
    let mut row_style = None;
    // How deep in tables: one inside a cell is a picture's data, not the sheet.
    let (mut tables, mut in_sheet, mut notes, mut hidden_groups) = (0_u32, false, 0_u32, Vec::new());
    let (mut rows, mut at, mut column): (Vec<ShownRow>, u32, usize) = (Vec::new(), 0, 0);
    let mut row = ShownRow { first: 0, last: 0, is_hidden: false, marks: Vec::new() };
    let mut cell: Option<Cell> = None;
    let mut paragraphs = 0_u32;
    loop {
        let event = reader.read_event_into(&mut buffer).map_err(|error| error.to_string())?;
        match &event {
            Event::Start(element) => match local(element.name().as_ref()) {
                "style" => row_style = attribute(element, "name"),
                "table-row-properties"
                    if attribute(element, "row-height").is_some_and(|height| is_nothing(&height)) =>
                {
                    flat.extend(row_style.take());
                }
                "table" => {
                    tables += 1;
                    if tables == 1 {
                        in_sheet = attribute(element, "name").as_deref() == Some(sheet);
                        (at, rows) = if in_sheet { (0, Vec::new()) } else { (at, rows) };
                    }
                }
                "annotation" => notes += 1,
                _ if !in_sheet || tables != 1 || notes > 0 => {}
                "table-row-group" => {
                    hidden_groups.push(attribute(element, "display").is_some_and(|display| display == "false"));
                }
                "table-row" => {
                    let is_hidden = attribute(element, "visibility").is_some_and(|shown| shown != "visible")
                        || attribute(element, "style-name").is_some_and(|style| flat.contains(&style))
                        || hidden_groups.contains(&true);
                    let last = at.saturating_add(count(element, "number-rows-repeated") - 1);
                    row = ShownRow { first: at, last, is_hidden, marks: Vec::new() };
                    (at, column) = (last.saturating_add(1), 0);
                }
                name @ ("table-cell" | "covered-table-cell") => {
                    cell = Some(Cell::new(element, column, name == "covered-table-cell"));
                }
                "p" => {
                    paragraphs += 1;
                    if let Some(cell) = &mut cell {
                        cell.text.get_or_insert_default();
                    }
                }
                _ => {}
            },
            Event::Text(text) if in_sheet && tables == 1 && notes == 0 && paragraphs > 0 => {
                if let Some(cell) = &mut cell {
                    cell.text.get_or_insert_default().push_str(text);
                }
            }
            Event::GeneralRef(_) if in_sheet && notes == 0 && paragraphs > 0 => {
                if let Some(cell) = &mut cell {
                    cell.text.get_or_insert_default().push('&');
                }
            }
            Event::End(element) => match local(element.name().as_ref()) {
                "table" => {
                    tables = tables.saturating_sub(1);
                    if tables == 0 && in_sheet {
                        return Ok(rows);
                    }
                }
                "annotation" => notes = notes.saturating_sub(1),
                _ if !in_sheet || tables != 1 || notes > 0 => {}
                "table-row-group" => _ = hidden_groups.pop(),
                "table-row" if row.is_hidden || !row.marks.is_empty() => rows.push(row.clone()),
                "p" => paragraphs = paragraphs.saturating_sub(1),
                "table-cell" | "covered-table-cell" => {
                    if let Some(cell) = cell.take() {
                        if let Some(mark) = cell.mark() {
                            let end = cell.column.saturating_add(cell.repeats).min(MAX_COLUMNS);
                            (cell.column..end).for_each(|column| put(&mut row.marks, column, mark));
                        }
                        column = cell.column.saturating_add(cell.repeats);
                    }
                }
                _ => {}
            },
            Event::Eof => return Ok(rows),
            _ => {}
        }
        buffer.clear();
    }
}
