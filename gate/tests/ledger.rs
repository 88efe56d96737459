//! The gate as a process on a ledger: what it has charged outlives it, however it ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use weir_ledger::Paths;
use weir_meter::ledger::{Cap, Genesis, Limit};

/// A folder with a ledger and a configuration, and the sockets of both sides.
struct Lab {
    folder: tempfile::TempDir,
    inner: UdpSocket,
    outer: UdpSocket,
    inside: u16,
    outside: u16,
}

impl Lab {
    /// A ledger that holds `total` bits.
    fn new(total: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let (inner, outer) = (socket(), socket());
        let (inside, outside) = (port(&socket()), port(&socket()));
        let path = |name: &str| folder.path().join(name);
        let text = format!(
            "control = {:?}\n[inside]\nlocal = \"udp://127.0.0.1:{inside}\"\npeer = \"udp://127.0.0.1:{}\"\n\
             [outside]\nlocal = \"udp://127.0.0.1:{outside}\"\npeer = \"udp://127.0.0.1:{}\"\n\
             [session]\ntick_ms = 5\n[meter]\nledger = {:?}\nwitnesses = [{:?}]\nblock = 40000\n",
            path("gate.sock"),
            port(&inner),
            port(&outer),
            path("ledger"),
            path("witness"),
        );
        fs::write(path("gate.toml"), text).unwrap();
        let paths = Paths {
            ledger: path("ledger"),
            witnesses: vec![path("witness")],
        };
        let genesis = Genesis {
            id: [7; 32],
            weights: [8; 32],
            operators: vec![],
            threshold: 0,
            caps: vec![Cap {
                limit: Limit::Total,
                bits: total,
            }],
            spent: 0,
        };
        weir_ledger::init(&paths, weir_ledger::moment().unwrap(), None, &genesis).unwrap();
        inner.connect(("127.0.0.1", inside)).unwrap();
        outer.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self {
            folder,
            inner,
            outer,
            inside,
            outside,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spawn(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_weir-gate"))
            .args([Path::new("run"), "--config".as_ref(), &self.path("gate.toml")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// A gate that listens.
    fn start(&self) -> Child {
        let mut gate = self.spawn();
        for _ in 0..500 {
            if self.ask("status").is_some() {
                return gate;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        gate.kill().unwrap();
        panic!("the gate does not start: {}", gate.wait().unwrap());
    }

    fn ask(&self, order: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.path("gate.sock")).ok()?;
        stream.write_all(format!("{order}\n").as_bytes()).ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).ok()?;
        Some(said)
    }

    fn status(&self, name: &str) -> u64 {
        let said = self.ask("status").unwrap();
        let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    }

    /// Sends frames of batch 0, one a tick, until `count` have come out or none comes any more.
    fn pass(&self, count: usize) -> usize {
        let mut buffer = [0; 100];
        (0..count)
            .take_while(|_| {
                self.inner.send(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
                self.outer.recv(&mut buffer).is_ok()
            })
            .count()
    }
}

#[test]
fn what_was_charged_outlives_kills_and_ends_with_the_total() {
    let lab = Lab::new(400_000);
    let mut known = 0;
    let mut passed = 0;
    for kill in [true, false, true, false] {
        let mut gate = lab.start();
        let begun = lab.status("spent_bits ");
        // A kill counts a block at most that was not sent; a clean end exactly what was.
        assert!(known <= begun && begun <= known + 40_000, "{known} {begun}");
        let count = lab.pass(20);
        assert_eq!(count, 20);
        passed += count as u64;
        known = lab.status("spent_bits ");
        assert!(known >= begun + 20 * 84 * 8);
        if kill {
            gate.kill().unwrap();
        } else {
            let id = gate.id().to_string();
            assert!(Command::new("kill").arg(id).status().unwrap().success());
        }
        assert_eq!(gate.wait().unwrap().success(), !kill);
        assert_eq!(lab.path("gate.sock").exists(), kill);
    }
    // And then to the end.
    let mut gate = lab.start();
    passed += lab.pass(1_000) as u64;
    assert!(
        lab.ask("status")
            .unwrap()
            .starts_with("state cut: the budget is spent")
    );
    assert!(passed * 84 * 8 <= 400_000, "{passed} frames");
    gate.kill().unwrap();
    gate.wait().unwrap();
}

#[test]
fn a_ledger_in_use_or_damaged_lets_no_gate_start() {
    let lab = Lab::new(400_000);
    let mut gate = lab.start();
    // Another configuration, the same ledger.
    let text = fs::read_to_string(lab.path("gate.toml")).unwrap();
    let other = text
        .replace("gate.sock", "other.sock")
        .replace(&format!("127.0.0.1:{}", lab.inside), "127.0.0.1:0")
        .replace(&format!("127.0.0.1:{}", lab.outside), "127.0.0.1:0");
    fs::write(lab.path("other.toml"), other).unwrap();
    let run = |config: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_weir-gate"))
            .args([Path::new("run"), "--config".as_ref(), &lab.path(config)])
            .output()
            .unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, said) = run("other.toml");
    assert_eq!(code, Some(30), "{said}");
    gate.kill().unwrap();
    gate.wait().unwrap();
    let mut bytes = fs::read(lab.path("ledger")).unwrap();
    bytes[200] ^= 1;
    fs::write(lab.path("ledger"), bytes).unwrap();
    let (code, said) = run("gate.toml");
    assert_eq!(code, Some(13), "{said}");
    fs::remove_file(lab.path("ledger")).unwrap();
    assert_eq!(run("gate.toml").0, Some(10));
}
