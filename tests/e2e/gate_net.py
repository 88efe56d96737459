"""The machine around the gate: its kernel says nothing of its own on either cable, whatever becomes of the interfaces, and
a gate whose machine would does not start, or cuts.

`gate_net.py --bin FOLDER` with weir and weir-gate in it; needs root, `ip` and `nft`. Ends with 0 only if all passed.
"""

import argparse
import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import time

import gate
import servers
from gate import ADDRESSES, GATE_IN, GATE_OUT, INSIDE, OUTSIDE, Lab, Net, config, ip, sh

COUNT = 20
# A cable of the gate: the namespace at its far end, the gate's address and port on it and the far end's, and the other cable.
CABLES = {
    "out": ("outer", (ADDRESSES["out"][0], GATE_OUT), (ADDRESSES["out"][1], OUTSIDE), "in"),
    "in": ("inner", (ADDRESSES["in"][1], GATE_IN), (ADDRESSES["in"][0], INSIDE), "out"),
}
SETTINGS = {"session": {"tick_ms": 5}, "meter": {"rate": 1 << 30, "burst": 1 << 30, "total": 1 << 50}}


# --- frames


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, destination, protocol, body):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, *map(socket.inet_aton, (source, destination)))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def echo(source, destination):
    """An ICMP echo request with 1,000 bytes, which an answer would carry."""
    body = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + b"secret!!" * 125
    return packet(source, destination, 1, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def udp(source, destination):
    # No checksum is a good one.
    return packet(source[0], destination[0], 17, struct.pack("!HHHH", source[1], destination[1], 8 + 12, 0) + b"\x11" * 12)


def frame(lab, end, device, ethertype, body):
    """From `end` to whoever is at the other end of this cable, or, from the gate, to its far end."""
    other = "gate" if end != "gate" else CABLES[device][0]
    macs = [sh(*lab.net.inside(one), "cat", f"/sys/class/net/{device}/address").strip() for one in (other, end)]
    return bytes.fromhex("".join(macs).replace(":", "")) + struct.pack("!H", ethertype) + body


def send(lab, end, device, data):
    """Sends a frame so many times by a raw socket. The kernel may refuse them."""
    script = f"import socket\ns = socket.socket(17, 3)\ns.bind(({device!r}, 0))\nfor _ in range({COUNT}):\n try: s.send(bytes.fromhex({data.hex()!r}))\n except OSError: pass"
    sh(*lab.net.inside(end), sys.executable, "-c", script)


# --- what passes


def sent(lab, device):
    return int(sh(*lab.net.inside("gate"), "cat", f"/sys/class/net/{device}/statistics/tx_packets"))


def speak(lab, source, destination):
    """The kernel of the gate's machine sends UDP. It may refuse to."""
    script = f"import socket\ns = socket.socket(2, 2)\ns.bind({source!r})\nfor _ in range({COUNT}):\n try: s.sendto(b'stray', {destination!r})\n except OSError: pass"
    sh(*lab.net.inside("gate"), sys.executable, "-c", script)


def passes(lab, cable, name):
    """How many of so many strays leave the gate's machine on a cable, of each kind, where the interface is called `name` just now."""
    far, own, peer, other = CABLES[cable]
    _, other_own, _, _ = CABLES[other]
    arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, b"\x02" + bytes(5), socket.inet_aton(peer[0]), bytes(6), socket.inet_aton(own[0]))
    # By a raw socket of the gate's machine, the far end's address does not matter.
    raw = bytes(12) + b"\x88\xb5" + b"stray" * 20
    kinds = {
        "kernel": lambda: speak(lab, ("0.0.0.0", 0), (peer[0], 9)),
        "link": lambda: speak(lab, own, peer),
        # The far end of the other cable asks in the name of this one's.
        "answer": lambda: send(lab, CABLES[other][0], other, frame(lab, CABLES[other][0], other, 0x800, echo(peer[0], other_own[0]))),
        "arp": lambda: send(lab, far, cable, bytes.fromhex("ff" * 6) + b"\x02" + bytes(5) + b"\x08\x06" + arp),
        "raw": lambda: send(lab, "gate", name, raw),
    }
    found = {}
    for kind, act in kinds.items():
        before = sent(lab, name)
        act()
        time.sleep(0.05)
        found[kind] = sent(lab, name) - before
    return found


