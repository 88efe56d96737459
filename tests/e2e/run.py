"""The whole system against the public `openai` client: `run.py --weir BINARY`. Ends with 0 only if all passed."""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import traceback

import openai

import badlink
import gate
import gate_net
import gate_channels
import gated
import kills
import namespace
import openai_client
import servers
import strangers
import tap
import witnesses

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def user(weir):
    """Everything that a user does, good and bad."""
    with servers.Pair(weir) as pair:
        pair.wait_until(200)
        openai_client.main(pair.base, servers.KEY)
        counters = pair.metrics()
        assert counters["tokens_total"] > 0 and counters["link_bits_total"] > counters["frame_bits_total"], counters


def inner_dies(weir):
    """Kill -9 of inner in mid-answer: the user hears of it, later ones get 503 with the reason, then it works again."""
    with servers.Pair(weir, options=badlink.SLOW) as pair:
        pair.wait_until(200)
        thread, fate = openai_client.endless(pair)
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
    with servers.Pair(weir, options=badlink.SLOW) as pair:
        pair.wait_until(200)
        thread, _ = openai_client.endless(pair)
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
        (["--retokenize"], ["retokenize"]),
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


def slow_reader(weir):
    """One slot and no queue: a user who does not read holds it until the answer is complete inside, and no longer."""
    # Each event repeats the model's name: an answer becomes more than what all buffers on its way hold.
    name = "w" * 20_000
    outer = f'model = "{name}"\n[limits]\nqueue = 0\n'
    options = ["--slots", "1", "--tokens-per-tick", "1", "--tick-ms", "20"]
    with servers.Pair(weir, options=options, outer_config=outer) as pair, socket.socket() as reader:
        pair.wait_until(200)
        url, ask = f"{pair.base}/v1/completions", {"model": name, "prompt": "Mara picks 14", "temperature": 2, "seed": 5}
        # Small segments keep the server's send buffer small, too.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        reader.settimeout(30)
        reader.connect(("127.0.0.1", pair.api_port))
        body = json.dumps(ask | {"max_tokens": 150, "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.0\r\nAuthorization: Bearer {servers.KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        reader.sendall(head.encode() + body)
        servers.until("the slow reader's answer has begun", 20, lambda: pair.metrics()["tokens_total"] > 0)
        status, said = servers.fetch(url, ask | {"max_tokens": 2})
        assert status == 429, f"two requests in one slot: {status} {said[:200]}"
        servers.until("its answer is complete", 20, lambda: pair.metrics()["answered_total"] == 1)
        status, said = servers.fetch(url, ask | {"max_tokens": 2})
        assert status == 200, f"after the answer: {status} {said[:200]}"
        queued, answer = in_flight(reader), b""
        while more := reader.recv(1 << 16):
            answer += more
        assert answer.endswith(b"data: [DONE]\n\n"), f"the slow reader's answer is cut: {answer[-100:]}"
        # Half a megabyte may wait in the server's own write buffer.
        assert queued + (1 << 19) < len(answer), f"nothing held the server up: {queued} of {len(answer)} bytes"


def in_flight(reader):
    """Bytes that the kernel holds for this reader, on both ends of the connection."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    ports = [f":{sock[1]:04X}" for sock in (reader.getsockname(), reader.getpeername())]
    both = [row for row in rows if {row[1][-5:], row[2][-5:]} == set(ports)]
    return sum(int(half, 16) for row in both for half in row[4].split(":"))


def in_a_namespace(weir):
    """Inner with nothing but its link serves the users' test, and not one other packet leaves it."""
    return namespace.run(weir, "watched")


def no_fragments(weir):
    """What is too long for inner's interface is lost: it does not leave in pieces, and inner lives on."""
    return namespace.run(weir, "narrow")


def hostile_ends(weir):
    """The gate between two enemies: three counters agree to the byte, and none passes the cap."""
    return gate.run(os.path.dirname(weir))


def many_names(weir):
    """One ledger under many names, and two copies of one: one writer goes on."""
    witnesses.run(os.path.dirname(weir))


def a_tap_stands(weir):
    """Whatever happens to its interface, disk or log: the tap counts to the byte, or the link is down."""
    return tap.run(os.path.dirname(weir))


def kernel_of_the_gate(weir):
    """The gate's machine says nothing of its own on either cable, and no gate runs where it would."""
    return gate_net.run(os.path.dirname(weir))


def free_channels(weir):
    """Packets beside the link cut the gate, and it wants a core of its own."""
    return gate_channels.run(os.path.dirname(weir))


TESTS = [
    user,
    inner_dies,
    outer_dies,
    ends_that_differ,
    slow_reader,
    strangers.crowds,
    badlink.foreign_datagrams,
    badlink.bad_link,
    badlink.no_repeats_left,
    badlink.forged_first_frame,
    in_a_namespace,
    no_fragments,
    gated.every_shape,
    kills.inner_is_killed,
    many_names,
    hostile_ends,
    a_tap_stands,
    kernel_of_the_gate,
    free_channels,
]


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
