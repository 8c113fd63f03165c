//! What one source of settings says: a [`Layer`], all of it optional, every value with the place it was written at.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use super::address;
use super::value::{
    self, ByteSize, Columns, Delimiter, DueColumn, EmptyDesktop, Encoding, FilePath, HiddenRows, InUse, LogFormat,
    OnInvalid, OrOff, Percent, Progress, Rate, Shown, StillAccess, Switch, UnknownUsers, Wait,
};
use crate::error::Error;
use crate::text::escape_untrusted;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: Arc<str>,
        /// From 1.
        line: usize,
    },
    Variable(String),
    /// The option's name, without its dashes.
    Option(&'static str),
    /// A journal that is resumed without its input.
    Journal(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Option(name) => write!(f, "option --{name}"),
            Self::Journal(path) => write!(f, "journal {path}"),
        }
    }
}

/// A value with the place it was written at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    pub value: T,
    pub origin: Origin,
}

/// A value as a source writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// Settings that are lists take commas between their entries.
    Text(String),
    /// Entries are taken whole, commas and all.
    List(Vec<String>),
}

/// The names of the settings that are lists.
const COLUMN: &str = "column";
const PROTECT: &str = "protect";

macro_rules! layer {
    ($($field:ident $name:literal: $type:ty = $read:expr, $default:expr;)+) => {
        /// One source of settings, as somebody wrote it: all of it optional, each value readable for itself.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct Layer {
            $(pub $field: Option<Sourced<$type>>,)+
            /// Which header holds which field.
            pub column: Option<Sourced<Columns>>,
            /// Adds up over all layers, the highest first.
            pub protect: Vec<Sourced<String>>,
        }

        impl Layer {
            /// Every setting's name, in the order in which they are shown.
            pub const NAMES: &'static [&'static str] = &[$($name,)+ COLUMN, PROTECT];

            /// What holds where nothing else is said. Settings without a default are left out.
            ///
            /// # Errors
            /// None, as a test proves.
            pub fn defaults() -> Result<Self, Error> {
                let mut layer = Self::default();
                $(if let Some(text) = $default {
                    layer.set($name, Written::Text(text.to_owned()), Origin::Default)?;
                })+
                Ok(layer)
            }

            /// As it is written above; not every setting has one.
            fn default_of(name: &str) -> Option<&'static str> {
                match name {
                    $($name => $default,)+
                    _ => None,
                }
            }

            /// This layer where it says something, else the one below. `protect` adds up.
            #[must_use]
            pub fn over(mut self, below: Self) -> Self {
                self.protect.extend(below.protect);
                Self {
                    $($field: self.$field.or(below.$field),)+
                    column: self.column.or(below.column),
                    protect: self.protect,
                }
            }

            /// `None` where no setting has that name.
            fn set_text(&mut self, name: &str, text: &str, origin: &Origin) -> Option<Result<(), String>> {
                match name {
                    $($name => Some($read(text).map(|value| {
                        self.$field = Some(Sourced { value, origin: origin.clone() });
                    })),)+
                    _ => None,
                }
            }

            /// Name, value and origin of what is set, in the order of [`Layer::NAMES`].
            pub fn lines(&self) -> Vec<(&'static str, String, Origin)> {
                let mut lines = Vec::new();
                $(if let Some(set) = &self.$field {
                    lines.push(($name, set.value.shown(), set.origin.clone()));
                })+
                if let Some(set) = &self.column {
                    lines.push((COLUMN, set.value.shown(), set.origin.clone()));
                }
                lines.extend(self.protect.iter().map(|set| (PROTECT, set.value.clone(), set.origin.clone())));
                lines
            }

            fn unset(&mut self, name: &str) {
                match name {
                    $($name => self.$field = None,)+
                    COLUMN => self.column = None,
                    PROTECT => self.protect.clear(),
                    _ => {}
                }
            }
        }
    };
}

