"""How should a network that knows ImageNet be trained on frames? One thing changed at a time, scored on validation.

    python benchmarks/finetune.py JOURNEY [--only NAME ...] [--device cuda --workers 6] [--seconds 300] [--json FILE]

JOURNEY is a folder with pictures.csv (path, label, split, group). Its test rows are not read. Every arm is the one called
'base' with some fields changed; its row is printed, and kept in --json, as soon as it is there. `--workers` train side
by side, which only a GPU has room for. No arm begins after --seconds.
"""
import argparse, time, warnings
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

warnings.filterwarnings('ignore')
import pandas as pd
from fastai.torch_core import set_seed
from simpsons_fastai.core import write_json
from simpsons_fastai.learn.fit import fit_recipe
from simpsons_fastai.learn.learner import EpochLines, tta_preds
from simpsons_fastai.learn.losses import _f1_score
from simpsons_fastai.train.prepare import prepare_recipe, recipe_learner, recipe_table

BASE = dict(arch='tf_efficientnet_lite0', size=96, epochs=8, lr=4e-3, aug='frames', sampler='shuffle', ema=.998, groups='group')
SCRATCH = dict(weights='none', lr=8e-3, mix_share=.5, epochs=12)
ARMS = {
    'base': {}, 'lr 2e-3': dict(lr=2e-3), 'lr 1e-3': dict(lr=1e-3), 'no mixing': dict(mix='none'), 'mixing 0.5': dict(mix_share=.5),
    'from scratch': dict(weights='none', lr=8e-3), 'aug journey': dict(aug='journey'), 'head fastai': dict(head='fastai'),
    'no average': dict(ema=0.), '128 px': dict(size=128), 'wd 0.01': dict(wd=.01), 'wd 0.3': dict(wd=.3),
    'no smoothing': dict(smoothing=0.), 'balanced': dict(sampler='balanced'), 'lr 2e-3, root': dict(lr=2e-3, sampler='root'),
    'lr 2e-3, balanced': dict(lr=2e-3, sampler='balanced'), 'lr 2e-3, weighted': dict(lr=2e-3, loss='weighted'),
    'frames_small 64 px': SCRATCH | dict(arch='frames_small', size=64), 'resnet18': SCRATCH | dict(arch='resnet18')}


@dataclass
class Asked:
    "Which pictures, where, and until when."
    table:pd.DataFrame
    device:str|None
    end:float

    def measure(self, arm:tuple) -> dict|None: # of (name, seed) a row; nothing where the time is up
        "Train an arm and score it on the validation rows, both views of a picture."
        name, seed = arm
        if time.time() > self.end: return None
        start = time.time()
        set_seed(seed)
        recipe = prepare_recipe('journey', **BASE | ARMS[name])
        learn = recipe_learner(recipe, self.table, seed, device=self.device)
        learn.remove_cb(EpochLines)
        with learn.no_bar(), learn.no_logging():
            fit_recipe(learn, recipe)
            probs, true = tta_preds(learn, tta='flip')
        said, true = probs.argmax(1).numpy(), true.numpy().ravel()
        return dict(arm=name, seed=seed, accuracy=float((said == true).mean()),
                    macro_f1=float(_f1_score(true, said)),
                    seconds=round(time.time() - start, 1))


def measured(asked:Asked, arms:list, seeds:list, workers:int): # yields rows
    "The rows of all arms, as they come."
    todo = [(o, seed) for seed in seeds for o in arms]
    if workers == 1:
        yield from map(asked.measure, todo)
        return
    with get_context('spawn').Pool(workers) as pool: yield from pool.imap_unordered(asked.measure, todo)


def known(folder:Path) -> pd.DataFrame:
    "The rows that may be looked at: for training and validation."
    table = recipe_table(prepare_recipe('journey', groups='group'), folder/'pictures.csv')
    return table[table.split != 'test'].reset_index(drop=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('journey', type=Path)
    p.add_argument('--only', nargs='+', choices=ARMS, default=list(ARMS), metavar='NAME', help='of ' + ', '.join(ARMS))
    p.add_argument('--seeds', type=int, nargs='+', default=[1])
    p.add_argument('--device')
    p.add_argument('--workers', type=int, default=1)
    p.add_argument('--seconds', type=float, default=float('inf'))
    p.add_argument('--json', type=Path)
    a = p.parse_args()
    asked = Asked(known(a.journey), a.device, time.time() + a.seconds)
    rows = []
    for row in measured(asked, a.only, a.seeds, a.workers):
        if row is None: continue
        rows.append(row)
        print(f"{row['arm']:20} seed {row['seed']}  accuracy {row['accuracy']:.4f}  macro F1 {row['macro_f1']:.4f}  {row['seconds']} s", flush=True)
        if a.json: write_json(a.json, rows)


if __name__ == '__main__': main()
