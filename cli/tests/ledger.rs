//! `weir ledger` and `weir plan` as an operator runs them, and a server on a ledger.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a ledger for a file of 1,000,000 bytes, three operators and two witnesses.
struct Vault {
    folder: TempDir,
}

impl Vault {
    fn new() -> Self {
        let vault = Self::without_ledger();
        let weights = vault.path("weights");
        fs::write(&weights, vec![7; 1_000_000]).unwrap();
        for operator in ["a", "b", "c"] {
            vault.done("ledger keygen", &[], &[operator]);
        }
        vault.done("ledger keygen", &[], &["key"]);
        let args = [
            "--weights",
            "@weights",
            "--total",
            "10%",
            "--window",
            "hour=20kB",
            "--operator",
            "@a.pub",
            "--operator",
            "@b.pub",
            "--operator",
            "@c.pub",
            "--threshold",
            "2",
        ];
        vault.done("ledger init", &args, &[]);
        vault
    }

    fn without_ledger() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `weir` with `args`, `@x` being the folder's file x; commands that take a ledger get it and its witnesses.
    fn run(&self, command: &str, args: &[&str], files: &[&str]) -> Output {
        let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
        weir.args(command.split(' '));
        let takes_ledger = !command.ends_with("keygen") && !command.ends_with("sign");
        if takes_ledger {
            weir.arg(self.path("ledger")).arg("--key").arg(self.path("key"));
            weir.arg("--witness")
                .arg(self.path("w0"))
                .arg("--witness")
                .arg(self.path("w1"));
        }
        for arg in args {
            match arg.strip_prefix('@') {
                Some(name) => weir.arg(self.path(name)),
                None => weir.arg(arg),
            };
        }
        weir.args(files.iter().map(|name| self.path(name)));
        weir.output().unwrap()
    }

