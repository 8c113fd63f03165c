//! What one source of settings says: a [`Layer`], all of it optional, every value with the place it was written at.

use std::collections::BTreeMap;

use super::declared::{DECLARED, Declared, Said, SettingLine, Settings, Shapes, Takes, place_of};
use super::origin::{Origin, wrong};
use super::value::{self, Value};
use crate::error::Error;
use crate::text::escape_untrusted;

/// A value, in its one spelling, with the place it was written at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sourced {
    text: String,
    origin: Origin,
}

/// A value as a source writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// Settings that are lists take commas between their entries.
    Text(String),
    /// Entries are taken whole, commas and all.
    List(Vec<String>),
}

/// One source of settings: what it says, each value readable for itself. By the places of the settings in
/// [`DECLARED`]; a list that adds up has an entry for each of its entries, the highest layer's first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layer(BTreeMap<usize, Vec<Sourced>>);

impl Layer {
    /// What holds where nothing else is said. Settings without a default are left out.
    ///
    /// # Errors
    /// None, as a test proves.
    pub fn defaults() -> Result<Self, Error> {
        let mut layer = Self::default();
        for setting in DECLARED {
            if let Some(text) = setting.default {
                layer.set(setting.name, Written::Text(text.to_owned()), Origin::Default)?;
            }
        }
        Ok(layer)
    }

    /// Sets one value. What was set under that name is replaced, but for lists that add up.
    ///
    /// # Errors
    /// [`Error::Setting`]: no such setting (names the nearest one), or not a value of it (says how to write it).
    pub fn set(&mut self, name: &str, written: Written, origin: Origin) -> Result<(), Error> {
        let Some(place) = place_of(name) else { return Err(unknown(name, &origin)) };
        let setting = &DECLARED[place];
        let texts = setting.texts(written).map_err(|problem| wrong(name, &origin, problem))?;
        let values = texts.into_iter().map(|text| Sourced { text, origin: origin.clone() });
        let set = self.0.entry(place).or_default();
        if setting.takes != Takes::AllLists {
            set.clear();
        }
        set.extend(values);
        Ok(())
    }

    /// This layer where it says something, else the one below. Lists that add up hold both.
    #[must_use]
    pub fn over(mut self, below: Self) -> Self {
        for (place, values) in below.0 {
            let set = self.0.entry(place).or_default();
            if set.is_empty() || DECLARED[place].takes == Takes::AllLists {
                set.extend(values);
            }
        }
        self
    }

    /// The only way to get [`Settings`]: fill in the defaults, then check the whole.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first setting that stands against another one.
    pub fn resolve(self) -> Result<Settings, Error> {
        let whole = self.over(Self::defaults()?);
        let settings = Settings::of(&whole, whole.lines(), whole.plan_shaping())?;
        super::together::check(&settings)?;
        Ok(settings)
    }

    /// What is set, in the order of [`DECLARED`].
    pub fn lines(&self) -> Vec<SettingLine> {
        let line = |place: &usize, set: &Sourced| SettingLine {
            name: DECLARED[*place].name,
            value: set.text.clone(),
            origin: set.origin.clone(),
        };
        self.0.iter().flat_map(|(place, values)| values.iter().map(move |set| line(place, set))).collect()
    }

