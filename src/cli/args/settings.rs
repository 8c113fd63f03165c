//! The options that are settings, too: made from the settings' own declarations, taken as text.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{DECLARED, Declared, Group, Layer, Origin, Takes, Written};
use crate::error::Error;

/// The options of one [`Group`], as they were given.
#[derive(Debug, Default)]
pub(super) struct SettingOptions<const GROUP: u8>(Vec<(&'static str, Written)>);

pub(super) type SafetySettings = SettingOptions<{ Group::Safety as u8 }>;
pub(super) type PaceSettings = SettingOptions<{ Group::Pace as u8 }>;
pub(super) type ApiSettings = SettingOptions<{ Group::Api as u8 }>;
pub(super) type ReadingSettings = SettingOptions<{ Group::Reading as u8 }>;
pub(super) type MeaningSettings = SettingOptions<{ Group::Meaning as u8 }>;
pub(super) type OutputSettings = SettingOptions<{ Group::Output as u8 }>;

impl<const GROUP: u8> SettingOptions<GROUP> {
    fn declared() -> impl Iterator<Item = &'static Declared> {
        DECLARED.iter().filter(|setting| setting.group as u8 == GROUP)
    }

    /// What these options say as settings.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the option.
    pub(super) fn set(&self, layer: &mut Layer) -> Result<(), Error> {
        for (name, written) in &self.0 {
            layer.set(name, written.clone(), Origin::Option(name))?;
        }
        Ok(())
    }
}

impl<const GROUP: u8> FromArgMatches for SettingOptions<GROUP> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for setting in Self::declared() {
            let mut texts = matches.get_many::<String>(setting.name).into_iter().flatten().cloned();
            match setting.takes {
                Takes::One => given.extend(texts.next().map(|text| (setting.name, Written::Text(text)))),
                // A header may hold a comma.
                Takes::List => {
                    let texts: Vec<String> = texts.collect();
                    given.extend((!texts.is_empty()).then_some((setting.name, Written::List(texts))));
                }
                Takes::AllLists => given.extend(texts.map(|text| (setting.name, Written::Text(text)))),
            }
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<const GROUP: u8> Args for SettingOptions<GROUP> {
    fn augment_args(command: Command) -> Command {
        Self::declared().fold(command, |command, setting| command.arg(option(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn option(setting: &'static Declared) -> Arg {
    let action = if setting.takes == Takes::One { ArgAction::Set } else { ArgAction::Append };
    let (short, long) = setting.help();
    let arg = Arg::new(setting.name).long(setting.name).action(action).hide_short_help(!setting.is_everyday);
    let arg = if long == short { arg.help(short) } else { arg.help(short).long_help(long) };
    if setting.words.is_empty() {
        arg.value_name(setting.placeholder)
    } else {
        // Lets completions offer the words; the setting's own reader has the last say.
        let words = PossibleValuesParser::new(setting.words);
        arg.value_name(setting.words.join("|")).value_parser(words).hide_possible_values(true)
    }
}
