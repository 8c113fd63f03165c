//! `.xlsx`: what rows, formulas and styles say.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Seek};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

use super::format::{built_in, shows_number, shows_text};
use super::{ShownRow, attribute, local, place, put};
use crate::input::record::Mark;

type Archive<R> = ZipArchive<R>;

pub(super) fn read(bytes: impl Read + Seek, sheet: &str) -> Result<Vec<ShownRow>, String> {
    let mut archive = ZipArchive::new(bytes).map_err(|error| error.to_string())?;
    let part = sheet_part(&mut archive, sheet)?;
    let formats = formats(&mut archive)?;
    rows(open(&mut archive, &part)?, &formats)
}

/// The part of this name, however it is spelt.
fn open<'a, R: Read + Seek>(
    archive: &'a mut Archive<R>,
    name: &str,
) -> Result<BufReader<zip::read::ZipFile<'a, R>>, String> {
    let plain = |name: &str| name.trim_start_matches('/').replace('\\', "/").to_ascii_lowercase();
    let at = (0..archive.len())
        .find(|&at| {
            archive.name_for_index(at).is_some_and(|known| known.is_ok_and(|known| plain(&known) == plain(name)))
        })
        .ok_or_else(|| format!("no part {name}"))?;
    archive.by_index(at).map(BufReader::new).map_err(|error| error.to_string())
}

/// Calls back with every element that starts.
fn elements(part: impl BufRead, mut take: impl FnMut(&BytesStart<'_>)) -> Result<(), String> {
    let mut reader = Reader::from_reader(part);
    let mut buffer = Vec::new();
    loop {
        match reader.read_event_into(&mut buffer).map_err(|error| error.to_string())? {
            Event::Start(element) | Event::Empty(element) => take(&element),
            Event::Eof => return Ok(()),
            _ => {}
        }
        buffer.clear();
    }
}

fn sheet_part<R: Read + Seek>(archive: &mut Archive<R>, sheet: &str) -> Result<String, String> {
    let mut id = None;
    elements(open(archive, "xl/workbook.xml")?, |element| {
        if local(element.name().as_ref()) == "sheet" && attribute(element, "name").as_deref() == Some(sheet) {
            id = attribute(element, "id");
        }
    })?;
    let id = id.ok_or_else(|| format!("no sheet {sheet}"))?;
    let mut target = None;
    elements(open(archive, "xl/_rels/workbook.xml.rels")?, |element| {
        if attribute(element, "Id").as_deref() == Some(&id) {
            target = attribute(element, "Target");
        }
    })?;
    let target = target.ok_or_else(|| format!("no part of sheet {sheet}"))?;
    Ok(match target.strip_prefix('/') {
        Some(whole) => whole.to_owned(),
        None if target.starts_with("xl/") => target,
        None => format!("xl/{target}"),
    })
}

/// The pattern of each style; `None`: of a kind that does not show a number's digits.
fn formats<R: Read + Seek>(archive: &mut Archive<R>) -> Result<Vec<Option<String>>, String> {
    let Ok(part) = open(archive, "xl/styles.xml") else { return Ok(Vec::new()) };
    let mut own: HashMap<u32, String> = HashMap::new();
    let mut styles = Vec::new();
    let mut reader = Reader::from_reader(part);
    let (mut buffer, mut in_cell_styles) = (Vec::new(), false);
    loop {
        match reader.read_event_into(&mut buffer).map_err(|error| error.to_string())? {
            Event::Start(element) | Event::Empty(element) => match local(element.name().as_ref()) {
                "numFmt" => {
                    if let Some(id) = attribute(&element, "numFmtId").and_then(|id| id.parse().ok()) {
                        own.insert(id, attribute(&element, "formatCode").unwrap_or_default());
                    }
                }
                "cellXfs" => in_cell_styles = true,
                "xf" if in_cell_styles => {
                    styles.push(attribute(&element, "numFmtId").and_then(|id| id.parse().ok()).unwrap_or(0));
                }
                _ => {}
            },
            Event::End(element) if local(element.name().as_ref()) == "cellXfs" => in_cell_styles = false,
            Event::Eof => break,
            _ => {}
        }
        buffer.clear();
    }
    let pattern = |id: &u32| own.get(id).cloned().or_else(|| built_in(*id).map(str::to_owned));
    Ok(styles.iter().map(pattern).collect())
}

/// The cell that is being read.
#[derive(Default)]
struct Cell {
    column: usize,
    kind: String,
    style: usize,
    has_formula: bool,
    value: String,
    has_text: bool,
}

impl Cell {
    fn mark(&self, formats: &[Option<String>]) -> Option<Mark> {
        let is_text = matches!(self.kind.as_str(), "s" | "str" | "inlineStr");
        // An empty text that is stored as one is a result like any other.
        if self.has_formula && self.value.is_empty() && self.kind != "str" && !self.has_text {
            return Some(Mark::NotComputed);
        }
        let general = Some("General".to_owned());
        let format = formats.get(self.style).unwrap_or(&general).as_deref();
        let is_same = if is_text {
            format.is_none_or(shows_text)
        } else if matches!(self.kind.as_str(), "" | "n") && !self.value.trim().is_empty() {
            let number = self.value.trim().parse();
            format.is_some_and(|format| number.is_ok_and(|number| shows_number(format, number)))
        } else {
            true
        };
        (!is_same).then_some(Mark::ShownOtherwise)
    }
}

fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| matches!(value.as_str(), "1" | "true" | "on"))
}

