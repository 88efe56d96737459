//! Metadata of a model file: typed values by key.

use std::collections::HashMap;

use crate::Error;

/// A value of GGUF metadata. Integers of all widths are one kind; what is not negative is [`Value::Uint`].
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Uint(u64),
    /// Below zero, where it was read; as `i32` of any sign, where it is written.
    Int(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Vec<Self>),
}

impl Value {
    /// A signed integer, by its sign.
    pub(crate) fn signed(value: i64) -> Self {
        u64::try_from(value).map_or(Self::Int(value), Self::Uint)
    }
}

/// Metadata of a GGUF file, or of the copy of it inside a `.weir` file.
#[derive(Debug)]
pub(crate) struct Metadata {
    file: String,
    values: HashMap<String, Value>,
}

impl Metadata {
    /// `values` of the file called `file` in errors.
    pub(crate) fn new(file: &str, values: HashMap<String, Value>) -> Self {
        Self {
            file: file.into(),
            values,
        }
    }

    /// The file's name for errors.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The value of `key`, if there.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A whole number of any width that is not negative.
    pub(crate) fn uint(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Uint(v)) => Ok(Some(v)),
            Some(_) => Err(self.wrong(key, "a whole number")),
        }
    }

    /// A finite `f32`.
    pub(crate) fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::F32(v)) if v.is_finite() => Ok(Some(v)),
            Some(_) => Err(self.wrong(key, "a finite f32")),
        }
    }

    /// A string.
    pub(crate) fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(v)) => Ok(Some(v)),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// An array of anything.
    pub(crate) fn array(&self, key: &str) -> Result<Option<&[Value]>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(v)) => Ok(Some(v)),
            Some(_) => Err(self.wrong(key, "an array")),
        }
    }

    /// An array of strings.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<&str>>, Error> {
        let Some(values) = self.array(key)? else {
            return Ok(None);
        };
        let strings = values.iter().map(|v| match v {
            Value::String(s) => Some(s.as_str()),
            _ => None,
        });
        strings
            .collect::<Option<_>>()
            .map(Some)
            .ok_or_else(|| self.wrong(key, "an array of strings"))
    }

    /// `found`, or the error that `key` is missing.
    pub(crate) fn need<T>(&self, key: &str, found: Option<T>) -> Result<T, Error> {
        found.ok_or_else(|| Error::format(&self.file, key, "a value", "nothing"))
    }

    /// The error that `key` is not `expected`; long values are cut.
    pub(crate) fn wrong(&self, key: &str, expected: &str) -> Error {
        let got = match self.get(key) {
            Some(Value::Array(v)) => format!("an array of {}", v.len()),
            Some(Value::String(s)) => format!("{:?}", s.chars().take(64).collect::<String>()),
            other => format!("{other:?}"),
        };
        Error::format(&self.file, key, expected, got)
    }
}
