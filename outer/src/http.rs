//! The HTTP edge: OpenAI's endpoints, translated to [`crate::ask`] and back. Nothing here knows of frames.

mod body;
mod door;
mod fields;
mod keys;
mod listen;
mod problem;
mod reply;
mod request;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Request as HttpRequest, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseStream};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::Stream;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use weir_codec::{Query, Sampling};
use weir_model::Tokenizer;
use weir_wire::Source;
use weir_wire::message::SOURCE_BYTES_MAX;

pub(crate) use body::Bodies;
use body::Room;
pub(crate) use door::Seats;
use door::Ticket;
pub(crate) use keys::Keys;
pub(crate) use listen::{Connections, serve};
use problem::Problem;
use reply::{Reply, Shown, hex};
use request::{Kind, Prompt, Request};

use crate::ask::{Answer, Desk, Event, Health};
use crate::clock;
use crate::config::Limits;

/// What the handlers share.
pub(crate) struct Edge {
    pub(crate) desk: Desk,
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// The name of the served model.
    pub(crate) model: String,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    /// Where bodies go.
    pub(crate) bodies: Bodies,
    /// Unix seconds at the start, shown as the model's `created`.
    pub(crate) started: u64,
    /// Whether answers say what they cost.
    pub(crate) expose_cost: bool,
    /// Whether the strong model has a tokenizer of its own, and so needs the text of a prompt.
    pub(crate) retokenize: bool,
    /// Least `weir.tau` that inner takes.
    pub(crate) least_tau: f32,
    /// Prompts that may be tokenized at once.
    pub(crate) tokenizing: Arc<Semaphore>,
    /// Longest text of a prompt in bytes: a longer one has too many tokens for sure.
    pub(crate) text_bytes: usize,
}

/// The routes of the public listener.
pub(crate) fn router(edge: Arc<Edge>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(text))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .route("/healthz", get(healthz))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(edge)
}

/// The route of a listener that only tells of health, where nobody's requests are in the way.
pub(crate) fn health_router(health: Arc<Health>) -> Router {
    let answer = move || std::future::ready(health_of(&health));
    Router::new().route("/healthz", get(answer))
}

/// Who asks has a key, and their connection a guest's seat. A handler that takes this reads nothing of a stranger's body.
struct Known;

impl FromRequestParts<Arc<Edge>> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let value = parts.headers.get(header::AUTHORIZATION);
        if !edge.keys.admit(value.map(HeaderValue::as_bytes)) {
            return Err(Problem::unauthorized());
        }
        if let Some(ticket) = parts.extensions.get::<Arc<Ticket>>() {
            ticket.admit().map_err(Problem::crowded)?;
        }
        Ok(Self)
    }
}

async fn chat(
    State(edge): State<Arc<Edge>>,
    known: Known,
    request: HttpRequest,
) -> Result<Response, Problem> {
    answer(&edge, known, Kind::Chat, request).await
}

async fn text(
    State(edge): State<Arc<Edge>>,
    known: Known,
    request: HttpRequest,
) -> Result<Response, Problem> {
    answer(&edge, known, Kind::Text, request).await
}

async fn models(State(edge): State<Arc<Edge>>, _: Known) -> Response {
    axum::Json(json!({"object": "list", "data": [edge.card()]})).into_response()
}

async fn model(
    State(edge): State<Arc<Edge>>,
    _: Known,
    asked: Result<axum::extract::Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let axum::extract::Path(asked) = asked.map_err(|error| Problem::malformed(error.body_text()))?;
    if asked != edge.model {
        return Err(Problem::unknown_model(&clipped(&asked), &edge.model));
    }
    Ok(axum::Json(edge.card()).into_response())
}

/// 200 while a session is up, else 503 with the reason. Needs no key: it tells a load balancer, not a user.
async fn healthz(State(edge): State<Arc<Edge>>) -> Response {
    health_of(&edge.desk.health)
}

fn health_of(health: &Health) -> Response {
    match health.get() {
        Ok(()) => axum::Json(json!({"status": "ok"})).into_response(),
        Err(failure) => {
            let mut problem = Problem::from(failure);
            problem.status = StatusCode::SERVICE_UNAVAILABLE;
            problem.into_response()
        }
    }
}

