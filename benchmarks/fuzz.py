"""What strangers' files do to `check_upload` and `load_bundle`: anything but an answer or a sentence is a finding.

    python benchmarks/fuzz.py check_upload|load_bundle [--seconds 60] [--seed 0] [--findings DIR] [--plain] [--json FILE]

Files are changed by their grammar (`hostile/structure.py`), configurations as trees of JSON. Where atheris is installed
(`pip install atheris`; Linux, Python up to 3.13) it chooses by what the code covered; else, or with `--plain`, it is a seeded loop.
A finding is another exception than ours, more than two seconds for a file, or memory that grows by 100 MB; its file is kept.
"""
import argparse
import hashlib
import json
import os
import random
import resource
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent)
HANG = 2 # seconds
GROWTH = 100 # megabytes

if find_spec('atheris') and '--plain' not in sys.argv:
    import atheris
    with atheris.instrument_imports(include=['simpsons_fastai']):
        from simpsons_fastai.model.bundle import DEMO, load_bundle
        from simpsons_fastai.pictures.open import check_upload
else:
    atheris = None
    from simpsons_fastai.model.bundle import DEMO, load_bundle
    from simpsons_fastai.pictures.open import check_upload
from hostile.files import every_kind, harmful, written
from hostile.structure import mutated, structured
from PIL import Image
from simpsons_fastai.core import SimpsonsError


class Uploads:
    "`check_upload` on pictures, changed by their grammar."
    def __init__(self):
        picture = written(Image.linear_gradient('L').convert('RGB'), 'JPEG')
        self.seeds = every_kind(picture) + [o for o in harmful(False).values() if len(o) < 1_000_000]

    def change(self, data, rng):
        if rng.random() < .8: return structured(data, rng)
        return mutated(data, rng.choice(self.seeds), rng)

    def run(self, data): check_upload(data)


ODD = [None, True, 0, -1, 1, 1.5, 2**31, 2**63, 10**400, -1e-300, float('nan'), float('inf'), '', 'a'*2000, '../x', 'hf-hub:a/b', '\0', '\ud800',
       [], {}, [[]], [0.5]*3]

def places(tree, at=()): # yields paths of keys
    "Every place in a tree of JSON."
    yield at
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for k, v in items: yield from places(v, (*at, k))

def nested(n):
    "So many lists in each other."
    tree = 0
    for _ in range(n): tree = [tree]
    return tree

def changed_tree(tree, rng):
    "One place holds something else, or is gone, or is there under another name."
    at = rng.choice(list(places(tree)))
    if not at: return rng.choice([*ODD, tree])
    holder = tree
    for k in at[:-1]: holder = holder[k]
    value = rng.choice([*ODD, nested(rng.choice((3, 60))), holder[at[-1]]])
    how = rng.randrange(4)
    if how == 0: del holder[at[-1]]
    elif how == 1 and isinstance(holder, dict): holder[rng.choice(('arch', 'columns', 'schema', 'x'))] = holder[at[-1]]
    elif how == 2 and isinstance(holder, list): holder.extend([value]*rng.choice((1, 50)))
    else: holder[at[-1]] = value
    return tree


class Bundles:
    "`load_bundle` on configurations whose checksums are right."
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        config = json.loads((DEMO/'config.json').read_text())
        columns = [dict(name='hair', kind='one', values=['blue', 'grey'], temperature=1., threshold=None),
                   dict(name='who', kind='any', values=['bart', 'lisa'], temperature=1., threshold=[.5, .5])]
        old = dict(schema=2, vocab=['a', 'b'], tags=None, temperature=1., rejection_threshold=None)
        others = [config | dict(columns=columns), {k: v for k, v in config.items() if k != 'columns'} | old]
        self.seeds = [json.dumps(o).encode() for o in (config, *others)]
        for o in ('model.onnx', 'model.safetensors'): (self.path/o).write_bytes(b'not looked at')

    def change(self, data, rng):
        try: tree = json.loads(data)
        except (ValueError, RecursionError): return mutated(data, rng.choice(self.seeds), rng)
        if rng.random() < .15: return mutated(data, rng.choice(self.seeds), rng)
        for _ in range(rng.choice((1, 1, 2, 4))): tree = changed_tree(tree, rng) if isinstance(tree, (dict, list)) else rng.choice(ODD)
        return json.dumps(tree).encode('utf-8', 'surrogatepass')

    def run(self, data):
        (self.path/'config.json').write_bytes(data)
        names = 'config.json', 'model.onnx', 'model.safetensors'
        sums = [f'{hashlib.sha256((self.path/o).read_bytes()).hexdigest()}  {o}' for o in names]
        (self.path/'SHA256SUMS').write_text('\n'.join(sums))
        load_bundle(self.path)


