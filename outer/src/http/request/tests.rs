use serde_json::json;

use super::*;

fn chat(body: Value) -> Result<Request, Problem> {
    Request::parse(Kind::Chat, body.to_string().as_bytes())
}

fn text(body: Value) -> Result<Request, Problem> {
    Request::parse(Kind::Text, body.to_string().as_bytes())
}

/// `base` with one field set.
fn with(base: &Value, field: &str, value: Value) -> Value {
    let mut body = base.clone();
    body[field] = value;
    body
}

fn hello() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
}

#[test]
fn defaults_are_openai_s() {
    let request = chat(hello()).unwrap();
    assert_eq!(
        request.sampling,
        Sampling {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            tau: 1.0
        }
    );
    assert_eq!(
        (request.max_tokens, request.seed, request.stream),
        (None, None, false)
    );
    assert!(request.stop.is_empty());
}

#[test]
fn content_may_come_in_parts() {
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let body = json!({"model": "m", "messages": [{"role": "developer", "content": parts}]});
    let Prompt::Chat(messages) = chat(body).unwrap().prompt else {
        panic!("not a chat")
    };
    assert_eq!(
        (messages[0].role.as_str(), messages[0].content.as_str()),
        ("system", "ab")
    );
}

#[test]
fn seeds_are_integers_spread_over_128_bits() {
    let one = chat(with(&hello(), "seed", json!(1))).unwrap().seed.unwrap();
    let again = chat(with(&hello(), "seed", json!(1))).unwrap().seed.unwrap();
    let other = chat(with(&hello(), "seed", json!(-1))).unwrap().seed.unwrap();
    assert!(one == again && one != other);
    assert!(chat(with(&hello(), "seed", json!(u64::MAX))).is_ok());
}

#[test]
fn harmless_and_switched_off_fields_pass() {
    let off = json!({
        "model": "m", "messages": [{"role": "user", "content": "hi", "name": "x"}], "user": "u", "n": 1,
        "logprobs": false, "tools": [], "tool_choice": "none", "response_format": {"type": "text"},
        "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "stop": null, "metadata": {"a": "b"},
        "stream_options": null, "store": true, "never_heard_of": [1, 2], "top_k": -1, "modalities": ["text"],
    });
    assert!(chat(off).is_ok());
}

#[test]
fn each_bad_field_is_named() {
    let cases = [
        ("model", json!(3)),
        ("messages", json!("hi")),
        ("messages", json!([])),
        ("messages[0]", json!([7])),
        ("messages[0].role", json!([{"role": "tool", "content": "x"}])),
        ("messages[0].role", json!([{"content": "x"}])),
        (
            "messages[1].content",
            json!([{"role": "user", "content": "x"}, {"role": "user", "content": 5}]),
        ),
        ("messages[0].content", json!([{"role": "user"}])),
        (
            "messages[0].content[0].type",
            json!([{"role": "user", "content": [{"type": "image_url"}]}]),
        ),
        (
            "messages[0].content[0].text",
            json!([{"role": "user", "content": [{"type": "text"}]}]),
        ),
        (
            "messages[0].tool_calls",
            json!([{"role": "assistant", "content": "x", "tool_calls": [{}]}]),
        ),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(1.5)),
        ("max_completion_tokens", json!("10")),
        ("temperature", json!(2.1)),
        ("temperature", json!("hot")),
        ("top_p", json!(-0.1)),
        ("top_k", json!(-2)),
        ("stop", json!(5)),
        ("stop", json!([5])),
        ("stop", json!("")),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("stop", json!("x".repeat(65))),
        ("seed", json!(1.5)),
        ("seed", json!("1")),
        ("stream", json!("yes")),
        ("n", json!(2)),
        ("n", json!(0)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(3)),
        ("logit_bias", json!({"5": 1})),
        ("tools", json!([{"type": "function"}])),
        ("tool_choice", json!("auto")),
        ("response_format", json!({"type": "json_object"})),
        ("presence_penalty", json!(0.5)),
        ("modalities", json!(["text", "audio"])),
    ];
    for (param, value) in cases {
        let field = param.split(['[', '.']).next().unwrap();
        let problem = chat(with(&hello(), field, value.clone())).expect_err(&format!("{field} = {value}"));
        assert_eq!(problem.status, 400, "{field} = {value}");
        assert_eq!(problem.body()["error"]["param"], param, "{field} = {value}");
    }
    let options = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
        "stream_options": {"include_usage": 1}});
    assert_eq!(
        chat(options).unwrap_err().body()["error"]["param"],
        "stream_options.include_usage"
    );
    assert_eq!(
        chat(json!({"model": "m"})).unwrap_err().body()["error"]["param"],
        "messages"
    );
    assert_eq!(
        text(json!({"model": "m"})).unwrap_err().body()["error"]["param"],
        "prompt"
    );
}

#[test]
fn bodies_that_are_no_objects_are_refused() {
    for body in ["", "{", "[]", "3", "{\"model\": \"m\",}", "\u{feff}{}"] {
        let problem = Request::parse(Kind::Chat, body.as_bytes()).unwrap_err();
        assert_eq!(problem.status, 400, "{body}");
        assert_eq!(problem.body()["error"]["code"], "malformed_json", "{body}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(
        Request::parse(Kind::Chat, deep.as_bytes()).unwrap_err().status,
        400
    );
    assert_eq!(
        Request::parse(Kind::Chat, b"{\"model\": \"\xff\"}")
            .unwrap_err()
            .status,
        400
    );
}

#[test]
fn a_text_prompt_is_a_string_or_an_array_of_one() {
    let base = json!({"model": "m"});
    for prompt in [json!("once"), json!(["once"])] {
        assert_eq!(
            text(with(&base, "prompt", prompt)).unwrap().prompt,
            Prompt::Text("once".to_owned())
        );
    }
    for prompt in [
        json!([1, 2]),
        json!([[1]]),
        json!(["a", "b"]),
        json!([]),
        json!(5),
        json!([true]),
    ] {
        assert_eq!(
            text(with(&base, "prompt", prompt)).unwrap_err().body()["error"]["param"],
            "prompt"
        );
    }
    for (field, value) in [
        ("echo", json!(true)),
        ("best_of", json!(2)),
        ("suffix", json!("x")),
        ("logprobs", json!(0)),
    ] {
        let body = with(&with(&base, "prompt", json!("x")), field, value);
        assert_eq!(text(body).unwrap_err().body()["error"]["param"], field);
    }
}
