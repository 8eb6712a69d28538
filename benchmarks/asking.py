"""How many labels does it take, asked for by `simpsons ask` and drawn at random? A study in which the labels are known.

    python benchmarks/asking.py JOURNEY [--size 96] [--steps 100 200 400 ...] [--seeds 1 2 3] [--json FILE] [--plot FILE]

JOURNEY is a folder with pictures.csv (path, label, split). Its training rows are the pictures without a label; the
validation rows judge. A linear head on frozen ImageNet features of tf_efficientnet_lite0 (as the recipe instant has it)
learns what is labelled so far; then the pictures that it is to learn next are asked for, a batch up to the next step.
Both ways begin with the same random ones. Every row is printed as soon as it is there.
"""
import argparse, time, warnings
from dataclasses import dataclass, field
from pathlib import Path

warnings.filterwarnings('ignore')
import matplotlib
matplotlib.use('Agg')
import numpy as np, pandas as pd
from simpsons_fastai.column import OneOf
from simpsons_fastai.core import write_json
from simpsons_fastai.judge.doubt import doubt, to_ask
from simpsons_fastai.learn.instant import features, solver
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import simpsons_dls

ARCH = 'tf_efficientnet_lite0'


@dataclass
class Pool:
    "Features and labels' numbers."
    x:np.ndarray
    y:np.ndarray


@dataclass
class Simulated:
    "Somebody who labels what is asked for."
    pool:Pool
    judged:Pool
    values:tuple
    rows:list = field(default_factory=list)

    def fitted(self, known:list):
        return solver().fit(self.pool.x[known], self.pool.y[known])

    def accuracy(self, model) -> float: return float((model.predict(self.judged.x) == self.judged.y).mean())

    def next_random(self, model, known:list, n:int, rng) -> list:
        left = np.setdiff1d(np.arange(len(self.pool.y)), known)
        return rng.choice(left, n, replace=False).tolist()

    def next_asked(self, model, known:list, n:int, rng) -> list:
        left = np.setdiff1d(np.arange(len(self.pool.y)), known)
        probs = np.zeros((len(left), len(self.values)))
        probs[:, model[-1].classes_] = model.predict_proba(self.pool.x[left])
        places = to_ask(doubt(OneOf('who', self.values), probs), self.pool.x[left], n)
        return left[places].tolist()

    def run(self, way:str, steps:list, seed:int):
        "Rows of one way."
        rng = np.random.default_rng(seed)
        known, model = rng.choice(len(self.pool.y), steps[0], replace=False).tolist(), None
        for n in steps:
            if model: known += getattr(self, f'next_{way}')(model, known, n - len(known), rng)
            model = self.fitted(known)
            self.rows.append(dict(way=way, seed=seed, labels=n, accuracy=round(self.accuracy(model), 4), classes=len(set(self.pool.y[known]))))
            print(self.rows[-1], flush=True)


def pools(folder:Path, size:int) -> tuple: # (to label, to judge by, names)
    table = pd.read_csv(folder/'pictures.csv')
    table = table[table.split != 'test'].assign(path=lambda t: [str((folder/o).resolve()) for o in t.path])[['path', 'label', 'split']]
    dls = simpsons_dls(table.reset_index(drop=True), size, 128, arch=ARCH, aug='none', groups='none', check=False)
    learn = simpsons_learner(dls, ARCH, head='plain', verbose=False)
    parts = []
    for split in ('train', 'valid'):
        x, y = features(learn, dls.table[dls.table.split == split])
        parts.append(Pool(x[:, 0], y))
    return *parts, tuple(dls.vocab)


def labels_to_reach(rows:pd.DataFrame, way:str, accuracy:float) -> float:
    "How many labels a way needs for an accuracy, between the steps along straight lines."
    mean = rows[rows.way == way].groupby('labels').accuracy.mean()
    if mean.max() < accuracy: return np.inf
    return float(np.interp(accuracy, np.maximum.accumulate(mean.values), mean.index))


def plot(rows:pd.DataFrame, file:Path):
    from matplotlib.figure import Figure
    fig = Figure(figsize=(7, 4), layout='constrained')
    ax = fig.subplots()
    for way, some in rows.groupby('way'):
        each = some.groupby('labels').accuracy.agg(['mean', 'min', 'max'])
        ax.plot(each.index, each['mean'], label=way)
        ax.fill_between(each.index, each['min'], each['max'], alpha=.2)
    ax.set(xlabel='labels', ylabel='accuracy on validation rows')
    ax.legend()
    fig.savefig(file)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('journey', type=Path)
    p.add_argument('--size', type=int, default=96)
    p.add_argument('--steps', type=int, nargs='+', default=[100, 200, 300, 500, 700, 900, 1100, 1300, 1600, 2000])
    p.add_argument('--seeds', type=int, nargs='+', default=[1, 2, 3])
    p.add_argument('--json', type=Path)
    p.add_argument('--plot', type=Path)
    a = p.parse_args()
    start = time.time()
    study = Simulated(*pools(a.journey, a.size))
    print(f'features in {time.time() - start:.0f} s', flush=True)
    for seed in a.seeds:
        for way in ('random', 'asked'): study.run(way, a.steps, seed)
    rows = pd.DataFrame(study.rows)
    print(rows.pivot_table(index='labels', columns='way', values='accuracy').round(4))
    last = rows[(rows.way == 'random') & (rows.labels == a.steps[-1])].accuracy.mean()
    print(f"random reaches {last:.4f} with {a.steps[-1]} labels, asked with {labels_to_reach(rows, 'asked', last):.0f}; {time.time() - start:.0f} s")
    if a.json: write_json(a.json, study.rows)
    if a.plot: plot(rows, a.plot)


if __name__ == '__main__': main()
