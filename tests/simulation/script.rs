//! A random world, input and script of faults, from a seed alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use batch_detach::plan::{Bounds, Policy};
use batch_detach::testing::model::{Bound, DesktopId, Kind};
use batch_detach::testing::sim::{
    Auth, Blame, Effect, Fate, FateOf, Fault, Limit, Login, Matching, Op, Outage, OutageKind, Physics, Refused,
    Scenario, Seat, Window, World,
};
use fastrand::Rng;

use crate::oddity::Oddity;

/// Somebody else at the console.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Bind(Seat),
    /// One of the desktop's bindings goes, if there is one.
    Unbind(DesktopId),
    Delete(DesktopId),
    /// The machine is suspended for so long: time goes on, and nobody does anything.
    Sleep(Duration),
}

/// How one process ends, if it does not come to its own end first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Death {
    /// At this event.
    pub(crate) at_event: Option<u64>,
    /// After so long.
    pub(crate) after: Option<Duration>,
    /// Of the commits under way, so many reach the disk.
    pub(crate) kept: usize,
    /// A signal comes after so long, and a second one so much later.
    pub(crate) signal: Option<(Duration, Option<Duration>)>,
    /// The commit that fails.
    pub(crate) disk_fails_at: Option<u64>,
    /// How long until the next process begins.
    pub(crate) pause: Duration,
    /// Whether a renewal of credentials is refused.
    pub(crate) no_renewal: bool,
}

impl Death {
    /// None at all.
    pub(crate) const NEVER: Self = Self {
        at_event: None,
        after: None,
        kept: 0,
        signal: None,
        disk_fails_at: None,
        pause: Duration::from_secs(1_200),
        no_renewal: false,
    };
}

/// How a run is taken back.
#[derive(Debug, Clone, Default)]
pub(crate) struct TakeBack {
    /// Not only at the run's end, but once so many of its processes and one are gone.
    pub(crate) after_process: Option<usize>,
    /// From the run's last process to the undo's first.
    pub(crate) pause: Duration,
    /// Of the undo's processes.
    pub(crate) deaths: Vec<Death>,
}

/// Everything that is random about a run.
pub(crate) struct Script {
    pub(crate) scenario: Scenario,
    pub(crate) seats: Vec<Seat>,
    pub(crate) csv: String,
    pub(crate) policy: Policy,
    pub(crate) deeds: Vec<(Duration, Deed)>,
    pub(crate) deaths: Vec<Death>,
    pub(crate) verify: bool,
    pub(crate) preflight: bool,
    pub(crate) concurrency: usize,
    pub(crate) write_period: Duration,
    pub(crate) read_period: Duration,
    pub(crate) commit_takes: Duration,
    pub(crate) stop_at: Option<&'static str>,
    pub(crate) max_runtime: Option<Duration>,
    /// A balancer drops every second request of a connection.
    pub(crate) one_answer_each: bool,
    pub(crate) undo: Option<TakeBack>,
    /// What somebody does from the end of the run on, where it is taken back.
    pub(crate) undo_deeds: Vec<(Duration, Deed)>,
}

const HEADERS: &str = "desktop_id,desktop_name,user_name,type,domain\n";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn pick<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())].clone()
}

fn chance(rng: &mut Rng, probability: f64) -> bool {
    rng.f64() < probability
}

