"""SIGKILLs of a real inner that answers: what came out is on its ledger, and at most a block more for each.

`WEIR_INNER_KILLS` sets how many (3 without it). Those of the gate are in gate/tests/kill.rs.
"""

import json
import os
import random
import subprocess
import tempfile
import threading
import time

import openai

import badlink
import openai_client
import relay
import servers

BLOCK = 50_000
# Bits that a moment can be charged above the least, for gaps of less than 4096 ticks.
MOMENT_MORE = 24


def charged_at_least(datagram):
    """SPEC 7.1, 7.2: UDP, IPv4, Ethernet; 11 bits for a length, 1 for a moment."""
    return 8 * (8 + 14 + max(46, 20 + 8 + len(datagram)) + 4 + 12) + 11 + 1


def is_welcome(datagram):
    """Whether inner says that a session is open, whichever."""
    return datagram[0] == relay.CONTROL and datagram[5:7] == b"\x01\x00"


def answer(pair, seed):
    """One of many; it will hardly be complete."""
    try:
        openai_client.chat(openai_client.client(pair.base, servers.KEY), seed=seed, temperature=2, max_tokens=160)
    except openai.OpenAIError:
        pass


def inner_is_killed(weir):
    kills = int(os.environ.get("WEIR_INNER_KILLS", "3"))
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder, relay.Relay() as between:
        ledger, witness, weights = (os.path.join(folder, name) for name in ("ledger", "witness", "weights"))
        with open(weights, "wb") as file:
            file.write(b"weights")
        ledger_words = [ledger, "--witness", witness]
        init = [weir, "ledger", "init", *ledger_words, "--weights", weights, "--total", "1e15"]
        subprocess.run(init, check=True, capture_output=True)
        config = (
            "[link]\nquarantine_ms = 50\n"
            f'[meter]\nledger = "{ledger}"\nwitnesses = ["{witness}"]\nblock = {BLOCK}\nstarts_per_hour = 4294967295\n'
            "rate = 10000000\nburst = 10000000\ntotal = 1000000000000\n"
        )
        surplus = most = 0
        with servers.Pair(weir, options=["--tick-ms", "20", "--tokens-per-tick", "2"], inner_config=config, relay=between) as pair:
            for kill in range(kills):
                before = len(between.egress.seen)
                if kill > 0:
                    pair.start_inner()
                servers.until("a session is open", 30, lambda: any(map(is_welcome, between.egress.seen[before:])))
                pair.wait_until(200)
                before = len(between.egress.seen)
                users = [threading.Thread(target=answer, args=(pair, seed), daemon=True) for seed in range(4)]
                for user in users:
                    user.start()
                # Answers are on their way when it dies.
                servers.until("a frame has come", 20, lambda: any(map(relay.is_frame, between.egress.seen[before:])))
                time.sleep(rng.random() * 0.3)
                pair.inner.kill()
                time.sleep(0.05)
                came = list(between.egress.seen)
                bits = sum(map(charged_at_least, came))
                show = [weir, "ledger", "show", *ledger_words, "--json"]
                reserved = json.loads(subprocess.run(show, check=True, capture_output=True).stdout)["reserved"]
                assert reserved >= bits, f"kill {kill}: {reserved} counted, {bits} came out"
                more = reserved - bits - surplus
                assert more <= BLOCK + (len(came) - before) * MOMENT_MORE, f"kill {kill}: {more} bits too many"
                surplus, most = reserved - bits, max(most, more)
        subprocess.run([weir, "ledger", "verify", *ledger_words], check=True, capture_output=True)
        assert len(came) > kills, len(came)
        print(
            f"     {kills} kills: {len(came)} datagrams of {bits} bits came out, {surplus} counted too much in all, "
            f"{most} at most after one, chain whole"
        )
