"""The three ready studies on a fifth of the frames, their tables for the notebook: python benchmarks/studies.py DATA OUT [--budget 9m]"""
import argparse, shutil
from pathlib import Path
import pandas as pd
from simpsons_fastai.core import exit_on_error
from simpsons_fastai.pictures.table import as_table
from simpsons_fastai.train.study import STUDIES, study

def few(data, each:int=160, seed:int=42) -> pd.DataFrame:
    "Training frames: `each` of a class to learn from, as many others for validation; the test part is left alone."
    table = as_table(data)
    table = table[table.split == 'train'].groupby('label').sample(2*each, random_state=seed)
    return table.assign(split=['train', 'valid']*(len(table)//2)).reset_index(drop=True)

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path); parser.add_argument('out', type=Path, help='a folder: a CSV file a study goes there')
    for name,default in dict(budget='9m', epochs=12, seeds=2).items(): parser.add_argument(f'--{name}', type=type(default), default=default)
    parser.add_argument('--only', choices=STUDIES, help='one of the studies')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in [args.only] if args.only else STUDIES:
        found = study(few(args.data), STUDIES[name], args.out/name, epochs=args.epochs, seeds=args.seeds, budget=args.budget, prune=False, fields=dict(ema=.98))
        shutil.copy(args.out/name/'study.csv', args.out/f'{name}.csv')
        print(found.summary().round(4).to_string(index=False), flush=True)

if __name__ == '__main__': exit_on_error(main)
