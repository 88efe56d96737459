"""Outer's edge against crowds: connections that show no key, and bodies that do not come."""

import contextlib
import resource
import socket
import time

import servers

SILENT = 1024
MIB = 1 << 20


def crowds(weir):
    """1,024 silent connections, and 1,000 withheld bodies without a key and with one: health and users are answered, memory is bounded."""
    with files(4096), servers.Pair(weir) as pair:
        pair.outer.kill()
        health = servers.free_port(socket.SOCK_STREAM)
        pair.start_outer("--health", f"127.0.0.1:{health}")
        pair.wait_until(200)
        ask = {"model": "weir", "prompt": "Mara picks 14", "max_tokens": 4}
        before = resident(pair)

        def answered(what):
            for port in (pair.api_port, health):
                start = time.monotonic()
                status, said = servers.fetch(f"http://127.0.0.1:{port}/healthz", key=None)
                took = time.monotonic() - start
                assert status == 200 and took < 5, f"{what}: /healthz of port {port} says {status} after {took:.2f} s: {said}"
            status, said = servers.fetch(f"{pair.base}/v1/completions", ask)
            assert status == 200, f"{what}: a user gets {status}: {said}"
            grown = resident(pair) - before
            print(f"{what}: {grown / MIB:.1f} MiB more", flush=True)
            return grown

        with crowd(pair, SILENT):
            # 256 strangers of 16 KiB and what belongs to a connection.
            assert answered("silent connections") < 32 * MIB
            counters = pair.metrics()
            assert counters["strangers"] <= 256 and counters["strangers_dropped_total"] >= SILENT - 256, counters
        with crowd(pair, 1000, post(None), b" " * 700_000):
            assert answered("bodies without a key") < 32 * MIB
            assert pair.metrics()["body_bytes"] == 0
        # 64 MiB of bodies, and of 512 guests as much as of strangers.
        with crowd(pair, 1000, post(servers.KEY), b" " * 700_000):
            servers.until("bodies have come", 20, lambda: pair.metrics()["body_bytes"] > 32 * MIB)
            grown, counters = resident(pair) - before, pair.metrics()
            assert counters["body_bytes"] <= 64 * MIB, counters
            assert counters["guests"] <= 512, counters
            print(f"bodies with a key: {grown / MIB:.1f} MiB more", flush=True)
            assert grown < 160 * MIB, f"{grown / MIB:.1f} MiB"
            status, said = servers.fetch(f"http://127.0.0.1:{pair.api_port}/healthz", key=None)
            assert status == 200, f"{status}: {said}"
        servers.until("the bodies are gone", 20, lambda: pair.metrics()["body_bytes"] == 0)
        answered("afterwards")


def post(key):
    """The head of a request whose body does not come to its end."""
    key = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"POST /v1/completions HTTP/1.1\r\nHost: x\r\n{key}Content-Length: 1000000\r\n\r\n".encode()


@contextlib.contextmanager
def crowd(pair, count, *says):
    """So many connections that say this and then nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.settimeout(10)
            one.connect(("127.0.0.1", pair.api_port))
            one.setblocking(False)
            for part in says:
                # What is refused is not read to its end.
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    while part and (sent := one.send(part)):
                        part = part[sent:]
        yield


@contextlib.contextmanager
def files(count):
    """As many open files as both ends of the connections take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count), hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident(pair):
    """Bytes of memory that outer has in use."""
    with open(f"/proc/{pair.outer.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