def loosen(lab):
    """The rules are to stand alone: nothing else holds back an answer to a spoofed source, or to a question of ARP."""
    for knob in ("all", "in", "out"):
        lab.net.set(f"ipv4/conf/{knob}/rp_filter=0")
    for device, (far, _, peer, _) in CABLES.items():
        mac = sh(*lab.net.inside(far), "cat", f"/sys/class/net/{device}/address").strip()
        ip("-n", lab.net.names["gate"], "link", "set", device, "arp", "on")
        ip("-n", lab.net.names["gate"], "neighbour", "replace", peer[0], "lladdr", mac, "dev", device, "nud", "permanent")


def anew(lab, cable):
    """The cable goes, and one comes with the same names and addresses."""
    ip("-n", lab.net.names["gate"], "link", "delete", cable)
    ends = {"in": ("inner", "gate"), "out": ("gate", "outer")}[cable]
    lab.net.cable(cable, *ends)


# --- tests


def strays(lab, cable):
    path = config(lab.folder, **SETTINGS)
    loosen(lab)
    free = passes(lab, cable, cable)
    assert free == dict.fromkeys(free, COUNT), f"without rules the test itself fails: {free}"
    lab.load_nft(path, "--cap-bytes", str(1 << 50))
    none = dict.fromkeys(free, 0)

    found = passes(lab, cable, cable)
    assert found == none | {"link": COUNT}, found
    frames, line, _, other = lab.nft()
    if cable == "out":
        # The link's are counted; strays of the kernel's and raw ones are known for such. Answers are not even made.
        assert (frames, line, other) == (COUNT, COUNT * 84, COUNT * 2), (frames, line, other)
        assert lab.counters()["inside_in"]["packets"] == COUNT, lab.counters()
    else:
        assert (frames, other) == (0, 0), (frames, other)

    ip("-n", lab.net.names["gate"], "link", "set", cable, "name", "renamed")
    renamed = passes(lab, cable, "renamed")
    residue = renamed.pop("raw")
    assert not any(renamed.values()), f"{cable} renamed: {renamed}"
    ip("-n", lab.net.names["gate"], "link", "set", "renamed", "name", cable)
    found = passes(lab, cable, cable)
    assert found == none | {"link": COUNT}, f"{cable} back: {found}"

    anew(lab, cable)
    loosen(lab)
    found = passes(lab, cable, cable)
    assert found == none, f"{cable} anew: {found}"
    print(f"ok   strays on {cable}: as loaded, renamed and anew none of {COUNT} of a kind; raw ones while it is renamed: {residue}")


# Bound to another interface than the one that it names with each datagram, it may have the gate's address beside the gate.
BESIDE = """
import os, socket, struct, sys
own, peer, device, count = (sys.argv[1], int(sys.argv[2])), (sys.argv[3], int(sys.argv[4])), sys.argv[5], int(sys.argv[6])
index = socket.if_nametoindex(device)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, 25, b"lo")
sock.bind(own)
way = [(socket.IPPROTO_IP, 8, struct.pack("=I4s4s", index, socket.inet_aton(own[0]), bytes(4)))]
sent = 0
for _ in range(count):
    try:
        sent += sock.sendmsg([b"weights!" * 100], way, 0, peer) > 0
    except PermissionError:
        pass  # the kernel says that it was stopped
print(sent)
"""


def users(lab):
    """A user without any rights sends as the link does, beside a gate that runs: nothing passes, on either cable."""
    path = config(lab.folder, **SETTINGS)
    for is_stopped in (False, True):
        if is_stopped:
            lab.load_nft(path, "--cap-bytes", str(1 << 50))
        else:
            loosen(lab)
        with contextlib.ExitStack() as stack:
            if is_stopped:
                stack.enter_context(lab.gate(path))
                lab.ask(path, "cut")
            for cable, (_, own, peer, _) in CABLES.items():
                words = [sys.executable, "-c", BESIDE, own[0], str(own[1]), peer[0], str(peer[1]), cable, str(COUNT)]
                before, counted = lab.far_heard(cable), lab.counters() if is_stopped else {}
                sh(*lab.net.inside("gate"), *words)
                time.sleep(0.05)
                heard = lab.far_heard(cable) - before
                if not is_stopped:
                    assert heard == COUNT, f"without rules the test itself fails: {heard} on {cable}"
                elif cable == "out":
                    assert heard == 0, heard
                    assert lab.counters()["other"]["packets"] - counted["other"]["packets"] == COUNT, lab.counters()
                else:
                    # Beside what a gate that is cut goes on to say to inner.
                    more = lab.counters()["inside_out"]["packets"] - counted["inside_out"]["packets"]
                    assert more == COUNT, lab.counters()
        if not is_stopped:
            for device in ("in", "out", "all"):
                lab.net.set(f"ipv4/conf/{device}/rp_filter=1")
            for device in ("in", "out"):
                ip("-n", lab.net.names["gate"], "link", "set", device, "arp", "off")
                anew(lab, device)
    print(f"ok   a user without rights, in the gate's name: none of {COUNT} passes on either cable")