pub(crate) fn id(n: usize) -> DesktopId {
    DesktopId::parse(&format!("d-{n:02}")).expect("a good id")
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let most = pick(rng, &[3, 10, 30]);
        let desktops = 1 + rng.usize(..most);
        let seats = seats(rng, desktops);
        let may_detach_all = chance(rng, 0.5);
        let csv = csv(rng, &seats, desktops);
        let bounds = Bounds {
            max_desktops: pick(rng, &[1, 2, 3, 5, 10, 100]),
            max_users: pick(rng, &[1, 2, 5, 5_000]),
            max_users_per_desktop: pick(rng, &[1, 2, 500]),
            ..Bounds::default()
        };
        let canary = chance(rng, 0.1).then(|| rng.u32(1..4));
        let policy = Policy { allow_detach_all: may_detach_all, bounds, canary, ..Policy::default() };
        Self {
            scenario: scenario(rng, seed, desktops),
            csv,
            policy,
            deeds: deeds(rng, &seats, desktops),
            seats,
            deaths: (0..pick(rng, &[0, 1, 1, 2, 4])).map(|_| death(rng)).collect(),
            verify: chance(rng, 0.9),
            preflight: chance(rng, 0.9),
            concurrency: pick(rng, &[1, 2, 8]),
            write_period: pick(rng, &[ms(10), ms(100), ms(600)]),
            read_period: pick(rng, &[ms(20), ms(300)]),
            commit_takes: pick(rng, &[Duration::ZERO, ms(1), ms(40)]),
            stop_at: chance(rng, 0.05).then_some("50"),
            max_runtime: chance(rng, 0.05).then(|| s(rng.u64(5..120))),
            one_answer_each: false,
            undo: None,
            undo_deeds: Vec::new(),
        }
    }

    /// The script of a seed, with the kinds of misbehaviour that are wanted.
    pub(crate) fn odd(seed: u64, kinds: &[Oddity]) -> Self {
        let mut script = Self::new(seed);
        let desktops = script.seats.iter().map(|seat| &seat.desktop).collect::<BTreeSet<_>>().len();
        for kind in kinds {
            kind.bend(&mut script, desktops);
        }
        script
    }

    /// One in which nothing goes wrong. `seats`: desktop and user; `rows`: `desktop_id,desktop_name,user_name,type,domain`.
    pub(crate) fn calm(seats: &[&str], rows: &str) -> Self {
        let seat = |text: &&str| {
            let (desktop, user) = text.split_once(' ').expect("a desktop and a user");
            let bound =
                Bound { kind: Kind::User, user_name: user.to_owned(), user_id: None, user_group: None, domain: None };
            Seat { desktop: DesktopId::parse(desktop).expect("a good id"), name: String::new(), bound }
        };
        Self {
            scenario: Scenario { seed: 1, ..Scenario::default() },
            seats: seats.iter().map(seat).collect(),
            csv: format!("{HEADERS}{rows}"),
            policy: Policy::default(),
            deeds: Vec::new(),
            deaths: Vec::new(),
            verify: true,
            preflight: true,
            concurrency: 8,
            write_period: ms(600),
            read_period: ms(300),
            commit_takes: ms(1),
            stop_at: None,
            max_runtime: None,
            one_answer_each: false,
            undo: None,
            undo_deeds: Vec::new(),
        }
    }

    /// Gives half of the rows the id of whom they name, in a column of its own.
    pub(crate) fn name_people_by_id(&mut self, rng: &mut Rng) {
        let world = self.world();
        let of_row = |row: &str| {
            let [desktop, _, user, kind, domain] = row.split(',').collect::<Vec<_>>().try_into().ok()?;
            let bound = world.bound(&DesktopId::parse(desktop)?);
            let means = |one: &&Bound| {
                one.user_name.eq_ignore_ascii_case(user)
                    && one.kind.to_string() == kind
                    && (domain.is_empty() || one.domain.as_deref() == Some(domain))
            };
            bound.iter().find(means)?.user_id.clone()
        };
        let with_id = |(n, row): (usize, &str)| match n {
            0 => format!("{row},user_id"),
            _ if rng.bool() => format!("{row},{}", of_row(row).unwrap_or_default()),
            _ => format!("{row},"),
        };
        self.csv = self.csv.lines().enumerate().map(with_id).collect::<Vec<_>>().join("\n") + "\n";
    }

    pub(crate) fn world(&self) -> World {
        World::from_seats(self.seats.iter().cloned(), self.scenario.seed)
    }
}

