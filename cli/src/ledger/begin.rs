//! Beginning a ledger, and making keys.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use weir_ledger::order::public_key;
use weir_ledger::{Cap, Genesis, Limit, WitnessAt, read_public};

use super::{At, hex, moment, say};
use crate::number::{Amount, bytes, count};
use weir_setup::tool::ends;
use weir_setup::tool::progress;

/// Begins a ledger for a model's weights: once, when they are made
///
/// It is never done again by itself: a server without its ledger refuses to start.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    at: At,
    /// The weights; their BLAKE3 hash and size are written down
    #[arg(long, value_name = "FILE", required_unless_present = "weights_hash")]
    weights: Option<PathBuf>,
    /// Their hash, where the file is elsewhere (64 hexadecimal digits)
    #[arg(
        long,
        value_name = "HEX",
        conflicts_with = "weights",
        requires = "weights_bytes"
    )]
    weights_hash: Option<String>,
    /// Their size in bytes
    #[arg(long, value_name = "BYTES", value_parser = count, conflicts_with = "weights")]
    weights_bytes: Option<u64>,
    /// All that may ever leave: bits (5e9), bytes (600MB) or a part of the weights (0.1%)
    #[arg(long, value_name = "AMOUNT", value_parser = Amount::parse)]
    total: Amount,
    /// What may leave in any stretch of time: hour=…, day=… or SECONDS=…; may be given several times
    #[arg(long, value_name = "TIME=AMOUNT", value_parser = window)]
    window: Vec<(u32, Amount)>,
    /// A file with an operator's public key, in the order in which operators are numbered
    #[arg(long, value_name = "FILE")]
    operator: Vec<PathBuf>,
    /// How many operators must sign what raises a limit
    #[arg(long, value_name = "M", default_value_t = 1)]
    threshold: u16,
    /// Bits that have left already, as another ledger says
    #[arg(long, value_name = "BITS", value_parser = count, default_value = "0")]
    spent: u64,
}

/// Makes a pair of keys for an operator, or a key for a ledger's hashes
#[derive(Debug, clap::Args)]
pub(crate) struct KeygenArgs {
    /// Where the secret goes; the public key goes to OUT.pub
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

pub(crate) fn init(args: &InitArgs) -> Result<()> {
    ensure!(
        !args.at.witness.is_empty(),
        "--witness: name at least one, best a weir-witness on another machine; without, nobody can tell an older copy of the ledger"
    );
    let (weights, size) = match (&args.weights, &args.weights_hash, args.weights_bytes) {
        (Some(path), ..) => hash(path)?,
        (None, Some(hash), Some(size)) => {
            let hash = blake3::Hash::from_hex(hash).context("--weights-hash: not 64 hexadecimal digits")?;
            (hash, size)
        }
        _ => bail!("--weights, or --weights-hash and --weights-bytes"),
    };
    let weights_bits = size.checked_mul(8).context("--weights-bytes: too many")?;
    ensure!(
        weights_bits > 0,
        "the weights have no bytes: name the file, or the size, of a model"
    );
    let operators = args
        .operator
        .iter()
        .map(|path| read_public(path))
        .collect::<Result<Vec<_>, _>>()?;
    ensure!(
        operators.is_empty() || (1..=operators.len()).contains(&usize::from(args.threshold)),
        "--threshold: {} of {} operators",
        args.threshold,
        operators.len()
    );
    let cap = |limit, amount: Amount| -> Result<Cap> {
        let bits = amount.bits(Some(weights_bits))?;
        // A limit may fall to 0 later, and then nothing leaves; a ledger that begins so was not meant.
        let name = if limit == Limit::Total {
            "--total"
        } else {
            "--window"
        };
        ensure!(
            bits > 0,
            "{name}: comes to 0 bits, and nothing would ever leave: write more"
        );
        Ok(Cap { limit, bits })
    };
    let mut caps = vec![
        Cap {
            limit: Limit::Weights,
            bits: weights_bits,
        },
        cap(Limit::Total, args.total)?,
    ];
    for &(seconds, amount) in &args.window {
        caps.push(cap(Limit::Window(seconds), amount)?);
    }
    let mut id = [0; 32];
    getrandom::fill(&mut id).context("no random bytes")?;
    let genesis = Genesis {
        id,
        weights: *weights.as_bytes(),
        operators,
        threshold: args.threshold,
        caps,
        spent: args.spent,
    };
    let (paths, key) = (args.at.paths(), args.at.key()?);
    let head = ends::whole(|| -> Result<_> { Ok(weir_ledger::init(&paths, moment()?, key, &genesis)?) })?;
    say(format_args!("ledger {}", hex(&id)));
    say(format_args!("for weights {weights} of {}", bytes(weights_bits)));
    say(format_args!(
        "total {}, {} spent, head {}",
        bytes(genesis.caps[1].bits),
        bytes(args.spent),
        hex(&head.hash)
    ));
    if genesis.operators.is_empty() {
        say("no operators: its limits can fall, but never rise");
    }
    if args
        .at
        .witness
        .iter()
        .any(|witness| matches!(witness, WitnessAt::File(path) if is_same_device(path, &args.at.ledger)))
    {
        let _ = writeln!(
            std::io::stderr(),
            "weir: warning: a witness is on the ledger's own device: whoever puts back one can put back both"
        );
    }
    Ok(())
}

pub(crate) fn keygen(args: &KeygenArgs) -> Result<()> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("no random bytes")?;
    write_new(&args.out, 0o600, &hex(&secret))?;
    let mut public = args.out.clone().into_os_string();
    public.push(".pub");
    let key = hex(&public_key(&secret));
    write_new(Path::new(&public), 0o644, &key)?;
    say(key);
    Ok(())
}

fn write_new(path: &Path, mode: u32, line: &str) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    file.and_then(|mut file| writeln!(file, "{line}"))
        .with_context(|| path.display().to_string())
}

fn hash(path: &Path) -> Result<(blake3::Hash, u64)> {
    let name = || path.display().to_string();
    let mut file = File::open(path).with_context(name)?;
    let size = file.metadata().with_context(name)?.len();
    let bar = progress::bar(size, "Hashing the weights", "bytes");
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        let len = file.read(&mut buffer).with_context(name)?;
        if len == 0 {
            break;
        }
        hasher.update(&buffer[..len]);
        bar.inc(len as u64);
    }
    bar.finish_and_clear();
    Ok((hasher.finalize(), size))
}

/// `hour=5MB`, `day=0.01%`, `600=1e6`.
fn window(text: &str) -> Result<(u32, Amount), String> {
    let (time, amount) = text.split_once('=').ok_or("TIME=AMOUNT, such as day=1GB")?;
    Ok((seconds(time)?, Amount::parse(amount)?))
}

/// Seconds of a window's name.
pub(super) fn seconds(time: &str) -> Result<u32, String> {
    match time {
        "hour" => Ok(3_600),
        "day" => Ok(86_400),
        "week" => Ok(604_800),
        _ => {
            let seconds = count(time)?;
            let seconds = u32::try_from(seconds).ok().filter(|&seconds| seconds > 0);
            seconds.ok_or_else(|| format!("{time:?} is no length of a window: hour, day, week or seconds"))
        }
    }
}

fn is_same_device(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| path.metadata().ok().map(|meta| meta.dev());
    device(one).is_some() && device(one) == device(other)
}
