//! A tiny model through every stage: gradient, fit, generation, and the exported file in another reader.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use weir_train::corpus::{Batch, Example, Sequence};
use weir_train::fit::{Plan, fit};
use weir_train::llama::{Llama, Shape};
use weir_train::optim::gradients;
use weir_train::rng::Rng;
use weir_train::tokenizer::{CHAT_TEMPLATE, IM_END, IM_START, Tokenizer};
use weir_train::{export, generate, loss};

const TINY: Shape = Shape {
    vocab: 300,
    width: 64,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    ff: 128,
    context: 128,
};

fn examples() -> Vec<Example> {
    [
        "Ann has 3 apples and buys 4. How many has she?",
        "Bob had 9 pens and lost 2. How many are left?",
    ]
    .iter()
    .zip(["3 + 4 = 7 apples.\n#### 7", "9 - 2 = 7 pens.\n#### 7"])
    .map(|(prompt, answer)| Example {
        prompt: (*prompt).to_owned(),
        answer: answer.to_owned(),
    })
    .collect()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::train(&examples(), TINY.vocab).unwrap()
}

fn sequences() -> Vec<Sequence> {
    Sequence::encode(&tokenizer(), &examples(), TINY.context).unwrap()
}

fn batch() -> Batch {
    Batch::new(&sequences().iter().collect::<Vec<_>>(), true)
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("weir-train-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Trained just enough that its weights are not those of chance.
fn fitted(name: &str) -> Llama {
    let plan = Plan {
        name: "tiny",
        steps: 60,
        tokens: 256,
        shards: 2,
        rate: 1e-2,
        prompts: false,
        seed: 1,
        work: folder(name),
    };
    let shape = Shape {
        vocab: tokenizer().vocab(),
        ..TINY
    };
    let model = fit(&plan, shape, None, &sequences(), loss::cross_entropy).unwrap();
    // The plan is complete, so the checkpoint comes back as it is.
    let again = fit(&plan, shape, None, &sequences(), |_, _| {
        panic!("nothing is left to do")
    })
    .unwrap();
    for (name, weights) in model.weights() {
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(weights), flat(&again.weights()[name]), "{name}");
    }
    model
}

#[test]
fn every_variable_has_a_gradient_and_it_is_the_slope() {
    let shape = Shape {
        vocab: tokenizer().vocab(),
        ..TINY
    };
    let model = Llama::new(shape, &mut Rng::new(3, 0)).unwrap();
    let gradient = gradients(model.vars(), &loss::cross_entropy(&model, &batch()).unwrap(), 1.0).unwrap();
    assert_eq!(gradient.len(), shape.weights().len());
    for (name, dims) in shape.weights() {
        let gradient = &gradient[&name];
        assert_eq!(gradient.len(), dims.iter().product::<usize>());
        assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
        let length = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
        assert!(length > 0.0, "{name} would not learn");

        // A small step along the gradient changes the loss by its length.
        let step = 2e-3f32;
        let moved = |sign: f32| {
            let mut weights: BTreeMap<String, Tensor> = model.weights().clone();
            let by: Vec<f32> = gradient.iter().map(|g| g * sign * step / length).collect();
            let by = Tensor::from_vec(by, dims.as_slice(), &Device::Cpu).unwrap();
            weights.insert(name.clone(), (&weights[&name] + by).unwrap());
            let model = Llama::frozen(shape, &weights).unwrap();
            f64::from(
                loss::cross_entropy(&model, &batch())
                    .unwrap()
                    .to_scalar::<f32>()
                    .unwrap(),
            )
        };
        let slope = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step));
        // f32 losses near 6 leave about 1e-6 / 4e-3 of noise in a slope.
        let length = f64::from(length);
        assert!(
            (slope - length).abs() < 0.05 * length + 1e-3,
            "{name}: slope {slope}, gradient {length}"
        );
    }
}

#[test]
fn imitation_teaches_the_pupil_and_not_the_teacher() {
    let shape = Shape {
        vocab: tokenizer().vocab(),
        ..TINY
    };
    let teacher = Llama::new(shape, &mut Rng::new(4, 0)).unwrap();
    let frozen = Llama::frozen(shape, teacher.weights()).unwrap();
    let pupil = Llama::new(shape, &mut Rng::new(5, 0)).unwrap();
    let gradient = |pupil: &Llama| {
        gradients(
            pupil.vars(),
            &loss::imitation(pupil, &frozen, &batch()).unwrap(),
            1.0,
        )
        .unwrap()
    };
    assert!(gradient(&pupil).values().flatten().any(|g| g.abs() > 1e-4));
    // A pupil that equals its teacher has nothing to learn.
    assert!(gradient(&teacher).values().flatten().all(|g| g.abs() < 1e-5));
}

#[test]
fn a_model_that_starts_from_another_leaves_it_alone() {
    let shape = Shape {
        vocab: tokenizer().vocab(),
        ..TINY
    };
    let first = Llama::new(shape, &mut Rng::new(7, 0)).unwrap();
    let loss = || {
        loss::cross_entropy(&first, &batch())
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
    };
    let before = loss();
    let plan = Plan {
        name: "second",
        steps: 2,
        tokens: 256,
        shards: 1,
        rate: 1e-2,
        prompts: false,
        seed: 1,
        work: folder("second"),
    };
    fit(
        &plan,
        shape,
        Some(first.weights()),
        &sequences(),
        loss::cross_entropy,
    )
    .unwrap();
    assert_eq!(loss(), before);
}

