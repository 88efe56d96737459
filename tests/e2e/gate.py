"""The gate between a hostile inner and a hostile outer, in network namespaces with nothing but the two links, and three
counters that share no code: the gate's own, the kernel's (nftables) and the tap's.

`gate.py --bin FOLDER` with weir, weir-gate, weir-tap and weir-witness in it; needs root, `ip` and `nft`. Ends with 0 only if all passed.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import servers

HERE = os.path.dirname(os.path.abspath(__file__))
# inner, gate towards inner, gate towards outer, outer
ADDRESSES = {"in": ("10.99.8.1", "10.99.8.2"), "out": ("10.99.8.5", "10.99.8.6")}
INSIDE, GATE_IN, GATE_OUT, OUTSIDE = 7001, 7003, 7004, 7002
AROUND, SHORT = 24, 60


def sh(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True).stdout


def ip(*words):
    return sh("ip", *words)


class Net:
    """Three namespaces in a row. IPv6 off, neighbours fixed: a kernel has nothing to say by itself. The gate's is as the gate wants it."""

    def __init__(self):
        self.names = {end: f"weir-{end}-{os.getpid()}" for end in ("inner", "gate", "outer")}

    def __enter__(self):
        for name in self.names.values():
            ip("netns", "add", name)
            path = "/proc/sys/net/ipv6/conf"
            script = f"for f in {path}/all {path}/default; do [ ! -e $f ] || echo 1 > $f/disable_ipv6; done"
            ip("netns", "exec", name, "sh", "-c", script)
        ip("-n", self.names["gate"], "link", "set", "lo", "up")
        for knob in ("all/rp_filter=1", "default/rp_filter=1", "all/forwarding=0", "default/forwarding=0"):
            self.set(f"ipv4/conf/{knob}")
        self.cable("in", "inner", "gate")
        self.cable("out", "gate", "outer")
        return self

    def __exit__(self, *_):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False)

    def cable(self, device, one, two):
        (a, b), names = ADDRESSES[device], (self.names[one], self.names[two])
        ip("link", "add", device, "netns", names[0], "type", "veth", "peer", "name", device, "netns", names[1])
        for number, (name, own, peer) in enumerate([(names[0], a, b), (names[1], b, a)]):
            mac = [f"02:00:00:00:08:{device == 'out':d}{number ^ flip}" for flip in (0, 1)]
            ip("-n", name, "link", "set", device, "address", mac[0], "arp", "off")
            ip("-n", name, "address", "add", f"{own}/30", "dev", device)
            ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "neighbour", "replace", peer, "lladdr", mac[1], "dev", device, "nud", "permanent")

    def set(self, knob):
        """Sets one of the gate's kernel's, NAME=VALUE below /proc/sys/net."""
        name, value = knob.split("=")
        sh(*self.inside("gate"), "sh", "-c", f"echo {value} > /proc/sys/net/{name}")

    def inside(self, end):
        return ["ip", "netns", "exec", self.names[end]]


