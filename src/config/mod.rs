//! What the operator has set, wherever it was written: defaults, config file, environment, options.
//!
//! A [`Layer`] is what one of these says, all of it optional; [`Settings`] is the whole, complete and checked.
//! Nothing else in the program looks a setting up: `Settings` is passed in.

pub(crate) mod address;
pub(crate) mod declared;
pub(crate) mod layer;
pub(crate) mod origin;
pub(crate) mod protect;
pub(crate) mod sources;
mod together;
pub(crate) mod value;

pub use declared::DECLARED;
pub(crate) use declared::{Declared, Group, SettingLine, Settings, Shapes, Takes};
pub use layer::Layer;
pub(crate) use layer::Written;
pub(crate) use origin::Origin;
pub(crate) use protect::Protected;
pub(crate) use sources::{Loaded, Sources, load};
pub use value::Percent;
pub(crate) use value::{
    DueColumn, EmptyDesktop, HiddenRows, InUse, LogFormat, OnInvalid, Progress, StillAccess, UnknownUsers,
};
