"""The README's three lines against the same three of stock fastai: same pictures, ImageNet weights, size and batch.

    python benchmarks/three_lines.py JOURNEY [--n 3000] [--size 96] [--epochs 3] [--json FILE]

JOURNEY is a folder with pictures.csv (path, label, split). `n` of its training rows are learnt, 1,000 of its validation
rows judge; its test rows are not read. The weights of tf_efficientnet_lite0 come from the extra `offline-weights`.
"""
import argparse, time, warnings
from pathlib import Path

warnings.filterwarnings('ignore')
import pandas as pd, timm
from fastai.vision.all import ImageDataLoaders, Normalize, Resize, accuracy, aug_transforms, set_seed, vision_learner
from simpsons_fastai.core import write_json
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.learn.offline import offline_weights

ARCH = 'tf_efficientnet_lite0'


def part(folder:Path, n:int, seed:int) -> pd.DataFrame:
    "Some training and validation rows, with whole paths."
    table = pd.read_csv(folder/'pictures.csv')
    few = [table[table.split == k].sample(m, random_state=seed) for k, m in (('train', n), ('valid', 1000))]
    table = pd.concat(few, ignore_index=True)[['path', 'label', 'split']]
    learnt = set(table.label[table.split == 'train'])
    table['path'] = [str((folder/o).resolve()) for o in table.path]
    return table[table.label.isin(learnt)].reset_index(drop=True)


def ours(table:pd.DataFrame, size:int):
    return simpsons_learner(simpsons_dls(table, size, arch=ARCH, groups='none', check=False), ARCH, verbose=False)


def stock(table:pd.DataFrame, size:int):
    df = table.assign(is_valid=table.split == 'valid')
    dls = ImageDataLoaders.from_df(df, path='/', fn_col='path', label_col='label', valid_col='is_valid', bs=64, num_workers=2,
                                   item_tfms=Resize(size, method='squish'), batch_tfms=aug_transforms())
    learn = vision_learner(dls, ARCH, metrics=accuracy, pretrained=False, normalize=False)
    learn.model[0].model.load_state_dict(offline_weights(ARCH), strict=False)
    learn.dls.add_tfms([normalisation()], 'after_batch')
    learn.freeze()
    return learn


def normalisation():
    "The one that the weights were made with."
    cfg = timm.get_pretrained_cfg(ARCH)
    return Normalize.from_stats(cfg.mean, cfg.std)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('journey', type=Path)
    p.add_argument('--n', type=int, default=3000)
    p.add_argument('--size', type=int, default=96)
    p.add_argument('--epochs', type=int, default=3)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--json', type=Path)
    a = p.parse_args()
    table = part(a.journey, a.n, a.seed)
    got = {}
    for make in (ours, stock):
        set_seed(a.seed)
        start = time.time()
        learn = make(table, a.size)
        with learn.no_bar(): learn.fine_tune(a.epochs)
        got[make.__name__] = dict(accuracy=float(learn.recorder.values[-1][2]), seconds=round(time.time() - start, 1))
        print(make.__name__, got[make.__name__], flush=True)
    if a.json: write_json(a.json, got)


if __name__ == '__main__': main()
