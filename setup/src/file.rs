//! Reading a configuration file, and flags over it.

use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// The configuration in a TOML file; the default without one.
///
/// # Errors
/// An unreadable file, an unknown key, a value of the wrong kind: with file and place.
pub fn read<C: DeserializeOwned + Default>(path: Option<&Path>) -> Result<C> {
    let Some(path) = path else {
        return Ok(C::default());
    };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// A flag, if it was given, wins over the field.
pub fn set<T: Clone>(field: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        field.clone_from(value);
    }
}
