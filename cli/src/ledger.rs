//! `weir ledger`: begins, shows and verifies the ledger that the upload budget is kept in.

mod begin;
mod look;
mod order;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use weir_ledger::{Paths, Settings, WitnessAt, read_key};

/// Keeps the upload budget of a model in a file that neither a crash nor a copy can undo
///
/// docs/operations.md goes through it step by step.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Init(begin::InitArgs),
    Keygen(begin::KeygenArgs),
    Show(look::ShowArgs),
    Verify(look::VerifyArgs),
    Export(look::ExportArgs),
    Lower(order::LowerArgs),
    #[command(subcommand)]
    Order(order::Command),
}

/// Which ledger.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct At {
    /// The ledger's file
    #[arg(value_name = "LEDGER")]
    ledger: PathBuf,
    /// A witness: a file, or a weir-witness as udp://ADDRESS:PORT?key=FILE; give all of them, always in the same order
    #[arg(long, value_name = "WITNESS")]
    witness: Vec<WitnessAt>,
    /// The file with the key of the ledger's hashes (64 hexadecimal digits), if it was begun with one
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Init(args) => begin::init(args),
        Command::Keygen(args) => begin::keygen(args),
        Command::Show(args) => look::show(args),
        Command::Verify(args) => look::verify(args),
        Command::Export(args) => look::export(args),
        Command::Lower(args) => order::lower(args),
        Command::Order(command) => order::run(command),
    }
}

impl At {
    fn paths(&self) -> Paths {
        Paths {
            ledger: self.ledger.clone(),
            witnesses: self.witness.clone(),
        }
    }

    fn key(&self) -> Result<Option<[u8; 32]>> {
        Ok(self.key.as_deref().map(read_key).transpose()?)
    }

    fn settings(&self) -> Result<Settings> {
        Ok(Settings {
            key: self.key()?,
            ..Settings::default()
        })
    }
}

fn moment() -> Result<weir_ledger::Moment> {
    weir_ledger::moment().context("cannot read the clock since boot")
}

/// A line, once all is done: whether anybody reads it or not.
fn say(words: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{words}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
