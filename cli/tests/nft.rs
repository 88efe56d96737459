//! The rules that `weir gate nft` prints.

use std::path::Path;
use std::process::{Command, Output};

use weir_meter::LinkCost;
use weir_wire::{Parameters, Shape};

/// Frames have MAC, IP and UDP headers as the kernel counts them.
const HEADERS: u64 = 14 + 20 + 8;

/// The table for a shape, with flags.
fn table(shape: &str, mtu: u16, flags: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    table_of(folder.path(), shape, mtu, "", flags)
}

/// The same, where the configuration says `meter` in its section of that name. The one interface that every machine has is that to outer.
fn table_of(folder: &Path, shape: &str, mtu: u16, meter: &str, flags: &[&str]) -> String {
    let done = run(folder, shape, mtu, meter, flags);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn run(folder: &Path, shape: &str, mtu: u16, meter: &str, flags: &[&str]) -> Output {
    let path = folder.join("gate.toml");
    let text = format!(
        "[inside]\nlocal = \"unix:///a\"\npeer = \"unix:///b\"\n[outside]\nlocal = \"udp://10.0.1.1:7004\"\npeer = \"udp://10.0.1.2:7002\"\n[session]\nshape = \"{shape}\"\nmtu = {mtu}\n[meter]\n{meter}"
    );
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["gate", "nft", "--outside", "lo", "--config"]);
    command.arg(&path).args(flags).output().unwrap()
}

/// The number after these words.
fn number(text: &str, words: &str) -> u64 {
    let rest = text.split_once(words).unwrap().1;
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_quota_never_holds_more_than_the_cap_on_the_line() {
    for (name, shape, mtu) in [
        ("sealed", Shape::SEALED, 1472),
        ("sealed", Shape::SEALED, 32),
        ("bucketed", Shape::BUCKETED, 1472),
        ("constant", Shape::CONSTANT, 400),
    ] {
        let parameters = Parameters {
            shape,
            mtu,
            ..Parameters::default()
        };
        for cap in [0, 1_000, 999_999_999_999_u64] {
            let text = table(name, mtu, &["--cap-bytes", &cap.to_string()]);
            let quota = number(&text, "quota cap { over ");
            for len in (0..=usize::from(mtu)).filter(|&len| shape.allows(&parameters, len)) {
                let line = LinkCost::UdpIpv4.bits(len).unwrap() / 8;
                assert!(quota / (len as u64 + HEADERS) * line <= cap, "{name} {len}");
            }
        }
    }
}

#[test]
fn with_one_length_the_quota_is_the_cap_and_counts_go_on() {
    let (line, counted) = (400 + HEADERS + 24, 400 + HEADERS);
    let bytes = (7 * line).to_string();
    let before = (3 * line).to_string();
    let text = table(
        "constant",
        400,
        &[
            "--cap-bytes",
            &bytes,
            "--datagrams",
            "3",
            "--line-bytes",
            &before,
            "--user",
            "4242",
        ],
    );
    assert_eq!(number(&text, "quota cap { over "), 7 * counted);
    assert_eq!(number(&text, "bytes used "), 3 * counted);
    assert_eq!(number(&text, "counter long { packets "), 3);
    assert_eq!(number(&text, "counter long { packets 3 bytes "), 3 * counted);
    assert!(text.contains("hook egress device \"lo\""));
    assert!(text.contains("ip saddr 10.0.1.1 ip daddr 10.0.1.2 udp sport 7004 udp dport 7002 goto link"));
    // Loopback is always the first interface.
    assert!(text.contains("oif 1 oifname \"lo\" ip hdrlength 5"));
    // Of nobody's but the gate's user, at both layers.
    assert_eq!(text.matches("meta skuid 4242 ").count(), 2);
    assert!(
        !text.contains("inside_out {\n"),
        "a link between files has no interface"
    );
}

#[test]
fn cap_and_counters_are_the_ledgers() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, witness) = (folder.path().join("ledger"), folder.path().join("witness"));
    let line = 400 + HEADERS + 24;
    let [total, spent] = [1_000_000, 600_000].map(|datagrams: u64| (datagrams * line * 8).to_string());
    let done = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["ledger", "init", "--total", &total, "--spent", &spent])
        .args(["--weights-hash", &"08".repeat(32), "--weights-bytes", "1"])
        .arg("--witness")
        .args([&witness, &ledger])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // What one start may send is less than what has left already.
    let meter = format!("total = 8000\nledger = {ledger:?}\n");
    let text = table_of(folder.path(), "constant", 400, &meter, &[]);
    assert_eq!(number(&text, "quota cap { over "), 1_000_000 * (400 + HEADERS));
    assert_eq!(number(&text, "bytes used "), 600_000 * (400 + HEADERS));
}

#[test]
fn rules_begin_at_the_greatest_count() {
    let folder = tempfile::tempdir().unwrap();
    let [kept, tap] = ["kept", "tap"].map(|name| folder.path().join(name));
    let (line, counted) = (400 + HEADERS + 24, 400 + HEADERS);
    let before = (3 * line).to_string();
    let files = ["--kept", kept.to_str().unwrap(), "--tap", tap.to_str().unwrap()];
    let own = ["--datagrams", "3", "--line-bytes", &before];
    let used = |kept_used: u64, tapped: u64| {
        let text = format!("frames 5\nbytes {}\nused {kept_used}\n", 5 * line);
        std::fs::write(&kept, if kept_used == 0 { String::new() } else { text }).unwrap();
        let text = format!("frames {tapped}\nbytes {}\ndrops 0\njoined 0\n", tapped * line);
        std::fs::write(&tap, text).unwrap();
        let text = table("constant", 400, &[&own[..], &files].concat());
        (
            number(&text, "bytes used "),
            number(&text, "counter long { packets "),
        )
    };
    assert_eq!(used(0, 2), (3 * counted, 3));
    assert_eq!(used(0, 4), (4 * counted, 4));
    // The kernel's quota goes by bytes that its counters do not tell.
    assert_eq!(used(5 * counted + 7, 4), (5 * counted + 7, 5));
    assert_eq!(used(1, 9), (9 * counted, 9));
    std::fs::remove_file(&kept).unwrap();
    let said = refused(&files);
    assert!(said.contains("only a first day begins with nothing"), "{said}");
    let said = refused(&["--user", "weir-nobody"]);
    assert!(said.contains("no user is called weir-nobody"), "{said}");
}

/// What is said of flags that make no rules.
fn refused(flags: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let done = run(folder.path(), "constant", 400, "", flags);
    assert!(!done.status.success() && done.stdout.is_empty());
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.toml");
    std::fs::write(&path, "").unwrap();
    for (flags, named) in [
        (
            &[][..],
            &["inside.device: missing", "outside.device: missing"][..],
        ),
        (
            &["--inside", "weir-none", "--outside", "lo"],
            &["inside.device: no interface is called weir-none"],
        ),
        (
            &["--inside", "lo", "--outside", "lo"],
            &["outside.device: lo is inside's"],
        ),
        (&["--outside", "eth*"], &["outside: device: \"eth*\" is no name"]),
    ] {
        let done = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["gate", "nft", "--config"])
            .arg(&path)
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success() && done.stdout.is_empty());
        for named in named {
            assert!(said.contains(named), "{flags:?}: {said}");
        }
    }
}