def refused(lab, path, *expected):
    words = [*lab.net.inside("gate"), os.path.join(lab.bin, "weir-gate"), "run", "--config", path]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 40, done
    for what in expected:
        assert what in done.stderr, (what, done.stderr)
    return done.stderr


def starts(lab):
    """Each thing that a machine lacks is named; with all of them the gate starts."""
    path = config(lab.folder, **SETTINGS)
    not_loaded = "rules for these links, these interfaces and this user are not loaded: weir gate nft --user 0"
    refused(lab, path, not_loaded)
    lab.load_nft(path, "--cap-bytes", str(1 << 50))
    knobs = [f"ipv4/conf/{name}" for name in ("all/forwarding=1", "in/rp_filter=0", "out/rp_filter=2", "all/rp_filter=2", "in/forwarding=1", "out/forwarding=1")]
    knobs += [f"ipv6/conf/{name}" for name in ("in/disable_ipv6=0", "out/disable_ipv6=0", "all/forwarding=1")]
    knobs = [knob for knob in knobs if os.path.exists(f"/proc/sys/net/{knob.split('=')[0].replace('/in/', '/lo/').replace('/out/', '/lo/')}")]

    def turn(knob):
        name, value = knob.split("=")
        was = sh(*lab.net.inside("gate"), "cat", f"/proc/sys/net/{name}").strip()
        lab.net.set(knob)
        return f"/proc/sys/net/{name} is {value}: echo ", f"{name}={was}"

    for knob in knobs:
        says, back = turn(knob)
        refused(lab, path, says)
        # Forwarding of all is that of each, and that of each stays when it is set back.
        lab.net.set(back)
        for device in ("in", "out") if "all/forwarding" in knob else ():
            lab.net.set(back.replace("/all/", f"/{device}/"))
    turned = [turn(knob) for knob in knobs]
    ip("-n", lab.net.names["gate"], "link", "set", "out", "down")
    refused(lab, path, "interface out is down: ip link set out up", *(says for says, _ in turned))
    ip("-n", lab.net.names["gate"], "link", "set", "out", "up")
    for _, back in turned[::-1]:
        lab.net.set(back)
    # Where everything is stopped on the loopback interface, that the proof is stopped proves nothing.
    nft = [*lab.net.inside("gate"), "nft"]
    sh(*nft, "add table inet wall; add chain inet wall out { type filter hook output priority 0; policy drop; }")
    refused(lab, path, "let no other firewall stop it")
    sh(*nft, "delete table inet wall")

    # Longer packets than the charge is made for.
    for device in ("in", "out"):
        ip("-n", lab.net.names["gate"], "link", "set", device, "mtu", "9000")
        refused(lab, path, f"interface {device} takes more than 1500 bytes: ip link set {device} mtu 1500")
        ip("-n", lab.net.names["gate"], "link", "set", device, "mtu", "1500")

    # Rules for another user, for another port, and for an interface that was there before.
    lab.load_nft(path, "--cap-bytes", str(1 << 50), "--user", "nobody")
    refused(lab, path, not_loaded)
    lab.load_nft(path, "--cap-bytes", str(1 << 50))
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(f":{OUTSIDE}", ":7999"))
    refused(lab, path, not_loaded)
    path = config(lab.folder, **SETTINGS)
    with lab.gate(path):
        assert lab.status(path)["protection"] == "on"
    anew(lab, "in")
    refused(lab, path, not_loaded)
    lab.load_nft(path, "--cap-bytes", str(1 << 50))
    with lab.gate(path):
        pass
    print(f"ok   a gate is refused for each of {len(knobs)} settings, for rules that are not for it, for an interface that is down")


