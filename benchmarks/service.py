"""The service under load: many clients in a process of their own, beside `predict_many` on the same pictures, in one run.

    python benchmarks/service.py [--seconds 60] [--clients 64] [--size 224] [--json FILE]
    python benchmarks/service.py --against ../older [--rounds 5] [--seconds 10]

The network (ResNet-18 at 224×224 unless told) has learnt nothing; that changes no time. The pictures are 480×360 JPEGs, one
a request, sent over connections that stay open. *Saturation*: every client sends its next request as soon as it has its
answer. *Half load*: requests come at random (Poisson) at half of that throughput, whether or not earlier ones are answered,
and a request's time counts from when it was due. *Single*: one client, one request at a time. Server, clients and, in its
turn, `predict_many` share the machine's cores. `predict_many` runs before and after saturation; the ratio is to its mean.

With `--against`, the service of this checkout and that of another one (0.4.0 or later) answer the same pictures with a network
that the other one wrote, at saturation, in turn; the ratio is the median over the rounds. A server that waits takes no time.
"""
import argparse
import asyncio
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]


class Client(asyncio.Protocol):
    "A connection that sends one request at a time."
    def __init__(self, load):
        self.load = load
        self.data = b''
        self.due = None
        self.transport = None

    def connection_made(self, transport): self.transport = transport
    def connection_lost(self, error): self.load.gone(self)

    def send(self, due):
        self.due = due
        self.data = b''
        self.transport.write(next(self.load.requests))

    def data_received(self, data):
        self.data += data
        head, found, body = self.data.partition(b'\r\n\r\n')
        if not found or len(body) < int(head.lower().split(b'content-length:')[1].split(b'\r\n')[0]): return
        if b'connection: close' in head.lower(): self.transport.close()
        self.load.answered(self, int(head[9:12]), body)


def request_of(picture, host, path, key):
    "A whole request."
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + picture + b'\r\n--x--\r\n'
    head = [f'POST {path} HTTP/1.1', f'Host: {host}', 'Content-Type: multipart/form-data; boundary=x', f'Content-Length: {len(form)}']
    return '\r\n'.join([*head, *([f'X-API-Key: {key}'] if key else []), '', '']).encode() + form


class Load:
    "Requests to one address, and what became of them."
    def __init__(self, url, pictures, path='/predict', key=None):
        address = urlsplit(url)
        self.host = address.hostname
        self.port = address.port
        self.requests = cycle([request_of(o, address.netloc, path, key) for o in pictures])
        self.times = []
        self.statuses = Counter()
        self.lost = self.open = 0
        self.on = True
        self.free = deque()
        self.waiting = deque()

    async def connect(self):
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: Client(self), self.host, self.port))[1]

    def start(self, client, due):
        self.open += 1
        client.send(due)

    def answered(self, client, status, body):
        self.times.append(time.perf_counter() - client.due)
        self.statuses[status] += 1
        self.open -= 1
        client.due = None
        if not client.transport.is_closing(): self.next(client)

    def gone(self, client):
        if client.due is not None:
            self.lost += 1
            self.open -= 1
            client.due = None
        if client in self.free: self.free.remove(client)

    def next(self, client):
        "What a client does once it is free."
        if self.waiting: self.start(client, self.waiting.popleft())
        elif self.closed and self.on: self.start(client, time.perf_counter())
        else: self.free.append(client)

    async def run(self, seconds, clients, rate=None):
        "Load the service for some seconds, then wait for what is open: figures."
        self.closed = rate is None
        begun = time.perf_counter()
        for o in [await self.connect() for _ in range(clients)]: self.next(o)
        await (asyncio.sleep(seconds) if self.closed else self.arrive(begun, seconds, rate))
        n = len(self.times)
        took = time.perf_counter() - begun
        self.on = False
        for _ in range(600):
            if not self.open and not self.waiting: break
            await asyncio.sleep(.1)
        return self.figures(n, took)

    def figures(self, n, took):
        times = sorted(self.times)
        at = lambda q: times[min(len(times) - 1, int(q*len(times)))]*1e3 if times else None
        return dict(per_second=n/took, requests=len(times), lost=self.lost + self.open + len(self.waiting),
                    statuses=dict(self.statuses), p50_ms=at(.5), p99_ms=at(.99), max_ms=at(1), cpu=time.process_time()/took)

    async def arrive(self, begun, seconds, rate):
        due = begun
        while (due := due + random.expovariate(rate)) < begun + seconds:
            await asyncio.sleep(max(0, due - time.perf_counter()))
            if self.free: self.start(self.free.popleft(), due)
            else: self.waiting.append(due)


