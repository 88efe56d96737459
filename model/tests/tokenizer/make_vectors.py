#!/usr/bin/env python3
"""Makes vectors/tokenizer.json.gz: texts, and the ids that llama.cpp gives them.

    python model/tests/tokenizer/make_vectors.py MODELS vectors/tokenizer.json.gz

MODELS is a folder that holds the GGUF files named in `MODELS` below (only their vocabularies are read). Needs
llama-cpp-python; everything else is the standard library. The same inputs give the same bytes.

The file is gzipped JSON:

    llama_cpp   version of llama-cpp-python
    lines       10,000 texts
    chats       conversations, as lists of [role, content]; no content holds the text of a control token
    models      by file name: `ids` of every line (special=False), `chats` the ids of every conversation, rendered by
                llama-cpp-python's Jinja2ChatFormatter and tokenized with special=True, and `scalars`: see `scalar_digests`
"""

import gzip
import hashlib
import json
import os
import random
import sys

import llama_cpp
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

MODELS = ["smollm2-135m-instruct-q4_1.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"]
LINES = 10_000

WORDS = """the of and to in is that it was for on are as with his they be at one have this from or had by not but what
all were when we there can an your which their said if do will each about how up out them then she many some so these
would other into has more her two like him see time could no make than first been its who now people my made over did
down only way find use may water long little very after words called just where most know weights measure frame budget
coder token sampler internationalization antidisestablishmentarianism lowercase UPPERCASE CamelCase snake_case naïve
café résumé Straße Ærøskøbing señor Ελληνικά русский текст український""".split()
CODE = r"""
fn main() { println!("{:>8.3}", x as f32 / 2.0); }
    let mut v: Vec<u32> = (0..n).map(|i| i * 2 + 1).collect();
for i in range(len(xs)):  # comment
	if (a != b && c <= d) { return *p++; }
def f(x: int = 0x7fff_ffff, *args, **kwargs) -> "str":
SELECT * FROM t WHERE a = 'it''s' AND b IS NOT NULL;
#include <stdio.h>
{"key": [1, 2.5e-10, null, true], "nested": {"a\n": "\u00e9"}}
<div class="x-y_z">&nbsp;&lt;</div>
s/[^a-z]+/-/g; awk '{print $1}' | sort -u >> /dev/null 2>&1
https://example.com/path?q=1&r=%20#frag
a=b+c;//x/*y*/--z!!===~^%$#@`\|?<>
""".strip("\n").split("\n")
EMOJI = ["😀", "👩‍👩‍👧‍👦", "👍🏽", "🏳️‍🌈", "🇩🇪🇫🇷", "❤️", "1️⃣", "🧑🏿‍🚀", "☃", "🫠", "👨🏻‍⚕️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
SCRIPTS = ["你好，世界！", "これはテストです。", "カタカナ", "한국어 문장입니다", "مرحبا بالعالم", "السَّلامُ عَلَيْكُمْ", "שָׁלוֹם", "नमस्ते दुनिया",
           "क्षत्रिय", "ภาษาไทย", "தமிழ்", "မြန်မာ", "ქართული", "Հայերեն", "አማርኛ", "ᚠᚢᚦ", "𐍈𐌰", "𝒳𝟙²³½Ⅷ", "٣٤٥", "१२३", "〇一二", "ﬁﬂ", "ǅ",
           "『』、。", "——…", "₿€£", "∑∫√≠", "→⇒", "a\u0301e\u0308", "Z\u0351\u036b\u0343\u032a\u0302", "\u200bx\u200f\u202e", "\ufeff", "\u00ad"]
SPACES = [" ", "  ", "   ", "        ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r\n\r\n", " \n", "\n ", "\r", " \t \n\t ", "\u00a0",
          "\u3000", "\u2003", "\u2028", "\u0085", "\x0b", "\x0c", " " * 40, "\n" * 17, "\u00a0\u00a0 "]
CONTRACTIONS = ["it's", "IT'S", "don't", "DON'T", "we're", "We'Re", "I've", "I'm", "I'M", "they'll", "THEY'LL", "he'd", "'s", "'S",
                "''s", "' s", "o'clock", "'tis", "rock'n'roll", "'\u017f", "it\u2019s", "'ll'll", "'re're", "'l", "'v", "x'"]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>system\n", "<tool_call>", "</tool_call>", "<s>", "</s>",
           "<repo_name>", "<|fim_prefix|>", "[PAD151665]", "<|im_", "start|>", "<|", "|>", "<unk>", "<tool_call", "<|vision_start|>"]
PUNCTUATION = list(".,;:!?-_()[]{}'\"/\\@#$%^&*+=<>|~`") + ["...", "!!!", "?!", "--", "->", "=>", "::", "//", "**", "```", '"""', ").", "',"]


def number(rng):
    return rng.choice([str(rng.randrange(10 ** rng.randrange(1, 20))), f"{rng.random():.6f}", f"{rng.randrange(1, 2000)},000",
                       f"{rng.randrange(24)}:{rng.randrange(60):02}", hex(rng.randrange(1 << 40)), f"{rng.randrange(100)}%"])


