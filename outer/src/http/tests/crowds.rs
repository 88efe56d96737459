//! Many who have no key, and many who have one and say nothing, against a listener on loopback.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

const KEY: &str = "sk-one";

/// A listener with few seats before an edge with a key. Its timers do not help: they are far longer than the tests.
struct House {
    fake: Fake,
    metrics: Metrics,
    address: std::net::SocketAddr,
    _stop: watch::Sender<bool>,
}

impl House {
    async fn new(strangers: usize, guests: usize, bodies_bytes: usize) -> Self {
        let mut fake = Fake::with_keys(&[KEY], |limits| limits.body_bytes = 1 << 20);
        let metrics = Metrics::default();
        let bodies = Bodies::new(bodies_bytes, 1 << 20, metrics.body_bytes.clone());
        Arc::get_mut(&mut fake.edge).unwrap().bodies = bodies;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let connections = Connections {
            seats: Seats { strangers, guests },
            header_timeout: Duration::from_secs(600),
            write_timeout: Duration::from_secs(600),
            grace: Duration::ZERO,
        };
        let routes = router(Arc::clone(&fake.edge));
        tokio::spawn(serve(listener, routes, connections, metrics.clone(), stopped));
        Self {
            fake,
            metrics,
            address,
            _stop: stop,
        }
    }

    async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Connects, says `head` and waits for the answer.
    async fn ask(&self, head: &str) -> (String, TcpStream) {
        let mut stream = self.connect().await;
        (ask(&mut stream, head).await, stream)
    }
}

/// Nothing here takes so long unless it hangs.
async fn within<F: Future>(future: F) -> F::Output {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, future).await.expect("it hangs")
}

async fn ask(stream: &mut TcpStream, head: &str) -> String {
    within(stream.write_all(head.as_bytes())).await.unwrap();
    answer(stream).await
}

/// A whole answer, head and body.
async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    loop {
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return answer;
            }
        }
        let mut more = Vec::new();
        assert_ne!(
            within(stream.read_buf(&mut more)).await.unwrap(),
            0,
            "closed: {answer}"
        );
        answer.push_str(str::from_utf8(&more).unwrap());
    }
}

fn status(answer: &str) -> u16 {
    answer[9..12].parse().unwrap()
}

fn get(path: &str, key: Option<&str>) -> String {
    let key = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n{key}\r\n")
}

/// The head of a request whose body does not come.
fn post(key: Option<&str>, len: usize) -> String {
    let key = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\n{key}content-length: {len}\r\n\r\n")
}