fn seats(rng: &mut Rng, desktops: usize) -> Vec<Seat> {
    let mut seats = Vec::new();
    for n in 0..desktops {
        let users = if chance(rng, 0.6) { 1 } else { 1 + rng.usize(..4) };
        for _ in 0..users {
            let kind = if chance(rng, 0.1) { Kind::Group } else { Kind::User };
            let bound = Bound {
                kind,
                user_name: format!("u{}", rng.usize(..desktops.max(4))),
                user_id: None,
                user_group: None,
                domain: chance(rng, 0.1).then(|| pick(rng, &["east", "west"]).to_owned()),
            };
            seats.push(Seat { desktop: id(n), name: format!("PC-{n:02}"), bound });
        }
    }
    seats
}

fn csv(rng: &mut Rng, seats: &[Seat], desktops: usize) -> String {
    let mut rows = Vec::new();
    for seat in seats {
        if chance(rng, 0.15) {
            continue;
        }
        let mut user = seat.bound.user_name.clone();
        if chance(rng, 0.2) {
            user = user.to_uppercase();
        }
        let (mut desktop, mut name) = (seat.desktop.to_string(), String::new());
        match rng.u32(..100) {
            0..=9 => (desktop, name) = (String::new(), seat.name.to_lowercase()),
            10..=13 => desktop = String::new(),
            14..=16 => "nobody".clone_into(&mut user),
            17..=18 => user = String::new(),
            19..=20 => desktop = format!("x-{desktop}"),
            _ => {}
        }
        let domain = seat.bound.domain.clone().filter(|_| chance(rng, 0.5)).unwrap_or_default();
        let row = format!("{desktop},{name},{user},{},{domain}", seat.bound.kind);
        if chance(rng, 0.08) {
            rows.push(row.clone());
        }
        rows.push(row);
    }
    for n in 0..desktops {
        if chance(rng, 0.12) {
            rows.push(format!("{},,,ALL,", id(n)));
        }
    }
    rows.push(format!("{},,u0,,", id(0)));
    rng.shuffle(&mut rows);
    let mut csv = HEADERS.to_owned();
    for row in rows {
        _ = writeln!(csv, "{row}");
    }
    csv
}

fn scenario(rng: &mut Rng, seed: u64, desktops: usize) -> Scenario {
    let blame = |rng: &mut Rng| if chance(rng, 0.5) { Blame::Desktop } else { Blame::Request };
    let physics = Physics {
        detach_lag: pick(rng, &[Duration::ZERO, ms(800), s(3), s(20)]),
        read_lag: pick(rng, &[Duration::ZERO, Duration::ZERO, s(1), s(4), s(8)]),
        job_time: pick(rng, &[s(1), s(3), s(40)]),
        job_hidden: pick(rng, &[Duration::ZERO, s(2)]),
        page: 0,
        latency: pick(rng, &[Duration::ZERO, ms(50), ms(300), s(2)]),
        busy: blame(rng),
        hibernated: blame(rng),
        unknown: blame(rng),
        matching: Matching::Id,
    };
    let mut fates = Vec::new();
    for n in 0..desktops {
        if chance(rng, 0.2) {
            fates.push(FateOf { desktops: vec![id(n)], fate: Fate::Pooled });
        }
        if chance(rng, 0.35) {
            fates.push(FateOf { desktops: vec![id(n)], fate: fate(rng) });
        }
    }
    let faults = (0..pick(rng, &[0, 1, 2, 4, 6])).map(|_| fault(rng, desktops)).collect();
    let limits = (0..pick(rng, &[0, 0, 1, 2])).map(|_| limit(rng)).collect();
    let outages = (0..pick(rng, &[0, 0, 0, 1, 2])).map(|_| {
        let from = ms(rng.u64(..200_000));
        let lasts = pick(rng, &[s(5), s(60), s(600), s(7_200)]);
        let kind = pick(rng, &[OutageKind::NotSent, OutageKind::Lost, OutageKind::Unavailable]);
        Outage { from, until: from + lasts, kind }
    });
    let outages = outages.collect();
    let has_tokens = chance(rng, 0.3);
    let login = Login { user: "ops".to_owned(), password: "secret".to_owned(), domain: "acme".to_owned() };
    Scenario {
        seed,
        world: physics,
        limits,
        outages,
        faults,
        fates,
        auth: if has_tokens { Auth::Token { valid: vec!["first".to_owned()], login: Some(login) } } else { Auth::Open },
        token_life: chance(rng, 0.5).then(|| s(rng.u64(200..900))),
        revoke_at: (0..rng.usize(..3)).map(|_| ms(rng.u64(..120_000))).collect(),
        ..Scenario::default()
    }
}