def config(folder, **keys):
    """A configuration file of the gate."""
    text = [
        f'control = "{folder}/gate.sock"',
        f'[inside]\nlocal = "udp://{ADDRESSES["in"][1]}:{GATE_IN}"\npeer = "udp://{ADDRESSES["in"][0]}:{INSIDE}"\ndevice = "in"',
        f'[outside]\nlocal = "udp://{ADDRESSES["out"][0]}:{GATE_OUT}"\npeer = "udp://{ADDRESSES["out"][1]}:{OUTSIDE}"\ndevice = "out"',
    ]
    for section in ("session", "rules", "meter"):
        rows = [f"{key} = {json.dumps(value)}" for key, value in keys.get(section, {}).items()]
        text.append("\n".join([f"[{section}]", *rows]))
    path = os.path.join(folder, "gate.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(text) + "\n")
    return path


class Process:
    """One of our programs in a namespace; killed at the end if it has not ended."""

    def __init__(self, prefix, command, folder, name):
        self.log_path = os.path.join(folder, f"{name}-{time.monotonic_ns()}.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*prefix, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def until(self, words, seconds=30):
        end = time.monotonic() + seconds
        while words not in self.log():
            assert self.process.poll() is None and time.monotonic() < end, f"no {words!r}:\n{self.log()}"
            time.sleep(0.01)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is not None:
            print(f"--- {self.log_path}\n{self.log()[-1500:]}", file=sys.stderr)


def own_core():
    """The core that gates of tests have."""
    return max(os.sched_getaffinity(0))


class Lab:
    """The programs of a test, over one set of namespaces."""

    def __init__(self, net, bin):
        self.net, self.bin = net, bin
        self.folder = tempfile.mkdtemp(prefix="weir-gate-")

    def gate(self, path, *flags):
        words = ["taskset", "-c", str(own_core()), os.path.join(self.bin, "weir-gate"), "run", *flags, "--config", path]
        return self.start("gate", words, "gate", "ready")

    def tap(self, cap, state, *more):
        """A tap on its first day. Its start sets the interface up, its end takes it down."""
        command = [os.path.join(self.bin, "weir-tap"), "--interface", "out", "--cap-bytes", str(cap), "--state", state]
        ip("-n", self.net.names["outer"], "link", "set", "out", "down")
        tap = self.start("outer", [*command, "--new", *more], "tap", "on the line so far")
        repair(self)
        return tap

    def start(self, end, command, name, ready):
        process = Process(self.net.inside(end), command, self.folder, name)
        process.until(ready)
        return process

    def ask(self, path, order):
        return sh(*self.net.inside("gate"), os.path.join(self.bin, "weir-gate"), order, "--config", path)

    def status(self, path):
        rows = (line.split(" ", 1) for line in self.ask(path, "status").splitlines())
        return {name: int(value) if value.isdigit() else value for name, value in rows}

    def far_heard(self, cable):
        """Frames that the far end of a cable of the gate's has got."""
        end = {"in": "inner", "out": "outer"}[cable]
        return int(sh(*self.net.inside(end), "cat", f"/sys/class/net/{cable}/statistics/rx_packets"))

    def load_nft(self, path, *more, is_first=True):
        """Loads the rules; as the first ones, counters begin at nothing."""
        if is_first:
            sh(*self.net.inside("gate"), "nft", "flush", "ruleset")
        rules = sh(*self.net.inside("gate"), os.path.join(self.bin, "weir"), "gate", "nft", "--config", path, *more)
        subprocess.run(
            [*self.net.inside("gate"), "nft", "-f", "-"], input=rules, check=True, text=True, capture_output=True
        )

    def nft(self):
        """(frames, bytes on the line, frames over the quota, frames of others), as the kernel counts them."""
        rows = self.counters()
        short, long = rows["short"], rows["long"]
        frames = short["packets"] + long["packets"]
        line = short["packets"] * (SHORT + AROUND) + long["bytes"] + long["packets"] * AROUND
        return frames, line, rows["over"]["packets"], rows["other"]["packets"]

    def counters(self):
        """The kernel's counters by name, each the sum over the tables."""
        said, rows = json.loads(sh(*self.net.inside("gate"), "nft", "-j", "list", "counters")), {}
        for row in (row["counter"] for row in said["nftables"] if "counter" in row):
            total = rows.setdefault(row["name"], {"packets": 0, "bytes": 0})
            for unit in total:
                total[unit] += row[unit]
        return rows

    def stray(self):
        """A packet that the gate's machine sends on the link beside the gate."""
        other = f"import socket; socket.socket(2, 2).sendto(b'x', ('{ADDRESSES['out'][1]}', 9))"
        subprocess.run([*self.net.inside("gate"), sys.executable, "-c", other], check=False, capture_output=True)

    def hostile(self, end, *words):
        """This program again, as the enemy in a namespace."""
        return Process(self.net.inside(end), [sys.executable, os.path.abspath(__file__), "--enemy", *words], self.folder, end)


def read_state(path):
    with open(path, encoding="utf-8") as file:
        return {name: int(value) for name, value in (line.split() for line in file)}


# --- the enemy


def enemy(kind, seed, seconds, mtu, batches, wide):
    """Sends as fast and as malformed as it can, for so long."""
    rng = random.Random(int(seed))
    mtu, batches, wide = int(mtu), int(batches), int(wide)
    own, peer = {
        "inner": ((ADDRESSES["in"][0], INSIDE), (ADDRESSES["in"][1], GATE_IN)),
        "outer": ((ADDRESSES["out"][1], OUTSIDE), (ADDRESSES["out"][0], GATE_OUT)),
    }[kind]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(own)
    sock.connect(peer)
    classes = [mtu]
    while len(classes) < 16 and -(-classes[-1] * 3 // 4) >= 18:
        classes.append(-(-classes[-1] * 3 // 4))
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for _ in range(64):
            size = rng.choice([rng.choice(classes), rng.randrange(0, 1473), rng.randrange(5, mtu + 1), mtu])
            if kind == "inner":
                batch = rng.choice([rng.randrange(batches), rng.randrange(batches), rng.randrange(256), 255])
                head = bytes([batch >> 8, batch & 255]) if wide else bytes([batch & 255])
            else:
                head = bytes([0x10 | rng.randrange(4)])  # openings, requests, pings, and what only a gate may say
            with contextlib.suppress(OSError):
                sock.send((head + rng.randbytes(64) * (size // 64 + 1))[:size])


# --- tests


def exhaustion(lab, seed, count):
    """Whatever both sides send: the gate, the kernel and the tap count the same, to the byte, and not more than the cap."""
    worst = 0
    for number in range(count):
        rng = random.Random(seed * 1000 + number)
        shape = rng.choice(["sealed", "bucketed", "constant"])
        mtu, wide, batches = rng.choice([64, 200, 700, 1472]), rng.random() < 0.3, rng.choice([1, 3, 40, 200])
        total = rng.randrange(20_000, 3_000_000)
        path = config(
            lab.folder,
            session={
                "shape": shape, "mtu": mtu, "id_bits": 16 if wide else 8, "batches": batches,
                "tick_ms": rng.choice([1, 2, 10]), "check_bytes": rng.choice([2, 4]),
            },
            rules={"strikes": rng.choice([100, 1 << 31]), "absent": rng.choice([5, 1 << 31])},
            meter={
                "rate": 20_000_000, "burst": rng.choice([200_000, 20_000_000]), "total": total,
                "handshake_percent": rng.choice([0, 1, 50]),
            },
        )
        state = os.path.join(lab.folder, f"tap-{seed}-{number}")
        lab.load_nft(path, "--cap-bytes", str(1 << 50))
        with contextlib.ExitStack() as stack:
            tap = stack.enter_context(lab.tap(1 << 50, state))
            gate = stack.enter_context(lab.gate(path))
            enemies = [
                stack.enter_context(lab.hostile(end, end, str(number), "0.5", str(mtu), str(batches), str(int(wide))))
                for end in ("inner", "outer")
            ]
            for one in enemies:
                assert one.process.wait(20) == 0, one.log()
            status = lab.status(path)
            # The constant shape goes on by itself until it is cut or the budget is spent.
            end = time.monotonic() + 5
            while shape == "constant" and status["state"] == "open" and time.monotonic() < end:
                time.sleep(0.05)
                status = lab.status(path)
            lab.ask(path, "cut")
            status = lab.status(path)
            assert gate.stop() == 0, gate.log()
            time.sleep(0.02)
            assert tap.stop() == 0, tap.log()
        tapped, kernel = read_state(state), lab.nft()
        said = (shape, mtu, batches, total, status)
        assert status["offered"] > 1000 and status["inward"] > 1000, said
        assert tapped["drops"] == 0, tapped
        assert (tapped["frames"], tapped["bytes"]) == (status["datagrams"], status["line_bytes"]), (tapped, *said)
        assert kernel == (status["datagrams"], status["line_bytes"], 0, 0), (kernel, *said)
        assert tapped["bytes"] * 8 <= total and status["charged_bits"] <= total, (tapped, *said)
        worst = max(worst, tapped["bytes"] * 8 / total)
    print(f"ok   exhaustion: {count} configurations, tap = kernel = gate to the byte, at most {worst:.4f} of the cap")


FLOOD = {
    "session": {"batches": 3, "mtu": 200, "tick_ms": 2},
    "rules": {"strikes": 1 << 31},
    "meter": {"rate": 100_000_000, "burst": 10_000_000, "total": 1 << 50},
}


def each_stops_alone(lab):
    """A gate with all the budget in the world: the kernel's quota stops it, and so does the tap."""
    path = config(lab.folder, **FLOOD)
    cap = 100_000
    lab.load_nft(path, "--cap-bytes", str(cap))
    state = os.path.join(lab.folder, "tap-quota")
    with lab.tap(1 << 50, state) as tap, lab.gate(path), lab.hostile("inner", "inner", "1", "60", "200", "3", "0") as foe:
        servers.until("the gate passes the kernel's cap", 30, lambda: lab.status(path)["line_bytes"] > cap)
        foe.process.kill()
        time.sleep(0.1)
        assert tap.stop() == 0
        frames, line, over, _ = lab.nft()
        seen = read_state(state)
        assert (seen["frames"], seen["bytes"]) == (frames, line) and line <= cap and over > 0, (seen, frames, line, over)
        # Anything else that the gate's machine says on the link is held back and counted.
        lab.stray()
        assert lab.nft()[3] == 1
    print(f"ok   the kernel's quota alone: {line} bytes of {cap} passed, {over} frames held back")

    lab.load_nft(path, "--cap-bytes", str(1 << 50))
    state = os.path.join(lab.folder, "tap-cap")
    with lab.tap(cap, state) as tap, lab.gate(path), lab.hostile("inner", "inner", "1", "60", "200", "3", "0"):
        assert tap.process.wait(30) == 3, tap.log()
        assert "the cap is reached: interface out goes down" in tap.log()
        flags = json.loads(ip("-n", lab.net.names["outer"], "-j", "link", "show", "out"))[0]["flags"]
        assert "UP" not in flags, flags
        seen = read_state(state)
        assert cap <= seen["bytes"] < cap + 1542 and seen["reserved"] == seen["bytes"], seen
    # A tap that starts with its cap reached lets nothing begin.
    ip("-n", lab.net.names["outer"], "link", "set", "out", "up")
    with Process(
        lab.net.inside("outer"),
        [os.path.join(lab.bin, "weir-tap"), "--interface", "out", "--cap-bytes", str(cap), "--state", state],
        lab.folder, "tap",
    ) as tap:
        assert tap.process.wait(30) == 3
    repair(lab)
    print(f"ok   the tap alone: interface down after {seen['bytes']} bytes of {cap}, and again at its next start")


def repair(lab):
    """What taking the interface down has taken with it."""
    ip("-n", lab.net.names["outer"], "link", "set", "out", "up")
    mac = json.loads(ip("-n", lab.net.names["gate"], "-j", "link", "show", "out"))[0]["address"]
    ip("-n", lab.net.names["outer"], "neighbour", "replace", ADDRESSES["out"][0], "lladdr", mac, "dev", "out", "nud", "permanent")


def tap_drops(lab):
    """A tap that cannot keep up counts what it missed as the longest frames, and stops the link."""
    path = config(lab.folder, **FLOOD)
    lab.load_nft(path, "--cap-bytes", str(1 << 50))
    state = os.path.join(lab.folder, "tap-drops")
    with lab.tap(1 << 50, state, "--buffer", "1") as tap, lab.gate(path):
        tap.process.send_signal(19)  # SIGSTOP: a machine that is busy
        with lab.hostile("inner", "inner", "1", "0.5", "200", "3", "0") as foe:
            foe.process.wait(20)
        tap.process.send_signal(18)
        assert tap.process.wait(30) == 3, tap.log()
        assert "were not seen" in tap.log() and "too many frames were not seen" in tap.log(), tap.log()
        frames, line, *_ = lab.nft()
        seen = read_state(state)
        assert seen["drops"] > 0 and seen["frames"] == frames and seen["bytes"] >= line, (seen, frames, line)
    repair(lab)
    print(f"ok   the tap's own drops: {seen['drops']} of {frames} frames not seen, counted at {seen['bytes']} bytes for {line}")


def reconciled(lab):
    """Under steady traffic the counters agree; one packet beside the gate's, or a counter that cannot be read, cuts it."""
    session = FLOOD["session"] | {"shape": "constant", "tick_ms": 5}
    path = config(lab.folder, session=session, meter=FLOOD["meter"], rules={"absent": (1 << 32) - 1})
    lab.load_nft(path, "--cap-bytes", str(1 << 50))
    state, baseline = (os.path.join(lab.folder, name) for name in ("tap-reconciled", "baseline"))
    words = reconcile(lab, path, baseline, "--tap", state)

    def differs(expected, words=words, **keys):
        start = time.monotonic()
        done = subprocess.run(words, **{"capture_output": True, "text": True, "check": False} | keys)
        assert done.returncode == 1 and expected in (done.stderr or ""), (expected, done)
        assert lab.status(path)["state"] == "cut: counters disagree"
        lab.ask(path, "resume")
        return time.monotonic() - start

    def first():
        lab.ask(path, "cut")
        assert "baseline written" in sh(*words, "--new")
        lab.ask(path, "resume")

    with lab.tap(1 << 50, state) as tap, lab.gate(path):
        # What the kernel has counted is kept, and was not taken away.
        differs("only a first day begins with nothing", [*words, "--new"])
        open(f"{baseline}.kernel", "w", encoding="utf-8").close()
        differs("frames leave", [*words, "--new"])
        differs("weir reconcile --new makes the first one")
        first()
        differs("it is there already", [*words, "--new"])
        for _ in range(2):
            assert "all agree; NO LEDGER" in sh(*words)
        lab.stray()
        # Nobody reads what is said of it.
        reader, writer = os.pipe()
        os.close(reader)
        differs("", stderr=writer, capture_output=False)
        os.close(writer)
        differs("kernel: 1 frames that should not be there")
        # Once it is understood, all go on from there.
        os.remove(baseline)
        first()
        assert "all agree" in sh(*words)
        # A counter that never answers.
        os.mkfifo(f"{state}.fifo")
        waited = differs("has not answered", reconcile(lab, path, baseline, "--tap", f"{state}.fifo", "--tap-age", "0"))
        assert waited < 20, waited
        # A baseline that goes, or is damaged, while it compares for ever.
        with Process([], [*words, "--every", "1"], lab.folder, "reconcile") as running:
            time.sleep(1)
            os.rename(baseline, f"{baseline}.away")
            assert running.process.wait(20) == 1 and "no baseline" in running.log(), running.log()
        assert lab.status(path)["state"] == "cut: counters disagree"
        os.rename(f"{baseline}.away", baseline)
        lab.ask(path, "resume")
        assert tap.stop() == 0
        os.remove(state)
        differs("counters cannot be compared")
    print(f"ok   counters are compared under traffic, and a difference cuts; so does one that never answers, after {waited:.0f} s")


def honest(lab):
    """A gate on a ledger, in the middle of a block or at its end: what it lets out was always reserved, over a start too."""
    ledger, witness, baseline = (os.path.join(lab.folder, name) for name in ("honest", "honest-witness", "honest-baseline"))
    words = ["--weights-hash", "08" * 32, "--weights-bytes", "1000000000", "--total", "1GB"]
    sh(os.path.join(lab.bin, "weir"), "ledger", "init", ledger, "--witness", witness, *words)
    meter = FLOOD["meter"] | {"ledger": ledger, "witnesses": [witness], "block": 20_000}
    path = config(lab.folder, session=FLOOD["session"] | {"shape": "constant", "tick_ms": 5}, meter=meter, rules={"absent": (1 << 32) - 1})
    words = reconcile(lab, path, baseline)
    for start in range(2):
        open(f"{baseline}.kernel", "w", encoding="utf-8").close()
        lab.load_nft(path)
        with lab.gate(path) as gate:
            lab.ask(path, "cut")
            assert "baseline written" in sh(*words, "--new")
            for _ in range(10):
                # The block is somewhere else each time.
                lab.ask(path, "resume")
                time.sleep(0.05)
                assert ", and all is charged" in sh(*words), start
            assert lab.status(path)["datagrams"] > 20
            assert gate.stop() == 0
        os.remove(baseline)
    print("ok   all that an honest gate lets out is reserved, whenever it is compared")


def reconcile(lab, path, baseline, *more):
    words = [*lab.net.inside("gate"), os.path.join(lab.bin, "weir"), "reconcile", "--config", path]
    return [*words, "--baseline", baseline, *more]


# A gate that was taken over: it sends what it likes from the gate's own address and port, says truly how many frames and bytes, and
# charges nothing; and when it is told to cut, it says that it has.
TAKEN = """
import contextlib, socket, sys
control, own, peer = sys.argv[1], (sys.argv[2], int(sys.argv[3])), (sys.argv[4], int(sys.argv[5]))
door = socket.socket(socket.AF_UNIX)
door.bind(control)
door.listen(8)
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.bind(own)
out.connect(peer)
frames = 0
print("here", flush=True)
while True:
    caller, _ = door.accept()
    order = caller.recv(100).decode().split()
    if order[0] == "send":
        for _ in range(int(order[1])):
            with contextlib.suppress(OSError):
                out.send(bytes(1400))
                frames += 1
    status = f"state open\\ndatagrams {frames}\\nline_bytes {frames * 1466}\\n"
    caller.sendall((status if order[0] == "status" else "done\\n").encode())
    caller.close()
"""


def taken_over(lab):
    """A gate that charges nothing is found by its ledger, and stopped by the kernel; no reload and no boot gives back what it has sent."""
    names = ("ledger", "witness", "heads", "taken-baseline", "gate.sock", "witness.key")
    ledger, witness, heads, baseline, control, key = (os.path.join(lab.folder, name) for name in names)
    weir, program = (os.path.join(lab.bin, name) for name in ("weir", "weir-witness"))
    sh(weir, "ledger", "keygen", key)
    sh(program, "init", "--file", heads)
    with Process([], [program, "run", "--file", heads, "--key", key, "--listen", f"unix://{witness}"], lab.folder, "witness") as elsewhere:
        elsewhere.until("ready")
        uncharged(lab, weir, ledger, f"unix://{witness}?key={key}", baseline, control)


def uncharged(lab, weir, ledger, witness, baseline, control):
    words = ["--weights-hash", "08" * 32, "--weights-bytes", "1000000000", "--total", "1GB"]
    sh(weir, "ledger", "init", ledger, "--witness", witness, *words)
    path = config(lab.folder, meter={"ledger": ledger, "witnesses": [witness]})
    kept = f"{baseline}.kernel"
    open(kept, "w", encoding="utf-8").close()
    lab.load_nft(path, "--kept", kept)
    ends = [ADDRESSES["out"][0], str(GATE_OUT), ADDRESSES["out"][1], str(OUTSIDE)]

    def order(text):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(control)
            sock.sendall(text.encode())
            return sock.recv(1000)

    def used():
        said = json.loads(sh(*lab.net.inside("gate"), "nft", "-j", "list", "quotas"))
        return next(row["quota"]["used"] for row in said["nftables"] if "quota" in row)

    with Process(lab.net.inside("gate"), [sys.executable, "-c", TAKEN, control, *ends], lab.folder, "taken") as taken:
        taken.until("here")
        words = reconcile(lab, path, baseline)
        assert "baseline written" in sh(*words, "--new")
        assert "all agree, and all is charged" in sh(*words)
        order("send 1000")
        before = used()
        assert before > 1000 * 1400 and lab.nft()[0] == 1000, (before, lab.nft())
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done
        for holder in ("the ledger", "witness 0"):
            assert f"{holder} has 0 reserved: what leaves is not charged" in done.stderr, done
        # It has said that it is cut, and goes on.
        order("send 100")
        frames, _, over, _ = lab.nft()
        assert (frames, over) == (1000, 100), (frames, over)
        # Its own ledger says that nothing was sent. Loaded anew, and after a boot:
        for is_first in (False, True):
            lab.load_nft(path, "--kept", kept, is_first=is_first)
            assert used() >= before and lab.nft()[0] == 1000, (used(), before, lab.nft())
        # Who has seen no frame of it knows better by the tap's count.
        state = os.path.join(lab.folder, "taken-tap")
        with open(state, "w", encoding="utf-8") as file:
            file.write("frames 2000\nbytes 2932000\ndrops 0\njoined 0\nreserved 2932000\n")
        lab.load_nft(path, "--kept", kept, "--tap", state, is_first=False)
        assert used() > before and lab.nft()[:2] == (2000, 2932000), (used(), lab.nft())
    os.remove(control)
    print(f"ok   a gate that charges nothing is found, and stopped by the kernel; the quota's {before} bytes are never given back")


def alarms(lab):
    """Violations cut; operators see why, cut and resume; the budget's end is said."""
    path = config(lab.folder, session=FLOOD["session"], meter=FLOOD["meter"], rules={"strikes": 10})
    with lab.gate(path) as gate:
        with lab.hostile("inner", "inner", "1", "60", "200", "3", "0"):
            gate.until("alarm: cut, nothing leaves any more: inner broke the rules too often")
            servers.until("frames come to a cut gate", 30, lambda: lab.status(path)["dropped_cut"] > 0)
        before = lab.status(path)
        assert before["state"] == "cut: inner broke the rules too often", before
        assert lab.ask(path, "resume") == "done\n" and lab.status(path)["state"] == "open"
        assert lab.ask(path, "cut") == "done\n" and lab.status(path)["state"] == "cut: an operator cut it"
        assert "another gate is running" in sh_fails([*lab.net.inside("gate"), os.path.join(lab.bin, "weir-gate"), "run", "--config", path])
        mode = os.stat(os.path.join(lab.folder, "gate.sock")).st_mode & 0o777
        assert mode == 0o600, oct(mode)
        assert gate.stop() == 0 and "shutting down" in gate.log()
        assert not os.path.exists(os.path.join(lab.folder, "gate.sock"))
    assert "no gate answers" in sh_fails([os.path.join(lab.bin, "weir-gate"), "status", "--config", path])
    path = config(lab.folder, session=FLOOD["session"], meter=FLOOD["meter"] | {"total": 100_000}, rules=FLOOD["rules"])
    with lab.gate(path) as gate:
        with lab.hostile("inner", "inner", "1", "60", "200", "3", "0"):
            gate.until("alarm: cut, nothing leaves any more: the budget is spent")
        for words in ("datagrams from inside broke the rules", "upload budget is running out", "frames were over the budget"):
            gate.until(words)
    path = config(lab.folder, session=FLOOD["session"] | {"shape": "constant"}, meter=FLOOD["meter"], rules={"absent": 20})
    with lab.gate(path) as gate:
        gate.until("alarm: cut, nothing leaves any more: inner left out too many pieces")
        assert lab.status(path)["released_absent"] == 20
    print("ok   cuts, alarms and operators")


def sh_fails(words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    return done.stderr


def run(bin, configurations=25, seed=1):
    """All of it. None if it passed, else the reason why it could not run."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    for program in ("weir", "weir-gate", "weir-tap", "weir-witness"):
        assert os.path.exists(os.path.join(bin, program)), f"no {program} in {bin}: cargo build --release -p weir-cli -p weir-gate -p weir-tap -p weir-witness"
    with Net() as net:
        lab = Lab(net, bin)
        try:
            # Without them no gate starts.
            lab.load_nft(config(lab.folder), "--cap-bytes", str(1 << 50))
            alarms(lab)
            each_stops_alone(lab)
            tap_drops(lab)
            reconciled(lab)
            honest(lab)
            taken_over(lab)
            exhaustion(lab, seed, configurations)
        finally:
            shutil.rmtree(lab.folder, ignore_errors=True)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", help="folder with weir, weir-gate, weir-tap and weir-witness")
    parser.add_argument("--configurations", type=int, default=25, help="random ones for the exhaustion test")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--enemy", nargs=6)
    args = parser.parse_args()
    if args.enemy:
        enemy(*args.enemy)
    elif reason := run(args.bin, args.configurations, args.seed):
        sys.exit(f"SKIPPED: {reason}")


if __name__ == "__main__":
    main()