/// Waits for what other tasks do.
async fn until(question: impl Fn() -> bool) {
    within(async {
        while !question() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let house = House::new(8, 2, 1 << 20).await;
    let (first, mut guest) = house.ask(&get("/v1/models", Some(KEY))).await;
    assert_eq!(status(&first), 200);
    let mut silent = Vec::new();
    for number in 0..100 {
        let mut stream = house.connect().await;
        if number % 2 == 0 {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await.unwrap();
        }
        silent.push(stream);
    }
    let (health, _) = house.ask(&get("/healthz", None)).await;
    assert_eq!(status(&health), 200);
    let (known, _second) = house.ask(&get("/v1/models", Some(KEY))).await;
    assert_eq!(status(&known), 200);
    // One who showed a key before keeps the seat.
    assert_eq!(status(&ask(&mut guest, &get("/v1/models", Some(KEY))).await), 200);
    assert!(house.metrics.strangers.get() <= 8);
    assert_eq!(house.metrics.guests.get(), 2);
    // The oldest went, and was told by the end of its connection; not one who has just come.
    let mut rest = Vec::new();
    let end = within(silent[1].read_to_end(&mut rest)).await;
    assert!(end.is_err() || rest.is_empty());
    let last = ask(&mut silent[99], &get("/healthz", None)).await;
    assert_eq!(status(&last), 200);
}

#[tokio::test]
async fn without_a_key_no_body_is_read() {
    let house = House::new(8, 8, 1 << 20).await;
    for key in [None, Some("sk-two")] {
        let (refused, mut stream) = house.ask(&post(key, 1 << 20)).await;
        assert_eq!(status(&refused), 401);
        assert!(refused.contains("connection: close"), "{refused}");
        // What comes behind it finds nobody.
        let _ = within(stream.write_all(&[b'x'; 100_000])).await;
        let mut rest = Vec::new();
        let _ = within(stream.read_to_end(&mut rest)).await;
    }
    assert_eq!(
        (house.metrics.body_bytes.get(), house.metrics.guests.get()),
        (0, 0)
    );
    // Neither a request that waited behind another nor a connection kept alive passes around it.
    let both = get("/v1/models", Some(KEY)) + &post(None, 1 << 20);
    let mut stream = house.connect().await;
    within(stream.write_all(both.as_bytes())).await.unwrap();
    let mut said = Vec::new();
    let _ = within(stream.read_to_end(&mut said)).await;
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.starts_with("HTTP/1.1 200") && said.contains("HTTP/1.1 401"),
        "{said}"
    );
    assert_eq!(house.metrics.body_bytes.get(), 0);
    until(|| house.metrics.guests.get() == 0).await;
}

#[tokio::test]
async fn a_head_is_bounded() {
    let house = House::new(8, 8, 1 << 20).await;
    let long = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "y".repeat(20_000)
    );
    let (refused, _) = house.ask(&long).await;
    assert_eq!(status(&refused), 431);
    let many = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "x: y\r\n".repeat(101)
    );
    let (refused, _) = house.ask(&many).await;
    assert_eq!(status(&refused), 431);
}

#[tokio::test]
async fn guests_are_counted() {
    let house = House::new(8, 2, 1 << 20).await;
    let mut guests = Vec::new();
    for _ in 0..2 {
        let (known, stream) = house.ask(&get("/v1/models", Some(KEY))).await;
        assert_eq!(status(&known), 200);
        guests.push(stream);
    }
    let (crowded, _) = house.ask(&post(Some(KEY), 1 << 20)).await;
    assert_eq!(status(&crowded), 503);
    assert!(crowded.contains("connection: close"), "{crowded}");
    guests.pop();
    until(|| house.metrics.guests.get() == 1).await;
    let (known, _) = house.ask(&get("/v1/models", Some(KEY))).await;
    assert_eq!(status(&known), 200);
}

#[tokio::test]
async fn withheld_bodies_take_no_more_than_there_is() {
    const ALL: usize = 1 << 20;
    let house = House::new(64, 64, ALL).await;
    let half = vec![b' '; 500_000];
    let mut withheld = Vec::new();
    for _ in 0..20 {
        let mut stream = house.connect().await;
        let head = post(Some(KEY), 1_000_000);
        within(stream.write_all(head.as_bytes())).await.unwrap();
        // Refused ones are not read to their end.
        let _ = tokio::time::timeout(Duration::from_millis(200), stream.write_all(&half)).await;
        withheld.push(stream);
    }
    // Two of half a MiB each find room.
    until(|| house.metrics.body_bytes.get() == ALL as i64).await;
    let (refused, _) = {
        let mut stream = house.connect().await;
        let whole = post(Some(KEY), 5_000) + &" ".repeat(5_000);
        (ask(&mut stream, &whole).await, stream)
    };
    assert_eq!(status(&refused), 503);
    assert_eq!(status(&house.ask(&get("/healthz", None)).await.0), 200);
    drop(withheld);
    until(|| house.metrics.body_bytes.get() == 0).await;
    // And now there is room: a request comes as far as a query.
    let body = json!({"model": "weir", "prompt": "once"}).to_string();
    let mut stream = house.connect().await;
    let whole = post(Some(KEY), body.len()) + &body;
    within(stream.write_all(whole.as_bytes())).await.unwrap();
    let ask = within(house.fake.next_ask()).await;
    assert!(script().into_iter().all(|event| ask.tell(event)));
    assert_eq!(status(&answer(&mut stream).await), 200);
    assert_eq!(house.metrics.body_bytes.get(), 0, "tokenized, it takes none");
}