fn rows(part: impl BufRead, formats: &[Option<String>]) -> Result<Vec<ShownRow>, String> {
    let mut reader = Reader::from_reader(part);
    reader.config_mut().expand_empty_elements = true;
    let mut buffer = Vec::new();
    let mut rows: Vec<ShownRow> = Vec::new();
    let mut row = ShownRow { first: 0, last: 0, is_hidden: false, marks: Vec::new() };
    let (mut next_row, mut next_column) = (0_u32, 0_usize);
    let mut cell = Cell::default();
    let mut in_value = false;
    loop {
        match reader.read_event_into(&mut buffer).map_err(|error| error.to_string())? {
            Event::Start(element) => match local(element.name().as_ref()) {
                "row" => {
                    let number = attribute(&element, "r").and_then(|row| row.parse::<u32>().ok());
                    let at = number.and_then(|row| row.checked_sub(1)).unwrap_or(next_row);
                    let height = attribute(&element, "ht").and_then(|height| height.parse::<f64>().ok());
                    let is_hidden =
                        is_true(attribute(&element, "hidden")) || height.is_some_and(|height| height <= 0.0);
                    row = ShownRow { first: at, last: at, is_hidden, marks: Vec::new() };
                    (next_row, next_column) = (at.saturating_add(1), 0);
                }
                "c" => {
                    let column = attribute(&element, "r").and_then(|at| place(&at)).map(|(_, column)| column);
                    cell = Cell {
                        column: column.unwrap_or(next_column),
                        kind: attribute(&element, "t").unwrap_or_default(),
                        style: attribute(&element, "s").and_then(|style| style.parse().ok()).unwrap_or(0),
                        ..Cell::default()
                    };
                    next_column = cell.column.saturating_add(1);
                }
                "f" => cell.has_formula = true,
                "v" => in_value = true,
                "is" => cell.has_text = true,
                _ => {}
            },
            Event::Text(text) if in_value => cell.value.push_str(&text),
            Event::End(element) => match local(element.name().as_ref()) {
                "v" => in_value = false,
                "c" => {
                    if let Some(mark) = cell.mark(formats) {
                        put(&mut row.marks, cell.column, mark);
                    }
                }
                "row" if row.is_hidden || !row.marks.is_empty() => rows.push(row.clone()),
                _ => {}
            },
            Event::Eof => return Ok(rows),
            _ => {}
        }
        buffer.clear();
    }
}
