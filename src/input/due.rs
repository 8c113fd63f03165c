//! The day from which on a row is to be done, and how days are written in lists.

use jiff::civil::Date;

use crate::text::{counted, escape_untrusted, shell_quote};

/// Whether rows wait for a day that the list says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Due {
    /// Every row is done now, whatever days the list says.
    #[default]
    Now,
    /// The list is refused where a column that is known to hold people's last days says one after this day: whoever
    /// gave it may have meant those rows for later.
    Ask {
        /// The day of today.
        today: Date,
        /// See [`Due::By`].
        format: Option<String>,
    },
    /// Rows whose day is after `as_of` are left out.
    By {
        /// The header of the column that says the day.
        header: String,
        /// The last day that is due.
        as_of: Date,
        /// A strftime pattern, for days that are written otherwise than the usual ways.
        format: Option<String>,
    },
}

impl Due {
    /// What a cell says in the way that the list writes days.
    pub(super) fn read(&self, cell: &str) -> Day {
        let format = match self {
            Self::Now => None,
            Self::Ask { format, .. } | Self::By { format, .. } => format.as_deref(),
        };
        match format.and_then(|format| Date::strptime(format, cell).ok()) {
            Some(day) => Day::Known(day),
            None => read(cell),
        }
    }
}

/// What a cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Day {
    Known(Date),
    /// Day and month, or month and day: the earlier date and the later one.
    Either(Date, Date),
    Unreadable,
}

/// Days in columns of known names, in a list of which nobody said what they mean.
#[derive(Debug, Default)]
pub(super) struct Unasked {
    /// Rows whose day may be still to come, and of the first the line, the column and the day.
    to_come: (u64, Option<(u64, usize, Date)>),
    /// Cells that hold something else than a date, and of the first the line and the column.
    unread: (u64, Option<(u64, usize)>),
}

impl Unasked {
    pub(super) fn note(&mut self, day: Day, today: Date, column: usize, line: u64) {
        match day {
            // Which of the two it is nobody knows: where one is to come, somebody has to say.
            Day::Known(day) | Day::Either(_, day) if day > today => {
                self.to_come.0 += 1;
                self.to_come.1.get_or_insert((line, column, day));
            }
            Day::Known(_) | Day::Either(..) => {}
            Day::Unreadable => {
                self.unread.0 += 1;
                self.unread.1.get_or_insert((line, column));
            }
        }
    }

    /// * `headers`: of all columns.
    ///
    /// # Errors
    /// In words, where days are still to come.
    pub(super) fn refuse(&self, headers: &[String]) -> Result<(), String> {
        let (rows, Some((line, column, day))) = &self.to_come else { return Ok(()) };
        let header = headers.get(*column).map_or("", String::as_str);
        let (name, quoted) = (escape_untrusted(header, 60), shell_quote(header));
        Err(format!(
            "the column \"{name}\" says days that are still to come ({}, the first on line {line}: {day}), and nothing says \
             what that means. To leave those rows until their day, say --due-column {quoted}; to do all rows now, say \
             --due-column -",
            counted(*rows, "row", "rows")
        ))
    }

    pub(super) fn unread_note(&self, headers: &[String]) -> Option<String> {
        let (cells, first) = &self.unread;
        let (line, column) = first.as_ref()?;
        let header = headers.get(*column).map_or("", String::as_str);
        Some(format!(
            "the column \"{}\" may hold days that are still to come: {} can't be read as a date (the first on line {line}). \
             Say --due-column and --date-format, if they count",
            escape_untrusted(header, 60),
            counted(*cells, "cell", "cells")
        ))
    }
}

/// Headers of columns that hold people's last days, normalised.
pub(super) const HEADERS: [&str; 6] = ["lastday", "leavedate", "enddate", "terminationdate", "离职日期", "最后工作日"];

