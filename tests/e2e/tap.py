"""The tap, in network namespaces, against all that may happen to an interface, a disk and a log: it counts to the byte, or
the link is down. One test for each way in which a tap once stayed up and deaf.

`tap.py --bin FOLDER` with weir-tap in it; needs root and `ip`. Ends with 0 only if all passed.
"""

import argparse
import array
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import gate
from gate import ADDRESSES, Net, Process, ip, read_state

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOWN, NOT_DOWN = 3, 4
LONGEST = 1518 + gate.AROUND
SIOCETHTOOL, ETHTOOL_SGRO, UDP_SEGMENT = 0x8946, 0x2C, 103
LIBC = ctypes.CDLL(None, use_errno=True)


class Lab:
    def __init__(self, net, bin):
        self.net, self.bin = net, bin
        self.folder = tempfile.mkdtemp(prefix="weir-tap-")
        self.gate, self.outer = net.names["gate"], net.names["outer"]

    def anew(self):
        """A fresh cable, and no state."""
        for end in (self.gate, self.outer):
            subprocess.run(["ip", "-n", end, "link", "delete", "out"], check=False, capture_output=True)
        self.net.cable("out", "gate", "outer")
        # The link is the tap's to set up.
        ip("-n", self.outer, "link", "set", "out", "down")
        for name in os.listdir(self.folder):
            if not name.endswith(".log"):
                os.remove(os.path.join(self.folder, name))

    def path(self, name="count"):
        return os.path.join(self.folder, name)

    def command(self, *more, cap=1 << 50, state=None):
        words = [os.path.join(self.bin, "weir-tap"), "--interface", "out", "--cap-bytes", str(cap)]
        return [*words, "--state", state or self.path(), *more]

    def tap(self, *more, **keys):
        """A tap that listens, on its first day."""
        tap = self.start(self.command("--new", *more, **keys))
        tap.until("on the line so far")
        return tap

    def start(self, command):
        return Process(self.net.inside("outer"), command, self.folder, "tap")

    @contextlib.contextmanager
    def inside(self, end):
        """This thread, in a namespace: sockets stay where they were made."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.net.names[end]}") as there:
            assert LIBC.setns(there.fileno(), 0) == 0
            try:
                yield
            finally:
                assert LIBC.setns(home.fileno(), 0) == 0

    def send(self, *frames):
        """Whole frames from the gate's end; their sources and targets are put before them."""
        with self.inside("gate"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("out", 0))
            for frame in frames:
                sock.send(bytes.fromhex("020000000801" "020000000800") + frame)

    def gro(self, end, is_on):
        with self.inside(end), socket.socket() as sock:
            value = array.array("B", struct.pack("II", ETHTOOL_SGRO, is_on))
            fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP", b"out", value.buffer_info()[0]))

    def is_up(self, name="out"):
        return "UP" in json.loads(ip("-n", self.outer, "-j", "link", "show", name))[0]["flags"]


def plain(size):
    """What follows the addresses of a frame of so many bytes; a type that nobody speaks."""
    return b"\x88\xb5" + bytes(size - 14)


def ended(tap, code, words, lab=None):
    """The tap has ended as it should, and has said why; with `lab`, the interface is down."""
    assert tap.process.wait(10) == code, (tap.process.returncode, tap.log())
    assert words in tap.log(), (words, tap.log())
    assert lab is None or not lab.is_up(), tap.log()


