"""One ledger, many names: a second writer meets the lock by whatever name it comes, and a witness on another machine finds out a copy.

`witnesses.py --bin FOLDER` with weir, weir-gate and weir-witness in it; mounts need root. Ends with 0 only if all passed.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import servers

TOTAL, BLOCK = 4_000_000, 100_000
LOCKED, MODE, MOVED, FAILED = 30, 35, 26, 27


class Vault:
    """A folder with a ledger in it, its key, and a witness: `weir-witness`, or a file."""

    def __init__(self, bin, program):
        self.bin, self.folder = bin, tempfile.mkdtemp(prefix="weir-witness-")
        os.mkdir(self.path("own"))
        self.processes = []
        for name in ("key", "witness.key"):
            self.run("weir", "ledger", "keygen", self.path(name))
        self.witness = self.path("witness")
        if program:
            port = servers.free_port(socket.SOCK_DGRAM)
            self.listen = f"udp://127.0.0.1:{port}"
            self.witness = f"{self.listen}?key={self.path('witness.key')}"
            self.run("weir-witness", "init", "--file", self.path("heads"))
            self.program = self.start_witness()
        self.ledger = self.path("own", "ledger")
        self.run(
            "weir", "ledger", "init", self.ledger, *self.flags(), "--weights-hash", "00" * 32, "--weights-bytes", "1000000000",
            "--total", str(TOTAL),
        )
        self.inner, self.outer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (self.inner, self.outer):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(0.1)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def start_witness(self):
        words = ["run", "--file", self.path("heads"), "--key", self.path("witness.key"), "--listen", self.listen]
        return self.start("weir-witness", words, "ready at")

    def start(self, program, words, ready):
        log = self.path(f"log-{len(self.processes)}")
        with open(log, "wb") as out:
            process = subprocess.Popen([os.path.join(self.bin, program), *words], stdout=out, stderr=out)
        process.log = lambda: open(log, encoding="utf-8").read()
        self.processes.append(process)
        servers.until(f"{program} is ready", 20, lambda: ready in process.log() or process.poll() is not None)
        assert process.poll() is None, process.log()
        return process

    def flags(self):
        return ["--key", self.path("key"), "--witness", self.witness]

    def run(self, program, *words, code=0, prefix=()):
        done = subprocess.run([*prefix, os.path.join(self.bin, program), *words], capture_output=True, text=True, check=False)
        assert done.returncode == code, (program, words, done)
        return done.stderr

    def lower(self, ledger, code, prefix=()):
        """Opens the ledger to write, as every writer does."""
        return self.run("weir", "ledger", "lower", ledger, *self.flags(), "--window", "hour=1e9", code=code, prefix=prefix)

    def gate(self, ledger, name="gate"):
        ports = [servers.free_port(socket.SOCK_DGRAM) for _ in range(2)]
        peers = [sock.getsockname()[1] for sock in (self.inner, self.outer)]
        text = (
            f'control = "{self.path(name)}.sock"\n'
            f'[inside]\nlocal = "udp://127.0.0.1:{ports[0]}"\npeer = "udp://127.0.0.1:{peers[0]}"\n'
            f'[outside]\nlocal = "udp://127.0.0.1:{ports[1]}"\npeer = "udp://127.0.0.1:{peers[1]}"\n'
            "[session]\ntick_ms = 5\n"
            f'[meter]\nledger = "{ledger}"\nledger_key = "{self.path("key")}"\nwitnesses = ["{self.witness}"]\nblock = {BLOCK}\n'
            "rate = 100000000\nburst = 100000000\n"
        )
        with open(self.path(f"{name}.toml"), "w", encoding="utf-8") as file:
            file.write(text)
        process = self.start("weir-gate", ["run", "--unprotected", "--config", self.path(f"{name}.toml")], "ready")
        process.inside = ports[0]
        return process

    def frames(self, gate, seconds, until):
        """Frames from inner, one a tick, until something holds."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, gate.log()
            self.inner.sendto(bytes(200), ("127.0.0.1", gate.inside))
            with contextlib.suppress(TimeoutError):
                self.outer.recv(2000)

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def aliases(bin):
    """A second writer, by every name that a file can have."""
    vault = Vault(bin, program=False)
    try:
        gate = vault.gate(vault.ledger)
        names = {name: vault.path(name) for name in ("hard", "soft", "folder")}
        os.link(vault.ledger, names["hard"])
        os.symlink(vault.ledger, names["soft"])
        os.symlink(vault.path("own"), names["folder"])
        names |= {
            "itself": vault.ledger,
            "folder": os.path.join(names["folder"], "ledger"),
            "root of the process": f"/proc/{gate.pid}/root{vault.ledger}",
            "dots": vault.path("own", "..", "own", "ledger"),
        }
        fds = f"/proc/{gate.pid}/fd"
        names["descriptor"] = next(
            os.path.join(fds, fd) for fd in os.listdir(fds) if os.readlink(os.path.join(fds, fd)) == vault.ledger
        )
        for name, path in names.items():
            said = vault.lower(path, LOCKED)
            assert "another process has it open" in said, (name, said)
        count = len(names)
        # As containers make them: one file, or its folder, mounted elsewhere in a mount namespace.
        if os.geteuid() == 0:
            os.mkdir(vault.path("mounted"))
            open(vault.path("file"), "x", encoding="utf-8").close()
            for what, where, ledger in [
                (vault.ledger, vault.path("file"), vault.path("file")),
                (vault.path("own"), vault.path("mounted"), vault.path("mounted", "ledger")),
            ]:
                script = f"mount --bind {what} {where} && exec \"$@\""
                vault.lower(ledger, LOCKED, prefix=["unshare", "-m", "sh", "-c", script, "sh"])
                count += 1
        # What lies beside the ledger holds no lock that could be lost.
        assert sorted(os.listdir(vault.path("own"))) == ["ledger"], os.listdir(vault.path("own"))
        gate.terminate()
        assert gate.wait(20) == 0, gate.log()
        vault.lower(vault.ledger, 0)
        # A lock that anybody can take is none, and a key that anybody can write is none.
        for path in (vault.ledger, vault.path("key"), vault.witness):
            mode = os.stat(path).st_mode & 0o777
            assert mode == 0o600, (path, oct(mode))
            for other in (0o606, 0o644, 0o660):
                os.chmod(path, other)
                assert f"mode {other:o}" in vault.lower(vault.ledger, MODE)
            os.chmod(path, mode)
        vault.lower(vault.ledger, 0)
    finally:
        vault.close()
    print(f"ok   a second writer is refused by {count} names of one ledger; files of others' modes are refused")


