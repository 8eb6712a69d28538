"""What saving costs: trainings with `resumable` at its default interval, the time it takes counted inside them.

    python benchmarks/resume.py [--data FOLDER] [--case small] [--case large] [--rounds N] [--json FILE]

`small` is ResNet-18 at 64×64, eight epochs of 6,400 training pictures (9 checkpoints), `large` is ResNeXt-50 32x4d at 224×224, two epochs of 640
(3 checkpoints): one at the start and one at each epoch's end, as the ten minutes of the default interval do not pass. Fewer pictures are repeated until
there are as many. Counted is the time inside the callbacks, the wait for the last file included, and what the batches during which a file was
written took beyond the median of the others (an epoch's first batch: beyond that of an epoch without); the figure is its share of the rest of the fit. (Whole fits with and without saving differ by less than two
fits of the same kind do on a shared machine: `--pairs` times them, too.)
"""
import argparse, json, shutil, statistics, tempfile, time, warnings
from pathlib import Path
from types import SimpleNamespace

warnings.filterwarnings('ignore')
from fastai.vision.all import *
from simpsons_fastai.model.run import checkpoints
from simpsons_fastai.pictures.table import as_table
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.pictures.split import split_table
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.train.keep import KeepCheckpoints
from simpsons_fastai.train.resume import resumable
from simpsons_fastai.pictures.drawn import springfield_mini

CASES = dict(small=dict(arch='resnet18', size=64, bs=64, n=6400, epochs=8), large=dict(arch='resnext50_32x4d', size=224, bs=16, n=640, epochs=2))


def seconds(learn, epochs, cbs):
    start = time.perf_counter()
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs, 1e-3, cbs=cbs)
    return time.perf_counter() - start


def parts_of(data, folder, n):
    "A table of n training pictures and a quarter as many for validation."
    table = split_table(as_table(data or springfield_mini(folder/'mini', n=400)), seed=42)
    some = lambda split, n: (rows := table[table.split == split]).sample(n, replace=len(rows) < n, random_state=1)
    return pd.concat([some('train', n), some('valid', n//4)], ignore_index=True)


class Clock:
    "The seconds inside callbacks."
    def __init__(self, cbs):
        self.seconds = 0.
        for o in cbs: o.__class__ = self._counted(type(o))
    def _counted(self, cls):
        clock = self
        class Counted(cls):
            def __call__(self, event_name):
                start = time.perf_counter()
                try: super().__call__(event_name)
                finally: clock.seconds += time.perf_counter() - start
        return Counted


class Watch(Callback):
    "The seconds from batch to batch, and whether `saver` wrote meanwhile."
    only_watches = True
    order = 200
    def __init__(self, saver): self.saver,self.taken = saver,[]
    def _writes(self): return bool(self.saver.pending) and not self.saver.pending.done()
    def before_train(self): self.start,self.wrote,self.first = time.perf_counter(),self._writes(),True
    def after_batch(self):
        if not self.training: return
        now,writes = time.perf_counter(),self._writes()
        self.taken.append((now - self.start, self.wrote or writes, self.first))
        self.start,self.wrote,self.first = now,writes,False


def counted(learn, epochs, run, first):
    "Of a fit: its seconds, those inside the callbacks, and those that batches took longer while a file was written; `first` is what an epoch's first batch takes without."
    cbs = resumable(run)
    clock,watch = Clock(cbs),Watch(next(o for o in cbs if isinstance(o, KeepCheckpoints)))
    whole,usual = seconds(learn, epochs, [*cbs, watch]),statistics.median(t for t,wrote,_ in watch.taken if not wrote)
    slowed = [t - (first if is_first else usual) for t,wrote,is_first in watch.taken if wrote]
    return dict(fit=whole, inside=clock.seconds, slower=sum(slowed), batches=len(slowed), percent=100*(clock.seconds + sum(slowed))/(whole - clock.seconds - sum(slowed)))


def measure(data, folder, arch, size, bs, n, epochs, rounds, pairs):
    "Each round's figures, and the megabytes of a checkpoint."
    learn = simpsons_learner(simpsons_dls(parts_of(data, folder/arch, n), size, bs, arch=arch, check=False), arch, 'none', verbose=False)
    rows,warm = [],Watch(SimpleNamespace(pending=None))
    seconds(learn, 2, [warm])
    first = [t for t,_,is_first in warm.taken if is_first][-1]
    for i in range(rounds):
        run = folder/f'{arch}-{i}'
        rows.append((dict(without=seconds(learn, epochs, [])) if pairs else {}) | counted(learn, epochs, run, first))
        mb = sum(o.stat().st_size for o in checkpoints(run/'checkpoints')[-1].iterdir())/1e6
        shutil.rmtree(run)
    return rows,mb


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', help='a folder or .csv file of labelled pictures; the built-in set unless told')
    p.add_argument('--case', action='append', choices=list(CASES))
    p.add_argument('--rounds', type=int, default=2)
    p.add_argument('--pairs', action='store_true', help='before each fit one without saving')
    p.add_argument('--json', type=Path)
    a = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as d:
        for case in a.case or CASES:
            found,mb = measure(a.data, Path(d), rounds=a.rounds, pairs=a.pairs, **CASES[case])
            rows.append(dict(case=case, rounds=found, checkpoint_mb=round(mb, 1), percent=round(statistics.median(o['percent'] for o in found), 2)))
            print(f"{case}: saving costs {rows[-1]['percent']:.2f} %, {CASES[case]['epochs'] + 1} checkpoints of {mb:.0f} MB", flush=True)
            for o in found: print('  ' + ', '.join(f'{k} {v:.2f}' for k,v in o.items()), flush=True)
    if a.json: a.json.write_text(json.dumps(rows, indent=2) + '\n')


if __name__ == '__main__': main()
