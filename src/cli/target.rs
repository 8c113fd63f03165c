//! Where requests go: a server that the settings name, or the simulator in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::session::Session;
use crate::api::auth::Nobody;
use crate::api::{AccessOptions, HttpOptions, HttpTransport, ProcessEnv, Proxies, Target, prepare};
use crate::config::Settings;
use crate::error::Error;
use crate::input::{Field, Input, RowRef};
use crate::journal::View;
use crate::model::Class;
use crate::model::{Bound, Caller, DesktopId, Kind, Outcome};
use crate::pace::{Ceiling, Gates};
use crate::reconcile::evidence::holds;
use crate::sim::{App, Scenario, Seat, World};
use crate::text::escape_untrusted;

/// The simulator's name as an endpoint and as a project: never taken for a real one.
pub(super) use crate::journal::SIMULATOR;
/// The simulated world is the same each time.
pub(super) const SEED: u64 = 1;

/// Where requests go, and what `plan` and `run` say of it.
pub(super) struct Place {
    pub(super) target: Target,
    pub(super) region: Option<String>,
    pub(super) caller: Caller,
    pub(super) proxy: Option<String>,
}

impl Place {
    /// Finds credentials and addresses, and asks IAM where it must.
    ///
    /// # Errors
    /// [`Error::Setting`] (2) for a wrong address, [`Error::NoAccess`] (4) for the rest.
    pub(super) async fn find(settings: &Settings) -> Result<Self, Error> {
        let options = AccessOptions {
            region: settings.region.clone(),
            endpoint: settings.endpoint.clone(),
            iam_endpoint: settings.iam_endpoint.clone(),
            project_id: settings.project_id.clone(),
        };
        let proxies = Proxies::from_env(&ProcessEnv)?;
        let prepared = prepare(&options, &ProcessEnv)?;
        let proxy = proxies.in_use(prepared.endpoint());
        let transport = Arc::new(HttpTransport::new(&HttpOptions {
            request_timeout: settings.request_timeout,
            ca_file: settings.ca_file.clone(),
            concurrency: settings.concurrency.get(),
            proxies,
            ..HttpOptions::default()
        })?);
        let access = prepared.connect(transport.clone()).await?;
        Ok(Self {
            region: access.region.clone(),
            caller: access.caller.clone(),
            target: access.target(transport),
            proxy,
        })
    }

    /// Addresses alone, for a plan that looks at nothing: no credentials are needed, and nothing is sent. What is not
    /// known stays empty.
    pub(super) fn unasked(settings: &Settings) -> Self {
        let options = AccessOptions {
            region: settings.region.clone(),
            endpoint: settings.endpoint.clone(),
            iam_endpoint: settings.iam_endpoint.clone(),
            project_id: settings.project_id.clone(),
        };
        let prepared = prepare(&options, &ProcessEnv).ok();
        let endpoint = prepared.as_ref().map(|prepared| prepared.endpoint().to_owned()).or(options.endpoint);
        let project = prepared.as_ref().and_then(|prepared| prepared.project_id().map(str::to_owned));
        let (world, scenario) = (World::new(SEED), Scenario::default());
        Self {
            target: Target {
                // Leads nowhere: no request is made.
                transport: Arc::new(App::without_log(world, scenario).transport()),
                auth: Arc::new(Nobody),
                endpoint: endpoint.unwrap_or_default(),
                project_id: project.or(options.project_id).unwrap_or_default(),
            },
            region: options.region,
            caller: Caller { credentials: "not needed".to_owned(), ..Caller::default() },
            proxy: None,
        }
    }

    /// The simulator, its world holding these bindings, some of them with a fate.
    pub(super) fn simulated(seats: impl IntoIterator<Item = Seat>) -> Self {
        let (world, scenario) = World::rehearse(seats, SEED);
        Self::in_world(world, scenario)
    }

