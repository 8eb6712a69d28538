"""Does it know whom it does not know? Train on eight of ten characters; the other two are the strangers. Three pairs.
And the shipped model, which knows all ten, is shown drawn scenes without anybody.

python benchmarks/open_set.py DATA [--epochs 30] [--rate 0.05] [--pairs 3] [--json FILE]"""
import argparse, contextlib, io, random, tempfile, time
from pathlib import Path
import numpy as np
from simpsons_fastai.model.bundle import DEMO
from simpsons_fastai.judge.calibrate import calibrate_bundle
from simpsons_fastai.judge.strangers import auroc, false_accept_rate, open_set_table
from simpsons_fastai.core import exit_on_error, write_json
from simpsons_fastai.pictures.table import as_table
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.drawn import ERAS, draw_scene
from simpsons_fastai.train.train import train

PAIRS = ((0, 5), (2, 7), (4, 9)) # places in the sorted labels

def _pair(table, strangers:list, out:Path, epochs:int, rate:float, seed:int) -> dict:
    "Train without two characters, and measure with them."
    known,odd = open_set_table(table, strangers)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()): run = train(known, out, 'frames', seed=seed, epochs=epochs)
    found = calibrate_bundle(run.bundle, run.table, odd, rate).metrics['calibration']['label']
    return dict(strangers=strangers, macro_f1=run.report['macro_f1'], auroc=found['strangers']['auroc'], accepted=found['strangers']['accepted'], known_refused=found['test']['refused'],
                ece_before=found['test']['ece_before'], ece_after=found['test']['ece_after'], temperature=found['temperature'], seconds=round(time.perf_counter() - start))

def _nobody(test, n:int=500, seed:int=1) -> dict:
    "The shipped model's answers to scenes without anybody, of every style, against those to test pictures."
    predictor,rng = Predictor(DEMO),random.Random(seed)
    sure = lambda pictures: [o.confidence for o in predictor.predict_many(pictures)]
    known,scenes = sure(test.path),sure(draw_scene(None, ERAS[i % len(ERAS)], rng) for i in range(n))
    threshold = predictor.target.columns[0].threshold
    return dict(scenes=n, auroc=auroc(known, scenes), accepted=false_accept_rate(scenes, threshold), known_refused=1 - false_accept_rate(known, threshold), threshold=threshold)

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path); parser.add_argument('--epochs', type=int, default=30); parser.add_argument('--rate', type=float, default=.05)
    parser.add_argument('--seed', type=int, default=1); parser.add_argument('--pairs', type=int, default=3); parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    table,rows = as_table(args.data),[]
    labels = sorted(table.label.unique())
    with tempfile.TemporaryDirectory() as tmp:
        for i,j in PAIRS[:args.pairs]:
            rows.append(_pair(table, [labels[i], labels[j]], Path(tmp)/f'{i}-{j}', args.epochs, args.rate, args.seed))
            print({k: round(v, 4) if isinstance(v, float) else v for k,v in rows[-1].items()}, flush=True)
    nobody = _nobody(table[table.split == 'test'])
    print('scenes without anybody:', {k: round(v, 4) for k,v in nobody.items()}, flush=True)
    if rows: print(f"mean AUROC {np.mean([o['auroc'] for o in rows]):.4f}; strangers accepted {np.mean([o['accepted'] for o in rows]):.4f}, asked {args.rate}")
    if args.json: write_json(args.json, dict(data=args.data.name, epochs=args.epochs, rate=args.rate, seed=args.seed, pairs=rows, nobody=nobody))

if __name__ == '__main__': exit_on_error(main)
