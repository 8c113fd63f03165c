//! The two calls that change bindings: batch-detach and batch-attach.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::body::{AttachItem, DetachItem, UserInfo, Write};
use super::op::Refused;
use super::scenario::{Blame, Fate, Matching};
use super::world::{Event, Executed, Job, SimDesktop, SubWork, World};
use crate::model::{Bound, DesktopId};

/// Why a desktop can't be worked on now.
enum Obstacle {
    Unknown,
    Busy(String),
    Forbidden(String),
}

fn conflict(id: &str, state: &str) -> String {
    format!(
        "Operation conflict. The desktop current instance status is [{state}] and deny operation [detach], resource id [{id}]."
    )
}

impl Obstacle {
    fn of(desktop: Option<&SimDesktop>) -> Option<Self> {
        let Some(desktop) = desktop else { return Some(Self::Unknown) };
        let live = &desktop.live;
        match live.attach_state.as_ref() {
            _ if !live.task_status.is_empty() => Some(Self::Busy(live.task_status.to_string())),
            state @ ("WAITING" | "ATTACHING" | "DEATTACHING") => Some(Self::Busy(state.to_owned())),
            _ if desktop.frozen => Some(Self::Forbidden("FROZEN".to_owned())),
            _ if matches!(live.status.as_ref(), "HIBERNATED" | "ERROR") => {
                Some(Self::Forbidden(live.status.to_string()))
            }
            _ => None,
        }
    }

    fn refusal(&self, id: &str) -> Refused {
        match self {
            Self::Unknown => Refused::new(404, "WKS.0202", format!("The resource not found: desktop {id}.")),
            Self::Busy(state) | Self::Forbidden(state) => Refused::new(409, "WKS.00010032", conflict(id, state)),
        }
    }
}

impl World {
    /// Does the first `most` desktops of a write, as request number `request`.
    pub(super) fn execute(
        &mut self,
        write: &Write,
        most: usize,
        request: usize,
        now: Instant,
    ) -> Result<(Value, Executed), Refused> {
        for id in write.ids() {
            self.whole_request_refusal(id).map_or(Ok(()), Err)?;
        }
        let (answer, executed) = match write {
            Write::Detach(items) => self.batch_detach(&items[..most.min(items.len())], request, now),
            Write::Attach(items) => self.batch_attach(&items[..most.min(items.len())], request, now),
        };
        let executed = if most < write.ids().count() { Executed::Partly } else { executed };
        if self.remembers {
            self.executed.insert(request, executed);
        }
        Ok((answer, executed))
    }

    fn whole_request_refusal(&self, id: &str) -> Option<Refused> {
        let desktop = self.find(id);
        let poison = desktop.and_then(|desktop| {
            desktop.fate(|fate| match fate {
                Fate::Poison(refused) => Some(refused.clone()),
                _ => None,
            })
        });
        let obstacle = Obstacle::of(desktop).filter(|obstacle| {
            let blame = match obstacle {
                Obstacle::Unknown => self.physics.unknown,
                Obstacle::Busy(_) => self.physics.busy,
                Obstacle::Forbidden(_) => self.physics.hibernated,
            };
            blame == Blame::Request
        });
        poison.or_else(|| obstacle.map(|obstacle| obstacle.refusal(id)))
    }

