"""Time to a macro F1, from scratch: our recipe beside stock fastai, in one run.

    python benchmarks/time_to_f1.py DATA [--f1 0.8] [--arch resnet18] [--size 64] [--bs 64] [--ours 8] [--stock 8] [--json FILE]

Both train one cycle of the given number of epochs on the same split; the clock starts before the pictures are looked at
(so our check and cache count) and stops at the end of the first epoch whose macro F1 on validation is reached, evaluation
included. *Stock* is a `DataBlock` with flips and rotations and `vision_learner` with fastai's defaults (`fit_one_cycle` at
1e-3, or at what `--stock-lr` says). An epoch count that never reaches the score says so and gives no ratio.
"""
import argparse, json, platform, tempfile, time, warnings
from pathlib import Path
import os

warnings.filterwarnings('ignore')
from fastai.vision.all import *
from simpsons_fastai.pictures.table import as_table
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.pictures.split import split_table
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.speed import ProgressiveResize
from simpsons_fastai.learn.fit import fit_from_scratch


class Goal(Callback):
    "The seconds to a macro F1, and every epoch's score."
    order = 100
    def __init__(self, f1, start): self.f1, self.start, self.reached, self.epochs = f1, start, None, []
    def after_epoch(self):
        seconds, f1 = time.perf_counter() - self.start, self.recorder.values[-1][-1]
        self.epochs.append((round(seconds, 1), round(float(f1), 4)))
        print(f'  {seconds:7.1f} s  macro F1 {f1:.4f}', flush=True)
        if f1 >= self.f1 and self.reached is None: self.reached = seconds


def ours(table, args, goal):
    dls = simpsons_dls(table, args.size, args.bs, arch=args.arch)
    learn = simpsons_learner(dls, args.arch, 'none', verbose=False, cbs=[goal])
    with learn.no_bar(), learn.no_logging(): fit_from_scratch(learn, args.ours, **({'cbs': [ProgressiveResize()]} if args.progressive else {}))


def stock(table, args, goal):
    block = DataBlock((ImageBlock, CategoryBlock), get_x=ColReader('path'), get_y=ColReader('label'), splitter=ColSplitter('split', 'valid'),
                      item_tfms=Resize(args.size, method=ResizeMethod.Squish),
                      batch_tfms=[*aug_transforms(max_rotate=20., max_zoom=1., max_lighting=0., max_warp=0.), Normalize.from_stats(*imagenet_stats)])
    dls = block.dataloaders(table, bs=args.bs)
    learn = vision_learner(dls, args.arch, pretrained=False, normalize=False, metrics=[accuracy, F1Score(average='macro')], cbs=[goal])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(args.stock, args.stock_lr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', help='a folder of pictures')
    for name, default in dict(f1=.8, arch='resnet18', size=64, bs=64, ours=8, stock=8, stock_lr=1e-3, seed=42).items():
        parser.add_argument(f'--{name.replace("_", "-")}', type=type(default), default=default)
    parser.add_argument('--no-progressive', dest='progressive', action='store_false', help='whole pictures from the start')
    parser.add_argument('--only', choices=['ours', 'stock'])
    parser.add_argument('--json', help='write the figures there')
    args = parser.parse_args()
    table = split_table(as_table(args.data))
    table = table[table.split != 'test'].reset_index(drop=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    print(f'{device}; Python {platform.python_version()}, torch {torch.__version__}; {args.arch}, {args.size}×{args.size}, batch {args.bs}')
    res = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ['XDG_CACHE_HOME'] = cache
        for f in (ours, stock):
            if args.only in (None, f.__name__):
                print(f.__name__, getattr(args, f.__name__), 'epochs')
                set_seed(args.seed)
                goal = Goal(args.f1, time.perf_counter())
                f(table, args, goal)
                res[f.__name__] = dict(seconds=goal.reached, epochs=goal.epochs)
    for k, v in res.items(): print(f"{k}: {'not reached' if v['seconds'] is None else '%.0f s' % v['seconds']}")
    if len(res) == 2 and all(v['seconds'] for v in res.values()): print(f"ours over stock {res['ours']['seconds']/res['stock']['seconds']:.2f}")
    if args.json: Path(args.json).write_text(json.dumps(dict(device=device, torch=torch.__version__, args=vars(args), **res), indent=2))


if __name__ == '__main__': main()
