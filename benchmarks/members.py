"""What averaging brings: every member of runs' ensembles alone, the ensembles, all of them together, and several views of a picture.

    python benchmarks/members.py RUN [RUN ...] --data PICTURES [--json FILE]

The runs are those of `simpsons train PICTURES --recipe activity` and its like, which chose their checkpoints on validation.
Macro F1 is on the test part of PICTURES, which had no say in any choice. The first run's single best epoch (by validation) is
also answered with the views of `flip` and `shifts`.
"""
import argparse, json, tempfile
from pathlib import Path
from simpsons_fastai.pictures.table import as_table
from simpsons_fastai.train.ensembles import ensemble_bundles
from simpsons_fastai.train.ship import run_parts
from simpsons_fastai.learn.export import join
from simpsons_fastai.judge.evaluate import evaluate_table
from simpsons_fastai.pictures.preprocess import TTA, Preprocess
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.model.run import Run


def single(run, file, folder):
    "A run's checkpoint as a bundle of its own."
    cfg = run.config
    return join(run_parts(run, [(file, 1.)]), folder/f'{run.path.name}-{file.stem}', run.target, Preprocess.read(cfg['preprocess']))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', type=Path)
    parser.add_argument('--data', required=True, help='a folder or table with a labelled test part')
    parser.add_argument('--json', help='write the figures there')
    args = parser.parse_args()
    table = as_table(args.data)
    table = table[table.split == 'test']
    score = lambda bundle, tta='none': evaluate_table(Predictor(bundle, tta=tta), table).scores['macro_f1']
    runs, res = [Run(o) for o in args.runs], {}
    def show(name, value): res[name] = value; print(f'{value:.4f}  {name}', flush=True)
    with tempfile.TemporaryDirectory() as d:
        for run in runs:
            for file, share in run.shipped: show(f'{run.path.name} {file.stem} alone (share {share:.2f})', score(single(run, file, Path(d))))
            show(f'{run.path.name}, its ensemble of {len(run.shipped)}', score(run.bundle))
        if len(runs) > 1: show('all together', score(ensemble_bundles(args.runs, Path(d)/'all').path))
        best = single(runs[0], runs[0].best, Path(d)/'views')
        for tta in TTA: show(f'{runs[0].path.name} best epoch, views: {tta}', score(best, tta))
    if args.json: Path(args.json).write_text(json.dumps(res, indent=2))


if __name__ == '__main__': main()
