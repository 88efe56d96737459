//! Orders: made by one, signed by several, applied to a ledger that no server has open. And what needs no order.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use weir_ledger::order::{Action, Order, SignedOrder};
use weir_ledger::{Cap, Ledger, LedgerError, Limit, open, read, read_key, read_public};

use super::begin::seconds;
use super::{At, hex, moment, say};
use crate::number::{Amount, bytes};
use weir_setup::tool::ends;
use weir_setup::tool::files;

/// Makes, signs and applies orders: what raises a limit, or replaces a witness
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Make(MakeArgs),
    Sign(SignArgs),
    Apply(ApplyArgs),
}

/// Writes an order for a ledger as it is now, to be signed by operators
#[derive(Debug, clap::Args)]
pub(crate) struct MakeArgs {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    what: What,
    /// Days after which it is void
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    expires: u64,
    /// Where the order goes
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The new total: bits, bytes (600MB) or a part of the weights (0.1%)
    #[arg(long, value_name = "AMOUNT", value_parser = Amount::parse)]
    total: Option<Amount>,
    /// The new limit of a window: hour=…, day=… or SECONDS=…
    #[arg(long, value_name = "TIME=AMOUNT")]
    window: Option<String>,
    /// The place (from 0) of a witness that was lost and is to begin anew
    #[arg(long, value_name = "PLACE")]
    lost_witness: Option<u16>,
}

/// Adds an operator's signature to an order, after showing what it orders
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// The order; it is rewritten
    #[arg(value_name = "ORDER")]
    order: PathBuf,
    /// The operator's secret key
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// The public keys of all operators, in the order in which the ledger was begun with them
    #[arg(long, value_name = "FILE", required = true)]
    operator: Vec<PathBuf>,
}

/// Applies a signed order to a ledger that no server has open
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    at: At,
    /// The order
    #[arg(long, value_name = "FILE")]
    order: PathBuf,
}

/// Lowers a limit of a ledger that no server has open, or adds a window; that needs no order
#[derive(Debug, clap::Args)]
pub(crate) struct LowerArgs {
    #[command(flatten)]
    at: At,
    /// The new total
    #[arg(long, value_name = "AMOUNT", value_parser = Amount::parse, required_unless_present = "window")]
    total: Option<Amount>,
    /// A window and its limit: hour=…, day=… or SECONDS=…
    #[arg(long, value_name = "TIME=AMOUNT")]
    window: Vec<String>,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Make(args) => make(args),
        Command::Sign(args) => sign(args),
        Command::Apply(args) => apply(args),
    }
}

fn make(args: &MakeArgs) -> Result<()> {
    let chain = read(&args.at.ledger, args.at.key()?.as_ref())?;
    let weights = chain.cap(Limit::Weights);
    let action = match &args.what {
        What {
            total: Some(total), ..
        } => Action::Cap(Cap {
            limit: Limit::Total,
            bits: total.bits(weights)?,
        }),
        What {
            window: Some(text), ..
        } => Action::Cap(window(text, weights)?),
        What { lost_witness, .. } => Action::Witness(lost_witness.context("nothing is ordered")?),
    };
    // The ledger goes by the later of the two.
    let now = moment()?.wall.max(chain.state.wall);
    let order = Order {
        action,
        number: chain.state.order + 1,
        expires: now.saturating_add(args.expires.saturating_mul(86_400)),
        ledger: chain.id,
        head: chain.head,
    };
    files::write(&args.out, &order.unsigned().emit())?;
    say(text(&order));
    say(format_args!(
        "to be signed by {} of {} operators",
        chain.threshold,
        chain.keys.len()
    ));
    Ok(())
}

fn sign(args: &SignArgs) -> Result<()> {
    let mut signed = load(&args.order)?;
    say(text(&signed.order));
    let operators = args
        .operator
        .iter()
        .map(|path| read_public(path))
        .collect::<Result<Vec<_>, _>>()?;
    signed.sign(&read_key(&args.secret)?, &operators)?;
    files::write(&args.order, &signed.emit())
}

