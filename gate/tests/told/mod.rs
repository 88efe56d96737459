//! What gates are told, and what they say.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use weir_ledger::Echo;
use weir_wire::Parameters;
use weir_wire::inward::{Body, Inward};

use crate::lab::Lab;

/// What outer says with a receipt, under a key of fives.
pub(crate) fn receipt(echo: &Echo) -> Vec<u8> {
    let (mut out, receipt) = (vec![], echo.seal(&[5; 32]));
    let inward = Inward {
        format: Parameters::default().format,
        session: 0,
        body: Body::Receipt(&receipt),
    };
    inward.emit(&mut out);
    out
}

/// Adds to the configuration; KEY is the file of that key.
pub(crate) fn configure(lab: &Lab, more: &str) {
    let key = lab.path("key");
    fs::write(&key, "05".repeat(32)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    change(lab, |text| text + &more.replace("KEY", &format!("{key:?}")));
}

/// Changes the configuration.
pub(crate) fn change(lab: &Lab, how: impl FnOnce(String) -> String) {
    let path = lab.path("gate.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, how(text)).unwrap();
}

/// The log of all gates of `lab` so far.
pub(crate) fn log(lab: &Lab) -> String {
    fs::read_to_string(lab.path("log")).unwrap()
}

/// Runs a gate that does not start: its exit code, and why.
pub(crate) fn refusal(lab: &Lab, config: &str) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_weir-gate"))
        .args([
            Path::new("run"),
            "--unprotected".as_ref(),
            "--config".as_ref(),
            &lab.path(config),
        ])
        .output()
        .unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}
