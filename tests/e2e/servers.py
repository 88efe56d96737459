"""Inner and outer as processes of a test: started on free ports, killed at the end, their logs kept for the blame."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

KEY = "test-key"


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One process. `prefix` runs it elsewhere, such as in a network namespace."""

    def __init__(self, name, command, folder, prefix=()):
        self.name = name
        self.log_path = os.path.join(folder, f"{name}-{time.monotonic_ns()}.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*prefix, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def kill(self):
        """As the kernel does it: nothing is cleaned up."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def alive(self):
        return self.process.poll() is None


class Pair:
    """Inner and outer with the embedded models and a link between them, or a relay in place of it.

    `options` are both ends' flags; `inner_config` and `outer_config` are the text of their configuration files.
    """

    def __init__(
        self, weir, inner_host="127.0.0.1", outer_host="127.0.0.1", inner_prefix=(), outer_prefix=(), options=(),
        inner_config="", outer_config="", relay=None,
    ):
        self.weir, self.options = weir, list(options)
        self.folder = tempfile.mkdtemp(prefix="weir-e2e-")
        self.prefixes = {"inner": list(inner_prefix), "outer": list(outer_prefix)}
        self.inner_port, self.outer_port = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        self.api_port, self.metrics_port = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
        self.inner_at, self.outer_at = f"udp://{inner_host}:{self.inner_port}", f"udp://{outer_host}:{self.outer_port}"
        self.inner_peer, self.outer_peer = self.outer_at, self.inner_at
        if relay is not None:
            self.inner_peer, self.outer_peer = relay.inner_peer, relay.outer_peer
            relay.join_ends(self.inner_port, self.outer_port)
        self.configs = {"inner": self.write("inner", inner_config), "outer": self.write("outer", outer_config)}
        self.base = f"http://127.0.0.1:{self.api_port}"
        self.inner = self.outer = None

    def write(self, name, text):
        """The configuration file of an end."""
        path = os.path.join(self.folder, f"{name}.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def start_inner(self, *more):
        command = [
            self.weir, "inner", "--config", self.configs["inner"], "--local", self.inner_at, "--peer", self.inner_peer,
            *self.options, *more,
        ]
        self.inner = Server("inner", command, self.folder, self.prefixes["inner"])

    def start_outer(self, *more):
        command = [
            self.weir, "outer", "--config", self.configs["outer"], "--local", self.outer_at, "--peer", self.outer_peer,
            "--listen", f"127.0.0.1:{self.api_port}", "--metrics", f"127.0.0.1:{self.metrics_port}", "--api-key", KEY,
            *self.options, *more,
        ]
        self.outer = Server("outer", command, self.folder, self.prefixes["outer"])

    def __enter__(self):
        self.start_inner()
        self.start_outer()
        return self

    def __exit__(self, kind, *_):
        for server in (self.inner, self.outer):
            if server is None:
                continue
            server.kill()
            if kind is not None:
                print(f"--- {server.name}'s last words\n" + "\n".join(server.log().splitlines()[-20:]))

    def health(self):
        """(status, body), status 0 when nobody listens."""
        return fetch(f"{self.base}/healthz")

    def wait_until(self, wanted, seconds=60):
        """Waits for a status of /healthz; returns the body."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for server in (self.inner, self.outer):
                if server is not None and not server.alive() and wanted == 200:
                    raise AssertionError(f"{server.name} ended by itself:\n{server.log()[-2000:]}")
            status, body = self.health()
            if status == wanted:
                return body
            time.sleep(0.05)
        raise AssertionError(f"/healthz is not {wanted} after {seconds} s but {status}: {body}")

    def metrics(self):
        """Outer's counters by name, without their prefix."""
        status, body = fetch(f"http://127.0.0.1:{self.metrics_port}/metrics")
        assert status == 200, (status, body)
        rows = (line.split() for line in body.splitlines() if line.startswith("weir_outer_"))
        return {name.removeprefix("weir_outer_"): float(value) for name, value, *_ in rows}


def fetch(url, body=None, key=KEY, content_type="application/json"):
    """A plain request: what no well-behaved client would send can be sent."""
    headers = {"Content-Type": content_type}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        return 0, str(error)


def until(what, seconds, question):
    """Waits for an answer that is true; fails with `what` if none comes in time."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, f"{what}: not after {seconds} s"
        time.sleep(0.05)
    return answer