    fn done(&self, command: &str, args: &[&str], files: &[&str]) -> String {
        let output = self.run(command, args, files);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "weir {command} {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says when it refuses, with this exit code.
    fn refused(&self, code: i32, command: &str, args: &[&str]) -> String {
        let output = self.run(command, args, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "weir {command} {args:?}: {said}"
        );
        said
    }

    fn shown(&self) -> Value {
        serde_json::from_str(&self.done("ledger show", &["--json"], &[])).unwrap()
    }

    /// Writes the configuration of a server on the ledger.
    fn configure(&self, inner: &str, outer: &str) {
        let config = format!(
            "[link]\nlocal = 'udp://{inner}'\npeer = 'udp://{outer}'\nquarantine_ms = 0\n[meter]\nledger = '{}'\n\
             ledger_key = '{}'\nwitnesses = ['{}', '{}']\nblock = 40000\n",
            self.path("ledger").display(),
            self.path("key").display(),
            self.path("w0").display(),
            self.path("w1").display(),
        );
        fs::write(self.path("inner.toml"), config).unwrap();
    }

    fn order(&self, what: &[&str], signers: &[&str]) {
        let mut args = what.to_vec();
        args.extend(["--out", "@order"]);
        self.done("ledger order make", &args, &[]);
        for signer in signers {
            let secret = format!("@{signer}");
            let operators = [
                "--operator",
                "@a.pub",
                "--operator",
                "@b.pub",
                "--operator",
                "@c.pub",
            ];
            let args = [&["@order", "--secret", &secret], operators.as_slice()].concat();
            self.done("ledger order sign", &args, &[]);
        }
    }
}

#[test]
fn a_ledger_is_begun_read_and_verified() {
    let vault = Vault::new();
    let shown = vault.shown();
    assert_eq!(shown["total"], 800_000);
    assert_eq!(shown["weights_bits"], 8_000_000);
    assert_eq!(shown["weights"], blake3_of(&vec![7; 1_000_000]));
    assert_eq!(shown["windows"][0]["bits"], 160_000);
    assert_eq!(shown["operators"].as_array().unwrap().len(), 3);
    let table = vault.done("ledger show", &[], &[]);
    assert!(table.contains("witness 1") && table.contains("agrees"), "{table}");
    let verdict = vault.done("ledger verify", &[], &[]);
    assert!(
        verdict.starts_with("8 records in 1 segments and 2 of 2 witnesses agree"),
        "{verdict}"
    );
    let lines = vault.done("ledger export", &[], &[]);
    let kinds: Vec<String> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["kind"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds, ["id", "weights", "key", "key", "key", "cap", "cap", "cap"]);
    // Never a second time.
    let again = ["--weights", "@weights", "--total", "1%"];
    assert!(vault.refused(11, "ledger init", &again).contains("already"));
    // Nor where a witness is to be and something is, whatever it is.
    let vault = Vault::without_ledger();
    fs::write(vault.path("weights"), vec![7; 1_000]).unwrap();
    vault.done("ledger keygen", &[], &["key"]);
    fs::write(vault.path("w1"), "a private file").unwrap();
    fs::set_permissions(vault.path("w1"), fs::Permissions::from_mode(0o600)).unwrap();
    vault.refused(11, "ledger init", &again);
    assert_eq!(fs::read(vault.path("w1")).unwrap(), b"a private file");
    assert!(!vault.path("ledger").exists() && !vault.path("w0").exists());
}

/// A total that was not meant begins no ledger, and the words say which it was.
#[test]
fn totals_that_make_no_sense_begin_no_ledger() {
    let vault = Vault::without_ledger();
    fs::write(vault.path("weights"), vec![7; 1000]).unwrap();
    for (code, total, says) in [
        (2, "1e30%", "\"1e30%\" is more than the weights"),
        (2, "101%", "\"101%\" is more than the weights"),
        (2, "NaN", "\"NaN\" is no number"),
        (2, "inf", "finite"),
        (2, "1e20", "\"1e20\" is too much"),
        (1, "0", "--total: comes to 0 bits"),
        (1, "0.00001%", "--total: comes to 0 bits"),
    ] {
        let said = vault.refused(code, "ledger init", &["--weights", "@weights", "--total", total]);
        assert!(said.contains("--total") && said.contains(says), "{total}: {said}");
        assert!(!vault.path("ledger").exists());
    }
    vault.done("ledger keygen", &[], &["key"]);
    vault.done("ledger init", &["--weights", "@weights", "--total", "100%"], &[]);
    assert_eq!(vault.shown()["total"], 8000);
}

#[test]
fn nobody_reads_what_was_done() {
    let vault = Vault::without_ledger();
    let weir = |command: &str, args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
        weir.args(command.split(' '))
            .arg(vault.path("ledger"))
            .arg("--witness")
            .arg(vault.path("w"));
        weir.args(args).stdout(writer).status().unwrap().code()
    };
    let hash = "08".repeat(32);
    let args = ["--weights-hash", &hash, "--weights-bytes", "9", "--total", "9"];
    assert_eq!(weir("ledger init", &args), Some(0));
    for (command, args) in [
        ("ledger lower", &["--total", "8"][..]),
        ("ledger show", &[]),
        ("ledger verify", &[]),
    ] {
        assert_eq!(weir(command, args), Some(0), "{command}");
    }
}

