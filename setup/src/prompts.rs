//! System prompts that the configuration names: computed once, for every conversation that begins with one.
//!
//! Never what users wrote: how soon an answer begins tells whether its prompt was computed before.

use anyhow::{Context, Result, ensure};
use weir_model::{Error, Message, Model, PAGE, Token, Tokenizer};

/// The tokens of each prompt of `weak.system_prompts`, up to where the user's text begins.
///
/// # Errors
/// More than [`MAX_PROMPTS`], or in pages more than `kv_tokens` positions together; an empty prompt, or one that the chat
/// template refuses.
pub fn prefixes(prompts: &[String], tokenizer: &Tokenizer, kv_tokens: usize) -> Result<Vec<Vec<Token>>> {
    ensure!(
        prompts.len() <= MAX_PROMPTS,
        "weak.system_prompts: {} of them; at most {MAX_PROMPTS}",
        prompts.len()
    );
    let mut positions = 0;
    let mut prefixes = Vec::with_capacity(prompts.len());
    for (i, prompt) in prompts.iter().enumerate() {
        ensure!(!prompt.is_empty(), "weak.system_prompts[{i}]: empty");
        let prefix = prefix(tokenizer, prompt).with_context(|| format!("weak.system_prompts[{i}]"))?;
        positions += prefix.len().next_multiple_of(PAGE);
        prefixes.push(prefix);
    }
    ensure!(
        positions <= kv_tokens,
        "weak.system_prompts: {positions} positions together; at most weak.kv_tokens, which is {kv_tokens}"
    );
    Ok(prefixes)
}

/// Computes them on a model.
///
/// # Errors
/// One that is longer than the model's context, or a value that is not finite.
pub fn share(role: &str, model: &mut Model, prefixes: &[Vec<Token>]) -> Result<()> {
    for (i, prefix) in prefixes.iter().enumerate() {
        model
            .share(prefix)
            .with_context(|| format!("weak.system_prompts[{i}], on the {role} model"))?;
        tracing::info!(
            prompt = i,
            tokens = prefix.len(),
            "{role} model: system prompt computed"
        );
    }
    Ok(())
}

/// What two conversations have in common that agree in the system prompt only.
fn prefix(tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<Token>, Error> {
    let told = |said| tokenizer.chat(&[Message::new("system", prompt), Message::new("user", said)]);
    // A letter and a digit are of different words and begin different tokens.
    let (mut one, other) = (told("a")?, told("1")?);
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    one.truncate(same);
    Ok(one)
}

/// Most prompts of a configuration.
pub const MAX_PROMPTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weak::Layout;
    use crate::{SessionConfig, Source, Weak, WeakConfig};
    use weir_model::Predict;

    fn load(prompts: &[&str], kv_tokens: usize) -> Result<Weak> {
        let config = WeakConfig {
            threads: 1,
            kv_tokens,
            max_context: 256,
            system_prompts: prompts.iter().map(|&prompt| prompt.to_owned()).collect(),
            ..WeakConfig::default()
        };
        Weak::load(&config, &SessionConfig::default(), Layout::Apart)
    }

    #[test]
    fn conversations_with_a_prompt_begin_with_its_prefix() {
        let tokenizer = Source::weak("embedded").tokenizer().unwrap();
        let prompt = "You answer in one sentence.";
        let [prefix] = &prefixes(&[prompt.to_owned()], &tokenizer, 4096).unwrap()[..] else {
            panic!("one prompt, one prefix");
        };
        let told = |system: &str, said: &str| {
            let messages = [Message::new("system", system), Message::new("user", said)];
            tokenizer.chat(&messages).unwrap()
        };
        for said in ["Why?", " indented", "\u{e9}t\u{e9}", "42", "(no)", "\u{1f600}"] {
            assert!(told(prompt, said).starts_with(prefix), "{said}");
        }
        assert!(!told("You answer in two.", "Why?").starts_with(prefix));
        // All of the prompt is in it.
        let len = tokenizer.encode(prompt).len();
        assert!(prefix.len() > len, "{} {len}", prefix.len());
    }

    #[test]
    fn twins_have_what_was_computed_once() {
        let prompt = "One, two, three. ".repeat(12);
        let weak = load(&[&prompt], 256).unwrap();
        let [prefix] = &weak.prefixes[..] else {
            panic!("one prompt, one prefix");
        };
        let pages = prefix.len().div_ceil(PAGE);
        assert!(pages > 1, "{}", prefix.len());
        // Room for nothing but a copy of the last page.
        let options = weir_model::Options {
            kv_tokens: PAGE,
            ..weak.options.clone()
        };
        let mut twin = weak.model.twin(&options).unwrap();
        let slot = twin.open().unwrap();
        twin.prefill(slot, prefix).unwrap();
        twin.prefill(slot, &[1]).unwrap();
        assert_eq!(twin.len(slot), prefix.len() + 1);
    }

    #[test]
    fn what_cannot_be_shared_is_named() {
        let complaint = |prompts: &[&str], kv_tokens| {
            let error = load(prompts, kv_tokens).err().expect("an error");
            format!("{error:#}")
        };
        let long = "word ".repeat(1000);
        for (prompts, kv_tokens, words) in [
            (&["a", ""][..], 4096, &["weak.system_prompts[1]", "empty"][..]),
            (
                &["a", &long],
                1 << 16,
                &["weak.system_prompts[1]", "weak model", "256"],
            ),
            (&["a", "b"], 64, &["weak.system_prompts", "weak.kv_tokens"]),
            (&["a"; 65], 1 << 16, &["weak.system_prompts", "65"]),
        ] {
            let got = complaint(prompts, kv_tokens);
            assert!(words.iter().all(|word| got.contains(word)), "{got}");
        }
    }
}
