//! Inner and outer as processes of their own, which never outlive the demo.

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::client::Api;
use weir_setup::tool::clock::Stopwatch;

/// A running server; killed when dropped.
pub(super) struct Server {
    name: &'static str,
    child: Arc<Mutex<Child>>,
    log: PathBuf,
}

/// All servers of the demo, for whoever ends it without the rest of it.
#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<Vec<Arc<Mutex<Child>>>>>);

impl Running {
    fn spawn(&self, command: &mut Command) -> std::io::Result<Arc<Mutex<Child>>> {
        let mut all = lock(&self.0);
        let child = Arc::new(Mutex::new(command.spawn()?));
        all.push(Arc::clone(&child));
        Ok(child)
    }

    /// Ends all of them, for good: whoever starts or looks at one waits from then on, as the program is about to end.
    pub(super) fn end(&self) {
        let all = lock(&self.0);
        for child in all.iter() {
            let mut child = lock(child);
            end(&mut child);
            std::mem::forget(child);
        }
        std::mem::forget(all);
    }
}

fn end(child: &mut Child) {
    // One that has ended already cannot be killed, which is as well.
    let _ = child.kill();
    let _ = child.wait();
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Starts `weir NAME ARGS`; what it says goes to `folder/NAME.log`.
    pub(super) fn start(
        running: &Running,
        name: &'static str,
        args: &[String],
        folder: &Path,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .arg(name)
            .args(args)
            // The pipe ends with this process, however that ends, and the server with the pipe.
            .env(END_WITH_STDIN, "1")
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = running
            .spawn(&mut command)
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// An error with the last words of a server that has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        let Some(status) = lock(&self.child).try_wait()? else {
            return Ok(());
        };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(8)..].join("\n");
        bail!("{} ended with {status}:\n{tail}", self.name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut lock(&self.child));
    }
}

/// Waits until outer has a session with inner.
pub(super) fn wait(api: &Api, servers: &mut [Server]) -> Result<()> {
    let watch = Stopwatch::start();
    loop {
        for server in servers.iter_mut() {
            server.check()?;
        }
        match api.health() {
            Ok(()) => return Ok(()),
            Err(error) if watch.elapsed() > START_LIMIT => {
                bail!(
                    "no session between outer and inner after {} s: {error:#}",
                    START_LIMIT.as_secs()
                )
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// In a server: ends the process as soon as its parent has gone.
pub(crate) fn end_with_parent() {
    if std::env::var_os(END_WITH_STDIN).is_some() {
        std::thread::spawn(|| {
            // Nothing is ever written: this returns when the other end is closed.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
}

/// Ports of the loopback interface that nobody has at this moment.
pub(super) struct Ports {
    pub(super) inner: u16,
    pub(super) outer: u16,
    pub(super) api: u16,
    pub(super) metrics: u16,
}

impl Ports {
    pub(super) fn free() -> Result<Self> {
        // All are held until all are known, so that no two are the same.
        let udp = [UdpSocket::bind(LOOPBACK)?, UdpSocket::bind(LOOPBACK)?];
        let tcp = [TcpListener::bind(LOOPBACK)?, TcpListener::bind(LOOPBACK)?];
        Ok(Self {
            inner: udp[0].local_addr()?.port(),
            outer: udp[1].local_addr()?.port(),
            api: tcp[0].local_addr()?.port(),
            metrics: tcp[1].local_addr()?.port(),
        })
    }
}

const LOOPBACK: &str = "127.0.0.1:0";
const END_WITH_STDIN: &str = "WEIR_END_WITH_STDIN";
/// A pair of some gigabytes takes a while to load.
const START_LIMIT: Duration = Duration::from_secs(120);
