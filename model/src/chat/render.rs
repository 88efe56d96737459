//! Jinja as chat templates know it: what Hugging Face's `apply_chat_template` offers, in minijinja, with
//! limits.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat;
use serde::Serialize;
use serde_json::ser::Formatter;

use super::message::Message;

/// Renders a template with the generation prompt; the error is for people.
pub(super) fn render(template: &str, bos: &str, eos: &str, messages: &[Message]) -> Result<String, String> {
    if template.len() > MAX_TEMPLATE {
        return Err(format!(
            "a template of {} bytes, limit {MAX_TEMPLATE}",
            template.len()
        ));
    }
    let mut env = Environment::new();
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(MAX_DEPTH);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    // As the environment in which templates are written and tested: SPEC 3.4.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    env.set_syntax(syntax.map_err(|error| error.to_string())?);
    env.set_unknown_method_callback(pycompat::unknown_method_callback);
    env.add_filter("tojson", to_json);
    env.add_function("raise_exception", |why: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, why))
    });
    let context = context! {
        messages => Serde(messages),
        bos_token => bos,
        eos_token => eos,
        add_generation_prompt => true,
        tools => (),
        documents => (),
    };
    let rendered = env
        .template_from_str(template)
        .and_then(|template| template.render(context));
    rendered.map_err(|error| error.to_string())
}

/// Python's `json.dumps(value, ensure_ascii=False)`.
fn to_json(value: &Value) -> Result<Value, Error> {
    let mut out = Vec::new();
    let mut json = serde_json::Serializer::with_formatter(&mut out, PythonFormatter);
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, error.to_string());
    value.serialize(&mut json).map_err(|error| failed(&error))?;
    String::from_utf8(out)
        .map(Value::from)
        .map_err(|error| failed(&error))
}

/// A space behind commas and colons.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// Longest template in bytes; those of real models have a few thousand.
const MAX_TEMPLATE: usize = 1 << 16;
/// Limit of one rendering: one for each step, and one for every 64 bytes that an operator or filter makes or that are
/// written. What methods of strings make is not counted: a template is trusted, contents are not.
const FUEL: u64 = 1 << 22;
/// Most calls of macros inside each other.
const MAX_DEPTH: usize = 64;
