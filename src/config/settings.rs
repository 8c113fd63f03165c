//! [`Settings`]: complete and checked. The only way to get them is [`Layer::resolve`].

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::layer::{Layer, Origin, Sourced};
use super::protect::Protected;
use super::value::{
    DueColumn, EmptyDesktop, HiddenRows, InUse, LogFormat, OnInvalid, Percent, Progress, Rate, StillAccess,
    UnknownUsers, Wait,
};
use crate::error::Error;

/// All settings of a run, each within its bounds and none against another. INTERFACE.md says what each does.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub region: Option<String>,
    /// `https://host[:port]`, no slash at its end.
    pub endpoint: Option<String>,
    /// As `endpoint`; without the version (`/v3`).
    pub iam_endpoint: Option<String>,
    pub project_id: Option<String>,
    pub ca_file: Option<PathBuf>,

    pub write_rate: Rate,
    pub read_rate: Rate,
    pub concurrency: NonZeroUsize,
    /// 1 to 100.
    pub max_desktops_per_request: NonZeroUsize,
    /// 1 to 50,000, over all desktops of a request.
    pub max_users_per_request: NonZeroUsize,
    /// Bytes of the JSON body; 4 KiB to 12 MB.
    pub max_request_bytes: usize,
    pub max_runtime: Option<Duration>,

    pub max_desktops: Option<u64>,
    pub max_percent: Option<Percent>,
    pub protect: Protected,
    pub in_use: InUse,
    pub on_invalid: OnInvalid,
    pub canary: Option<NonZeroU32>,
    pub stop_at: Option<Percent>,
    pub preflight: bool,
    pub verify: bool,

    /// A label of the WHATWG standard; `None` is detected.
    pub encoding: Option<String>,
    /// `,`, `;`, tab or `|`; `None` is detected.
    pub delimiter: Option<u8>,
    pub sheet: Option<String>,
    /// Field and header, each field once, in the order of their names; `-` says that no header holds the field.
    pub columns: Vec<(String, String)>,
    /// The line, or the sheet's row, that the header stands on, from 1; `None` is the first.
    pub header_row: Option<NonZeroU32>,
    pub hidden_rows: HiddenRows,
    pub empty_desktop: EmptyDesktop,
    /// `None`: nothing was said about dates.
    pub due_column: Option<DueColumn>,
    /// A strftime pattern, beside the formats that are read by themselves.
    pub date_format: Option<String>,
    pub unknown_users: UnknownUsers,
    pub still_access: StillAccess,

    pub metrics: Option<PathBuf>,
    pub log_format: LogFormat,
    /// `None` is standard error.
    pub log_file: Option<PathBuf>,
    /// 0 to 3: how much more the logs say.
    pub verbose: u8,
    /// Errors alone; `verbose` is 0 then.
    pub quiet: bool,
    pub progress: Progress,

    pub waits: Waits,

    lines: Vec<SettingLine>,
    shaping: BTreeMap<String, String>,
}

/// How long to wait for what. RELIABILITY.md has their use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// One whole request, its answer included.
    pub request_timeout: Duration,
    /// Between the two good reads that an outcome rests on, at least.
    pub settle_time: Duration,
    /// Between two reads of what is not settled yet.
    pub poll_interval: Duration,
    /// From a send in doubt to the first read that counts.
    pub doubt_wait: Duration,
    /// Before a busy desktop is looked at again; doubles, to 2 minutes.
    pub busy_wait: Duration,
    /// First step of the backoff.
    pub retry_base: Duration,
    pub read_back_deadline: Duration,
    pub outage_limit: Duration,
    /// For open writes after a stop; may be zero.
    pub drain_time: Duration,
}

/// One setting as `plan -v` shows it; `protect` has a line for each pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingLine {
    pub name: &'static str,
    pub value: String,
    pub origin: Origin,
}

