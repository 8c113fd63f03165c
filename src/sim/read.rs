//! The calls that read: desktops, jobs, users, groups, pools, the tenant.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::op::Refused;
use super::query::{Query, invalid};
use super::world::{Job, SimDesktop, SubWork, View, World, uuid};
use crate::model::{Bound, DesktopId, Kind};

/// Desktop ids in a filter at most. Source: definition of `ListDesktopsDetail`.
const MAX_IDS: usize = 100;

fn contains(text: &str, lower: &str) -> bool {
    text.to_lowercase().contains(lower)
}

/// The filters of a list of desktops, lower-case where case does not count.
struct Filter<'a> {
    user_names: Vec<String>,
    user_name: Option<String>,
    user_id: Option<&'a str>,
    computer_name: Option<String>,
    computer_names: Vec<String>,
    pools: Vec<&'a str>,
    types: Vec<&'a str>,
    status: Option<&'a str>,
    attached: Option<bool>,
}

impl<'a> Filter<'a> {
    fn new(query: &'a Query) -> Self {
        let lower = |names: Vec<&str>| names.into_iter().map(str::to_lowercase).collect::<Vec<_>>();
        let list = |name| query.all(name).into_iter().flat_map(|value| value.split(',')).collect();
        let user_names = lower(query.all("user_names"));
        Self {
            // The list overrides the single name.
            user_name: query.one("user_name").filter(|_| user_names.is_empty()).map(str::to_lowercase),
            user_names,
            user_id: query.one("user_id"),
            computer_name: query.one("computer_name").map(str::to_lowercase),
            computer_names: lower(query.all("computer_names")),
            pools: list("pool_id"),
            types: list("desktop_type"),
            status: query.one("status"),
            attached: query.one("user_attached").map(|value| value == "true"),
        }
    }

    fn takes(&self, desktop: &SimDesktop, view: &View) -> bool {
        let held = |by: &dyn Fn(&Bound) -> bool| view.bound.iter().any(by);
        (self.user_names.is_empty() || held(&|bound| self.user_names.contains(&bound.user_name.to_lowercase())))
            && self.user_name.as_ref().is_none_or(|part| held(&|bound| contains(&bound.user_name, part)))
            && self.user_id.is_none_or(|id| held(&|bound| bound.user_id.as_deref() == Some(id)))
            && self.computer_name.as_ref().is_none_or(|part| contains(&desktop.name, part))
            && (self.computer_names.is_empty() || self.computer_names.contains(&desktop.name.to_lowercase()))
            && (self.pools.is_empty() || desktop.pool_id.as_deref().is_some_and(|pool| self.pools.contains(&pool)))
            && (self.types.is_empty() || self.types.contains(&desktop.desktop_type.as_ref()))
            && self.status.is_none_or(|status| view.status == status)
            && self.attached.is_none_or(|attached| attached != view.bound.is_empty())
    }
}

fn holder(bound: &Bound) -> Value {
    let mut holder = json!({
        "user_id": bound.user_id, "user_name": bound.user_name, "user_group": bound.user_group, "type": bound.kind,
    });
    if let Some(domain) = &bound.domain {
        holder["domain"] = json!(domain);
    }
    holder
}

fn detail(id: &DesktopId, desktop: &SimDesktop, view: &View) -> Value {
    let first = view.bound.first();
    json!({
        "desktop_id": id,
        "computer_name": desktop.name,
        "status": view.status,
        "task_status": view.task_status,
        "process": (!view.task_status.is_empty()).then_some(50),
        "attach_state": view.attach_state,
        "login_status": view.login_status,
        "desktop_type": desktop.desktop_type,
        "pool_id": desktop.pool_id,
        "is_freeze": desktop.frozen,
        "in_maintenance_mode": false,
        "user_name": first.map_or("", |bound| &bound.user_name),
        "user_group": first.map_or("", |bound| bound.user_group.as_deref().unwrap_or_default()),
        "user_list": view.bound.iter().map(|bound| &bound.user_name).collect::<Vec<_>>(),
        "attach_user_infos": view.bound.iter().map(holder).collect::<Vec<_>>(),
        "metadata": {"os_type": "Windows"},
    })
}

