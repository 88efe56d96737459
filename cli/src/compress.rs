//! `weir compress` and `weir decompress`: files under the weak model's prediction. SPEC 8.2.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use weir_codec::text::{self, Window};
use weir_model::{Predict as _, Token, Tokenizer};
use weir_setup::Source;
use weir_setup::source::EMBEDDED;

use crate::aside;
use crate::container::Header;
use weir_setup::tool::clock::Stopwatch;
use weir_setup::tool::machine::{self, Machine};
use weir_setup::tool::{files, progress};

/// Compresses a file of any kind under the weak model
///
/// Text that the model knows becomes far smaller than with zstd; everything else costs time and gains little. Only the
/// same model reads it back, on any machine.
#[derive(Debug, clap::Args)]
pub(crate) struct CompressArgs {
    /// The model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE", default_value = EMBEDDED)]
    weak: String,
    /// The file to compress
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Tokens that the model looks back, at most
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    window: u32,
    #[command(flatten)]
    machine: Machine,
}

/// Reads back what `weir compress` wrote
#[derive(Debug, clap::Args)]
pub(crate) struct DecompressArgs {
    /// The model that the file was compressed under
    #[arg(long, value_name = "FILE", default_value = EMBEDDED)]
    weak: String,
    /// The file to read
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Refuse a file that says it holds more bytes: what a few bytes can mean has no bound
    #[arg(long, value_name = "N", default_value_t = 1 << 30)]
    max_bytes: u64,
    #[command(flatten)]
    machine: Machine,
}

pub(crate) fn compress(args: &CompressArgs) -> Result<()> {
    let watch = Stopwatch::start();
    let content = read(&args.input)?;
    let source = Source::weak(&args.weak);
    let tokenizer = machine::tokenizer(&source)?;
    let spinner = progress::spinner("Cutting into tokens");
    // Some vocabularies lack single bytes: those go another way.
    let (text, missing) = aside::take(&content, |byte| tokenizer.encodes(byte));
    let tokens = tokenizer.encode_bytes(&text);
    spinner.finish_and_clear();
    ensure!(
        tokenizer.decode(&tokens) == text,
        "{}: the tokenizer of {} does not give back what it was given",
        args.input.display(),
        source.name()
    );

    let mut model = machine::load(
        &source,
        &args.machine.options(args.window as usize, args.window as usize),
    )?;
    let window = args
        .window
        .min(u32::try_from(model.max_context()).unwrap_or(u32::MAX));
    let header = Header {
        model: model.hash(),
        tokenizer: tokenizer.hash(),
        content: *blake3::hash(&content).as_bytes(),
        length: content.len() as u64,
        tokens: tokens.len() as u64,
        window,
        overlap: window / 4,
        start: start(&tokenizer)?,
        missing: missing.len() as u64,
    };
    let bar = progress::bar(header.tokens, "Compressing", "tokens");
    let (kernel, mut code) = (model.info().kernel, Vec::new());
    let stats = text::compress(
        &mut model,
        kernel,
        span(&header),
        header.start,
        &tokens,
        &mut code,
        &mut |done| {
            bar.set_position(done as u64);
        },
    )?;
    bar.finish_and_clear();
    let file = header
        .emit(&missing, &code)
        .context("this cannot be compressed")?;
    files::write(&args.output, &file)?;
    let bits = 8.0 * file.len() as f64;
    println!(
        "{}: {} bytes, {} tokens -> {}: {} bytes, {:.3} bits/byte, {:.3} bits/token, {:.1} s; \
         {:.1} % of the {:.3} bits/token that the model alone would take",
        args.input.display(),
        content.len(),
        tokens.len(),
        args.output.display(),
        file.len(),
        bits / content.len().max(1) as f64,
        bits / tokens.len().max(1) as f64,
        watch.seconds(),
        100.0 * stats.coded_bits / stats.plain_bits.max(1.0),
        stats.plain_bits / tokens.len().max(1) as f64,
    );
    Ok(())
}

pub(crate) fn decompress(args: &DecompressArgs) -> Result<()> {
    let name = args.input.display();
    let file = read(&args.input)?;
    let (header, missing, code) =
        Header::parse(&file).with_context(|| format!("cannot decompress {name}"))?;
    ensure!(
        header.length <= args.max_bytes,
        "{name} says that it holds {} bytes; --max-bytes allows {}",
        header.length,
        args.max_bytes
    );
    let source = Source::weak(&args.weak);
    let tokenizer = machine::tokenizer(&source)?;
    let window = header.window as usize;
    // A model's hash is known once it is loaded; a file of that model asks for no more than its context.
    let mut model = machine::load(&source, &args.machine.options(window, window))?;
    ensure!(
        header.model == model.hash() && header.tokenizer == tokenizer.hash(),
        "{name} was compressed under another model, with hash {}; {} has {}. Name the right one with --weak",
        short(&header.model),
        source.name(),
        short(&model.hash()),
    );
    let count = usize::try_from(header.tokens).context("the file is too large for this machine")?;
    let bar = progress::bar(header.tokens, "Decompressing", "tokens");
    let (kernel, mut bytes) = (model.info().kernel, 0);
    let tokens = text::decompress(
        &mut model,
        kernel,
        span(&header),
        header.start,
        code,
        count,
        &mut |token| {
            bar.inc(1);
            bytes += tokenizer.token_bytes(token).len() as u64;
            match bytes <= header.length {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        },
    );
    bar.finish_and_clear();
    ensure!(
        !matches!(tokens, Err(weir_codec::Error::Stopped)),
        "cannot decompress {name}: it says that it holds {} bytes, and its code has more",
        header.length
    );
    let text = tokenizer.decode(&tokens.with_context(|| format!("cannot decompress {name}"))?);
    let content = aside::put_back(&text, missing, |byte| tokenizer.encodes(byte)).with_context(|| {
        format!("cannot decompress {name}: its list of missing bytes does not fit its text")
    })?;
    let intact =
        content.len() as u64 == header.length && *blake3::hash(&content).as_bytes() == header.content;
    ensure!(
        intact,
        "what came out of {name} is not what was compressed: the program that made it was faulty"
    );
    files::write(&args.output, &content)?;
    println!("{name} -> {}: {} bytes", args.output.display(), content.len());
    Ok(())
}

fn span(header: &Header) -> Window {
    Window {
        size: header.window as usize,
        overlap: header.overlap as usize,
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The token that stands before a text: the one that ends documents, where the tokenizer has it.
fn start(tokenizer: &Tokenizer) -> Result<Token> {
    match tokenizer.encode_with_special("<|endoftext|>")[..] {
        [token] => Ok(token),
        _ => tokenizer
            .end_tokens()
            .first()
            .copied()
            .context("the tokenizer has no token that ends a text"),
    }
}

fn short(hash: &[u8; 32]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
