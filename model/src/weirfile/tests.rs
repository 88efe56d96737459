use super::*;
use crate::testing::{Tiny, tiny_gguf};
use crate::{Model, Options, fuzzing};

fn weir(tiny: &Tiny) -> Vec<u8> {
    let mut out = Vec::new();
    write("tiny", &tiny_gguf(tiny), &mut out).unwrap().unwrap();
    out
}

#[test]
fn a_converted_model_is_the_same_model() {
    for tiny in Tiny::GOLDEN {
        let options = Options {
            threads: 1,
            kv_tokens: 256,
            ..Options::default()
        };
        let mut a = Model::from_bytes("gguf", &tiny_gguf(&tiny), &options).unwrap();
        let mut b = Model::from_bytes("weir", &weir(&tiny), &options).unwrap();
        assert_eq!(a.hash(), b.hash());
        assert_eq!(digest::golden(&mut a).unwrap(), digest::golden(&mut b).unwrap());
    }
    assert_ne!(
        weir(&Tiny::GOLDEN[0]),
        weir(&Tiny {
            seed: 9,
            ..Tiny::GOLDEN[0]
        })
    );
}

#[test]
fn files_on_disk_are_mapped() {
    let dir = std::env::temp_dir().join(format!("weir-model-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (gguf, weir) = (dir.join("tiny.gguf"), dir.join("tiny.weir"));
    std::fs::write(&gguf, tiny_gguf(&Tiny::default())).unwrap();
    convert(&gguf, &weir).unwrap();
    let options = Options {
        threads: 1,
        ..Options::default()
    };
    let hashes = [&gguf, &weir].map(|path| Model::load(path, &options).unwrap().hash());
    assert_eq!(hashes[0], hashes[1]);
    assert!(matches!(
        Model::load(&dir.join("none"), &options),
        Err(Error::Io { .. })
    ));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn metadata_is_the_same_in_both_containers() {
    let gguf = tiny_gguf(&Tiny::default());
    let key = "tokenizer.ggml.tokens";
    let tokens = |bytes: &[u8]| {
        metadata("x", bytes)
            .unwrap()
            .strings(key)
            .unwrap()
            .unwrap()
            .join(" ")
    };
    assert_eq!(tokens(&gguf), tokens(&weir(&Tiny::default())));
}

#[test]
fn every_changed_or_missing_byte_is_an_error() {
    let good = weir(&Tiny {
        layers: 1,
        ..Tiny::default()
    });
    let mut at = 0;
    let mut step = 1;
    while at < good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let padding = read("x", Arc::new(bad)).is_ok();
        assert!(!padding || good[at] == 0, "byte {at}");
        assert!(read("x", Arc::new(good[..at].to_vec())).is_err(), "cut at {at}");
        fuzzing::weir_file(&good[..at]);
        step = if at < 300 { 1 } else { step + 997 };
        at += step;
    }
    let mut long = good;
    long.push(0);
    assert!(read("x", Arc::new(long)).is_err());
}
