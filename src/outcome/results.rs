//! The results file: one record for each row, in input order.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use crate::input::RESULT_COLUMNS;
use crate::input::guard::guard;
use crate::text::{escape_untrusted, is_invisible};

pub(crate) use crate::journal::ResultRow;

impl<'a> ResultRow<'a> {
    pub const fn desktop_id(&self) -> &'a str {
        self.cells[0]
    }

    pub const fn desktop_name(&self) -> &'a str {
        self.cells[1]
    }

    pub const fn user_name(&self) -> &'a str {
        self.cells[2]
    }
}

/// Writes a results file. It is whole only after [`ResultsWriter::finish`].
#[derive(Debug)]
pub struct ResultsWriter<W: Write> {
    csv: csv::Writer<W>,
    extra_columns: usize,
    /// Numbers become text here, so that a row costs no allocation.
    digits: String,
}

impl<W: Write> ResultsWriter<W> {
    /// Begins the file with its header line.
    ///
    /// * `extra_columns`: names of the input's other columns, in their order.
    /// * `bom`: begins with a byte order mark, by which spreadsheets know UTF-8.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new<S: AsRef<str>>(mut out: W, extra_columns: &[S], bom: bool) -> io::Result<Self> {
        if bom {
            out.write_all("\u{FEFF}".as_bytes())?;
        }
        let mut csv = csv::Writer::from_writer(out);
        for name in RESULT_COLUMNS {
            csv.write_field(name)?;
        }
        for name in extra_columns {
            csv.write_field(guard(name.as_ref()).as_bytes())?;
        }
        csv.write_record(None::<&[u8]>)?;
        Ok(Self { csv, extra_columns: extra_columns.len(), digits: String::new() })
    }

    /// Adds one record. Cells stay as they are (the formula guard apart); text from the API is made safe to show.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn write(&mut self, row: &ResultRow<'_>) -> io::Result<()> {
        let result = row.result;
        let (code, message) = result.words();
        self.number(u64::from(result.attempts))?;
        let attempts = std::mem::take(&mut self.digits);
        self.number(row.line)?;
        self.csv.write_field(&self.digits)?;
        for cell in row.cells {
            self.csv.write_field(guard(cell).as_bytes())?;
        }
        self.csv.write_field(result.outcome.as_str())?;
        for text in [&result.job_id, code, message] {
            self.foreign(text)?;
        }
        self.csv.write_field(&attempts)?;
        for text in [&result.request_id, &result.part, &result.finished_at] {
            self.foreign(text)?;
        }
        self.foreign(row.still_via)?;
        for column in 0..self.extra_columns {
            let cell = row.extras.get(column).copied().unwrap_or_default();
            self.csv.write_field(guard(cell).as_bytes())?;
        }
        self.csv.write_record(None::<&[u8]>)?;
        self.digits = attempts;
        Ok(())
    }

    /// Flushes and gives the writer back, for the caller to sync and rename.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn finish(mut self) -> io::Result<W> {
        self.csv.flush()?;
        self.csv.into_inner().map_err(csv::IntoInnerError::into_error)
    }

    fn number(&mut self, number: u64) -> io::Result<()> {
        self.digits.clear();
        write!(self.digits, "{number}").map_err(io::Error::other)
    }

    fn foreign(&mut self, text: &str) -> io::Result<()> {
        Ok(self.csv.write_field(guard(&safe(text)).as_bytes())?)
    }
}

