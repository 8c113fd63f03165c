//! Misbehaviour of the service that public reports tell of, on top of a seed's own script. What a seed draws for one
//! kind does not depend on the others, so that a kind can be switched on without moving the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use batch_detach::testing::model::{Bound, DesktopId};
use batch_detach::testing::sim::{App, Change, Effect, Fate, FateOf, Fault, Matching, Op, Refused};
use fastrand::Rng;

use crate::script::{Deed, Script, TakeBack, death, id};

/// One kind of misbehaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Oddity {
    /// Something goes between two pages, so that one entry is on neither.
    ShiftedPages,
    /// An entry stands twice, and another one nowhere.
    RepeatedEntries,
    /// Pages come in another order each time.
    AnotherOrder,
    /// `total_count` is too low or too high.
    OtherTotals,
    /// Desktops that are attached, to nobody that is told; now and then, or one of them for ever.
    UntoldBindings,
    /// A living desktop is not found, now and then.
    NotFoundOnce,
    /// Somebody else of the same name is bound: before the plan, between plan and write, before a resume.
    Namesakes,
    /// 200 with an error in it, to a write or a read.
    ErrorIn200,
    /// A read of several desktops is refused because of one of them.
    BadIdInRead,
    /// A job ends in a word that nobody knows.
    JobWords,
    /// A job is never found.
    LostJobs,
    /// The proxy asks for its password in the middle.
    ProxyPassword,
    /// A gateway takes no long request line: a read by several ids is refused.
    LongQueries,
    /// The service goes by names alone: a detach takes every namesake away, an attach brings whoever had the name last.
    ByName,
    /// Ids in the list are in other case; half of the services compare without case.
    IdsInOtherCase,
    /// A balancer drops every second request of a connection.
    OneAnswerEach,
    /// A desktop, or the service, is busy for ever.
    BusyForEver,
    /// The credentials are refused in the middle, now and then.
    RefusedCredentials,
    /// The run is taken back, whether it came to its end or not.
    TakenBack,
    /// Before and during an undo somebody else of the same name, or of another one, is bound.
    OthersBeforeUndo,
}

use Oddity::{
    AnotherOrder, BadIdInRead, BusyForEver, ByName, ErrorIn200, IdsInOtherCase, JobWords, LongQueries, LostJobs,
    Namesakes, NotFoundOnce, OneAnswerEach, OtherTotals, OthersBeforeUndo, ProxyPassword, RefusedCredentials,
    RepeatedEntries, ShiftedPages, TakenBack, UntoldBindings,
};

const NAMESAKE: &str = "namesake-";

/// The id of somebody else of that name: one of four, and nobody's of another name.
fn namesake(of: &Bound, rng: &mut fastrand::Rng) -> String {
    format!("{NAMESAKE}{}-{}", of.user_name, rng.u32(..4))
}

impl Oddity {
    /// All kinds, and their names for `SIM_ODD`.
    pub(crate) const ALL: [(Self, &str); 20] = [
        (ShiftedPages, "shifted-pages"),
        (RepeatedEntries, "repeated-entries"),
        (AnotherOrder, "another-order"),
        (OtherTotals, "other-totals"),
        (UntoldBindings, "untold-bindings"),
        (NotFoundOnce, "not-found-once"),
        (Namesakes, "namesakes"),
        (ErrorIn200, "error-in-200"),
        (BadIdInRead, "bad-id-in-read"),
        (JobWords, "job-words"),
        (LostJobs, "lost-jobs"),
        (ProxyPassword, "proxy-password"),
        (LongQueries, "long-queries"),
        (ByName, "by-name"),
        (IdsInOtherCase, "ids-in-other-case"),
        (OneAnswerEach, "one-answer-each"),
        (BusyForEver, "busy-for-ever"),
        (RefusedCredentials, "refused-credentials"),
        (TakenBack, "taken-back"),
        (OthersBeforeUndo, "others-before-undo"),
    ];