async fn unknown(method: Method, uri: Uri) -> Problem {
    Problem::unknown_path(method.as_str(), &clipped(uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::wrong_method(method.as_str(), &clipped(uri.path()))
}

/// From a request to an answer, whole or streaming.
async fn answer(edge: &Arc<Edge>, _: Known, kind: Kind, request: HttpRequest) -> Result<Response, Problem> {
    let (body, room) = edge.body(request).await?;
    let request = Request::parse(kind, &body)?;
    drop(body);
    if request.model != edge.model {
        return Err(Problem::unknown_model(&clipped(&request.model), &edge.model));
    }
    let Request {
        stream,
        include_usage,
        return_token_ids,
        ..
    } = request;
    let seat = edge.desk.seat().map_err(Problem::from)?;
    // Tokenizing a long prompt takes milliseconds, too long for a thread that serves connections; and many at once
    // would leave none for the model. It goes on when the client hangs up, so it holds its turn, the seat and the room that its
    // text takes itself.
    let turn = Arc::clone(&edge.tokenizing).acquire_owned().await;
    let worker = Arc::clone(edge);
    let tokenized = tokio::task::spawn_blocking(move || {
        let query = worker.query(kind, request);
        drop((turn, room));
        query.map(|(query, source)| (query, source, seat))
    });
    let tokenized = tokenized.await;
    let (query, source, seat) =
        tokenized.map_err(|_| Problem::internal("tokenizing the prompt failed"))??;
    let nonce = random().map(|bytes| hex(&bytes))?;
    let (now, seed) = (clock::unix_seconds(), hex(&query.seed));
    let shown = Shown {
        tau: query.sampling.tau,
        token_ids: return_token_ids,
        cost: edge.expose_cost,
    };
    let reply = Reply::new(kind, &nonce, now, &edge.model, seed, shown);
    let mut answer = edge.desk.ask(query, source, seat).map_err(Problem::from)?;
    let limit = edge.limits.request_timeout_s;
    let mut deadline = Box::pin(tokio::time::sleep(Duration::from_secs(limit)));

    let seed = HeaderValue::from_str(reply.seed()).map_err(|_| Problem::internal("seed"))?;
    let mut response = if stream {
        // Only once the query has a slot is it clear that this will be a stream and not an error.
        let first = next(&mut answer, &mut deadline, limit).await?;
        let events = Streaming::new(reply, answer, deadline, limit, include_usage);
        let events = events.start(first)?;
        let sse = SseStream::new(events).keep_alive(KeepAlive::default());
        let mut response = sse.into_response();
        // A proxy that buffers would undo streaming; this is nginx's switch for it.
        response
            .headers_mut()
            .insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    } else {
        let (mut text, mut tokens) = (String::new(), Vec::new());
        loop {
            match next(&mut answer, &mut deadline, limit).await? {
                Event::Admitted => {}
                Event::Piece {
                    text: piece,
                    tokens: more,
                } => {
                    text.push_str(&piece);
                    tokens.extend(more);
                }
                Event::Done { finish, usage } => {
                    break axum::Json(reply.whole(&text, &tokens, finish, &usage)).into_response();
                }
                Event::Failed(failure) => return Err(failure.into()),
            }
        }
    };
    response.headers_mut().insert("x-weir-seed", seed);
    Ok(response)
}

/// The next event, or 504 when the request's time is up.
async fn next(
    answer: &mut Answer,
    deadline: &mut std::pin::Pin<Box<Sleep>>,
    limit: u64,
) -> Result<Event, Problem> {
    tokio::select! {
        event = answer.next() => Ok(event),
        () = deadline => Err(Problem::timed_out(limit)),
    }
}

impl Edge {
    /// The whole body, within its limits of size and time.
    async fn body(&self, request: HttpRequest) -> Result<(Vec<u8>, Room), Problem> {
        let limit = self.limits.body_bytes;
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > limit as u64) {
            return Err(Problem::body_too_large(limit));
        }
        let body = self.bodies.read(request.into_body());
        let body = tokio::time::timeout(Duration::from_secs(self.limits.body_timeout_s), body).await;
        body.unwrap_or_else(|_| Err(Problem::body_too_slow()))
    }

    /// Tokenizes, applies the limits on length, draws the seed.
    fn query(&self, kind: Kind, request: Request) -> Result<(Query, Source), Problem> {
        let field = kind.prompt_field();
        let bytes = request.prompt.bytes();
        if bytes > self.text_bytes {
            let most = self.limits.prompt_tokens;
            let message = format!("the prompt has {bytes} bytes, which are more than {most} tokens");
            return Err(Problem::too_long(field, message));
        }
        if self.retokenize && bytes > SOURCE_BYTES_MAX {
            let message = format!("the prompt has {bytes} bytes; at most {SOURCE_BYTES_MAX} are allowed");
            return Err(Problem::too_long(field, message));
        }
        let prompt = match &request.prompt {
            Prompt::Chat(messages) => self
                .tokenizer
                .chat(messages)
                .map_err(|error| Problem::field(field, format!("the chat template refused: {error}")))?,
            Prompt::Text(text) => self.tokenizer.encode(text),
        };
        if prompt.is_empty() {
            return Err(Problem::field(
                field,
                format!("'{field}' is empty: there is nothing to continue"),
            ));
        }
        let max_tokens = self.limits.answer(prompt.len(), request.max_tokens);
        let max_tokens = max_tokens.map_err(|message| Problem::too_long(field, message))?;
        let tau = request.tau.unwrap_or(self.limits.default_tau);
        if tau < self.least_tau {
            let message = match self.least_tau {
                1.0 => format!("'weir.tau' is {tau}; this server's answers are lossless: leave it out"),
                least => format!("'weir.tau' is {tau}; this server takes {least} to 1"),
            };
            return Err(Problem::field("weir.tau", message));
        }
        let seed = match request.seed {
            Some(seed) => seed,
            None => random()?,
        };
        let query = Query {
            seed,
            sampling: Sampling {
                tau,
                ..request.sampling
            },
            max_tokens,
            stop: request.stop,
            prompt,
        };
        let source = match self.retokenize {
            true => request.prompt.into_source(),
            false => Source::Tokens,
        };
        Ok((query, source))
    }

    /// The model, as `/v1/models` shows it.
    fn card(&self) -> Value {
        json!({"id": self.model, "object": "model", "created": self.started, "owned_by": "weir"})
    }
}

/// A streaming answer: server-sent events, each a JSON object, then `[DONE]`.
struct Streaming {
    reply: Reply,
    answer: Answer,
    deadline: std::pin::Pin<Box<Sleep>>,
    limit: u64,
    include_usage: bool,
    ready: std::collections::VecDeque<Sse>,
    over: bool,
}

impl Streaming {
    fn new(
        reply: Reply,
        answer: Answer,
        deadline: std::pin::Pin<Box<Sleep>>,
        limit: u64,
        include_usage: bool,
    ) -> Self {
        Self {
            reply,
            answer,
            deadline,
            limit,
            include_usage,
            ready: Default::default(),
            over: false,
        }
    }

    /// The stream, if its first event is no failure.
    fn start(
        mut self,
        first: Event,
    ) -> Result<impl Stream<Item = Result<Sse, std::convert::Infallible>>, Problem> {
        if let Event::Failed(failure) = first {
            return Err(failure.into());
        }
        if let Some(opening) = self.reply.first() {
            self.push(&opening);
        }
        self.take(Ok(first));
        Ok(futures_util::stream::unfold(self, |mut this| async move {
            while this.ready.is_empty() && !this.over {
                let event = next(&mut this.answer, &mut this.deadline, this.limit).await;
                this.take(event);
            }
            this.ready.pop_front().map(|event| (Ok(event), this))
        }))
    }

    fn take(&mut self, event: Result<Event, Problem>) {
        match event {
            Ok(Event::Admitted) => {}
            Ok(Event::Piece { text, tokens }) => {
                if let Some(piece) = self.reply.piece(&text, &tokens) {
                    self.push(&piece);
                }
            }
            Ok(Event::Done { finish, usage }) => {
                self.push(&self.reply.last(finish));
                if self.include_usage {
                    self.push(&self.reply.closing(&usage));
                }
                self.ready.push_back(Sse::default().data("[DONE]"));
                self.over = true;
            }
            Ok(Event::Failed(failure)) => self.fail(&failure.into()),
            Err(problem) => self.fail(&problem),
        }
    }

    /// The status line is long gone: an event with an `error` member is what OpenAI's clients look for.
    fn fail(&mut self, problem: &Problem) {
        self.push(&problem.body());
        self.over = true;
    }

    fn push(&mut self, body: &Value) {
        self.ready.push_back(Sse::default().data(body.to_string()));
    }
}

fn random() -> Result<[u8; 16], Problem> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| Problem::internal("the operating system gave no random bytes"))?;
    Ok(bytes)
}

/// What a user sent, short enough to be repeated to them.
fn clipped(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests;
