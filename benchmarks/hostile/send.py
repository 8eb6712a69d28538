"Sending, and what became of it."
import json
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from urllib.parse import urlsplit
from .forms import form, part, request, uploads

UNFINISHED = 'cut and said to be longer', 'said to be huge', 'bad chunks', 'old', 'long head', 'many heads', 'http/2', 'length and chunks'


def length(got):
    "Of the body, by the head."
    head = got.partition(b'\r\n\r\n')[0].lower()
    return int(head.partition(b'content-length:')[2].split(b'\r\n')[0] or 0)

def whole(got, head_only): return b'\r\n\r\n' in got and (head_only or len(got.partition(b'\r\n\r\n')[2]) >= length(got))

def receive(s, head_only=False):
    "One answer, as bytes."
    got = b''
    while not whole(got, head_only):
        if not (more := s.recv(65536)): break
        got += more
        if got.startswith(b'HTTP/1.1 100'): got = got.partition(b'\r\n\r\n')[2]
    return got

def exchange(url, data, timeout=40): # (status, body); (None, b'') where the connection was closed without an answer
    "Send bytes on a connection of their own, and read the answer."
    address = urlsplit(url)
    got = b''
    with socket.create_connection((address.hostname, address.port), timeout) as s:
        try: s.sendall(data)
        except (BrokenPipeError, ConnectionResetError): pass
        try: got = receive(s, data.startswith(b'HEAD '))
        except ConnectionResetError: pass
    head, _, body = got.partition(b'\r\n\r\n')
    return (int(head[9:12]), body) if head[9:12].isdigit() else (None, b'')

def label_of(url, picture, **kwargs): # (status, label or what was said)
    "What the service says of a picture."
    status, body = exchange(url, request(form(part(picture))), **kwargs)
    return status, json.loads(body)['pictures'][0].get('label') if status == 200 else body[:200]


class Sender:
    "Sends hostile requests; counts statuses and keeps failures."
    def __init__(self, url):
        self.url = url
        self.statuses = Counter()
        self.failures = []
        self.slowest = (0., '')

    def send(self, o):
        name, data = o
        start = time.monotonic()
        try: status, body = exchange(self.url, data, 3 if name in UNFINISHED else 60)
        except TimeoutError: status, body = None if name in UNFINISHED else 'nothing in 60 seconds', b''
        if name not in UNFINISHED: self.slowest = max(self.slowest, (time.monotonic() - start, name))
        self.statuses[status] += 1
        stated = status == 503 and b'again in a moment' in body
        if isinstance(status, str) or (status or 0) >= 500 and not stated: self.failures.append((name, status))

def send_all(url, good, label, n, seed=0, every=50, threads=8, full=False):
    "Send `n` uploads, a good picture after each fifty: (how often each status, the failures)."
    sender = Sender(url)
    source = uploads(good, seed, full)
    with ThreadPoolExecutor(threads) as pool:
        for i in range(0, n, every):
            list(pool.map(sender.send, islice(source, min(every, n - i))))
            status, said = label_of(url, good)
            if said != label: sender.failures.append(('the good picture', status, said))
    return sender.statuses, sender.failures


class Honest:
    "A client beside the others: an honest picture after the other, its time and its answer."
    def __init__(self, url, pictures, labels, pause=.05):
        self.url = url
        self.pairs = list(zip(pictures, labels))
        self.pause = pause
        self.times = []
        self.wrong = []
        self.busy = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.over.set()
        self.thread.join(60)

    def run(self):
        i = 0
        while not self.over.wait(self.pause):
            picture, label = self.pairs[i := (i + 1) % len(self.pairs)]
            start = time.monotonic()
            try: status, said = label_of(self.url, picture)
            except OSError as e: status, said = type(e).__name__, str(e)
            self.times.append(time.monotonic() - start)
            if status == 503: self.busy += 1
            elif said != label: self.wrong.append((status, said))

    def at(self, q):
        "A quantile of the times, in seconds."
        times = sorted(self.times) or [0.]
        return times[min(len(times) - 1, int(q*len(times)))]