TARGETS = dict(check_upload=Uploads, load_bundle=Bundles)

def megabytes():
    "What is in memory now; where there is no `/proc`, the most that ever was."
    try: return int(Path('/proc/self/statm').read_text().split()[1])*resource.getpagesize()/2**20
    except OSError: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024


class Run:
    "Runs of a target; what is found is kept."
    def __init__(self, target, folder):
        self.target = target
        self.folder = Path(folder)
        self.n = 0
        self.slowest = 0.
        self.findings = {} # by what went wrong

    def one(self, data):
        self.n += 1
        start = time.process_time()
        try: self.target.run(data)
        except SimpsonsError: pass
        except Exception as e: self.found(f'{type(e).__name__}: {str(e)[:80]}', data)
        took = time.process_time() - start
        self.slowest = max(self.slowest, took)
        if took > HANG: self.found(f'{took:.1f} s', data)

    def found(self, what, data):
        "Keep the first file of each kind."
        if what in self.findings: return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder/hashlib.sha256(data).hexdigest()[:12]
        file.write_bytes(data)
        self.findings[what] = str(file)
        print(f'found: {what} ({file})', flush=True)

    def figures(self, seconds, before):
        return dict(runs=self.n, seconds=seconds, slowest=self.slowest, findings=self.findings, megabytes=[before, megabytes()])


def plain(run, seconds, seed):
    "A seeded loop: a file that was changed is changed again, for a while."
    rng = random.Random(seed)
    seeds = run.target.seeds
    for o in seeds: run.one(o)
    before, start = megabytes(), time.monotonic()
    while time.monotonic() - start < seconds:
        data = rng.choice(seeds)
        for _ in range(rng.choice((1, 2, 5))):
            data = run.target.change(data, rng)
            run.one(data)
    return run.figures(time.monotonic() - start, before)

def guided(run, seconds, seed, tell):
    "By coverage; libFuzzer ends the process itself, so that the figures are told from within its last run."
    corpus = tempfile.mkdtemp()
    for i, o in enumerate(run.target.seeds): Path(corpus, str(i)).write_bytes(o)
    before, start = megabytes(), time.monotonic()
    def one(data):
        run.one(data)
        if time.monotonic() - start > seconds: tell(run.figures(time.monotonic() - start, before))
    def change(data, most, number):
        rng = random.Random(number)
        return (atheris.Mutate(data, most) if rng.random() < .3 else run.target.change(data, rng))[:most]
    options = [sys.argv[0], f'-seed={seed or 1}', '-timeout=60', '-rss_limit_mb=4096', '-max_len=2000000', corpus]
    atheris.Setup(options, one, custom_mutator=change)
    atheris.Fuzz()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('target', choices=TARGETS)
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--findings', default='build/fuzz', help='a folder for files that did harm')
    parser.add_argument('--plain', action='store_true', help='the seeded loop, even where atheris is installed')
    parser.add_argument('--json', help='write the figures there')
    args = parser.parse_args()
    warnings.filterwarnings('ignore')
    run = Run(TARGETS[args.target](), args.findings)
    def tell(res):
        before, after = res['megabytes']
        if after - before > GROWTH: res['findings'][f'memory grew by {after - before:.0f} MB'] = ''
        print(f"{args.target}, {'by coverage' if atheris else 'a seeded loop'}: {res['runs']} files in {res['seconds']:.0f} s, the slowest "
              f"{res['slowest']:.2f} s, memory {before:.0f} to {after:.0f} MB, findings {len(res['findings'])}", flush=True)
        for what, file in res['findings'].items(): print(f'  {what}  {file}', flush=True)
        if args.json: Path(args.json).write_text(json.dumps(res, indent=2))
        sys.stdout.flush()
        os._exit(bool(res['findings']))
    tell(plain(run, args.seconds, args.seed)) if atheris is None else guided(run, args.seconds, args.seed, tell)


if __name__ == '__main__': main()
