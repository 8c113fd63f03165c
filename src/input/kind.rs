//! Files of another kind, called by their name: what they are, and how to get a list out of them.

use std::path::Path;

/// Why a file that starts with these bytes is no list; `None` where it may be one.
pub(super) fn refuse(head: &[u8], path: &Path) -> Option<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("~$") || name.starts_with(".~lock.") {
        let rest = name.trim_start_matches("~$").trim_start_matches(".~lock.").trim_end_matches('#');
        return Some(format!(
            "this is the lock file that a spreadsheet program keeps while \"{}\" is open; name that file",
            crate::text::escape_untrusted(rest, 60)
        ));
    }
    for (start, what) in BINARY {
        if head.starts_with(start) {
            return Some(what.to_owned());
        }
    }
    if head.get(257..262) == Some(b"ustar".as_slice()) {
        return Some("this is a tar archive; unpack it, and name the list inside".to_owned());
    }
    let is_compound = head.starts_with(b"\xd0\xcf\x11\xe0");
    let text = start_as_text(head);
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').to_ascii_lowercase();
    let has = |word: &str| start.contains(word);
    let is_page =
        ["<!doctype html", "<html", "<table", "<head", "<meta", "<body"].iter().any(|tag| start.starts_with(tag));
    if is_page || (start.starts_with("<?xml") && has("<html")) || (start.starts_with("<!--") && has("<html")) {
        let what = "this is a web page (HTML), whatever its name says; open it in a spreadsheet program and save it as \
                    .xlsx or CSV";
        return Some(what.to_owned());
    }
    if start.starts_with("<?xml") || start.starts_with("<workbook") {
        let what = if has("office:spreadsheet") || has("excel.sheet") {
            "this is an XML spreadsheet of Excel 2003; open it in a spreadsheet program and save it as .xlsx or CSV"
        } else {
            "this is an XML file; save the list as .xlsx or CSV"
        };
        return Some(what.to_owned());
    }
    if start.starts_with("mime-version:") || (start.starts_with("from:") && has("mime-version:")) {
        let what = "this is a web page in one file (MHTML), or a mail; open it in a spreadsheet program and save the list \
                    as .xlsx or CSV";
        return Some(what.to_owned());
    }
    if start.starts_with("{\\rtf") {
        return Some("this is a text document (RTF); save the list as CSV".to_owned());
    }
    let is_json =
        start.starts_with("[{") || start.starts_with("{\"") || start.starts_with("[\n") || start.starts_with("{\n");
    if is_json && start.contains('"') && !is_compound {
        return Some("this is JSON; save the list as CSV, a row a line under one header line".to_owned());
    }
    if start.starts_with("id;p") && has("\nc;") {
        return Some("this is a SYLK file; open it in a spreadsheet program and save it as .xlsx or CSV".to_owned());
    }
    None
}

/// What starts with these bytes.
const BINARY: [(&[u8], &str); 10] = [
    (b"\x1f\x8b", "this is a gzip file; unpack it with `gunzip`, and name the list inside"),
    (b"BZh", "this is a bzip2 file; unpack it with `bunzip2`, and name the list inside"),
    (b"\xfd7zXZ\0", "this is an xz file; unpack it with `unxz`, and name the list inside"),
    (b"\x28\xb5\x2f\xfd", "this is a zstd file; unpack it with `unzstd`, and name the list inside"),
    (b"7z\xbc\xaf\x27\x1c", "this is a 7z archive; unpack it, and name the list inside"),
    (b"Rar!\x1a\x07", "this is a rar archive; unpack it, and name the list inside"),
    (b"%PDF-", "this is a PDF; export the list from where it came from, as .xlsx or CSV"),
    (b"\x89PNG", "this is a picture; export the list from where it came from, as .xlsx or CSV"),
    (b"\xff\xd8\xff", "this is a picture; export the list from where it came from, as .xlsx or CSV"),
    (b"SQLite format 3\0", "this is an SQLite database; a list is needed, as .xlsx or CSV"),
];

/// The first bytes as text, of UTF-16 with a mark, too.
fn start_as_text(head: &[u8]) -> String {
    let head = &head[..head.len().min(2048)];
    match head {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            head.iter().filter(|&&byte| (1..0x80).contains(&byte)).map(|&b| char::from(b)).collect()
        }
        _ => String::from_utf8_lossy(head).into_owned(),
    }
}
