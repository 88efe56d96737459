//! Counters and gauges, in Prometheus' text format, on a listener of their own.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Bits = Counter<f64, AtomicU64>;
type Ratio = Gauge<f64, AtomicU64>;

/// Everything this server counts. Cloning shares the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    /// Requests that were sent in, and how they ended.
    pub(crate) requests: Counter,
    pub(crate) answered: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) failed: Counter,
    /// Answer tokens decoded, and their code lengths.
    pub(crate) tokens: Counter,
    pub(crate) coded_bits: Bits,
    pub(crate) plain_bits: Bits,
    /// Frames decoded, and their bits as they were in the datagram (batch id, check, code).
    pub(crate) frames: Counter,
    pub(crate) frame_bits: Counter,
    /// The receipts: all that came in on the link, valid or not, at its cost on the physical link.
    pub(crate) datagrams: Counter,
    pub(crate) datagram_bytes: Counter,
    pub(crate) link_bits: Counter,
    /// Datagrams that no session wanted: bad check, repeats, unknown batch.
    pub(crate) dropped: Counter,
    /// Datagrams sent inward.
    pub(crate) sent: Counter,
    pub(crate) queued: Gauge,
    pub(crate) live: Gauge,
    pub(crate) up: Gauge,
    pub(crate) held: Gauge,
    pub(crate) sessions: Counter,
    /// Connections to the API that have shown no key, that have, and of the first those that made room for others.
    pub(crate) strangers: Gauge,
    pub(crate) guests: Gauge,
    pub(crate) strangers_dropped: Counter,
    /// Memory that the bodies of requests take.
    pub(crate) body_bytes: Gauge,
    coded_per_token: Ratio,
    plain_per_token: Ratio,
    frame_per_token: Ratio,
    link_per_token: Ratio,
}

impl Metrics {
    /// The text that a scrape gets.
    pub(crate) fn text(&self, registry: &Registry) -> String {
        let tokens = self.tokens.get().max(1) as f64;
        self.coded_per_token.set(self.coded_bits.get() / tokens);
        self.plain_per_token.set(self.plain_bits.get() / tokens);
        self.frame_per_token.set(self.frame_bits.get() as f64 / tokens);
        self.link_per_token.set(self.link_bits.get() as f64 / tokens);
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, registry) {
            Ok(()) => text,
            // Writing to a `String` cannot fail; an empty scrape would show it if it did.
            Err(std::fmt::Error) => String::new(),
        }
    }

    /// All of them under their names.
    pub(crate) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("weir_outer");
        // The encoder appends `_total` to the name of a counter.
        let counters: [(&str, &str, &Counter); 13] = [
            ("requests", "Requests sent in", &self.requests),
            ("answered", "Requests answered to their end", &self.answered),
            (
                "cancelled",
                "Requests given up by their user or out of time",
                &self.cancelled,
            ),
            ("failed", "Requests that ended in an error", &self.failed),
            ("tokens", "Answer tokens decoded", &self.tokens),
            ("frames", "Frames decoded", &self.frames),
            (
                "frame_bits",
                "Bits of decoded frames: batch id, check and code",
                &self.frame_bits,
            ),
            (
                "datagrams_received",
                "Datagrams that came in on the link",
                &self.datagrams,
            ),
            ("bytes_received", "Bytes of those datagrams", &self.datagram_bytes),
            (
                "link_bits",
                "Bits of those datagrams on the physical link, all headers and gaps",
                &self.link_bits,
            ),
            ("datagrams_dropped", "Datagrams no session wanted", &self.dropped),
            ("datagrams_sent", "Datagrams sent inward", &self.sent),
            (
                "strangers_dropped",
                "Connections without a key that made room for others",
                &self.strangers_dropped,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("sessions", "Sessions opened", self.sessions.clone());
        let bits = [
            (
                "coded_bits",
                "Code length of the decoded tokens",
                &self.coded_bits,
            ),
            (
                "plain_bits",
                "Code length of those tokens under the weak model alone",
                &self.plain_bits,
            ),
        ];
        for (name, help, counter) in bits {
            registry.register(name, help, counter.clone());
        }
        let gauges = [
            ("queue", "Requests waiting for a slot", &self.queued),
            ("live_slots", "Queries that inner is answering", &self.live),
            ("session_up", "1 while the session with inner is up", &self.up),
            (
                "held",
                "What of inner's budget lets nothing out: 0 nothing, 1 a window, 2 the rate, 3 the total, 4 the ledger",
                &self.held,
            ),
            (
                "strangers",
                "Connections that have shown no key yet",
                &self.strangers,
            ),
            ("guests", "Connections that have shown a key", &self.guests),
            (
                "body_bytes",
                "Bytes that the bodies of requests take",
                &self.body_bytes,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let ratios = [
            (
                "coded_bits_per_token",
                "coded_bits / tokens since the start",
                &self.coded_per_token,
            ),
            (
                "plain_bits_per_token",
                "plain_bits / tokens since the start",
                &self.plain_per_token,
            ),
            (
                "frame_bits_per_token",
                "frame_bits / tokens since the start",
                &self.frame_per_token,
            ),
            (
                "link_bits_per_token",
                "link_bits / tokens since the start",
                &self.link_per_token,
            ),
        ];
        for (name, help, gauge) in ratios {
            registry.register(name, help, gauge.clone());
        }
        registry
    }

    /// `/metrics`, and nothing else.
    pub(crate) fn router(&self) -> Router {
        let metrics = self.clone();
        let registry = Arc::new(self.registry());
        Router::new().route(
            "/metrics",
            get(move || async move { scrape(&metrics, &registry) }),
        )
    }
}

fn scrape(metrics: &Metrics, registry: &Registry) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.text(registry)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_has_averages() {
        let metrics = Metrics::default();
        let registry = metrics.registry();
        metrics.tokens.inc_by(10);
        metrics.coded_bits.inc_by(25.0);
        metrics.link_bits.inc_by(900);
        let text = metrics.text(&registry);
        assert!(text.contains("weir_outer_tokens_total 10\n"), "{text}");
        assert!(text.contains("weir_outer_coded_bits_per_token 2.5\n"), "{text}");
        assert!(text.contains("weir_outer_link_bits_per_token 90.0\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
