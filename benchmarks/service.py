"""The service under load: many clients in a process of their own, beside `predict_many` on the same pictures, in one run.

    python benchmarks/service.py [--seconds 60] [--clients 64] [--size 224] [--json FILE]

The network (ResNet-18 at 224×224 unless told) has learnt nothing; that changes no time. The pictures are 480×360 JPEGs, one
a request, sent over connections that stay open. *Saturation*: every client sends its next request as soon as it has its
answer. *Half load*: requests come at random (Poisson) at half of that throughput, whether or not earlier ones are answered,
and a request's time counts from when it was due. *Single*: one client, one request at a time. Server, clients and, in its
turn, `predict_many` share the machine's cores. `predict_many` runs before and after saturation; the ratio is to its mean.
"""
import argparse, asyncio, json, os, platform, random, signal, statistics, subprocess, sys, tempfile, time
from collections import Counter, deque
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit


class Client(asyncio.Protocol):
    "A connection that sends one request at a time."
    def __init__(self, load): self.load, self.data, self.due, self.transport = load, b'', None, None
    def connection_made(self, transport): self.transport = transport
    def connection_lost(self, error): self.load.gone(self)

    def send(self, due):
        self.due, self.data = due, b''
        self.transport.write(next(self.load.requests))

    def data_received(self, data):
        self.data += data
        head, found, body = self.data.partition(b'\r\n\r\n')
        if not found or len(body) < int(head.lower().split(b'content-length:')[1].split(b'\r\n')[0]): return
        if b'connection: close' in head.lower(): self.transport.close()
        self.load.answered(self, int(head[9:12]), body)


class Load:
    "Requests to one address, and what became of them."
    def __init__(self, url, pictures, path='/predict', key=None):
        address = urlsplit(url)
        self.host, self.port, self.times, self.statuses, self.lost, self.open, self.on = address.hostname, address.port, [], Counter(), 0, 0, True
        head = lambda n: (f'POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: multipart/form-data; boundary=x\r\n'
                          f'Content-Length: {n}\r\n' + (f'X-API-Key: {key}\r\n' if key else '') + '\r\n').encode()
        form = lambda o: b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + o + b'\r\n--x--\r\n'
        self.requests = cycle([head(len(form(o))) + form(o) for o in pictures])
        self.free, self.waiting = deque(), deque()

    async def connect(self): return (await asyncio.get_running_loop().create_connection(lambda: Client(self), self.host, self.port))[1]

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
        if client.due is not None: self.lost, self.open, client.due = self.lost + 1, self.open - 1, None
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
        n, took, self.on = len(self.times), time.perf_counter() - begun, False
        for _ in range(600):
            if not self.open and not self.waiting: break
            await asyncio.sleep(.1)
        times = sorted(self.times)
        at = lambda q: times[min(len(times) - 1, int(q*len(times)))]*1e3 if times else None
        return dict(per_second=n/took, requests=len(times), lost=self.lost + self.open + len(self.waiting), statuses=dict(self.statuses), p50_ms=at(.5), p99_ms=at(.99), max_ms=at(1),
                    cpu=time.process_time()/took)

    async def arrive(self, begun, seconds, rate):
        due, end = begun, begun + seconds
        while (due := due + random.expovariate(rate)) < end:
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
    predictor, pictures, n = Predictor(bundle, runtime), [Path(o).read_bytes() for o in files], 0
    list(predictor.predict_many(pictures))
    start = time.perf_counter()
    def until():
        for o in cycle(pictures):
            if time.perf_counter() - start > float(seconds): return
            yield o
    for _ in predictor.predict_many(until()): n += 1
    print(json.dumps(n/(time.perf_counter() - start)))


def run_serve(bundle, runtime):
    from simpsons_fastai.serve.server import serve
    serve(bundle, port=0, runtime=runtime)