    fn batch_detach(&mut self, items: &[DetachItem], request: usize, now: Instant) -> (Value, Executed) {
        let (mut failed, mut success_job_ids, mut pooled) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            if let Some(refused) = self.desktop_refusal(&item.desktop_id) {
                let name = self.find(&item.desktop_id).map_or("", |desktop| &desktop.name);
                failed.push(json!({
                    "desktop_id": item.desktop_id, "desktop_name": name,
                    "error_code": refused.code, "error_msg": refused.message,
                }));
                if !self.is_detached_all_the_same(&item.desktop_id) {
                    continue;
                }
            }
            let Some((id, desktop)) = self.desktops.get_key_value(item.desktop_id.as_str()) else { continue };
            let who: Vec<Bound> = desktop
                .live
                .bound
                .iter()
                .filter(|bound| {
                    item.is_detach_all_users
                        || item.detach_user_infos.iter().any(|info| info.means(bound, self.physics.matching))
                })
                .cloned()
                .collect();
            let id = id.clone();
            if desktop.is_pooled() {
                let failure = desktop.fate(|fate| match fate {
                    Fate::JobFails { code, message } => Some((code.clone(), message.clone())),
                    _ => None,
                });
                let subs =
                    who.into_iter().map(|bound| SubWork { desktop: id.clone(), bound, failure: failure.clone() });
                pooled.extend(subs);
            } else {
                success_job_ids.push(self.make_id());
                self.start_detach(&id, who, request, now);
            }
        }
        let job_id =
            if pooled.is_empty() { String::new() } else { self.start_job("detachDesktops", pooled, request, now) };
        let executed = if failed.is_empty() { Executed::Whole } else { Executed::PerDesktop };
        let answer = json!({"failed_operation_list": failed, "job_id": job_id, "success_job_ids": success_job_ids});
        (answer, executed)
    }

    /// Why this desktop is listed as failed, if it is; counts down a fate that ends.
    fn desktop_refusal(&mut self, id: &str) -> Option<Refused> {
        if let Some(obstacle) = Obstacle::of(self.find(id)) {
            return Some(obstacle.refusal(id));
        }
        let desktop = self.desktops.get_mut(id)?;
        desktop.fates.iter_mut().find_map(|fate| match fate {
            Fate::FailsWith { times: Some(0), .. } => None,
            Fate::FailsWith { code, message, times } => {
                *times = times.map(|times| times - 1);
                Some(Refused::new(200, code.as_str(), message.as_str()))
            }
            Fate::ListedThoughGone { code, message } => Some(Refused::new(200, code.as_str(), message.as_str())),
            _ => None,
        })
    }

    fn is_detached_all_the_same(&self, id: &str) -> bool {
        let lies = |fate: &Fate| matches!(fate, Fate::ListedThoughGone { .. }).then_some(());
        self.find(id).is_some_and(|desktop| Obstacle::of(Some(desktop)).is_none() && desktop.fate(lies).is_some())
    }

    fn start_detach(&mut self, id: &DesktopId, mut who: Vec<Bound>, request: usize, now: Instant) {
        if who.is_empty() {
            return; // nobody of those is bound: done, without a word
        }
        let Some(desktop) = self.find(id.as_str()) else { return };
        let failed = desktop.fate(|fate| matches!(fate, Fate::FailsFirst { times: 1.. }).then_some(())).is_some();
        if desktop.fate(|fate| matches!(fate, Fate::NeverUnbinds).then_some(())).is_some() {
            who.clear();
        }
        let slow = desktop.fate(|fate| if let Fate::Slow(lag) = fate { Some(*lag) } else { None });
        let lag = slow.unwrap_or(self.physics.detach_lag);
        let task = if desktop.desktop_type == "SHARED" { "updating" } else { "powering-off" };
        self.begin(id, "DEATTACHING", task, now);
        if lag.is_zero() {
            self.finish_detach(id, &who, Some(request), failed, now);
        } else {
            self.schedule(now + lag, Event::Detach { desktop: id.clone(), who, request, failed });
        }
    }

    fn start_job(&mut self, kind: &'static str, subs: Vec<SubWork>, request: usize, now: Instant) -> String {
        let id = self.make_id();
        let (state, task, lasts) = if kind == "attachDesktops" {
            ("ATTACHING", "updating", self.physics.detach_lag)
        } else {
            ("DEATTACHING", "powering-off", self.physics.job_time)
        };
        let job = Job { kind, request, begun: now, ends: now + lasts, done: false, subs };
        for desktop in job.works_on() {
            self.begin(&desktop, state, task, now);
        }
        self.jobs.insert(id.clone(), job);
        self.schedule(now + lasts, Event::JobEnds { job: id.clone() });
        self.advance(now);
        id
    }

    fn attach_refusal(&self, id: &str, holders: &[Bound]) -> Option<Refused> {
        let desktop = self.find(id);
        if let Some(obstacle) = Obstacle::of(desktop) {
            return Some(obstacle.refusal(id));
        }
        let taken = |desktop: &SimDesktop| {
            desktop.desktop_type == "DEDICATED"
                && desktop
                    .bound()
                    .iter()
                    .any(|there| holders.iter().all(|ours| (ours.kind, &ours.user_id) != (there.kind, &there.user_id)))
        };
        desktop.filter(|desktop| taken(desktop)).map(|_| Refused::new(409, "WKS.00010032", conflict(id, "ATTACHED")))
    }

    fn batch_attach(&mut self, items: &[AttachItem], request: usize, now: Instant) -> (Value, Executed) {
        let mut subs = Vec::new();
        let mut all = true;
        for item in items {
            let Some(id) = DesktopId::parse(&item.desktop_id) else { continue };
            let mut holders: Vec<Bound> = item.users().into_iter().map(UserInfo::into_bound).collect();
            for bound in &mut holders {
                if self.physics.matching == Matching::Name {
                    bound.user_id = self.last_named(bound).or(bound.user_id.take());
                }
                self.complete(bound);
            }
            let failure =
                self.attach_refusal(&item.desktop_id, &holders).map(|refused| (refused.code, refused.message));
            all &= failure.is_none();
            for bound in holders {
                if failure.is_none() && item.is_clear_data {
                    self.clear_data(&id, &bound);
                }
                subs.push(SubWork { desktop: id.clone(), bound, failure: failure.clone() });
            }
        }
        let job_id = self.start_job("attachDesktops", subs, request, now);
        (json!({ "job_id": job_id }), if all { Executed::Whole } else { Executed::PerDesktop })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::sleep;

    use super::super::testing::{app, call, detach, id, names, read, seat, send, user, world};
    use super::super::{Seat, World};
    use super::*;
    use crate::model::Kind;

    #[tokio::test(start_paused = true)]
    async fn an_ordinary_detach_is_seen_while_it_lasts_and_then_the_binding_is_gone() {
        let app = app(world(1, 1), r#"world = { detach-lag = "800ms" }"#);
        let (status, answer) = detach(&app, &["d-0"]).await;
        assert_eq!((status, &answer["failed_operation_list"], &answer["job_id"]), (200, &json!([]), &json!("")));
        assert_eq!(answer["success_job_ids"].as_array().unwrap().len(), 1);
        let shown = &read(&app, "/desktops/d-0").await["desktop"];
        assert_eq!((&shown["attach_state"], &shown["task_status"]), (&json!("DEATTACHING"), &json!("powering-off")));
        assert_eq!(names(&app, "d-0"), ["u-0"]);
        sleep(Duration::from_millis(800)).await;
        let shown = &read(&app, "/desktops/d-0").await["desktop"];
        assert_eq!((&shown["attach_state"], &shown["task_status"]), (&json!("DEATTACHED"), &json!("")));
        assert_eq!((&shown["attach_user_infos"], &shown["status"]), (&json!([]), &json!("SHUTOFF")));
        assert_eq!(app.log()[0].applied, [(id("d-0"), app.world().changes()[0].bound.clone())]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_others_of_a_shared_desktop_stay() {
        let app = app(world(1, 3), "");
        detach(&app, &["d-0"]).await;
        assert_eq!(names(&app, "d-0"), ["u-1", "u-2"]);
        assert_eq!(read(&app, "/desktops/d-0").await["desktop"]["attach_state"], "ATTACHED");
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_who_is_not_bound_is_passed_over_without_a_word() {
        let app = app(World::from_seats([seat("d-0", "somebody")], 1), "");
        let (status, answer) = detach(&app, &["d-0"]).await;
        assert_eq!((status, &answer["failed_operation_list"]), (200, &json!([])));
        assert_eq!(names(&app, "d-0"), ["somebody"]);
    }

    #[tokio::test(start_paused = true)]
    async fn users_are_matched_by_id_else_by_name_without_case_type_and_domain() {
        let group = Bound { kind: Kind::Group, ..user("Anna") };
        let of = |domain: &str| Bound { domain: Some(domain.to_owned()), ..user("Anna") };
        let mut world = World::new(1);
        for bound in [group, of("a.local"), of("b.local"), user("Bert")] {
            world.bind(Seat { desktop: id("d"), name: String::new(), bound });
        }
        let bert = world.bound(&id("d"))[3].user_id.clone();
        let app = app(world, "");
        let infos = json!([
            {"user_name": "ANNA", "domain": "B.local"}, {"user_name": "renamed", "user_id": bert},
            {"user_name": "Anna", "user_id": "of-nobody"},
        ]);
        let body = json!({"desktops": [{"desktop_id": "d", "is_detach_all_users": false, "detach_user_infos": infos}]});
        assert_eq!(send(&app, &body).await.0, 200);
        let left: Vec<_> = app.world().bound(&id("d")).into_iter().map(|bound| (bound.kind, bound.domain)).collect();
        assert_eq!(left, [(Kind::Group, None), (Kind::User, Some("a.local".to_owned()))]);
    }

    #[tokio::test(start_paused = true)]
    async fn detach_all_ignores_the_list() {
        let app = app(world(1, 3), "");
        let body = json!({"desktops": [{"desktop_id": "d-0", "is_detach_all_users": true}]});
        assert_eq!(send(&app, &body).await.0, 200);
        assert!(names(&app, "d-0").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_desktop_that_cant_be_detached_is_listed_and_the_others_go_on() {
        let toml = r#"fates = [
            { desktops = ["d-0"], fate = "hibernated" },
            { desktops = ["d-1"], fate = { fails-with = { code = "WKS.77", message = "no", times = 1 } } },
            { desktops = ["d-2"], fate = { listed-though-gone = { code = "WKS.78", message = "lie" } } },
            { desktops = ["d-3"], fate = "frozen" },
            { desktops = ["d-4"], fate = "gone" },
        ]"#;
        let app = app(world(6, 1), toml);
        let (_, answer) = detach(&app, &["d-0", "d-1", "d-2", "d-3", "d-4", "d-5", "nowhere"]).await;
        let failed = answer["failed_operation_list"].as_array().unwrap();
        let listed: Vec<_> = failed
            .iter()
            .map(|entry| (entry["desktop_id"].as_str().unwrap(), entry["error_code"].as_str().unwrap()))
            .collect();
        assert_eq!(
            listed,
            [
                ("d-0", "WKS.00010032"),
                ("d-1", "WKS.77"),
                ("d-2", "WKS.78"),
                ("d-3", "WKS.00010032"),
                ("d-4", "WKS.0202"),
                ("nowhere", "WKS.0202"),
            ]
        );
        assert!(failed[0]["error_msg"].as_str().unwrap().contains("[HIBERNATED]"));
        assert_eq!((names(&app, "d-0").len(), names(&app, "d-2").len(), names(&app, "d-5").len()), (1, 0, 0));
        assert_eq!(app.log()[0].executed, Executed::PerDesktop);
        assert_eq!(detach(&app, &["d-1"]).await.1["failed_operation_list"], json!([]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_desktop_refuses_the_whole_request_until_it_is_idle() {
        let app = app(world(2, 1), r#"fates = [{ desktops = ["d-1"], fate = { busy = { for = "20s" } } }]"#);
        let (status, answer) = detach(&app, &["d-0", "d-1"]).await;
        assert_eq!((status, &answer["error_code"]), (409, &json!("WKS.00010032")));
        assert!(answer["error_msg"].as_str().unwrap().contains("resource id [d-1]"));
        assert_eq!(names(&app, "d-0"), ["u-0"]);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(detach(&app, &["d-0", "d-1"]).await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn p06_a_second_write_for_an_open_desktop_meets_a_conflict() {
        let app = app(world(1, 2), r#"world = { detach-lag = "5s" }"#);
        detach(&app, &["d-0"]).await;
        assert_eq!(detach(&app, &["d-0"]).await.0, 409);
    }

    #[tokio::test(start_paused = true)]
    async fn by_scenario_an_unknown_or_poisoned_desktop_refuses_the_whole_request() {
        let toml = r#"
            world = { unknown = "request" }
            fates = [{ desktops = ["d-1"], fate = { poison = { status = 400, code = "WKS.9", message = "bad" } } }]"#;
        let app = app(world(2, 1), toml);
        assert_eq!(detach(&app, &["d-0", "d-9"]).await.0, 404);
        let (status, answer) = detach(&app, &["d-0", "d-1"]).await;
        assert_eq!((status, &answer["error_code"]), (400, &json!("WKS.9")));
        assert_eq!(names(&app, "d-0"), ["u-0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn pool_desktops_get_one_job_whose_sub_jobs_tell_what_became_of_them() {
        let toml = r#"
            world = { job-time = "3s", job-hidden = "1s" }
            fates = [
                { desktops = ["d-0"], fate = "pooled" },
                { desktops = ["d-1"], fate = { job-fails = { code = "WKS.5", message = "stuck" } } },
            ]"#;
        let app = app(world(3, 1), toml);
        let (_, answer) = detach(&app, &["d-0", "d-1", "d-2"]).await;
        let job = answer["job_id"].as_str().unwrap();
        assert_eq!(answer["success_job_ids"].as_array().unwrap().len(), 1);
        let path = format!("/workspace-jobs/{job}");
        assert_eq!(call(&app, "GET", &format!("/v2/p{path}"), "").await.0, 404);
        sleep(Duration::from_secs(1)).await;
        let shown = read(&app, &path).await;
        assert_eq!((&shown["status"], &shown["sub_jobs_total"]), (&json!("RUNNING"), &json!(2)));
        assert_eq!(shown["sub_jobs"][0]["status"], "RUNNING");
        assert_eq!(names(&app, "d-0"), ["u-0"]);
        sleep(Duration::from_secs(2)).await;
        let shown = read(&app, &path).await;
        assert_eq!(shown["status"], "COMPLETE");
        assert_eq!(shown["sub_jobs"][0]["entities"], json!({"desktop_id": "d-0", "user_name": "u-0"}));
        let subs = read(&app, &format!("/workspace-sub-jobs?job_id={job}")).await;
        let of =
            |n: usize| (subs["jobs"][n]["status"].as_str().unwrap(), subs["jobs"][n]["error_code"].as_str().unwrap());
        assert_eq!((of(0), of(1)), (("SUCCESS", ""), ("FAILED", "WKS.5")));
        assert_eq!((names(&app, "d-0").len(), names(&app, "d-1").len()), (0, 1));
        assert_eq!(read(&app, "/desktops/d-1").await["desktop"]["attach_state"], "ATTACHED");
    }

    #[tokio::test(start_paused = true)]
    async fn fates_that_come_after_the_answer() {
        let toml = r#"
            world = { detach-lag = "1s" }
            fates = [
                { desktops = ["d-0"], fate = "never-unbinds" },
                { desktops = ["d-1"], fate = { fails-first = { times = 1 } } },
                { desktops = ["d-2"], fate = { rebound = { after = "4s", by = { type = "USER", user_name = "next" } } } },
                { desktops = ["d-3"], fate = { slow = "9s" } },
                { desktops = ["d-4"], fate = { gone-after = "3s" } },
            ]"#;
        let app = app(world(5, 1), toml);
        let (_, answer) = detach(&app, &["d-0", "d-1", "d-2", "d-3", "d-4"]).await;
        assert_eq!(answer["failed_operation_list"], json!([]));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(read(&app, "/desktops/d-0").await["desktop"]["attach_state"], "ATTACHED");
        let shown = &read(&app, "/desktops/d-1").await["desktop"];
        assert_eq!(shown["attach_state"], "DEATTACH_FAIL_CAN_DEATTACH_AGAIN");
        assert_eq!((names(&app, "d-0").len(), names(&app, "d-2").len(), names(&app, "d-3").len()), (1, 0, 1));
        detach(&app, &["d-1"]).await;
        sleep(Duration::from_secs(8)).await;
        assert_eq!((names(&app, "d-1").len(), names(&app, "d-3").len()), (0, 0));
        assert_eq!(names(&app, "d-2"), ["next"]);
        assert_eq!(call(&app, "GET", "/v2/p/desktops/d-4", "").await.0, 404);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attach_keeps_the_data_only_when_told_to() {
        let app = app(world(3, 1), "");
        detach(&app, &["d-0", "d-1"]).await;
        let info = json!([{"user_name": "u-0", "user_group": "users"}]);
        let body = json!({
            "assign_model": {"priority_strategy": "FIXED_RELATION", "assign_dimension": "DESKTOP"},
            "desktops": [
                {"desktop_id": "d-0", "is_clear_data": false, "attach_user_infos": info},
                {"desktop_id": "d-1", "user_name": "u-0", "user_group": "users"},
                {"desktop_id": "d-2", "user_name": "other", "user_group": "users"},
            ],
        });
        let (status, answer) = call(&app, "POST", "/v2/p/desktops/batch-attach", body.to_string()).await;
        assert_eq!(status, 200);
        let job = read(&app, &format!("/workspace-jobs/{}", answer["job_id"].as_str().unwrap())).await;
        assert_eq!((&job["status"], &job["sub_jobs"][2]["status"]), (&json!("COMPLETE"), &json!("FAILED")));
        assert_eq!((names(&app, "d-0"), names(&app, "d-2")), (vec!["u-0".to_owned()], vec!["u-0".to_owned()]));
        let cleared = |id_: &str| app.world().data_cleared(&id(id_));
        assert_eq!((cleared("d-0"), cleared("d-1")), (0, 1));
        assert_eq!(app.log()[1].applied.len(), 2);
        let no_group = json!({"desktops": [{"desktop_id": "d-0", "user_name": "u-0"}]}).to_string();
        assert_eq!(call(&app, "POST", "/v2/p/desktops/batch-attach", no_group).await.0, 400);
    }
}
