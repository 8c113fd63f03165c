//! Every setting, declared once: its name, type, default, check, and the text that people read about it.
//!
//! Options of the command line, variables, the config file's keys, [`Settings`] and what of them belongs to a run's
//! identity all come from here.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::address;
use super::origin::Origin;
use super::protect::Protected;
use super::value::{
    self, ByteSize, Columns, Delimiter, DueColumn, EmptyDesktop, Encoding, HiddenRows, InUse, LogFormat, OnInvalid,
    Percent, Progress, Rate, StillAccess, Switch, UnknownUsers, Value,
};
use crate::error::Error;

/// Which part of the command line offers a setting as an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Safety,
    Pace,
    Api,
    /// How an input is read.
    Reading,
    /// What the rows of an input mean.
    Meaning,
    Output,
    /// None: a wait, or an option of an unusual shape (`-v`).
    Nowhere,
}

/// Whether a run that goes on under another value is refused, because the plan would be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shapes {
    Nothing,
    Plan,
    /// By how the input is read, or what it means; an undo's input is a journal, so this says nothing about it.
    Input,
}

/// How many values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    One,
    /// A higher layer replaces a lower one.
    List,
    /// A list that adds up over all layers.
    AllLists,
}

/// What is said about one setting.
pub struct Declared {
    pub name: &'static str,
    /// What it is, as written above its declaration.
    doc: &'static str,
    pub default: Option<&'static str>,
    /// What the help says in place of a default, or after it.
    pub otherwise: &'static str,
    /// What the help calls the value.
    pub placeholder: &'static str,
    /// The words that a value must be one of, if it must.
    pub words: &'static [&'static str],
    pub group: Group,
    /// Whether the short help has it.
    pub is_everyday: bool,
    pub shapes: Shapes,
    /// Whether the default belongs to a run's identity, too. It does not for settings that came later: journals of
    /// versions that did not know them can still be resumed, and plans keep their hashes.
    pub counts_at_default: bool,
    pub takes: Takes,
    /// Reads a value and gives it in its one spelling; else says how it is written right. Lists are JSON.
    pub check: fn(&str) -> Result<String, String>,
}

impl Declared {
    const BASE: Self = Self {
        name: "",
        doc: "",
        default: None,
        otherwise: "",
        placeholder: "",
        words: &[],
        group: Group::Nowhere,
        is_everyday: false,
        shapes: Shapes::Nothing,
        counts_at_default: true,
        takes: Takes::One,
        check: |text| Ok(text.to_owned()),
    };

    /// The short help, which is the first paragraph with the default, and the long one.
    pub(crate) fn help(&self) -> (String, String) {
        let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<&str> = self.doc.lines().map(str::trim).collect();
        let text = lines.join("\n");
        let (first, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let default = match (self.default, self.otherwise) {
            (Some(default), "") => default.to_owned(),
            (Some(default), otherwise) => format!("{default}, {otherwise}"),
            (None, "") => "none".to_owned(),
            (None, otherwise) => otherwise.to_owned(),
        };
        let short = format!("{} [default: {default}]", words(first));
        let long = if rest.is_empty() { short.clone() } else { format!("{short}\n\n{}", words(rest)) };
        (short, long)
    }
}

/// One setting as `plan -v` shows it; a list that adds up has a line for each entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingLine {
    pub name: &'static str,
    pub value: String,
    pub origin: Origin,
}

/// What was said of the settings, default or not.
pub(super) trait Said {
    /// The value of one setting.
    ///
    /// # Errors
    /// [`Error::Setting`] where `read` refuses it; [`Error::Internal`] where a setting that must have a default lacks it.
    fn value<T: Value>(&self, name: &str, read: fn(&str) -> Result<T, String>) -> Result<T, Error>;
}