impl Layer {
    /// The only way to get [`Settings`]: fill in the defaults, then check the whole.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first setting that stands against another one, or whose pattern is none.
    pub fn resolve(self) -> Result<Settings, Error> {
        let layer = self.over(Self::defaults()?);
        check_together(&layer)?;
        for set in &layer.protect {
            Protected::new([set.value.as_str()]).map_err(|problem| wrong("protect", &set.origin, problem))?;
        }
        let shaping = layer.plan_shaping();
        let lines =
            layer.lines().into_iter().map(|(name, value, origin)| SettingLine { name, value, origin }).collect();
        let protect = Protected::new(layer.protect.iter().map(|set| set.value.as_str())).map_err(Error::Internal)?;
        Ok(Settings {
            region: plain(layer.region),
            endpoint: plain(layer.endpoint),
            iam_endpoint: plain(layer.iam_endpoint),
            project_id: plain(layer.project_id),
            ca_file: plain(layer.ca_file).map(|path| path.0),
            write_rate: set(layer.write_rate)?,
            read_rate: set(layer.read_rate)?,
            concurrency: set(layer.concurrency)?,
            max_desktops_per_request: set(layer.max_desktops_per_request)?,
            max_users_per_request: set(layer.max_users_per_request)?,
            max_request_bytes: set(layer.max_request_bytes)?.0,
            max_runtime: set(layer.max_runtime)?.0.map(|wait| wait.0),
            max_desktops: set(layer.max_desktops)?.0,
            max_percent: set(layer.max_percent)?.0,
            protect,
            in_use: set(layer.in_use)?,
            on_invalid: set(layer.on_invalid)?,
            canary: set(layer.canary)?.0,
            stop_at: set(layer.stop_at)?.0,
            preflight: set(layer.preflight)?.is_on(),
            verify: set(layer.verify)?.is_on(),
            encoding: set(layer.encoding)?.0,
            delimiter: set(layer.delimiter)?.0,
            sheet: plain(layer.sheet),
            columns: plain(layer.column).unwrap_or_default().0,
            header_row: plain(layer.header_row),
            hidden_rows: set(layer.hidden_rows)?,
            empty_desktop: set(layer.empty_desktop)?,
            due_column: plain(layer.due_column),
            date_format: plain(layer.date_format),
            unknown_users: set(layer.unknown_users)?,
            still_access: set(layer.still_access)?,
            metrics: plain(layer.metrics).map(|path| path.0),
            log_format: set(layer.log_format)?,
            log_file: plain(layer.log_file).map(|path| path.0),
            verbose: set(layer.verbose)?,
            quiet: set(layer.quiet)?.is_on(),
            progress: set(layer.progress)?,
            waits: Waits {
                request_timeout: set(layer.request_timeout)?.0,
                settle_time: set(layer.settle_time)?.0,
                poll_interval: set(layer.poll_interval)?.0,
                doubt_wait: set(layer.doubt_wait)?.0,
                busy_wait: set(layer.busy_wait)?.0,
                retry_base: set(layer.retry_base)?.0,
                read_back_deadline: set(layer.read_back_deadline)?.0,
                outage_limit: set(layer.outage_limit)?.0,
                drain_time: set(layer.drain_time)?.0,
            },
            lines,
            shaping,
        })
    }
}

impl Settings {
    /// Every setting that has a value, with the place it comes from, in the order of [`Layer::NAMES`].
    pub fn origins(&self) -> &[SettingLine] {
        &self.lines
    }

    /// The settings that shape a plan, by name, each in its one spelling: part of a run's identity (P16). The options
    /// `--only` and `--allow-detach-all` belong to it as well (`cli::args::RunOptions::plan_shaping` adds them).
    pub fn plan_shaping(&self) -> BTreeMap<String, String> {
        self.shaping.clone()
    }
}

fn plain<T>(set: Option<Sourced<T>>) -> Option<T> {
    set.map(|set| set.value)
}

/// A value that has a default, so that it is always there.
fn set<T>(set: Option<Sourced<T>>) -> Result<T, Error> {
    plain(set).ok_or_else(|| Error::Internal("a setting lacks its default".to_owned()))
}