fn blake3_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn limits_fall_freely_and_rise_by_order_of_two() {
    let vault = Vault::new();
    vault.done("ledger lower", &["--total", "50kB", "--window", "day=40kB"], &[]);
    assert_eq!(vault.shown()["total"], 400_000);
    vault.refused(24, "ledger lower", &["--total", "51kB"]);
    // One that would rise keeps all as they are, and is named.
    let said = vault.refused(24, "ledger lower", &["--total", "40kB", "--window", "day=41kB"]);
    assert!(said.contains("the limit within 86400 s is 40"), "{said}");
    let said = vault.refused(
        24,
        "ledger lower",
        &["--window", "hour=1kB", "--window", "hour=2kB"],
    );
    assert!(said.contains("the limit within 3600 s is 1"), "{said}");
    assert_eq!(vault.shown()["total"], 400_000);
    // One witness fewer is refused, whatever is to be done.
    let mut fewer = Command::new(env!("CARGO_BIN_EXE_weir"));
    fewer
        .args(["ledger", "lower", "--total", "49kB"])
        .arg(vault.path("ledger"));
    fewer
        .arg("--key")
        .arg(vault.path("key"))
        .arg("--witness")
        .arg(vault.path("w0"));
    let fewer = fewer.output().unwrap();
    assert_eq!(fewer.status.code(), Some(14));
    assert!(String::from_utf8_lossy(&fewer.stderr).contains("has 2 witnesses, and 1 are named"));
    vault.order(&["--total", "20%"], &["a"]);
    assert!(
        vault
            .refused(25, "ledger order apply", &["--order", "@order"])
            .contains("1 operators have signed")
    );
    vault.order(&["--total", "20%"], &["a", "c"]);
    vault.done("ledger order apply", &["--order", "@order"], &[]);
    let shown = vault.shown();
    assert_eq!(
        (&shown["total"], &shown["order"]),
        (&Value::from(1_600_000), &Value::from(1))
    );
    assert!(
        vault
            .refused(25, "ledger order apply", &["--order", "@order"])
            .contains("applied already")
    );
    vault.done("ledger verify", &[], &[]);
}

#[test]
fn what_was_done_to_the_files_is_refused_with_a_code_of_its_own() {
    let vault = Vault::new();
    vault.done("ledger lower", &["--total", "50kB"], &[]);
    let ledger = fs::read(vault.path("ledger")).unwrap();
    let lower = ["--total", "1kB"];
    let with = |bytes: &[u8], code| {
        fs::write(vault.path("ledger"), bytes).unwrap();
        vault.refused(code, "ledger lower", &lower);
        vault.refused(code, "ledger verify", &[]);
    };
    with(&ledger[..ledger.len() - 160], 17);
    let mut damaged = ledger.clone();
    damaged[200] ^= 1;
    with(&damaged, 13);
    fs::write(vault.path("ledger"), &ledger).unwrap();
    let witness = fs::read(vault.path("w1")).unwrap();
    fs::remove_file(vault.path("w1")).unwrap();
    vault.refused(15, "ledger lower", &lower);
    // An order begins it anew.
    vault.order(&["--lost-witness", "1"], &["b", "c"]);
    vault.done("ledger order apply", &["--order", "@order"], &[]);
    vault.done("ledger verify", &[], &[]);
    // The old one, put back, is behind.
    fs::write(vault.path("w1"), &witness).unwrap();
    vault.refused(19, "ledger lower", &lower);
    fs::remove_file(vault.path("ledger")).unwrap();
    // The words do not say to begin one: that would give the whole total again.
    for command in ["ledger lower", "ledger show", "ledger verify", "ledger export"] {
        let args = if command == "ledger lower" {
            lower.as_slice()
        } else {
            &[]
        };
        let said = vault.refused(10, command, args);
        assert!(said.contains("not mounted") && said.contains("never"), "{said}");
    }
}

