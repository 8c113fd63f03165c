//! The words that every other module speaks: identifiers, kinds of bindings, operations, outcomes, events.

mod binding;
mod caller;
mod class;
mod doubt;
mod event;
mod ids;
mod outcome;
mod person;
mod still;
mod typed;

pub use binding::{Bound, Kind, LiveDesktop};
pub(crate) use caller::AgencyName;
pub use caller::Caller;
pub use class::Class;
pub(crate) use doubt::Doubt;
pub(crate) use event::{Event, Observer};
pub use ids::{DesktopId, PartLabel};
pub use outcome::{Outcome, Refusal};
pub(crate) use person::{Person, fold, same_name, same_spelling};
pub(crate) use still::{NOT_TOLD, WayKind, Ways, leaver, still_via};
pub use still::{StillAccess, StillPerson};
pub use typed::Typed;
pub(crate) use typed::{Given, Repeat};
