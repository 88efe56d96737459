"""The whole system with a gate between its ends, in each shape: it must serve as without one, and break no rule."""

import os
import shutil
import socket
import subprocess
import tempfile
import time

import openai_client
import servers

# Pieces of the constant shape are so short here that what users get on a tick may take several.
SHAPES = {
    "sealed": 1472,
    "bucketed": 1472,
    "constant": 60,
}


class Gate:
    """`weir gate run` in the place of a relay."""

    def __init__(self, weir, shape, mtu):
        self.weir, self.shape, self.mtu = weir, shape, mtu
        self.folder = tempfile.mkdtemp(prefix="weir-gated-")
        self.config, self.key = (os.path.join(self.folder, name) for name in ("gate.toml", "receipts.key"))
        with open(self.key, "w", encoding="utf-8") as file:
            file.write("07" * 32 + "\n")
        # What outer has had; an empty file begins it.
        self.received = os.path.join(self.folder, "received")
        open(self.received, "xb").close()
        for path in (self.key, self.received):
            os.chmod(path, 0o600)
        self.inside, self.outside = (servers.free_port(socket.SOCK_DGRAM) for _ in range(2))
        self.inner_peer, self.outer_peer = (f"udp://127.0.0.1:{port}" for port in (self.inside, self.outside))
        self.process = None

    def join_ends(self, inner_port, outer_port):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'control = "{self.folder}/gate.sock"\n'
                f'[inside]\nlocal = "{self.inner_peer}"\npeer = "udp://127.0.0.1:{inner_port}"\n'
                f'[outside]\nlocal = "{self.outer_peer}"\npeer = "udp://127.0.0.1:{outer_port}"\n'
                f'[session]\nshape = "{self.shape}"\nmtu = {self.mtu}\ntick_ms = 50\n'
                "[meter]\nrate = 10000000\nburst = 10000000\nhandshake_percent = 20\n"
                f'[receipts]\nkey = "{self.key}"\ntolerance = 0\nsilence_s = 30\n'
            )
        self.process = servers.Server("gate", [self.weir, "gate", "run", "--unprotected", "--config", self.config], self.folder)

    def status(self):
        words = [self.weir, "gate", "status", "--config", self.config]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        rows = (line.split(" ", 1) for line in said.splitlines())
        return {name: int(value) if value.isdigit() else value for name, value in rows}

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print(f"--- the gate's last words\n{self.process.log()[-2000:]}")
        self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def every_shape(weir):
    """The public client's whole test, through a gate, in each shape."""
    for shape, mtu in SHAPES.items():
        inner = f"[link]\nmtu = {mtu}\n[meter]\nrate = 10000000\nburst = 10000000\nhandshake_percent = 20\n"
        options = ["--shape", shape, "--tick-ms", "50"]
        gate = Gate(weir, shape, mtu)
        outer = f'[link]\nmtu = {mtu}\n[receipts]\nkey = "{gate.key}"\nfile = "{gate.received}"\nevery_ms = 200\n'
        with gate, servers.Pair(
            weir, options=options, inner_config=inner, outer_config=outer, relay=gate
        ) as pair:
            pair.wait_until(200)
            openai_client.main(pair.base, servers.KEY)
            # Frames go on in the constant shape, so what outer has is between two looks at the gate.
            before = gate.status()
            time.sleep(0.2)
            seen = pair.metrics()
            time.sleep(0.2)
            after = gate.status()
            dropped = {name: count for name, count in after.items() if name.startswith("dropped_") and count}
            # On a busy machine ticks may be late, or pieces absent; what inner sends breaks no rule all the same.
            assert not dropped and after["state"] == "open", after
            assert after["receipts"] > 3 and after["receipts_refused"] == 0, after
            assert os.path.getsize(gate.received) == 88
            got = seen["datagrams_received_total"]
            assert before["datagrams"] <= got <= after["datagrams"], (before, got, after)
            if shape != "constant":
                assert seen["link_bits_total"] == after["line_bytes"] * 8, (seen, after)
            else:
                assert after["line_bytes"] == after["datagrams"] * (mtu + 66), after
            print(
                f"     {shape}: {seen['tokens_total']:.0f} tokens in {got:.0f} frames, "
                f"{seen['link_bits_total'] / seen['tokens_total']:.1f} bits a token on the link, "
                f"{after['released_absent']} pieces absent"
            )