// field, name: type = how it is read, its default
layer! {
    region "region": String = address::region, None::<&str>;
    endpoint "endpoint": String = address::endpoint, None::<&str>;
    iam_endpoint "iam-endpoint": String = address::iam_endpoint, None::<&str>;
    project_id "project-id": String = address::project_id, None::<&str>;
    ca_file "ca-file": FilePath = value::path, None::<&str>;
    write_rate "write-rate": Rate = Rate::read, Some("100/min");
    read_rate "read-rate": Rate = Rate::read, Some("200/min");
    concurrency "concurrency": NonZeroUsize = value::size::<1_000>, Some("8");
    max_desktops_per_request "max-desktops-per-request": NonZeroUsize = value::size::<100>, Some("100");
    max_users_per_request "max-users-per-request": NonZeroUsize = value::size::<50_000>, Some("5000");
    max_request_bytes "max-request-bytes": ByteSize = ByteSize::read, Some("1 MiB");
    max_runtime "max-runtime": OrOff<Wait> = |text| value::or_off(text, value::wait), Some("off");
    max_desktops "max-desktops": OrOff<u64> = |text| value::or_off(text, value::number), Some("off");
    max_percent "max-percent": OrOff<Percent> = |text| value::or_off(text, Percent::read), Some("off");
    in_use "in-use": InUse = InUse::read, Some("detach");
    on_invalid "on-invalid": OnInvalid = OnInvalid::read, Some("abort");
    canary "canary": OrOff<NonZeroU32> = |text| value::or_off(text, value::count::<{ u32::MAX }>), Some("off");
    stop_at "stop-at": OrOff<Percent> = |text| value::or_off(text, Percent::read), Some("off");
    preflight "preflight": Switch = Switch::read, Some("on");
    verify "verify": Switch = Switch::read, Some("on");
    encoding "encoding": Encoding = Encoding::read, Some("auto");
    delimiter "delimiter": Delimiter = Delimiter::read, Some("auto");
    sheet "sheet": String = value::sheet, None::<&str>;
    header_row "header-row": NonZeroU32 = value::count::<{ u32::MAX }>, None::<&str>;
    hidden_rows "hidden-rows": HiddenRows = HiddenRows::read, Some("refuse");
    empty_desktop "empty-desktop": EmptyDesktop = EmptyDesktop::read, Some("refuse");
    due_column "due-column": DueColumn = DueColumn::read, None::<&str>;
    date_format "date-format": String = value::date_format, None::<&str>;
    unknown_users "unknown-users": UnknownUsers = UnknownUsers::read, Some("invalid");
    still_access "still-access": StillAccess = StillAccess::read, Some("report");
    metrics "metrics": FilePath = value::path, None::<&str>;
    log_format "log-format": LogFormat = LogFormat::read, Some("text");
    log_file "log-file": FilePath = value::path, None::<&str>;
    verbose "verbose": u8 = value::verbosity, Some("0");
    quiet "quiet": Switch = Switch::read, Some("off");
    progress "progress": Progress = Progress::read, Some("auto");
    request_timeout "request-timeout": Wait = value::request_timeout, Some("75s");
    settle_time "settle-time": Wait = value::wait, Some("5s");
    poll_interval "poll-interval": Wait = value::wait, Some("5s");
    doubt_wait "doubt-wait": Wait = value::wait, Some("30s");
    busy_wait "busy-wait": Wait = value::wait, Some("15s");
    retry_base "retry-base": Wait = value::retry_base, Some("1s");
    read_back_deadline "read-back-deadline": Wait = value::wait, Some("10m");
    outage_limit "outage-limit": Wait = value::wait, Some("30m");
    drain_time "drain-time": Wait = value::wait_or_zero, Some("30s");
}

