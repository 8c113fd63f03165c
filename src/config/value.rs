//! The kinds of values that settings have: how each is read from text, and how it is shown again.
//!
//! Reading says in its error how the value is written right; what [`Shown::shown`] gives reads back as the same value.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;
use serde::Serialize;

use super::protect::Protected;
use crate::text::quoted;

/// A value of a setting.
pub(crate) trait Value: Sized {
    /// Text for people and for the run's identity: one spelling for each value, and one that reads back.
    fn shown(&self) -> String;

    /// What holds where nothing is said and there is no default.
    fn unset() -> Option<Self> {
        None
    }
}

/// Values whose text is that of `Display`.
macro_rules! displayed {
    ($($type:ty),+) => {
        $(impl Value for $type {
            fn shown(&self) -> String {
                self.to_string()
            }
        })+
    };
}
displayed!(String, u8, u64, NonZeroU32, NonZeroUsize, Rate, Percent, ByteSize, Delimiter, Encoding, DueColumn);

impl<T: Value> Value for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "off".to_owned(), Value::shown)
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

impl Value for bool {
    fn shown(&self) -> String {
        if *self { "on" } else { "off" }.to_owned()
    }
}

impl Value for PathBuf {
    fn shown(&self) -> String {
        self.display().to_string()
    }
}

/// As it is written: `300ms`, `75s`, `10m`, `2h`.
impl Value for Duration {
    fn shown(&self) -> String {
        let millis = self.as_millis();
        match millis {
            _ if !millis.is_multiple_of(1_000) => format!("{millis}ms"),
            _ if millis == 0 || !millis.is_multiple_of(60_000) => format!("{}s", millis / 1_000),
            _ if !millis.is_multiple_of(3_600_000) => format!("{}m", millis / 60_000),
            _ => format!("{}h", millis / 3_600_000),
        }
    }
}

impl Value for Protected {
    fn shown(&self) -> String {
        list_text(&self.patterns().collect::<Vec<_>>())
    }

    fn unset() -> Option<Self> {
        Some(Self::default())
    }
}

/// Reads `off` as nothing, and all else by `read`.
pub(crate) fn or_off<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    read(text).map(Some).map_err(|problem| format!("{problem}; or `off`"))
}

/// Requests started in a second or in a minute at most: `5/s`, `100/min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    count: NonZeroU32,
    per: Per,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
}

impl Rate {
    /// Fastest rate in both units; far above what any service allows.
    const MAX_PER_S: u32 = 10_000;