/// Reads what can be read in one way alone: `2026-11-30`, `2026/11/30`, `30.11.2026`, `2026年11月30日`; a time of the day
/// may follow.
fn read(cell: &str) -> Day {
    let text = without_time(cell.trim());
    let known = |[year, month, day]: [&str; 3]| {
        let is_year = year.len() == 4;
        calendar(year, month, day).filter(|_| is_year).map_or(Day::Unreadable, Day::Known)
    };
    if let Some((year, rest)) = text.split_once('年') {
        let day = rest.split_once('月').and_then(|(month, day)| Some((month, day.strip_suffix(['日', '号'])?)));
        return day.map_or(Day::Unreadable, |(month, day)| known([year, month, day].map(str::trim)));
    }
    for separator in ['-', '/', '.'] {
        let parts: Vec<&str> = text.split(separator).collect();
        match *parts.as_slice() {
            [day, month, year] if separator == '.' => return known([year, month, day]),
            [first, second, year] if year.len() == 4 => return either(year, first, second),
            [year, month, day] => return known([year, month, day]),
            _ => {}
        }
    }
    Day::Unreadable
}

/// A date whose first number may be the day or the month.
fn either(year: &str, first: &str, second: &str) -> Day {
    match (calendar(year, first, second), calendar(year, second, first)) {
        (Some(one), Some(other)) if one != other => Day::Either(one.min(other), one.max(other)),
        _ => Day::Unreadable,
    }
}

fn calendar(year: &str, month: &str, day: &str) -> Option<Date> {
    let number = |text: &str, most: usize| {
        let is_one = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_one.then(|| text.parse::<i16>().ok()).flatten()
    };
    let (month, day) = (number(month, 2)?, number(day, 2)?);
    Date::new(number(year, 4)?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// Takes off a time of the day, as spreadsheets write it behind a date: ` 0:00`, `T18:00:00`.
fn without_time(text: &str) -> &str {
    let is_time = |time: &str| {
        let parts: Vec<&str> = time.split(':').collect();
        let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        (2..=3).contains(&parts.len()) && parts.iter().all(is_number)
    };
    match text.split_once([' ', 'T']) {
        Some((day, time)) if is_time(time.trim()) => day,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: Date = date(2026, 11, 30);

    #[test]
    fn a_date_is_read_where_it_can_be_read_in_one_way_alone() {
        for text in [
            "2026-11-30",
            "2026/11/30",
            "30.11.2026",
            "2026年11月30日",
            "2026 年 11 月 30 日",
            "2026-11-30 00:00:00",
            "2026/11/30 0:00",
            "2026-11-30T18:30:00.000",
        ] {
            assert_eq!(Due::Now.read(text), Day::Known(EXAMPLE), "{text}");
        }
        assert_eq!(Due::Now.read("2026/1/5"), Day::Known(date(2026, 1, 5)));
        assert_eq!(Due::Now.read("03/04/2026"), Day::Either(date(2026, 3, 4), date(2026, 4, 3)));
        for text in ["", "x", "30.11.26", "26-11-30", "2026-02-30", "13/11/2026", "46356", "2026-11", "2026.11.30", "-"]
        {
            assert_eq!(Due::Now.read(text), Day::Unreadable, "{text}");
        }
    }

    #[test]
    fn a_pattern_adds_to_the_usual_ways() {
        let due = Due::Ask { today: EXAMPLE, format: Some("%d/%m/%Y".to_owned()) };
        assert_eq!(due.read("03/04/2026"), Day::Known(date(2026, 4, 3)));
        assert_eq!(due.read("2026-11-30"), Day::Known(EXAMPLE));
        let due = Due::Ask { today: EXAMPLE, format: Some("%b %d, %Y".to_owned()) };
        assert_eq!(due.read("Nov 30, 2026"), Day::Known(EXAMPLE));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9年月日./: T-]{0,24}|.{0,12}") {
            _ = read(&text);
        }

        #[test]
        fn what_is_written_in_one_way_reads_back(year in 1000..9999_i16, month in 1..=12_i8, day in 1..=28_i8) {
            let wanted = Day::Known(date(year, month, day));
            for text in [
                format!("{year}-{month:02}-{day:02}"), format!("{year}/{month}/{day}"), format!("{day}.{month}.{year}"),
                format!("{year}年{month}月{day}日"),
            ] {
                prop_assert_eq!(read(&text), wanted);
            }
        }
    }
}