impl Layer {
    /// The settings that shape a plan: a resume under others is refused (P16). The options `--only` and
    /// `--allow-detach-all` shape it, too, and are no settings.
    pub const PLAN_SHAPING: [&'static str; 18] = [
        "encoding",
        "delimiter",
        "sheet",
        COLUMN,
        "on-invalid",
        PROTECT,
        "in-use",
        "preflight",
        "canary",
        "max-desktops-per-request",
        "max-users-per-request",
        "max-request-bytes",
        "header-row",
        "hidden-rows",
        "empty-desktop",
        "due-column",
        "date-format",
        "unknown-users",
    ];
    /// The plan-shaping ones that belong to a run's identity only where they are not at their default: journals of
    /// versions that did not know them can still be resumed, and plans keep their hashes.
    const SILENT_BY_DEFAULT: [&'static str; 3] = ["hidden-rows", "empty-desktop", "unknown-users"];
    /// The plan-shaping ones that say how the input is read and what it means. An undo's input is a journal, so they
    /// say nothing about it.
    pub const READING: [&'static str; 10] = [
        "encoding",
        "delimiter",
        "sheet",
        COLUMN,
        "header-row",
        "hidden-rows",
        "empty-desktop",
        "due-column",
        "date-format",
        "unknown-users",
    ];

    /// Sets one value. What was set under that name is replaced; `protect` adds up.
    ///
    /// # Errors
    /// [`Error::Setting`]: no such setting (names the nearest one), or not a value of it (says how to write it).
    pub fn set(&mut self, name: &str, written: Written, origin: Origin) -> Result<(), Error> {
        let done = match (name, written) {
            (PROTECT, written) => {
                let is_text = matches!(written, Written::Text(_));
                let patterns = written.entries();
                // `--protect "$NAMES"` with nothing in NAMES must not pass for a protected run.
                if is_text && patterns.is_empty() {
                    Err("is empty: write a name, or a pattern as in `admin*`".to_owned())
                } else {
                    self.protect.extend(patterns.into_iter().map(|value| Sourced { value, origin: origin.clone() }));
                    Ok(())
                }
            }
            (COLUMN, written) => Columns::read(&written.entries()).map(|value| {
                self.column = Some(Sourced { value, origin: origin.clone() });
            }),
            (_, Written::Text(text)) => match self.set_text(name, &text, &origin) {
                Some(done) => done,
                None => return Err(unknown(name, &origin)),
            },
            (_, Written::List(_)) if Self::NAMES.contains(&name) => Err("takes one value, not a list".to_owned()),
            (_, Written::List(_)) => return Err(unknown(name, &origin)),
        };
        done.map_err(|problem| Error::Setting { name: name.to_owned(), origin: origin.to_string(), problem })
    }

    /// The plan-shaping settings that this layer says, each in its one spelling.
    pub fn plan_shaping(&self) -> BTreeMap<String, String> {
        let mut shaping: BTreeMap<String, String> = self
            .lines()
            .into_iter()
            .filter(|(name, ..)| *name != PROTECT && Self::PLAN_SHAPING.contains(name))
            .filter(|(name, value, _)| {
                !Self::SILENT_BY_DEFAULT.contains(name) || Self::default_of(name) != Some(value.as_str())
            })
            .map(|(name, value, _)| (name.to_owned(), value))
            .collect();
        if !self.protect.is_empty() {
            // Order, case and repetition say nothing, so they make no other plan.
            let mut patterns: Vec<String> = self.protect.iter().map(|set| set.value.to_lowercase()).collect();
            patterns.sort_unstable();
            patterns.dedup();
            shaping.insert(PROTECT.to_owned(), value::list_text(&patterns));
        }
        shaping
    }

    /// The settings that a journal was planned with, over `self`, whose own plan-shaping ones are dropped. An option
    /// laid over the result still counts, so that one that differs can be named and refused.
    ///
    /// * `planned`: from [`Layer::plan_shaping`]; names that are no settings are passed over.
    ///
    /// # Errors
    /// [`Error::Setting`] for a value that this version can't read.
    pub fn under_plan(mut self, journal: &str, planned: &BTreeMap<String, String>) -> Result<Self, Error> {
        for name in Self::PLAN_SHAPING {
            self.unset(name);
            if let Some(text) = planned.get(name) {
                let written = match serde_json::from_str(text) {
                    Ok(list) if name == PROTECT || name == COLUMN => Written::List(list),
                    _ => Written::Text(text.clone()),
                };
                self.set(name, written, Origin::Journal(journal.into()))?;
            }
        }
        Ok(self)
    }
}

impl Written {
    fn entries(self) -> Vec<String> {
        match self {
            Self::List(entries) => entries,
            Self::Text(text) => split_list(&text),
        }
    }
}

/// Parts a list at its commas, those in `{…}` and `[…]` of a pattern apart; blanks around an entry are taken off.
fn split_list(text: &str) -> Vec<String> {
    let (mut entries, mut depth) = (vec![String::new()], 0_usize);
    for c in text.chars() {
        match c {
            ',' if depth == 0 => {
                entries.push(String::new());
                continue;
            }
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(entry) = entries.last_mut() {
            entry.push(c);
        }
    }
    entries.iter().map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect()
}

/// The error for a key that no setting has.
fn unknown(name: &str, origin: &Origin) -> Error {
    let lower = name.to_ascii_lowercase();
    let secret = ["secret", "password", "passwd", "token", "access-key", "access_key", "credential"];
    let problem = if secret.iter().any(|word| lower.contains(word)) || matches!(lower.as_str(), "ak" | "sk") {
        "secrets are never settings: take it out of here, and give credentials in the environment \
         (HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or others that the manual names)"
            .to_owned()
    } else {
        format!("there is no such setting; the nearest is `{}`", nearest(name))
    };
    Error::Setting { name: escape_untrusted(name, 60), origin: origin.to_string(), problem }
}

/// The setting whose name takes the fewest changes of one character to get from `name`.
pub fn nearest(name: &str) -> &'static str {
    // A longer one can't be a slip of the hand, and the work grows with its length.
    let name: Vec<char> = name.to_lowercase().chars().take(100).map(|c| if c == '_' { '-' } else { c }).collect();
    Layer::NAMES.iter().copied().min_by_key(|known| distance(&name, known)).unwrap_or("region")
}

/// Levenshtein's distance.
fn distance(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (line, wanted) in to.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (at, have) in from.iter().enumerate() {
            let replaced = diagonal + usize::from(*have != wanted);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[from.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> Written {
        Written::Text(value.to_owned())
    }

    fn with(name: &str, value: &str) -> Result<Layer, Error> {
        let mut layer = Layer::default();
        layer.set(name, text(value), Origin::Option("x"))?;
        Ok(layer)
    }

    #[test]
    fn every_default_can_be_read() {
        let lines = Layer::defaults().unwrap().lines();
        assert!(lines.iter().any(|(name, value, _)| *name == "max-request-bytes" && value == "1 MiB"));
        assert!(lines.iter().all(|(_, _, origin)| *origin == Origin::Default));
    }

    #[test]
    fn every_shown_value_reads_back() {
        for (name, value, _) in Layer::defaults().unwrap().lines() {
            assert_eq!(with(name, &value).unwrap().lines()[0].1, value, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_one() {
        for (wrong, right) in [
            ("write_rate", "write-rate"),
            ("concurency", "concurrency"),
            ("on-invalide", "on-invalid"),
            ("regoin", "region"),
        ] {
            let error = with(wrong, "1").unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")) && error.contains(&format!("`{right}`")), "{error}");
        }
        assert!(Layer::default().set("nonsense", Written::List(vec![]), Origin::Default).is_err());
    }

    #[test]
    fn p19_a_secret_is_refused_without_its_value() {
        for name in ["secret_key", "sk", "HW_USER_PASSWORD"] {
            let error = with(name, "hunter2").unwrap_err().to_string();
            assert!(error.contains("never settings") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn lists_part_at_commas_outside_of_brackets() {
        assert_eq!(split_list("a*, {b,c}-x ,,[,]d"), ["a*", "{b,c}-x", "[,]d"]);
        let mut layer = with("protect", "a,b").unwrap();
        layer.set("protect", Written::List(vec!["c,d".into()]), Origin::Default).unwrap();
        let patterns: Vec<&str> = layer.protect.iter().map(|set| set.value.as_str()).collect();
        assert_eq!(patterns, ["a", "b", "c,d"]);
        assert!(layer.set("region", Written::List(vec!["a".into()]), Origin::Default).is_err());
    }

    #[test]
    fn the_higher_layer_wins_and_protect_adds_up() {
        let high = with("concurrency", "2").unwrap().over(with("protect", "ceo").unwrap());
        let low = with("concurrency", "3").unwrap().over(with("protect", "cto").unwrap());
        let both = high.over(low);
        assert_eq!(both.concurrency.unwrap().value.get(), 2);
        assert_eq!(both.protect.len(), 2);
    }

    #[test]
    fn p16_the_spelling_of_a_plan_shaping_setting_makes_no_difference() {
        let one = with("max-request-bytes", "1048576").unwrap().over(with("protect", "B,a,a").unwrap());
        let other = with("max-request-bytes", "1 MiB").unwrap().over(with("protect", "a, b").unwrap());
        assert_eq!(one.plan_shaping(), other.plan_shaping());
        assert!(!with("concurrency", "2").unwrap().plan_shaping().contains_key("concurrency"));
    }

    #[test]
    fn p16_a_resumed_plan_keeps_its_settings_over_file_and_environment() {
        let mut planned = with("protect", "x").unwrap();
        planned.set("protect", Written::List(vec!["a,b".into()]), Origin::Default).unwrap();
        planned.set("column", text("user_name=Who"), Origin::Default).unwrap();
        planned.set("canary", text("off"), Origin::Default).unwrap();
        let shaping = planned.plan_shaping();
        let now = with("canary", "5").unwrap().over(with("sheet", "Leavers").unwrap());
        let now = now.over(with("protect", "y").unwrap()).over(with("concurrency", "3").unwrap());
        let resumed = now.under_plan("j.journal", &shaping).unwrap();
        assert_eq!(resumed.plan_shaping(), shaping);
        assert_eq!(resumed.concurrency.as_ref().unwrap().value.get(), 3);
        assert_eq!(resumed.canary.as_ref().unwrap().origin.to_string(), "journal j.journal");
        assert_ne!(with("canary", "5").unwrap().over(resumed).plan_shaping(), shaping);
    }

    #[test]
    fn every_plan_shaping_name_is_a_setting() {
        for name in Layer::PLAN_SHAPING {
            assert!(Layer::NAMES.contains(&name), "{name}");
        }
    }

    #[test]
    fn every_bound_is_kept() {
        for (name, wrong) in [
            ("concurrency", "0"),
            ("concurrency", "1001"),
            ("max-desktops-per-request", "0"),
            ("max-desktops-per-request", "101"),
            ("max-users-per-request", "0"),
            ("max-request-bytes", "4095"),
            ("max-request-bytes", "12000001"),
            ("max-percent", "101"),
            ("max-desktops", "-1"),
            ("canary", "0"),
            ("stop-at", "101%"),
            ("max-runtime", "0s"),
            ("write-rate", "0/min"),
            ("read-rate", "fast"),
            ("in-use", "keep"),
            ("on-invalid", "on"),
            ("preflight", "yes"),
            ("encoding", "ebcdic"),
            ("encoding", "iso-2022-kr"),
            ("header-row", "0"),
            ("hidden-rows", "show"),
            ("empty-desktop", "all"),
            ("unknown-users", "detached"),
            ("still-access", "on"),
            ("due-column", " "),
            ("date-format", "%d/%m"),
            ("date-format", "day"),
            ("delimiter", "x"),
            ("sheet", " "),
            ("metrics", ""),
            ("log-format", "xml"),
            ("verbose", "4"),
            ("request-timeout", "0s"),
            ("request-timeout", "11m"),
            ("settle-time", "0s"),
            ("retry-base", "2m"),
            ("column", "phone=x"),
            ("protect", " , "),
        ] {
            let error = with(name, wrong).unwrap_err();
            assert!(matches!(&error, Error::Setting { name: named, .. } if named == name), "{name}: {error}");
        }
        assert!(with("drain-time", "0s").is_ok());
    }

    fn any_layer() -> impl Strategy<Value = Layer> {
        let values = [
            ("region", "a"),
            ("region", "b"),
            ("concurrency", "1"),
            ("concurrency", "2"),
            ("canary", "off"),
            ("canary", "7"),
            ("column", "type=Art"),
            ("protect", "x"),
            ("protect", "y,z"),
            ("verify", "off"),
        ];
        proptest::collection::vec((0..values.len(), 0_usize..9), 0..8).prop_map(move |picks| {
            let mut layer = Layer::default();
            for (pick, line) in picks {
                let (name, value) = values[pick];
                layer.set(name, text(value), Origin::File { path: "f".into(), line }).unwrap();
            }
            layer
        })
    }

    proptest! {
        #[test]
        fn layers_merge_associatively(a in any_layer(), b in any_layer(), c in any_layer()) {
            prop_assert_eq!(a.clone().over(b.clone()).over(c.clone()), a.over(b.over(c)));
        }

        #[test]
        fn an_empty_layer_changes_nothing(a in any_layer()) {
            prop_assert_eq!(a.clone().over(Layer::default()), a.clone());
            prop_assert_eq!(Layer::default().over(a.clone()), a);
        }
    }
}