    /// Reads `N/s` or `N/min`, N whole and from 1.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(count, unit)| {
            let per = match unit.trim() {
                "s" => Per::Second,
                "min" => Per::Minute,
                _ => return None,
            };
            Some((count.trim().parse::<NonZeroU32>().ok()?, per))
        });
        let Some((count, per)) = parts else {
            return Err(format!(
                "{} is not a rate: write a whole number from 1 with `/s` or `/min`, as in `5/s` or `100/min`",
                quoted(text)
            ));
        };
        let max = match per {
            Per::Second => Self::MAX_PER_S,
            Per::Minute => Self::MAX_PER_S * 60,
        };
        if count.get() > max {
            return Err(format!("{} is too fast: at most {}/s", quoted(text), Self::MAX_PER_S));
        }
        Ok(Self { count, per })
    }

    pub(crate) fn per_second(self) -> f64 {
        f64::from(self.count.get()) / f64::from(self.seconds())
    }

    /// Time from one request to the next, rounded up to the nanosecond: the ceiling is never passed by rounding.
    pub(crate) fn period(self) -> Duration {
        let nanos = u64::from(self.seconds()) * 1_000_000_000;
        Duration::from_nanos(nanos.div_ceil(u64::from(self.count.get())))
    }

    const fn seconds(self) -> u32 {
        match self.per {
            Per::Second => 1,
            Per::Minute => 60,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Per::Second => "s",
            Per::Minute => "min",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// A share of a whole, exact to a hundredth of a percent: 0 to 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    hundredths: u32,
}

impl Percent {
    /// Reads `5`, `5%` or `2.5%`.
    pub fn read(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').unwrap_or(text).trim();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let hundredths = (digits(whole) && digits(fraction) && fraction.len() <= 2)
            .then(|| {
                Some(whole.parse::<u32>().ok()?.checked_mul(100)? + format!("{fraction:0<2}").parse::<u32>().ok()?)
            })
            .flatten()
            .filter(|hundredths| *hundredths <= 10_000);
        hundredths.map(|hundredths| Self { hundredths }).ok_or_else(|| {
            format!("{} is not a percentage: write a number from 0 to 100, as in `5%` or `2.5%`", quoted(text))
        })
    }

    /// Whether `part` is more than this share of `whole`; exact, without rounding.
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 10_000 > u128::from(whole) * u128::from(self.hundredths)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hundredths / 100, self.hundredths % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            (whole, rest) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

/// A number of bytes: `65536`, `64 KiB`, `1 MiB`, `12 MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(pub usize);

impl ByteSize {
    /// Least size of a request body: one desktop with one user always fits, its texts at their longest.
    pub(crate) const MIN: Self = Self(4 << 10);
    /// The gateway takes bodies of 12 MB at most. Source: API Gateway, limits.
    pub(crate) const MAX: Self = Self(12_000_000);

    const UNITS: [(&str, usize); 5] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("KB", 1_000), ("MB", 1_000_000), ("B", 1)];

    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = trimmed.split_at(digits);
        let factor = match unit.trim() {
            "" => Some(1),
            unit => Self::UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor),
        };
        let bytes = number.parse::<usize>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        match bytes.map(Self) {
            None => Err(format!(
                "{} is not a size: write a whole number of bytes, or one with a unit, as in `512 KiB` or `1 MiB`",
                quoted(text)
            )),
            Some(size) if size < Self::MIN || size > Self::MAX => {
                Err(format!("{} is out of range: from {} to 12 MB", quoted(text), Self::MIN))
            }
            Some(size) => Ok(size),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = Self::UNITS.iter().filter(|(_, factor)| *factor > 1 && self.0.is_multiple_of(*factor));
        match whole.max_by_key(|(_, factor)| *factor) {
            Some((unit, factor)) if self.0 > 0 => write!(f, "{} {unit}", self.0 / factor),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// Reads a duration, zero included; at most 30 days.
pub(crate) fn wait_or_zero(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
    let trimmed = text.trim();
    let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at(digits);
    let factor = match unit.trim() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    match millis.map(Duration::from_millis) {
        None => Err(format!(
            "{} is not a duration: write a whole number with `ms`, `s`, `m` or `h`, as in `300ms`, `75s` or `10m`",
            quoted(text)
        )),
        Some(wait) if wait > MAX => Err(format!("{} is too long: at most 720h", quoted(text))),
        Some(wait) => Ok(wait),
    }
}

/// Reads a duration of more than nothing.
pub(crate) fn wait(text: &str) -> Result<Duration, String> {
    wait_or_zero(text)
        .and_then(|wait| if wait.is_zero() { Err(format!("{} must be more than 0", quoted(text))) } else { Ok(wait) })
}

/// Reads the time that one request may take: up to 10 minutes, or a stuck one would hold its desktops for too long.
pub(crate) fn request_timeout(text: &str) -> Result<Duration, String> {
    at_most(wait(text)?, Duration::from_secs(600), text)
}

/// Reads the first step of the backoff, whose steps end at 60 s.
pub(crate) fn retry_base(text: &str) -> Result<Duration, String> {
    at_most(wait(text)?, Duration::from_secs(60), text)
}

fn at_most(wait: Duration, max: Duration, text: &str) -> Result<Duration, String> {
    if wait > max { Err(format!("{} is too long: at most {}", quoted(text), max.shown())) } else { Ok(wait) }
}

/// Reads a whole number from 1 to `MAX`.
pub(crate) fn count<const MAX: u32>(text: &str) -> Result<NonZeroU32, String> {
    text.trim()
        .parse::<NonZeroU32>()
        .ok()
        .filter(|count| count.get() <= MAX)
        .ok_or_else(|| format!("{} is not a whole number from 1 to {MAX}", quoted(text)))
}

/// As [`count`], for what is counted in memory.
pub(crate) fn size<const MAX: u32>(text: &str) -> Result<NonZeroUsize, String> {
    count::<MAX>(text).and_then(|count| {
        NonZeroUsize::try_from(count).map_err(|_| format!("{} is too large for this machine", quoted(text)))
    })
}

/// Reads a whole number from 0.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("{} is not a whole number", quoted(text)))
}

/// Reads how much more the logs say: 0 to 3.
pub(crate) fn verbosity(text: &str) -> Result<u8, String> {
    let level = text.trim().parse::<u8>().ok().filter(|level| *level <= 3);
    level.ok_or_else(|| format!("{} is not a number from 0 to 3", quoted(text)))
}

/// A word out of a few.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$inner])* $variant,)+
        }

        impl $name {
            /// The words that stand for it, in the order of the help.
            pub(crate) const WORDS: &'static [&'static str] = &[$($word),+];

            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            pub(crate) fn read(text: &str) -> Result<Self, String> {
                $(if text.trim().eq_ignore_ascii_case($word) {
                    return Ok(Self::$variant);
                })+
                Err(format!("{} is not one of {}", quoted(text), Self::WORDS.join(", ")))
            }
        }

        impl Value for $name {
            fn shown(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}

words! {
    /// What becomes of desktops with a connected session.
    InUse { Detach = "detach", Skip = "skip", }
}
words! {
    /// What one invalid row does to the run.
    OnInvalid {
        /// Stops it before anything is sent.
        Abort = "abort",
        /// The row is left out and reported.
        Skip = "skip",
    }
}
words! {
    LogFormat { Text = "text", Json = "json", }
}
words! {
    Progress {
        /// Bars on a terminal, plain lines elsewhere.
        Auto = "auto",
        On = "on",
        Off = "off",
    }
}
words! {
    Switch { On = "on", Off = "off", }
}
words! {
    /// What becomes of rows that the spreadsheet hides or filters out.
    HiddenRows {
        /// The whole file is refused.
        Refuse = "refuse",
        /// They are no rows.
        Skip = "skip",
        Read = "read",
    }
}
words! {
    /// An empty desktop in a list that has a desktop column.
    EmptyDesktop {
        /// The row is invalid.
        Refuse = "refuse",
        /// It means every desktop of the row's user.
        Every = "every",
    }
}
words! {
    /// A user or a group that the service does not know at all.
    UnknownUsers {
        /// The row is invalid.
        Invalid = "invalid",
        /// It counts as already detached, with a doubt that is told.
        Gone = "gone",
    }
}
words! {
    /// What else a leaver still gets in by, once the run is over.
    StillAccess {
        /// Told.
        Report = "report",
        /// Told, and the run exits with 1.
        Fail = "fail",
        /// Not looked for.
        Off = "off",
    }
}

/// The encoding that the input is in, by one label for each; `None` is detected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoding(pub Option<String>);

impl Encoding {
    /// Reads `auto`, or any label of the WHATWG encoding standard, as `latin1` or `Shift_JIS`.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let label = text.trim();
        match label.to_ascii_lowercase().as_str() {
            "auto" => return Ok(Self(None)),
            // Leaves the order of the bytes to the file's mark.
            "utf-16" => return Ok(Self(Some("utf-16".to_owned()))),
            _ => {}
        }
        match encoding_rs::Encoding::for_label_no_replacement(label.as_bytes()) {
            Some(known) => Ok(Self(Some(known.name().to_ascii_lowercase()))),
            None => Err(format!(
                "{} is no encoding: write `utf-8`, `utf-16`, `gb18030`, `windows-1252` or another label of the WHATWG \
                 encoding standard; or `auto`",
                quoted(text)
            )),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("auto"))
    }
}