    /// The same with the bindings of an input, whose users are known by the addresses that it names them by.
    pub(super) fn rehearsed(input: &Input) -> Self {
        let (mut world, scenario) = World::rehearse(seats(input), SEED);
        for (name, email) in addresses(input) {
            world.introduce(&name, &email);
        }
        Self::in_world(world, scenario)
    }

    /// The simulator as a journal of it left it: what was changed so far is changed in its world, nothing else goes wrong.
    ///
    /// # Errors
    /// Those of reading the journal.
    pub(super) fn simulated_after(view: &View) -> Result<Self, Error> {
        let mut world = World::from_seats(seats_of(view)?, SEED);
        let attaches = view.identity().class == Class::BatchAttach;
        view.for_each_item(|item, outcomes| {
            if item.pooled {
                world.set_pooled(&item.desktop, "pool-0001");
            }
            for (slot, outcome) in item.slots.iter().zip(outcomes) {
                let is_bound = match outcome {
                    Outcome::Attached => true,
                    Outcome::Detached => false,
                    _ => !attaches,
                };
                for bound in world.bound(&item.desktop).iter().filter(|_| !is_bound) {
                    if holds(slot, std::slice::from_ref(bound)) {
                        world.unbind(&item.desktop, bound);
                    }
                }
            }
            Ok(())
        })?;
        Ok(Self::in_world(world, Scenario::rehearsal(SEED)))
    }

    fn in_world(world: World, scenario: Scenario) -> Self {
        let app = App::without_log(world, scenario);
        Self {
            target: Target {
                transport: Arc::new(app.transport()),
                auth: Arc::new(Nobody),
                endpoint: SIMULATED_URL.to_owned(),
                project_id: SIMULATOR.to_owned(),
            },
            region: None,
            caller: Caller { credentials: "none (simulator)".to_owned(), ..Caller::default() },
            proxy: None,
        }
    }

    /// As the journal and the plan name it.
    pub(super) fn endpoint(&self) -> &str {
        if self.target.endpoint == SIMULATED_URL { SIMULATOR } else { &self.target.endpoint }
    }

    pub(super) fn project(&self) -> &str {
        &self.target.project_id
    }

    /// Where it goes and as whom, for whoever is asked whether it shall. Nothing of a rehearsal.
    pub(super) fn in_words(&self) -> String {
        if self.endpoint() == SIMULATOR {
            return String::new();
        }
        let region = self.region.as_ref().map_or_else(String::new, |region| format!("region {region}, "));
        let place = format!("{region}project {}, by {}", self.caller.project(self.project()), self.caller.who());
        format!(" It goes to {}.", escape_untrusted(&place, 500))
    }
}

/// The in-process transport takes the path alone; a request needs a host all the same.
const SIMULATED_URL: &str = "http://simulator.invalid";

/// The gates of a session; `resumed`: an earlier process may have sent a moment ago.
pub(super) fn gates(session: &Session, resumed: bool) -> Arc<Gates> {
    let (write, read) = (ceiling(session.settings.write_rate.period()), ceiling(session.settings.read_rate.period()));
    let of = |class: Class| if class.is_write() { write } else { read };
    Gates::new(of, session.settings.concurrency.get(), fastrand::u64(..), resumed)
}

pub(super) fn ceiling(period: Duration) -> Ceiling {
    Ceiling { period }
}