def run_load(spec):
    "The process of the clients: figures as JSON."
    import uvloop
    random.seed(0)
    pictures = [Path(o).read_bytes() for o in spec.pop('files')]
    load = Load(spec.pop('url'), pictures)
    print(json.dumps(uvloop.run(load.run(**spec))))


def run_many(bundle, runtime, seconds, *files):
    "The process of `predict_many`: pictures a second."
    from simpsons_fastai.model.predictor import Predictor
    predictor = Predictor(bundle, runtime)
    pictures = [Path(o).read_bytes() for o in files]
    list(predictor.predict_many(pictures))
    start = time.perf_counter()
    def until():
        for o in cycle(pictures):
            if time.perf_counter() - start > float(seconds): return
            yield o
    n = sum(1 for _ in predictor.predict_many(until()))
    print(json.dumps(n/(time.perf_counter() - start)))


def run_serve(bundle, runtime):
    from simpsons_fastai.serve.server import serve
    serve(bundle, port=0, runtime=runtime)


def materials(arch, size, folder):
    "JPEGs and a bundle; made in a process of its own, so that torch's threads are gone."
    import warnings
    warnings.filterwarnings('ignore')
    from PIL import Image
    from simpsons_fastai.learn.export import bundle_model
    from simpsons_fastai.learn.models import build_model
    from simpsons_fastai.pictures.drawn import springfield_mini
    from simpsons_fastai.pictures.preprocess import Preprocess
    from simpsons_fastai.target import one_label
    folder = Path(folder)
    for p in springfield_mini(folder/'mini', n=60).rglob('*.jpg'): Image.open(p).resize((480, 360)).save(p, quality=90)
    labels = [f'name {i}' for i in range(10)]
    pre = Preprocess(int(size), 'bicubic', (.485, .456, .406), (.229, .224, .225))
    bundle_model(build_model(arch, len(labels), 'fastai'), folder/'bundle', arch, 'fastai', one_label(labels), pre)


def child(*args, tree=ROOT): return [sys.executable, '-W', 'ignore', f'{tree}/benchmarks/service.py', *map(str, args)]

def environment(tree=ROOT, **more):
    "Where a child's modules come from."
    return os.environ | dict(PYTHONPATH=str(Path(tree).resolve())) | more

def result(*args):
    done = subprocess.run(child(*args), check=True, stdout=subprocess.PIPE, text=True, env=environment())
    return json.loads(done.stdout.splitlines()[-1])

def make_materials(arch, size, folder, tree=ROOT):
    "The bundle's folder, and the pictures."
    subprocess.run(child('materials', arch, size, folder, tree=tree), check=True, stdout=subprocess.DEVNULL, env=environment(tree))
    return f'{folder}/bundle', sorted(str(p) for p in Path(folder, 'mini').rglob('*.jpg'))


def kilobytes(pid, what):
    "A figure of a process, from `/proc`; 0 where it is gone."
    try: return int(Path(f'/proc/{pid}/{what.split("/")[0]}').read_text().split(f'{what.split("/")[1]}:')[1].split()[0])
    except (OSError, IndexError): return 0

class Server:
    "The service as a process; `url` once it answers."
    def __init__(self, bundle, runtime='auto', tree=ROOT, group=None):
        command = child('serve', bundle, runtime, tree=tree)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(tree, SIMPSONS_API_KEY=''))
        if group: group.add(self.process.pid)
        self.url = self.process.stdout.readline().split()[-1]

    def __enter__(self): return self

    def __exit__(self, *args):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def megabytes(self, what='VmRSS'): return kilobytes(self.process.pid, f'status/{what}')/1024

    def all_megabytes(self):
        "Of the server and its decoders, shared pages counted once."
        pids = [self.process.pid]
        for task in Path(f'/proc/{self.process.pid}/task').glob('*/children'): pids += map(int, task.read_text().split())
        return sum(kilobytes(o, 'smaps_rollup/Pss') for o in pids)/1024