fn apply(args: &ApplyArgs) -> Result<()> {
    let signed = load(&args.order)?;
    let (paths, settings) = (args.at.paths(), args.at.settings()?);
    let (total, head) = ends::whole(|| -> Result<_> {
        let ledger = open(&paths, moment()?, settings, &[], Some(&signed))?;
        let (total, head) = (ledger.total(), ledger.head());
        close(ledger, &args.at)?;
        Ok((total, head))
    })?;
    say(text(&signed.order));
    say(format_args!(
        "done; the total is {}, record {}",
        bytes(total),
        head.seq
    ));
    Ok(())
}

pub(crate) fn lower(args: &LowerArgs) -> Result<()> {
    let (done, result) = ends::whole(|| lowered(args))?;
    for cap in done {
        say(format_args!("{} is {} now", name(cap.limit), bytes(cap.bits)));
    }
    result
}

/// The limits that were lowered, and what came then.
fn lowered(args: &LowerArgs) -> Result<(Vec<Cap>, Result<()>)> {
    let mut ledger = open(&args.at.paths(), moment()?, args.at.settings()?, &[], None)?;
    let mut done = Vec::new();
    let result = lower_all(args, &mut ledger, &mut done);
    let closed = close(ledger, &args.at);
    Ok((done, result.and(closed)))
}

/// All are judged before one is written.
fn lower_all(args: &LowerArgs, ledger: &mut Ledger, done: &mut Vec<Cap>) -> Result<()> {
    let weights = ledger.chain().cap(Limit::Weights);
    let mut caps: Vec<Cap> = Vec::new();
    if let Some(total) = args.total {
        caps.push(Cap {
            limit: Limit::Total,
            bits: total.bits(weights)?,
        });
    }
    for text in &args.window {
        caps.push(window(text, weights)?);
    }
    for (place, cap) in caps.iter().enumerate() {
        let mut before = caps[..place]
            .iter()
            .rev()
            .filter(|other| other.limit == cap.limit);
        let known = before
            .next()
            .map_or_else(|| ledger.chain().cap(cap.limit), |other| Some(other.bits));
        if let Some(known) = known.filter(|&known| cap.bits > known) {
            let (name, known, bits) = (name(cap.limit), bytes(known), bytes(cap.bits));
            let words = format!("{name} is {known}, not {bits}: nothing was lowered");
            return Err(said(&args.at, LedgerError::Cap)).context(words);
        }
    }
    let now = moment()?.since_boot;
    for cap in caps {
        let result = ledger.lower(now, cap);
        result.map_err(|error| said(&args.at, error).context(name(cap.limit)))?;
        done.push(cap);
    }
    Ok(())
}

fn close(ledger: Ledger, at: &At) -> Result<()> {
    ledger
        .close(moment()?.since_boot)
        .map_err(|error| said(at, error))
}

fn said(at: &At, error: LedgerError) -> anyhow::Error {
    let path = at.ledger.clone();
    weir_ledger::Error::Ledger { path, error }.into()
}

fn load(path: &std::path::Path) -> Result<SignedOrder> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    ensure!(bytes.len() < 1 << 16, "{}: too long for an order", path.display());
    SignedOrder::parse(&bytes).with_context(|| path.display().to_string())
}

fn window(text: &str, weights: Option<u64>) -> Result<Cap> {
    let (time, amount) = text
        .split_once('=')
        .context("--window: TIME=AMOUNT, such as day=1GB")?;
    let seconds = seconds(time).map_err(anyhow::Error::msg)?;
    let amount = Amount::parse(amount).map_err(anyhow::Error::msg)?;
    Ok(Cap {
        limit: Limit::Window(seconds),
        bits: amount.bits(weights)?,
    })
}

fn text(order: &Order) -> String {
    let what = match order.action {
        Action::Cap(cap) => format!(
            "{} becomes {} ({} bits)",
            name(cap.limit),
            bytes(cap.bits),
            cap.bits
        ),
        Action::Witness(index) => format!("witness {index} begins anew"),
    };
    format!(
        "order {} for ledger {}, seen at {}, void after {} (seconds since 1970): {what}",
        order.number,
        hex(&order.ledger[..8]),
        hex(&order.head[..8]),
        order.expires
    )
}

fn name(limit: Limit) -> String {
    match limit {
        Limit::Weights => "the weights' size".to_owned(),
        Limit::Total => "the total".to_owned(),
        Limit::Window(seconds) => format!("the limit within {seconds} s"),
    }
}
