"""Train the model that comes with the package, and write it with its card.

    python benchmarks/demo_model.py JOURNEY [--run RUN] [--seed 1] [--strangers FOLDER] [--family FOLDER] [--dest FOLDER]

JOURNEY is a folder with pictures.csv (path, label, split, group): its training rows are learnt, its validation rows choose
the epoch, the temperature and the threshold, its test rows are scored once. STRANGERS is a folder of other cartoons (files
called drawn-* are left out), FAMILY one of drawings named as `bart (12).bmp`: both are only measured. An hour on two cores.
"""
import argparse, shutil, tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np, pandas as pd
from simpsons_fastai.core import exit_on_error
from simpsons_fastai.judge.calibrate import calibrate_bundle
from simpsons_fastai.judge.compare import count_parameters
from simpsons_fastai.judge.evaluate import evaluate_table
from simpsons_fastai.judge.strangers import auroc, false_accept_rate
from simpsons_fastai.learn.recipes import FIELDS, RECIPES, settled
from simpsons_fastai.model.bundle import DEMO, Bundle, restate_bundle
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.model.run import Run
from simpsons_fastai.pictures.table import scan
from simpsons_fastai.pictures.walk import named_pictures
from simpsons_fastai.train.ship import bundle_run
from simpsons_fastai.train.train import train

RECIPE = 'journey-lite'
FAMILY = {o: f'{o}_simpson' for o in ('bart', 'homer', 'lisa', 'maggie', 'marge')}

CARD = """# Who is it? A model of {classes} residents of Springfield

A network of {parameters:.2f} million parameters (`{arch}`, {size} × {size} pixels) that names one character of *The Simpsons* in a frame. It begins
with ImageNet weights and was trained in {minutes:.0f} minutes on two CPU cores as `simpsons train JOURNEY/pictures.csv --recipe {recipe} --seed {seed}` does.
Its weights are stored in 8 bits and computed with in float32; {same:.1%} of {stored} validation frames are answered as before they were rounded.

| frames that share no shot with training | frames | accuracy | macro F1 over the classes that occur |
| --- | --- | --- | --- |
{rows}

- **Confidence**: temperature {temperature:.3f}, fitted on validation; expected calibration error on the test frames {ece:.3f}.
- **Strangers**: answers below {threshold:.3f} are refused, which on validation refuses one known frame in twenty. Of {strangers} pictures of other
  cartoons it names {named:.1%}; by confidence alone it tells known frames from them with an area under the curve (AUROC) of {auroc:.3f}.
- **Another hand**: of {drawings} drawings of the five of the family, on which it was not trained, it names {family:.1%} right (its likeliest answer).
- **Data**: {train:,} frames for training, of "The Simpsons Characters Data" by Alexandre Attia, shorter side 128 pixels. No picture is in this folder.
- **Licence of the weights**: the frames are under Creative Commons BY-NC-SA 4.0, so the weights are for non-commercial use, under the same terms, naming
  the source. They began with ImageNet weights of EfficientNet-Lite0 (Apache-2.0). The program's licence does not cover them.
- **A large picture** is squeezed, whole, to {size} × {size} pixels. The frames show mostly one character; a single name is given where there are several.
- **Limits**: it knows {classes} characters and nobody else: {vocab}.
"""


@dataclass
class Measured:
    "What a bundle says of pictures it never saw."
    predictor:Predictor
    table:pd.DataFrame # of its run

    def scores(self, split:str) -> dict: return evaluate_table(self.predictor, self.table[self.table.split == split]).scores

    def confidence(self, paths) -> np.ndarray:
        return np.array([o.confidence for o in self.predictor.predict_many(paths)])

    def strangers(self, folder:Path) -> dict:
        "How many of other cartoons are named, and how well confidence tells them apart."
        paths = [o for o in named_pictures([folder]) if not Path(o).name.startswith('drawn-')]
        known = self.confidence(self.table.path[self.table.split == 'test'])
        odd = self.confidence(paths)
        threshold = self.predictor.target.columns[0].threshold
        return dict(strangers=len(odd), named=false_accept_rate(odd, threshold), auroc=auroc(known, odd))

    def family(self, folder:Path) -> dict:
        "How many drawings of the family are named right."
        table = scan(folder, r'^(\w+) \(')
        table = table[table.label.isin(FAMILY)]
        said = [o.label for o in self.predictor.predict_many(table.path)]
        return dict(drawings=len(table), family=float((table.label.map(FAMILY) == said).mean()))


