//! Which observers a run gets.

use std::io;

use super::json::Records;
use super::lines::{Lines, Logged, Plain};
use super::progress::Bars;
use super::screen::Screen;
use crate::config::Progress;
use crate::model::{Event, Observer};

/// What decides how progress looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub progress: Progress,
    /// Whether standard error is a terminal that can move its cursor (`TERM` is not `dumb`).
    pub terminal: bool,
    /// Whether standard error carries JSON records (`--log-format json` without `--log-file`).
    pub records: bool,
    /// `-q`.
    pub quiet: bool,
}

/// How progress looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Bars,
    Lines,
    Records,
    Nothing,
}

impl Look {
    pub(crate) const fn shape(self) -> Shape {
        match self.progress {
            Progress::Off => Shape::Nothing,
            Progress::Auto if self.quiet => Shape::Nothing,
            // A stream that a program reads has nothing but records on it.
            Progress::Auto | Progress::On if self.records => Shape::Records,
            Progress::Auto | Progress::On if self.terminal => Shape::Bars,
            Progress::Auto | Progress::On => Shape::Lines,
        }
    }
}

impl Shape {
    /// The screen that logging and progress share.
    pub(crate) fn screen(self) -> Screen {
        match self {
            Self::Bars => Screen::with_bars(),
            Self::Lines | Self::Records | Self::Nothing => Screen::plain(),
        }
    }
}

/// The observer of a run, to be dropped before the summary is printed: then the screen is clean.
///
/// * `screen`: the one that [`Shape::screen`] made and that logging writes to.
/// * `logged`: whether every event becomes a record of the log, too (JSON logs, a log file, `-v`).
///
/// # Panics
/// With [`Shape::Lines`] or [`Shape::Records`], outside of a tokio runtime.
pub(crate) fn observer(shape: Shape, screen: &Screen, logged: bool) -> Box<dyn Observer> {
    let mut observers: Vec<Box<dyn Observer>> = Vec::new();
    match shape {
        Shape::Bars => {
            if let Some(bars) = Bars::new(screen) {
                observers.push(Box::new(bars));
            }
        }
        Shape::Lines => observers.push(Box::new(Lines::start(Plain(io::stderr())))),
        Shape::Records => observers.push(Box::new(Lines::start(Logged))),
        Shape::Nothing => {}
    }
    if logged {
        observers.push(Box::new(Records));
    }
    Box::new(Tee(observers))
}

/// Tells several observers, in their order.
#[derive(Default)]
pub(crate) struct Tee(pub Vec<Box<dyn Observer>>);

impl Observer for Tee {
    fn on_event(&mut self, event: &Event) {
        for observer in &mut self.0 {
            observer.on_event(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn the_shape_follows_the_setting_and_the_stream() {
        use Progress::{Auto, Off, On};
        for (progress, terminal, records, quiet, shape) in [
            (Auto, true, false, false, Shape::Bars),
            (Auto, false, false, false, Shape::Lines),
            (Auto, true, true, false, Shape::Records),
            (Auto, true, false, true, Shape::Nothing),
            (On, true, false, true, Shape::Bars),
            (On, false, false, true, Shape::Lines),
            (Off, true, false, false, Shape::Nothing),
        ] {
            assert_eq!(
                Look { progress, terminal, records, quiet }.shape(),
                shape,
                "{progress:?} {terminal} {records} {quiet}"
            );
        }
    }

    #[test]
    fn only_bars_need_a_screen_of_their_own() {
        assert!(Shape::Bars.screen().bars().is_some());
        assert!(Shape::Lines.screen().bars().is_none());
    }

    #[test]
    fn every_observer_is_told() {
        struct Shared(Arc<Mutex<u32>>);
        impl Observer for Shared {
            fn on_event(&mut self, _: &Event) {
                *self.0.lock().unwrap() += 1;
            }
        }
        let count = Arc::new(Mutex::new(0));
        let mut tee = Tee(vec![Box::new(Shared(Arc::clone(&count))), Box::new(Shared(Arc::clone(&count)))]);
        tee.on_event(&Event::Verifying { open: 1 });
        assert_eq!(*count.lock().unwrap(), 2);
    }

    #[test]
    fn no_progress_and_no_log_is_an_observer_too() {
        observer(Shape::Nothing, &Screen::plain(), true).on_event(&Event::Verifying { open: 1 });
    }
}