fn fate(rng: &mut Rng) -> Fate {
    let (code, message) = ("WKS.0311".to_owned(), "the desktop has a fault".to_owned());
    match rng.u32(..14) {
        0 => Fate::Hibernated,
        1 => Fate::Frozen,
        2 => Fate::Connected,
        3 => Fate::JobFails { code, message },
        4 | 5 => Fate::Busy { lasts: pick(rng, &[s(3), s(40), s(300), s(1_200)]) },
        6 => Fate::FailsWith { code, message, times: pick(rng, &[None, Some(1), Some(2)]) },
        7 => Fate::FailsFirst { times: rng.u32(1..4) },
        8 => Fate::NeverUnbinds,
        9 => Fate::ListedThoughGone { code, message },
        10 => Fate::GoneAfter(ms(rng.u64(..60_000))),
        11 => {
            let by = Bound {
                kind: Kind::User,
                user_name: format!("new{}", rng.u32(..3)),
                user_id: None,
                user_group: None,
                domain: None,
            };
            Fate::Rebound { after: ms(rng.u64(..40_000)), by: chance(rng, 0.5).then_some(by) }
        }
        12 => Fate::Poison(Refused::new(400, "WKS.0012", "Bad request.")),
        _ => Fate::Slow(pick(rng, &[s(8), s(45), s(200)])),
    }
}

fn refused(rng: &mut Rng) -> Refused {
    match rng.u32(..12) {
        0 => Refused::new(500, "WKS.0005", "Internal error."),
        1 => Refused::new(502, "", ""),
        2 => Refused::new(503, "APIGW.0613", "Try later."),
        3 => Refused::new(503, "", "Service Unavailable"),
        4 => Refused::new(504, "APIGW.0201", "Backend timeout."),
        5 => Refused::new(409, "WKS.00010032", "Operation conflict."),
        6 => Refused::new(400, "WKS.0407", "Disks are being added."),
        7 => Refused::new(400, "WKS.0001", "The request message is invalid."),
        8 => Refused::new(413, "", "Too large."),
        9 => Refused::new(408, "", ""),
        10 => Refused::new(401, "APIGW.0301", "Incorrect IAM authentication information."),
        _ => Refused::new(418, "", "I am a teapot."),
    }
}

fn effect(rng: &mut Rng, op: Op) -> Effect {
    let lost =
        |rng: &mut Rng| pick(rng, &[Refused::new(504, "APIGW.0201", "Backend timeout."), Refused::new(500, "", "")]);
    let by = pick(rng, &[ms(500), s(4), s(12), s(25)]);
    match rng.u32(..if op.is_write() { 17 } else { 12 }) {
        0 => Effect::Refuse(refused(rng)),
        1 | 2 => Effect::Throttle {
            limit: pick(rng, &[1, 10, 60]),
            window: pick(rng, &[s(1), s(60)]),
            retry_after: pick(rng, &[None, Some("3"), Some("60"), Some("-1"), Some("soon"), Some("1000000000")])
                .map(str::to_owned),
        },
        3 => Effect::NotSent,
        4 => Effect::DropBefore,
        5 => Effect::Delay(pick(rng, &[s(1), s(20), s(80), s(300)])),
        6 => Effect::CutJson,
        7 => Effect::Html { status: pick(rng, &[200, 500, 502]) },
        8 => Effect::ForeignId,
        9 => Effect::NullList,
        10 if !op.is_write() => Effect::ShortPage,
        11 if !op.is_write() => pick(rng, &[Effect::NoBindings, Effect::IgnoreFilter]),
        10..=12 => Effect::ExecuteThenDrop,
        13 => Effect::ExecuteThen(lost(rng)),
        14 => Effect::HalfThen(lost(rng)),
        15 => Effect::Late { by, answer: chance(rng, 0.5).then(|| lost(rng)) },
        _ => Effect::Twice { again: pick(rng, &[s(1), s(20), s(90)]) },
    }
}

