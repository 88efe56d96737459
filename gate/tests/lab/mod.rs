//! The gate as a process on a ledger, between two sockets.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use weir_ledger::{Cap, Genesis, Limit, Paths, WitnessAt};

/// A folder with a ledger and a configuration, and the sockets of both sides.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) inner: UdpSocket,
    pub(crate) outer: UdpSocket,
    pub(crate) inside: u16,
    pub(crate) outside: u16,
}

/// Waits until nobody holds the file's lock. A child that another test starts at the moment in which this one has the ledger open
/// inherits the descriptor, and with it the lock, until its exec.
fn await_unlocked(path: &Path) {
    let lock = format!(":{} ", fs::metadata(path).unwrap().ino());
    while fs::read_to_string("/proc/locks").unwrap().contains(&lock) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Lab {
    /// A ledger that holds `total` bits, and a gate on it with these settings: the file's sections `[session]` and `[meter]`.
    pub(crate) fn new(total: u64, session: &str, meter: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let (inner, outer) = (socket(), socket());
        let (inside, outside) = (port(&socket()), port(&socket()));
        let path = |name: &str| folder.path().join(name);
        let text = format!(
            "control = {:?}\n[inside]\nlocal = \"udp://127.0.0.1:{inside}\"\npeer = \"udp://127.0.0.1:{}\"\n\
             [outside]\nlocal = \"udp://127.0.0.1:{outside}\"\npeer = \"udp://127.0.0.1:{}\"\n\
             [session]\n{session}\n[meter]\n{meter}\nledger = {:?}\nwitnesses = [{:?}]\nblock = {BLOCK}\n",
            path("gate.sock"),
            port(&inner),
            port(&outer),
            path("ledger"),
            path("witness"),
        );
        fs::write(path("gate.toml"), text).unwrap();
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
        weir_ledger::init(
            &paths(folder.path()),
            weir_ledger::moment().unwrap(),
            None,
            &genesis,
        )
        .unwrap();
        await_unlocked(&path("ledger"));
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn spawn(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_weir-gate"))
            .args([
                Path::new("run"),
                "--unprotected".as_ref(),
                "--config".as_ref(),
                &self.path("gate.toml"),
            ])
            .stderr(self.log())
            .spawn()
            .unwrap()
    }

    /// What the gates have said, one after the other.
    fn log(&self) -> Stdio {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"));
        log.unwrap().into()
    }

    /// A gate that listens.
    pub(crate) fn start(&self) -> Child {
        self.ready(self.spawn())
    }

    /// Waits until this gate listens.
    pub(crate) fn ready(&self, mut gate: Child) -> Child {
        for _ in 0..3_000 {
            if self.ask("status").is_some() {
                return gate;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        gate.kill().unwrap();
        panic!("the gate does not start: {}", gate.wait().unwrap());
    }

    pub(crate) fn ask(&self, order: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.path("gate.sock")).ok()?;
        stream.write_all(format!("{order}\n").as_bytes()).ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).ok()?;
        Some(said)
    }

    pub(crate) fn status(&self, name: &str) -> u64 {
        let said = self.ask("status").unwrap();
        let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    }
}

/// The ledger and its witness.
pub(crate) fn paths(folder: &Path) -> Paths {
    Paths {
        ledger: folder.join("ledger"),
        witnesses: vec![WitnessAt::File(folder.join("witness"))],
    }
}

/// Bits that the gate reserves at a time.
pub(crate) const BLOCK: u64 = 40_000;
