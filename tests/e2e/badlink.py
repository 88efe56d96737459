"""What a bad link, or somebody on it, can do to a session: noise, losses, a forged frame. Uses the relay."""

import itertools
import random
import threading
import time

import openai

import openai_client
import relay
import servers

# Few tokens per frame and slow ticks: an answer lasts long enough for something to happen in it.
SLOW = ["--tokens-per-tick", "2", "--tick-ms", "200"]


def answers(pair, seeds):
    api = openai_client.client(pair.base, servers.KEY)
    return [openai_client.chat(api, seed=seed, temperature=1.0)[0] for seed in seeds]


def flipped(rng, datagram):
    """A copy with one to three wrong bits."""
    copy = bytearray(datagram)
    for bit in rng.sample(range(8 * len(copy)), rng.randint(1, 3)):
        copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


def nonsense(rng, session):
    """Inward datagrams without end whose length and CRC are good; none of them means anything in the open session."""
    while True:
        stranger = rng.randbytes(8)
        # Batch 0, an old ack, any digest, nothing missing. After it a piece whose number does not end.
        head = bytes(2 + 8) + rng.randbytes(8) + bytes(2)
        yield relay.inward(relay.DATA, session, rng.randbytes(rng.randrange(20)))
        yield relay.inward(relay.DATA, session, head + b"\xff" * 11 + rng.randbytes(rng.randrange(200)))
        yield relay.inward(relay.DATA, session, rng.randbytes(20), form=rng.choice([0, 1, 3, 4, 255]))
        yield relay.inward(relay.PING, session, rng.randbytes(rng.randint(1, 40)))
        yield relay.inward(relay.HELLO, session, rng.randbytes(rng.randrange(300)))
        yield relay.inward(rng.randrange(0x13, 0x20), session, rng.randbytes(20))
        yield relay.inward(rng.randrange(0x21, 0x100) | 1, session, rng.randbytes(20))
        yield relay.inward(relay.HELLO, stranger, rng.randbytes(140))
        yield relay.inward(0x20, stranger, rng.randbytes(rng.randrange(300)))
        yield relay.inward(relay.PING, stranger, b"")
        yield relay.inward(relay.DATA, stranger, rng.randbytes(2) + head[2:])


def noise(rng, seen, sealed):
    """Datagrams without end: random bytes, changed copies of the last real ones, and those of `sealed`."""
    while True:
        yield rng.randbytes(rng.randrange(300))
        real = rng.choice(seen[-8:])
        yield real[: rng.randrange(len(real))]
        yield flipped(rng, real)
        yield next(sealed)


def foreign_datagrams(weir):
    """Noise from the right port, both ways: it all comes in, and every answer is the one that it was before."""
    with relay.Relay() as between, servers.Pair(weir, relay=between, inner_config="status_s = 1\n") as pair:
        pair.wait_until(200)
        seeds = range(12)
        wanted = answers(pair, seeds)
        session = relay.session_of(between.inward.seen[-1])
        before, over, rng = pair.metrics(), threading.Event(), random.Random(1)
        inward = noise(rng, between.inward.seen, nonsense(rng, session))
        # A batch that is not in use, and one that is; neither check is good.
        egress = noise(rng, between.egress.seen, (bytes([id]) + rng.randbytes(30) for id in itertools.cycle([1, 0])))
        count = 0

        def make():
            nonlocal count
            while not over.wait(0.004):
                between.inward.inject(next(inward))
                between.egress.inject(next(egress))
                count += 1

        thread = threading.Thread(target=make, daemon=True)
        thread.start()
        noisy = answers(pair, seeds)
        over.set()
        thread.join()
        assert noisy == wanted, (wanted, noisy)
        assert count > 200, f"only {count} datagrams of noise each way"
        # A crowded receive queue may have lost a few.
        servers.until("outer has received it", 5, lambda: pair.metrics()["datagrams_received_total"] >= 0.9 * between.egress.sent)
        servers.until("inner has received it", 5, lambda: received(pair.inner) >= 0.9 * between.inward.sent)
        after = pair.metrics()
        dropped = after["datagrams_dropped_total"] - before["datagrams_dropped_total"]
        assert dropped >= 0.9 * count, f"{count} datagrams of noise came to outer, and it dropped {dropped}"
        assert after["sessions_total"] == 1, f"the session did not survive: {after}"
        assert answers(pair, seeds[:1]) == wanted[:1]