macro_rules! settings {
    ($($(#[doc = $help:literal])+ $field:ident $name:literal: $type:ty = $read:expr, { $($said:tt)* };)+) => {
        /// All settings, in the order in which they are shown.
        pub const DECLARED: &[Declared] = &[$(Declared {
            name: $name,
            doc: concat!($($help, "\n"),+),
            check: |text| {
                let read: fn(&str) -> Result<$type, String> = $read;
                read(text).map(|value| value.shown())
            },
            $($said)*
            ..Declared::BASE
        }),+];

        /// All settings of a run, each within its bounds and none against another.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $($(#[doc = $help])+ pub(crate) $field: $type,)+
            lines: Vec<SettingLine>,
            shaping: BTreeMap<String, String>,
        }

        impl Settings {
            /// Reads what was said; whether the values go together is not looked at here.
            pub(super) fn of(
                said: &impl Said,
                lines: Vec<SettingLine>,
                shaping: BTreeMap<String, String>,
            ) -> Result<Self, Error> {
                Ok(Self { $($field: said.value($name, $read)?,)+ lines, shaping })
            }
        }
    };
}

settings! {
    /// The region, as `cn-north-4`
    region "region": Option<String> = |text| address::region(text).map(Some),
        { group: Group::Api, placeholder: "ID", otherwise: "the credentials'", is_everyday: true, };
    /// The address of Workspace, as `https://host`
    endpoint "endpoint": Option<String> = |text| address::endpoint(text).map(Some),
        { group: Group::Api, placeholder: "URL", otherwise: "the region's", };
    /// The address of IAM
    iam_endpoint "iam-endpoint": Option<String> = |text| address::iam_endpoint(text).map(Some),
        { group: Group::Api, placeholder: "URL", otherwise: "the region's", };
    /// The project's id
    project_id "project-id": Option<String> = |text| address::project_id(text).map(Some),
        { group: Group::Api, placeholder: "ID", otherwise: "looked up by the region", };
    /// A PEM file of certificates to trust, too
    ca_file "ca-file": Option<PathBuf> = value::path,
        { group: Group::Api, placeholder: "FILE", };

    /// Writes started at most, as `5/s` or `100/min`
    write_rate "write-rate": Rate = Rate::read,
        { group: Group::Pace, placeholder: "RATE", default: Some("100/min"), is_everyday: true, };
    /// Reads started at most, for each operation by itself
    read_rate "read-rate": Rate = Rate::read,
        { group: Group::Pace, placeholder: "RATE", default: Some("200/min"), };
    /// Requests in flight at most
    concurrency "concurrency": NonZeroUsize = value::size::<1_000>,
        { group: Group::Pace, placeholder: "N", default: Some("8"), };
    /// Desktops in one request at most, 1 to 100
    max_desktops_per_request "max-desktops-per-request": NonZeroUsize = value::size::<100>,
        { group: Group::Pace, placeholder: "N", default: Some("100"), shapes: Shapes::Plan, };
    /// Users in one request at most, over all its desktops
    max_users_per_request "max-users-per-request": NonZeroUsize = value::size::<50_000>,
        { group: Group::Pace, placeholder: "N", default: Some("5000"), shapes: Shapes::Plan, };
    /// Size of one request's body at most, 4 KiB to 12 MB
    max_request_bytes "max-request-bytes": ByteSize = ByteSize::read,
        { group: Group::Pace, placeholder: "N", default: Some("1 MiB"), shapes: Shapes::Plan, };
    /// Start nothing new after that long, as `2h`; run again to go on
    max_runtime "max-runtime": Option<Duration> = |text| value::or_off(text, value::wait),
        { group: Group::Pace, placeholder: "DURATION", default: Some("off"), };

    /// Refuse a plan of more desktops than this
    max_desktops "max-desktops": Option<u64> = |text| value::or_off(text, value::number),
        { group: Group::Safety, placeholder: "N", default: Some("off"), is_everyday: true, };
    /// Refuse a plan that touches a larger share of the assigned desktops
    max_percent "max-percent": Option<Percent> = |text| value::or_off(text, Percent::read),
        { group: Group::Safety, placeholder: "P", default: Some("off"), };
    /// Users, groups, desktops that are never touched
    ///
    /// Whatever else is said. `*` is any text, `?` one character, `[a-z]` one of a set, `{a,b}` either; without case.
    /// Adds up over options, environment and config file. The members of a group are not looked up.
    protect "protect": Protected = value::patterns,
        { group: Group::Safety, placeholder: "PATTERN,…", takes: Takes::AllLists, is_everyday: true,
          shapes: Shapes::Plan, };
    /// Desktops with a connected session
    in_use "in-use": InUse = InUse::read,
        { group: Group::Safety, words: InUse::WORDS, default: Some("detach"), is_everyday: true,
          shapes: Shapes::Plan, };
    /// An invalid row stops the run, or is left out
    on_invalid "on-invalid": OnInvalid = OnInvalid::read,
        { group: Group::Safety, words: OnInvalid::WORDS, default: Some("abort"), is_everyday: true,
          shapes: Shapes::Plan, };
    /// Send N desktops first; go on when all are verified
    canary "canary": Option<NonZeroU32> = |text| value::or_off(text, value::count::<{ u32::MAX }>),
        { group: Group::Safety, placeholder: "N", default: Some("off"), is_everyday: true, shapes: Shapes::Plan, };
    /// Stop when more than P % of the rows failed, from the 20th on
    stop_at "stop-at": Option<Percent> = |text| value::or_off(text, Percent::read),
        { group: Group::Safety, placeholder: "P%", default: Some("off"), };
    /// Read the bindings before the writes
    ///
    /// To resolve names, to leave out what is gone, and to keep what `undo` needs.
    preflight "preflight": bool = Switch::read_bool,
        { group: Group::Safety, words: Switch::WORDS, default: Some("on"), shapes: Shapes::Plan, };
    /// Read the bindings after the writes: a row is `detached` only when seen gone
    verify "verify": bool = Switch::read_bool,
        { group: Group::Safety, words: Switch::WORDS, default: Some("on"), };

    /// utf-8, utf-16, gb18030, windows-1252 or another label
    ///
    /// Any label of the WHATWG encoding standard.
    encoding "encoding": Encoding = Encoding::read,
        { group: Group::Reading, placeholder: "NAME", default: Some("auto"), otherwise: "which finds it out",
          shapes: Shapes::Input, };
    /// `,` `;` `tab` or `|`
    delimiter "delimiter": Delimiter = Delimiter::read,
        { group: Group::Reading, placeholder: "CHARACTER", default: Some("auto"), otherwise: "which finds it out",
          shapes: Shapes::Input, };
    /// The sheet of an .xlsx, .xls or .ods file
    sheet "sheet": Option<String> = value::sheet,
        { group: Group::Reading, placeholder: "NAME", otherwise: "found out", shapes: Shapes::Input, };
    /// Which header holds a field, as `user_name=Employee`, or `type=-` for none; may be repeated
    columns "column": Columns = Columns::read,
        { group: Group::Reading, placeholder: "FIELD=HEADER", otherwise: "by the known headers", takes: Takes::List,
          shapes: Shapes::Input, };
    /// The line, or the sheet's row, that the header stands on
    header_row "header-row": Option<NonZeroU32> = |text| value::count::<{ u32::MAX }>(text).map(Some),
        { group: Group::Reading, placeholder: "N", otherwise: "the first", shapes: Shapes::Input, };
    /// Rows that the spreadsheet hides or filters out
    ///
    /// `refuse` refuses the whole file; skipped ones are no rows: they are counted, and get no record in the results.
    hidden_rows "hidden-rows": HiddenRows = HiddenRows::read,
        { group: Group::Reading, words: HiddenRows::WORDS, default: Some("refuse"), shapes: Shapes::Input,
          counts_at_default: false, };
    /// A row without a desktop, in a list with a desktop column
    ///
    /// Refused as invalid, or taken for every desktop of its user.
    empty_desktop "empty-desktop": EmptyDesktop = EmptyDesktop::read,
        { group: Group::Meaning, words: EmptyDesktop::WORDS, default: Some("refuse"), shapes: Shapes::Input,
          counts_at_default: false, };
    /// Leave out rows whose date under this header is still to come
    ///
    /// They are `not_due`. `-` says that dates in the list mean nothing: all rows now.
    due_column "due-column": Option<DueColumn> = |text| DueColumn::read(text).map(Some),
        { group: Group::Meaning, placeholder: "HEADER", shapes: Shapes::Input, };
    /// How dates are written, as `%d/%m/%Y`
    date_format "date-format": Option<String> = value::date_format,
        { group: Group::Meaning, placeholder: "FORMAT", otherwise: "2026-11-30, 30.11.2026 and the like",
          shapes: Shapes::Input, };
    /// A user or group that the service does not know at all
    ///
    /// An invalid row, or one that counts as already detached, with a warning: for lists that are kept for ever.
    unknown_users "unknown-users": UnknownUsers = UnknownUsers::read,
        { group: Group::Meaning, words: UnknownUsers::WORDS, default: Some("invalid"), shapes: Shapes::Input,
          counts_at_default: false, };
    /// What else each leaver still gets in by, after the run
    ///
    /// Another desktop, a group or a pool. `fail` makes the run exit with 1 where there is something; `off` does not
    /// look.
    still_access "still-access": StillAccess = StillAccess::read,
        { group: Group::Safety, words: StillAccess::WORDS, default: Some("report"), };

    /// A Prometheus text file, written at the end
    metrics "metrics": Option<PathBuf> = value::path,
        { group: Group::Output, placeholder: "FILE", };
    /// How logs are written
    log_format "log-format": LogFormat = LogFormat::read,
        { group: Group::Output, words: LogFormat::WORDS, default: Some("text"), };
    /// Where logs go
    log_file "log-file": Option<PathBuf> = value::path,
        { group: Group::Output, placeholder: "FILE", otherwise: "standard error", };
    /// How much more the logs say: 0 to 3
    verbose "verbose": u8 = value::verbosity,
        { default: Some("0"), };
    /// Errors alone; `verbose` is 0 then
    quiet "quiet": bool = Switch::read_bool,
        { default: Some("off"), };
    /// Bars on a terminal, elsewhere a line every 30 s
    progress "progress": Progress = Progress::read,
        { group: Group::Output, words: Progress::WORDS, default: Some("auto"), };

    /// One whole request, its answer included
    request_timeout "request-timeout": Duration = value::request_timeout,
        { default: Some("75s"), };
    /// Between the two good reads that an outcome rests on, at least
    settle_time "settle-time": Duration = value::wait,
        { default: Some("5s"), };
    /// Between two reads of what is not settled yet
    poll_interval "poll-interval": Duration = value::wait,
        { default: Some("5s"), };
    /// From a send in doubt to the first read that counts
    doubt_wait "doubt-wait": Duration = value::wait,
        { default: Some("30s"), };
    /// Before a busy desktop is looked at again; doubles, to 2 minutes
    busy_wait "busy-wait": Duration = value::wait,
        { default: Some("15s"), };
    /// First step of the growing wait between repeats
    retry_base "retry-base": Duration = value::retry_base,
        { default: Some("1s"), };
    /// What can't be read for so long is unknown
    read_back_deadline "read-back-deadline": Duration = value::wait,
        { default: Some("10m"), };
    /// Without any success for so long, the run stops and can go on later
    outage_limit "outage-limit": Duration = value::wait,
        { default: Some("30m"), };
    /// For open requests after a stop; may be zero
    drain_time "drain-time": Duration = value::wait_or_zero,
        { default: Some("30s"), };
}

impl Settings {
    /// Every setting that has a value, with the place it comes from, in the order of [`DECLARED`].
    pub fn origins(&self) -> &[SettingLine] {
        &self.lines
    }

    /// The settings that shape a plan, by name, each in its one spelling: part of a run's identity. The options
    /// `--only`, `--as-of` and `--allow-detach-all` belong to it as well; the command line adds them.
    pub fn plan_shaping(&self) -> BTreeMap<String, String> {
        self.shaping.clone()
    }
}

/// The place of a setting in [`DECLARED`].
pub(super) fn place_of(name: &str) -> Option<usize> {
    DECLARED.iter().position(|setting| setting.name == name)
}