def scalar(rng):
    """A random Unicode scalar value, mostly from the planes in use; assigned or not."""
    while True:
        top = rng.choice([0x80, 0x250, 0x800, 0x3000, 0x10000, 0x10000, 0x20000, 0x20000, 0x110000])
        c = rng.randrange(top)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def prose(rng):
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 9)))
    return text.capitalize() + rng.choice([".", "?", "!", ",", ""]) if rng.random() < 0.5 else text


def part(rng):
    kinds = [prose, number, scalar, lambda r: r.choice(CODE), lambda r: r.choice(EMOJI), lambda r: r.choice(SCRIPTS),
             lambda r: r.choice(SPACES), lambda r: r.choice(CONTRACTIONS), lambda r: r.choice(SPECIAL),
             lambda r: r.choice(PUNCTUATION), lambda r: r.choice(WORDS)]
    return rng.choice(kinds)(rng)


def line(rng, at):
    kind = at % 10
    if kind < 2:
        return prose(rng)
    if kind == 2:
        return "\n".join(rng.choice(CODE) for _ in range(rng.randrange(1, 3)))
    if kind == 3:
        return "".join(rng.choice(SPACES) + rng.choice(["", "x", "7", ".", "é"]) for _ in range(rng.randrange(1, 5)))
    if kind == 4:
        return "".join(scalar(rng) + rng.choice(["", "", " ", "a", "1", "'s"]) for _ in range(rng.randrange(1, 7)))
    if kind == 5:
        return rng.choice(["", " "]).join(rng.choice(SCRIPTS + EMOJI) for _ in range(rng.randrange(1, 4)))
    if kind == 6:
        return rng.choice(["", " "]).join(rng.choice(CONTRACTIONS + PUNCTUATION) for _ in range(rng.randrange(1, 6)))
    return rng.choice(["", "", " "]).join(part(rng) for _ in range(rng.randrange(1, 5)))


def make_lines():
    rng = random.Random(1)
    fixed = ["", " ", "\n", "a", "\u0000", "\u0004x", " " * 1000, "a" * 1000, "1" * 100, "\n" * 300, "'", "<|im_start|>" * 3]
    seen = dict.fromkeys(fixed)
    at = 0
    while len(seen) < LINES:
        seen.setdefault(line(rng, at))
        at += 1
    return list(seen)


def make_chats(lines):
    plain = [text for text in lines if "<" not in text and "[" not in text]
    rng = random.Random(2)
    chats = [[["user", "Hello"]], [["user", ""]], [["system", "Be brief."], ["user", " Why?\n"]], [["user", "\n\n  a  \n"]]]
    while len(chats) < 60:
        chat = [["system", rng.choice(plain)]] if rng.random() < 0.5 else []
        for turn in range(rng.choice([1, 1, 3, 5])):
            chat.append([["user", "assistant"][turn % 2], rng.choice(plain)])
        chats.append(chat)
    return chats


def scalar_digests(encode):
    """For every block of 4096 code points: 8 hex digits of the SHA-256 over the ids (4 bytes each, little-endian) of 64
    texts, each one `a{c}b 1{c} {c}'s\\n{c} ` for 64 code points c, without surrogates. So every character is in the
    vectors at the cost of a digest."""
    digests = []
    for block in range(0, 0x110000, 0x1000):
        digest = hashlib.sha256()
        for start in range(block, block + 0x1000, 64):
            chars = [chr(code) for code in range(start, start + 64) if not 0xD800 <= code < 0xE000]
            for token in encode("".join(f"a{c}b 1{c} {c}'s\n{c} " for c in chars), False):
                digest.update(token.to_bytes(4, "little"))
        digests.append(digest.hexdigest()[:8])
    return digests


def main():
    folder, out = sys.argv[1:]
    lines = make_lines()
    chats = make_chats(lines)
    models = {}
    for name in MODELS:
        llama = llama_cpp.Llama(os.path.join(folder, name), vocab_only=True, verbose=False)

        def encode(text, special):
            return llama.tokenize(text.encode(), add_bos=False, special=special)

        token = lambda id: llama._model.token_get_text(id)
        formatter = Jinja2ChatFormatter(template=llama.metadata["tokenizer.chat_template"], eos_token=token(llama.token_eos()),
                                        bos_token=token(llama.token_bos()), add_generation_prompt=True)
        rendered = [formatter(messages=[{"role": r, "content": c} for r, c in chat]).prompt for chat in chats]
        models[name] = {
            "ids": [encode(text, False) for text in lines],
            "chats": [encode(text, True) for text in rendered],
            "scalars": scalar_digests(encode),
        }
    vectors = {"llama_cpp": llama_cpp.__version__, "lines": lines, "chats": chats, "models": models}
    data = json.dumps(vectors, ensure_ascii=False, separators=(",", ":")).encode()
    with open(out, "wb") as file:
        file.write(gzip.compress(data, 9, mtime=0))


main()
