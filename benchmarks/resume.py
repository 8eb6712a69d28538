"""What saving costs: trainings with `Resumable` at its default interval and without it, in turn, in one run.

    python benchmarks/resume.py [--data FOLDER] [--case small] [--case large] [--rounds N] [--json FILE]

`small` is ResNet-18 at 64×64 on 3,200 pictures, `large` is ResNeXt-50 32x4d at 224×224 on 320. A training has two epochs, and so three checkpoints: one at
its start and one at each epoch's end (the ten minutes of the default interval do not pass). The figure is the time of the whole fit with saving over that
of the fit before it without, less 1; a first pair is not counted. Real epochs are longer than these, so real shares are smaller.
"""
import argparse, json, shutil, statistics, tempfile, time, warnings
from pathlib import Path

warnings.filterwarnings('ignore')
from fastai.vision.all import *
from simpsons_fastai.data import as_table, simpsons_dls, split_table
from simpsons_fastai.learner import simpsons_learner
from simpsons_fastai.resume import Resumable, checkpoints
from simpsons_fastai.springfield import springfield_mini

CASES = dict(small=dict(arch='resnet18', size=64, bs=64, n=3200), large=dict(arch='resnext50_32x4d', size=224, bs=16, n=320))


def seconds(learn, epochs, cbs):
    start = time.perf_counter()
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs, 1e-3, cbs=cbs)
    return time.perf_counter() - start


def measure(data, folder, arch, size, bs, n, rounds, epochs=2):
    "Pairs of (without, with), and the megabytes of a checkpoint."
    table = split_table(as_table(data or springfield_mini(folder/f'mini-{size}', n=n)), seed=42)
    table = table.sample(min(len(table), n), random_state=1).reset_index(drop=True)
    learn = simpsons_learner(simpsons_dls(table, size, bs, arch=arch, check=False), arch, 'none', verbose=False)
    pairs = []
    for i in range(rounds + 1):
        run = folder/f'{arch}-{i}'
        pairs.append((seconds(learn, epochs, []), seconds(learn, epochs, [Resumable(run)])))
        mb = sum(o.stat().st_size for o in checkpoints(run/'checkpoints')[-1].iterdir())/1e6
        shutil.rmtree(run)
    return pairs[1:],mb


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', help='a folder or .csv file of labelled pictures; the built-in set unless told')
    p.add_argument('--case', action='append', choices=list(CASES))
    p.add_argument('--rounds', type=int, default=3)
    p.add_argument('--json', type=Path)
    a = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as d:
        for case in a.case or CASES:
            pairs,mb = measure(a.data, Path(d), rounds=a.rounds, **CASES[case])
            shares = [100*(b/a - 1) for a,b in pairs]
            rows.append(dict(case=case, pairs=pairs, checkpoint_mb=round(mb, 1), percent=round(statistics.median(shares), 2)))
            print(f"{case}: saving costs {rows[-1]['percent']:.2f} % (median of {', '.join(f'{o:+.2f}' for o in shares)}); a fit of {statistics.median(a for a,_ in pairs):.1f} s, "
                  f"3 checkpoints of {mb:.0f} MB", flush=True)
    if a.json: a.json.write_text(json.dumps(rows, indent=2) + '\n')


if __name__ == '__main__': main()