def copies(bin):
    """A copy of the ledger's disk goes on beside the original: the witness lets one of them, and the other stops at its next block."""
    vault = Vault(bin, program=True)
    try:
        gate = vault.gate(vault.ledger)
        vault.frames(gate, 20, lambda: os.path.getsize(vault.ledger) > 160 * 6)
        copy = vault.path("copy")
        shutil.copy2(vault.ledger, copy)
        other = vault.gate(copy, "other")
        # Both send. One of them is cut within a block, for good, and says why; the sum of both stays within total and block.
        words = "alarm: cut, nothing leaves any more: the ledger cannot be"
        vault.frames(gate, 30, lambda: words in gate.log())
        # The log has fixed words; why it is, the control socket says.
        status = [os.path.join(bin, "weir-gate"), "status", "--config", vault.path("gate.toml")]
        said = subprocess.run(status, check=True, capture_output=True, text=True).stdout
        assert "ledger witness 0 was not told what it holds" in said, said
        assert words not in other.log(), other.log()
        gate.terminate()
        gate.wait(20)
        said = vault.run("weir-gate", "run", "--unprotected", "--config", vault.path("gate.toml"), code=17)
        assert "older copy" in said, said
        other.terminate()
        assert other.wait(20) == 0, other.log()
        # Without its witness no ledger is opened; the witness's own start changes nothing.
        vault.program.send_signal(signal.SIGHUP)
        assert vault.program.wait(10) == 0, vault.program.log()
        vault.lower(copy, FAILED)
        vault.start_witness()
        vault.lower(copy, 0)
        # A witness that forgot, by whatever way, is missed.
        vault.processes[-1].terminate()
        vault.processes[-1].wait(10)
        os.truncate(vault.path("heads"), os.path.getsize(vault.path("heads")) - 120)
        vault.start_witness()
        vault.lower(copy, 0)  # the last step was a close: one write may be missing, as after a crash
        vault.processes[-1].terminate()
        vault.processes[-1].wait(10)
        os.truncate(vault.path("heads"), os.path.getsize(vault.path("heads")) - 360)
        vault.start_witness()
        vault.lower(copy, 19)
    finally:
        vault.close()
    print("ok   a copied ledger: the witness on another machine lets one go on, and the other is cut")


def run(bin):
    aliases(bin)
    copies(bin)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="folder with weir, weir-gate and weir-witness")
    run(parser.parse_args().bin)


if __name__ == "__main__":
    main()
