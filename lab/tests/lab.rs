//! The tool as a researcher runs it, on the embedded pair.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Runs `weir-lab`; a command that fails is the caller's to judge.
fn lab(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir-lab"))
        .args(args)
        .output()
        .unwrap()
}

/// Runs `weir-lab`, which must do what it is asked.
fn done(args: &[&str]) -> String {
    let output = lab(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "weir-lab {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `weir-lab`, which must refuse; what it said.
fn refused(args: &[&str]) -> String {
    let output = lab(args);
    assert_eq!(output.status.code(), Some(1), "weir-lab {args:?} was not refused");
    String::from_utf8(output.stderr).unwrap()
}

fn last_line_json(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn models(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name)
}

#[test]
fn a_trace_is_the_same_again_and_goes_through_the_codec() {
    let files = Files::new();
    let (one, two) = (files.path("one.jsonl"), files.path("two.jsonl"));
    let ask = [
        "--limit",
        "20",
        "--max-tokens",
        "40",
        "--temperature",
        "0.8",
        "--top-p",
        "0.95",
        "--seed",
        "5",
    ];
    done(&[&["trace", "--out", text(&one)], ask.as_slice()].concat());
    done(
        &[
            &["trace", "--out", text(&two), "--live", "3", "--threads", "1"],
            ask.as_slice(),
        ]
        .concat(),
    );
    let trace = fs::read_to_string(&one).unwrap();
    assert_eq!(trace, fs::read_to_string(&two).unwrap());
    assert_eq!(trace.lines().count(), 20);
    for line in trace.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for key in [
            "id",
            "prompt_tokens",
            "tokens",
            "temperature",
            "top_p",
            "top_k",
            "tau",
            "seed",
        ] {
            assert!(!line[key].is_null(), "{key}");
        }
        assert!(line["tokens"].as_array().unwrap().len() <= 40);
    }

    let report = last_line_json(&done(&[
        "bench",
        "codec",
        "--json",
        "--slots",
        "6",
        "--trace",
        text(&one),
    ]));
    assert_eq!(report["roundtrip"], true, "{report}");
    let number = |key: &str| report[key].as_f64().unwrap();
    assert!(number("tokens") > 100.0, "{report}");
    assert!(
        number("bits_per_token") < number("plain_bits_per_token"),
        "{report}"
    );
    assert!(
        number("bits_per_token") < number("frame_bits_per_token"),
        "{report}"
    );
    assert!(
        number("frame_bits_per_token") < number("link_bits_per_token"),
        "{report}"
    );

    let limited = done(&[
        "bench",
        "codec",
        "--json",
        "--limit-tokens",
        "50",
        "--trace",
        text(&one),
        text(&two),
    ]);
    assert_eq!(last_line_json(&limited)["tokens"], 50);
}

/// Traces of two temperatures, small: what the benches of the codec are tested on.
fn traces(files: &Files) -> [PathBuf; 2] {
    let [cold, warm] = ["cold.jsonl", "warm.jsonl"].map(|name| files.path(name));
    for (path, temperature, top_p) in [(&cold, "0", "1"), (&warm, "1", "0.95")] {
        let flags = [
            "--limit",
            "12",
            "--max-tokens",
            "30",
            "--temperature",
            temperature,
            "--top-p",
            top_p,
        ];
        done(&[&["trace", "--out", text(path)], flags.as_slice()].concat());
    }
    [cold, warm]
}

#[test]
fn an_ablation_ends_at_what_the_codec_codes() {
    let files = Files::new();
    let [cold, warm] = traces(&files);
    let ask = [
        "--weak",
        "embedded",
        "--slots",
        "5",
        "--json",
        "--trace",
        text(&cold),
        text(&warm),
    ];
    let plot = files.path("parts");
    let said = done(&[&["bench", "ablation", "--plot", text(&plot)], ask.as_slice()].concat());
    let rows = last_line_json(&said);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows[0]["name"], "plain");
    assert_eq!(rows[0]["stderr"], 0.0);
    let codec = last_line_json(&done(&[&["bench", "codec"], ask.as_slice()].concat()));
    let last = &rows[rows.len() - 1];
    assert_eq!(rows[0]["bits_per_token"], codec["plain_bits_per_token"]);
    for (ours, theirs) in [
        ("bits_per_token", "model_code_bits_per_token"),
        ("stderr", "stderr"),
        ("of_plain", "of_plain"),
        ("of_plain_stderr", "of_plain_stderr"),
        ("tokens", "tokens"),
    ] {
        assert_eq!(last[ours], codec[theirs], "{ours}: {last} {codec}");
    }
    for row in rows {
        assert!(row["last_half"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert!(last["stderr"].as_f64().unwrap() > 0.0);
    assert!(last["of_plain"].as_f64().unwrap() < 1.0, "{last}");
    assert!(plot.with_extension("svg").exists() && plot.with_extension("png").exists());
}

#[test]
fn the_floor_is_below_what_is_coded() {
    let files = Files::new();
    let [cold, warm] = traces(&files);
    let floor = |trace: &Path, weak: &str| {
        let pair = ["--strong", "embedded", "--weak", weak, "--trace", text(trace)];
        last_line_json(&done(&[&["bench", "floor", "--json"], pair.as_slice()].concat()))
    };
    let number = |report: &Value, key: &str| report[key].as_f64().unwrap();
    let (weak, strong) = (models("weak.gguf"), models("strong.gguf"));
    let warm_report = floor(&warm, text(&weak));
    let order = ["kl", "d_cs", "h_pq"].map(|key| number(&warm_report, key));
    assert!(order.is_sorted() && order[0] > 0.0, "{warm_report}");
    assert!(number(&warm_report, "h_p") > 0.0, "{warm_report}");
    assert!(
        number(&warm_report, "ours") < number(&warm_report, "plain"),
        "{warm_report}"
    );

    // Greedy: the trace is the strong model's best token, so that expectation and trace are one.
    let cold_report = floor(&cold, text(&weak));
    assert_eq!(cold_report["h_p"], 0.0);
    for key in ["kl", "d_cs", "plain"] {
        assert!(
            (number(&cold_report, key) - number(&cold_report, "h_pq")).abs() < 2e-4,
            "{key}: {cold_report}"
        );
    }

    // A strong model that is its own weak model: open to it is top-p alone.
    let own = floor(&warm, text(&strong));
    assert!(number(&own, "kl") < 0.1 && number(&own, "d_cs") < 0.2, "{own}");
    assert!(own["ours_over_d_cs"].as_f64().unwrap() > 1.0, "{own}");
}

#[test]
fn peers_are_weighed_on_the_same_answers() {
    let files = Files::new();
    let [_, warm] = traces(&files);
    let plot = files.path("peers.svg");
    let ask = ["--weak", "embedded", "--trace", text(&warm)];
    let json = ["bench", "peers", "--json", "--plot", text(&plot)];
    let report = last_line_json(&done(&[json.as_slice(), &ask].concat()));
    let row = |name: &str| {
        let rows = report["rows"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["name"].as_str().unwrap().contains(name));
        row.unwrap_or_else(|| panic!("{name}: {report}"))["bits_per_token"]
            .as_f64()
            .unwrap()
    };
    let order = ["ours, code", "ours, frames", "text", "server-sent"].map(row);
    assert!(order.is_sorted(), "{report}");
    assert!(row("ours, code") < row("arithmetic"), "{report}");
    let codec = last_line_json(&done(&[&["bench", "codec", "--json"], ask.as_slice()].concat()));
    assert_eq!(
        codec["frame_bits_per_token"].as_f64().unwrap(),
        row("ours, frames")
    );
    assert!(plot.exists() && plot.with_extension("png").exists());
    let table = done(&[&["bench", "peers"], ask.as_slice()].concat());
    assert!(
        table.contains("brotli -11") && table.contains("12 answers"),
        "{table}"
    );
}

/// A peer by an interpreter that ignores what it is given and takes a second for everything.
#[cfg(unix)]
#[test]
fn a_peer_stands_beside_the_model_in_the_bench() {
    use std::os::unix::fs::PermissionsExt as _;

    let files = Files::new();
    let fake = files.path("python");
    let script = r#"#!/bin/sh
echo '{"name": "fake", "version": "7", "system": "none"}'
while read -r name slots before steps; do
  echo "{\"tokens\": $((slots * ${steps:-1})), \"seconds\": 1}"
done
"#;
    fs::write(&fake, script).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let ask = ["bench", "model", "--runs", "1", "--batches", "1,2,65"];
    let weak = models("weak.gguf");
    let peer = ["--peer", "llama.cpp", "--peer-python", text(&fake)];
    let gguf = ["--peer-model", text(&weak)];
    let report = last_line_json(&done(&[&ask, peer.as_slice(), &gguf, &["--json"]].concat()));
    let side = &report["peer"];
    assert_eq!(side["name"], "fake", "{report}");
    assert_eq!(side["version"], "7", "{report}");
    assert_eq!(side["prefill_tok_s"], 512.0, "{report}");
    assert_eq!(side["decode_tok_s"]["2"], 32.0, "{report}");
    // More slots than a peer is asked for.
    assert!(
        side["decode_ratio"]["65"].is_null() && !report["decode_tok_s"]["65"].is_null(),
        "{report}"
    );
    let ratio = report["decode_tok_s"]["2"].as_f64().unwrap() / 32.0;
    assert!(
        (side["decode_ratio"]["2"].as_f64().unwrap() - ratio).abs() < 0.01,
        "{report}"
    );

    // The weak model's own file serves the peer too, and a table has columns for both.
    let table = done(&[&ask[..5], &["1", "--weak", text(&weak)], peer.as_slice()].concat());
    assert!(
        table.contains("ratio") && table.contains("fake: 7 (none)"),
        "{table}"
    );
    let alone = last_line_json(&done(&[&ask[..5], &["1", "--json"]].concat()));
    assert!(alone.get("peer").is_none(), "{alone}");

    let said = refused(&[ask.as_slice(), &peer].concat());
    assert!(said.contains("--peer-model"), "{said}");
    assert_eq!(lab(&[ask.as_slice(), &gguf].concat()).status.code(), Some(2));
}

#[test]
fn the_curve_falls_from_the_lossless_point_and_goes_on_where_it_was() {
    let files = Files::new();
    let out = files.path("curve");
    let bench = |taus: &str| {
        let flags = [
            "--limit",
            "8",
            "--max-tokens",
            "32",
            "--taus",
            taus,
            "--out",
            text(&out),
            "--json",
        ];
        last_line_json(&done(&[&["bench", "curve"][..], &flags].concat()))
    };
    bench("0.02");
    let kept = fs::read(out.join("point-t0-tau0.02.json")).unwrap();
    let report = bench("0.3,0.02");
    assert_eq!(fs::read(out.join("point-t0-tau0.02.json")).unwrap(), kept);
    let points = report["points"].as_array().unwrap();
    let tau = |point: &Value| (point["tau"].as_f64().unwrap() * 100.0).round();
    assert_eq!(
        points.iter().map(tau).collect::<Vec<_>>(),
        [100.0, 30.0, 2.0, 100.0, 30.0, 2.0]
    );
    for curve in points.chunks(3) {
        let column = |name: &str| -> Vec<f64> { curve.iter().map(|p| p[name].as_f64().unwrap()).collect() };
        let (bits, nats) = (column("bits"), column("nats_lost"));
        assert!(bits.is_sorted_by(|a, b| *b < 0.9 * a), "{bits:?}");
        assert!(nats[0] == 0.0 && nats.is_sorted_by(|a, b| a < b), "{nats:?}");
    }
    assert_eq!(
        fs::read_to_string(out.join("curve.csv")).unwrap().lines().count(),
        7
    );
    for name in ["curve.svg", "curve.png", "answers.md"] {
        assert!(fs::metadata(out.join(name)).unwrap().len() > 500, "{name}");
    }
    let error = refused(&["bench", "curve", "--taus", "0"]);
    assert!(error.contains("tau 0"), "{error}");
}

#[test]
fn a_bench_says_which_traces_it_cannot_take() {
    let files = Files::new();
    let lossy = files.path("lossy.jsonl");
    let flags = ["--tau", "0.3", "--limit", "2", "--max-tokens", "8"];
    done(&[&["trace", "--out", text(&lossy)], &flags[..]].concat());
    for bench in ["floor", "retokenize"] {
        let pair = ["--strong", "embedded", "--weak", "embedded"];
        let said = refused(&[&["bench", bench, "--trace", text(&lossy)], &pair[..]].concat());
        assert!(said.contains("tau below 1"), "{bench}: {said}");
    }
}

/// Keys and values of 8 bits change what the weak model says, and so what it has a say in.
#[test]
fn a_lossy_trace_is_that_of_the_session_s_keys_and_values() {
    let files = Files::new();
    let trace = |kv: &str, tau: &str| {
        let out = files.path("trace.jsonl");
        let flags = ["--kv", kv, "--tau", tau, "--limit", "8", "--max-tokens", "60"];
        done(&[&["trace", "--out", text(&out)], &flags[..]].concat());
        fs::read_to_string(out).unwrap()
    };
    assert_ne!(trace("int8", "0.1"), trace("f32", "0.1"));
    assert_eq!(trace("int8", "1"), trace("f32", "1"));
    let said = lab(&["trace", "--kv", "int4", "--out", "/dev/null"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("int8"));
}

#[test]
fn a_wrong_argument_is_named() {
    let files = Files::new();
    let bad = files.path("bad.jsonl");
    fs::write(&bad, "{\"prompt\": \"a\"}\nnot json\n").unwrap();
    let said = refused(&[
        "trace",
        "--prompts",
        text(&bad),
        "--out",
        text(&files.path("out")),
    ]);
    assert!(said.contains("bad.jsonl") && said.contains("line 2"), "{said}");
    let said = refused(&["trace", "--strong", text(&bad), "--out", text(&files.path("out"))]);
    assert!(said.contains("bad.jsonl"), "{said}");
    let said = refused(&["bench", "codec", "--trace", text(&files.path("none.jsonl"))]);
    assert!(said.contains("none.jsonl"), "{said}");
    assert_eq!(lab(&["trace"]).status.code(), Some(2));
    for bench in ["ablation", "floor", "peers"] {
        let help = done(&["bench", bench, "--help"]);
        assert!(
            help.contains("--trace") && help.contains("--limit-tokens"),
            "{help}"
        );
        assert_eq!(
            lab(&["bench", bench, "--weak", "embedded"]).status.code(),
            Some(2)
        );
    }
    let alien = files.path("alien.jsonl");
    let line = r#"{"id": "a", "prompt_tokens": [1], "tokens": [999999], "temperature": 0, "top_p": 1, "top_k": 0, "seed": "00000000000000000000000000000000"}"#;
    fs::write(&alien, line).unwrap();
    let said = refused(&["bench", "ablation", "--weak", "embedded", "--trace", text(&alien)]);
    assert!(said.contains("999999") && said.contains("embedded"), "{said}");
}

#[test]
fn a_plan_is_drawn() {
    let files = Files::new();
    let (plan, stem) = (files.path("plan.json"), files.path("plan"));
    let curve =
        |times: u32| format!(r#"{{"weight_compression": {times}, "points": [[1e6, 100], [1e12, 1e-4]]}}"#);
    let curves = [curve(1), curve(10)].join(", ");
    fs::write(
        &plan,
        format!(r#"{{"curves": [{curves}], "upload_bytes": null}}"#),
    )
    .unwrap();
    done(&["plot", "plan", text(&stem), text(&plan)]);
    let svg = fs::read_to_string(stem.with_extension("svg")).unwrap();
    assert!(svg.contains("<svg") && svg.contains("cap, bytes a day") && svg.contains("10 times smaller"));
    assert!(
        fs::read(stem.with_extension("png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
    fs::write(&plan, "{}").unwrap();
    let said = refused(&["plot", "plan", text(&stem), text(&plan)]);
    assert!(
        said.contains("plan.json") && said.contains("weir plan --json"),
        "{said}"
    );
}
