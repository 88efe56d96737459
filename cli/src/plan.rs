//! `weir plan`: what limits on the upload mean for a model of a given size.

mod estimate;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::moved;
use crate::number::{number, part, positive};
use estimate::{DAYS_A_MONTH, DAYS_A_YEAR, Outflow, Situation};
use weir_setup::tool::table;

/// Says how long it takes to carry a model's weights out: with the traffic as it is, and under caps
///
/// Numbers may be plain or scientific. Under a cap the attacker is taken to use all of it, whatever the traffic is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of the weights
    #[arg(long, value_name = "N", value_parser = positive)]
    weights_bytes: f64,
    /// Tokens that the model will say in its life
    #[arg(long, value_name = "N", value_parser = number)]
    tokens: Option<f64>,
    /// Tokens a day
    #[arg(long, value_name = "N", value_parser = number, conflicts_with = "sessions_per_month")]
    tokens_per_day: Option<f64>,
    /// Bits for a token, measured or assumed: see `weir-lab bench codec`
    #[arg(long, value_name = "BITS", value_parser = number, default_value = "0.1")]
    bits_per_token: f64,
    /// What frames and headers add, as a part of that: 1 doubles it
    #[arg(long, value_name = "PART", value_parser = number, default_value = "0")]
    overhead: f64,
    /// Bits per second that the line carries
    #[arg(long, value_name = "BITS", value_parser = number)]
    link_bps: Option<f64>,
    /// Sessions a month, in place of tokens a day
    #[arg(long, value_name = "N", value_parser = number, requires = "bytes_per_session")]
    sessions_per_month: Option<f64>,
    /// Bytes that leave in a session
    #[arg(long, value_name = "N", value_parser = number, requires = "sessions_per_month")]
    bytes_per_session: Option<f64>,
    /// Part of what leaves that an attacker can use, 0 to 1
    #[arg(long, value_name = "PART", value_parser = part, default_value = "1")]
    attacker_share: f64,
    /// How often smaller the attacker can make the weights: 1 to 100 or so
    #[arg(long, value_name = "TIMES", value_parser = number, default_value = "1")]
    weight_compression: f64,
    /// A cap, bytes a day; may be given several times
    #[arg(long, value_name = "BYTES", value_parser = number)]
    cap_bytes_per_day: Vec<f64>,
    /// Times a year that a gate's machine may be set back to a snapshot while it runs: each lets out a block more than the cap
    #[arg(long, value_name = "N", value_parser = number, default_value = "0")]
    set_back_per_year: f64,
    /// Bits of a block: `meter.block`
    #[arg(long, value_name = "BITS", value_parser = positive, default_value = "1048576")]
    block: f64,
    /// Days until the attack would be noticed: how much is out by then
    #[arg(long, value_name = "DAYS", value_parser = positive)]
    detection_days: Option<f64>,
    /// As one object of JSON
    #[arg(long)]
    json: bool,
    /// Has gone to `weir-lab plot plan`.
    #[arg(long, hide = true, num_args = 0..=1)]
    plot: Option<Option<OsString>>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.plot.is_some() {
        return Ok(moved::say_plot());
    }
    let situation = args.situation()?;
    if args.json {
        println!("{}", args.report(&situation));
    } else {
        table::print(&args.rows(&situation));
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn situation(&self) -> Result<Situation> {
        ensure!(
            self.weight_compression >= 1.0,
            "--weight-compression: {} would make the weights larger",
            self.weight_compression
        );
        let per_token = self.bits_per_token / 8.0 * (1.0 + self.overhead);
        let by_tokens = self.tokens_per_day.map(|tokens| tokens * per_token);
        let by_sessions = self.sessions_per_month.zip(self.bytes_per_session);
        let by_sessions = by_sessions.map(|(sessions, bytes)| sessions * bytes / DAYS_A_MONTH);
        // Numbers that are finite each can have a product that is not, and would read as "never".
        for (names, product) in [
            ("--bits-per-token and --overhead", Some(per_token)),
            (
                "--tokens, --bits-per-token and --overhead",
                self.tokens.map(|tokens| tokens * per_token),
            ),
            ("--tokens-per-day and --bits-per-token", by_tokens),
            ("--sessions-per-month and --bytes-per-session", by_sessions),
            (
                "--set-back-per-year and --block",
                Some(self.set_back_per_year * self.block),
            ),
            ("--link-bps", self.link_bps.map(|bits| bits * 86_400.0)),
        ] {
            ensure!(
                product.is_none_or(f64::is_finite),
                "{names}: together too large to be counted; write smaller numbers"
            );
        }
        Ok(Situation {
            weights: self.weights_bytes,
            tokens: self.tokens,
            bits_per_token: self.bits_per_token,
            overhead: self.overhead,
            traffic: by_tokens.or(by_sessions),
            line: self.link_bps,
            share: self.attacker_share,
            compression: self.weight_compression,
            set_back: self.set_back_per_year * self.block / 8.0 / DAYS_A_YEAR,
        })
    }

    /// What is there without a cap, and under each.
    fn cases(&self, situation: &Situation) -> Vec<(Option<f64>, Outflow)> {
        let now = situation.now().map(|now| (None, now));
        let caps = self
            .cap_bytes_per_day
            .iter()
            .map(|&cap| (Some(cap), situation.under(cap)));
        now.into_iter().chain(caps).collect()
    }

    fn report(&self, situation: &Situation) -> Value {
        let known = |flow: &Outflow| {
            json!({
                "bytes_per_day": flow.bytes_per_day,
                "days_to_exfiltrate": finite(flow.days),
                "months_to_exfiltrate": finite(flow.days / DAYS_A_MONTH),
                "part_out_at_detection": self.part_out(flow),
            })
        };
        let now = situation.now();
        let caps = self.cap_bytes_per_day.iter().map(|&cap| {
            let mut value = known(&situation.under(cap));
            value["cap_bytes_per_day"] = json!(cap);
            value
        });
        json!({
            "weights_bytes": situation.weights,
            "bytes_per_token": situation.bytes_per_token(),
            "upload_bytes": situation.upload(),
            "uploads_over_weights": situation.uploads_over_weights(),
            "bytes_per_day": now.map(|now| now.bytes_per_day),
            "days_to_exfiltrate": now.and_then(|now| finite(now.days)),
            "months_to_exfiltrate": now.and_then(|now| finite(now.days / DAYS_A_MONTH)),
            "part_out_at_detection": now.and_then(|now| self.part_out(&now)),
            "set_back_bytes_per_day": situation.set_back,
            "caps": caps.collect::<Vec<_>>(),
            "curves": curves(situation, self.weight_compression),
        })
    }

    fn rows(&self, situation: &Situation) -> Vec<Vec<String>> {
        let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        let mut rows = Vec::new();
        if let Some((upload, ratio)) = situation.upload().zip(situation.uploads_over_weights()) {
            rows.push(row(&["bytes uploaded in the model's life", &short(upload)]));
            rows.push(row(&["over the weights' size", &short(ratio)]));
            rows.push(Vec::new());
        }
        let mut head = row(&["to carry the weights out", "bytes a day", "days", "years"]);
        if self.detection_days.is_some() {
            head.push("out when noticed".to_owned());
        }
        rows.push(head);
        if situation.set_back > 0.0 {
            let name = "a machine that is set back, with each cap".to_owned();
            rows.push(vec![
                name,
                short(situation.set_back),
                String::new(),
                String::new(),
            ]);
        }
        for (cap, flow) in self.cases(situation) {
            let name = cap.map_or_else(
                || "without a cap".to_owned(),
                |cap| format!("cap of {} bytes a day", short(cap)),
            );
            let mut cells = vec![
                name,
                short(flow.bytes_per_day),
                short(flow.days),
                short(flow.days / DAYS_A_YEAR),
            ];
            cells.extend(self.part_out(&flow).map(|part| format!("{:.3} %", 100.0 * part)));
            rows.push(cells);
        }
        rows
    }

    /// Part of the weights that is out when the attack is noticed.
    fn part_out(&self, flow: &Outflow) -> Option<f64> {
        self.detection_days.map(|days| (days / flow.days).min(1.0))
    }
}

