"""llama.cpp as the peer of `weir-lab bench model`: it does on command what that bench does with the exact engine.

Prints one JSON line once the model is loaded, then one for every command line that it reads:

    prefill 512       one prompt of 512 tokens, no logits
    decode 16 32 16   16 sequences with 32 positions already, then 16 steps of all together, logits of every row

Only llama_decode and the wait for its end are timed. Between commands it waits on its input and computes nothing.
What the peer logs is dropped, except errors. Not called llama_cpp.py, since it would then import itself.
"""

import argparse
import ctypes
import json
import os
import sys
import time

try:
    import llama_cpp as api
except (ImportError, OSError, RuntimeError) as error:
    reason = " ".join(str(error).split())
    sys.exit(f"the Python package llama_cpp is not there ({reason}); benches/peers/install.sh installs it")

# Most tokens that one call of llama_decode takes here.
BATCH = 512
# ggml's level of errors, and of what continues the line before.
ERROR, CONTINUED = 4, 5


class Log:
    """Lets errors through to standard error."""

    def __init__(self):
        self.level = 0
        self.callback = api.llama_log_callback(self.line)  # lives as long as the library calls it
        api.llama_log_set(self.callback, ctypes.c_void_p(0))

    def line(self, level, text, _):
        self.level = self.level if level == CONTINUED else level
        if self.level == ERROR:
            sys.stderr.write(text.decode("utf-8", "replace"))


class Model:
    """The weights, and a context of just the size that the work at hand needs."""

    def __init__(self, path, threads):
        self.log = Log()
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = api.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        self.threads = threads
        self.context, self.shape = None, None

    def fit(self, slots, positions):
        """An empty context for `slots` sequences; the one that is there if it has that size."""
        if self.shape != (slots, positions):
            if self.context:
                api.llama_free(self.context)
            params = api.llama_context_default_params()
            params.n_ctx = slots * positions
            params.n_seq_max = slots
            params.n_batch = params.n_ubatch = BATCH
            params.n_outputs_max = slots
            params.n_threads = params.n_threads_batch = self.threads
            self.context = api.llama_init_from_model(self.model, params)
            if not self.context:
                sys.exit(f"llama.cpp makes no context for {slots} sequences of {positions} positions")
            self.shape = slots, positions
        api.llama_memory_clear(api.llama_get_memory(self.context), True)

    def batch(self, rows, logits):
        """A batch of (sequence, position, number of a token); the caller frees it."""
        batch = api.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (slot, position, number) in enumerate(rows):
            # As the bench itself chooses tokens.
            batch.token[i] = number * 2_654_435_761 % self.vocab
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = slot
            batch.logits[i] = logits
        return batch

    def decode(self, batches):
        """Seconds that the batches take, one after the other; frees them."""
        start = time.perf_counter()
        for batch in batches:
            status = api.llama_decode(self.context, batch)
            if status != 0:
                sys.exit(f"llama_decode fails with {status}")
        api.llama_synchronize(self.context)
        seconds = time.perf_counter() - start
        for batch in batches:
            api.llama_batch_free(batch)
        return seconds

    def prompt(self, slot, first, length):
        """Batches of a prompt whose tokens have the numbers from `first` on."""
        rows = [(slot, k, first + k) for k in range(length)]
        return [self.batch(rows[i : i + BATCH], logits=False) for i in range(0, length, BATCH)]

    def measure_prefill(self, length):
        self.fit(1, length)
        return length, self.decode(self.prompt(0, 0, length))

    def measure_decode(self, slots, before, steps):
        self.fit(slots, before + steps)
        for slot in range(slots):
            self.decode(self.prompt(slot, slot, before))
        rows = ([(slot, before + step, slot * steps + step) for slot in range(slots)] for step in range(steps))
        return slots * steps, self.decode([self.batch(step, logits=True) for step in rows])


def main():
    parser = argparse.ArgumentParser(prog="llama_peer.py")
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    # Whatever the library prints must not look like an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    model = Model(args.model, args.threads)
    system = api.llama_print_system_info().decode().strip(" |")
    answer(name="llama.cpp", version=f"llama-cpp-python {api.__version__}", system=system)
    work = {"prefill": model.measure_prefill, "decode": model.measure_decode}
    for line in sys.stdin:
        name, *numbers = line.split()
        tokens, seconds = work[name](*map(int, numbers))
        answer(tokens=tokens, seconds=seconds)

if __name__ == "__main__":
    main()