def received(inner):
    """Datagrams that inner has received, by its last status line; 0 before the first."""
    counts = [word for word in inner.log().split() if word.startswith("received=")]
    return int(counts[-1].removeprefix("received=")) if counts else 0


def bad_link(weir):
    """One datagram in five is lost, doubled or late, both ways: slower, but the same answers in the same session."""
    with relay.Relay() as between, servers.Pair(weir, relay=between) as pair:
        pair.wait_until(200)
        wanted = answers(pair, range(4))
        turns, done = itertools.count(1), [0, 0, 0]

        def act(datagram):
            which, rest = divmod(next(turns), 5)
            if rest:
                return relay.keep(datagram)
            done[which % 3] += 1
            return [[], [(0, datagram), (0.15, datagram)], [(0.25, datagram)]][which % 3]

        between.inward.act = between.egress.act = act
        bad = answers(pair, range(4))
        assert bad == wanted, (wanted, bad)
        assert all(done), f"lost, doubled, late: {done}"
        assert pair.metrics()["sessions_total"] == 1


def no_repeats_left(weir):
    """Repeats have no budget and one frame is lost: inner gives the session up, and the next one serves."""
    with relay.Relay() as between, servers.Pair(
        weir, options=SLOW, relay=between, inner_config="[meter]\nrepeat_percent = 0\n"
    ) as pair:
        pair.wait_until(200)
        thread, fate = openai_client.endless(pair)
        lost = between.egress.drop_one(relay.is_frame)
        servers.until("inner gives the session up", 10, lambda: "session given up" in pair.inner.log())
        recovered(pair, 2)
        assert answers(pair, [1])[0]
        thread.join(1)
        assert not thread.is_alive(), "the answer that lost a frame hangs"
        assert len(lost) == 1 and fate["end"] != "complete", (len(lost), fate)
        assert pair.inner.alive() and pair.metrics()["sessions_total"] == 2


def forged_first_frame(weir):
    """Frame 0 of a session is forged, idle or with a query under way: that session is lost, and the next one serves."""
    with relay.Relay() as between, servers.Pair(weir, relay=between) as pair:
        forged = []  # the sessions
        armed = threading.Event()

        def forge(session):
            forged.append(session)
            return relay.first_frame(session, b"\x01")

        def egress(datagram):
            # Right behind the welcome of the first session.
            session = relay.session_of(between.inward.seen[-1])
            if not forged and relay.is_welcome(datagram, session):
                return [(0, datagram), (0, forge(session))]
            return relay.keep(datagram)

        def inward(datagram):
            # Right before a later session's first query.
            session = relay.session_of(datagram)
            if armed.is_set() and len(forged) == 1 and datagram[0] == relay.DATA:
                between.egress.inject(forge(session))
            return relay.keep(datagram)

        between.egress.act, between.inward.act = egress, inward
        servers.until("the first session is open", 30, lambda: forged)
        recovered(pair, 2)
        armed.set()
        try:
            openai_client.chat(openai_client.client(pair.base, servers.KEY))
        except openai.APIError:
            pass  # as it should
        assert len(set(forged)) == 2, forged
        recovered(pair, 3)
        first, second = answers(pair, [1, 1])
        assert first and first == second, (first, second)
        assert pair.outer.log().count("a frame cannot be read") == 2, pair.outer.log()


def recovered(pair, sessions):
    """Waits until so many sessions have been open, and the last one is."""
    start = time.monotonic()
    servers.until(f"session {sessions}", 10, lambda: pair.metrics()["sessions_total"] == sessions and pair.health()[0] == 200)
    print(f"     session {sessions} is open after {time.monotonic() - start:.1f} s")
