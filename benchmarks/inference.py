"""Answering: our predictor beside stock fastai and beside the network alone, in one run.

    python benchmarks/inference.py [--case large] [--n 200] [--int8] [--memory] [--json FILE]

`large` is ResNeXt-50 32x4d at 224×224 on 480×360 JPEGs, `small` ResNet-18 at 64×64. The network has learnt nothing;
that changes no time. *Stock* is fastai's `learn.predict`, `get_preds` and `load_learner` with its defaults. *Alone* is the
same ONNX file run by the runtime on pixels that lie in memory, without decoding: one request at a time for a single
picture, the runtime's throughput setting for a folder. `--int8` measures the bundle's 8-bit network instead (its speed; what it
loses is `simpsons bundle --int8`'s to say); *alone* is still the network of the runtime's fastest float, and *alone int8* the 8-bit one. `--memory` runs 2,000 and 20,000 pictures in processes of their own (stock 2,000, without worker processes).
"""
import argparse, json, platform, statistics, subprocess, sys, tempfile, time, warnings
from functools import partial
from itertools import cycle, islice
from pathlib import Path

warnings.filterwarnings('ignore')
import numpy as np
import torch
from fastai.vision.all import *
from simpsons_fastai.model.bundle import load_bundle, restate_bundle
from simpsons_fastai.learn.export import save_bundle
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.model.runtimes import RUNTIMES
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.train.int8 import _write_int8
from simpsons_fastai.pictures.drawn import springfield_mini

CASES = dict(small=dict(arch='resnet18', size=64), large=dict(arch='resnext50_32x4d', size=224))
COLD = dict(ours='import sys; from simpsons_fastai.model.predictor import Predictor; Predictor(sys.argv[1]).predict(sys.argv[2])',
            stock='import sys; from fastai.vision.all import *; load_learner(sys.argv[1]).predict(sys.argv[2])')
MEMORY = r'''import re, sys; from itertools import cycle, islice; from pathlib import Path
files = islice(cycle(sorted(Path(sys.argv[2]).rglob('*.jpg'))), int(sys.argv[3]))
def ours(model, files):
    from simpsons_fastai.model.predictor import Predictor
    return sum(1 for _ in Predictor(model).predict_many(files))
def stock(model, files):
    from fastai.vision.all import load_learner
    learn = load_learner(model)
    with learn.no_bar(): return len(learn.get_preds(dl=learn.dls.test_dl(list(files), num_workers=0))[0])
assert globals()[sys.argv[4]](sys.argv[1], files) == int(sys.argv[3])
print(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1])'''  # ru_maxrss would count the parent's memory


def seconds(f, *args):
    start = time.perf_counter(); f(*args); return time.perf_counter() - start

def rate(f, items): return len(items)/seconds(lambda: [f(o) for o in items])


def materials(arch, size, folder):
    "JPEGs, a stock learner and its pickle, and our bundle of the same architecture."
    mini = springfield_mini(folder/'mini', n=120)
    for p in mini.rglob('*.jpg'): Image.open(p).resize((480, 360)).save(p, quality=90)
    block = DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label, splitter=RandomSplitter(seed=1),
                      item_tfms=Resize(size, method=ResizeMethod.Squish), batch_tfms=Normalize.from_stats(*imagenet_stats))
    stock = vision_learner(block.dataloaders(mini, bs=16), arch, pretrained=False, normalize=False)
    stock.export(folder/'export.pkl')
    ours = simpsons_learner(simpsons_dls(mini, size, arch=arch, cache='off', check=False), arch, 'none', head='fastai', verbose=False)
    return sorted(str(p) for p in mini.rglob('*.jpg')), load_learner(folder/'export.pkl'), save_bundle(ours, folder/'bundle')