def row(name:str, o:dict) -> str:
    low, high = o['intervals']['accuracy']
    return f"| {name} | {o['n']:,} | {o['accuracy']:.4f} ({low:.3f} to {high:.3f}) | {o['macro_f1']:.4f} ({o['classes']} classes) |"


def recipe_of_run(run:Run) -> str:
    "The recipe whose fields a run followed, whatever it was called with."
    lite, options = asdict(settled(RECIPES[RECIPE])), run.config['options']
    other = [k for k in FIELDS if k != 'groups' and options.get(k, lite[k]) != lite[k]]
    return options['recipe'] if other else RECIPE


def card(run:Run, bundle:Bundle, found:dict) -> str:
    "The card of the shipped model."
    column, options = bundle.target.columns[0], run.config['options']
    calibration, stored = bundle.metrics['calibration'][column.name], bundle.metrics['stored']
    about = dict(classes=len(bundle.vocab), parameters=count_parameters(bundle.path/'model.safetensors')/1e6, arch=bundle.arch,
                 size=bundle.preprocess.size, minutes=run.report['training']['seconds']/60, recipe=recipe_of_run(run), seed=options['seed'])
    about |= dict(same=stored['same_top_label'], stored=stored['pictures'], temperature=column.temperature, threshold=column.threshold,
                  ece=calibration['test']['ece_after'], train=run.config['data']['pictures']['train'], vocab=', '.join(bundle.vocab))
    rows = '\n'.join(row(name, found[split]) for name, split in (('validation', 'valid'), ('**test**', 'test')))
    return CARD.format(rows=rows, **about, **{k: v for k, v in found.items() if k not in ('valid', 'test')})


def measured(bundle:Bundle, table:pd.DataFrame, strangers:Path, family:Path) -> dict:
    of = Measured(Predictor(bundle, 'onnxruntime', 'float32'), table)
    return {k: of.scores(k) for k in ('valid', 'test')} | of.strangers(strangers) | of.family(family)


def write(run:Run, dest:Path, strangers:Path, family:Path):
    "Make the shipped bundle of a run and put it in its place, with its card."
    with tempfile.TemporaryDirectory() as tmp:
        bundle = calibrate_bundle(bundle_run(run, Path(tmp)/'bundle', small=True), run.table)
        found = measured(bundle, run.table, strangers, family)
        text = card(run, bundle, found)
        shutil.rmtree(dest, ignore_errors=True)
        about = {k: v for k, v in found.items() if k not in ('valid', 'test')}
        restate_bundle(bundle, {'README.md': lambda p: p.write_text(text, encoding='utf-8')}, dest, metrics=bundle.metrics | about)
    size = sum(o.stat().st_size for o in dest.iterdir())/1e6
    print(text, f'{size:.2f} MB in {dest.name}', sep='\n')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('journey', type=Path)
    p.add_argument('--run', type=Path, help=f'a finished run of the recipe {RECIPE}; trained anew unless told')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--strangers', type=Path, help='unless told, the folder beside JOURNEY')
    p.add_argument('--family', type=Path, help='unless told, the folder simpsons-family beside JOURNEY')
    p.add_argument('--dest', type=Path, default=DEMO)
    a = p.parse_args()
    run = Run(a.run) if a.run else train(a.journey/'pictures.csv', recipe=RECIPE, seed=a.seed)
    write(run, a.dest, a.strangers or a.journey.parent/'strangers', a.family or a.journey.parent/'simpsons-family')


if __name__ == '__main__': exit_on_error(main)