def measure(arch, size, runtime, seconds, clients):
    with tempfile.TemporaryDirectory() as d:
        bundle, files = make_materials(arch, size, d)
        many = lambda: result('many', bundle, runtime, max(3, seconds/4), *files)
        with Server(bundle, runtime) as server:
            load = lambda **spec: result('load', json.dumps(dict(url=server.url, files=files) | spec))
            load(seconds=2, clients=clients)
            single = load(seconds=max(2, seconds/6), clients=1)
            before = many()
            full = load(seconds=seconds, clients=clients)
            after = many()
            half = load(seconds=max(3, seconds/2), clients=clients, rate=full['per_second']/2)
    res = dict(arch=arch, size=size, runtime=runtime, seconds=seconds, clients=clients, predict_many=[before, after])
    res |= dict(single=single, saturation=full, half_load=half, ratio=full['per_second']/statistics.mean([before, after]))
    return res | dict(p99_over_single=half['p99_ms']/single['p50_ms'], lost=sum(o['lost'] for o in (single, full, half)))


def compare(other, arch, size, runtime, seconds, clients, rounds):
    "Both services at saturation, in turn."
    with tempfile.TemporaryDirectory() as d:
        bundle, files = make_materials(arch, size, d, other)
        with Server(bundle, runtime, other) as theirs, Server(bundle, runtime) as ours:
            load = lambda server, s: result('load', json.dumps(dict(url=server.url, files=files, seconds=s, clients=clients)))
            for o in (theirs, ours): load(o, 2)
            pairs = [(load(theirs, seconds), load(ours, seconds)) for _ in range(rounds)]
            memory = [o.all_megabytes() for o in (theirs, ours)]
    ratios = [b['per_second']/a['per_second'] for a, b in pairs]
    return dict(pairs=pairs, ratios=ratios, ratio=statistics.median(ratios), megabytes=memory, lost=sum(o['lost'] for p in pairs for o in p))


def show(res):
    full, half, single = res['saturation'], res['half_load'], res['single']
    many = ' and '.join(f'{o:.1f}' for o in res['predict_many'])
    print(f"  saturation    {full['per_second']:.1f} requests/s, p50 {full['p50_ms']:.1f} ms, p99 {full['p99_ms']:.1f} ms, "
          f"statuses {full['statuses']}, clients' CPU {full['cpu']:.2f} of a core")
    print(f"  predict_many  {many} pictures/s; the service over it {res['ratio']:.2f}")
    print(f"  single        p50 {single['p50_ms']:.1f} ms, p99 {single['p99_ms']:.1f} ms")
    print(f"  half load     {half['per_second']:.1f} requests/s, p50 {half['p50_ms']:.1f} ms, p99 {half['p99_ms']:.1f} ms, "
          f"statuses {half['statuses']}; p99 over the single p50 {res['p99_over_single']:.1f}")
    print(f"  lost          {res['lost']}")

def show_pairs(res):
    for (a, b), ratio in zip(res['pairs'], res['ratios']):
        print(f"  there {a['per_second']:.1f} requests/s, p99 {a['p99_ms']:.0f} ms; here {b['per_second']:.1f} requests/s, "
              f"p99 {b['p99_ms']:.0f} ms; ratio {ratio:.3f}")
    there, here = res['megabytes']
    print(f"  here over there {res['ratio']:.3f} (median); lost {res['lost']}; memory there {there:.0f} MB, here {here:.0f} MB, decoders included")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=60, help='of saturation; the rest takes as long again')
    parser.add_argument('--clients', type=int, default=64)
    parser.add_argument('--arch', default='resnet18')
    parser.add_argument('--size', type=int, default=224, help='pixels a side')
    parser.add_argument('--runtime', default='auto')
    parser.add_argument('--against', metavar='PATH', help='another checkout, whose service is measured in turn with this one')
    parser.add_argument('--rounds', type=int, default=5, help='with --against: of --seconds each')
    parser.add_argument('--json', help='write the figures there')
    return parser.parse_args()

def main():
    if sys.argv[1:2] == ['load']: return run_load(json.loads(sys.argv[2]))
    roles = dict(serve=run_serve, many=run_many, materials=materials)
    if sys.argv[1:2] and sys.argv[1] in roles: return roles[sys.argv[1]](*sys.argv[2:])
    args = options()
    common = args.arch, args.size, args.runtime, args.seconds, args.clients
    print(f'{args.arch}, {args.size}×{args.size}, {args.clients} clients, {len(os.sched_getaffinity(0))} cores; '
          f'Python {platform.python_version()}', flush=True)
    res = compare(args.against, *common, args.rounds) if args.against else measure(*common)
    (show_pairs if args.against else show)(res)
    if args.json: Path(args.json).write_text(json.dumps(res, indent=2))


if __name__ == '__main__': main()
