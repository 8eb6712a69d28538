"""How long near copies take to find, in how much memory, and how well they agree with groups that are known

    python benchmarks/near.py ../shared/data/journey/pictures.csv

The table has the columns path, split and group. Times are of one process on the cores it may use; the pictures are decoded
for their fingerprints once, which a training finds again in its cache.
"""
import argparse
import resource
import time
import numpy as np
import pandas as pd
from simpsons_fastai.pictures.groups import kept_prints, near_groups
from simpsons_fastai.pictures.near import close_pairs
from simpsons_fastai.pictures.table import read_table

HOW = dict(distance=10, tolerance=8.) # those of `near_groups`


def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6 # GB

def n_pairs(labels): return int((n := pd.Series(labels).value_counts()) @ (n - 1)//2)

def agreement(found, known):
    "How many pairs of pictures that are known to belong together were found, and how many found ones are known."
    both = n_pairs(list(zip(found, known)))
    return dict(known=n_pairs(known), found=n_pairs(found), both=both, recall=both/n_pairs(known), precision=both/n_pairs(found))

def more(prints, n, rng):
    "Fingerprints of as many made-up pictures: means of two real ones, under the hashes of others."
    a, b = rng.integers(0, len(prints['bits']), (2, n))
    return prints['bits'][a] ^ rng.permutation(prints['bits'])[b], (prints['thumb'][a]//2 + prints['thumb'][b]//2).astype(np.uint8)

def seconds_of_pairs(bits, thumbs):
    start = time.perf_counter()
    for _ in close_pairs(bits, thumbs, **HOW): pass
    return time.perf_counter() - start

def timed(prints):
    "Seconds to compare all pictures, for parts of the set and beyond it."
    rng, total = np.random.default_rng(0), len(prints['bits'])
    res = {}
    for n in (total//8, total//4, total//2, total):
        rows = np.sort(rng.permutation(total)[:n])
        res[n] = seconds_of_pairs(prints['bits'][rows], prints['thumb'][rows])
    return res | {n: seconds_of_pairs(*more(prints, n, rng)) for n in (2*total, 4*total)}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('table')
    table = read_table(parser.parse_args().table)
    start = time.perf_counter()
    prints = kept_prints(table.path, keep=True)
    looked = time.perf_counter() - start
    print(f'{len(table)} pictures: fingerprints {looked:.1f} s, peak memory {peak():.2f} GB', flush=True)
    start = time.perf_counter()
    groups = near_groups(table[['path']], keep=True, **HOW)
    print(f'groups {time.perf_counter() - start:.1f} s, peak memory {peak():.2f} GB; the largest holds {np.bincount(groups).max()}')
    for part, rows in dict(train=table.split == 'train', all=table.path.notna()).items():
        o = agreement(groups[rows], table.group[rows])
        print(f"{part}: {o['both']} of {o['known']} known pairs found, recall {o['recall']:.3f}; "
              f"{o['found']} pairs found, precision {o['precision']:.3f}")
    seconds = timed(prints)
    for n, took in seconds.items(): print(f'all pairs of {n}: {took:.2f} s', flush=True)
    slope = np.polyfit(np.log(list(seconds)[1:]), np.log(list(seconds.values())[1:]), 1)[0]
    n, took = list(seconds.items())[-1]
    pairs, decode = took*(1e6/n)**slope, looked*1e6/len(table)
    print(f'grows with the power {slope:.2f}; a million rows: {decode/60:.0f} min for fingerprints, {pairs/60:.0f} min for pairs; peak {peak():.2f} GB')
