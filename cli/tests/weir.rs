//! The tool as a user runs it, on the embedded pair.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use weir_model::testing::real;
use weir_setup::tool::prompts;

/// Runs `weir`; a command that fails is the caller's to judge.
fn weir(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(args)
        .output()
        .unwrap()
}

/// Runs `weir`, which must do what it is asked.
fn done(args: &[&str]) -> String {
    let output = weir(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "weir {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `weir`, which must refuse; what it said.
fn refused(args: &[&str]) -> String {
    let output = weir(args);
    assert_eq!(output.status.code(), Some(1), "weir {args:?} was not refused");
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

    fn compress(&self, content: &[u8]) -> PathBuf {
        let (plain, packed) = (self.path("plain"), self.path("packed"));
        fs::write(&plain, content).unwrap();
        done(&["compress", text(&plain), text(&packed)]);
        packed
    }
}

fn models(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name)
}

#[test]
fn any_file_comes_back_from_compress() {
    let files = Files::new();
    let noise: Vec<u8> = (0..3000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let words = prompts::EMBEDDED.repeat(2);
    for content in [
        b"".as_slice(),
        b"\0",
        b"\xff\xfe broken \xc3",
        &noise,
        words.as_bytes(),
    ] {
        let packed = files.compress(content);
        let back = files.path("back");
        // Another kernel and number of threads than wrote it.
        done(&[
            "decompress",
            text(&packed),
            text(&back),
            "--kernel",
            "portable",
            "--threads",
            "1",
        ]);
        assert_eq!(fs::read(&back).unwrap(), content);
    }
    // Word problems are what the model knows, their JSON is not.
    let packed = fs::metadata(files.path("packed")).unwrap().len() as usize;
    assert!(3 * packed < 2 * words.len(), "{packed} of {}", words.len());
}

/// SmolLM2's vocabulary has no token for 21 single bytes.
#[test]
fn bytes_that_a_vocabulary_lacks_come_back() {
    let Some(weak) = real("smollm2-135m-instruct-q4_1.gguf") else {
        return;
    };
    let files = Files::new();
    let (plain, packed, back) = (files.path("plain"), files.path("packed"), files.path("back"));
    let content = [
        b"a\x04b \xff\xff".as_slice(),
        &(0..=255).collect::<Vec<u8>>(),
        b"\xf1",
    ]
    .concat();
    fs::write(&plain, &content).unwrap();
    done(&["compress", "--weak", text(&weak), text(&plain), text(&packed)]);
    done(&["decompress", "--weak", text(&weak), text(&packed), text(&back)]);
    assert_eq!(fs::read(&back).unwrap(), content);
}

/// A file of a few bytes may claim any size, and its code go on for as long.
#[test]
fn a_file_that_grows_too_large_is_refused() {
    let files = Files::new();
    let content = prompts::EMBEDDED;
    let packed = files.compress(content.as_bytes());
    let back = files.path("back");
    let length = content.len().to_string();
    let less = (content.len() - 1).to_string();
    let unpack = ["decompress", text(&packed), text(&back), "--max-bytes"];
    // No model is loaded for it: there is none.
    let said = refused(&[&unpack[..], &[less.as_str(), "--weak", "/no/such/model"]].concat());
    assert!(said.contains("--max-bytes") && said.contains(&length), "{said}");
    assert!(!back.exists());
    done(&[&unpack[..], &[length.as_str()]].concat());
    assert_eq!(fs::read(&back).unwrap(), content.as_bytes());
    fs::remove_file(&back).unwrap();

    // Says that it has fewer bytes than its code, and no more tokens than bytes.
    let mut file = fs::read(&packed).unwrap();
    let lie = 300_u64.to_be_bytes();
    file[106..114].copy_from_slice(&lie);
    file[114..122].copy_from_slice(&lie);
    let body = file.len() - 16;
    let check = blake3::hash(&file[..body]);
    file[body..].copy_from_slice(&check.as_bytes()[..16]);
    fs::write(&packed, &file).unwrap();
    let said = refused(&["decompress", text(&packed), text(&back)]);
    assert!(said.contains("300 bytes") && said.contains("more"), "{said}");
    assert!(!back.exists());
}

#[test]
fn a_damaged_file_or_another_model_is_refused_and_nothing_is_written() {
    let files = Files::new();
    let packed = files.compress(b"Mara has 14 apples and gives 9 of them away.");
    let back = files.path("back");
    let other = refused(&[
        "decompress",
        text(&packed),
        text(&back),
        "--weak",
        text(&models("strong.gguf")),
    ]);
    assert!(
        other.contains("another model") && other.contains("--weak"),
        "{other}"
    );

    let mut file = fs::read(&packed).unwrap();
    let middle = file.len() - 20;
    file[middle] ^= 4;
    fs::write(&packed, &file).unwrap();
    let damaged = refused(&["decompress", text(&packed), text(&back)]);
    assert!(
        damaged.contains("damaged") && damaged.contains("packed"),
        "{damaged}"
    );

    let foreign = refused(&["decompress", text(&files.path("plain")), text(&back)]);
    assert!(foreign.contains("weir compress"), "{foreign}");
    assert!(!back.exists());
    assert!(refused(&["compress", "/no/such/file", text(&back)]).contains("/no/such/file"));
}

#[test]
fn the_demo_is_exact() {
    let report = last_line_json(&done(&["demo", "--json", "--rounds", "1", "--max-tokens", "48"]));
    assert_eq!(report["exact"], true, "{report}");
    let number = |key: &str| report[key].as_f64().unwrap();
    assert!(number("tokens") > 500.0, "{report}");
    let order = ["coded", "frame", "link", "sse"].map(|name| number(&format!("{name}_bits_per_token")));
    assert!(order.is_sorted(), "{report}");
}

/// Whatever ends it, the demo leaves no folder behind.
#[test]
fn a_demo_that_is_told_to_end_leaves_nothing() {
    for name in ["HUP", "TERM", "INT"] {
        let place = TempDir::new().unwrap();
        let mut demo = Command::new("env")
            .arg("--default-signal")
            .arg(env!("CARGO_BIN_EXE_weir"))
            .args(["demo", "--json"])
            .env("TMPDIR", place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let folder = || fs::read_dir(place.path()).unwrap().next();
        // Its servers have their logs there.
        while !folder().is_some_and(|folder| folder.unwrap().path().join("outer.log").exists()) {
            assert!(demo.try_wait().unwrap().is_none(), "the demo has ended");
            std::thread::yield_now();
        }
        let id = demo.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
        assert_eq!(demo.wait().unwrap().code(), Some(1), "SIG{name}");
        assert!(folder().is_none(), "SIG{name} leaves {:?}", folder());
    }
}

/// The weak model of 300 tokens has random weights; what it has to predict is the embedded model's.
#[test]
fn the_demo_is_exact_with_two_tokenizers() {
    let weak = models("../vectors/tiny-llama.gguf");
    let pair = [
        "--strong",
        "embedded",
        "--weak",
        text(&weak),
        "--rounds",
        "1",
        "--max-tokens",
        "60",
        "--json",
    ];
    let report = last_line_json(&done(&[&["demo", "--retokenize"], &pair[..]].concat()));
    assert_eq!(report["exact"], true, "{report}");
    let number = |key: &str| report[key].as_f64().unwrap();
    // Some two bytes a token: the tokens are the weak model's.
    assert!((8.0..32.0).contains(&number("text_bits_per_token")), "{report}");

    let said = refused(&[&["demo"], &pair[..]].concat());
    assert!(
        said.contains("--retokenize") && said.contains("tokenizers"),
        "{said}"
    );
}

#[test]
fn a_command_that_has_moved_says_where() {
    for command in ["bench", "trace", "train"] {
        for more in [&[][..], &["codec", "--json"], &["--help"]] {
            let output = weir(&[&[command], more].concat());
            assert_eq!(output.status.code(), Some(2), "{command} {more:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(
                said.contains(&format!("cargo run --release -p weir-lab -- {command}"))
                    && said.lines().count() == 1,
                "{said}"
            );
        }
    }
    let help = done(&["--help"]);
    assert!(help.contains("compress") && !help.contains("bench"), "{help}");
}