    /// `SIM_ODD` is a list of names, or `none`; without it all are wanted.
    pub(crate) fn wanted() -> Vec<Self> {
        let list = std::env::var("SIM_ODD").ok();
        let is_wanted = |name: &str| list.as_deref().is_none_or(|given| given.split(',').any(|one| one == name));
        Self::ALL.iter().filter(|(_, name)| is_wanted(name)).map(|(kind, _)| *kind).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The kind that an effect on a request belongs to.
    pub(crate) fn of(effect: &Effect) -> Option<Self> {
        Some(match effect {
            Effect::ShiftedPage => ShiftedPages,
            Effect::RepeatedEntry => RepeatedEntries,
            Effect::ReversedPage => AnotherOrder,
            Effect::ClaimedTotal(_) => OtherTotals,
            Effect::UntoldBindings => UntoldBindings,
            Effect::JobWord(_) => JobWords,
            Effect::Refuse(refused) => match (refused.status, refused.code.as_str()) {
                (404, "WKS.0202") => NotFoundOnce,
                (404, "WKS.0203") => LostJobs,
                (200, _) => ErrorIn200,
                (403, "WKS.0403") => BadIdInRead,
                (407, _) => ProxyPassword,
                (401, "APIGW.0307") => RefusedCredentials,
                (409, "WKS.00010033") => BusyForEver,
                (414, _) => LongQueries,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Three scripts in ten get this kind.
    pub(crate) fn bend(self, script: &mut Script, desktops: usize) {
        let rng = &mut Rng::with_seed(script.scenario.seed ^ 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(1 + self as u64));
        if rng.f64() >= 0.3 {
            return;
        }
        let faults = self.faults(script, rng, desktops);
        if matches!(self, ShiftedPages | RepeatedEntries | AnotherOrder) {
            script.scenario.world.page = [2, 3, 7][rng.usize(..3)];
        }
        script.scenario.faults.splice(0..0, faults);
    }

    /// The rules for requests that go with the kind.
    fn faults(self, script: &mut Script, rng: &mut Rng, desktops: usize) -> Vec<Fault> {
        let list = Op::ListDesktops;
        match self {
            ShiftedPages => vec![few(Fault::new(list, Effect::ShiftedPage), rng)],
            RepeatedEntries => vec![few(Fault::new(list, Effect::RepeatedEntry), rng)],
            AnotherOrder => vec![few(Fault::new(list, Effect::ReversedPage), rng)],
            OtherTotals => {
                let by = [-3, -1, 1, 7, 10_000_000][rng.usize(..5)];
                vec![few(Fault::new(list, Effect::ClaimedTotal(by)), rng)]
            }
            UntoldBindings if rng.u8(..4) == 0 => {
                let one = id(rng.usize(..desktops));
                [list, Op::ShowDesktop].map(|op| Fault::new(op, Effect::UntoldBindings).naming([one.clone()])).into()
            }
            UntoldBindings => {
                let list = few(Fault::new(list, Effect::UntoldBindings), rng);
                vec![list, few(Fault::new(Op::ShowDesktop, Effect::UntoldBindings), rng)]
            }
            // Twice in a row, some time apart, is the service's word: what proves more than that nobody can say.
            NotFoundOnce => {
                let refused = Refused::new(404, "WKS.0202", "The resource not found.");
                let once = |one| Fault::new(Op::ShowDesktop, Effect::Refuse(refused.clone())).naming([one]).count(1);
                let mut ids: Vec<_> = (0..desktops).map(id).collect();
                rng.shuffle(&mut ids);
                ids.into_iter().take(rng.usize(1..5)).map(once).collect()
            }
            ErrorIn200 => {
                let op = [Op::BatchDetach, Op::BatchDetach, list, Op::ShowDesktop, Op::ShowJob][rng.usize(..5)];
                let refused = Refused::new(200, "WKS.0005", "The service is busy with itself.");
                vec![few(Fault::new(op, Effect::Refuse(refused)), rng)]
            }
            BadIdInRead => {
                let refused = Refused::new(403, "WKS.0403", "One of the ids is not yours.");
                let one = id(rng.usize(..desktops));
                vec![Fault::new(list, Effect::Refuse(refused)).after(rng.u64(..4)).naming([one])]
            }
            JobWords => {
                let word = ["CANCELED", "PARTIAL_SUCCESS", "FINISHED", ""][rng.usize(..4)].to_owned();
                let job = few(Fault::new(Op::ShowJob, Effect::JobWord(word.clone())), rng);
                vec![job, few(Fault::new(Op::ListSubJobs, Effect::JobWord(word)), rng)]
            }
            LostJobs => {
                let refused = Refused::new(404, "WKS.0203", "The job does not exist.");
                let jobs = [Op::ShowJob, Op::ListSubJobs];
                jobs.map(|op| Fault::new(op, Effect::Refuse(refused.clone()))).into()
            }
            LongQueries => {
                let refused = Refused::new(414, "", "Request-URI Too Long");
                vec![Fault::new(list, Effect::Refuse(refused)).after(rng.u64(..4)).query_over(60)]
            }
            ProxyPassword => {
                let refused = Refused::new(407, "", "Proxy Authentication Required");
                let op = [Op::BatchDetach, list, Op::ShowDesktop][rng.usize(..3)];
                vec![few(Fault::new(op, Effect::Refuse(refused)), rng)]
            }
            BusyForEver if rng.bool() => {
                let refused = Refused::new(409, "WKS.00010033", "Operation conflict. The service is busy.");
                vec![Fault::new(Op::BatchDetach, Effect::Refuse(refused)).after(rng.u64(..4))]
            }
            RefusedCredentials => {
                let refused = Refused::new(401, "APIGW.0307", "The token must be updated.");
                let op = [Op::BatchDetach, list, Op::ShowDesktop, Op::ShowJob][rng.usize(..4)];
                vec![few(Fault::new(op, Effect::Refuse(refused)), rng)]
            }
            _ => {
                self.change(script, rng, desktops);
                Vec::new()
            }
        }
    }

    /// What goes with the kind in the world and in the script.
    fn change(self, script: &mut Script, rng: &mut Rng, desktops: usize) {
        match self {
            Namesakes => {
                for _ in 0..=rng.usize(..3) {
                    let mut seat = script.seats[rng.usize(..script.seats.len())].clone();
                    seat.bound.user_id = Some(namesake(&seat.bound, rng));
                    let at = Duration::from_millis([0, rng.u64(..20_000), rng.u64(..600_000)][rng.usize(..3)]);
                    script.deeds.push((at, Deed::Bind(seat)));
                }
                script.deeds.sort_by_key(|(at, _)| *at);
            }
            ByName => {
                script.scenario.world.matching = Matching::Name;
                let mut seats = script.seats.clone();
                rng.shuffle(&mut seats);
                seats.truncate(rng.usize(..3));
                for mut seat in seats {
                    seat.bound.user_id = Some(namesake(&seat.bound, rng));
                    script.seats.push(seat);
                }
                script.name_people_by_id(rng);
            }
            IdsInOtherCase => {
                script.scenario.world.matching = if rng.bool() { Matching::AnyCase } else { Matching::Id };
                let other = |line: &str| if rng.u8(..3) == 0 { line.replacen("d-", "D-", 1) } else { line.to_owned() };
                script.csv = script.csv.lines().map(other).collect::<Vec<_>>().join("\n") + "\n";
            }
            OneAnswerEach => script.one_answer_each = true,
            BusyForEver => {
                let fate = Fate::Busy { lasts: FOR_EVER };
                let desktops = vec![id(rng.usize(..desktops))];
                script.scenario.fates.insert(0, FateOf { desktops, fate });
            }
            TakenBack => {
                let after = [None, Some(rng.usize(..3))][rng.usize(..2)];
                let undo = script.undo.get_or_insert_with(TakeBack::default);
                undo.after_process = after;
                undo.pause = Duration::from_millis([0, rng.u64(..60_000), rng.u64(..3_600_000)][rng.usize(..3)]);
                undo.deaths = (0..rng.usize(..3)).map(|_| death(rng)).collect();
            }
            OthersBeforeUndo => {
                for _ in 0..=rng.usize(..4) {
                    let mut seat = script.seats[rng.usize(..script.seats.len())].clone();
                    match rng.u8(..4) {
                        0 => seat.bound.user_name = format!("new{}", rng.u32(..3)),
                        1 => {}
                        _ => seat.bound.user_id = Some(namesake(&seat.bound, rng)),
                    }
                    let at = Duration::from_millis([0, 0, rng.u64(..20_000), rng.u64(..600_000)][rng.usize(..4)]);
                    let deed = match rng.u8(..8) {
                        0 => Deed::Unbind(seat.desktop),
                        1 => Deed::Delete(seat.desktop),
                        _ => Deed::Bind(seat),
                    };
                    script.undo_deeds.push((at, deed));
                }
                script.undo_deeds.sort_by_key(|(at, _)| *at);
            }
            _ => {}
        }
    }
}

/// A rule for a few requests only.
fn few(fault: Fault, rng: &mut Rng) -> Fault {
    let chance = [0.2, 0.5, 1.0][rng.usize(..3)];
    fault.after(rng.u64(..3)).count(rng.u64(1..8)).probability(chance)
}

impl Script {
    /// The kinds that came to effect, as far as the service and the script tell.
    pub(crate) fn met(&self, app: &App) -> BTreeSet<Oddity> {
        let mut met: BTreeSet<Oddity> = app.effects_met().iter().filter_map(Oddity::of).collect();
        let came = |change: &Change| change.attached && is_namesake(&change.bound);
        met.extend(app.world().changes().iter().any(came).then_some(Namesakes));
        met.extend(self.csv.contains("D-").then_some(IdsInOtherCase));
        met.extend((!self.busy_for_ever().is_empty()).then_some(BusyForEver));
        met
    }

    /// The desktops that are busy for ever.
    pub(crate) fn busy_for_ever(&self) -> Vec<&DesktopId> {
        let is_busy = |of: &&FateOf| matches!(of.fate, Fate::Busy { lasts } if lasts >= FOR_EVER);
        self.scenario.fates.iter().filter(is_busy).flat_map(|of| &of.desktops).collect()
    }
}

/// No run takes so long.
const FOR_EVER: Duration = Duration::from_secs(1_000 * 86_400);

/// Whether a binding is one of ours: somebody of the same name and another id.
fn is_namesake(bound: &Bound) -> bool {
    bound.user_id.as_deref().is_some_and(|id| id.starts_with(NAMESAKE))
}
