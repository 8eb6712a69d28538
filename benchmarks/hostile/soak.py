"""Saturation for a long time, some of it hostile: are all honest requests answered, rightly, and as fast as without the hostile?

Every client sends its next request as soon as it has its answer. First all of them honest, for a fifth of the time; then with a
share that is hostile, and beside them clients that hold connections: they never read, or ask for signs of life only.
"""
import json
import random
import socket
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit
from .forms import FORM, Source, form, part
from .send import Sender

HEALTH = b'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'


class Saturating:
    "A client on a connection that stays; now and then it sends something hostile on another."
    def __init__(self, url, pairs, source=None, share=0., seed=0):
        self.url = url
        self.pairs = pairs
        self.source = source
        self.share = share
        self.rng = random.Random(seed)
        self.sender = Sender(url)
        self.times = []
        self.statuses = Counter()
        self.wrong = []
        self.lost = 0
        self.connection = None

    def run(self, until):
        while time.monotonic() < until:
            if self.rng.random() < self.share: self.sender.send(self.source.one())
            else: self.honest(*self.rng.choice(self.pairs))

    def honest(self, picture, label):
        start = time.monotonic()
        try: status, said = self.ask(picture)
        except (OSError, HTTPException):
            self.lost += 1
            self.connection = None
            return
        self.times.append(time.monotonic() - start)
        self.statuses[status] += 1
        if status == 200 and said['pictures'][0].get('label') != label: self.wrong.append((label, said))

    def ask(self, picture):
        address = urlsplit(self.url)
        self.connection = self.connection or HTTPConnection(address.hostname, address.port, timeout=60)
        self.connection.request('POST', '/predict', form(part(picture)), {'Content-Type': FORM})
        r = self.connection.getresponse()
        body = r.read()
        if r.will_close: self.connection = None
        return r.status, json.loads(body)


class Holders:
    "Clients that keep connections: half of them never read what they ask for, half ask now and then."
    def __init__(self, url, n):
        address = urlsplit(url)
        self.address = address.hostname, address.port
        self.n = n

    def run(self, until):
        held = []
        while time.monotonic() < until:
            held = [o for i, o in enumerate(held) if self.ask(o, i % 2)]
            while len(held) < self.n: held.append(self.connect())
            time.sleep(.2)
        for o in held: o.close()

    def connect(self):
        s = socket.create_connection(self.address, 20)
        s.setblocking(False)
        return s

    def ask(self, s, reads):
        "Is it still open?"
        try:
            s.send(HEALTH*(1 if reads else 80))
            return not reads or s.recv(65536) != b''
        except BlockingIOError: return True
        except OSError: return False


def phase(clients, others, seconds):
    "Run them for some seconds: figures."
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=o.run, args=(until,)) for o in (*clients, *others)]
    for t in threads: t.start()
    for t in threads: t.join()
    times = sorted(o for c in clients for o in c.times) or [0.]
    at = lambda q: times[min(len(times) - 1, int(q*len(times)))]
    count = lambda name: dict(sum((getattr(o, name) for o in clients), Counter()))
    sent = sum((o.sender.statuses for o in clients), Counter())
    return dict(per_second=len(times)/seconds, p50=at(.5), p99=at(.99), most=times[-1], statuses={str(k): v for k, v in count('statuses').items()},
                hostile={str(k): v for k, v in sent.items()}, lost=sum(o.lost for o in clients), wrong=[o for c in clients for o in c.wrong],
                failures=[o for c in clients for o in c.sender.failures])

def soak(url, pictures, labels, seconds, clients=16, share=.05, seed=0):
    "Both phases."
    pairs = list(zip(pictures, labels))
    plain = phase([Saturating(url, pairs, seed=i) for i in range(clients)], [], seconds/5)
    some = [Saturating(url, pairs, Source(pictures[0], seed + i), share, i) for i in range(clients)]
    mixed = phase(some, [Holders(url, 20)], seconds*4/5)
    return dict(plain=plain, mixed=mixed, ratio=mixed['p99']/max(plain['p99'], 1e-9))