/// A server on the ledger: it holds the lock, charges, dies by SIGKILL, and the count is at least what came.
#[test]
fn a_server_that_is_killed_has_counted_all_that_came() {
    let vault = Vault::new();
    let outer = UdpSocket::bind("127.0.0.1:0").unwrap();
    outer.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let inner = free.local_addr().unwrap();
    drop(free);
    vault.configure(&inner.to_string(), &outer.local_addr().unwrap().to_string());
    let mut received = 0;
    for _ in 0..3 {
        let mut server = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("inner")
            .arg("--config")
            .arg(vault.path("inner.toml"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A Hello of another version is answered with a refusal, which is charged.
        let mut buffer = [0; 2048];
        let mut answers = 0;
        while answers < 3 {
            assert!(server.try_wait().unwrap().is_none(), "the server has ended");
            let _ = outer.send_to(&foreign_hello(), inner);
            if let Ok(len) = outer.recv(&mut buffer) {
                received += (8 + 14 + (28 + len as u64).max(46) + 4 + 12) * 8;
                answers += 1;
            }
        }
        // Nobody else has it meanwhile.
        vault.refused(30, "ledger lower", &["--total", "1kB"]);
        server.kill().unwrap();
        server.wait().unwrap();
        while let Ok(len) = outer.recv(&mut buffer) {
            received += (8 + 14 + (28 + len as u64).max(46) + 4 + 12) * 8;
        }
    }
    vault.done("ledger verify", &[], &[]);
    let shown = vault.shown();
    let reserved = shown["reserved"].as_u64().unwrap();
    assert!(reserved >= received, "{reserved} counted, {received} came");
    // Side bits are at most 138 for each of few datagrams; else a block for each crash.
    assert!(
        reserved <= received + 3 * 40_000 + 100 * 138,
        "{reserved} counted, {received} came"
    );
    assert_eq!(shown["starts"], 3);
}

/// A server on the ledger, with what it says on stderr.
fn inner(vault: &Vault, wrapper: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut server = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(env!("CARGO_BIN_EXE_weir"))
        .arg("inner")
        .arg("--config")
        .arg(vault.path("inner.toml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(server.stderr.take().unwrap());
    (server, log)
}

fn until(log: &mut BufReader<ChildStderr>, words: &str) {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "it ended before it said {words:?}"
        );
    }
}

fn signal(server: &Child, name: &str) {
    let id = server.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
    assert!(sent.success());
}

/// Every signal by which a server is asked to end: nothing reserved is lost, whether or not anybody still hears it.
#[test]
fn a_server_that_is_told_to_end_closes_its_ledger() {
    let vault = Vault::new();
    vault.configure("127.0.0.1:0", "127.0.0.1:9");
    for (number, name) in ["HUP", "TERM", "INT", "QUIT", "HUP"].into_iter().enumerate() {
        let (mut server, mut log) = inner(&vault, &["env", "--default-signal"]);
        until(&mut log, "ready");
        // A terminal that closes takes the log with it.
        let log = (number < 4).then_some(log);
        signal(&server, name);
        assert_eq!(server.wait().unwrap().code(), Some(0), "SIG{name}");
        drop(log);
        let shown = vault.shown();
        assert_eq!(shown["running"], false, "SIG{name}: {shown}");
        // Of each life the silence is charged (SPEC 7.2), some bits, and no block.
        assert_eq!(shown["spent"], shown["reserved"], "SIG{name}");
        let spent = shown["spent"].as_u64().unwrap();
        assert!(spent <= 31 * (number as u64 + 1), "SIG{name}: {spent}");
        assert_eq!(shown["starts"], number + 1);
    }
    // `nohup` means what it says.
    let (mut server, mut log) = inner(&vault, &["env", "--ignore-signal=HUP"]);
    until(&mut log, "ready");
    signal(&server, "HUP");
    signal(&server, "TERM");
    until(&mut log, "signal=15");
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

/// Any Hello: it has the header that all versions share (SPEC 6.3), and version 2.
fn foreign_hello() -> Vec<u8> {
    let mut hello = vec![0x20, 0b10, 0, 16, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let crc = crc32(&[&hello[..4], &hello[8..]].concat());
    hello[4..8].copy_from_slice(&crc.to_be_bytes());
    hello
}

/// CRC-32 as SPEC 5 has it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

#[test]
fn a_plan_is_printed_and_can_be_drawn() {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(
            "plan --weights-bytes 1e14 --tokens 8e14 --bits-per-token 0.1 --cap-bytes-per-day 1e10 --json"
                .split(' '),
        )
        .output()
        .unwrap();
    assert!(output.status.success());
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        (plan["upload_bytes"].as_f64().unwrap() - 1e13).abs() < 1.0,
        "{plan}"
    );
    assert!(
        (plan["uploads_over_weights"].as_f64().unwrap() - 0.1).abs() < 1e-9,
        "{plan}"
    );
    assert!(
        (plan["caps"][0]["days_to_exfiltrate"].as_f64().unwrap() - 1e4).abs() < 1e-6,
        "{plan}"
    );
    // What `weir-lab plot plan` draws.
    assert!(plan["curves"][0]["points"][0][1].is_f64(), "{plan}");
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args("plan --weights-bytes 1e14 --plot here".split(' '))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("plot plan"), "{said}");
}
