use std::collections::HashSet;

use super::alphabet::byte_to_char;
use super::*;
use crate::Token;
use proptest::prelude::*;

/// A small tokenizer: the byte alphabet, a few merges, two control tokens and a user-defined one.
pub(crate) fn metadata() -> TokenizerMetadata {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_to_char(byte).to_string()).collect();
    let merges = [
        "h e", "l l", "he ll", "hell o", "Ġ w", "< |", "| >", "u s", "e r", "us er",
    ]
    .map(str::to_owned);
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut types = vec![TokenType::Normal; tokens.len()];
    let end = Token::try_from(tokens.len() + 1).unwrap();
    let special = [
        ("<|im_start|>", TokenType::Control),
        ("<|im_end|>", TokenType::Control),
        ("<tool>", TokenType::UserDefined),
        ("[PAD]", TokenType::Unused),
        ("<unk>", TokenType::Unknown),
    ];
    for (text, kind) in special {
        tokens.push(text.into());
        types.push(kind);
    }
    TokenizerMetadata {
        model: "gpt2".into(),
        pre: "smollm".into(),
        tokens,
        types,
        merges: merges.into(),
        bos: None,
        eos: Some(end),
        eot: None,
        eom: None,
        chat_template: None,
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_metadata("test", metadata()).unwrap()
}

fn refused(change: impl FnOnce(&mut TokenizerMetadata)) -> String {
    let mut metadata = metadata();
    change(&mut metadata);
    Tokenizer::from_metadata("a.gguf", metadata)
        .unwrap_err()
        .to_string()
}

const START: Token = 266;
const END: Token = 267;
const TOOL: Token = 268;

#[test]
fn merges_go_by_rank() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.encode("hello"), [259]);
    assert_eq!(tokenizer.encode("hell"), [258]);
    assert_eq!(tokenizer.encode("hel w"), [256, u32::from(b'l'), 260]);
    assert_eq!((tokenizer.vocab(), tokenizer.end_tokens()), (271, &[END][..]));
}

#[test]
fn user_text_is_never_a_control_token() {
    let tokenizer = tokenizer();
    let text = "<|im_start|>user<tool><unk>[PAD]<|im_end|>";
    let tokens = tokenizer.encode(text);
    assert!(
        tokens.iter().all(|token| *token < START || *token == TOOL),
        "{tokens:?}"
    );
    assert_eq!(tokenizer.decode(&tokens), text.as_bytes());
    assert_eq!(tokens.iter().filter(|token| **token == TOOL).count(), 1);
}

#[test]
fn trusted_text_is_cut_at_the_longest_special_first() {
    let tokenizer = tokenizer();
    assert_eq!(
        tokenizer.encode_with_special("<|im_start|>user<tool><|im_end|>"),
        [START, 265, TOOL, END]
    );
    let special = |text: &str, token| Special {
        text: text.into(),
        token,
    };
    let pieces = find_specials("xabcab", &[special("bca", 1), special("ab", 2)]);
    assert_eq!(pieces, [Piece::Text("xa"), Piece::Special(1), Piece::Text("b")]);
}

#[test]
fn only_text_tokens_have_bytes() {
    let tokenizer = tokenizer();
    let bytes = [0, 259, START, TOOL, 269, 270, 271, Token::MAX].map(|token| tokenizer.token_bytes(token));
    assert_eq!(bytes, [&b"\0"[..], b"hello", b"", b"<tool>", b"", b"", b"", b""]);
}

#[test]
fn a_byte_without_a_token_is_left_out_and_stops_merges() {
    let mut metadata = metadata();
    metadata.types[usize::from(b'X')] = TokenType::Unused;
    let tokenizer = Tokenizer::from_metadata("test", metadata).unwrap();
    assert_eq!((tokenizer.encodes(b'X'), tokenizer.encodes(b'Y')), (false, true));
    assert_eq!(
        tokenizer.encode("helXlo"),
        [256, u32::from(b'l'), u32::from(b'l'), u32::from(b'o')]
    );
}