impl World {
    /// The desktops that may match, in the order of their ids.
    fn candidates(&self, query: &Query) -> Result<Vec<(&DesktopId, &SimDesktop)>, Refused> {
        let wanted = query.all("desktop_id");
        if wanted.len() > MAX_IDS {
            return Err(invalid(format!("desktop_id has {} values; {MAX_IDS} are allowed", wanted.len())));
        }
        let names: Vec<String> = query.all("user_names").into_iter().map(str::to_lowercase).collect();
        let part = query.one("user_name").map(str::to_lowercase);
        let held: BTreeSet<&DesktopId> = if !wanted.is_empty() {
            wanted.into_iter().filter_map(|id| self.desktops.get_key_value(id)).map(|(id, _)| id).collect()
        } else if !names.is_empty() {
            names.iter().filter_map(|name| self.by_user.get(name)).flatten().collect()
        } else if let Some(part) = part {
            self.by_user.iter().filter(|(name, _)| name.contains(&part)).flat_map(|(_, ids)| ids).collect()
        } else {
            return Ok(self.desktops.iter().collect());
        };
        Ok(held.into_iter().filter_map(|id| self.desktops.get_key_value(id.as_str())).collect())
    }

    /// `GET …/desktops/detail`, or in fewer fields `GET …/desktops`.
    pub(super) fn list_desktops(&self, query: &Query, short: bool, now: Instant) -> Result<Value, Refused> {
        if query.all("user_names").len() > MAX_IDS {
            return Err(invalid(format!("user_names has more than {MAX_IDS} values")));
        }
        let filter = Filter::new(query);
        let found = self
            .candidates(query)?
            .into_iter()
            .filter_map(|(id, desktop)| self.shown(desktop, now).map(|view| (id, desktop, view)))
            .filter(|(_, desktop, view)| filter.takes(desktop, view));
        let most = if short { 1000 } else { 500 };
        let most = if self.physics.page == 0 { most } else { self.physics.page };
        let (page, total) = query.page(found, most, most, |one| one)?;
        let desktops: Vec<Value> = page
            .into_iter()
            .map(|(id, desktop, view)| {
                if short {
                    let user = view.bound.first().map_or("", |bound| &bound.user_name);
                    json!({"desktop_id": id, "computer_name": desktop.name, "user_name": user, "ip_addresses": []})
                } else {
                    detail(id, desktop, view)
                }
            })
            .collect();
        Ok(json!({"desktops": desktops, "total_count": total}))
    }

    /// `GET …/desktops/{id}`.
    pub(super) fn show_desktop(&self, id: &str, now: Instant) -> Result<Value, Refused> {
        let found = self.desktops.get_key_value(id);
        found
            .and_then(|(id, desktop)| Some(json!({"desktop": detail(id, desktop, self.shown(desktop, now)?)})))
            .ok_or_else(|| Refused::new(404, "WKS.0202", format!("The resource not found: desktop {id}.")))
    }

    fn job(&self, id: &str, now: Instant) -> Result<&Job, Refused> {
        let job = self.jobs.get(id).filter(|job| now >= job.begun + self.physics.job_hidden);
        job.ok_or_else(|| Refused::new(404, "WKS.0202", format!("The resource not found: job {id}.")))
    }

