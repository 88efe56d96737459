"""Inner in a network namespace of its own with nothing but its link: it must serve, and send no other packet, whole or
in pieces.

Outer, its users and the eye that watches the link live in a second namespace, so nothing touches the machine's own
network. Needs root and `ip`; returns the reason where it cannot run.
"""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import servers

HERE = os.path.dirname(os.path.abspath(__file__))
INNER, OUTER = "10.99.7.1", "10.99.7.2"
INNER_MAC, OUTER_MAC = "02:00:00:00:07:01", "02:00:00:00:07:02"


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def run(weir, what):
    """Runs the function of this name in outer's namespace. None if it passed, else the reason why it could not run."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("ip") is None:
        return "needs iproute2"
    inside, outside = f"weir-in-{os.getpid()}", f"weir-out-{os.getpid()}"
    made = []
    try:
        for name in (inside, outside):
            try:
                ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                return f"this machine allows no network namespaces: {error.stderr.strip()}"
            made.append(name)
        try:
            join(inside, outside)
        except subprocess.CalledProcessError as error:
            return f"this machine allows no veth link: {error.stderr.strip()}"
        # This program again, inside outer's namespace.
        subprocess.run(
            ["ip", "netns", "exec", outside, sys.executable, os.path.abspath(__file__), what, weir, inside], check=True
        )
        return None
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def join(inside, outside):
    """One cable between the two, IPv6 off, neighbours fixed: a kernel has nothing to say on it by itself."""
    for name in (inside, outside):
        path = "/proc/sys/net/ipv6/conf"
        script = f"for f in {path}/all {path}/default; do [ ! -e $f ] || echo 1 > $f/disable_ipv6; done"
        ip("netns", "exec", name, "sh", "-c", script)
    ip("link", "add", "weir0", "netns", inside, "type", "veth", "peer", "name", "weir0", "netns", outside)
    for name, mac, own, peer_mac, peer in [
        (inside, INNER_MAC, INNER, OUTER_MAC, OUTER),
        (outside, OUTER_MAC, OUTER, INNER_MAC, INNER),
    ]:
        ip("-n", name, "link", "set", "weir0", "address", mac, "arp", "off")
        ip("-n", name, "address", "add", f"{own}/30", "dev", "weir0")
        ip("-n", name, "link", "set", "weir0", "up")
        ip("-n", name, "neighbour", "replace", peer, "lladdr", peer_mac, "dev", "weir0", "nud", "permanent")
    # Outer's users come over its loopback interface; inner's stays down.
    ip("-n", outside, "link", "set", "lo", "up")


class Eye(threading.Thread):
    """Reads every frame that comes in on the link, below all sockets."""

    def __init__(self):
        super().__init__(daemon=True)
        self.frames = []
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.sock.bind(("weir0", 0))
        self.sock.settimeout(0.2)
        self.over = False

    def run(self):
        while True:
            try:
                frame, (_, _, kind, *_) = self.sock.recvfrom(65536)
            except TimeoutError:
                if self.over:
                    return
                continue
            if kind != socket.PACKET_OUTGOING:
                self.frames.append(frame)

    def stop(self):
        self.over = True
        self.join()
        return self.frames


def counters():
    (link,) = json.loads(ip("-s", "-j", "link", "show", "weir0"))
    return link["stats64"]["rx"]


def judge(frame, pair):
    """Fails unless the frame is one of the link's datagrams; returns its bits on a physical Ethernet."""
    destination, source, kind = struct.unpack("!6s6sH", frame[:14])
    assert kind == 0x0800, f"a frame of type {kind:#06x}: {frame.hex()}"
    assert source.hex(":") == INNER_MAC and destination.hex(":") == OUTER_MAC, frame.hex()
    header, protocol = frame[14], frame[23]
    assert header == 0x45 and protocol == 17, f"not plain UDP: {frame.hex()}"
    assert socket.inet_ntoa(frame[26:30]) == INNER and socket.inet_ntoa(frame[30:34]) == OUTER, frame.hex()
    assert struct.unpack("!HH", frame[34:38]) == (pair.inner_port, pair.outer_port), f"another port: {frame.hex()}"
    assert struct.unpack("!H", frame[20:22])[0] in (0, 0x4000), f"a fragment: {frame.hex()}"
    # Padded to 60 bytes; check sequence 4, preamble 8, gap 12.
    return 8 * (max(len(frame), 60) + 4 + 8 + 12)


def wait_for_socket(pair, inside):
    """Until inner's socket is bound: /proc/net/udp of its namespace has the port."""
    end = time.monotonic() + 60
    while f":{pair.inner_port:04X} " not in ip("netns", "exec", inside, "cat", "/proc/net/udp"):
        assert pair.inner.alive() and time.monotonic() < end, f"inner has no socket: {pair.inner.log()}"
        time.sleep(0.05)


