"""Train the model that comes with the package, and write it with its card: python benchmarks/demo_model.py DATA [FAMILY] [--run RUN]"""
import argparse, tempfile
from pathlib import Path
import pandas as pd
from simpsons_fastai.judge.compare import count_parameters
from simpsons_fastai.model.bundle import DEMO, load_bundle, restate_bundle
from simpsons_fastai.judge.calibrate import calibrate_bundle
from simpsons_fastai.core import exit_on_error
from simpsons_fastai.pictures.table import scan
from simpsons_fastai.judge.evaluate import evaluate_table
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.model.run import Run
from simpsons_fastai.train.train import train

FAMILY = dict(bart='bart_simpson', homer='homer_simpson', lisa='lisa_simpson', marge='marge_simpson')

CARD = """# Who is it? A small model of ten residents of Springfield

A network of {parameters:.2f} million parameters (`{arch}`, {size} × {size} pixels) that tells ten characters of *The Simpsons* apart. It was trained from scratch with
`simpsons train DATA --recipe frames --seed {seed}`.

| measured on | pictures | macro F1 | accuracy |
| --- | --- | --- | --- |
{rows}

Confidence: temperature {temperature:.3f}, fitted on validation; expected calibration error on the test part {ece_before:.3f} before, {ece_after:.3f} after. Answers below {threshold:.3f} are refused; on validation that is one known picture in twenty.

- **Data**: Simpsons-MNIST by Alvaro Bartolome, derived from Alexandre Attia's "The Simpsons Characters Data": {train} pictures of 28 × 28 pixels for training. No picture is in this folder.
- **Licence of the weights**: the data are under Creative Commons BY-NC-SA 4.0, so the weights are for non-commercial use, under the same terms, naming the sources above. The program's licence does not cover them.
- **A large picture** is squeezed, whole, to {size} × {size} pixels (`preprocess` in `config.json`). The training pictures show one character, mostly the head and shoulders; a crop like that is answered best.
- **Limits**: it knows ten characters ({vocab}) and takes everybody else for one of them, unless it refuses. It was not tried on other drawings than those above.
"""

def _family(predictor, folder:Path) -> dict:
    "Scores on full-size drawings of four of the characters."
    table = scan(folder, r'^(\w+) \(')
    table = table[table.label.isin(FAMILY)].assign(label=lambda t: t.label.map(FAMILY), split='test')
    ev = evaluate_table(predictor, table)
    return dict(n=len(table), macro_f1=pd.Series({k: ev.scores['per_class'][k]['f1'] for k in FAMILY.values()}).mean(), accuracy=ev.scores['accuracy'])

def _line(name:str, o:dict) -> str: return f"| {name} | {o['n']} | {o['macro_f1']:.4f} | {o['accuracy']:.4f} |"

def _card(run:Run, bundle, scores:dict) -> str:
    column,options = bundle.target.columns[0],run.config['options']
    c = bundle.metrics['calibration'][column.name]
    return CARD.format(parameters=count_parameters(bundle.path/'model.safetensors')/1e6, arch=bundle.arch, size=bundle.preprocess.size, seed=options['seed'],
                       rows='\n'.join(_line(k, o) for k,o in scores.items()), temperature=column.temperature, threshold=column.threshold, **{k: c['test'][k] for k in ('ece_before', 'ece_after')},
                       train=run.config['data']['pictures']['train'], vocab=', '.join(bundle.vocab))

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path); parser.add_argument('family', type=Path, nargs='?')
    parser.add_argument('--run', type=Path, help='a finished run of the recipe frames; trained anew unless told'); parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    run = Run(args.run) if args.run else train(args.data, recipe='frames', seed=args.seed)
    with tempfile.TemporaryDirectory() as tmp:
        made = calibrate_bundle(restate_bundle(load_bundle(run.bundle), dest=Path(tmp)/'bundle'), run.table)
        scores = {f'Simpsons-MNIST, {s}': run.report['splits'][s] for s in ('valid', 'test')}
        if args.family: scores['drawings of Bart, Homer, Lisa and Marge, 200 to 700 pixels'] = _family(Predictor(made), args.family)
        DEMO.parent.mkdir(exist_ok=True)
        made = restate_bundle(made, {'README.md': lambda p: p.write_text(_card(run, made, scores), encoding='utf-8')}, DEMO, metrics=made.metrics | dict(family=scores[[*scores][-1]] if args.family else None))
    size = sum(o.stat().st_size for o in DEMO.iterdir())/1e6
    print((DEMO/'README.md').read_text(), f'{size:.2f} MB in {DEMO.name}', sep='\n')

if __name__ == '__main__': exit_on_error(main)
