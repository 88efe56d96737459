//! A gate does not start where its machine lets packets pass beside it. What it takes to start one: tests/e2e/gate_net.py.

use std::fs;
use std::process::{Command, Stdio};

const CABLE: &str = "local = \"udp://127.0.0.1:7003\"\npeer = \"udp://127.0.0.1:7001\"\n";
const FILES: &str = "local = \"unix:///run/weir-none/near\"\npeer = \"unix:///run/weir-none/far\"\n";

struct Lab(tempfile::TempDir);

impl Lab {
    /// A gate between these two links.
    fn new(inside: &str, outside: &str) -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        let control = lab.0.path().join("gate.sock");
        let text = format!("control = {control:?}\n[inside]\n{inside}\n[outside]\n{outside}\n");
        fs::write(lab.0.path().join("gate.toml"), text).unwrap();
        lab
    }

    fn gate(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-gate"));
        command
            .args(words)
            .arg("--config")
            .arg(self.0.path().join("gate.toml"));
        command
    }

    /// What a gate that is to be protected is refused for.
    fn refused(&self) -> String {
        let done = self.gate(&["run"]).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(40), "{said}");
        said
    }
}

#[test]
fn all_faults_are_named_at_once() {
    let said = Lab::new(CABLE, CABLE).refused();
    for what in [
        "--unprotected",
        "inside.device: missing",
        "outside.device: missing",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    let any = CABLE.replace("127.0.0.1:7003", "0.0.0.0:7003");
    let said = Lab::new(
        &format!("{CABLE}device = \"weir-none\""),
        &format!("{any}device = \"lo\""),
    )
    .refused();
    for what in [
        "inside.device: no interface is called weir-none",
        "outside.local: 0.0.0.0:7003",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    let on_lo = format!("{CABLE}device = \"lo\"");
    assert!(
        Lab::new(&on_lo, &on_lo)
            .refused()
            .contains("outside.device: lo is inside's")
    );
}

#[test]
fn rules_that_nobody_has_loaded_are_missed() {
    let said = Lab::new(FILES, &format!("{CABLE}device = \"lo\"")).refused();
    for what in [
        "are not loaded: weir gate nft --user ",
        "interface lo takes more than 1500 bytes: ip link set lo mtu 1500",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn a_socket_is_on_its_interface_however_the_gate_is_started() {
    let lab = Lab::new(FILES, &format!("{CABLE}device = \"weir-none\""));
    let done = lab.gate(&["run", "--unprotected"]).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("bind to its interface failed"), "{said}");
}

#[test]
fn an_unprotected_gate_says_so_for_as_long_as_it_runs() {
    let lab = Lab::new(
        &format!("{CABLE}device = \"lo\"").replace("7003", "0"),
        &format!("{CABLE}device = \"lo\"").replace("7003", "0"),
    );
    let mut gate = lab
        .gate(&["run", "--unprotected"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let found = (0..500).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let done = lab.gate(&["status"]).output().unwrap();
        done.status
            .success()
            .then(|| String::from_utf8(done.stdout).unwrap())
    });
    gate.kill().unwrap();
    let said = String::from_utf8(gate.wait_with_output().unwrap().stderr).unwrap();
    let status = found.unwrap_or_else(|| panic!("{said}"));
    assert!(
        status.contains("\nprotection NONE: started with --unprotected\n"),
        "{status}"
    );
    assert!(said.contains("alarm: UNPROTECTED"), "{said}");
}
