//! Schemas of what programs read.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

/// The JSON schema of a type as it is written: whole in itself, so that it can be a part of another one.
pub(crate) fn serialized<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>()
}