    /// The plan-shaping settings that this layer says, each in its one spelling.
    pub fn plan_shaping(&self) -> BTreeMap<String, String> {
        let mut shaping = BTreeMap::new();
        for (place, values) in &self.0 {
            let setting = &DECLARED[*place];
            let text = setting.identity(values);
            let is_silent = !setting.counts_at_default && setting.default == Some(text.as_str());
            if setting.shapes != Shapes::Nothing && !is_silent {
                shaping.insert(setting.name.to_owned(), text);
            }
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
        for (place, setting) in DECLARED.iter().enumerate().filter(|(_, setting)| setting.shapes != Shapes::Nothing) {
            self.0.remove(&place);
            if let Some(text) = planned.get(setting.name) {
                let written = match serde_json::from_str(text) {
                    Ok(list) if setting.takes != Takes::One => Written::List(list),
                    _ => Written::Text(text.clone()),
                };
                self.set(setting.name, written, Origin::Journal(journal.into()))?;
            }
        }
        Ok(self)
    }
}

impl Said for Layer {
    fn value<T: Value>(&self, name: &str, read: fn(&str) -> Result<T, String>) -> Result<T, Error> {
        let set = place_of(name).and_then(|place| Some((&DECLARED[place], self.0.get(&place)?)));
        match set {
            Some((setting, values)) => {
                let origin = values.first().map_or(&Origin::Default, |set| &set.origin);
                read(&setting.whole(values)).map_err(|problem| wrong(name, origin, problem))
            }
            None => T::unset().ok_or_else(|| Error::Internal(format!("the setting `{name}` lacks its default"))),
        }
    }
}

impl Declared {
    /// What is written, each entry in its one spelling.
    fn texts(&self, written: Written) -> Result<Vec<String>, String> {
        match (self.takes, written) {
            (Takes::One, Written::Text(text)) => Ok(vec![(self.check)(&text)?]),
            (Takes::One, Written::List(_)) => Err("takes one value, not a list".to_owned()),
            (Takes::List, written) => Ok(vec![(self.check)(&value::list_text(&written.entries()))?]),
            (Takes::AllLists, written) => {
                let is_text = matches!(written, Written::Text(_));
                let entries = written.entries();
                // `--protect "$NAMES"` with nothing in NAMES must not pass for a protected run.
                if is_text && entries.is_empty() {
                    return Err("is empty: write a name, or a pattern as in `admin*`".to_owned());
                }
                for entry in &entries {
                    (self.check)(&value::list_text(std::slice::from_ref(entry)))?;
                }
                Ok(entries)
            }
        }
    }

    /// The whole value as one text.
    fn whole(&self, values: &[Sourced]) -> String {
        match (self.takes, values) {
            (Takes::One | Takes::List, [set, ..]) => set.text.clone(),
            _ => value::list_text(&values.iter().map(|set| set.text.clone()).collect::<Vec<_>>()),
        }
    }

    /// As [`whole`](Self::whole), so that what means the same is the same text: of a list that adds up, order, case
    /// and repetition say nothing.
    fn identity(&self, values: &[Sourced]) -> String {
        if self.takes != Takes::AllLists {
            return self.whole(values);
        }
        let mut entries: Vec<String> = values.iter().map(|set| set.text.to_lowercase()).collect();
        entries.sort_unstable();
        entries.dedup();
        value::list_text(&entries)
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
pub(crate) fn nearest(name: &str) -> &'static str {
    // A longer one can't be a typing error, and the work grows with its length.
    let name: String = name.to_lowercase().chars().take(100).map(|c| if c == '_' { '-' } else { c }).collect();
    let distance = |known: &&str| strsim::levenshtein(&name, known);
    DECLARED.iter().map(|setting| setting.name).min_by_key(distance).unwrap_or("region")
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
        assert!(lines.iter().any(|line| line.name == "max-request-bytes" && line.value == "1 MiB"));
        assert!(lines.iter().all(|line| line.origin == Origin::Default));
    }

    #[test]
    fn every_shown_value_reads_back() {
        for SettingLine { name, value, .. } in Layer::defaults().unwrap().lines() {
            assert_eq!(with(name, &value).unwrap().lines()[0].value, value, "{name}");
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
        let patterns: Vec<String> = layer.lines().into_iter().map(|line| line.value).collect();
        assert_eq!(patterns, ["a", "b", "c,d"]);
        assert!(layer.set("region", Written::List(vec!["a".into()]), Origin::Default).is_err());
    }

    #[test]
    fn the_higher_layer_wins_and_protect_adds_up() {
        let high = with("concurrency", "2").unwrap().over(with("protect", "ceo").unwrap());
        let low = with("concurrency", "3").unwrap().over(with("protect", "cto").unwrap());
        let both = high.over(low);
        let settings = both.resolve().unwrap();
        assert_eq!(settings.concurrency.get(), 2);
        assert_eq!(settings.protect.patterns().count(), 2);
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
        let line = |name| resumed.lines().into_iter().find(|line| line.name == name).unwrap();
        assert_eq!(line("concurrency").value, "3");
        assert_eq!(line("canary").origin.to_string(), "journal j.journal");
        assert_ne!(with("canary", "5").unwrap().over(resumed).plan_shaping(), shaping);
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
