//! The whole reading, from bytes to rows and faults.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};
use std::path::PathBuf;

use encoding_rs::GB18030;
use proptest::prelude::*;

use super::*;
use crate::error::{Error, Exit};
use crate::model::{Kind, Outcome};

fn read_as(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Input, Error> {
    read(Source::Bytes { name: name.to_owned(), bytes: bytes.to_vec() }, options)
}

fn good(bytes: impl AsRef<[u8]>) -> Input {
    read_as("leavers.csv", bytes.as_ref(), &ReadOptions::default()).unwrap()
}

/// The problem with a refused input; checks that it is refused with exit code 2.
fn refused_with(bytes: impl AsRef<[u8]>, options: &ReadOptions) -> String {
    match read_as("leavers.csv", bytes.as_ref(), options) {
        Err(error @ Error::Input { .. }) => {
            assert_eq!(error.exit(), Exit::Rejected);
            error.to_string()
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn refused(bytes: impl AsRef<[u8]>) -> String {
    refused_with(bytes, &ReadOptions::default())
}

/// Line, desktop id, user, type, extras of every row.
fn rows(input: &Input) -> Vec<(u64, &str, &str, &str, Vec<&str>)> {
    let row = |row: RowRef<'_>| {
        let get = |field| input.table.row(row.index()).get(field);
        (row.line(), get(Field::DesktopId), get(Field::UserName), get(Field::Type), row_extras(input, row.index()))
    };
    input.table.rows().map(row).collect()
}

fn row_extras(input: &Input, index: usize) -> Vec<&str> {
    input.table.row(index).extras().collect()
}

fn codes(input: &Input) -> Vec<(u64, &'static str)> {
    input.faults.iter().map(|fault| (fault.line, fault.code)).collect()
}

fn utf_16(text: &str, little: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

const TABLE: &str = "桌面ID,用户名,类型,备注\nd-1,张伟,USER,\"a, b\"\nd-2,开发组,GROUP,\"say \"\"hi\"\"\"\n";

#[test]
fn every_encoding_and_delimiter_gives_the_same_cells() {
    let expected = vec![(2, "d-1", "张伟", "USER", vec!["a, b"]), (3, "d-2", "开发组", "GROUP", vec!["say \"hi\""])];
    for delimiter in [",", ";", "\t", "|"] {
        let text = TABLE.replace(", b", "\u{1}").replace(',', delimiter).replace('\u{1}', ", b");
        let utf_8 = text.clone().into_bytes();
        for (bytes, has_mark) in [
            (utf_8.clone(), false),
            ([b"\xef\xbb\xbf", &utf_8[..]].concat(), true),
            ([b"\xff\xfe", &utf_16(&text, true)[..]].concat(), true),
            ([b"\xfe\xff", &utf_16(&text, false)[..]].concat(), true),
            (utf_16(&text, true), true),
            (utf_16(&text, false), true),
            (GB18030.encode(&text).0.into_owned(), true),
            (text.replace('\n', "\r\n").into_bytes(), false),
            (text.replace('\n', "\r").into_bytes(), false),
        ] {
            let input = good(&bytes);
            assert_eq!(rows(&input), expected, "{delimiter:?} {bytes:?}");
            assert_eq!(input.had_bom_or_not_utf8, has_mark);
            assert_eq!(input.table.delimiter(), Some(delimiter.as_bytes()[0]));
            assert_eq!(input.table.extra_columns(), ["备注"]);
            assert!(input.faults.is_empty());
        }
    }
}

#[test]
fn guesses_are_told_and_settings_are_obeyed() {
    let bytes = GB18030.encode(TABLE).0.into_owned();
    assert!(good(&bytes).notes[0].contains("GB18030, guessed"));
    let options = ReadOptions { encoding: Some("gbk".to_owned()), delimiter: Some(b','), ..Default::default() };
    let input = read_as("x.csv", &bytes, &options).unwrap();
    assert!(input.notes.is_empty(), "{:?}", input.notes);
    let options = ReadOptions { encoding: Some("utf-8".to_owned()), ..Default::default() };
    assert!(refused_with(&bytes, &options).contains("line 1: bytes that mean nothing in UTF-8"));
    let options = ReadOptions { delimiter: Some(b'"'), ..Default::default() };
    assert!(refused_with(TABLE, &options).contains("setting `delimiter`"));
}

#[test]
fn the_line_that_tells_excel_the_delimiter_is_no_header_and_is_counted() {
    let plain = "桌面ID;用户名;a,b\nd-1;张伟;x\n";
    let expected = (3, "d-1", "张伟", "", vec!["x"]);
    let lines = ["sep=;\n", "sep=;\r\n", "\"sep=;\"\n"];
    for text in lines.map(|line| format!("{line}{plain}")) {
        let gb18030 = GB18030.encode(&text).0.into_owned();
        for bytes in [text.as_bytes().to_vec(), format!("\u{feff}{text}").into_bytes(), gb18030] {
            let input = good(bytes);
            assert_eq!(rows(&input), std::slice::from_ref(&expected));
        }
        assert!(good(&text).notes.is_empty());
    }
    // What the command line says goes above the file's own word.
    let options = ReadOptions { delimiter: Some(b';'), ..ReadOptions::default() };
    let input = read_as("l.csv", format!("sep=,\n{plain}").as_bytes(), &options).unwrap();
    assert_eq!(rows(&input), [expected]);
    let faults = good("sep=;\ndesktop;user\nd-1;\n").faults;
    assert_eq!(faults.first().map(|fault| fault.line), Some(3));
    assert!(refused("sep=;\n").contains("header line"));
}

#[test]
fn a_second_byte_order_mark_leaves_a_quoted_header_readable() {
    let input = good("\u{feff}\u{feff}\"user_name\",\"desktop_id\"\nalice,d-1\n");
    assert_eq!(rows(&input), [(2, "d-1", "alice", "", vec![])]);
    let options = ReadOptions { encoding: Some("gb18030".to_owned()), ..ReadOptions::default() };
    let marked = b"\x84\x31\x95\x33\"user_name\",\"desktop_id\"\nalice,d-1\n";
    assert_eq!(read_as("x.csv", marked, &options).unwrap().table.row(0).get(Field::UserName), "alice");
}

#[test]
fn a_lost_character_is_told_as_damage_beside_plain_rows_and_quoted_ones() {
    let input = good("desktop,user\nd-1,ali\u{FFFD}ce\nd-2,bob\n\"d-3\",\"\u{FFFD}\"\n");
    assert_eq!(codes(&input), [(2, "INVALID_DAMAGED_CELL"), (4, "INVALID_DAMAGED_CELL")]);
}

#[test]
fn fifteen_faults_are_found_at_once_with_line_and_column() {
    let mut text = "Desktop,User,Type,User ID,Domain,Desktop Name\n".to_owned();
    for line in [
        "d-1,,,,,",
        "d-1,,group,,,",
        "d-1,alice,ALL,,,",
        ",,ALL,,,",
        "d-1,alice,ROBOT,,,",
        &format!("d-1,{},,,,", "x".repeat(65)),
        &format!("{},alice,,,,", "x".repeat(256)),
        &format!("d-1,alice,,{},,", "x".repeat(256)),
        &format!("d-1,alice,,,{},", "x".repeat(256)),
        "d-1,\"ali\nce\",,,,",
        "d-1,ali\u{202e}ce,,,,",
        "1.9E+18,alice,,,,",
        "d-1,#N/A,,,,",
        "d-1,alice,,########,,",
        "d-1,alice,USER,,,,,surplus",
    ] {
        _ = writeln!(text, "{line}");
    }
    text.push_str("d-9,bob\n");
    let input = good(&text);
    assert_eq!(
        codes(&input),
        [
            (2, "INVALID_USER_MISSING"),
            (3, "INVALID_USER_MISSING"),
            (4, "INVALID_ALL_WITH_USER"),
            (5, "INVALID_DESKTOP_MISSING"),
            (6, "INVALID_TYPE"),
            (7, "INVALID_TOO_LONG"),
            (8, "INVALID_TOO_LONG"),
            (9, "INVALID_TOO_LONG"),
            (10, "INVALID_TOO_LONG"),
            (11, "INVALID_CONTROL_CHARACTER"),
            (13, "INVALID_CONTROL_CHARACTER"),
            (14, "INVALID_DAMAGED_CELL"),
            (15, "INVALID_DAMAGED_CELL"),
            (16, "INVALID_DAMAGED_CELL"),
            (17, "INVALID_RAGGED"),
        ]
    );
    assert_eq!(input.table.len(), 16, "faulty rows stay in the table");
    let report = report(&input.faults, 2);
    assert!(report.starts_with("line 2, column \"User\": the user is missing"), "{report}");
    assert!(report.ends_with("… and 13 more"));
}

#[test]
fn p05_an_empty_user_is_never_read_as_everybody() {
    for cell in ["", " ", "\u{200b}", "\u{3000}\t", "\"\""] {
        let input = good(format!("desktop,user\nd-1,{cell}\n"));
        assert_eq!(codes(&input), [(2, "INVALID_USER_MISSING")], "{cell:?}");
        assert_eq!(input.table.row(0).kind(), Some(Kind::User));
    }
}

#[test]
fn a_row_of_type_all_goes_by_desktop_id_or_name_and_a_row_without_desktop_by_its_user() {
    let input = good("desktop,computer_name,user,type\nd-1,,,all\n,pc-1,,All\n,,alice,\n");
    assert_eq!(codes(&input), [(4, "INVALID_DESKTOP_MISSING")]);
    assert_eq!(
        input.table.rows().map(RowRef::kind).collect::<Vec<_>>(),
        [Some(Kind::All), Some(Kind::All), Some(Kind::User)]
    );
}

#[test]
fn line_numbers_are_right_after_quoted_line_ends_and_blank_lines() {
    for end in ["\n", "\r\n", "\r"] {
        let text = "\nuser,desktop,note\n\na,d,\"one\ntwo\n\nthree\"\n , ,\n\n\nb,d,\n\"c\",d,\"x\n\"\nd,d,";
        let input = good(text.replace('\n', end));
        assert_eq!(input.table.rows().map(RowRef::line).collect::<Vec<_>>(), [4, 11, 12, 14], "{end:?}");
        assert_eq!(input.table.blank_lines(), 1);
        assert!(input.notes.iter().any(|note| note.contains("no newline")), "{:?}", input.notes);
    }
}

#[test]
fn trimmed_cells_are_counted() {
    let input = good("user,desktop,note\n alice ,\u{a0}d-1, kept \nbob,d-2,\n");
    assert_eq!(rows(&input)[0], (2, "d-1", "alice", "", vec![" kept "]));
    assert_eq!(input.table.trimmed_cells(), 2);
}

#[test]
fn an_open_quote_is_refused_and_the_line_that_it_opened_on_is_named() {
    let problem = refused("user,desktop\na,d\n\"b\nb\",\"d\nc,d\n");
    assert!(problem.contains("line 4: the quote opened on this line is not closed"), "{problem}");
    assert!(refused("\"user,desktop").contains("line 1"));
    let long = format!("user,desktop\na,\"{}", "x,d\n".repeat(300_000));
    let problem = refused(&long);
    assert!(problem.contains("line 2") && problem.contains("the quote opened on line 2 is not closed"), "{problem}");
}

#[test]
fn p18_what_passes_a_cap_is_refused_with_its_place() {
    let full = vec!["x".repeat(32_767); 31].join(",");
    assert!(good(format!("user,desktop,{}\na,d,{full}\n", vec!["n"; 31].join(","))).faults.is_empty());
    let more = vec!["x".repeat(32_767); 33].join(",");
    assert!(refused(format!("user,desktop\na,d\na,d,{more}\n")).contains("line 3: longer than 1 MiB"));
    let problem = refused(format!("user,desktop,note\na,d,{}\n", "x".repeat(32_768)));
    assert!(problem.contains("line 2, column 3 \"note\": a cell is longer than 32,767 characters"), "{problem}");
    let problem = refused(format!("user,desktop,note\na,{},x\n", "d".repeat(4097)));
    assert!(problem.contains("line 2, column 2 \"desktop\": a cell is longer than 4 KiB"), "{problem}");
    assert!(refused(format!("user,desktop\na,d{}\n", ",".repeat(1023))).contains("more than 1024 columns"));
    assert!(refused(format!("user,desktop\na,d{}\n", ",".repeat(9_000))).contains("more than 1024 columns"));
    assert!(good(format!("user,desktop\na,d{}\n", ",".repeat(1022))).faults.is_empty());
    let options = ReadOptions { max_rows: 2, ..Default::default() };
    assert!(refused_with("user,desktop\na,d\nb,d\nc,d\n", &options).contains("more than 2 rows"));
}

#[test]
fn zero_bytes_and_undecodable_bytes_are_refused_with_their_line() {
    assert!(refused("user,desktop\na,d\nb,\0d\n").contains("line 3: a zero byte"));
    assert!(refused("user,desktop\n\"a\n\0\",d\n").contains("line 3: a zero byte"));
    let problem = refused(b"user,desktop\na,d\nM\xfcller,d\n");
    assert!(problem.contains("line 3: bytes that are not UTF-8"), "{problem}");
    let options = ReadOptions { encoding: Some("gb18030".to_owned()), ..Default::default() };
    assert!(
        refused_with(b"user,desktop\na,d\nb\xff,d\n", &options).contains("line 3: bytes that mean nothing in gb18030")
    );
}

#[test]
fn files_without_rows_are_refused() {
    for (bytes, part) in [
        ("", "the file is empty"),
        ("\n\r\n ,\n", "the file is empty"),
        ("\u{feff}", "the file is empty"),
        ("user,desktop", "no row"),
        ("user,desktop\n,\n \n", "no row"),
        ("desktop\nd-1\n", "no column `user_name`"),
        ("<html><body>", "a web page (HTML)"),
    ] {
        let problem = refused(bytes);
        assert!(problem.contains(part), "{bytes:?}: {problem}");
    }
}

#[test]
fn a_row_cut_before_its_desktop_never_means_every_desktop_of_the_user() {
    let input = good("user,type,desktop\nalice,USER,d-1\nbob\ncarol,USER\ndave,USER,\n");
    assert_eq!(codes(&input), [(3, "INVALID_RAGGED"), (4, "INVALID_RAGGED"), (5, "INVALID_DESKTOP_MISSING")]);
    let input = good("desktop,user,type\nd-1,alice\nd-2\n");
    assert_eq!(codes(&input), [(3, "INVALID_USER_MISSING")]);
}

const RESULTS: &str = "line,desktop_id,desktop_name,user_name,user_id,user_group,type,domain,outcome,job_id,error_code,\
error_msg,attempts,request_id,chunk,finished_at,office\n\
2,d-1,,alice,,,USER,,detached,,,,1,,1,,'=1+1\n\
3,d-2,,'-bob,,,USER,,failed,,X,boom,1,,1,,''quoted\n\
4,d-3,,,,,USER,,unknown,,,,1,,1,,-5\n";

#[test]
fn p01_only_takes_the_rows_of_these_outcomes_and_no_row_is_no_error() {
    let mut options = ReadOptions { only: Some(vec![Outcome::Failed]), ..Default::default() };
    let input = read_as("x.results.csv", RESULTS.as_bytes(), &options).unwrap();
    assert_eq!(rows(&input), [(3, "d-2", "-bob", "USER", vec!["'quoted"])]);
    assert!(input.faults.is_empty(), "rows that are left out have no faults");
    options.only = Some(vec![Outcome::NotSent]);
    assert!(read_as("x.results.csv", RESULTS.as_bytes(), &options).unwrap().table.is_empty());
    assert!(refused_with("user,desktop\na,d\n", &options).contains("`outcome` column"));
}

#[test]
fn p21_results_read_back_lose_one_apostrophe_and_other_inputs_none() {
    let input = good(RESULTS);
    assert_eq!(row_extras(&input, 0), ["=1+1"]);
    assert_eq!(row_extras(&input, 2), ["-5"]);
    assert_eq!(input.table.extra_columns(), ["office"]);
    assert_eq!(rows(&good("user,desktop,note\n'-bob,d,'=x\n"))[0], (2, "d", "'-bob", "", vec!["'=x"]));
}

#[test]
fn unusual_names_are_one_note_and_no_fault() {
    let input = good("user,desktop,type\na.b,d,\n开发组,d,GROUP\na b,d,\nx y,d,\n");
    assert!(input.faults.is_empty());
    assert_eq!(input.notes.len(), 1);
    assert!(input.notes[0].starts_with("2 user or group name(s)") && input.notes[0].ends_with("line 4"));
}

#[test]
fn a_missing_file_a_directory_and_a_pipe() {
    let missing = read(Source::Path(PathBuf::from("/nonexistent/leavers.csv")), &ReadOptions::default());
    assert!(matches!(&missing, Err(Error::File { verb: "read", .. })), "{missing:?}");
    let directory = tempfile::tempdir().unwrap();
    let refused = read(Source::Path(directory.path().to_owned()), &ReadOptions::default());
    assert!(matches!(refused, Err(Error::File { .. })));
    let bytes = GB18030.encode(TABLE).0.into_owned();
    let sha256 = good(&bytes).sha256;
    let piped = Source::Stream { name: "standard input".to_owned(), reader: Box::new(Cursor::new(bytes)) };
    let input = read(piped, &ReadOptions::default()).unwrap();
    assert_eq!((input.sha256, input.table.len()), (sha256, 2));
}

/// Every seed is read to its end without a panic; the name says what becomes of it: `ok-…`, `faults-…`, `refused-…`.
#[test]
fn seeds_of_odd_files_end_as_their_names_say() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/input");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let result = read(Source::Path(path), &ReadOptions::default());
        let end = match &result {
            Ok(input) if input.faults.is_empty() => "ok",
            Ok(_) => "faults",
            Err(_) => "refused",
        };
        assert!(name.starts_with(end), "{name}: {result:?}");
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} seeds");
}

fn zipped(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        archive.start_file(*name, options).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

const SHEET_NS: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";

/// Merged cells of every sheet that [`xlsx`] makes; far below the rows that other tests use.
const MERGED: &str = r#"<mergeCells count="2"><mergeCell ref="A101:A103"/><mergeCell ref="B105:C105"/></mergeCells>"#;

/// A workbook of sheets given as `(name, state, sheetData)`.
fn xlsx(sheets: &[(&str, &str, &str)]) -> Vec<u8> {
    let rel_ns = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let (mut list, mut relations) = (String::new(), String::new());
    let mut parts = Vec::new();
    for (index, (name, state, data)) in sheets.iter().enumerate() {
        let id = index + 1;
        _ = write!(list, r#"<sheet name="{name}" sheetId="{id}" state="{state}" r:id="rId{id}"/>"#);
        _ = write!(
            relations,
            r#"<Relationship Id="rId{id}" Type="{rel_ns}/worksheet" Target="worksheets/sheet{id}.xml"/>"#
        );
        let sheet = format!(r#"<worksheet xmlns="{SHEET_NS}"><sheetData>{data}</sheetData>{MERGED}</worksheet>"#);
        parts.push((format!("xl/worksheets/sheet{id}.xml"), sheet));
    }
    let styles = r#"<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>"#;
    parts.push(("xl/styles.xml".to_owned(), format!(r#"<styleSheet xmlns="{SHEET_NS}">{styles}</styleSheet>"#)));
    parts.push((
        "xl/workbook.xml".to_owned(),
        format!(r#"<workbook xmlns="{SHEET_NS}" xmlns:r="{rel_ns}"><sheets>{list}</sheets></workbook>"#),
    ));
    let package = "http://schemas.openxmlformats.org/package/2006/relationships";
    parts.push((
        "xl/_rels/workbook.xml.rels".to_owned(),
        format!(r#"<Relationships xmlns="{package}">{relations}</Relationships>"#),
    ));
    parts.push((
        "_rels/.rels".to_owned(),
        format!(
            r#"<Relationships xmlns="{package}"><Relationship Id="rId1" Type="{rel_ns}/officeDocument" Target="xl/workbook.xml"/></Relationships>"#
        ),
    ));
    zipped(&parts.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect::<Vec<_>>())
}

fn text_row(row: u32, cells: &[&str]) -> String {
    let mut xml = format!(r#"<row r="{row}">"#);
    for (cell, column) in cells.iter().zip('A'..='Z') {
        _ = write!(xml, r#"<c r="{column}{row}" t="inlineStr"><is><t>{cell}</t></is></c>"#);
    }
    xml + "</row>"
}

#[test]
fn a_sheet_is_read_with_its_own_row_numbers_and_numbers_are_no_floats() {
    let data = text_row(2, &["Desktop", "User", "Type"])
        + r#"<row r="4"><c r="A4"><v>1234567</v></c><c r="B4"><f>X1</f><v>42</v></c></row>"#
        + r#"<row r="5"><c r="A5"><v>1.9E+18</v></c><c r="B5" t="e"><v>#N/A</v></c></row>"#
        + r#"<row r="7"><c r="A7" s="1"><v>45000</v></c><c r="B7" t="b"><v>1</v></c></row>"#
        + &text_row(8, &["", "alice"]);
    let input = read_as("x.xlsx", &xlsx(&[("Leavers", "visible", &data)]), &ReadOptions::default()).unwrap();
    assert_eq!(
        rows(&input),
        [
            (4, "1234567", "42", "", vec![]),
            (5, "1.9E+18", "#N/A", "", vec![]),
            (7, "2023-03-15", "TRUE", "", vec![]),
            (8, "", "alice", "", vec![]),
        ]
    );
    let damaged = "INVALID_DAMAGED_CELL";
    assert_eq!(codes(&input), [(5, damaged), (5, damaged), (7, damaged), (8, "INVALID_DESKTOP_MISSING")]);
    assert_eq!((input.table.sheet(), input.table.delimiter()), (Some("Leavers"), None));
    assert!(input.had_bom_or_not_utf8);
}

#[test]
fn a_desktop_under_a_merged_cell_never_means_every_desktop_of_the_user() {
    let data = text_row(1, &["Desktop", "User", "Type"])
        + &text_row(101, &["d-1", "alice"])
        + &text_row(102, &["", "bob"])
        + &text_row(103, &["", "carol"])
        + &text_row(104, &["", "dave"])
        + &text_row(105, &["d-2", "erin", "USER"]);
    let input = read_as("x.xlsx", &xlsx(&[("S", "visible", &data)]), &ReadOptions::default()).unwrap();
    let merged = "INVALID_MERGED_CELL";
    assert_eq!(codes(&input), [(102, merged), (103, merged), (104, "INVALID_DESKTOP_MISSING"), (105, merged)]);
    assert_eq!(input.faults[3].column.as_deref(), Some("Type"));
    let row = |desktop: &str| format!("<table:table-row>{}{desktop}</table:table-row>", ods_cell("user"));
    let book = ods(&(row(&ods_cell("desktop")) + &row(&ods_cell("d-1")) + &row("<table:covered-table-cell/>")));
    let input = read_as("x.ods", &book, &ReadOptions::default()).unwrap();
    assert_eq!(codes(&input), [(3, merged)]);
}

#[test]
fn hidden_rows_are_refused_skipped_or_read() {
    let hidden = |row: u32, cells: &[&str]| text_row(row, cells).replace("<row ", r#"<row hidden="1" "#);
    let data = text_row(1, &["user", "desktop"]) + &hidden(2, &["alice", "d-1"]) + &text_row(3, &["bob", "d-2"]);
    let filtered = |row: String| row.replace("<table:table-row>", r#"<table:table-row table:visibility="filter">"#);
    let row = |one: &str, two: &str| format!("<table:table-row>{}{}</table:table-row>", ods_cell(one), ods_cell(two));
    let open = ods(&(row("user", "desktop") + &filtered(row("alice", "d-1")) + &row("bob", "d-2")));
    for book in [xlsx(&[("S", "visible", &data)]), open] {
        let problem = refused(&book);
        assert!(problem.contains("rows 2 are hidden") && problem.contains("--hidden-rows skip"), "{problem}");
        for (hidden_rows, users) in [(Hidden::Skip, vec!["bob"]), (Hidden::Read, vec!["alice", "bob"])] {
            let input = read_as("x", &book, &ReadOptions { hidden_rows, ..Default::default() }).unwrap();
            assert_eq!(input.table.rows().map(|row| row.get(Field::UserName)).collect::<Vec<_>>(), users);
        }
    }
}

#[test]
fn a_formula_that_was_never_computed_is_no_empty_cell() {
    let data = text_row(1, &["user", "desktop"])
        + r#"<row r="2"><c r="A2" t="inlineStr"><is><t>alice</t></is></c><c r="B2"><f>X1</f><v/></c></row>"#
        + r#"<row r="3"><c r="A3"><f>X2</f></c><c r="B3"><f>X3</f></c></row>"#
        + &text_row(4, &["bob", "d-2"]);
    let options = ReadOptions { empty_desktop_is_every: true, ..Default::default() };
    let input = read_as("x.xlsx", &xlsx(&[("S", "visible", &data)]), &options).unwrap();
    let formula = "INVALID_FORMULA";
    assert_eq!(codes(&input)[..3], [(2, formula), (3, formula), (3, formula)]);
    let header = r#"<row r="1"><c r="A1"><f>X1</f></c></row>"#.to_owned() + &text_row(2, &["alice", "d-1"]);
    assert!(refused(xlsx(&[("S", "visible", &header)])).contains("the header is a formula"));
}

#[test]
fn a_number_that_is_shown_with_other_characters_is_told() {
    let number =
        r#"<table:table-cell office:value-type="float" office:value="123"><text:p>00123</text:p></table:table-cell>"#;
    let row = |cells: &str| format!("<table:table-row>{cells}</table:table-row>");
    let header = row(&(ods_cell("user") + &ods_cell("desktop")));
    let book = ods(&(header + &row(&(number.to_owned() + &ods_cell("d-1")))));
    let input = read_as("x.ods", &book, &ReadOptions::default()).unwrap();
    assert_eq!(codes(&input), [(2, "INVALID_CELL_FORMAT")]);
    let long = text_row(1, &["user", "desktop"])
        + r#"<row r="2"><c r="A2"><v>123456789012</v></c><c r="B2" t="inlineStr"><is><t>d-1</t></is></c></row>"#;
    let input = read_as("x.xlsx", &xlsx(&[("S", "visible", &long)]), &ReadOptions::default()).unwrap();
    assert_eq!(codes(&input), [(2, "INVALID_CELL_FORMAT")]);
}

/// As `xlwt` wrote it: numbers and texts with formats of their own, a formula that nobody computed, a merged cell.
#[test]
fn an_xls_tells_what_it_shows_like_the_others() {
    let book = include_bytes!("../../tests/input/faults-shown-otherwise.xls");
    let input = read_as("x.xls", book, &ReadOptions::default()).unwrap();
    let (format, formula) = ("INVALID_CELL_FORMAT", "INVALID_FORMULA");
    let wanted = [
        (2, format), // 00123
        (3, format), // 123456789012, shown as 1.23457E+11
        (4, format), // 42.00
        (5, format), // 007, in one record with 42
        (7, format), // "Dr. " before a text
        (9, formula),
        (10, format), // 50%
        (13, "INVALID_MERGED_CELL"),
    ];
    assert_eq!(codes(&input), wanted);
    let plain: Vec<_> = [4, 6, 9].map(|row| input.table.row(row).get(Field::UserName)).into();
    assert_eq!(plain, ["4711", "bob", "123.25"]);
    let hidden = include_bytes!("../../tests/input/refused-hidden-rows.xls");
    let problem = read_as("x.xls", hidden, &ReadOptions::default()).unwrap_err().to_string();
    assert!(problem.contains("rows 2 are hidden"), "{problem}");
}

#[test]
fn quotes_that_stayed_and_lines_in_one_cell_are_told_and_equals_quotes_are_text() {
    let input = good("desktop,user\nd-1, \"alice\"\nd-2,'bob'\nd-3,=\"00123\"\n\"d-4,carol\"\n");
    let quoted = "INVALID_QUOTED_CELL";
    assert_eq!(codes(&input)[..3], [(2, quoted), (3, quoted), (5, "INVALID_LINE_IN_CELL")]);
    assert_eq!(input.table.row(2).get(Field::UserName), "00123");
    assert!(refused("\"desktop,user\"\n\"d-1,alice\"\n").contains("one cell"));
    assert!(refused("'desktop','user'\n'd-1','alice'\n").contains("quotes"));
}

#[test]
fn a_header_further_down_is_found_where_the_option_says() {
    let text = "Leavers; November\n\ndesktop;user\nd-1;alice\n";
    assert!(refused(text).contains("say --header-row 3"));
    let options = ReadOptions { header_row: Some(3), ..Default::default() };
    let input = read_as("x.csv", text.as_bytes(), &options).unwrap();
    assert_eq!(rows(&input), [(4, "d-1", "alice", "", vec![])]);
    let input = good("#TYPE Selected.Object\n\"desktop\",\"user\"\n\"d-1\",\"alice\"\n");
    assert_eq!(rows(&input), [(3, "d-1", "alice", "", vec![])]);
}

#[test]
fn a_column_that_sounds_like_desktops_never_becomes_every_desktop_of_the_user() {
    for header in ["hostname", "Desktop-Nr.", "桌面", "asset", "PC", "云桌面编号", "Serial Number"] {
        let problem = refused(format!("user,{header}\nalice,x\n"));
        assert!(problem.contains("--column desktop_id=-"), "{header}: {problem}");
        let columns = vec![(Field::DesktopId, "-".to_owned())];
        let options = ReadOptions { columns, ..Default::default() };
        assert!(read_as("x.csv", format!("user,{header}\nalice,x\n").as_bytes(), &options).is_ok());
    }
    let columns = vec![(Field::Type, "-".to_owned())];
    let input =
        read_as("x.csv", b"desktop,user,type\nd-1,alice,Contractor\n", &ReadOptions { columns, ..Default::default() });
    assert!(input.unwrap().faults.is_empty());
}

#[test]
fn an_encoding_that_could_be_another_one_is_not_guessed() {
    for (bytes, looks_like) in [
        (&b"desktop,user\nd-1,\xcf\xd0\xc8\xcc\xc5\xd0\nd-2,\xd2\xc5\xd1\xd2\n"[..], "windows-1251"),
        (b"desktop,user\nd-1,\xc8\xe2\xe0\xed\n", "windows-1251"),
        (b"desktop,user\nd-1,\xe9\xd7\xc1\xce\n", "koi8-r"),
    ] {
        let problem = refused(bytes);
        assert!(problem.contains(looks_like) && problem.contains("--encoding"), "{problem}");
    }
}

#[test]
fn a_file_of_another_kind_is_called_by_its_name() {
    for (name, bytes, kind) in [
        ("x.csv", &b"\x1f\x8b\x08"[..], "gzip"),
        ("x.csv", b"%PDF-1.7", "PDF"),
        ("x.xls", b"<html><table>", "web page"),
        ("x.xls", b"<?xml version=\"1.0\"?><?mso-application progid=\"Excel.Sheet\"?><Workbook>", "XML"),
        ("x.csv", b"[{\"user\": \"alice\"}]", "JSON"),
        ("~$x.xlsx", b"\x05alice", "lock file"),
    ] {
        let problem = read_as(name, bytes, &ReadOptions::default()).unwrap_err().to_string();
        assert!(problem.contains(kind), "{problem}");
    }
}

#[test]
fn the_first_visible_sheet_with_rows_is_read_and_others_are_named() {
    let one = text_row(1, &["user", "desktop"]) + &text_row(2, &["alice", "d-1"]);
    let two = text_row(1, &["user", "desktop"]) + &text_row(2, &["bob", "d-2"]);
    let book = xlsx(&[("Blank", "visible", ""), ("Secret", "hidden", &two), ("Main", "visible", &one)]);
    let input = read_as("x.xlsx", &book, &ReadOptions::default()).unwrap();
    assert_eq!(rows(&input)[0].2, "alice");
    assert!(input.notes[0].contains("only the sheet \"Main\"") && input.notes[0].contains("\"Secret\""));
    let options = |sheet: &str| ReadOptions { sheet: Some(sheet.to_owned()), ..Default::default() };
    assert_eq!(rows(&read_as("x.xlsx", &book, &options("secret")).unwrap())[0].2, "bob");
    assert!(refused_with(&book, &options("none")).contains("there are: \"Blank\", \"Secret\", \"Main\""));
}

fn ods(rows: &str) -> Vec<u8> {
    let content = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><office:document-content><office:body><office:spreadsheet><table:table table:name="S">{rows}</table:table></office:spreadsheet></office:body></office:document-content>"#
    );
    let manifest = r#"<?xml version="1.0" encoding="UTF-8"?><manifest:manifest></manifest:manifest>"#;
    let mimetype = "application/vnd.oasis.opendocument.spreadsheet";
    zipped(&[("mimetype", mimetype), ("content.xml", &content), ("META-INF/manifest.xml", manifest)])
}

fn ods_cell(text: &str) -> String {
    format!(r#"<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>"#)
}

#[test]
fn an_ods_sheet_is_read_with_blank_rows_counted() {
    let filler = r#"<table:table-row table:number-rows-repeated="3"><table:table-cell table:number-columns-repeated="9"/></table:table-row>"#;
    let row = |one: &str, two: &str| format!("<table:table-row>{}{}</table:table-row>", ods_cell(one), ods_cell(two));
    let book = ods(&(row("user", "desktop") + filler + &row("alice", "d-1") + &filler.replace('3', "1048000")));
    let input = read_as("x.ods", &book, &ReadOptions::default()).unwrap();
    assert_eq!(rows(&input), [(5, "d-1", "alice", "", vec![])]);
}

#[test]
fn p18_workbooks_that_unpack_to_too_much_are_refused_before_they_do() {
    let wide = format!(
        r#"<table:table-row table:number-rows-repeated="1000000"><table:table-cell table:number-columns-repeated="16000"/>{}</table:table-row>"#,
        ods_cell("x")
    );
    assert!(refused(ods(&wide)).contains("more than 12 million cells"));
    let far = text_row(1, &["user", "desktop"])
        + r#"<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>x</t></is></c></row>"#;
    assert!(refused(xlsx(&[("S", "visible", &far)])).contains("row 1048576: more than 1024 columns"));
    assert!(refused(zipped(&[("readme.txt", "x")])).contains("no .xlsx or .ods workbook"));
    assert!(refused(b"PK\x03\x04 and then nothing").contains("damaged"));
    assert!(refused(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and then nothing").contains("workbook"));
    let misnamed = read_as("x.xlsx", b"user,desktop\na,d\n", &ReadOptions::default());
    assert!(misnamed.unwrap_err().to_string().contains("this is no workbook"));
    assert_eq!(read_as("x.xls", b"user\tdesktop\na\td\n", &ReadOptions::default()).unwrap().table.len(), 1);
}

#[test]
fn records_and_characters_may_lie_across_blocks() {
    let mut text = "用户名,desktop,note\n".to_owned();
    for row in 0..20_000 {
        _ = writeln!(text, "张{row},d-{row},\"桌\"\"面\n{row}\"");
    }
    for bytes in [text.clone().into_bytes(), utf_16(&text, true), GB18030.encode(&text).0.into_owned()] {
        let input = good(&bytes);
        assert_eq!((input.table.len(), input.faults.len()), (20_000, 0));
        for (index, row) in input.table.rows().enumerate() {
            assert_eq!(row.line(), 2 + 2 * u64::try_from(index).unwrap());
            assert_eq!(row.get(Field::UserName), format!("张{index}"));
            assert!(row.extras().eq([format!("桌\"面\n{index}").as_str()]));
        }
    }
}

#[test]
fn p18_an_old_workbook_that_claims_more_rows_than_there_can_be_is_refused_before_room_is_made_for_them() {
    let book = include_bytes!("../../tests/input/ok-old-excel.xls");
    let head = [0x00, 0x02, 0x0E, 0x00]; // how large a sheet is, in 14 bytes: first row, last row, first column, last column
    let at = book.windows(4).position(|window| window == head).unwrap() + 4;
    for (byte, value) in [(7, 0x9B), (3, 0x9B), (6, 2), (11, 2)] {
        let mut damaged = book.to_vec();
        damaged[at + byte] = value;
        let told = read_as("x", &damaged, &ReadOptions::default()).unwrap_err().to_string();
        assert!(told.contains("more rows or columns than there can be"), "{byte}: {told}");
    }
}

proptest! {
    #[test]
    fn p18_any_bytes_end_in_rows_or_a_message(
        head in prop::sample::select(vec![
            &b""[..], b"user,desktop\n", b"\xef\xbb\xbfuser;desktop\r", b"\xff\xfeu\0s\0e\0r\0\n\0", b"user\tline\toutcome\tfinished_at\n",
            b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        ]),
        tail in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(prop::sample::select(b"\"\",;\n\r\t ax\xe6\xa1\x8c\0".to_vec()), 0..300),
        ],
    ) {
        let bytes = [head, &tail[..]].concat();
        if let Ok(input) = read_as("any", &bytes, &ReadOptions::default()) {
            let mut last = 0;
            for row in input.table.rows() {
                prop_assert!(row.line() > last, "lines rise");
                last = row.line();
                prop_assert_eq!(row.extras().count(), input.table.extra_columns().len());
            }
            prop_assert!(input.faults.is_sorted_by_key(|fault| fault.row));
        }
    }

    #[test]
    fn p18_a_damaged_workbook_ends_in_rows_or_a_message(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
        is_old in any::<bool>(),
    ) {
        let data = text_row(1, &["user", "desktop"]) + &text_row(2, &["alice", "d-1"]);
        let mut book = if is_old {
            include_bytes!("../../tests/input/ok-old-excel.xls").to_vec()
        } else {
            xlsx(&[("S", "visible", &data)])
        };
        let at = at.index(book.len());
        if cut { book.truncate(at) } else { book[at] = byte }
        _ = read_as("x", &book, &ReadOptions::default());
    }

    #[test]
    fn rows_that_the_csv_crate_writes_read_back_equal(
        delimiter in prop::sample::select(vec![b',', b';', b'\t', b'|']),
        ending in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        cells in prop::collection::vec(("[a-z,;|\t\"' =é桌]{0,8}", "[a-z,;|\"\n\r é桌]{0,8}"), 1..20),
    ) {
        let terminator = match ending { "\r\n" => csv::Terminator::CRLF, other => csv::Terminator::Any(other.as_bytes()[0]) };
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).terminator(terminator).from_writer(Vec::new());
        writer.write_record(["user_name", "desktop_id", "note"]).unwrap();
        for (user, note) in &cells {
            prop_assume!(!user.trim().starts_with("=\""));
            writer.write_record([user, "d", note]).unwrap();
        }
        let input = good(writer.into_inner().unwrap());
        prop_assert_eq!(input.table.len(), cells.len());
        for (row, (user, note)) in input.table.rows().zip(&cells) {
            prop_assert_eq!(row.get(Field::UserName), user.trim());
            prop_assert!(row.extras().eq([note.as_str()]));
        }
    }
}

/// Rows by their last day, held against 2026-11-30.
fn by_last_day(bytes: impl AsRef<[u8]>, format: Option<&str>) -> Input {
    let (header, format) = ("Last Day".to_owned(), format.map(str::to_owned));
    let due = Due::By { header, as_of: jiff::civil::date(2026, 11, 30), format };
    read_as("leavers.csv", bytes.as_ref(), &ReadOptions { due, ..Default::default() }).unwrap()
}

#[test]
fn a_row_whose_day_is_to_come_is_not_due_and_one_that_is_wrong_in_itself_is_invalid_all_the_same() {
    let list = "user,desktop,last_day\nann,d-1,2026-11-30\nbob,d-2,2026-12-01\ncarl,,2026-12-01\ndora,d-4,\n\
                eve,d-5,03/04/2026\nfay,d-6,soon\ngus,d-7,=\"2026-12-01\"\n";
    let input = by_last_day(list, None);
    assert_eq!(input.not_due, [1, 6]);
    let wanted = [
        (4, "INVALID_DESKTOP_MISSING"),
        (5, "INVALID_DATE_MISSING"),
        (6, "INVALID_DATE_AMBIGUOUS"),
        (7, "INVALID_DATE"),
    ];
    assert_eq!(codes(&input), wanted);
    assert_eq!(input.faults[2].column.as_deref(), Some("last_day"));
    let input = by_last_day("user,desktop,last_day\nann,d-1,31/12/2026\nbob,d-2,01/11/2026\n", Some("%d/%m/%Y"));
    assert_eq!((input.not_due.as_slice(), input.faults.len()), ([0].as_slice(), 0));
}

#[test]
fn a_row_that_is_due_and_would_take_what_another_keeps_until_later_is_invalid() {
    let of = |rows: &str| {
        let input = by_last_day(format!("user_id,user,domain,desktop,type,last_day\n{rows}"), None);
        codes(&input)
    };
    let twice = "INVALID_DUE_TWICE";
    // An old entry of somebody who came back, whatever the order and the case.
    assert_eq!(of(",ann,,d-1,,2025-01-31\n,ANN,,D-1,,2027-01-31\n"), [(2, twice)]);
    assert_eq!(of(",ann,,d-1,,2027-01-31\n,ann,,d-1,,2025-01-31\n"), [(3, twice)]);
    // Who has one id is one person, whatever the names.
    assert_eq!(of("7,ann,,d-1,,2025-01-31\n7,ann.k,,d-1,,2027-01-31\n"), [(2, twice)]);
    assert_eq!(of("7,ann,,d-1,,2025-01-31\n8,ann,,d-1,,2027-01-31\n"), []);
    assert_eq!(of(",ann,a,d-1,,2025-01-31\n,ann,b,d-1,,2027-01-31\n"), []);
    assert_eq!(of(",ann,,d-1,GROUP,2025-01-31\n,ann,,d-1,,2027-01-31\n"), []);
    // Everybody of a desktop takes each of them; one of them does not take the others.
    assert_eq!(of(",,,d-1,ALL,2025-01-31\n,ann,,d-1,,2027-01-31\n"), [(2, twice)]);
    assert_eq!(of(",ann,,d-1,,2025-01-31\n,,,d-1,ALL,2027-01-31\n"), []);
    // Another desktop, two days of one mind, and a row that is wrong anyway.
    assert_eq!(of(",ann,,d-1,,2025-01-31\n,ann,,d-2,,2027-01-31\n,ann,,d-1,,2024-01-31\n"), []);
    assert_eq!(of(",ann,,d-1,X,2025-01-31\n,ann,,d-1,,2027-01-31\n"), [(2, "INVALID_TYPE")]);
    // Every desktop of hers now, one of them later; the other way round it is a plan that can be carried out.
    let by_user = |rows: &str| codes(&by_last_day(format!("user,user_email,last_day\n{rows}"), None));
    assert_eq!(by_user("ann,,2025-01-31\nann,,2027-01-31\n"), [(2, twice)]);
    assert_eq!(by_user("ann,a@x,2025-01-31\nann.k,A@X,2027-01-31\n"), []);
    assert_eq!(by_user(",a@x,2025-01-31\n,A@X,2027-01-31\n"), [(2, twice)]);
    let input = by_last_day("user,desktop,last_day\nann,d-1,2025-01-31\nann,d-1,2027-01-31\n", None);
    assert!(input.faults[0].message.contains("line 3"), "{}", input.faults[0].message);
    assert_eq!(input.not_due, [1]);
}

#[test]
fn a_due_column_that_is_not_there_is_refused() {
    let due = Due::By { header: "leaves".to_owned(), as_of: jiff::civil::date(2026, 11, 30), format: None };
    let options = ReadOptions { due, ..Default::default() };
    for list in ["user,desktop\nann,d-1\n", "user,desktop,Leaves!\nann,d-1,2026-11-30\n"] {
        assert!(refused_with(list, &options).contains("--due-column leaves"));
    }
    assert!(refused_with("user,LEAVES,Leaves\nann,x,y\n", &options).contains("several"));
}

#[test]
fn a_list_with_days_to_come_that_nobody_asked_about_is_refused() {
    let due = Due::Ask { today: jiff::civil::date(2026, 11, 30), format: None };
    let options = ReadOptions { due, ..Default::default() };
    for header in ["last_day", "Leave Date", "END-DATE", "termination_date", "离职日期", "最后工作日"] {
        let list = |day: &str| format!("user,desktop,{header}\nann,d-1,2026-11-30\nbob,d-2,{day}\n");
        for day in ["2026-12-01", "01/12/2026", "2027年1月1日"] {
            let problem = refused_with(list(day), &options);
            assert!(problem.contains("1 row, the first on line 3") && problem.contains("--due-column -"), "{problem}");
            assert!(problem.contains("--due-column ") && !problem.contains("ann"), "{problem}");
        }
        for day in ["2026-11-29", "30.11.2026", "", "01/10/2026"] {
            let input = read_as("x.csv", list(day).as_bytes(), &options).unwrap();
            assert!(input.not_due.is_empty() && input.faults.is_empty() && input.notes.is_empty(), "{day}");
        }
        let input = read_as("x.csv", list("Dec 1").as_bytes(), &options).unwrap();
        assert!(input.notes[0].contains("--date-format") && input.notes[0].contains("line 3"), "{:?}", input.notes);
    }
    let header = "user,desktop,last_day_of_training\nann,d-1,2027-01-01\n";
    assert!(read_as("x.csv", header.as_bytes(), &options).is_ok(), "another column's dates mean nothing");
    assert!(read_as("x.csv", b"user,desktop,last_day\nann,d-1,2027-01-01\n", &ReadOptions::default()).is_ok());
}

#[test]
fn rows_of_results_that_were_done_had_been_due_and_those_that_were_not_are_asked_about() {
    let due = Due::Ask { today: jiff::civil::date(2026, 11, 30), format: None };
    let results = |outcome: &str| {
        let header = RESULTS.lines().next().unwrap().replace("office", "last_day");
        format!("{header}\n2,d-1,,alice,,,USER,,{outcome},,,,1,,1,,2026-12-04\n")
    };
    let options = ReadOptions { due, ..Default::default() };
    for outcome in ["failed", "unknown", "not_sent"] {
        assert!(read_as("x.results.csv", results(outcome).as_bytes(), &options).is_ok(), "{outcome}");
    }
    for outcome in ["not_due", "invalid", "planned"] {
        assert!(refused_with(results(outcome), &options).contains("--due-column last_day"), "{outcome}");
    }
}

#[test]
fn a_date_cell_of_a_workbook_is_a_day_and_one_that_shows_nothing_is_none() {
    let ending_in = |row: u32, cell: &str| {
        text_row(row, &[&format!("u{row}"), &format!("d-{row}")]).replace("</row>", &format!("{cell}</row>"))
    };
    let data = text_row(1, &["user", "desktop", "last day"])
        + &ending_in(2, r#"<c r="C2" s="1"><v>46357</v></c>"#)
        + &ending_in(3, r#"<c r="C3"><f>TODAY()</f></c>"#)
        + &ending_in(4, r#"<c r="C4"><v>46357</v></c>"#);
    let input = by_last_day(xlsx(&[("S", "visible", &data)]), None);
    assert_eq!(
        (input.not_due.as_slice(), codes(&input)),
        ([0].as_slice(), vec![(3, "INVALID_FORMULA"), (4, "INVALID_DATE")])
    );
    let cell = r#"<table:table-cell office:value-type="date" office:date-value="2026-12-01"><text:p>1. Dez.</text:p></table:table-cell>"#;
    let row = |cells: &[&str]| format!("<table:table-row>{}</table:table-row>", cells.concat());
    let names = ["user", "desktop", "Last day"].map(ods_cell);
    let book = ods(&(row(&names.each_ref().map(String::as_str)) + &row(&[&ods_cell("a"), &ods_cell("d-1"), cell])));
    let input = by_last_day(book, None);
    assert_eq!((input.not_due.as_slice(), input.faults.len()), ([0].as_slice(), 0));
}

/// A compound file that holds one stream.
fn compound(name: &str, content: &[u8]) -> Vec<u8> {
    let mut file = cfb::CompoundFile::create(Cursor::new(Vec::new())).unwrap();
    file.create_stream(name).unwrap().write_all(content).unwrap();
    file.into_inner().into_inner()
}

#[test]
fn an_encrypted_workbook_is_called_by_its_name_in_every_format() {
    let record = |kind: u16, body: &[u8]| {
        [&kind.to_le_bytes(), &u16::try_from(body.len()).unwrap().to_le_bytes(), body].concat()
    };
    let old = [record(0x809, &[0; 16]), record(0x2F, &[1, 0, 1, 0]), record(0x0A, &[])].concat();
    let mimetype = "application/vnd.oasis.opendocument.spreadsheet";
    let manifest = r#"<manifest:manifest><manifest:file-entry manifest:full-path="content.xml"><manifest:encryption-data/></manifest:file-entry></manifest:manifest>"#;
    for book in [
        compound("EncryptedPackage", b"sealed"),
        compound("Workbook", &old),
        zipped(&[("mimetype", mimetype), ("content.xml", "sealed"), ("META-INF/manifest.xml", manifest)]),
    ] {
        let problem = refused(&book);
        assert!(problem.contains("encrypted with a password") && problem.contains("save it without one"), "{problem}");
    }
}

#[test]
fn a_cell_that_says_that_it_is_an_empty_text_is_empty_and_no_row_is_lost_by_it() {
    let input = good("user_name,desktop_id,note\n=\"\",d,\n\"=\"\"\"\"\",d-2,x\n");
    let missing = "INVALID_USER_MISSING";
    assert_eq!((input.table.len(), codes(&input)), (2, vec![(2, missing), (3, missing)]));
}

#[test]
fn the_shown_names_of_columns_in_chinese_are_known() {
    let input = good("计算机名,账号\nPC-1,张伟\n");
    assert_eq!(input.table.row(0).get(Field::DesktopName), "PC-1");
    assert_eq!(good("桌面ID,登录名\nd,张伟\n").table.row(0).get(Field::UserName), "张伟");
}
