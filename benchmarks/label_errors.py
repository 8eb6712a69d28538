"""Wrong labels found again: a share of the labels is swapped on purpose, and the ranking of `find_label_errors` must put them first.

    python benchmarks/label_errors.py DATA [--share .05] [--folds 3] [--recipe RECIPE] [--epochs 8] [--arch resnet18] [--size 64] [--n N] [--json FILE]

DATA is a folder or a table; its training pictures are used, or `--n` of them by chance, the same share of every class. Labels are swapped in the table only, no file
is touched: `--share` of the pictures get another label, each other one as likely. The recall is the share of these that stands in the
first part of the ranking, for every method of ranking on the same out-of-fold probabilities; by chance it would be the part itself.
*Flagged* are the pictures that cleanlab calls wrong. The data's own wrong labels count against us.
"""
import argparse, json, platform, time, warnings
from pathlib import Path

warnings.filterwarnings('ignore')
import numpy as np, pandas as pd, torch
from simpsons_fastai.train.doubts import METHODS, out_of_fold, rank_labels
from simpsons_fastai.pictures.table import as_table, usable

PARTS = .05, .08, .1, .2


def swap(table, share, seed):
    "The table with a share of wrong labels, and the true ones as `truth`."
    rng, vocab = np.random.default_rng(seed), sorted(table.label.unique())
    wrong = set(rng.choice(len(table), round(len(table)*share), replace=False))
    labels = [rng.choice([o for o in vocab if o != label]) if i in wrong else label for i, label in enumerate(table.label)]
    return table.assign(truth=table.label, label=labels)


def scores(ranking, truth):
    "What a ranking found."
    truth = ranking.path.map(truth).values
    wrong = (ranking.label != truth).values
    recall = {f'{o:.0%}': float(wrong[:round(o*len(wrong))].sum()/wrong.sum()) for o in PARTS}
    first = wrong & (np.arange(len(wrong)) < round(.08*len(wrong)))
    flagged = ranking.flagged.values
    return dict(recall=recall, flagged=int(flagged.sum()), flagged_right=float(wrong[flagged].mean()) if flagged.any() else None, flagged_recall=float(flagged[wrong].mean()),
                suggested_right=float((ranking.suggested.values == truth)[first].mean()) if first.any() else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', help='a folder of pictures or a table')
    for name, default in dict(share=.05, folds=3, n=0, seed=42).items(): parser.add_argument(f'--{name}', type=type(default), default=default)
    parser.add_argument('--recipe', help='instead of the swift one')
    for name, kind in dict(epochs=int, arch=str, size=int, bs=int, tta=str, mix=str).items(): parser.add_argument(f'--{name}', type=kind)
    parser.add_argument('--json', help='write the figures there')
    args = parser.parse_args()
    table = usable(as_table(args.data))[0]
    table = table[(table.split == 'train') & table.label.notna()].sort_values('path', ignore_index=True)
    fields = {o: value for o in ('epochs', 'arch', 'size', 'bs', 'tta', 'mix') if (value := getattr(args, o)) is not None}
    if args.n: table = table.groupby('label').sample(frac=min(1, args.n/len(table)), random_state=args.seed).sort_values('path', ignore_index=True)
    table = swap(table, args.share, args.seed)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f'CPU, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads'
    print(f'{device}; Python {platform.python_version()}, torch {torch.__version__}; {len(table)} pictures, {(table.label != table.truth).sum()} labels swapped; '
          f'{args.folds} folds, {args.recipe or "swift"} {fields}', flush=True)
    start = time.perf_counter()
    vocab, probs = out_of_fold(table, args.folds, args.recipe, args.seed, **fields)
    seconds = time.perf_counter() - start
    truth = dict(zip(table.path, table.truth))
    res = {o: scores(rank_labels(table, vocab, probs, o), truth) for o in METHODS}
    accuracy = float((np.array(vocab)[probs.argmax(1)] == table.truth.values).mean())
    shown = pd.DataFrame({o: r['recall'] | {'suggested label is the true one': r['suggested_right']} for o, r in res.items()})
    print(f'{seconds:.0f} s; {accuracy:.1%} of the true labels answered out of fold\nrecall within the first part of the ranking:\n{shown.round(3).to_string()}')
    flags = res[METHODS[0]]
    print(f"flagged {flags['flagged']}" + (f", {flags['flagged_right']:.1%} of them swapped, {flags['flagged_recall']:.1%} of the swapped ones" if flags['flagged'] else ''))
    if args.json:
        Path(args.json).write_text(json.dumps(dict(device=device, torch=torch.__version__, args=vars(args), pictures=len(table), swapped=int((table.label != table.truth).sum()),
                                                   seconds=round(seconds, 1), accuracy=accuracy, **res), indent=2))


if __name__ == '__main__': main()
