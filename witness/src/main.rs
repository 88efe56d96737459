//! The program around the witness: a socket, a file, a signal.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use weir_ledger::{REQUEST_LEN, WitnessSocket, read_key};
use weir_witness::{Heads, Log};

/// Holds the heads of ledgers on a machine of its own, and lets each go only forward, one step at a time
///
/// A gate or inner names it in `meter.witnesses`, with a key that both have (`weir ledger keygen`); docs/operations.md.
#[derive(Parser)]
#[command(name = "weir-witness", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes an empty file, once; a witness whose file is gone must be missed
    Init {
        /// Where it goes
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Answers until SIGTERM, SIGINT or SIGHUP
    Run {
        #[command(flatten)]
        at: At,
        /// Where it is asked: udp://ADDRESS:PORT or unix://PATH
        #[arg(long, value_name = "SOCKET")]
        listen: WitnessSocket,
    },
    /// Shows what is held: ledger, record, bits and hash, a line each; not while it runs
    Show {
        #[command(flatten)]
        at: At,
    },
}

#[derive(Args)]
struct At {
    /// The file that holds the heads
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The file with the key that the ledgers' writers have, too (64 hexadecimal digits)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Init { file } => Log::create(&file),
        Command::Run { at, listen } => run(&at, &listen),
        Command::Show { at } => show(&at),
    };
    done.map_or_else(
        |error| {
            note(&format!("{error:#}"));
            weir_ledger::exit_code(error.chain()).into()
        },
        |()| ExitCode::SUCCESS,
    )
}

fn open(at: &At) -> Result<(Heads, Log)> {
    let key = read_key(&at.key)?;
    let mut heads = Heads::new(key, RandomState::new().hash_one("turns"));
    let (log, torn) = Log::open(&at.file, key, &mut heads)?;
    if torn > 0 {
        note(&format!(
            "{torn} bytes at the end of the file are a torn write, which was never answered"
        ));
    }
    Ok((heads, log))
}

fn show(at: &At) -> Result<()> {
    let (heads, _) = open(at)?;
    let mut out = std::io::stdout().lock();
    for head in heads.heads() {
        writeln!(
            out,
            "{} {} {} {}",
            hex(&head.id),
            head.seq,
            head.count,
            hex(&head.hash)
        )?;
    }
    Ok(())
}

fn run(at: &At, listen: &WitnessSocket) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    let (mut heads, mut log) = open(at)?;
    let mut answer = |datagram: &[u8]| -> Result<Option<Vec<u8>>> {
        let Some(answer) = heads.answer(datagram) else {
            return Ok(None);
        };
        // An answer that the disk does not hold must not be given: without its disk a witness ends.
        if let Some((head, taken)) = &answer.keep {
            log.keep(head, *taken)?;
        }
        Ok(Some(answer.reply.to_vec()))
    };
    let stop = || stop.load(Ordering::Relaxed);
    match listen {
        WitnessSocket::Udp(address) => {
            let socket = UdpSocket::bind(address).with_context(|| listen.to_string())?;
            socket.set_read_timeout(Some(WAIT))?;
            note(&format!("ready at {listen}"));
            serve_udp(&socket, stop, &mut answer)
        }
        WitnessSocket::Unix(path) => {
            let listener = bind(path).with_context(|| listen.to_string())?;
            note(&format!("ready at {listen}"));
            let served = serve_unix(&listener, stop, &mut answer);
            let _ = std::fs::remove_file(path);
            served
        }
    }
}

type Respond<'a> = dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>> + 'a;

fn serve_udp(socket: &UdpSocket, stop: impl Fn() -> bool, answer: &mut Respond<'_>) -> Result<()> {
    let mut buffer = [0; REQUEST_LEN + 1];
    while !stop() {
        // What a socket says of earlier answers that did not arrive is no reason to end.
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        if let Some(reply) = answer(&buffer[..len])? {
            let _ = socket.send_to(&reply, from);
        }
    }
    Ok(())
}

/// One question a connection. Whoever is silent is waited for, but not long.
fn serve_unix(listener: &UnixListener, stop: impl Fn() -> bool, answer: &mut Respond<'_>) -> Result<()> {
    listener.set_nonblocking(true)?;
    while !stop() {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(_) => continue,
        };
        let mut request = [0; REQUEST_LEN];
        let heard = stream.set_nonblocking(false).is_ok()
            && stream.set_read_timeout(Some(WAIT)).is_ok()
            && stream.read_exact(&mut request).is_ok();
        if heard && let Some(reply) = answer(&request)? {
            let _ = stream.write_all(&reply);
        }
    }
    Ok(())
}

/// For its owner alone; in the place of a socket that nobody hears any more.
fn bind(path: &Path) -> Result<UnixListener> {
    if let Ok(there) = std::fs::symlink_metadata(path) {
        ensure!(there.file_type().is_socket(), "there is a file");
        ensure!(
            std::os::unix::net::UnixStream::connect(path).is_err(),
            "another program listens there"
        );
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line for the operator; nobody may be there to read it.
fn note(what: &str) {
    let _ = writeln!(std::io::stderr(), "weir-witness: {what}");
}

/// Between two looks at the signals.
const WAIT: Duration = Duration::from_millis(200);
/// Between two looks for a caller.
const PAUSE: Duration = Duration::from_millis(2);
