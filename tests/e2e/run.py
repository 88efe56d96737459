"""The whole system against the public `openai` client: `run.py --weir BINARY`. Ends with 0 only if all passed."""

import argparse
import os
import random
import socket
import subprocess
import sys
import threading
import time
import traceback

import openai

import namespace
import openai_client
import servers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def user(weir):
    """Everything that a user does, good and bad."""
    with servers.Pair(weir) as pair:
        pair.wait_until(200)
        openai_client.main(pair.base, servers.KEY)
        counters = pair.metrics()
        assert counters["tokens_total"] > 0 and counters["link_bits_total"] > counters["frame_bits_total"], counters


def endless(pair):
    """Begins a long answer in a thread and returns once its first piece has come: (thread, what became of it)."""
    begun, fate = threading.Event(), {}

    def run():
        api = openai_client.client(pair.base, servers.KEY)
        try:
            # At a temperature of 2 the end of an answer is unlikely.
            stream = api.chat.completions.create(
                model="weir", messages=openai_client.MESSAGES, max_tokens=160, temperature=2, seed=5, stream=True
            )
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    begun.set()
            fate["end"] = "complete"
        except Exception as error:  # any way to fail is a fate, and is looked at by the test
            fate["end"] = repr(error)
        finally:
            begun.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(30), "no answer has begun"
    return thread, fate


def inner_dies(weir):
    """Kill -9 of inner in mid-answer: the user hears of it, later ones get 503 with the reason, then it works again."""
    with servers.Pair(weir, options=SLOW) as pair:
        pair.wait_until(200)
        thread, fate = endless(pair)
        pair.inner.kill()
        thread.join(60)
        assert not thread.is_alive(), "the answer hangs"
        assert fate["end"] != "complete", "the answer was complete before the kill"
        pair.wait_until(503)
        try:
            openai_client.chat(openai_client.client(pair.base, servers.KEY))
            raise AssertionError("an answer without inner")
        except openai.APIStatusError as error:
            assert error.status_code == 503 and "inner" in str(error), error
        pair.start_inner()
        pair.wait_until(200)
        assert openai_client.chat(openai_client.client(pair.base, servers.KEY))[0]


def outer_dies(weir):
    """Kill -9 of outer in mid-answer: inner goes on, and serves the next outer."""
    with servers.Pair(weir, options=SLOW) as pair:
        pair.wait_until(200)
        thread, _ = endless(pair)
        pair.outer.kill()
        thread.join(60)
        assert not thread.is_alive(), "the client hangs"
        pair.start_outer()
        pair.wait_until(200)
        assert openai_client.chat(openai_client.client(pair.base, servers.KEY))[0]
        assert pair.inner.alive()


def ends_that_differ(weir):
    """Other settings or another weak model at one end: no session, and a reason that says which."""
    for extra, words in [
        (["--tokens-per-tick", "7"], ["tick"]),
        (["--weak", os.path.join(ROOT, "models", "strong.gguf")], ["model"]),
    ]:
        pair = servers.Pair(weir)
        try:
            pair.start_inner()
            pair.start_outer(*extra)
            end = time.monotonic() + 60
            while time.monotonic() < end:
                status, body = pair.health()
                if any(word in body for word in words):
                    break
                assert status != 200, f"a session in spite of {extra}"
                if not pair.outer.alive():
                    body = pair.outer.log()
                    break
                time.sleep(0.1)
            assert any(word in body for word in words), f"{extra}: the reason does not say which: {body}"
            said = pair.inner.log() + pair.outer.log()
            assert any(word in said for word in words), f"{extra}: no log says which: {said}"
        finally:
            pair.__exit__(None)


def foreign_datagrams(weir):
    """Noise on both sockets changes nothing."""
    with servers.Pair(weir) as pair:
        pair.wait_until(200)
        noise = random.Random(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(300):
                datagram = noise.randbytes(noise.randrange(1, 300))
                for port in (pair.inner_port, pair.outer_port):
                    sock.sendto(datagram, ("127.0.0.1", port))
        api = openai_client.client(pair.base, servers.KEY)
        assert openai_client.chat(api)[0] == openai_client.chat(api)[0]


def in_a_namespace(weir):
    """Inner with nothing but its link serves the users' test, and not one other packet leaves it."""
    return namespace.run(weir)


# Few tokens per frame and slow ticks: an answer lasts long enough to be killed.
SLOW = ["--tokens-per-tick", "2", "--tick-ms", "200"]
TESTS = [user, inner_dies, outer_dies, ends_that_differ, foreign_datagrams, in_a_namespace]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weir", required=True, help="the binary to test")
    parser.add_argument("tests", nargs="*", help="names of tests; all if none is given")
    args = parser.parse_args()
    passed = failed = skipped = 0
    for test in TESTS:
        if args.tests and test.__name__ not in args.tests:
            continue
        print(f"--- {test.__name__}", flush=True)
        start = time.monotonic()
        try:
            reason = test(os.path.abspath(args.weir))
        except (AssertionError, OSError, KeyError, subprocess.CalledProcessError, openai.OpenAIError):
            traceback.print_exc()
            print(f"FAIL {test.__name__}", flush=True)
            failed += 1
            continue
        if reason:
            print(f"\n!!! SKIPPED {test.__name__}: {reason}\n", flush=True)
            skipped += 1
        else:
            print(f"ok   {test.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
            passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