/// The bindings that an input names. What it names without an id gets one made from the name, so that the same sheet
/// always meets the same world.
pub(super) fn seats(input: &Input) -> Vec<Seat> {
    let faulty: std::collections::HashSet<usize> = input.faults.iter().map(|fault| fault.row).collect();
    let mut seats = Vec::new();
    // A name that stands beside an id somewhere is that desktop's everywhere.
    let mut ids: BTreeMap<String, DesktopId> = BTreeMap::new();
    for row in input.table.rows() {
        if let (Some(id), name) = (DesktopId::parse(row.get(Field::DesktopId)), row.get(Field::DesktopName))
            && !name.is_empty()
        {
            ids.entry(name.to_lowercase()).or_insert(id);
        }
    }
    for (index, row) in input.table.rows().enumerate() {
        if faulty.contains(&index) {
            continue;
        }
        let (name, user) = (row.get(Field::DesktopName), user_of(row));
        let seed = if name.is_empty() { format!("user {}", user.to_lowercase()) } else { name.to_lowercase() };
        let id = DesktopId::parse(row.get(Field::DesktopId)).or_else(|| ids.get(&name.to_lowercase()).cloned());
        let Some(desktop) = id.or_else(|| DesktopId::parse(&made_up_id(&seed))) else { continue };
        let some = |field| Some(row.get(field).to_owned()).filter(|cell: &String| !cell.is_empty());
        let bound = |kind, user_name: &str| Bound {
            kind,
            user_name: user_name.to_owned(),
            user_id: some(Field::UserId),
            user_group: some(Field::UserGroup),
            domain: some(Field::Domain),
        };
        match row.kind() {
            Some(Kind::All) => {
                for n in 1..=2 {
                    let user = format!("occupant-{n}-{}", &made_up_id(desktop.as_str())[..4]);
                    let bound = Bound { user_id: None, ..bound(Kind::User, &user) };
                    seats.push(Seat { desktop: desktop.clone(), name: name.to_owned(), bound });
                }
            }
            Some(kind) => seats.push(Seat { desktop, name: name.to_owned(), bound: bound(kind, user) }),
            None => {}
        }
    }
    seats
}

/// The user whom a row names: of an address, what stands before its `@`.
fn user_of(row: RowRef<'_>) -> &str {
    match row.get(Field::UserName) {
        "" => row.email().split('@').next().unwrap_or_default(),
        name => name,
    }
}

/// The users whom an input names by an address.
pub(super) fn addresses(input: &Input) -> Vec<(String, String)> {
    let rows = input.table.rows().filter(|row| row.kind() == Some(Kind::User) && !row.email().is_empty());
    rows.map(|row| (user_of(row).to_owned(), row.email().to_owned())).collect()
}

/// The bindings that a journal's plan holds: the world of a rehearsal that is resumed without its input.
pub(super) fn seats_of(view: &View) -> Result<Vec<Seat>, Error> {
    let mut seats = Vec::new();
    view.for_each_item(|item, _| {
        for slot in item.slots.iter().filter(|slot| slot.kind != Kind::All) {
            let bound = Bound {
                kind: slot.kind,
                user_name: slot.user_name.clone(),
                user_id: slot.user_id.clone(),
                user_group: slot.user_group.clone(),
                domain: slot.domain.clone(),
            };
            seats.push(Seat { desktop: item.desktop.clone(), name: item.desktop_name.clone(), bound });
        }
        Ok(())
    })?;
    Ok(seats)
}

/// In the form of a UUID.
fn made_up_id(seed: &str) -> String {
    let hash = hex::encode(Sha256::digest(seed.as_bytes()));
    format!("{}-{}-{}-{}-{}", &hash[..8], &hash[8..12], &hash[12..16], &hash[16..20], &hash[20..32])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AgencyName;

    #[test]
    fn whoever_is_asked_is_told_where_it_goes_and_as_whom() {
        let mut place = Place::simulated([]);
        assert_eq!(place.in_words(), "", "a rehearsal goes nowhere");
        "https://workspace.example".clone_into(&mut place.target.endpoint);
        "p1".clone_into(&mut place.target.project_id);
        place.region = Some("cn-north-4".to_owned());
        place.caller = Caller {
            credentials: "access key …7ABC from HW_ACCESS_KEY".to_owned(),
            agency: Some(AgencyName { name: "ops".to_owned(), account: "acme".to_owned() }),
            project_name: Some("team".to_owned()),
        };
        assert_eq!(
            place.in_words(),
            " It goes to region cn-north-4, project team (p1), by access key …7ABC from HW_ACCESS_KEY, as agency ops of \
             account acme."
        );
    }
}
