//! Peers that are no engines: one that does as it should, and ones that do not.

use super::*;
use weir_model::testing::skip;
use weir_setup::tool::clock::Stopwatch;

/// Speaks the protocol; a token takes it a second, or so it says.
const GOOD: &str = r#"
import json, sys
def answer(**fields): print(json.dumps(fields), flush=True)
answer(name="fake", version=" ".join(sys.argv[1:]), system="none")
for line in sys.stdin:
    name, *numbers = line.split()
    tokens = int(numbers[0]) * (int(numbers[2]) if name == "decode" else 1)
    answer(tokens=tokens, seconds=float(tokens))
"#;
const HELLO: &str = r#"print('{"name": "fake", "version": "1", "system": ""}', flush=True)"#;

/// Starts a script; `None`, and says so, where there is no Python to run it.
fn start(script: &str) -> Option<Result<Peer>> {
    let place = Place {
        name: Name::LlamaCpp,
        python: "python3".into(),
        model: "m.gguf".into(),
        threads: 3,
    };
    if Command::new(&place.python).arg("--version").output().is_err() {
        skip("python3, which runs the peers, is not on this machine");
        return None;
    }
    Some(Peer::start_script(&place, script, Duration::from_secs(10)))
}

/// What is said of a script that fails, at its start or when it is first asked.
fn fault(script: &str) -> Option<String> {
    let error = match start(script)? {
        Ok(mut peer) => peer.measure(Work::Prefill).unwrap_err(),
        Err(error) => error,
    };
    Some(format!("{error:#}"))
}

#[test]
fn a_peer_is_told_its_work() {
    let Some(peer) = start(GOOD) else { return };
    let mut peer = peer.unwrap();
    assert_eq!(peer.hello().version, "--threads 3 --model m.gguf");
    assert_eq!(peer.measure(Work::Prefill).unwrap(), PROMPT as f64);
    let work = Work::Decode { batch: 5, before: 32 };
    assert_eq!(peer.measure(work).unwrap(), (5 * STEPS) as f64);
}

#[test]
fn a_peer_that_dies_is_named_with_its_last_words() {
    for before in ["", HELLO] {
        let script =
            format!("{before}\nimport sys\nprint('first\\nno such thing\\n', file=sys.stderr)\nsys.exit(3)");
        let Some(said) = fault(&script) else { return };
        for part in ["llama.cpp", "exit status: 3", "no such thing"] {
            assert!(said.contains(part), "{said}");
        }
    }
    // Closes its output, says nothing, and would live on.
    let Some(said) = fault("import os, time\nos.close(1)\ntime.sleep(60)") else {
        return;
    };
    assert!(
        said.contains("it ended") && said.contains("did not say why"),
        "{said}"
    );
}

#[test]
fn nonsense_is_refused() {
    let answers = [
        "print('Loading...')",
        "print('{\"name\": 1}')",
        "import sys\nsys.stdout.buffer.write(b'\\xff\\n')",
        "while True: print(end='x' * 1000)",
    ];
    for script in answers {
        let Some(said) = fault(script) else { return };
        assert!(said.contains("nonsense"), "{said}");
    }
    for (tokens, seconds) in [
        ("511", "1"),
        ("512", "0"),
        ("512", "-1"),
        ("512", "1e999"),
        ("512", "NaN"),
    ] {
        let answer = format!("print('{{\"tokens\": {tokens}, \"seconds\": {seconds}}}', flush=True)");
        let Some(said) = fault(&format!("{HELLO}\ninput()\n{answer}\ninput()")) else {
            return;
        };
        assert!(said.contains("asked to prefill 512"), "{said}");
        assert!(
            said.contains("nonsense") || said.contains("tokens took"),
            "{said}"
        );
    }
}

#[test]
fn a_peer_that_hangs_is_given_up_and_killed() {
    let Some(peer) = start(&format!("{HELLO}\nimport time\ntime.sleep(60)")) else {
        return;
    };
    let mut peer = peer.unwrap();
    peer.process.patience = Duration::from_millis(200);
    let watch = Stopwatch::start();
    let said = format!("{:#}", peer.measure(Work::Prefill).unwrap_err());
    assert!(said.contains("did not answer within 0.2 s"), "{said}");
    drop(peer);
    assert!(watch.seconds() < 30.0);
}

#[test]
fn what_is_missing_is_named() {
    let place = Place {
        name: Name::LlamaCpp,
        python: "/no/such/python".into(),
        model: "m.gguf".into(),
        threads: 1,
    };
    let said = format!("{:#}", Peer::start(&place).err().unwrap());
    assert!(
        said.contains("/no/such/python") && said.contains("install.sh"),
        "{said}"
    );
    let said = format!("{:#}", model(None, "embedded").unwrap_err());
    assert!(said.contains("--peer-model"), "{said}");
    assert!(model(Some(Path::new("/no/such/model")), "embedded").is_err());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weak");
    for (content, good) in [("GGUF and so on", true), ("WEIR", false), ("GG", false)] {
        std::fs::write(&file, content).unwrap();
        assert_eq!(model(None, file.to_str().unwrap()).is_ok(), good, "{content}");
    }
    assert_eq!(python(Some(Path::new("here"))), Path::new("here"));
}

/// The script itself, by an interpreter that has no llama_cpp.
#[test]
fn the_script_says_what_it_lacks() {
    let script = format!(
        "import sys\nsys.modules['llama_cpp'] = None\n{}",
        Name::LlamaCpp.script()
    );
    let Some(said) = fault(&script) else { return };
    assert!(
        said.contains("llama_cpp") && said.contains("benches/peers/install.sh"),
        "{said}"
    );
}
