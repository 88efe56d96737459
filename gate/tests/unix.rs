//! The gate as a process between two sockets in the file system.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn frames_pass_between_unix_sockets_and_are_charged_by_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let [inner, outer] = ["inner", "outer"].map(|name| {
        let socket = UnixDatagram::bind(path(name)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    });
    let link = |own, peer| {
        format!(
            "local = \"unix://{}\"\npeer = \"unix://{}\"\n",
            path(own).display(),
            path(peer).display()
        )
    };
    let text = format!(
        "control = {:?}\n[inside]\n{}[outside]\n{}[session]\ntick_ms = 20\n",
        path("gate.sock"),
        link("inside", "inner"),
        link("outside", "outer")
    );
    fs::write(path("gate.toml"), text).unwrap();
    let gate = |command: &str| {
        let mut words = Command::new(env!("CARGO_BIN_EXE_weir-gate"));
        words.args([Path::new(command), "--config".as_ref(), &path("gate.toml")]);
        words
    };
    let mut process = gate("run").spawn().unwrap();
    let mut tell = || {
        while !path("gate.sock").exists() {
            assert!(process.try_wait().unwrap().is_none(), "the gate has ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Its ticks go inward.
        let mut word = [0; 64];
        inner.recv(&mut word).unwrap();
        let frame = [0, 1, 2, 3, 4, 5, 6, 7];
        inner.send_to(&frame, path("inside")).unwrap();
        let mut buffer = [0; 64];
        let (len, from) = outer.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], frame);
        assert_eq!(from.as_pathname(), Some(&*path("outside")));
        let said = String::from_utf8(gate("status").output().unwrap().stdout).unwrap();
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        assert_eq!(value("line_bytes "), 8);
        // Its bytes, its length, and its moment.
        let charged = value("charged_bits ") - value("told_bits ") - 64;
        assert!((1..64).contains(&charged), "{charged}");
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut tell));
    process.kill().unwrap();
    process.wait().unwrap();
    result.unwrap();
}