impl Switch {
    pub(crate) fn read_bool(text: &str) -> Result<bool, String> {
        Self::read(text).map(|switch| switch == Self::On)
    }
}

/// What parts the cells of a line; `None` is detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delimiter(pub Option<u8>);

impl Delimiter {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        Ok(Self(match text.to_ascii_lowercase().as_str() {
            "auto" => None,
            "," | "comma" => Some(b','),
            ";" | "semicolon" => Some(b';'),
            "\t" | "\\t" | "tab" => Some(b'\t'),
            "|" | "pipe" => Some(b'|'),
            _ => {
                return Err(format!(
                    "{} is not a delimiter: write `,` `;` `tab` or `|` (or the words comma, semicolon, pipe, auto)",
                    quoted(text)
                ));
            }
        }))
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("auto"),
            Some(b'\t') => f.write_str("tab"),
            Some(byte) => write!(f, "{}", char::from(byte)),
        }
    }
}

/// Reads a path. A setting can be written in a file, so its path is Unicode.
pub(crate) fn path(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("is empty: name a file".to_owned());
    }
    Ok(Some(PathBuf::from(text)))
}

/// Reads the name of a sheet.
pub(crate) fn sheet(text: &str) -> Result<Option<String>, String> {
    if text.trim().is_empty() { Err("is empty: name a sheet".to_owned()) } else { Ok(Some(text.to_owned())) }
}