def counted_to_the_byte(lab):
    """Frames of all lengths, with and without tags; every signal that asks it to end takes the link down, with 0."""
    tags = [b"", b"\x81\x00\x00\x07", b"\x81\x00\x00\x00", b"\x88\xa8\x00\x05", b"\x88\xa8\x00\x05\x81\x00\x00\x07"]
    frames = [tag + plain(size - len(tag)) for tag in tags for size in (40, 60, 61, 64, 65, 700, 1514)]
    frames += [tag + plain(1514) for tag in tags[:3]]  # the kernel sends no longer ones
    line = sum(max(12 + len(frame), gate.SHORT) + gate.AROUND for frame in frames)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGXFSZ, signal.SIGALRM, signal.SIGRTMAX):
        lab.anew()
        with lab.tap() as tap:
            assert lab.is_up()
            lab.send(*frames)
            time.sleep(0.4)  # two looks at the interface's own counters
            tap.process.send_signal(number)
            ended(tap, 0, "asked to end: interface out goes down", lab)
        seen = read_state(lab.path())
        assert seen == {"frames": len(frames), "bytes": line, "drops": 0, "joined": 0, "reserved": line}, (seen, line)
    print(f"ok   {len(frames)} frames, most with tags, {line} bytes counted to the byte; eight signals, link down, 0")


def first_starts(lab):
    """No state, a state too many, one that anybody may write, no interface: no link."""
    lab.anew()
    with lab.start(lab.command()) as tap:
        ended(tap, DOWN, "--new is for a first start, which begins at 0", lab)
    assert not os.path.exists(lab.path())
    with lab.tap() as tap:
        tap.stop()
    assert os.stat(lab.path()).st_mode & 0o777 == 0o644
    ip("-n", lab.outer, "link", "set", "out", "up")
    with lab.start(lab.command("--new")) as tap:
        ended(tap, DOWN, "it is there already", lab)
    os.chmod(lab.path(), 0o666)
    ip("-n", lab.outer, "link", "set", "out", "up")
    with lab.start(lab.command()) as tap:
        ended(tap, DOWN, "others can write it", lab)
    os.chmod(lab.path(), 0o644)
    # What it has let pass by then, nobody has counted.
    ip("-n", lab.outer, "link", "set", "out", "up")
    with lab.start(lab.command()) as tap:
        ended(tap, DOWN, "it is up: something else sets it up", lab)
    ip("-n", lab.outer, "link", "set", "out", "mtu", "9000", "up")
    with lab.start(lab.command()) as tap:
        ended(tap, DOWN, "its MTU is above 1500", lab)
    ip("-n", lab.gate, "link", "delete", "out")
    with lab.start(lab.command()) as tap:
        ended(tap, NOT_DOWN, "No such device")
    print("ok   first starts: none without --new, with a state too many, a state of everybody's, an interface that is up, or none")


def interface_goes(lab):
    """Deleted and made anew, moved away, set down and up by somebody: never alive and deaf."""
    lab.anew()
    with lab.tap("--index", lab.path("index")) as tap:
        ip("-n", lab.gate, "link", "delete", "out")
        lab.net.cable("out", "gate", "outer")
        ended(tap, NOT_DOWN, "the interface is gone")
        # What was made in its place is not what it watched. The unit's dead man takes it down all the same.
        assert lab.is_up()
        with lab.start(lab.command("--index", lab.path("index"), "--down")) as dead:
            ended(dead, 0, "is down", lab)
    lab.anew()
    with lab.tap() as tap:
        ip("-n", lab.outer, "link", "set", "out", "netns", lab.net.names["inner"])
        ended(tap, NOT_DOWN, "the interface is gone")
    for batch, words in [
        ("link set out down\nlink set out up\n", "somebody else has set the interface down"),
        ("link set out name off\nlink set off name out\n", "the interface was renamed"),
        ("link set out mtu 9000\n", "its MTU is above 1500"),
    ]:
        lab.anew()
        with lab.tap() as tap:
            subprocess.run(["ip", "-n", lab.outer, "-batch", "-"], input=batch, text=True, check=True)
            ended(tap, DOWN, words, lab)
    print("ok   deleted and made anew, moved, down and up, there and back, longer frames: the tap ends, the link is down")