def materials(arch, size, folder):
    "JPEGs and a bundle; made in a process of its own, so that torch's threads are gone."
    import warnings; warnings.filterwarnings('ignore')
    from PIL import Image
    from simpsons_fastai.learn.export import bundle_model
    from simpsons_fastai.pictures.preprocess import Preprocess
    from simpsons_fastai.learn.models import build_model
    from simpsons_fastai.pictures.drawn import springfield_mini
    from simpsons_fastai.target import one_label
    folder, labels = Path(folder), [f'name {i}' for i in range(10)]
    for p in springfield_mini(folder/'mini', n=60).rglob('*.jpg'): Image.open(p).resize((480, 360)).save(p, quality=90)
    bundle_model(build_model(arch, len(labels), 'fastai'), folder/'bundle', arch, 'fastai', one_label(labels), Preprocess(int(size), 'bicubic', (.485, .456, .406), (.229, .224, .225)))


def child(*args): return [sys.executable, '-W', 'ignore', __file__, *map(str, args)]
def result(*args): return json.loads(subprocess.run(child(*args), check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


class Server:
    "The service as a process; `url` once it answers."
    def __init__(self, bundle, runtime='auto', **env):
        self.process = subprocess.Popen(child('serve', bundle, runtime), stdout=subprocess.PIPE, text=True, env=os.environ | dict(SIMPSONS_API_KEY='') | env)
        self.url = self.process.stdout.readline().split()[-1]
    def __enter__(self): return self
    def __exit__(self, *args): self.process.send_signal(signal.SIGTERM); self.process.wait(60)
    def megabytes(self, what='VmRSS'): return int(Path(f'/proc/{self.process.pid}/status').read_text().split(f'{what}:')[1].split()[0])/1024


def measure(arch, size, runtime, seconds, clients):
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(child('materials', arch, size, d), check=True, stdout=subprocess.DEVNULL)
        bundle, files = f'{d}/bundle', sorted(str(p) for p in Path(d, 'mini').rglob('*.jpg'))
        many = lambda: result('many', bundle, runtime, max(3, seconds/4), *files)
        with Server(bundle, runtime) as server:
            load = lambda **spec: result('load', json.dumps(dict(url=server.url, files=files) | spec))
            load(seconds=2, clients=clients)
            single = load(seconds=max(2, seconds/6), clients=1)
            before, full, after = many(), load(seconds=seconds, clients=clients), many()
            half = load(seconds=max(3, seconds/2), clients=clients, rate=full['per_second']/2)
    res = dict(arch=arch, size=size, runtime=runtime, seconds=seconds, clients=clients, predict_many=[before, after], single=single, saturation=full, half_load=half)
    return res | dict(ratio=full['per_second']/statistics.mean([before, after]), p99_over_single=half['p99_ms']/single['p50_ms'], lost=sum(o['lost'] for o in (single, full, half)))


def main():
    if sys.argv[1:2] and sys.argv[1] in ('serve', 'many', 'materials'): return dict(serve=run_serve, many=run_many, materials=materials)[sys.argv[1]](*sys.argv[2:])
    if sys.argv[1:2] == ['load']: return run_load(json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=60, help='of saturation; the rest takes as long again')
    parser.add_argument('--clients', type=int, default=64)
    parser.add_argument('--arch', default='resnet18')
    parser.add_argument('--size', type=int, default=224, help='pixels a side')
    parser.add_argument('--runtime', default='auto')
    parser.add_argument('--json', help='write the figures there')
    args = parser.parse_args()
    print(f'{args.arch}, {args.size}×{args.size}, {args.clients} clients, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}', flush=True)
    res = measure(args.arch, args.size, args.runtime, args.seconds, args.clients)
    full, half = res['saturation'], res['half_load']
    print(f"  saturation    {full['per_second']:.1f} requests/s, p50 {full['p50_ms']:.1f} ms, p99 {full['p99_ms']:.1f} ms, statuses {full['statuses']}, clients' CPU {full['cpu']:.2f} of a core")
    print(f"  predict_many  {' and '.join(f'{o:.1f}' for o in res['predict_many'])} pictures/s; the service over it {res['ratio']:.2f}")
    print(f"  single        p50 {res['single']['p50_ms']:.1f} ms, p99 {res['single']['p99_ms']:.1f} ms")
    print(f"  half load     {half['per_second']:.1f} requests/s, p50 {half['p50_ms']:.1f} ms, p99 {half['p99_ms']:.1f} ms, statuses {half['statuses']}; p99 over the single p50 {res['p99_over_single']:.1f}")
    print(f"  lost          {res['lost']}")
    if args.json: Path(args.json).write_text(json.dumps(res, indent=2))


if __name__ == '__main__': main()