fn wrong(name: &str, origin: &Origin, problem: String) -> Error {
    Error::Setting { name: name.to_owned(), origin: origin.to_string(), problem }
}

/// What is right by itself and wrong beside another setting (INTERFACE.md, "Without a look").
fn check_together(layer: &Layer) -> Result<(), Error> {
    if let Some(preflight) = layer.preflight.as_ref().filter(|set| !set.value.is_on()) {
        let needs_it = |name, origin: &Origin, what: &str| {
            let problem = format!(
                "{what} is known from reading the live bindings first, and `preflight` is off ({}): put it on, or \
                 leave `{name}` out",
                preflight.origin
            );
            Err(wrong(name, origin, problem))
        };
        if let Some(set) = layer.in_use.as_ref().filter(|set| set.value == InUse::Skip) {
            return needs_it("in-use", &set.origin, "who is connected");
        }
        if let Some(set) = layer.max_percent.as_ref().filter(|set| set.value.0.is_some()) {
            return needs_it("max-percent", &set.origin, "the number of assigned desktops");
        }
    }
    if let (Some(verify), Some(canary)) = (&layer.verify, &layer.canary)
        && !verify.value.is_on()
        && canary.value.0.is_some()
    {
        let problem = format!(
            "a canary is judged by verifying, and `verify` is off ({}): put it on, or leave `canary` out",
            verify.origin
        );
        return Err(wrong("canary", &canary.origin, problem));
    }
    if let (Some(quiet), Some(verbose)) = (&layer.quiet, &layer.verbose)
        && quiet.value.is_on()
        && verbose.value > 0
    {
        let problem = format!("more and less can't both be said: `verbose` is {} ({})", verbose.value, verbose.origin);
        return Err(wrong("quiet", &quiet.origin, problem));
    }
    if let (Some(deadline), Some(doubt), Some(settle)) =
        (&layer.read_back_deadline, &layer.doubt_wait, &layer.settle_time)
        && deadline.value.0 <= doubt.value.0 + settle.value.0
    {
        let problem = format!(
            "{} is too short: the first read that counts comes after `doubt-wait` ({}), the second after `settle-time` \
             ({}) more; write more than {}",
            deadline.value,
            doubt.value,
            settle.value,
            Wait(doubt.value.0 + settle.value.0)
        );
        return Err(wrong("read-back-deadline", &deadline.origin, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::layer::Written;
    use super::*;

    fn layer(values: &[(&str, &str)]) -> Layer {
        let mut layer = Layer::default();
        for (name, value) in values {
            let origin = Origin::Variable(format!("V_{name}"));
            layer.set(name, Written::Text((*value).to_owned()), origin).unwrap();
        }
        layer
    }

    #[test]
    fn the_defaults_are_those_of_the_manual() {
        let settings = Layer::default().resolve().unwrap();
        assert_eq!(
            (settings.write_rate.to_string(), settings.read_rate.to_string()),
            ("100/min".into(), "200/min".into())
        );
        assert_eq!(settings.concurrency.get(), 8);
        assert_eq!(settings.max_desktops_per_request.get(), 100);
        assert_eq!(settings.max_users_per_request.get(), 5_000);
        assert_eq!(settings.max_request_bytes, 1 << 20);
        assert_eq!((settings.in_use, settings.on_invalid), (InUse::Detach, OnInvalid::Abort));
        assert!(settings.preflight && settings.verify && !settings.quiet);
        assert!(settings.protect.is_empty() && settings.columns.is_empty());
        assert_eq!((settings.max_desktops, settings.max_percent, settings.canary), (None, None, None));
        assert_eq!((settings.stop_at, settings.max_runtime, settings.encoding), (None, None, None));
        let seconds = Duration::from_secs;
        assert_eq!(
            settings.waits,
            Waits {
                request_timeout: seconds(75),
                settle_time: seconds(5),
                poll_interval: seconds(5),
                doubt_wait: seconds(30),
                busy_wait: seconds(15),
                retry_base: seconds(1),
                read_back_deadline: seconds(600),
                outage_limit: seconds(1_800),
                drain_time: seconds(30),
            }
        );
    }

    #[test]
    fn what_needs_the_preflight_is_refused_without_it() {
        for (name, value) in [("in-use", "skip"), ("max-percent", "5%")] {
            let error = layer(&[("preflight", "off"), (name, value)]).resolve().unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")) && error.contains("V_preflight"), "{error}");
            assert!(layer(&[(name, value)]).resolve().is_ok());
        }
        assert!(layer(&[("preflight", "off"), ("max-percent", "off"), ("in-use", "detach")]).resolve().is_ok());
    }

    #[test]
    fn a_canary_is_refused_without_verify() {
        let error = layer(&[("verify", "off"), ("canary", "3")]).resolve().unwrap_err().to_string();
        assert!(error.contains("`canary`") && error.contains("V_verify"), "{error}");
        assert!(layer(&[("verify", "off")]).resolve().is_ok());
    }

    #[test]
    fn quiet_and_verbose_are_refused_together() {
        assert!(layer(&[("quiet", "on"), ("verbose", "1")]).resolve().is_err());
        assert!(layer(&[("quiet", "on")]).resolve().unwrap().quiet);
    }

    #[test]
    fn p02_a_read_back_has_time_for_its_two_reads() {
        let error = layer(&[("read-back-deadline", "35s")]).resolve().unwrap_err().to_string();
        assert!(error.contains("more than 35s"), "{error}");
        assert!(layer(&[("read-back-deadline", "36s")]).resolve().is_ok());
    }

    #[test]
    fn p05_a_broken_pattern_is_refused_where_it_was_written() {
        let error = layer(&[("protect", "ceo,a[b")]).resolve().unwrap_err().to_string();
        assert!(error.contains("`a[b`") && error.contains("V_protect"), "{error}");
        let protect = layer(&[("protect", "ceo,Adm*")]).resolve().unwrap().protect;
        assert_eq!(protect.pattern_of("ADMIN"), Some("Adm*"));
    }

    #[test]
    fn every_setting_keeps_its_origin() {
        let settings = layer(&[("concurrency", "3"), ("protect", "a,b")]).resolve().unwrap();
        let find = |name| settings.origins().iter().filter(|line| line.name == name).collect::<Vec<_>>();
        assert_eq!(find("concurrency")[0].value, "3");
        assert_eq!(find("concurrency")[0].origin.to_string(), "environment variable V_concurrency");
        assert_eq!(find("write-rate")[0].origin, Origin::Default);
        assert_eq!(find("protect").len(), 2);
    }

    #[test]
    fn p16_only_plan_shaping_settings_are_part_of_the_identity() {
        let base = Layer::default().resolve().unwrap().plan_shaping();
        for (name, value, shapes) in [
            ("canary", "5", true),
            ("in-use", "skip", true),
            ("max-desktops-per-request", "50", true),
            ("delimiter", ";", true),
            ("column", "user_name=Who", true),
            ("sheet", "S", true),
            ("header-row", "3", true),
            ("hidden-rows", "skip", true),
            ("empty-desktop", "every", true),
            ("due-column", "last_day", true),
            ("date-format", "%d/%m/%Y", true),
            ("unknown-users", "gone", true),
            ("hidden-rows", "refuse", false),
            ("empty-desktop", "refuse", false),
            ("unknown-users", "invalid", false),
            ("still-access", "fail", false),
            ("protect", "ceo", true),
            ("write-rate", "1/s", false),
            ("max-desktops", "5", false),
            ("verify", "off", false),
            ("concurrency", "1", false),
        ] {
            let other = layer(&[(name, value)]).resolve().unwrap().plan_shaping();
            assert_eq!(other != base, shapes, "{name}");
        }
    }
}