def renamed(lab):
    """Another takes the name: the right one goes down, and only that."""
    lab.anew()
    with lab.tap() as tap:
        rename(lab)
        ended(tap, DOWN, "the interface was renamed")
        assert not lab.is_up("moved") and lab.is_up("out")
    lab.anew()
    with lab.tap() as tap:
        # Set up again as the next step of somebody's script: it does not stay so.
        batch = "link set out name moved\nlink set moved up\n"
        subprocess.run(["ip", "-n", lab.outer, "-batch", "-"], input=batch, text=True, check=True)
        ended(tap, DOWN, "the interface was renamed")
        assert not lab.is_up("moved")
    print("ok   renamed while another takes its name: the right one goes down")


def rename(lab):
    batch = "link set out name moved\nlink add out type veth peer name far\nlink set out up\n"
    subprocess.run(["ip", "-n", lab.outer, "-batch", "-"], input=batch, text=True, check=True)


def killed(lab):
    """SIGKILL: what the unit does then, word for word, takes the interface of the index down, whatever it is called."""
    unit = {}
    with open(os.path.join(ROOT, "dist", "systemd", "weir-tap.service"), encoding="utf-8") as file:
        for row in file:
            name, _, words = row.strip().partition("=")
            for old, new in [
                ("${WEIR_LINK}", "out"), ("${WEIR_CAP_BYTES}", str(1 << 50)), ("/usr/bin", lab.bin),
                ("/run/weir-tap", lab.folder), ("/var/lib/weir-tap", lab.folder),
            ]:
                words = words.replace(old, new)
            unit[name] = words.split()
    lab.anew()
    with lab.tap() as tap:
        tap.stop()
    for is_renamed in (False, True):
        with lab.start(unit["ExecStart"]) as tap:
            tap.until("on the line so far")
            if is_renamed:
                tap.process.send_signal(signal.SIGSTOP)
                rename(lab)
            tap.process.kill()
            tap.process.wait()
            name = "moved" if is_renamed else "out"
            assert lab.is_up(name)
            with lab.start(unit["ExecStopPost"]) as dead:
                ended(dead, 0, "is down")
            assert not lab.is_up(name) and lab.is_up("out") == is_renamed
    # Before there was an index, the name is all there is; and with nothing to take down it says so.
    os.remove(lab.path("index"))
    with lab.start(unit["ExecStopPost"]) as dead:
        ended(dead, 0, "is down", lab)
    ip("-n", lab.outer, "link", "delete", "out")
    with lab.start(unit["ExecStopPost"]) as dead:
        ended(dead, NOT_DOWN, "No such device")
    print("ok   killed: the unit's ExecStopPost takes the right interface down")


def disk(lab):
    """A full disk, and one that hangs: the link goes down."""
    lab.anew()
    folder = lab.path("disk")
    os.mkdir(folder)
    state = os.path.join(folder, "count")
    # `ip netns exec` has mounts of its own.
    script = 'mount -t tmpfs -o size=16k tmpfs "$0" && exec "$@"'
    with lab.start(["sh", "-c", script, folder, *lab.command("--new", state=state)]) as tap:
        tap.until("on the line so far")
        with contextlib.suppress(OSError), open(f"/proc/{tap.process.pid}/root{folder}/full", "wb", buffering=0) as full:
            while True:
                full.write(bytes(4096))
        end = time.monotonic() + 10
        while tap.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError):  # the link is down
                lab.send(plain(60))
            time.sleep(0.1)
        ended(tap, DOWN, "No space left on device", lab)
    os.rmdir(folder)
    lab.anew()
    with lab.tap() as tap:
        os.mkfifo(lab.path("count.new"))  # an open that waits for ever
        end = time.monotonic() + 15
        while lab.is_up():
            assert tap.process.poll() is None and time.monotonic() < end, tap.log()
            with contextlib.suppress(OSError):
                lab.send(plain(60))
            time.sleep(0.1)
        tap.until("the tap hangs")
        assert tap.process.poll() is None
    print("ok   the state's disk is full, or hangs: the link is down")


