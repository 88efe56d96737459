//! What the bench found.

use serde::Serialize;
use weir_codec::FrameStats;

use crate::bench::paired::Paired;
use weir_setup::tool::table;

/// Sums over all frames.
pub(in crate::bench) struct Totals {
    tokens: u64,
    frames: u64,
    plain_bits: f64,
    coded_bits: f64,
    framing_bits: f64,
    pub(in crate::bench) code_bytes: u64,
    frame_bytes: u64,
    link_bits: u64,
    pub(super) encode_seconds: f64,
    pub(super) encode_forward: f64,
    pub(super) decode_seconds: f64,
    pub(super) decode_forward: f64,
    /// Code lengths by answer.
    pub(in crate::bench) paired: Paired,
    /// Whether every frame came back as it was.
    pub(super) same: bool,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            tokens: 0,
            frames: 0,
            plain_bits: 0.0,
            coded_bits: 0.0,
            framing_bits: 0.0,
            code_bytes: 0,
            frame_bytes: 0,
            link_bits: 0,
            encode_seconds: 0.0,
            encode_forward: 0.0,
            decode_seconds: 0.0,
            decode_forward: 0.0,
            paired: Paired::default(),
            same: true,
        }
    }
}

/// The keys of `--json`.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct Report {
    tokens: u64,
    frames: u64,
    /// Sum of -log2 q at temperature 1.
    pub(in crate::bench) plain_bits_per_token: f64,
    /// Code length under the prediction.
    model_code_bits_per_token: f64,
    /// Standard error of the difference between the two, in bits a token, answers as clusters; null for a single answer.
    stderr: Option<f64>,
    /// The one over the other, and the standard error of that.
    of_plain: f64,
    of_plain_stderr: Option<f64>,
    /// 8 x bytes of code really written.
    pub(in crate::bench) bits_per_token: f64,
    pub(in crate::bench) frame_bits_per_token: f64,
    link_bits_per_token: f64,
    /// Of `bits_per_token` over `model_code_bits_per_token`.
    overhead_percent: f64,
    /// Bits of the code that say counts and messages taken in.
    framing_bits_per_token: f64,
    frame_overhead_bytes: f64,
    encode_tokens_per_s: f64,
    decode_tokens_per_s: f64,
    /// Of the encoder, all but the model's forward pass.
    codec_us_per_token: f64,
    /// Of the decoder, likewise.
    decode_codec_us_per_token: f64,
    pub(super) roundtrip: bool,
    /// Of the encoder and of the decoder, which are meant to differ.
    pub(super) kernels: [&'static str; 2],
    pub(super) threads: [usize; 2],
}

impl Totals {
    /// Adds what was coded.
    pub(super) fn coded(&mut self, stats: &FrameStats) {
        self.tokens += u64::from(stats.tokens);
        self.plain_bits += stats.plain_bits;
        self.coded_bits += stats.coded_bits;
        self.framing_bits += stats.framing_bits;
    }

    /// Adds a frame of which `code` bytes are code and `frame` bytes leave, as `link` bits.
    pub(super) fn frame(&mut self, code: usize, frame: usize, link: u64) {
        self.frames += 1;
        self.code_bytes += code as u64;
        self.frame_bytes += frame as u64;
        self.link_bits += link;
    }

    pub(in crate::bench) fn report(&self) -> Report {
        let tokens = self.tokens.max(1) as f64;
        let code_bits = 8.0 * self.code_bytes as f64;
        let error = |value: f64| value.is_finite().then(|| round(value, 1e4));
        let micros = |seconds: f64, forward: f64| round((seconds - forward).max(0.0) * 1e6 / tokens, 10.0);
        Report {
            tokens: self.tokens,
            frames: self.frames,
            plain_bits_per_token: round(self.plain_bits / tokens, 1e4),
            model_code_bits_per_token: round(self.coded_bits / tokens, 1e4),
            stderr: error(self.paired.stderr()),
            of_plain: round(self.paired.ratio(), 1e4),
            of_plain_stderr: error(self.paired.ratio_stderr()),
            bits_per_token: round(code_bits / tokens, 1e4),
            frame_bits_per_token: round(8.0 * self.frame_bytes as f64 / tokens, 1e4),
            link_bits_per_token: round(self.link_bits as f64 / tokens, 1e4),
            overhead_percent: round(100.0 * (code_bits / self.coded_bits.max(1e-9) - 1.0), 1e3),
            framing_bits_per_token: round(self.framing_bits / tokens, 1e4),
            frame_overhead_bytes: round(
                (self.frame_bytes - self.code_bytes) as f64 / self.frames.max(1) as f64,
                1e2,
            ),
            encode_tokens_per_s: round(tokens / self.encode_seconds.max(1e-9), 10.0),
            decode_tokens_per_s: round(tokens / self.decode_seconds.max(1e-9), 10.0),
            codec_us_per_token: micros(self.encode_seconds, self.encode_forward),
            decode_codec_us_per_token: micros(self.decode_seconds, self.decode_forward),
            roundtrip: self.same,
            kernels: [""; 2],
            threads: [0; 2],
        }
    }
}

impl Report {
    pub(super) fn print(&self) {
        let share = |bits: f64| format!("{:.3}", bits / self.plain_bits_per_token.max(1e-9));
        let row = |name: &str, bits: f64| vec![name.to_owned(), format!("{bits:.4}"), share(bits)];
        table::print(&[
            vec![
                format!("{} tokens, {} frames", self.tokens, self.frames),
                "bits/token".into(),
                "of plain".into(),
            ],
            vec![],
            row(
                "plain arithmetic coding, weak model alone",
                self.plain_bits_per_token,
            ),
            row("code length under the prediction", self.model_code_bits_per_token),
            row("code as written", self.bits_per_token),
            row("frames", self.frame_bits_per_token),
            row("on the link (UDP, IPv4, Ethernet)", self.link_bits_per_token),
        ]);
        if let (Some(stderr), Some(ratio)) = (self.stderr, self.of_plain_stderr) {
            println!(
                "\nUnder the prediction {:.4} of plain, standard error {ratio:.4}; of the difference, {stderr:.4} bits/token (answers as clusters).",
                self.of_plain
            );
        }
        println!(
            "\nCode over its length: {:+.2} %. Outside the code: {} bytes a frame.",
            self.overhead_percent, self.frame_overhead_bytes
        );
        println!(
            "Coding {:.0} tokens/s ({}, {} threads), decoding {:.0} ({}, {}), without prompts; without the model {:.0} and {:.0} us a token.",
            self.encode_tokens_per_s,
            self.kernels[0],
            self.threads[0],
            self.decode_tokens_per_s,
            self.kernels[1],
            self.threads[1],
            self.codec_us_per_token,
            self.decode_codec_us_per_token
        );
        println!(
            "{}",
            if self.roundtrip {
                "All came back as it was sent."
            } else {
                "NOT all came back as it was sent."
            }
        );
    }
}

/// To one part in `steps`.
fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}
