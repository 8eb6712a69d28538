"""Hostile uploads against the service: does it stay up, answer right and in time, and stay small?

    python benchmarks/hostile [--n 5000] [--seed 0] [--memory 1000] [--json FILE]
    python benchmarks/hostile --soak 3600 [--share 0.05] [--clients 16]

Pictures of all formats, changed by their own grammar (segments, chunks, blocks, boxes, tags, EXIF, profiles) or anyhow; heads that
claim too many pixels, tiles, strips or tags; files that unpack to far more than they are or parse for minutes; pictures as large
as the service takes; scripts, archives and other formats; damaged forms; names that are paths; damaged HTTP. Eight connections send
at once. Beside them an honest client asks all the while: its answers must be right, its 99th percentile within two seconds. A 5xx
status other than a stated 503, a wrong answer, the end of the server, or more than 250 MB beyond its start is a failure. Memory is
that of the server with its decoders, from `/proc`, twice a second. With `--memory` they run in a group of so many megabytes, where
the machine allows it (cgroup), and it is said whether they did.
"""
import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
import warnings
from hostile.group import memory_group
from hostile.send import Honest, label_of, send_all
from hostile.soak import soak
from service import Server, make_materials

MOST = 250 # megabytes beyond the start


class Watch(threading.Thread):
    "The memory of a server and its decoders, twice a second."
    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.before = self.peak = server.all_megabytes()
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(.5): self.peak = max(self.peak, self.server.all_megabytes())

    def figures(self):
        self.over.set()
        self.join()
        after = self.server.all_megabytes()
        return dict(before=self.before, after=after, peak=max(self.peak, after))


def attack(server, pictures, labels, args):
    "The uploads, an honest client beside them."
    start = time.monotonic()
    with Honest(server.url, pictures, labels) as honest:
        statuses, failures = send_all(server.url, pictures[0], labels[0], args.n, args.seed, full=True)
    res = dict(n=args.n, seconds=time.monotonic() - start, statuses={str(k): v for k, v in statuses.items()}, failures=failures)
    beside = dict(requests=len(honest.times), busy=honest.busy, p50=honest.at(.5), p99=honest.at(.99), most=honest.at(1), wrong=honest.wrong)
    bad = bool(failures or honest.wrong) or honest.at(.99) > 2
    return res | dict(honest=beside, failed=bad)

def soaked(server, pictures, labels, args):
    res = soak(server.url, pictures, labels, args.soak, args.clients, args.share, args.seed)
    lost = res['mixed']['lost'] + res['plain']['lost']
    return res | dict(failed=bool(lost or res['mixed']['wrong'] or res['mixed']['failures']) or res['ratio'] > 2)

def run(args):
    group, said = memory_group(args.memory*10**6) if args.memory else (None, 'without a memory group')
    print(said, flush=True)
    with tempfile.TemporaryDirectory() as d:
        bundle, files = make_materials('resnet18', 64, d)
        pictures = [Path(o).read_bytes() for o in files[:20]]
        with Server(bundle, args.runtime, group=group) as server:
            labels = [label_of(server.url, o)[1] for o in pictures]
            for o in pictures*5: label_of(server.url, o)
            watch = Watch(server)
            res = (soaked if args.soak else attack)(server, pictures, labels, args)
            time.sleep(1)
            right = [label_of(server.url, o)[1] for o in pictures] == labels
            res |= dict(megabytes=watch.figures(), alive=server.process.poll() is None, right_after=right, group=said)
        if group: res |= dict(group_killed=group.killed(), group_peak=group.peak()/1e6)
    if group: group.close()
    return res

def show(res):
    memory = res.pop('megabytes')
    over = memory['peak'] - memory['before']
    for k, v in res.items(): print(f'{k:12} {str(v)[:1500]}')
    print(f"memory       before {memory['before']:.0f} MB, after {memory['after']:.0f} MB, peak {memory['peak']:.0f} MB (+{over:.0f}), decoders included")
    return res['failed'] or not res['alive'] or not res['right_after'] or over > MOST

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, default=5000, help='uploads')
    parser.add_argument('--soak', type=float, default=0, metavar='SECONDS', help='saturation for so long, instead of --n uploads')
    parser.add_argument('--share', type=float, default=.05, help='of a soak that is hostile')
    parser.add_argument('--clients', type=int, default=16, help='of a soak')
    parser.add_argument('--memory', type=int, default=0, metavar='MB', help='run the server in a memory group of so many')
    parser.add_argument('--runtime', default='auto')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', help='write the figures there')
    args = parser.parse_args()
    warnings.filterwarnings('ignore')
    res = run(args)
    if args.json: Path(args.json).write_text(json.dumps(res, indent=2))
    sys.exit(bool(show(res)))


if __name__ == '__main__': main()
