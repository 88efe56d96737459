//! What answers weigh as they usually travel: server-sent events of an OpenAI-style stream.

use serde_json::{Value, json};

/// Events as OpenAI's servers send them, one for each token: an opening, the pieces, an end, `[DONE]`.
pub fn of<'a>(model: &'a str, pieces: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = String> {
    let event = move |delta: Value, finish: Option<&str>| {
        let chunk = json!({
            "id": "chatcmpl-0123456789abcdefghijklmnopqrs",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": model,
            "system_fingerprint": "fp_0123456789",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}],
        });
        format!("data: {chunk}\n\n")
    };
    let first = event(json!({"role": "assistant", "content": ""}), None);
    let last = [event(json!({}), Some("stop")), "data: [DONE]\n\n".to_owned()];
    let said = pieces.map(move |piece| event(json!({"content": String::from_utf8_lossy(piece)}), None));
    [first].into_iter().chain(said).chain(last)
}

/// Bytes of those events.
pub fn weight<'a>(model: &'a str, pieces: impl Iterator<Item = &'a [u8]>) -> u64 {
    of(model, pieces).map(|event| event.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_weighs_some_two_hundred_bytes() {
        let one = weight("weir", [b"a".as_slice()].into_iter());
        let two = weight("weir", [b"a".as_slice(), b"b"].into_iter());
        assert!((180..300).contains(&(two - one)), "{}", two - one);
    }
}
