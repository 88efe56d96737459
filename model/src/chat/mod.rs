//! Conversations to tokens, through the chat template that the model's file carries: SPEC 3.4.
//!
//! The template is as trusted as the weights beside it; what users say is not. So a control token may only
//! come from the template's own text. Contents are rendered with a *fence*, a character that occurs nowhere
//! else, inside every text that looks like a control token; control tokens are searched for while fences
//! stand, and only then are the fences taken out. Because a template may cut and join contents, a second
//! rendering with a fence beside every character of every content must show the same control tokens, or the
//! conversation is refused.

mod message;
mod render;
#[cfg(test)]
mod tests;

pub use message::Message;

use crate::token::{Piece, Special, find_specials};
use crate::{Error, Token, Tokenizer};

impl Tokenizer {
    /// Tokens of a conversation up to the point where the assistant begins to speak.
    ///
    /// Contents never yield control tokens, whatever they look like.
    ///
    /// # Errors [`Error::Chat`]: no template in the model's file, no message, an unknown role, [`MAX_CHAT`]
    /// or [`MAX_MESSAGES`] exceeded, the template fails, refuses the conversation or exceeds its limits, or
    /// contents would make control tokens.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<Token>, Error> {
        check(messages)?;
        let metadata = self.metadata();
        let Some(template) = metadata.chat_template.as_deref() else {
            return Err(Error::Chat(
                "the model's file has no tokenizer.chat_template".into(),
            ));
        };
        if let Some(short) = self
            .control()
            .iter()
            .find(|special| special.text.chars().nth(1).is_none())
        {
            let text = &short.text;
            return Err(Error::Chat(format!(
                "control token {text:?} is too short to be told from contents"
            )));
        }
        let fence = free_fence(template, messages)?;
        let text_of = |id: Option<Token>| id.map_or("", |id| metadata.tokens[id as usize].as_str());
        let render = |fenced: &dyn Fn(&str) -> String| {
            let fenced: Vec<_> = messages
                .iter()
                .map(|said| Message::new(said.role.as_str(), fenced(&said.content)))
                .collect();
            render::render(template, text_of(metadata.bos), text_of(metadata.eos), &fenced)
                .map_err(Error::Chat)
        };
        let text = render(&|content| fence_controls(content, self.control(), fence))?;
        let proof = render(&|content| fence_all(content, fence))?;
        let pieces = find_specials(&text, self.control());
        if controls(&pieces).ne(controls(&find_specials(&proof, self.control()))) {
            return Err(Error::Chat("message contents would make control tokens".into()));
        }
        let mut tokens = Vec::with_capacity(text.len() / 3);
        for piece in pieces {
            match piece {
                Piece::Special(token) => tokens.push(token),
                Piece::Text(text) => tokens.extend(self.encode(&text.replace(fence, ""))),
            }
        }
        Ok(tokens)
    }
}

fn check(messages: &[Message]) -> Result<(), Error> {
    let total: usize = messages.iter().map(|message| message.content.len()).sum();
    let wrong = messages
        .iter()
        .find(|message| !ROLES.contains(&message.role.as_str()));
    let why = match wrong {
        Some(message) => {
            let role: String = message.role.chars().take(32).collect();
            format!("role {role:?} is none of {}", ROLES.join(", "))
        }
        None if messages.is_empty() => "a conversation needs a message".into(),
        None if messages.len() > MAX_MESSAGES => format!("{} messages, limit {MAX_MESSAGES}", messages.len()),
        None if total > MAX_CHAT => format!("contents of {total} bytes, limit {MAX_CHAT}"),
        None => return Ok(()),
    };
    Err(Error::Chat(why))
}

/// A Unicode noncharacter that occurs neither in the template nor in a content.
fn free_fence(template: &str, messages: &[Message]) -> Result<char, Error> {
    let mut taken = [false; 32];
    for text in messages
        .iter()
        .map(|message| message.content.as_str())
        .chain([template])
    {
        for c in text.chars().filter(|c| FENCES.contains(c)) {
            taken[(u32::from(c) - u32::from(*FENCES.start())) as usize] = true;
        }
    }
    FENCES
        .zip(taken)
        .find_map(|(fence, taken)| (!taken).then_some(fence))
        .ok_or_else(|| Error::Chat("contents use all noncharacters U+FDD0 to U+FDEF".into()))
}

/// Puts a fence behind the first character of everything that reads as a control token.
fn fence_controls(content: &str, control: &[Special], fence: char) -> String {
    let mut cuts = Vec::new();
    for special in control {
        let first = special.text.chars().next().map_or(0, char::len_utf8);
        let mut from = 0;
        // Occurrences may overlap, so the search goes on behind the first character, not behind the token.
        while let Some(at) = content[from..].find(&special.text) {
            from += at + first;
            cuts.push(from);
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut fenced = String::with_capacity(content.len() + cuts.len() * fence.len_utf8());
    let mut from = 0;
    for cut in cuts {
        fenced.push_str(&content[from..cut]);
        fenced.push(fence);
        from = cut;
    }
    fenced + &content[from..]
}

/// Puts a fence before, between and behind all characters, so that no two of them touch anything. White space
/// alone stays as it is: templates ask whether anything was said.
fn fence_all(content: &str, fence: char) -> String {
    if content.trim().is_empty() {
        return content.into();
    }
    let mut fenced = String::from(fence);
    content.chars().for_each(|c| fenced.extend([c, fence]));
    fenced
}

fn controls<'a>(pieces: &'a [Piece<'_>]) -> impl Iterator<Item = Token> + 'a {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Special(token) => Some(*token),
        Piece::Text(_) => None,
    })
}

const ROLES: [&str; 3] = ["system", "user", "assistant"];
/// Noncharacters: Unicode leaves them to programs, for uses like this one.
const FENCES: std::ops::RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';

/// Most bytes of all contents of a conversation together.
pub const MAX_CHAT: usize = 1 << 20;
/// Most messages of a conversation.
pub const MAX_MESSAGES: usize = 4096;