/// [`escape_untrusted`] without a bound and, for text that is safe already, without a copy.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~')); // nearly always, and told much faster
    if !is_plain && text.chars().any(|c| c.is_control() || is_invisible(c)) {
        Cow::Owned(escape_untrusted(text, usize::MAX))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::input::guard::unguard;
    use crate::journal::RowOutcome;
    use crate::model::Outcome;

    fn refused() -> RowOutcome {
        RowOutcome {
            attempts: 3,
            request_id: "7e1f".to_owned(),
            part: "7.2".to_owned(),
            finished_at: "2026-11-24T04:14:09.120Z".to_owned(),
            ..RowOutcome::new(Outcome::Failed, "WKS.00010032".to_owned(), "Operation conflict.".to_owned())
        }
    }

    fn row<'a>(cells: [&'a str; 7], extras: &'a [&'a str], result: &'a RowOutcome) -> ResultRow<'a> {
        ResultRow { line: 2, cells, result, still_via: "", extras }
    }

    fn written(columns: &[&str], rows: &[ResultRow<'_>], bom: bool) -> String {
        let mut writer = ResultsWriter::new(Vec::new(), columns, bom).unwrap();
        for row in rows {
            writer.write(row).unwrap();
        }
        String::from_utf8(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_file_has_the_documented_columns_and_then_those_of_the_input() {
        let cells = ["d-1", "PC-1", "zhang.san", "u-1", "sudo", "USER", ""];
        let text = written(&["ticket", "last, day"], &[row(cells, &["INC-1", "2026-11-30"], &refused())], false);
        insta::assert_snapshot!(text, @r#"
        line,desktop_id,desktop_name,user_name,user_id,user_group,type,domain,outcome,job_id,error_code,error_msg,attempts,request_id,chunk,finished_at,still_via,ticket,"last, day"
        2,d-1,PC-1,zhang.san,u-1,sudo,USER,,failed,,WKS.00010032,Operation conflict.,3,7e1f,7.2,2026-11-24T04:14:09.120Z,,INC-1,2026-11-30
        "#);
    }

    #[test]
    fn a_success_carries_no_error_though_it_was_refused_on_the_way() {
        let detached = RowOutcome { outcome: Outcome::Detached, ..refused() };
        let text = written(&[], &[row(["d", "", "u", "", "", "", ""], &[], &detached)], false);
        assert!(text.ends_with("detached,,,,3,7e1f,7.2,2026-11-24T04:14:09.120Z,\n"), "{text}");
    }

    #[test]
    fn a_byte_order_mark_comes_first_where_it_is_wanted() {
        assert!(written(&[], &[], true).starts_with("\u{FEFF}line,"));
        assert!(written(&[], &[], false).starts_with("line,"));
    }

    #[test]
    fn a_short_row_is_filled_with_blanks() {
        let text = written(&["a", "b"], &[row(["d", "", "u", "", "", "", ""], &["1"], &refused())], false);
        assert!(text.ends_with(",1,\n"), "{text}");
    }

    #[test]
    fn p21_text_of_the_api_carries_no_controls_and_starts_no_formula() {
        let hostile = RowOutcome {
            code: "=cmd|x".to_owned(),
            message: "a\x1b[31m\u{202e}b\nc".to_owned(),
            job_id: "@job".to_owned(),
            ..refused()
        };
        let text = written(&[], &[row(["d", "", "u", "", "", "", ""], &[], &hostile)], false);
        assert!(text.contains("'@job,'=cmd|x,a\\u{1b}[31m\\u{202e}b\\u{a}c,"), "{text}");
    }

    #[test]
    fn an_error_of_the_disk_is_not_lost() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = ResultsWriter::new(Full, &[] as &[&str], false).unwrap();
        let outcome =
            writer.write(&row(["d", "", "u", "", "", "", ""], &[], &refused())).and_then(|()| writer.finish());
        assert_eq!(outcome.err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
    }

    proptest! {
        #[test]
        fn p21_results_read_back_give_the_same_cells(
            cells in proptest::array::uniform7("[-=+@'\"\t\r\n＝＋－＠0-9.,;a张]{0,6}|.*"),
            extras in proptest::collection::vec("[-=+@'\"\t\r\n＝＋－＠0-9.,;a张]{0,6}|.*", 0..4),
            line in 2_u64..,
        ) {
            let extras: Vec<&str> = extras.iter().map(String::as_str).collect();
            let result = refused();
            let given = ResultRow { line, ..row(cells.each_ref().map(String::as_str), &extras, &result) };
            let text = written(&vec!["x"; extras.len()], &[given], false);
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let records: Vec<_> = reader.records().collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(records.len(), 1);
            let read: Vec<&str> = records[0].iter().map(unguard).collect();
            prop_assert_eq!(read[0], line.to_string());
            prop_assert_eq!(&read[1..8], given.cells.as_slice());
            prop_assert_eq!(&read[17..], extras.as_slice());
        }
    }
}