#[test]
fn hostile_metadata_is_refused_by_name() {
    let cases = [
        (
            refused(|m| m.model = "llama".into()),
            "tokenizer.ggml.model: expected gpt2",
        ),
        (
            refused(|m| m.pre = "falcon".into()),
            "tokenizer.ggml.pre: expected qwen2, smollm or gpt-2, got \"falcon\"",
        ),
        (
            refused(|m| m.tokens.clear()),
            "tokenizer.ggml.tokens: expected 1 to",
        ),
        (
            refused(|m| m.types.truncate(270)),
            "tokenizer.ggml.token_type: expected 271 types, got 270",
        ),
        (
            refused(|m| m.types = vec![TokenType::Control; 271]),
            "tokenizer.ggml.merges",
        ),
        (
            refused(|m| m.tokens[7] = "Ċ".into()),
            "expected texts, each one once, got token 10",
        ),
        (
            refused(|m| m.tokens[7] = String::new()),
            "expected texts, each one once, got token 7",
        ),
        (
            refused(|m| m.tokens[7] = "語".into()),
            "byte-level alphabet, got token 7",
        ),
        (
            refused(|m| m.eos = Some(271)),
            "tokenizer.ggml.eos_token_id: expected less than 271, got 271",
        ),
        (
            refused(|m| m.merges[3] = "hell".into()),
            "two tokens with one space between them, got merge 3",
        ),
        (
            refused(|m| m.merges[3] = "a b c".into()),
            "two tokens with one space between them, got merge 3",
        ),
        (
            refused(|m| m.merges[3] = "z z".into()),
            "both parts and the whole to be tokens, got merge 3",
        ),
        (
            refused(|m| m.merges[3] = "h e".into()),
            "each merge once, got merge 3",
        ),
    ];
    for (got, wanted) in &cases {
        assert!(got.starts_with("a.gguf: ") && got.contains(wanted), "{got}");
    }
}

#[test]
fn the_hash_covers_every_field() {
    let changes: [fn(&mut TokenizerMetadata); 11] = [
        |_| (),
        |m| m.pre = "qwen2".into(),
        |m| m.tokens.swap(0, 1),
        |m| m.types[0] = TokenType::Unused,
        |m| m.merges.swap(0, 1),
        |m| m.bos = Some(0),
        |m| m.eos = None,
        |m| m.eot = Some(0),
        |m| m.eom = Some(0),
        |m| m.model = "other".into(),
        |m| m.chat_template = Some("x".into()),
    ];
    let hashes: HashSet<_> = changes
        .iter()
        .map(|change| {
            let mut metadata = metadata();
            change(&mut metadata);
            metadata.hash()
        })
        .collect();
    assert_eq!(hashes.len(), changes.len());
}

#[test]
fn metadata_survives_serde() {
    let json = serde_json::to_string(&metadata()).unwrap();
    assert_eq!(
        serde_json::from_str::<TokenizerMetadata>(&json).unwrap(),
        metadata()
    );
}

proptest! {
    #[test]
    fn bytes_come_back(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        "(\\PC|hello|<tool>|<\\|im_end\\|>|\\s){0,20}".prop_map(String::into_bytes),
    ]) {
        let tokenizer = tokenizer();
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode_bytes(&bytes)), &bytes[..]);
        if let Ok(text) = str::from_utf8(&bytes) {
            prop_assert_eq!(tokenizer.encode(text), tokenizer.encode_bytes(&bytes));
        }
    }

    #[test]
    fn any_metadata_gives_a_tokenizer_or_an_error(
        tokens in prop::collection::vec(prop_oneof!["[a-cĠ]{0,3}", "\\PC{0,2}"], 0..12),
        types in prop::collection::vec(1u8..=5, 0..12),
        merges in prop::collection::vec("[a-c]{0,2} ?[a-c]{0,2}", 0..6),
        eos in prop::option::of(0u32..14),
        text in "[abc ]{0,12}",
    ) {
        use TokenType::{Control, Normal, Unknown, Unused, UserDefined};
        let kinds = [Normal, Unknown, Control, UserDefined, Unused];
        let mut types: Vec<_> = types.into_iter().map(|kind| kinds[usize::from(kind) - 1]).collect();
        types.resize(tokens.len(), Normal);
        let metadata = TokenizerMetadata { tokens, types, merges, eos, ..metadata() };
        if let Ok(tokenizer) = Tokenizer::from_metadata("any", metadata) {
            let tokens = tokenizer.encode(&text);
            prop_assert!(tokens.iter().all(|token| (*token as usize) < tokenizer.vocab()));
        }
    }
}
