//! Whom the world knows: users and groups, and what lets them in beside a desktop of their own.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::world::{Person, Pool, World, hash};
use crate::model::{Bound, DesktopId, Kind};

impl World {
    /// Puts a desktop into a pool.
    pub fn set_pooled(&mut self, id: &DesktopId, pool_id: &str) {
        if let Some(desktop) = self.desktops.get_mut(id.as_str()) {
            desktop.desktop_type = "POOLED".into();
            desktop.pool_id = Some(pool_id.to_owned());
            self.pool(pool_id);
        }
    }

    /// A pool, made if there is none of this id; its name is the id in upper case then.
    fn pool(&mut self, id: &str) -> &mut Pool {
        let made = || Pool { name: id.to_uppercase(), ..Pool::default() };
        self.pools.entry(id.to_owned()).or_insert_with(made)
    }

    /// Authorises a user or a group for a pool. Returns whom, as the service has him now.
    pub fn authorise(&mut self, pool_id: &str, mut whom: Bound) -> Bound {
        self.complete(&mut whom);
        self.pool(pool_id).authorised.push(whom.clone());
        whom
    }

    /// Makes a user a member of a group, neither of whom need be bound anywhere. Returns both as the service has them now.
    pub fn enrol(&mut self, mut group: Bound, mut user: Bound) -> (Bound, Bound) {
        self.complete(&mut group);
        self.complete(&mut user);
        if let (Some(group), Some(user)) = (&group.user_id, &user.user_id) {
            self.members.entry(group.clone()).or_default().insert(user.clone());
        }
        (group, user)
    }

    /// What lets this user in, in truth: the names of the desktops that he is bound to, of his groups that are bound or
    /// authorised, and of the pools that he is authorised for; `desktop:`, `group:` or `pool:` before each.
    pub fn lets_in(&self, user_id: &str) -> BTreeSet<String> {
        let is_he = |one: &Bound| one.kind == Kind::User && one.user_id.as_deref() == Some(user_id);
        let his = |one: &&Bound| {
            let members = one.user_id.as_ref().and_then(|group| self.members.get(group));
            one.kind == Kind::Group && members.is_some_and(|members| members.contains(user_id))
        };
        let desktops = self.desktops.values().filter(|desktop| !desktop.live.deleted);
        let (mut ways, mut everybody) = (BTreeSet::new(), Vec::new());
        for desktop in desktops {
            ways.extend(desktop.live.bound.iter().any(is_he).then(|| format!("desktop:{}", desktop.name)));
            everybody.extend(&desktop.live.bound);
        }
        for pool in self.pools.values() {
            ways.extend(pool.authorised.iter().any(is_he).then(|| format!("pool:{}", pool.name)));
            everybody.extend(&pool.authorised);
        }
        ways.extend(everybody.into_iter().filter(his).map(|group| format!("group:{}", group.user_name)));
        ways
    }

    /// Makes a user known by this name, who need not be bound anywhere, and by this address.
    pub fn introduce(&mut self, name: &str, email: &str) {
        let mut bound =
            Bound { kind: Kind::User, user_name: name.to_owned(), user_id: None, user_group: None, domain: None };
        let mut people = self.people.iter();
        let known = people.find(|(_, person)| person.kind == Kind::User && person.name == name);
        bound.user_id = known.map(|(id, _)| id.clone());
        self.complete(&mut bound);
        if let Some(person) = bound.user_id.and_then(|id| self.people.get_mut(&id)) {
            person.email = Some(email.to_owned());
        }
    }

    /// The same person under another name, wherever bound.
    pub fn rename_user(&mut self, user_id: &str, name: &str) {
        let now = Instant::now();
        let Some(person) = self.people.get_mut(user_id) else { return };
        let old = std::mem::replace(&mut person.name, name.to_owned());
        for id in self.by_user.get(&old.to_lowercase()).cloned().unwrap_or_default() {
            self.change(&id, now, |view| {
                for bound in view.bound.iter_mut().filter(|bound| bound.user_id.as_deref() == Some(user_id)) {
                    name.clone_into(&mut bound.user_name);
                }
            });
            self.by_user.entry(name.to_lowercase()).or_default().insert(id);
        }
    }

    /// Gives a binding the id and the privilege group that it lacks, and makes its holder known.
    pub(super) fn complete(&mut self, bound: &mut Bound) {
        let domain = bound.domain.as_deref().unwrap_or_default();
        let key = format!("{}/{}/{}", bound.kind, domain.to_lowercase(), bound.user_name.to_lowercase());
        let id = bound
            .user_id
            .get_or_insert_with(|| format!("{:032x}", fastrand::Rng::with_seed(hash(self.seed, &key)).u128(..)));
        bound.user_group.get_or_insert_with(|| "users".to_owned());
        let number = self.people.len();
        self.people.entry(id.clone()).or_insert_with(|| Person {
            number,
            kind: bound.kind,
            name: bound.user_name.clone(),
            domain: bound.domain.clone(),
            email: None,
        });
    }

    /// The id of whoever got this name last.
    pub(super) fn last_named(&self, bound: &Bound) -> Option<String> {
        let named =
            |person: &Person| person.kind == bound.kind && person.name.to_lowercase() == bound.user_name.to_lowercase();
        let named = self.people.iter().filter(|(_, person)| named(person));
        named.max_by_key(|(_, person)| person.number).map(|(id, _)| id.clone())
    }
}