#[test]
fn it_learns_two_answers_by_heart_and_says_them() {
    let model = fitted("heart");
    let prompts: Vec<_> = sequences()
        .iter()
        .map(|s| s.tokens[..s.prompt].to_vec())
        .collect();
    let said = generate::answer(&model, &prompts, &[0.0, 0.0], TINY.context, 1).unwrap();
    assert_eq!(said, sequences());
    assert_eq!(loss::agreement(&model, &said).unwrap(), 1.0);
}

#[test]
fn cached_steps_give_the_logits_of_the_whole() {
    let shape = Shape {
        vocab: tokenizer().vocab(),
        ..TINY
    };
    let model = Llama::new(shape, &mut Rng::new(6, 0)).unwrap();
    let tokens = &sequences()[0].tokens;
    let batch = Batch::new(&[&sequences()[0]], true);
    let whole = loss::logits(&model, &batch).unwrap().to_vec2::<f32>().unwrap();
    let mut cache = model.cache(1, tokens.len()).unwrap();
    let feed = |tokens: &[u32]| Tensor::from_slice(tokens, (1, tokens.len()), &Device::Cpu).unwrap();
    let (head, tail) = tokens.split_at(5);
    let mut rows = vec![
        model
            .extend(&feed(head), &mut cache)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()
            .remove(0),
    ];
    for token in &tail[..tail.len() - 1] {
        rows.push(
            model
                .extend(&feed(&[*token]), &mut cache)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap()
                .remove(0),
        );
    }
    for (row, whole) in rows.iter().zip(&whole[4..]) {
        assert!(row.iter().zip(whole).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn another_reader_computes_the_same_from_the_exported_file() {
    let model = fitted("export");
    let (shape, path) = (*model.shape(), folder("file").join("tiny.gguf"));
    export::write(&path, "tiny", &shape, model.weights(), &tokenizer()).unwrap();

    let mut file = File::open(&path).unwrap();
    let content = gguf_file::Content::read(&mut file).unwrap();
    let text = |key: &str| content.metadata[key].to_string().unwrap().clone();
    assert_eq!(text("general.architecture"), "llama");
    assert_eq!(text("tokenizer.ggml.model"), "gpt2");
    assert_eq!(text("tokenizer.ggml.pre"), "smollm");
    assert_eq!(text("tokenizer.chat_template"), CHAT_TEMPLATE);
    assert_eq!(
        content.metadata["tokenizer.ggml.eos_token_id"].to_u32().unwrap(),
        IM_END
    );
    assert_eq!(
        content.metadata["tokenizer.ggml.tokens"].to_vec().unwrap().len(),
        shape.vocab
    );
    let mut other = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();

    let ours = Llama::frozen(shape, &export::read(&path, &shape).unwrap()).unwrap();
    let tokens = &sequences()[1].tokens;
    let input = Tensor::from_slice(tokens, (1, tokens.len()), &Device::Cpu).unwrap();
    let theirs = other
        .forward(&input, 0)
        .unwrap()
        .to_vec2::<f32>()
        .unwrap()
        .remove(0);
    let mut cache = ours.cache(1, tokens.len()).unwrap();
    let ours = ours
        .extend(&input, &mut cache)
        .unwrap()
        .to_vec2::<f32>()
        .unwrap()
        .remove(0);
    // The other reader rounds activations to int8 as well.
    let scale = ours.iter().fold(0f32, |a, b| a.max(b.abs()));
    for (a, b) in ours.iter().zip(&theirs) {
        assert!((a - b).abs() < 0.05 * scale, "{a} {b}");
    }
}

#[test]
fn tokens_follow_smollm() {
    let tokenizer = tokenizer();
    let pieces = tokenizer.pieces().unwrap();
    assert_eq!(pieces[..3], ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]);
    // All bytes, then one token per merge, in the order of the merges.
    let merges = tokenizer.merges().unwrap();
    assert_eq!(pieces.len(), 3 + 256 + merges.len());
    for (piece, merge) in pieces[259..].iter().zip(&merges) {
        assert_eq!(*piece, merge.replace(' ', ""));
    }
    let text = |tokens: &[u32]| {
        tokens
            .iter()
            .map(|t| pieces[*t as usize].as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(text(&tokenizer.encode("1234").unwrap()), ["1", "2", "3", "4"]);
    for strange in ["", "\r\n\t  x", "\u{0}\u{7f}é漢🦀", "  two  spaces  "] {
        assert_eq!(
            tokenizer.decode(&tokenizer.encode(strange).unwrap()).unwrap(),
            strange
        );
    }
    let prompt = tokenizer.prompt("Hi").unwrap();
    assert_eq!(
        (prompt[0], prompt.iter().filter(|t| **t == IM_END).count()),
        (IM_START, 1)
    );
    assert_eq!(tokenizer.decode(&prompt).unwrap(), "user\nHi\nassistant\n");
}
