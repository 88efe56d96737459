//! Looking at a ledger, which may be in use meanwhile.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use weir_ledger::{
    CONTENT_LEN, Chain, Entry, Limit, RECORD_LEN, Record, WitnessAt, archive, compare, look, read,
};

use super::{At, hex, say};
use crate::number::bytes;
use weir_setup::tool::table;

/// Shows limits, what is spent of them, and the state of the witnesses
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    at: At,
    /// As one object of JSON
    #[arg(long)]
    json: bool,
}

/// Verifies every record since the ledger began, and compares the head with the witnesses
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    at: At,
}

/// Writes every record as a line of JSON, from the first one on
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    at: At,
}

pub(crate) fn show(args: &ShowArgs) -> Result<()> {
    let chain = read(&args.at.ledger, args.at.key()?.as_ref())?;
    let state = &chain.state;
    let total = chain.cap(Limit::Total).unwrap_or(0);
    let windows = chain.caps.iter().filter_map(|cap| match cap.limit {
        Limit::Window(seconds) => Some((seconds, cap.bits, chain.charged_within(seconds))),
        _ => None,
    });
    if args.json {
        let windows: Vec<Value> = windows
            .map(|(seconds, bits, charged)| json!({"seconds": seconds, "bits": bits, "charged": charged}))
            .collect();
        let shown = json!({
            "id": hex(&chain.id), "weights": hex(&chain.weights), "weights_bits": chain.cap(Limit::Weights),
            "seq": chain.seq, "head": hex(&chain.head), "running": chain.open, "total": total, "spent": state.spent,
            "reserved": state.reserved, "repeats": state.repeats, "handshakes": state.handshakes,
            "datagrams": state.datagrams, "starts": state.starts, "order": state.order, "windows": windows,
            "operators": chain.keys.iter().map(|key| hex(key)).collect::<Vec<_>>(), "threshold": chain.threshold,
            "torn_bytes": chain.torn, "witnesses": chain.witnesses,
        });
        say(shown);
        return Ok(());
    }
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let part =
        |spent: u64, of: u64| format!("{} of {}, {:.3} %", bytes(spent), bytes(of), percent(spent, of));
    let mut rows = vec![
        row("ledger", hex(&chain.id)),
        row("weights", hex(&chain.weights)),
        row("head", hex(&chain.head)),
        row("record", chain.seq.to_string()),
        row("spent", part(state.spent, total)),
    ];
    if let Some(weights) = chain.cap(Limit::Weights) {
        rows.push(row("spent of the weights", part(state.spent, weights)));
    }
    rows.push(row("reserved", bytes(state.reserved - state.spent)));
    for (seconds, bits, charged) in windows {
        rows.push(row(&format!("within {seconds} s"), part(charged, bits)));
    }
    rows.extend([
        row(
            "repeats, handshakes",
            format!("{}, {}", bytes(state.repeats), bytes(state.handshakes)),
        ),
        row("datagrams", state.datagrams.to_string()),
        row("starts", state.starts.to_string()),
        row(
            "program",
            if chain.open {
                "running, or crashed"
            } else {
                "closed"
            }
            .to_owned(),
        ),
        row(
            "operators",
            format!("{}, of whom {} must sign", chain.keys.len(), chain.threshold),
        ),
        row("last order", state.order.to_string()),
        row("witnesses", chain.witnesses.to_string()),
    ]);
    for (index, which) in (0..).zip(&args.at.witness) {
        let verdict = match witness(which, &args.at, &chain, index) {
            Ok(()) => "agrees".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        rows.push(row(&format!("witness {index}"), verdict));
    }
    table::print(&rows);
    Ok(())
}

pub(crate) fn verify(args: &VerifyArgs) -> Result<()> {
    let segments = segments(&args.at)?;
    let (_, last) = segments.last().context("no segment")?;
    let records: usize = segments.iter().map(|(_, chain)| chain.records.len()).sum();
    if last.torn > 0 {
        let _ = writeln!(
            std::io::stderr(),
            "weir: {} bytes at the end are a torn write; the next start drops them",
            last.torn
        );
    }
    for (index, which) in (0..).zip(&args.at.witness) {
        witness(which, &args.at, last, index)?;
    }
    say(format_args!(
        "{records} records in {} segments and {} of {} witnesses agree: {} bits spent, {} reserved, head {}",
        segments.len(),
        args.at.witness.len(),
        last.witnesses,
        last.state.spent,
        last.state.reserved,
        hex(&last.head)
    ));
    Ok(())
}

pub(crate) fn export(args: &ExportArgs) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (bytes, chain) in segments(&args.at)? {
        for (record, (hash, _)) in bytes.chunks_exact(RECORD_LEN).zip(&chain.records) {
            let content = record.first_chunk::<CONTENT_LEN>().context("a record")?;
            let line = line(&Record::parse(content)?, hash);
            writeln!(out, "{line}")?;
        }
    }
    Ok(out.flush()?)
}

