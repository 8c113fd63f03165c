//! What is right by itself and wrong beside another setting.

use super::declared::Settings;
use super::origin::{Origin, wrong};
use super::value::{InUse, Value as _};
use crate::error::Error;

/// Whether the settings go together.
///
/// # Errors
/// [`Error::Setting`] for the first that stands against another one, naming both with their places.
pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    let origin = |name: &str| {
        let line = settings.origins().iter().find(|line| line.name == name);
        line.map_or(&Origin::Default, |line| &line.origin)
    };
    if !settings.preflight {
        let needs_it = |name: &str, what: &str| {
            let problem = format!(
                "{what} is known from reading the live bindings first, and `preflight` is off ({}): put it on, or \
                 leave `{name}` out",
                origin("preflight")
            );
            Err(wrong(name, origin(name), problem))
        };
        if settings.in_use == InUse::Skip {
            return needs_it("in-use", "who is connected");
        }
        if settings.max_percent.is_some() {
            return needs_it("max-percent", "the number of assigned desktops");
        }
    }
    if !settings.verify && settings.canary.is_some() {
        let problem = format!(
            "a canary is judged by verifying, and `verify` is off ({}): put it on, or leave `canary` out",
            origin("verify")
        );
        return Err(wrong("canary", origin("canary"), problem));
    }
    if settings.quiet && settings.verbose > 0 {
        let (verbose, place) = (settings.verbose, origin("verbose"));
        let problem = format!("more and less can't both be said: `verbose` is {verbose} ({place})");
        return Err(wrong("quiet", origin("quiet"), problem));
    }
    let (doubt, settle) = (settings.doubt_wait, settings.settle_time);
    if settings.read_back_deadline <= doubt + settle {
        let problem = format!(
            "{} is too short: the first read that counts comes after `doubt-wait` ({}), the second after `settle-time` \
             ({}) more; write more than {}",
            settings.read_back_deadline.shown(),
            doubt.shown(),
            settle.shown(),
            (doubt + settle).shown()
        );
        return Err(wrong("read-back-deadline", origin("read-back-deadline"), problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::layer::{Layer, Written};
    use super::super::value::OnInvalid;
    use super::*;

    fn set_all(values: &[(&str, &str)]) -> Result<Layer, Error> {
        let mut layer = Layer::default();
        for (name, value) in values {
            let origin = Origin::Variable(format!("V_{name}"));
            layer.set(name, Written::Text((*value).to_owned()), origin)?;
        }
        Ok(layer)
    }

    fn layer(values: &[(&str, &str)]) -> Layer {
        set_all(values).unwrap()
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
        assert_eq!(settings.max_request_bytes.0, 1 << 20);
        assert_eq!((settings.in_use, settings.on_invalid), (InUse::Detach, OnInvalid::Abort));
        assert!(settings.preflight && settings.verify && !settings.quiet);
        assert!(settings.protect.is_empty() && settings.columns.0.is_empty());
        assert_eq!((settings.max_desktops, settings.max_percent, settings.canary), (None, None, None));
        assert_eq!((settings.stop_at, settings.max_runtime, settings.encoding.0), (None, None, None));
        let waits = [
            (settings.request_timeout, 75),
            (settings.settle_time, 5),
            (settings.poll_interval, 5),
            (settings.doubt_wait, 30),
            (settings.busy_wait, 15),
            (settings.retry_base, 1),
            (settings.read_back_deadline, 600),
            (settings.outage_limit, 1_800),
            (settings.drain_time, 30),
        ];
        for (wait, seconds) in waits {
            assert_eq!(wait, Duration::from_secs(seconds));
        }
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
        let error = set_all(&[("protect", "ceo,a[b")]).unwrap_err().to_string();
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
