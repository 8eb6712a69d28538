"""What the shipped model knows, passed on: fine-tuned to few full-size drawings against the same network from scratch, 5-fold.

    python benchmarks/transfer.py FAMILY [--size 28] [--epochs 30] [--lr 2e-3] [--seed 42] [--json FILE]

Both train alike, from the same seed. Four of the five are known to the shipped model: their rows of its last layer are taken along (`load_weights`).
"""
import argparse, contextlib, io, time
from pathlib import Path
import numpy as np
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from fastai.torch_core import set_seed
from simpsons_fastai.model.bundle import DEMO
from simpsons_fastai.core import exit_on_error, write_json
from simpsons_fastai.pictures.table import scan
from simpsons_fastai.learn.fit import fit_recipe
from simpsons_fastai.train.prepare import prepare_recipe, recipe_learner

LABELS = dict(bart='bart_simpson', homer='homer_simpson', lisa='lisa_simpson', marge='marge_simpson', maggie='maggie_simpson') # as the shipped model calls them

def _fold(table, held_out, weights:str, seed:int, **fields) -> dict: # label by path
    "Train on the other folds; the answers to the one held out."
    recipe = prepare_recipe('frames', weights=weights, bs=16, schedule='one_cycle', head='linear', ema=.98, **fields)
    split = np.where(np.isin(range(len(table)), held_out), 'valid', 'train')
    set_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()): learn = recipe_learner(recipe, table.assign(split=split), seed)
    with learn.no_bar(), learn.no_logging():
        fit_recipe(learn, recipe)
        probs,_ = learn.get_preds()
    known = learn.dls.table
    return dict(zip(known.path[known.split == 'valid'], np.array(list(learn.dls.vocab))[probs.argmax(1)]))

def measure(family:Path, seed:int, **fields) -> dict:
    "Pooled macro F1 of all folds, and each fold's."
    table = scan(family, r'^(\w+) \(').replace(dict(label=LABELS))
    folds = [held for _,held in StratifiedKFold(5, shuffle=True, random_state=seed).split(table.path, table.label)]
    res = {}
    for name,weights in (('fine-tuned', str(DEMO)), ('from scratch', 'none')):
        start,said = time.perf_counter(),[_fold(table, o, weights, seed, **fields) for o in folds]
        answers = table.path.map({k: v for o in said for k,v in o.items()})
        f1 = lambda rows: float(f1_score(table.label[rows], answers[rows], average='macro'))
        res[name] = dict(macro_f1=f1(table.index), folds=[round(f1(o), 4) for o in folds], seconds=round(time.perf_counter() - start, 1), n=len(table))
        print(f"{name}: macro F1 {res[name]['macro_f1']:.4f}, folds {res[name]['folds']}, {res[name]['seconds']:.0f} s", flush=True)
    print(f"gain {res['fine-tuned']['macro_f1'] - res['from scratch']['macro_f1']:+.4f}")
    return res

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('family', type=Path)
    for name,default in dict(size=28, epochs=30, lr=2e-3, seed=42).items(): parser.add_argument(f'--{name}', type=type(default), default=default)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    found = measure(args.family, args.seed, size=args.size, epochs=args.epochs, lr=args.lr)
    if args.json: write_json(args.json, vars(args) | dict(family=args.family.name, json=None, found=found))

if __name__ == '__main__': exit_on_error(main)