def watched(weir, inside):
    """Runs in outer's namespace."""
    pair = servers.Pair(weir, INNER, OUTER, inner_prefix=["ip", "netns", "exec", inside])
    with contextlib.ExitStack() as stack:
        stack.push(pair.__exit__)
        # While no socket has the port, inner's kernel would answer datagrams to it with ICMP: outer comes later.
        pair.start_inner()
        wait_for_socket(pair, inside)
        eye, before = Eye(), counters()
        eye.start()
        pair.start_outer()
        pair.wait_until(200)
        subprocess.run(
            [sys.executable, os.path.join(HERE, "openai_client.py"), pair.base, servers.KEY], check=True
        )
        time.sleep(1)  # what is still under way
        # Inner answers outer's pings now and then: two looks at the same moment.
        for _ in range(20):
            after, received = counters(), pair.metrics()
            if after == counters() and after["packets"] - before["packets"] == received["datagrams_received_total"]:
                break
            time.sleep(0.1)
        frames = eye.stop()
    costs = [judge(frame, pair) for frame in frames]
    packets = after["packets"] - before["packets"]
    assert 0 < packets <= len(frames), f"the interface counts {packets} packets, {len(frames)} were seen"
    bits = sum(costs[:packets])  # a later one is judged, but outer has not counted it
    assert received["datagrams_received_total"] == packets, (received, packets)
    assert received["link_bits_total"] == bits, f"outer charges {received['link_bits_total']} bits, the link {bits}"
    tokens = received["tokens_total"]
    print(f"ok   {packets} packets left inner, all on its link: {bits} bits for {tokens:.0f} tokens, as outer counts")


# Bytes of an IP packet that inner's interface takes.
NARROW = 200


def fragments(inside):
    """Fragments that inner's kernel has made."""
    names, counts = (line.split() for line in ip("netns", "exec", inside, "cat", "/proc/net/snmp").splitlines()[:2])
    return int(counts[names.index("FragCreates")])


def narrow(weir, inside):
    """Runs in outer's namespace."""
    ip("-n", inside, "link", "set", "weir0", "mtu", str(NARROW))
    # Long frames, and time to fill them.
    options = ["--tokens-per-tick", "64", "--tick-ms", "500"]
    pair = servers.Pair(weir, INNER, OUTER, inner_prefix=["ip", "netns", "exec", inside], options=options)
    with contextlib.ExitStack() as stack:
        stack.push(pair.__exit__)
        pair.start_inner()
        wait_for_socket(pair, inside)
        eye = Eye()
        eye.start()
        pair.start_outer()
        pair.wait_until(200)
        url = f"{pair.base}/v1/completions"
        ask = {"model": "weir", "prompt": "Mara", "temperature": 2}
        status, said = servers.fetch(url, ask | {"max_tokens": 4})
        assert status == 200, f"a short frame does not pass: {status} {said}"
        for seed in range(48):
            body = ask | {"max_tokens": 160, "seed": seed}
            threading.Thread(target=servers.fetch, args=(url, body), daemon=True).start()
            # Apart, each comes in with a datagram of its own: inner's interface takes no long one either.
            time.sleep(0.02)
        end = time.monotonic() + 15
        while "the interface takes no datagram of this length" not in pair.inner.log():
            assert fragments(inside) == 0, "inner's kernel makes fragments"
            assert pair.inner.alive() and time.monotonic() < end, f"every frame fits:\n{pair.inner.log()}"
            time.sleep(0.1)
        # The session is given up, as the frame would never leave; short ones go on in the next.
        end, status = time.monotonic() + 15, None
        while status != 200:
            assert pair.inner.alive() and time.monotonic() < end, f"{status} {said}\n{pair.inner.log()}"
            status, said = servers.fetch(url, ask | {"max_tokens": 4})
            time.sleep(0.2)
        frames, made = eye.stop(), fragments(inside)
    for frame in frames:
        judge(frame, pair)
    assert made == 0, f"inner's kernel made {made} fragments"
    # The counter counts: any other socket's long datagram is cut.
    cut = f"import socket; socket.socket(2, 2).sendto(bytes(500), ('{OUTER}', 9))"
    ip("netns", "exec", inside, sys.executable, "-c", cut)
    assert fragments(inside) > 0, "the kernel does not count fragments"
    longest = max(map(len, frames))
    print(f"ok   {len(frames)} packets left inner, none in pieces, the longest with {longest} bytes")


if __name__ == "__main__":
    {"watched": watched, "narrow": narrow}[sys.argv[1]](*sys.argv[2:])
