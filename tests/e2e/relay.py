"""A relay that stands on the link, inner's peer on one side and outer's on the other: it can lose, double, delay and add.

Both ends take what it sends for their peer's: nothing tells it from the real one but the session's own checks.
"""

import heapq
import itertools
import select
import socket
import threading
import time
import zlib


def keep(datagram):
    """What a way does by default: all of it, at once."""
    return [(0, datagram)]


class Way:
    """One direction. `act` says of each datagram what leaves in its place, and after how many seconds."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.sender = self.receiver = None
        self.act = keep
        self.seen = []
        self.sent = 0

    def inject(self, datagram):
        """Sends it as if it came from the peer. Any thread may."""
        self.sink.sendto(datagram, self.receiver)
        self.sent += 1

    def drop_one(self, wanted):
        """Loses the next datagram that is `wanted`, and no other; returns the list that it will be in."""
        lost = []

        def act(datagram):
            if not lost and wanted(datagram):
                lost.append(datagram)
                return []
            return keep(datagram)

        self.act = act
        return lost


class Relay(threading.Thread):
    """`inward` leads to inner, `egress` to outer. Runs until its `with` ends."""

    def __init__(self):
        super().__init__(daemon=True)
        # One face to each end; neither is connected, so an end may die and come back.
        self.faces = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for face in self.faces:
            face.bind(("127.0.0.1", 0))
            face.setblocking(False)
        to_inner, to_outer = self.faces
        self.inward, self.egress = Way(to_outer, to_inner), Way(to_inner, to_outer)
        self.inner_peer, self.outer_peer = (f"udp://127.0.0.1:{face.getsockname()[1]}" for face in self.faces)
        self.over = False

    def join_ends(self, inner_port, outer_port):
        """Says where the ends are; from now on datagrams pass."""
        inner, outer = ("127.0.0.1", inner_port), ("127.0.0.1", outer_port)
        self.inward.sender, self.inward.receiver = outer, inner
        self.egress.sender, self.egress.receiver = inner, outer
        self.start()

    def run(self):
        waiting, order = [], itertools.count()
        while not self.over:
            wait = waiting[0][0] - time.monotonic() if waiting else 0.1
            ready, _, _ = select.select(self.faces, [], [], min(max(wait, 0), 0.1))
            for way in (self.inward, self.egress):
                while way.source in ready and (datagram := take(way)) is not None:
                    way.seen.append(datagram)
                    for after, out in way.act(datagram):
                        if after <= 0:
                            way.inject(out)
                        else:
                            heapq.heappush(waiting, (time.monotonic() + after, next(order), way, out))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, way, out = heapq.heappop(waiting)
                way.inject(out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over = True
        if self.is_alive():
            self.join()
        for face in self.faces:
            face.close()


def take(way):
    """The next datagram of the way's sender, None if there is none."""
    while True:
        try:
            datagram, sender = way.source.recvfrom(65536)
        except BlockingIOError:
            return None
        if sender == way.sender:
            return datagram


# What the ends' datagrams look like (1-byte ids, 4-byte checks): SPEC 5.2, 5.3, 6.3.
HELLO, DATA, PING = 0x10, 0x11, 0x12
FORMAT = 0b10
CONTROL = 0xFF


def session_of(inward):
    """The session id of an inward datagram."""
    return inward[8:16]


def inward(kind, session, body, form=FORMAT):
    """An inward datagram whose length and CRC are right, whatever is in it."""
    head = bytes([kind, form]) + (16 + len(body)).to_bytes(2, "big")
    crc = zlib.crc32(head + session + body)
    return head + crc.to_bytes(4, "big") + session + body


def first_frame(session, code, batch=0):
    """Frame 0 of a batch with a good check: the number and the digest are 0."""
    crc = zlib.crc32(session + batch.to_bytes(2, "big") + bytes(8) + bytes(8) + code.rstrip(b"\0"))
    return bytes([batch]) + (crc & 0x07FF_FFFF).to_bytes(4, "big") + code.rstrip(b"\0")


def is_frame(egress):
    """Whether this is a frame of a batch, not a control frame."""
    return egress[0] != CONTROL


def is_welcome(egress, session):
    """Whether inner says here that the session is open."""
    return egress[0] == CONTROL and egress[5:].ljust(10, b"\0") == b"\x01\x00" + session
