use super::*;
use crate::testing::{Tiny, tiny_gguf};
use crate::{Model, Options, Unverified, fuzzing, golden};

fn weir(tiny: &Tiny) -> Vec<u8> {
    let mut out = Vec::new();
    let gguf = tiny_gguf(tiny);
    let network = Weights::from_gguf("tiny", &gguf).unwrap().network;
    write(&network, Gguf::parse("tiny", &gguf).unwrap().head, &mut out).unwrap();
    out
}

fn verified(bytes: Vec<u8>) -> Result<Weights, Error> {
    let (weights, seals) = read("x", Arc::new(bytes))?;
    seals.verify(&weights.network)?;
    Ok(weights)
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
        assert_eq!(golden::golden(&mut a).unwrap(), golden::golden(&mut b).unwrap());
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
        assert!(verified(bad).is_err(), "byte {at}");
        assert!(verified(good[..at].to_vec()).is_err(), "cut at {at}");
        fuzzing::weir_file(&good[..at]);
        step = if at < 300 { 1 } else { step + 997 };
        at += step;
    }
    let mut long = good;
    long.push(0);
    assert!(verified(long).is_err());
}

/// Loading looks at the front only; nothing comes of weights that do not verify.
#[test]
fn weights_are_read_when_they_are_verified() {
    let mut bytes = weir(&Tiny::default());
    *bytes.last_mut().unwrap() ^= 1;
    let unverified = Unverified::from_bytes("x", &bytes, &Options::default()).unwrap();
    assert!(matches!(unverified.verify(), Err(Error::Format { .. })));
}

/// Changes behind hashes that are right: what is then loaded is the file's, or it is refused.
#[test]
fn what_is_sealed_is_not_believed() {
    let good = weir(&Tiny {
        layers: 1,
        ..Tiny::default()
    });
    let front = Front::read("x", &good).unwrap();
    let entries = front.entries("x", &good).unwrap();
    let honest = verified(good.clone()).unwrap().hash;

    // The last entry again, with other data: a loader that takes the last of a name would use these weights.
    let last = entries.last().unwrap();
    let entry_len = 1 + last.name.len() + 17 + 32;
    let mut twice = good.clone();
    let entry = good[front.table.end - entry_len..front.table.end].to_vec();
    twice.splice(front.table.end..front.table.end, entry);
    let table = (front.table.len() + entry_len) as u64;
    twice[field::TABLE_LEN].copy_from_slice(&table.to_le_bytes());
    // Data begins at a multiple of 64 from the file's start, so all of it is laid out anew.
    let (head, data) = twice.split_at(front.table.end + entry_len);
    let mut twice = head.to_vec();
    let skip = entry_len + front.table.end;
    let data: Vec<_> = entries
        .iter()
        .map(|e| data[e.range.start + entry_len - skip..][..e.range.len()].to_vec())
        .collect();
    let other: Vec<u8> = data.last().unwrap().iter().map(|&byte| byte ^ 1).collect();
    for data in data.iter().chain([&other]) {
        twice.resize(twice.len().next_multiple_of(ALIGN), 0);
        twice.extend(data);
    }
    reseal(&mut twice).unwrap();
    assert!(verified(twice).is_err());

    // A sub-scale beyond six bits.
    let entry = entries.iter().find(|e| e.kind == Kind::Q4K as u8).unwrap();
    let mut bad = good.clone();
    bad[entry.range.start + 4 * 16 * 2] = 0x70;
    reseal(&mut bad).unwrap();
    assert!(verified(bad).is_err());

    // An honest change gives another hash.
    let mut changed = good;
    let entry = entries.iter().find(|e| e.kind == Kind::Q8_0 as u8).unwrap();
    changed[entry.range.end - 1] ^= 1;
    reseal(&mut changed).unwrap();
    assert_ne!(verified(changed).unwrap().hash, honest);
}
