//! What the operator has set, wherever it was written: defaults, config file, environment, options.
//!
//! A [`Layer`] is what one of these says, all of it optional; [`Settings`] is the whole, complete and checked.
//! Nothing else in the program looks a setting up: `Settings` is passed in.

pub mod address;
pub mod declared;
pub mod layer;
pub mod protect;
pub mod sources;
mod together;
pub mod value;

pub use declared::{DECLARED, Declared, Group, SettingLine, Settings, Shapes, Takes};
pub use layer::{Layer, Origin, Written};
pub use protect::Protected;
pub use sources::{Loaded, Sources, load};
pub use value::{ByteSize, Encoding, InUse, LogFormat, OnInvalid, Percent, Progress, Rate};