fn line(record: &Record, hash: &[u8; 32]) -> Value {
    let Record { entry, seq, state } = record;
    let (kind, about) = match entry {
        Entry::Id { id, witnesses } => ("id", json!({"id": hex(id), "witnesses": witnesses})),
        Entry::Weights { hash } => ("weights", json!({"hash": hex(hash)})),
        Entry::Key { threshold, key } => ("key", json!({"threshold": threshold, "key": hex(key)})),
        Entry::Cap { cap, order } => {
            let limit = match cap.limit {
                Limit::Weights => json!("weights"),
                Limit::Total => json!("total"),
                Limit::Window(seconds) => json!({"window": seconds}),
            };
            (
                "cap",
                json!({"limit": limit, "bits": cap.bits, "order": hex(order)}),
            )
        }
        Entry::Witness { index, order } => ("witness", json!({"index": index, "order": hex(order)})),
        Entry::Open { witnesses } => ("open", json!({"witnesses": witnesses})),
        Entry::Reserve => ("reserve", json!({})),
        Entry::Close => ("close", json!({})),
        Entry::Checkpoint { head, open } => ("checkpoint", json!({"head": hex(head), "running": open})),
        Entry::Past => ("past", json!({})),
    };
    json!({
        "seq": seq, "kind": kind, "about": about, "hash": hex(hash), "time_us": state.time,
        "boot": format!("{:016x}", state.boot), "since_boot_us": state.boot_micros, "wall_s": state.wall,
        "spent": state.spent, "reserved": state.reserved, "repeats": state.repeats,
        "handshakes": state.handshakes, "datagrams": state.datagrams, "starts": state.starts, "order": state.order,
    })
}

/// All segments that are there, oldest first, each verified and following the one before.
fn segments(at: &At) -> Result<Vec<(Vec<u8>, Chain)>> {
    let key = at.key()?;
    let load = |path: &Path| -> Result<(Vec<u8>, Chain)> {
        let chain = read(path, key.as_ref())?;
        Ok((std::fs::read(path)?, chain))
    };
    let mut segments = vec![load(&at.ledger)?];
    loop {
        let first = &segments[segments.len() - 1].1;
        if first.older == [0; 32] {
            break;
        }
        let last_of_older = first.seq - first.records.len() as u64;
        let path = archive(&at.ledger, last_of_older);
        // An older segment that is not there is a file that is missed, not a ledger.
        let there = path.metadata().map(drop);
        let there = there.map_err(|error| weir_ledger::Error::File {
            path: path.clone(),
            error,
        });
        let older = there
            .map_err(Into::into)
            .and_then(|()| load(&path))
            .with_context(|| format!("{}: an older segment", path.display()))?;
        if older.1.head != first.older {
            bail!("{}: does not end where the next segment begins", path.display());
        }
        segments.push(older);
    }
    segments.reverse();
    Ok(segments)
}

fn witness(witness: &WitnessAt, at: &At, chain: &Chain, index: u16) -> Result<()> {
    let held = look(witness, chain, index, at.key()?.as_ref())?;
    compare(chain, index, held).map_err(|error| {
        let path = at.ledger.clone();
        weir_ledger::Error::Ledger { path, error }.into()
    })
}

fn percent(spent: u64, of: u64) -> f64 {
    100.0 * spent as f64 / of.max(1) as f64
}
