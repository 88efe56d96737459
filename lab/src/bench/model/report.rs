//! What `weir-lab bench model` found, as JSON and as a table.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_model::Info;

use super::peer::Hello;
use super::{PROMPT, Speeds};
use weir_setup::tool::table;

/// What was measured, before any rounding.
pub(super) struct Measured {
    pub(super) prefill: Speeds,
    pub(super) decode: Vec<(usize, Speeds)>,
    /// Tokens in each context in the middle of that.
    pub(super) context: usize,
    pub(super) load_s: f64,
    pub(super) verify_s: f64,
    /// Positions in the pool.
    pub(super) kv_tokens: usize,
    pub(super) read_gb_s: f64,
    pub(super) digest: String,
    pub(super) threads: usize,
}

/// The keys of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    prefill_tok_s: f64,
    /// Tokens of all slots together, by number of slots.
    decode_tok_s: BTreeMap<usize, f64>,
    /// Tokens in each context in the middle of that.
    context: usize,
    /// Seconds until the model is there, and until its weights are verified too; a GGUF file is repacked in the first.
    load_s: f64,
    verify_s: f64,
    /// Resident memory once the model has been used, in MiB, and the most that it should be: 1.15 times the weights as they
    /// lie in memory, plus the pool of keys and values.
    rss_mb: f64,
    rss_goal_mb: f64,
    kernel: &'static str,
    threads: usize,
    digest: String,
    /// Bytes that a token reads of weights and of its context's keys and values, in MiB.
    read_mb: f64,
    /// Bandwidth at which all threads together read memory.
    read_gb_s: f64,
    /// Milliseconds of one token at one slot, and the least that the bandwidth allows.
    token_ms: f64,
    floor_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Against>,
}

/// The peer's side, and ours over it.
#[derive(Debug, Serialize)]
struct Against {
    #[serde(flatten)]
    hello: Hello,
    prefill_tok_s: f64,
    decode_tok_s: BTreeMap<usize, f64>,
    prefill_ratio: f64,
    decode_ratio: BTreeMap<usize, f64>,
}

impl Report {
    pub(super) fn new(measured: Measured, info: &Info, hello: Option<&Hello>) -> Self {
        let Measured {
            prefill,
            decode,
            context,
            load_s,
            verify_s,
            kv_tokens,
            read_gb_s,
            digest,
            threads,
        } = measured;
        let read = info.bytes_per_token + (context * info.kv_bytes) as u64;
        let one = decode.iter().find(|(slots, _)| *slots == 1);
        Self {
            prefill_tok_s: tenth(prefill.ours),
            decode_tok_s: decode
                .iter()
                .map(|&(n, speeds)| (n, tenth(speeds.ours)))
                .collect(),
            context,
            load_s: thousandth(load_s),
            verify_s: thousandth(verify_s),
            rss_mb: tenth(resident().unwrap_or(0.0)),
            rss_goal_mb: tenth((1.15 * info.bytes as f64 + (kv_tokens * info.kv_bytes) as f64) / MIB),
            kernel: info.kernel.name(),
            threads,
            digest,
            read_mb: tenth(read as f64 / MIB),
            read_gb_s: tenth(read_gb_s),
            token_ms: tenth(one.map_or(0.0, |(_, speeds)| 1e3 / speeds.ours)),
            floor_ms: tenth(read as f64 / read_gb_s / 1e6),
            peer: hello.map(|hello| Against::new(hello.clone(), prefill, &decode)),
        }
    }

    pub(super) fn print(&self, name: &str) {
        let mut head = vec![format!("{name} ({}, {} threads)", self.kernel, self.threads)];
        match &self.peer {
            Some(peer) => head.extend(["ours, tokens/s".into(), peer.hello.name.clone(), "ratio".into()]),
            None => head.push("tokens/s".into()),
        }
        let against = self.peer.as_ref();
        let mut rows = vec![head, vec![]];
        rows.push(row(
            format!("prefill, {PROMPT} tokens"),
            self.prefill_tok_s,
            against.map(|peer| Some((peer.prefill_tok_s, peer.prefill_ratio))),
        ));
        for (slots, speed) in &self.decode_tok_s {
            let theirs =
                against.map(|peer| Some((*peer.decode_tok_s.get(slots)?, *peer.decode_ratio.get(slots)?)));
            rows.push(row(
                format!("decode, {slots} slots together, {} tokens each", self.context),
                *speed,
                theirs,
            ));
        }
        table::print(&rows);
        println!(
            "\nOne token at one slot: {} ms; the floor is {} ms ({} MiB of weights, keys and values at {} GB/s).",
            self.token_ms, self.floor_ms, self.read_mb, self.read_gb_s
        );
        println!(
            "Loaded in {} s, verified in {} s; {} MiB resident (goal {}). Golden logits: {}",
            self.load_s, self.verify_s, self.rss_mb, self.rss_goal_mb, self.digest
        );
        if let Some(Against { hello, .. }) = against {
            println!("{}: {} ({})", hello.name, hello.version, hello.system);
        }
    }
}

impl Against {
    fn new(hello: Hello, prefill: Speeds, decode: &[(usize, Speeds)]) -> Self {
        let decode = || {
            decode
                .iter()
                .filter_map(|&(n, speeds)| Some((n, speeds.ours, speeds.peer?)))
        };
        let theirs = prefill.peer.unwrap_or(f64::NAN);
        Self {
            hello,
            prefill_tok_s: tenth(theirs),
            decode_tok_s: decode().map(|(n, _, peer)| (n, tenth(peer))).collect(),
            prefill_ratio: thousandth(prefill.ours / theirs),
            decode_ratio: decode()
                .map(|(n, ours, peer)| (n, thousandth(ours / peer)))
                .collect(),
        }
    }
}

/// A row of the table: `theirs` is absent without a peer, and empty where the peer was not asked.
fn row(what: String, ours: f64, theirs: Option<Option<(f64, f64)>>) -> Vec<String> {
    let mut row = vec![what, format!("{ours:.1}")];
    match theirs {
        None => {}
        Some(None) => row.extend(["-".into(), "-".into()]),
        Some(Some((speed, ratio))) => row.extend([format!("{speed:.1}"), format!("{ratio:.2}")]),
    }
    row
}

/// Resident memory of this process in MiB, where the system tells.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn thousandth(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

const MIB: f64 = 1024.0 * 1024.0;
