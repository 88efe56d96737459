//! Prompt files: one JSON object a line, `{"id"?: text, "prompt": text}`; other fields are ignored.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// One prompt. Its `id` is the line number (from 1) where the file gives none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its name in what is written.
    pub id: String,
    /// What is asked.
    pub text: String,
}

/// The word problems that come with the programs, a line each as in a file.
pub const EMBEDDED: &str = include_str!("prompts.jsonl");

/// The same, read.
///
/// # Panics
/// Never: a test reads them.
pub fn embedded() -> Vec<Prompt> {
    parse("the embedded prompts", EMBEDDED).expect("the embedded prompts are tested")
}

/// Reads a file, or takes the embedded prompts where there is none.
///
/// # Errors
/// A file that cannot be read, or the line that is no prompt.
pub fn load(path: Option<&Path>) -> Result<Vec<Prompt>> {
    let Some(path) = path else { return Ok(embedded()) };
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the prompts {}", path.display()))?;
    parse(&path.display().to_string(), &text)
}

fn parse(name: &str, text: &str) -> Result<Vec<Prompt>> {
    let mut prompts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        let Line { id, prompt } = serde_json::from_str(line).with_context(|| {
            format!("{name}, line {number}: each line must be an object like {{\"id\": \"a\", \"prompt\": \"text\"}}")
        })?;
        if prompt.is_empty() {
            bail!("{name}, line {number}: the prompt is empty");
        }
        prompts.push(Prompt {
            id: id.unwrap_or_else(|| number.to_string()),
            text: prompt,
        });
    }
    if prompts.is_empty() {
        bail!("{name} has no prompts: give a file with one {{\"prompt\": \"text\"}} a line");
    }
    Ok(prompts)
}

#[derive(Deserialize)]
struct Line {
    id: Option<String>,
    prompt: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_prompts_are_a_few_dozen_with_names_of_their_own() {
        let prompts = embedded();
        assert!(prompts.len() >= 36, "{}", prompts.len());
        let mut ids: Vec<_> = prompts.iter().map(|prompt| &prompt.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), prompts.len());
    }

    #[test]
    fn a_line_without_an_id_is_called_by_its_number_and_other_fields_are_ignored() {
        let prompts = parse(
            "p",
            "{\"prompt\":\"a\",\"answer\":1}\n\n{\"id\":\"x\",\"prompt\":\"b\"}\n",
        )
        .unwrap();
        assert_eq!(
            prompts[0],
            Prompt {
                id: "1".into(),
                text: "a".into()
            }
        );
        assert_eq!(
            prompts[1],
            Prompt {
                id: "x".into(),
                text: "b".into()
            }
        );
    }

    #[test]
    fn errors_name_file_and_line() {
        for (text, place) in [
            ("{\"prompt\":\"a\"}\n{}", "line 2"),
            ("[]", "line 1"),
            ("{\"prompt\":\"\"}", "line 1"),
        ] {
            let error = parse("p.jsonl", text).unwrap_err().to_string();
            assert!(error.contains("p.jsonl") && error.contains(place), "{error}");
        }
        assert!(
            parse("p.jsonl", "\n")
                .unwrap_err()
                .to_string()
                .contains("no prompts")
        );
    }
}