def log(lab):
    """The log's reader is gone, or reads no more: the cap takes the link down."""
    for is_full in (False, True):
        lab.anew()
        reader, writer = os.pipe()
        if is_full:
            os.set_blocking(writer, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writer, bytes(4096))
            os.set_blocking(writer, True)
        command = lab.command("--new", cap=500)
        with subprocess.Popen([*lab.net.inside("outer"), *command], stdin=subprocess.DEVNULL, stderr=writer) as tap:
            os.close(writer)
            if not is_full:
                os.close(reader)
            end = time.monotonic() + 10
            while not lab.is_up():
                assert tap.poll() is None and time.monotonic() < end, tap.returncode
                time.sleep(0.01)
            lab.send(*[plain(60)] * 20)
            try:
                assert tap.wait(10) == DOWN and not lab.is_up()
            finally:
                tap.kill()
        if is_full:
            os.close(reader)
        seen = read_state(lab.path())
        assert seen["bytes"] == seen["reserved"] == seen["frames"] * 84 >= 500, seen
    print("ok   the log's reader is gone, or asleep: the cap takes the link down")


def joined(lab):
    """Frames that the kernel has joined: none on an interface that may join them, and never fewer than were sent."""
    lab.anew()
    lab.gro("outer", 1)
    with lab.start(lab.command("--new")) as tap:
        ended(tap, DOWN, "ethtool -K out rx-gro off", lab)
    lab.anew()
    with lab.tap() as tap:
        lab.gro("outer", 1)
        ended(tap, DOWN, "ethtool -K out rx-gro off", lab)
    # Joined by the sender: 106 bytes that are 64 frames of 43.
    lab.anew()
    with lab.tap() as tap:
        with lab.inside("gate"):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1)
            sock.sendto(bytes(64), (ADDRESSES["out"][1], 9))
        ended(tap, DOWN, "joined from several", lab)
        seen = read_state(lab.path())
        assert seen["joined"] == 1 and seen["frames"] >= 64 and seen["bytes"] >= 64 * 84, seen
    print(f"ok   joined frames: refused, and 64 in one of 106 bytes counted as {seen['frames']} and {seen['bytes']} bytes")


def unseen(lab):
    """A frame that the interface counts and no socket sees, as its tag is cut off: the interface's own counters tell."""
    cut = b"\x81\x00\x00\x07"
    lab.anew()
    with lab.tap() as tap:
        lab.send(cut)
        ended(tap, DOWN, "1 frames were not seen", lab)
    lab.anew()
    with lab.tap("--drops", "2") as tap:
        lab.send(cut, plain(60), cut)
        tap.until("2 frames were not seen")
        assert tap.process.poll() is None and lab.is_up()
        lab.send(cut)
        ended(tap, DOWN, "too many frames were not seen", lab)
    seen = read_state(lab.path())
    assert (seen["frames"], seen["bytes"], seen["drops"]) == (4, 84 + 3 * LONGEST, 3), seen
    print("ok   what the interface counts and the tap does not see, counts as the longest frames")


TESTS = [counted_to_the_byte, first_starts, interface_goes, renamed, killed, disk, log, joined, unseen]


def run(bin, names=()):
    """All of it, or what is named. None if it passed, else the reason why it could not run."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("ip") is None:
        return "needs ip"
    assert os.path.exists(os.path.join(bin, "weir-tap")), f"no weir-tap in {bin}: cargo build --release -p weir-tap"
    with Net() as net:
        lab = Lab(net, os.path.abspath(bin))
        try:
            for test in TESTS:
                if not names or test.__name__ in names:
                    test(lab)
        finally:
            shutil.rmtree(lab.folder, ignore_errors=True)
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder with weir-tap")
    parser.add_argument("tests", nargs="*", help="names of tests; all if none is given")
    args = parser.parse_args()
    if reason := run(args.bin, args.tests):
        sys.exit(f"SKIPPED: {reason}")
