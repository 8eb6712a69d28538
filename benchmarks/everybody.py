"""Who is on screen: a model that answers sets beside one that answers a name, on the same frames, clips and strangers.

    python benchmarks/everybody.py SETS SINGLE DATA [--json FILE]

SETS and SINGLE are folders of bundles (or "demo"); DATA holds `frames/frames.csv` (path, labels, split, copy_of_journey),
`clips/` (videos and truth.csv), `strangers/` (other cartoons; files called drawn-* are left out) and `journey/pictures.csv`.
Both answer with their own thresholds. Nothing is fitted here.
"""
import argparse, random, tempfile
from pathlib import Path

import numpy as np, pandas as pd
from simpsons_fastai.core import exit_on_error, write_json
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.drawn import ERAS, draw_scene
from simpsons_fastai.serve.archive import label
from simpsons_fastai.serve.timeline import timeline
from simpsons_fastai.serve.together import read_truth, score_seconds
from simpsons_fastai.target import refuses


def names(predictor:Predictor, pictures) -> list:
    "The set of names that each picture is given; what is refused has none."
    target = predictor.target
    said = predictor.predict_many(pictures)
    return [set() if refuses(target, o) else set(o.label.split('|')) - {''} for o in said]


def set_scores(said:list, true:list) -> dict:
    "Micro F1, exact match, and how many pictures get a name."
    right = sum(len(a & b) for a, b in zip(said, true))
    n = sum(map(len, said)) + sum(map(len, true))
    return dict(n=len(true), micro_f1=2*right/max(1, n), exact=float(np.mean([a == b for a, b in zip(said, true)])))


def frames(predictor:Predictor, data:Path) -> dict:
    "The honest test rows: all, and those with several."
    rows = pd.read_csv(data/'frames/frames.csv', keep_default_na=False)
    rows = rows[(rows.split == 'test') & (rows.copy_of_journey == 'no')]
    true = [set(o.split('|')) - {''} for o in rows.labels]
    said = names(predictor, [data/'frames'/o for o in rows.path])
    several = [i for i, o in enumerate(true) if len(o) > 1]
    return dict(all=set_scores(said, true), several=set_scores([said[i] for i in several], [true[i] for i in several]))


def nobody(predictor:Predictor, data:Path, n:int=200) -> dict:
    "How many of other cartoons, and of drawn scenes without anybody, get a name."
    cartoons = sorted(o for o in (data/'strangers').iterdir() if not o.name.startswith('drawn-'))
    scenes = [draw_scene(None, ERAS[i%len(ERAS)], random.Random(f'scene {i}')) for i in range(n)]
    return {k: float(np.mean([bool(o) for o in names(predictor, v)])) for k, v in (('cartoons', cartoons), ('scenes', scenes))}


def clips(bundle, data:Path) -> dict:
    "F1 over character-seconds, a frame a second, and of the seconds with nobody those that get a name."
    with tempfile.TemporaryDirectory() as tmp:
        out = label(bundle, data/'clips', Path(tmp)/'out', fps=1)
        found = {f'window {w:g} s': timeline(out, window=w, gap=g, shortest=s) for w, g, s in ((3, 2, 1), (0, 0, 0))}
    truth = read_truth(data/'clips/truth.csv')
    return {k: score_seconds(o, truth) for k, o in found.items()}


def journey(predictor:Predictor, data:Path) -> float:
    "How often the likeliest name of a test frame is the right one."
    rows = pd.read_csv(data/'journey/pictures.csv')
    rows = rows[rows.split == 'test']
    said = predictor.predict_many([data/'journey'/o for o in rows.path])
    vocab = predictor.target.vocab
    return float(np.mean([vocab[o.probs.argmax()] == y for o, y in zip(said, rows.label)]))


def measured(bundle, data:Path) -> dict:
    predictor = Predictor(bundle)
    return dict(frames=frames(predictor, data), nobody=nobody(predictor, data), clips=clips(bundle, data), journey_top1=journey(predictor, data))


def shown(o, prefix='') -> list:
    "Numbers of nested dicts, a line each."
    if not isinstance(o, dict): return [f'{prefix}: {o:.4f}' if isinstance(o, float) else f'{prefix}: {o}']
    return [line for k, v in o.items() for line in shown(v, f'{prefix} {k}'.strip())]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('sets')
    p.add_argument('single')
    p.add_argument('data', type=Path)
    p.add_argument('--json', type=Path)
    a = p.parse_args()
    res = {name: measured(bundle, a.data) for name, bundle in (('sets', a.sets), ('single', a.single))}
    print(*shown(res), sep='\n')
    if a.json: write_json(a.json, res)


if __name__ == '__main__': exit_on_error(main)