fn fault(rng: &mut Rng, desktops: usize) -> Fault {
    let write = Op::BatchDetach;
    let op = pick(rng, &[write, write, write, Op::ListDesktops, Op::ShowDesktop, Op::ShowJob, Op::ListSubJobs]);
    let effect = effect(rng, op);
    let mut fault = Fault::new(op, effect).after(rng.u64(..6)).probability(pick(rng, &[0.1, 0.3, 0.7, 1.0]));
    fault.count = Some(rng.u64(1..12));
    if chance(rng, 0.2) {
        let from = ms(rng.u64(..60_000));
        fault = fault.between(from, from + ms(rng.u64(1..200_000)));
        fault.count = None;
    }
    if chance(rng, 0.2) {
        fault = fault.naming([id(rng.usize(..desktops))]);
    }
    fault
}

fn limit(rng: &mut Rng) -> Limit {
    Limit {
        op: Some(pick(rng, &[Op::BatchDetach, Op::BatchDetach, Op::ListDesktops, Op::ShowDesktop])),
        window: pick(rng, &[s(1), s(60)]),
        kind: pick(rng, &[Window::Fixed, Window::Sliding]),
        retry_after: pick(rng, &[None, Some("window"), Some("2"), Some("x")]).map(str::to_owned),
        hidden: chance(rng, 0.5),
        counts_refused: chance(rng, 0.2),
        ..Limit::per_minute(Op::BatchDetach, pick(rng, &[1, 5, 20]))
    }
}

fn deeds(rng: &mut Rng, seats: &[Seat], desktops: usize) -> Vec<(Duration, Deed)> {
    let mut deeds = Vec::new();
    for _ in 0..pick(rng, &[0, 0, 1, 3, 6]) {
        let desktop = id(rng.usize(..desktops));
        let deed = match rng.u32(..10) {
            0..=3 => Deed::Bind(pick(rng, seats)),
            4..=5 => {
                let mut seat = pick(rng, seats);
                seat.bound.user_name = format!("new{}", rng.u32(..3));
                Deed::Bind(seat)
            }
            6..=8 => Deed::Unbind(desktop),
            _ => Deed::Delete(desktop),
        };
        deeds.push((ms(rng.u64(..120_000)), deed));
    }
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}

pub(crate) fn death(rng: &mut Rng) -> Death {
    let mut death = Death {
        kept: rng.usize(..3),
        pause: pick(rng, &[Duration::ZERO, ms(10), s(7), s(600)]),
        no_renewal: chance(rng, 0.1),
        ..Death::NEVER
    };
    let most = pick(rng, &[12, 60, 400]);
    match rng.u32(..10) {
        0..=5 => death.at_event = Some(rng.u64(1..most)),
        6 => death.after = Some(ms(rng.u64(..120_000))),
        7 => death.disk_fails_at = Some(rng.u64(1..most)),
        8 => death.signal = Some((ms(rng.u64(..60_000)), None)),
        _ => death.signal = Some((ms(rng.u64(..60_000)), Some(ms(rng.u64(..20_000))))),
    }
    death
}