def cuts(lab, what, expected, *order):
    """A gate that runs notices what becomes of its machine."""
    path = config(lab.folder, **SETTINGS)
    lab.load_nft(path, "--cap-bytes", str(1 << 50))
    with lab.gate(path) as running:
        sh(*lab.net.inside("gate"), *order)
        running.until(f"alarm: the machine does not protect the link any more: {expected}", 10)
        running.until("alarm: cut, nothing leaves any more", 10)
        status = lab.status(path)
        assert status["state"] == "cut: the machine does not protect the link any more", status
        assert status["protection"].startswith(f"lost: {expected}"), status
        words = [*lab.net.inside("gate"), os.path.join(lab.bin, "weir-gate"), "resume", "--config", path]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and f"not resumed: {expected}" in done.stderr, done
        assert lab.status(path)["state"].startswith("cut"), "it is open again"
    print(f"ok   a running gate cuts: {what}")


def impostor(lab):
    """Inner writes, over its own cable, into the gate's socket for outer, in outer's name."""
    text = config(lab.folder, **SETTINGS)
    lab.load_nft(text, "--cap-bytes", str(1 << 50))
    inner = (ADDRESSES["out"][1], OUTSIDE), (ADDRESSES["out"][0], GATE_OUT)
    # (what stands in its way, how many of so many are heard)
    cases = [("rules and interface", True, True, 0), ("the interface alone", False, True, 0), ("nothing", False, False, COUNT)]
    for name, has_rules, has_device, heard in cases:
        path = config(lab.folder, **SETTINGS)
        flags = []
        if not has_rules:
            loosen(lab)
            sh(*lab.net.inside("gate"), "nft", "flush", "ruleset")
            flags = ["--unprotected"]
        if not has_device:
            with open(path, encoding="utf-8") as file:
                rows = [row for row in file if not row.startswith("device")]
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(rows)
        with lab.gate(path, *flags) as running:
            assert ("alarm: UNPROTECTED" in running.log()) is bool(flags), running.log()
            send(lab, "inner", "in", frame(lab, "inner", "in", 0x800, udp(*inner)))
            # Outer itself comes after them, and is heard.
            send(lab, "outer", "out", frame(lab, "outer", "out", 0x800, udp(*inner)))
            servers.until("outer is heard", 10, lambda: lab.status(path)["inward"] >= COUNT + heard)
            time.sleep(0.05)
            assert lab.status(path)["inward"] == COUNT + heard, (name, lab.status(path))
            if has_rules:
                # Beside them what inner's kernel says to ticks that nobody takes.
                assert lab.counters()["inside_in"]["packets"] >= COUNT, lab.counters()
    print("ok   inner in outer's name: not heard, neither with the rules nor without")


def run(bin):
    """All of it. None if it passed, else the reason why it could not run."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    tests = [lambda lab, cable=cable: strays(lab, cable) for cable in CABLES] + [users, starts, impostor]
    not_loaded = "the kernel's rules for these links, these interfaces and this user are not loaded"
    for what, expected, *order in [
        ("its rules are flushed", not_loaded, "nft", "flush", "ruleset"),
        ("one of the tables goes", not_loaded, "nft", "delete", "table", "netdev", "weir_gate"),
        ("forwarding is switched on", "/proc/sys/net/ipv4/conf/in/forwarding is 1", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/in/forwarding"),
        *((f"{one} is renamed", f"no interface is called {one}", "ip", "link", "set", one, "name", "renamed") for one in CABLES),
        *((f"{one} is deleted", f"no interface is called {one}", "ip", "link", "delete", one) for one in CABLES),
    ]:
        tests.append(lambda lab, words=(what, expected, *order): cuts(lab, *words))
    for test in tests:
        with Net() as net:
            lab = Lab(net, bin)
            try:
                test(lab)
            finally:
                shutil.rmtree(lab.folder, ignore_errors=True)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder with weir and weir-gate")
    if reason := run(os.path.abspath(parser.parse_args().bin)):
        sys.exit(f"SKIPPED: {reason}")


if __name__ == "__main__":
    main()