/// Time against cap, for weights as they are and made smaller; `weir-lab plot plan` draws it.
fn curves(situation: &Situation, compression: f64) -> Vec<Value> {
    let mut compressions = vec![1.0, 10.0, 100.0];
    if !compressions.contains(&compression) {
        compressions.push(compression);
    }
    let curve = |compression: f64| {
        let situation = Situation {
            compression,
            // The caps that are drawn are below any line.
            line: None,
            ..*situation
        };
        let caps = (-12..=0).map(|exponent| situation.weights * 10_f64.powf(f64::from(exponent) / 2.0));
        let points = caps.map(|cap| (cap, situation.under(cap).days));
        let points: Vec<(f64, f64)> = points.filter(|(_, days)| days.is_finite()).collect();
        json!({"weight_compression": compression, "points": points})
    };
    compressions.into_iter().map(curve).collect()
}

/// JSON knows no infinity.
fn finite(days: f64) -> Option<f64> {
    days.is_finite().then_some(days)
}

fn short(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "never".to_owned(),
        _ if value == 0.0 => "0".to_owned(),
        _ if (0.01..1e5).contains(&value) => format!("{value:.2}"),
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(["plan"].into_iter().chain(line.split(' ')))
            .unwrap()
            .args
    }

    #[test]
    fn json_has_what_was_asked_and_null_for_what_cannot_be_known() {
        let args = args(
            "--weights-bytes 703687441776 --sessions-per-month 1e7 --bytes-per-session 128 \
             --cap-bytes-per-day 1e6 --cap-bytes-per-day 0",
        );
        let report = args.report(&args.situation().unwrap());
        let months = report["months_to_exfiltrate"].as_f64().unwrap();
        assert!((549.0..551.0).contains(&months), "{report}");
        assert_eq!(report["upload_bytes"], Value::Null);
        let days = report["caps"][0]["days_to_exfiltrate"].as_f64().unwrap();
        assert!((703_687.0..703_688.0).contains(&days), "{report}");
        assert_eq!(report["caps"][1]["days_to_exfiltrate"], Value::Null);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, flag) in [
            (
                "--weights-bytes 1 --weight-compression 0.5",
                "--weight-compression",
            ),
            (
                "--weights-bytes 1 --tokens-per-day 1e308 --bits-per-token 1e10",
                "--tokens-per-day",
            ),
            (
                "--weights-bytes 1 --sessions-per-month 1e308 --bytes-per-session 1e308",
                "--bytes-per-session",
            ),
            (
                "--weights-bytes 1 --tokens 1e308 --bits-per-token 1e10",
                "--tokens",
            ),
            ("--weights-bytes 1 --link-bps 1e308", "--link-bps"),
        ] {
            let error = args(line).situation().unwrap_err().to_string();
            assert!(error.contains(flag), "{error}");
        }
        for (line, flag) in [
            ("--weights-bytes 0", "--weights-bytes"),
            ("--weights-bytes inf", "--weights-bytes"),
            ("--weights-bytes NaN", "--weights-bytes"),
            ("--weights-bytes 1 --attacker-share 1.5", "--attacker-share"),
            (
                "--weights-bytes 1 --cap-bytes-per-day 1e400",
                "--cap-bytes-per-day",
            ),
            ("--weights-bytes 1 --detection-days 0", "--detection-days"),
        ] {
            let words = ["plan"].into_iter().chain(line.split(' '));
            let error = Line::try_parse_from(words).unwrap_err().to_string();
            assert!(error.contains(flag), "{error}");
        }
        let both = "--weights-bytes 1 --tokens-per-day 1 --sessions-per-month 1 --bytes-per-session 1";
        assert!(Line::try_parse_from(["plan"].into_iter().chain(both.split(' '))).is_err());
    }

    #[test]
    fn there_is_a_curve_for_every_compression() {
        let args = args("--weights-bytes 1e12 --weight-compression 7");
        let report = args.report(&args.situation().unwrap());
        let curves = report["curves"].as_array().unwrap();
        for (curve, times) in curves.iter().zip([1.0, 10.0, 100.0, 7.0]) {
            assert_eq!(curve["weight_compression"], times);
            let points = curve["points"].as_array().unwrap();
            assert_eq!(points.len(), 13, "{curve}");
            // Under a cap of all the weights a day they are out in a day, or sooner.
            assert_eq!(points[12], json!([1e12, 1.0 / times]), "{curve}");
        }
        assert_eq!(curves.len(), 4);
    }

    #[test]
    fn detection_says_what_is_out_by_then() {
        let args = args("--weights-bytes 1e9 --cap-bytes-per-day 1e6 --detection-days 100");
        let rows = args.rows(&args.situation().unwrap());
        assert_eq!(rows.last().unwrap().last().unwrap(), "10.000 %");
    }
}