/// The column of the rows' last days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DueColumn {
    /// Dates in the list say nothing: all rows are done now.
    Ignored,
    /// Rows whose date under this header is still to come are not done yet.
    Header(String),
}

impl DueColumn {
    /// Reads a header, or `-`.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Err("is empty: name a header, or write `-` for all rows now".to_owned()),
            "-" => Ok(Self::Ignored),
            header => Ok(Self::Header(header.to_owned())),
        }
    }
}

impl fmt::Display for DueColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ignored => "-",
            Self::Header(header) => header,
        })
    }
}

/// Reads a strftime pattern that says a whole date: year, month and day.
pub(crate) fn date_format(text: &str) -> Result<Option<String>, String> {
    let pattern = text.trim();
    // One that leaves the day or the month out, or turns them round, does not give the same date again.
    let says_a_date = |date: Date| {
        let written = jiff::fmt::strtime::format(pattern, date).ok()?;
        (Date::strptime(pattern, written).ok()? == date).then_some(())
    };
    let dates = [jiff::civil::date(2026, 3, 4), jiff::civil::date(2031, 11, 28)];
    if dates.into_iter().all(|date| says_a_date(date).is_some()) {
        Ok(Some(pattern.to_owned()))
    } else {
        Err(format!("{} is not a pattern for a date: write one as `%d/%m/%Y`, with year, month and day", quoted(text)))
    }
}

/// Which header holds which field, where that is not found out by itself: fields of the input with their headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Columns(pub Vec<(String, String)>);

impl Columns {
    /// The fields that a column of the input can hold.
    pub(crate) const FIELDS: [&'static str; 8] =
        ["desktop_id", "desktop_name", "user_name", "user_email", "user_id", "user_group", "domain", "type"];

    /// Reads a list, as [`list_text`] gives it, of `FIELD=HEADER` entries, or `FIELD=-` where no header holds it; the field is matched without case, blanks, `_` and `-`.
    pub(crate) fn read(list: &str) -> Result<Self, String> {
        let entries = listed(list)?;
        let bare = |text: &str| text.replace([' ', '_', '-'], "").to_lowercase();
        let mut columns: Vec<(String, String)> = Vec::new();
        for entry in &entries {
            let (field, header) = entry
                .split_once('=')
                .filter(|(_, header)| !header.trim().is_empty())
                .ok_or_else(|| format!("{} is not FIELD=HEADER, as in `user_name=Employee`", quoted(entry)))?;
            let Some(known) = Self::FIELDS.iter().find(|known| bare(known) == bare(field)) else {
                return Err(format!("{} is not a field: write one of {}", quoted(field), Self::FIELDS.join(", ")));
            };
            if columns.iter().any(|(earlier, _)| earlier == known) {
                return Err(format!("the field `{known}` is named twice"));
            }
            columns.push(((*known).to_owned(), header.trim().to_owned()));
        }
        // The order says nothing, so two orders are one setting.
        columns.sort();
        Ok(Self(columns))
    }
}

impl Value for Columns {
    fn shown(&self) -> String {
        list_text(&self.0.iter().map(|(field, header)| format!("{field}={header}")).collect::<Vec<_>>())
    }

    fn unset() -> Option<Self> {
        Some(Self::default())
    }
}

/// Reads patterns for names, a list as [`list_text`] gives it.
pub(crate) fn patterns(list: &str) -> Result<Protected, String> {
    Protected::new(listed(list)?.iter().map(String::as_str))
}

/// A list in one line that reads back, whatever its entries hold.
pub(crate) fn list_text<T: Serialize>(entries: &[T]) -> String {
    serde_json::json!(entries).to_string()
}

fn listed(list: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(list).map_err(|_| format!("{} is not a list of texts", quoted(list)))
}

#[cfg(test)]
mod tests;