    /// A time of the job as the service writes it; the world began in 2026.
    fn stamp(&self, at: Instant) -> String {
        const BEGAN: i64 = 1_767_225_600;
        let since = i64::try_from(at.saturating_duration_since(self.start).as_secs()).unwrap_or(i64::MAX);
        let stamp = jiff::Timestamp::from_second(BEGAN.saturating_add(since)).unwrap_or_default();
        stamp.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn sub_job(&self, id: &str, job: &Job, n: usize, sub: &SubWork) -> Value {
        let (code, reason) = sub.failure.as_ref().filter(|_| job.done).map_or(("", ""), |(code, why)| (code, why));
        let status = match (job.done, &sub.failure) {
            (false, _) => "RUNNING",
            (true, None) => "SUCCESS",
            (true, Some(_)) => "FAILED",
        };
        json!({
            "id": uuid(self.seed, &format!("{id}/{n}")), "job_id": id, "job_type": job.kind, "status": status,
            "error_code": code, "fail_reason": reason, "message": reason,
            "begin_time": self.stamp(job.begun), "end_time": if job.done { self.stamp(job.ends) } else { String::new() },
            "entities": {"desktop_id": sub.desktop, "user_name": sub.bound.user_name},
        })
    }

    fn sub_jobs(&self, id: &str, job: &Job) -> Vec<Value> {
        job.subs.iter().enumerate().map(|(n, sub)| self.sub_job(id, job, n, sub)).collect()
    }

    /// `GET …/workspace-jobs/{id}`.
    pub(super) fn show_job(&self, id: &str, now: Instant) -> Result<Value, Refused> {
        let job = self.job(id, now)?;
        let mut sub_jobs = self.sub_jobs(id, job);
        if self.physics.page > 0 {
            sub_jobs.truncate(self.physics.page);
        }
        Ok(json!({
            "id": id, "job_type": job.kind, "status": if job.done { "COMPLETE" } else { "RUNNING" },
            "begin_time": self.stamp(job.begun), "end_time": if job.done { self.stamp(job.ends) } else { String::new() },
            "sub_jobs_total": job.subs.len(), "sub_jobs": sub_jobs,
        }))
    }

    /// `GET …/workspace-sub-jobs?job_id=…`.
    pub(super) fn list_sub_jobs(&self, query: &Query, now: Instant) -> Result<Value, Refused> {
        let id = query.one("job_id").ok_or_else(|| invalid("job_id or job_type is required".to_owned()))?;
        let mut jobs = self.sub_jobs(id, self.job(id, now)?);
        let statuses = query.all("status");
        jobs.retain(|job| statuses.is_empty() || job["status"].as_str().is_some_and(|its| statuses.contains(&its)));
        let most = if self.physics.page == 0 { 1000 } else { self.physics.page };
        let (jobs, total) = query.page(jobs.into_iter(), most, most, |job| job)?;
        Ok(json!({"jobs": jobs, "total_count": total}))
    }

    /// `GET …/users`: all of them, where no limit is given.
    pub(super) fn list_users(&self, query: &Query) -> Result<Value, Refused> {
        let names: Vec<String> = query.all("user_names").into_iter().map(str::to_lowercase).collect();
        let part = query.one("user_name").filter(|_| names.is_empty()).map(str::to_lowercase);
        let found = self
            .people
            .iter()
            .filter(|(_, person)| person.kind == Kind::User)
            .filter(|(_, person)| names.is_empty() || names.contains(&person.name.to_lowercase()))
            .filter(|(_, person)| part.as_ref().is_none_or(|part| contains(&person.name, part)))
            .filter(|(_, person)| query.one("domain").is_none_or(|domain| person.domain.as_deref() == Some(domain)));
        let (users, total) = query.page(found, usize::MAX, usize::MAX, |(id, person)| {
            json!({
                "id": id, "user_name": person.name, "user_email": person.email, "domain": person.domain,
                "active_type": "ADMIN_ACTIVATE",
            })
        })?;
        Ok(json!({"users": users, "total_count": total}))
    }

    /// `GET …/groups`.
    pub(super) fn list_groups(&self, query: &Query) -> Result<Value, Refused> {
        let part = query.one("keyword").map(str::to_lowercase);
        let found = self
            .people
            .iter()
            .filter(|(_, person)| person.kind == Kind::Group)
            .filter(|(_, person)| part.as_ref().is_none_or(|part| contains(&person.name, part)));
        let (groups, total) = query.page(
            found,
            100,
            100,
            |(id, person)| json!({"id": id, "name": person.name, "domain": person.domain, "platform_type": "AD"}),
        )?;
        Ok(json!({"user_groups": groups, "total_count": total}))
    }

    /// `GET …/desktop-pools`.
    pub(super) fn list_pools(&self, query: &Query) -> Result<Value, Refused> {
        let of = |pool: &str| self.desktops.values().filter(|desktop| desktop.pool_id.as_deref() == Some(pool)).count();
        let (pools, total) = query.page(self.pools.iter(), self.most(1000), self.most(1000), |(id, pool)| {
            json!({"id": id, "name": pool.name, "type": "DYNAMIC", "status": "STEADY", "desktop_count": of(id)})
        })?;
        Ok(json!({"desktop_pools": pools, "total_count": total}))
    }

    /// `GET …/desktop-pools/{id}/users`.
    pub(super) fn list_pool_users(&self, id: &str, query: &Query) -> Result<Value, Refused> {
        let pool = self.pools.get(id);
        let pool = pool.ok_or_else(|| Refused::new(404, "WKS.0202", format!("The resource not found: pool {id}.")))?;
        let (objects, total) = query.page(pool.authorised.iter(), 10, self.most(100), |bound| {
            let kind = if bound.kind == Kind::User { "USER" } else { "USER_GROUP" };
            json!({
                "object_id": bound.user_id, "object_name": bound.user_name, "object_type": kind,
                "user_group": bound.user_group, "domain": bound.domain,
            })
        })?;
        Ok(json!({"objects": objects, "total_count": total}))
    }

    /// `GET …/groups/{id}/users`.
    pub(super) fn list_group_users(&self, id: &str, query: &Query) -> Result<Value, Refused> {
        if self.people.get(id).is_none_or(|person| person.kind != Kind::Group) {
            return Err(Refused::new(404, "WKS.0202", format!("The resource not found: group {id}.")));
        }
        let members = self.members.get(id).into_iter().flatten();
        let found = members.filter_map(|id| Some((id, self.people.get(id)?)));
        let (users, total) = query.page(
            found,
            self.most(2000),
            self.most(2000),
            |(id, person)| json!({"id": id, "user_name": person.name, "user_email": person.email}),
        )?;
        Ok(json!({"users": users, "total_count": total}))
    }

    /// Entries of a page at most.
    fn most(&self, most: usize) -> usize {
        if self.physics.page == 0 { most } else { self.physics.page.min(most) }
    }
}

/// `GET …/workspaces`.
pub(super) fn workspaces() -> Value {
    json!({"id": "sim-workspace", "status": "SUBSCRIBED", "ad_domains": {"domain_type": "LITE_AS", "domain_name": "sim"}})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::super::testing::{app, call, detach, id, read, seat, user, world};
    use super::super::{Seat, World};
    use super::*;

    #[test]
    fn a_query_is_decoded_and_a_stray_percent_sign_stays() {
        let query = Query::parse("a=1%2F2&b=x+y&a=%E6%A1%8C&c=100%&d");
        assert_eq!(query.all("a"), ["1/2", "桌"]);
        assert_eq!((query.one("b"), query.one("c"), query.one("d")), (Some("x y"), Some("100%"), None));
    }

    proptest::proptest! {
        #[test]
        fn what_was_encoded_is_read_back_and_anything_else_is_read_somehow(name in "[a-z_]{1,9}", value in ".{1,30}", junk in ".*") {
            let query = Query::parse(&format!("{name}={}", crate::api::auth::canonical::encode(&value)));
            proptest::prop_assert_eq!(query.all(&name), [value.as_str()]);
            Query::parse(&junk);
        }
    }

    fn ids(answer: &Value) -> Vec<&str> {
        answer["desktops"].as_array().unwrap().iter().map(|desktop| desktop["desktop_id"].as_str().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pages_follow_each_other_and_know_the_total() {
        let app = app(world(1200, 1), "");
        let (mut seen, mut offset) = (0, 0);
        loop {
            let page = read(&app, &format!("/desktops/detail?limit=1000&offset={offset}")).await;
            assert_eq!(page["total_count"], 1200);
            let count = ids(&page).len();
            (seen, offset) = (seen + count, offset + count);
            assert!(count <= 500);
            if count == 0 {
                break;
            }
        }
        assert_eq!(seen, 1200);
        assert_eq!(call(&app, "GET", "/v2/p/desktops/detail?limit=many", "").await.0, 400);
    }

    #[tokio::test(start_paused = true)]
    async fn filters_by_id_are_exact_and_those_by_name_fuzzy_without_case() {
        let mut world = World::from_seats([seat("a", "Anna"), seat("b", "annabel"), seat("c", "Bert")], 1);
        world.bind(Seat { desktop: id("c"), name: "Office-7".to_owned(), bound: user("Anna") });
        world.set_pooled(&id("b"), "pool-9");
        world.add(&id("e"));
        let app = app(world, "");
        for (query, found) in [
            ("", vec!["a", "b", "c", "e"]),
            ("desktop_id=c&desktop_id=a&desktop_id=x", vec!["a", "c"]),
            ("user_name=ANNA", vec!["a", "b", "c"]),
            ("user_names=anna&user_names=nobody", vec!["a", "c"]),
            ("computer_name=office", vec!["c"]),
            ("pool_id=pool-9", vec!["b"]),
            ("desktop_type=SHARED,POOLED", vec!["b", "c"]),
            ("user_attached=false", vec!["e"]),
            ("status=HIBERNATED", vec![]),
        ] {
            assert_eq!(ids(&read(&app, &format!("/desktops/detail?{query}")).await), found, "{query}");
        }
        let many = |count: usize| vec!["desktop_id=a"; count].join("&");
        assert_eq!(call(&app, "GET", &format!("/v2/p/desktops/detail?{}", many(100)), "").await.0, 200);
        assert_eq!(call(&app, "GET", &format!("/v2/p/desktops/detail?{}", many(101)), "").await.0, 400);
        assert_eq!(read(&app, "/desktops?user_name=bel").await["desktops"][0]["user_name"], "annabel");
        assert_eq!(read(&app, "/desktop-pools").await["desktop_pools"][0]["id"], "pool-9");
        assert_eq!(read(&app, "/workspaces").await["status"], "SUBSCRIBED");
    }

    #[tokio::test(start_paused = true)]
    async fn users_and_groups_are_listed_apart_and_keep_their_spelling() {
        let mut world = world(1, 3);
        let group = Bound { kind: Kind::Group, ..user("U-Staff") };
        world.bind(Seat { desktop: id("d-0"), name: String::new(), bound: group });
        let app = app(world, "");
        let users = read(&app, "/users?limit=2&offset=1").await;
        assert_eq!((users["users"].as_array().unwrap().len(), &users["total_count"]), (2, &json!(3)));
        assert_eq!(read(&app, "/users?user_names=U-2").await["users"][0]["user_name"], "u-2");
        assert_eq!(read(&app, "/groups?keyword=staff").await["user_groups"][0]["name"], "U-Staff");
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_lag_show_what_was() {
        let app = app(world(1, 1), r#"world = { read-lag = "3s", detach-lag = "1s" }"#);
        detach(&app, &["d-0"]).await;
        let mut seen = Vec::new();
        for _ in 0..6 {
            let answer = read(&app, "/desktops/detail?user_names=u-0").await;
            seen.push(answer["desktops"][0]["attach_state"].as_str().unwrap_or("gone").to_owned());
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(seen, ["ATTACHED", "ATTACHED", "ATTACHED", "DEATTACHING", "gone", "gone"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renamed_user_has_the_new_name_everywhere_and_the_old_id() {
        let app = app(world(2, 1), "");
        let user_id = app.world().bound(&id("d-0"))[0].user_id.clone().unwrap();
        app.world().rename_user(&user_id, "Married");
        let answer = read(&app, "/desktops/detail?user_names=married").await;
        assert_eq!(ids(&answer), ["d-0", "d-1"]);
        assert_eq!(answer["desktops"][0]["attach_user_infos"][0]["user_id"], json!(user_id));
        assert_eq!(read(&app, "/users").await["users"][0]["user_name"], "Married");
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_reads_what_the_simulator_writes() {
        let mut world = world(1, 2);
        world.set_pooled(&id("d-0"), "pool-1");
        let app = app(world, "");
        let answer = read(&app, "/desktops/detail").await;
        let answer: crate::api::wire::DesktopsAnswer = serde_json::from_value(answer).unwrap();
        let live = answer.desktops.unwrap().entries.remove(0);
        assert_eq!(live.good().unwrap(), app.world().bound(&id("d-0")));
        assert!(live.is_pooled());
    }
}
