"""What inner can say past the budget, in network namespaces: packets beside the link, and a gate without a core of its own.

`gate_channels.py --bin FOLDER` with weir-gate in it; needs root and `ip`. Ends with 0 only if all passed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time

import gate
import servers

CONSTANT = {
    "session": {"shape": "constant", "mtu": 200, "tick_ms": 20},
    "meter": {"rate": 20_000_000, "burst": 20_000_000, "total": 1 << 50},
    "rules": {"strikes": 50, "strike_ticks": 1000, "absent": 1 << 31},
}
# Beside the link's port: a closed one, echo requests, the link's port from another of inner's, and what is no IP at all.
ENEMY = """
import socket, sys, time
# The honest one sends a piece a tick and nothing else.
kind, local, peer, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
if kind == "icmp":
    sock, data = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), bytes([8, 0, 0xF7, 0xFF, 0, 0, 0, 0])
elif kind == "ether":
    sock, data = socket.socket(socket.AF_PACKET, socket.SOCK_RAW), b"\\xff" * 12 + b"\\x88\\xb5" + bytes(46)
    sock.bind(("in", 0))
else:
    sock, data = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), bytes(200)
    sock.bind((local, {"honest": 7001}.get(kind, 0)))
if kind != "ether":
    sock.connect((peer, {"closed": 9, "icmp": 0}.get(kind, 7003)))
print("here", flush=True)
if kind == "honest":
    sock.recv(64)  # the gate speaks first
for _ in range(count):
    try:
        sock.send(data)
    except OSError:
        sock.send(data)  # an error about the one before, that its port is closed, was told in place of sending
    time.sleep(0.02 if kind == "honest" else 0.001)
if kind == "honest":
    time.sleep(1000)  # its port stays open, so that its kernel does not answer ticks by ICMP
"""


def enemy(lab, kind, count):
    words = [sys.executable, "-c", ENEMY, kind, gate.ADDRESSES["in"][0], gate.ADDRESSES["in"][1], str(count)]
    process = gate.Process(lab.net.inside("inner"), words, lab.folder, f"enemy-{kind}")
    process.until("here")
    return process


def strays(lab):
    """Whatever comes in beside the link is counted, and cuts; as many honest pieces do not, and are none."""
    path = gate.config(lab.folder, **CONSTANT)
    # What the rules drop is counted all the same: by the interface, before them.
    lab.load_nft(path, "--cap-bytes", str(1 << 50))
    with enemy(lab, "honest", 60), lab.gate(path) as process:
        servers.until("pieces have come", 10, lambda: lab.status(path)["offered"] == 60)
        before = lab.status(path)
        assert before["state"] == "open" and before["strays"] == 0, before
        with enemy(lab, "closed", 50) as few:
            assert few.process.wait(30) == 0, few.log()
        servers.until("few are counted", 10, lambda: lab.status(path)["strays"] == 50)
        assert lab.status(path)["state"] == "open"
        for number, kind in enumerate(("closed", "icmp", "port", "ether")):
            lab.ask(path, "resume")
            with enemy(lab, kind, 51) as many:
                assert many.process.wait(30) == 0, many.log()
            servers.until("all are counted", 10, lambda: lab.status(path)["strays"] == 101 + number * 51)
            after = lab.status(path)
            assert after["state"] == "cut: inner sent too much beside the link" and after["offered"] == 60, (kind, after)
        assert process.stop() == 0
        assert process.log().count("alarm: cut, nothing leaves any more: inner sent too much beside the link") == 4, process.log()
    print("ok   packets beside the link are counted, and cut: closed port, echo, another port, no IP")


def interface_lost(lab):
    """Counters that cannot be read any more cut."""
    path = gate.config(lab.folder, **CONSTANT)
    with lab.gate(path) as process:
        gate.ip("-n", lab.net.names["gate"], "link", "delete", "in")
        process.until("alarm: the counters of inside's interface cannot be read")
        process.until("alarm: cut, nothing leaves any more")
    lab.net.cable("in", "inner", "gate")
    print("ok   an interface that is lost cuts")


def no_core(lab):
    """A gate that may run on every core has none of its own, and packets that are steered to its core are named."""
    path = gate.config(lab.folder, **CONSTANT)
    words = [*lab.net.inside("gate"), os.path.join(lab.bin, "weir-gate"), "run", "--config", path]

    def refused(prefix, expected):
        done = subprocess.run([*prefix, *words], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode not in (0, None) and expected in done.stderr, (expected, done)

    every = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    refused(["taskset", "-c", every], "give it one of its own")
    steer = "for f in /sys/class/net/in/queues/rx-*/rps_cpus; do echo {} > $f; done"
    gate.sh(*lab.net.inside("gate"), "sh", "-c", steer.format(f"{1 << gate.own_core():x}"))
    refused(["taskset", "-c", str(gate.own_core())], "in: packets of rx-0 are sent to the gate's core (rps_cpus)")
    gate.sh(*lab.net.inside("gate"), "sh", "-c", steer.format("0"))
    print("ok   no core of its own, or one that packets are steered to: refused")


def run(bin):
    """All of it. None if it passed, else the reason why it could not run."""
    if os.geteuid() != 0:
        return "needs root"
    if os.cpu_count() < 2:
        return "needs two cores"
    for tool in ("ip", "taskset"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    with gate.Net() as net:
        lab = gate.Lab(net, bin)
        try:
            start = time.monotonic()
            no_core(lab)
            strays(lab)
            interface_lost(lab)
            print(f"     {time.monotonic() - start:.1f} s")
        finally:
            shutil.rmtree(lab.folder, ignore_errors=True)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder with weir-gate")
    if reason := run(parser.parse_args().bin):
        sys.exit(f"SKIPPED: {reason}")


if __name__ == "__main__":
    main()
