//! Reading a JSON object field by field, so that every complaint can name its field.

use serde_json::{Map, Value};

use super::problem::Problem;

/// A JSON object and the path that leads to it. `null` counts as absent, as OpenAI's clients send it so.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    pub(crate) fn root(value: &'a Value) -> Result<Self, Problem> {
        let map = value.as_object().ok_or_else(|| {
            Problem::malformed(format!("the body must be a JSON object, not {}", kind(value)))
        })?;
        Ok(Self {
            map,
            path: String::new(),
        })
    }

    /// The object `value`, found at `path`.
    pub(crate) fn at(value: &'a Value, path: String) -> Result<Self, Problem> {
        match value.as_object() {
            Some(map) => Ok(Self { map, path }),
            None => Err(wrong(&path, "an object", value)),
        }
    }

    /// The full name of a field of this object.
    pub(crate) fn name(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn require(&self, field: &str) -> Result<&'a Value, Problem> {
        self.get(field).ok_or_else(|| {
            let name = self.name(field);
            Problem::field(&name, format!("'{name}' is missing"))
        })
    }

    /// Refuses every field that is not one of `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.map.keys().find(|field| !known.contains(&field.as_str())) {
            None => Ok(()),
            Some(field) => {
                let name = self.name(&field.chars().take(40).collect::<String>());
                let message = format!("'{name}' is not known here; there are {}", known.join(", "));
                Err(Problem::field(&name, message))
            }
        }
    }

    pub(crate) fn text(&self, field: &str) -> Result<&'a str, Problem> {
        let value = self.require(field)?;
        value
            .as_str()
            .ok_or_else(|| wrong(&self.name(field), "a string", value))
    }

    pub(crate) fn flag(&self, field: &str) -> Result<bool, Problem> {
        match self.get(field) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| wrong(&self.name(field), "true or false", value)),
        }
    }

    /// An integer in `low..=high`, if present.
    pub(crate) fn integer(&self, field: &str, low: u64, high: u64) -> Result<Option<u64>, Problem> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => Err(wrong(
                &self.name(field),
                &format!("an integer from {low} to {high}"),
                value,
            )),
        }
    }

    /// A number in `low..=high`, if present.
    pub(crate) fn number(&self, field: &str, low: f64, high: f64) -> Result<Option<f64>, Problem> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => Err(wrong(
                &self.name(field),
                &format!("a number from {low} to {high}"),
                value,
            )),
        }
    }
}

/// 400: the value at `name` is not what it should be.
pub(crate) fn wrong(name: &str, expected: &str, got: &Value) -> Problem {
    Problem::field(name, format!("'{name}' must be {expected}, not {}", kind(got)))
}

/// What a JSON value is, short enough for an error: the value itself if it is a number or a flag.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
