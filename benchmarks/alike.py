"""Near copies by what a network sees: of the pairs that look alike, how many are of one shot?

    python benchmarks/alike.py JOURNEY [--bundle demo] [--n 6000]

JOURNEY is a folder with pictures.csv (path, split, group: near copies, of one shot). The first N rows of its validation and
test parts, which the shipped model has not learnt, are embedded; a pair is right where both have one group.
"""
import argparse
import time
from itertools import combinations
from pathlib import Path

import numpy as np, pandas as pd
from simpsons_fastai.core import exit_on_error
from simpsons_fastai.model.features import alike_pairs
from simpsons_fastai.model.predictor import Predictor


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('journey', type=Path)
    p.add_argument('--bundle', default='demo')
    p.add_argument('--n', type=int, default=6000)
    a = p.parse_args()
    table = pd.read_csv(a.journey/'pictures.csv')
    table = table[table.split != 'train'][:a.n].reset_index(drop=True)
    start = time.perf_counter()
    features = np.stack(list(Predictor(a.bundle).embed_many(a.journey/o for o in table.path)))
    print(f'{len(table)} pictures embedded in {time.perf_counter() - start:.0f} s')
    known = {pair for _, rows in table.groupby('group').indices.items() for pair in combinations(sorted(map(int, rows)), 2)}
    for least in (.9, .93, .95, .97, .98, .99):
        found = {o[:2] for o in alike_pairs(features, least)}
        right = len(found & known)
        print(f'cosine {least}: {len(found)} pairs, {right} of one shot (precision {right/max(1, len(found)):.3f}), recall {right/len(known):.3f}')


if __name__ == '__main__': exit_on_error(main)