def alone(runtime, precision, bundle, size, bs):
    "The network alone: (one picture at a time, a stream), functions of a number of pictures to pictures a second."
    network = RUNTIMES[runtime](bundle, precision, None, torch.get_num_threads())
    pixels = lambda n: np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    x, batch = pixels(1), pixels(bs)
    return lambda n: rate(network, [x]*n), lambda n: n/seconds(lambda: [None for _ in network.stream([batch]*(n//bs))])


def medians(rounds, measures):
    "The median of each measure, all of them taken in turns."
    got = [{k: f() for k, f in measures.items()} for _ in range(rounds)]
    return {k: statistics.median(o[k] for o in got) for k in measures}


def single(predictor, stock, limits, files, n):
    "Pictures a second, one at a time."
    few = files[:max(8, n//10)]
    with stock.no_bar():
        for f in (stock.predict, predictor.predict): f(files[0])
        for f in limits.values(): f(3)
        return medians(3, dict(ours=lambda: rate(predictor.predict, list(islice(cycle(files), n))),
                               **{k: partial(f, n) for k, f in limits.items()}, stock=lambda: rate(stock.predict, few)))


def folder(predictor, stock, limits, files, n, bs):
    "Pictures a second over a folder."
    many, few = list(islice(cycle(files), n)), list(islice(cycle(files), max(64, n//10)))
    ours = lambda: n/seconds(lambda: [None for _ in predictor.predict_many(many, bs=bs)])
    def get_preds():
        with stock.no_bar(), stock.no_logging(): return len(few)/seconds(lambda: stock.get_preds(dl=stock.dls.test_dl(few)))
    for f in limits.values(): f(bs*2)
    list(predictor.predict_many(files[:bs*2], bs=bs)); get_preds()
    return medians(2, dict(ours=ours, **{k: partial(f, n) for k, f in limits.items()}, stock=get_preds))


def cold(folder, picture):
    "Seconds from the start of a process to its first answer."
    run = lambda k, model: statistics.median(seconds(lambda: subprocess.run([sys.executable, '-W', 'ignore', '-c', COLD[k], model, picture], check=True, capture_output=True)) for _ in range(3))
    return dict(ours=run('ours', folder/'bundle'), stock=run('stock', folder/'export.pkl'))


def memory(folder):
    "Peak memory (MB) of a process that answers pictures, by who and how many."
    run = lambda who, model, n: int(subprocess.run([sys.executable, '-W', 'ignore', '-c', MEMORY, folder/model, folder/'mini', str(n), who], check=True, capture_output=True, text=True).stdout)/1024
    return {'ours, 2,000': run('ours', 'bundle', 2000), 'ours, 20,000': run('ours', 'bundle', 20000), 'stock, 2,000': run('stock', 'export.pkl', 2000)}


def show(name, res):
    print(f"  {name:14}" + ''.join(f'{k} {v:8.2f}   ' for k, v in res.items()) + f"ours over stock {res['ours']/res['stock']:.1f}" +
          ''.join(f", ours over {k} {res['ours']/v:.2f}" for k, v in res.items() if k.startswith('alone')), flush=True)


def measure(name, runtime, n, bs, int8, with_memory):
    case = CASES[name]
    with tempfile.TemporaryDirectory() as d:
        files, stock, bundle = materials(case['arch'], case['size'], Path(d))
        if int8:
            plain = load_bundle(bundle)
            bundle = restate_bundle(plain, {'model.int8.onnx': lambda path: _write_int8(plain, files[:64], path)}, Path(d)/'bundle8')
        precision = 'int8' if int8 else 'auto'
        predictor = Predictor(bundle, runtime, precision)
        print(f"{name}: {case['arch']}, {case['size']}×{case['size']}, {predictor.runtime}, {predictor.precision}")
        limits = {'alone int8' if o == 'int8' else 'alone': alone(predictor.runtime, o, predictor.bundle, case['size'], bs) for o in dict.fromkeys(('auto', precision))}
        one, many = ({k: o[i] for k, o in limits.items()} for i in (0, 1))
        res = dict(case=case, runtime=predictor.runtime, precision=predictor.precision)
        res['single'] = single(predictor, stock, one, files, n//4); show('one picture', res['single'])
        res['folder'] = folder(predictor, stock, many, files, n, bs); show('folder', res['folder'])
        res['cold_start_seconds'] = cold(Path(d), files[0])
        print(f"  cold start    ours {res['cold_start_seconds']['ours']:.2f} s, stock {res['cold_start_seconds']['stock']:.2f} s, "
              f"ours over stock {res['cold_start_seconds']['ours']/res['cold_start_seconds']['stock']:.2f}", flush=True)
        if with_memory: res['peak_megabytes'] = memory(Path(d)); print(f"  peak memory   {', '.join(f'{k}: {v:.0f} MB' for k, v in res['peak_megabytes'].items())}")
    return res


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--case', default='large', choices=list(CASES), help='large unless told')
    parser.add_argument('--runtime', default='auto', choices=['auto', *RUNTIMES], help='auto unless told')
    parser.add_argument('--n', type=int, default=200, help='pictures of the folder')
    parser.add_argument('--bs', type=int, default=8, help='pictures a batch')
    parser.add_argument('--int8', action='store_true', help='the 8-bit network')
    parser.add_argument('--memory', action='store_true', help='measure the memory of long streams, too')
    parser.add_argument('--json', help='write the figures there')
    args = parser.parse_args()
    print(f"CPU, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, torch {torch.__version__}")
    res = measure(args.case, args.runtime, args.n, args.bs, args.int8, args.memory)
    if args.json: Path(args.json).write_text(json.dumps(res, indent=2))


if __name__ == '__main__': main()
