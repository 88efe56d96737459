use std::sync::mpsc::{Receiver, channel};

use axum::body::Body;
use axum::http::{Request as HttpRequest, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt;
use weir_model::Token;
use weir_wire::{Role, Turn};

use super::*;
use crate::ask::{Ask, Command, Failure, Finish, Health, Usage};
use crate::metrics::Metrics;

/// An edge before a session that does what a test says.
struct Fake {
    edge: Arc<Edge>,
    commands: Receiver<Command>,
}

impl Fake {
    fn new(change: impl FnOnce(&mut Limits)) -> Self {
        Self::with_keys(&[], change)
    }

    fn with_keys(keys: &[&str], change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits {
            body_bytes: 4096,
            prompt_tokens: 500,
            context_tokens: 600,
            queue: 1,
            ..Limits::default()
        };
        change(&mut limits);
        let (sender, commands) = channel();
        let health = Arc::new(Health::new("not yet"));
        health.set(Ok(()));
        let desk = Desk::new(sender, || {}, health, limits.queue);
        let edge = Edge {
            desk,
            tokenizer: Arc::new(tokenizer()),
            model: "weir".to_owned(),
            keys: Keys::new(keys).unwrap(),
            text_bytes: 10 * limits.prompt_tokens,
            bodies: Bodies::new(
                limits.bodies_bytes,
                limits.body_bytes,
                Metrics::default().body_bytes,
            ),
            limits,
            started: 5,
            expose_cost: true,
            retokenize: false,
            least_tau: 0.05,
            tokenizing: Arc::new(Semaphore::new(1)),
        };
        Self {
            edge: Arc::new(edge),
            commands,
        }
    }

    async fn send(&self, request: HttpRequest<Body>) -> Response {
        router(Arc::clone(&self.edge)).oneshot(request).await.unwrap()
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Response {
        self.send(HttpRequest::post(path).body(body.into()).unwrap())
            .await
    }

    /// Sends a request that gets as far as an ask, and answers it.
    async fn answered(&self, path: &str, body: Value, events: &[Event]) -> (Ask, Response) {
        let events = events.to_vec();
        let answer = async {
            let ask = self.next_ask().await;
            assert!(events.into_iter().all(|event| ask.tell(event)));
            ask
        };
        let (response, ask) = tokio::join!(self.post(path, body.to_string()), answer);
        (ask, response)
    }

    async fn next_ask(&self) -> Ask {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Ask(ask)) => return ask,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }
}

fn hello() -> Value {
    json!({"model": "weir", "messages": [{"role": "user", "content": "hi"}]})
}

fn usage() -> Usage {
    Usage {
        prompt_tokens: 7,
        completion_tokens: 4,
        coded_bits: 10.0,
        plain_bits: 20.0,
        frame_bits: 50.0,
    }
}

fn piece(text: &str, tokens: &[Token]) -> Event {
    Event::Piece {
        text: text.to_owned(),
        tokens: tokens.to_vec(),
    }
}

fn script() -> Vec<Event> {
    vec![
        Event::Admitted,
        piece("Hel", &[11, 12]),
        // Held back: it could have been the beginning of a stop string.
        piece("", &[13]),
        piece("lo\n", &[14]),
        Event::Done {
            finish: Finish::Length,
            usage: usage(),
        },
    ]
}

async fn body(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn problem(response: Response, status: u16) -> Value {
    assert_eq!(response.status().as_u16(), status);
    let body: Value = serde_json::from_str(&body(response).await).unwrap();
    for field in ["message", "type", "param", "code"] {
        assert!(body["error"].get(field).is_some(), "{body}");
    }
    body["error"].clone()
}

/// The events of a stream.
async fn events(response: Response) -> Vec<String> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = body(response).await;
    let events = body.split_terminator("\n\n");
    events
        .map(|event| event.strip_prefix("data: ").unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_chat_is_answered_whole() {
    let fake = Fake::new(|_| {});
    let mut request = hello();
    request["seed"] = json!(3);
    request["stop"] = json!("x");
    request["max_tokens"] = json!(9);
    let (ask, response) = fake.answered("/v1/chat/completions", request, &script()).await;
    assert_eq!(
        (ask.query.max_tokens, ask.query.stop.clone()),
        (9, vec![b"x".to_vec()])
    );
    assert_eq!(response.headers()["x-weir-seed"], hex(&ask.query.seed));
    let body: Value = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(
        body["choices"][0]["message"],
        json!({"role": "assistant", "content": "Hello\n", "refusal": null})
    );
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["total_tokens"], 11);
    assert_eq!(body["usage"]["weir"]["bits_per_token"], 2.5);
    assert_eq!(body["usage"]["weir"]["tau"], 1.0);
    assert_eq!(body["usage"]["weir"]["seed"], hex(&ask.query.seed));
    assert!(
        fake.commands.try_recv().is_err(),
        "an answered request is not cancelled"
    );
}

#[tokio::test]
async fn a_chat_streams() {
    let fake = Fake::new(|_| {});
    let mut request = hello();
    request["stream"] = json!(true);
    let (_, response) = fake
        .answered("/v1/chat/completions", request.clone(), &script())
        .await;
    let parts = events(response).await;
    assert_eq!(parts.len(), 5);
    let deltas: Vec<Value> = parts[..4]
        .iter()
        .map(|part| serde_json::from_str(part).unwrap())
        .collect();
    assert_eq!(
        deltas[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    assert_eq!(deltas[1]["choices"][0]["delta"], json!({"content": "Hel"}));
    assert_eq!(deltas[2]["choices"][0]["delta"], json!({"content": "lo\n"}));
    assert_eq!(
        deltas[3]["choices"][0],
        json!({"index": 0, "delta": {}, "finish_reason": "length", "logprobs": null})
    );
    assert!(
        deltas
            .iter()
            .all(|delta| delta["object"] == "chat.completion.chunk" && delta["id"] == deltas[0]["id"])
    );
    assert_eq!(parts[4], "[DONE]");

    request["stream_options"] = json!({"include_usage": true});
    let (_, response) = fake.answered("/v1/chat/completions", request, &script()).await;
    let parts = events(response).await;
    let closing: Value = serde_json::from_str(&parts[4]).unwrap();
    assert_eq!(
        (&closing["choices"], &closing["usage"]["weir"]["frame_bits"]),
        (&json!([]), &json!(50.0))
    );
    assert_eq!(parts[5], "[DONE]");
}

#[tokio::test]
async fn token_ids_come_where_they_are_asked_for() {
    let fake = Fake::new(|_| {});
    let mut request = hello();
    let path = "/v1/chat/completions";
    let (_, response) = fake.answered(path, request.clone(), &script()).await;
    let whole: Value = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(whole["choices"][0].get("token_ids"), None);
    request["return_token_ids"] = json!(true);
    let (_, response) = fake.answered(path, request.clone(), &script()).await;
    let whole: Value = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(whole["choices"][0]["token_ids"], json!([11, 12, 13, 14]));
    request["stream"] = json!(true);
    let (_, response) = fake.answered(path, request, &script()).await;
    let parts = events(response).await;
    let ids = parts.iter().filter_map(|part| {
        let part: Value = serde_json::from_str(part).ok()?;
        part["choices"][0].get("token_ids").cloned()
    });
    assert!(ids.eq([json!([11, 12]), json!([13]), json!([14])]));
}

#[tokio::test]
async fn a_text_completion_is_answered_both_ways() {
    let fake = Fake::new(|_| {});
    let request = json!({"model": "weir", "prompt": ["once"], "max_tokens": 4});
    let (_, response) = fake.answered("/v1/completions", request.clone(), &script()).await;
    let whole: Value = serde_json::from_str(&body(response).await).unwrap();
    assert_eq!(
        (&whole["object"], &whole["choices"][0]["text"]),
        (&json!("text_completion"), &json!("Hello\n"))
    );
    let mut request = request;
    request["stream"] = json!(true);
    let (_, response) = fake.answered("/v1/completions", request, &script()).await;
    let parts = events(response).await;
    let first: Value = serde_json::from_str(&parts[0]).unwrap();
    assert_eq!(first["choices"][0]["text"], "Hel");
    assert_eq!(parts.len(), 4);
}

#[tokio::test]
async fn lengths_are_refused_with_both_numbers() {
    let fake = Fake::new(|_| {});
    let request = json!({"model": "weir", "prompt": "word ".repeat(700)});
    let error = problem(fake.post("/v1/completions", request.to_string()).await, 400).await;
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!("prompt"), &json!("context_length_exceeded"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("500") && message.matches(char::is_numeric).count() > 3,
        "{message}"
    );
    let request = json!({"model": "weir", "prompt": "a b c", "max_tokens": 599});
    let error = problem(fake.post("/v1/completions", request.to_string()).await, 400).await;
    assert!(error["message"].as_str().unwrap().contains("600"));
    let request = json!({"model": "weir", "prompt": ""});
    assert_eq!(
        problem(fake.post("/v1/completions", request.to_string()).await, 400).await["param"],
        "prompt"
    );
    let error = problem(fake.post("/v1/completions", "x".repeat(5000)).await, 413).await;
    assert_eq!(error["code"], "body_too_large");
    // A body that does not say its length is counted as it comes.
    let pieces = (0..9).map(|_| Ok::<_, std::convert::Infallible>(vec![b' '; 1000]));
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    problem(fake.post("/v1/completions", body).await, 413).await;
}

#[tokio::test]
async fn a_deviation_is_asked_for_bounded_and_shown() {
    let fake = Fake::new(|limits| limits.default_tau = 0.5);
    let path = "/v1/chat/completions";
    for (asked, tau) in [
        (json!({"tau": 0.3}), 0.3),
        (json!({"tau": 1}), 1.0),
        (json!({}), 0.5),
    ] {
        let mut request = hello();
        request["weir"] = asked;
        let (ask, response) = fake.answered(path, request, &script()).await;
        assert_eq!(ask.query.sampling.tau, tau as f32);
        let body: Value = serde_json::from_str(&body(response).await).unwrap();
        assert_eq!(body["usage"]["weir"]["tau"], tau);
    }
    for (asked, param, says) in [
        (json!({"tau": 0.04}), "weir.tau", "0.05 to 1"),
        (json!({"tau": 0}), "weir.tau", "number from"),
        (json!({"tau": 1.5}), "weir.tau", "number from"),
        (json!({"tau": "0.3"}), "weir.tau", "number from"),
        (json!({"blend": 0.3}), "weir.blend", "not known"),
        (json!(0.3), "weir", "object"),
    ] {
        let mut request = hello();
        request["weir"] = asked;
        let error = problem(fake.post(path, request.to_string()).await, 400).await;
        assert_eq!(error["param"], param);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn a_lossless_server_says_so() {
    let mut fake = Fake::new(|_| {});
    Arc::get_mut(&mut fake.edge).unwrap().least_tau = 1.0;
    let mut request = hello();
    request["weir"] = json!({"tau": 0.3});
    let error = problem(fake.post("/v1/chat/completions", request.to_string()).await, 400).await;
    assert!(error["message"].as_str().unwrap().contains("lossless"), "{error}");
}

#[tokio::test]
async fn wrong_models_paths_and_methods_are_refused() {
    let fake = Fake::new(|_| {});
    let request = json!({"model": "gpt", "messages": [{"role": "user", "content": "hi"}]});
    let error = problem(fake.post("/v1/chat/completions", request.to_string()).await, 404).await;
    assert_eq!(error["code"], "model_not_found");
    problem(fake.post("/v1/nothing", "").await, 404).await;
    let get = HttpRequest::get("/v1/chat/completions")
        .body(Body::empty())
        .unwrap();
    problem(fake.send(get).await, 405).await;
    let error = problem(fake.post("/v1/chat/completions", "{").await, 400).await;
    assert_eq!(error["code"], "malformed_json");
    let get = |path: &str| HttpRequest::get(path).body(Body::empty()).unwrap();
    problem(fake.send(get("/v1/models/gpt")).await, 404).await;
    assert_eq!(fake.send(get("/v1/models/weir")).await.status(), StatusCode::OK);
    let list: Value = serde_json::from_str(&body(fake.send(get("/v1/models")).await).await).unwrap();
    assert_eq!(list["data"][0]["id"], "weir");
}

#[tokio::test]
async fn keys_are_asked_for() {
    let fake = Fake::with_keys(&["sk-one"], |_| {});
    let error = problem(fake.post("/v1/chat/completions", hello().to_string()).await, 401).await;
    assert_eq!(error["code"], "invalid_api_key");
    for (key, status) in [("Bearer sk-one", 200), ("Bearer sk-two", 401), ("sk-one", 401)] {
        let request = HttpRequest::get("/v1/models")
            .header("authorization", key)
            .body(Body::empty())
            .unwrap();
        assert_eq!(fake.send(request).await.status().as_u16(), status, "{key}");
    }
}

#[tokio::test]
async fn an_absent_inner_is_503_until_it_returns() {
    let fake = Fake::new(|_| {});
    fake.edge
        .desk
        .health
        .set(Err(Failure::Away("no answer for 3 s".to_owned())));
    let error = problem(fake.post("/v1/chat/completions", hello().to_string()).await, 503).await;
    assert_eq!(error["code"], "inner_away");
    assert!(error["message"].as_str().unwrap().contains("no answer for 3 s"));
    let health = || HttpRequest::get("/healthz").body(Body::empty()).unwrap();
    problem(fake.send(health()).await, 503).await;
    fake.edge.desk.health.set(Ok(()));
    assert_eq!(fake.send(health()).await.status(), StatusCode::OK);
    let (_, response) = fake.answered("/v1/chat/completions", hello(), &script()).await;
    assert_eq!(response.status(), StatusCode::OK);
}

fn held(seconds: Option<u64>) -> Failure {
    let why = "a window is used up".to_owned();
    Failure::Held { why, seconds }
}

/// Why and for how long: at once, to users; to whoever asks for health it is 503 whatever the reason.
#[tokio::test]
async fn a_budget_that_is_used_up_says_when_to_try_again() {
    for (seconds, status, retry, words) in [
        (Some(1_449), 429, "1449", "in about 25 min"),
        (Some(90), 429, "90", "in about 90 s"),
        (Some(8_000), 429, "8000", "in about 3 h"),
        (None, 503, "60", "a window is used up"),
    ] {
        let fake = Fake::new(|_| {});
        fake.edge.desk.health.set(Err(held(seconds)));
        let response = fake.post("/v1/chat/completions", hello().to_string()).await;
        assert_eq!(response.headers()["retry-after"], retry);
        let error = problem(response, status).await;
        assert_eq!(error["code"], "upload_budget");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        let health = HttpRequest::get("/healthz").body(Body::empty()).unwrap();
        problem(fake.send(health).await, 503).await;
    }
}

#[tokio::test]
async fn failures_become_statuses_or_error_events() {
    let cases = [
        (Failure::Busy { limit: 1 }, 429),
        (Failure::Away("x".to_owned()), 503),
        (Failure::Lost("x".to_owned()), 503),
        (held(Some(1_200)), 429),
        (held(None), 503),
        (Failure::Refused, 503),
        (Failure::Engine, 502),
        (Failure::Waited { seconds: 1 }, 503),
        (Failure::Stopping, 503),
    ];
    for (failure, status) in cases {
        let fake = Fake::new(|_| {});
        let failed = Event::Failed(failure);
        let (_, response) = fake
            .answered("/v1/chat/completions", hello(), std::slice::from_ref(&failed))
            .await;
        problem(response, status).await;
        let mut request = hello();
        request["stream"] = json!(true);
        let (_, response) = fake
            .answered(
                "/v1/chat/completions",
                request.clone(),
                std::slice::from_ref(&failed),
            )
            .await;
        problem(response, status).await;
        let late = [Event::Admitted, piece("a", &[11]), failed];
        let (_, response) = fake.answered("/v1/chat/completions", request, &late).await;
        assert_eq!(response.status(), StatusCode::OK);
        let parts = events(response).await;
        let last: Value = serde_json::from_str(parts.last().unwrap()).unwrap();
        assert!(last["error"]["message"].is_string(), "{last}");
    }
}

#[tokio::test]
async fn seats_are_limited() {
    let fake = Fake::new(|_| {});
    let first = fake.post("/v1/chat/completions", hello().to_string());
    let second = async {
        let ask = fake.next_ask().await;
        let error = problem(fake.post("/v1/chat/completions", hello().to_string()).await, 429).await;
        assert!(script().into_iter().all(|event| ask.tell(event)));
        error
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.status(), StatusCode::OK);
    assert!(second["message"].as_str().unwrap().contains('1'));
}

#[tokio::test]
async fn a_user_who_leaves_or_waits_too_long_is_cancelled() {
    let fake = Fake::new(|limits| limits.request_timeout_s = 0);
    problem(fake.post("/v1/chat/completions", hello().to_string()).await, 504).await;
    let ask = fake.next_ask().await;
    assert!(matches!(fake.commands.recv(), Ok(Command::Cancel(id)) if id == ask.id));

    let fake = Fake::new(|_| {});
    let mut request = hello();
    request["stream"] = json!(true);
    let (ask, response) = fake
        .answered("/v1/chat/completions", request, &script()[..2])
        .await;
    drop(response);
    assert!(matches!(fake.commands.recv(), Ok(Command::Cancel(id)) if id == ask.id));
    // The seat is free once the session lets go of the query.
    let busy = fake.post("/v1/chat/completions", hello().to_string()).await;
    problem(busy, 429).await;
    drop(ask);
    let (_, response) = fake.answered("/v1/chat/completions", hello(), &script()).await;
    assert_eq!(response.status(), StatusCode::OK);
}

/// A user who does not read what is said keeps nobody else from being answered.
#[tokio::test]
async fn an_answer_that_nobody_reads_holds_no_seat() {
    let fake = Fake::new(|_| {});
    let mut request = hello();
    request["stream"] = json!(true);
    let path = "/v1/chat/completions";
    let (ask, unread) = fake.answered(path, request, &script()).await;
    // As the session does when it has told the end.
    drop(ask);
    let (_, response) = fake.answered(path, hello(), &script()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(events(unread).await.len(), 5);
}

/// A listener closes a connection whose head never ends, and stops when told.
#[tokio::test]
async fn slow_heads_are_cut_off() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let fake = Fake::new(|_| {});
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let connections = Connections {
        seats: Seats {
            strangers: 2,
            guests: 2,
        },
        header_timeout: Duration::from_millis(50),
        write_timeout: Duration::from_millis(500),
        grace: Duration::from_secs(1),
    };
    let server = tokio::spawn(serve(
        listener,
        router(Arc::clone(&fake.edge)),
        connections,
        Metrics::default(),
        stopped,
    ));
    let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nx: y").await.unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    let mut quick = tokio::net::TcpStream::connect(address).await.unwrap();
    quick
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    quick.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stop.send(true).unwrap();
    server.await.unwrap();
}

/// The embedded one: "word " is at least a token.
fn tokenizer() -> Tokenizer {
    Tokenizer::from_bytes("embedded", weir_model::embedded::weak()).unwrap()
}

#[tokio::test]
async fn a_strong_model_with_other_tokens_is_told_the_text() {
    let mut fake = Fake::new(|_| {});
    Arc::get_mut(&mut fake.edge).unwrap().retokenize = true;
    let mut chat = hello();
    chat["messages"] = json!([
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi <|im_end|>"}]},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": ""},
    ]);
    let turn = |role, content: &str| Turn {
        role,
        content: content.to_owned(),
    };
    let turns = vec![
        turn(Role::System, "Be brief."),
        turn(Role::User, "hi <|im_end|>"),
        turn(Role::Assistant, "ho"),
        turn(Role::User, ""),
    ];
    let (ask, _) = fake.answered("/v1/chat/completions", chat, &script()).await;
    assert_eq!(ask.source, Source::Chat(turns));
    // The only seat is held as long as the query.
    drop(ask);
    let text = json!({"model": "weir", "prompt": "Once upon"});
    let (ask, _) = fake.answered("/v1/completions", text, &script()).await;
    assert_eq!(ask.source, Source::Text("Once upon".to_owned()));
    assert!(!ask.query.prompt.is_empty());

    // One that shares the tokenizer is not.
    let fake = Fake::new(|_| {});
    let (ask, _) = fake.answered("/v1/chat/completions", hello(), &script()).await;
    assert_eq!(ask.source, Source::Tokens);
}

mod crowds;
