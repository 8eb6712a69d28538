"""Training throughput: our learner beside stock fastai, timm's pieces and the bare training step, in one run.

    python benchmarks/training.py [--data FOLDER] [--case small] [--case large] [--json FILE]

`small` is ResNet-18 at 64×64, batch 64; `large` is ResNeXt-50 32x4d at 224×224, batch 16. Without --data the
pictures are the built-in set, 480×360 for `large`. Each contender trains a first epoch that is not counted, then
`rounds` epochs in turn with the others; the figure is the training pictures a second over the training part alone
(decoding, augmentation and optimiser included, validation not). The bare step trains on one batch that lies in memory.
"""
import argparse, json, platform, statistics, tempfile, time, warnings
from pathlib import Path

warnings.filterwarnings('ignore')
import timm, torch
from timm.data import create_loader
from timm.optim import create_optimizer_v2
from fastai.vision.all import *
from simpsons_fastai.pictures.table import as_table
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.pictures.split import split_table
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.models import build_model
from simpsons_fastai.learn.speed import speed_policy
from simpsons_fastai.pictures.drawn import springfield_mini

CASES = dict(small=dict(arch='resnet18', size=64, bs=64, n=1600, rounds=2), large=dict(arch='resnext50_32x4d', size=224, bs=16, n=160, rounds=2))


class TrainClock(Callback):
    "Pictures a second over the training part of an epoch."
    order, run_valid = 100, False
    def before_train(self): self.start = time.perf_counter()
    def after_train(self): self.rate = len(self.dls.train)*self.dls.train.bs/(time.perf_counter() - self.start)


def epoch_rate(learn):
    "A function that trains an epoch and gives its pictures a second."
    clock = TrainClock()
    learn.add_cb(clock)
    def run():
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
        return clock.rate
    return run


def ours(table, arch, size, bs, **_):
    return epoch_rate(simpsons_learner(simpsons_dls(table, size, bs, arch=arch, check=False), arch, 'none', head='fastai', verbose=False))


def stock(table, arch, size, bs, **_):
    "What a fastai user writes for the same recipe, fastai's defaults elsewhere."
    block = DataBlock((ImageBlock, CategoryBlock), get_x=ColReader('path'), get_y=ColReader('label'), splitter=ColSplitter('split', 'valid'),
                      item_tfms=Resize(size, method=ResizeMethod.Squish),
                      batch_tfms=[*aug_transforms(max_rotate=20., max_zoom=1., max_lighting=0., max_warp=0.), Normalize.from_stats(*imagenet_stats)])
    dls = block.dataloaders(table, bs=bs)
    return epoch_rate(vision_learner(dls, arch, pretrained=False, normalize=False, metrics=[accuracy, F1Score(average='macro')]))


class Frames(torch.utils.data.Dataset):
    "Paths and labels as timm's loader takes them."
    transform = None
    def __init__(self, table):
        vocab = sorted(set(table.label))
        self.items = [(p, vocab.index(l)) for p, l in zip(table.path, table.label)]
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.transform(Image.open(self.items[i][0]).convert('RGB')), self.items[i][1]


def timms(table, arch, size, bs, **_):
    "timm's own pieces: network, loader with its random crop and flip, optimiser; in our precision and layout, with a worker that stays."
    policy, device = speed_policy(), default_device()
    layout = torch.channels_last if policy.channels_last else torch.contiguous_format
    train = table[table.split == 'train']
    loader = create_loader(Frames(train), (3, size, size), bs, is_training=True, color_jitter=0., interpolation='bicubic', num_workers=1, use_prefetcher=False, persistent_workers=True)
    model = timm.create_model(arch, num_classes=train.label.nunique()).to(device, memory_format=layout).train()
    opt = create_optimizer_v2(model, 'adamw', lr=1e-3)
    def run():
        n, start = 0, time.perf_counter()
        for x, y in loader:
            with torch.autocast(device.type, policy.dtype, enabled=policy.dtype is not None): logits = model(x.to(device, memory_format=layout))
            F.cross_entropy(logits.float(), y.to(device)).backward()
            opt.step(); opt.zero_grad(); n += len(x)
        if device.type == 'cuda': torch.cuda.synchronize()
        return n/(time.perf_counter() - start)
    return run


def bare_step(arch, size, bs, classes=10, **options):
    "A function: forward, loss, backward and step on one batch in memory, in our precision and layout."
    policy, device = speed_policy(), default_device()
    layout = torch.channels_last if policy.channels_last else torch.contiguous_format
    model = build_model(arch, classes, 'fastai').to(device, memory_format=layout).train()
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True, **options)
    x = torch.randn(bs, 3, size, size, device=device).to(memory_format=layout)
    y = torch.randint(0, classes, (bs,), device=device)
    def step():
        with torch.autocast(device.type, policy.dtype, enabled=policy.dtype is not None): logits = model(x)
        F.cross_entropy(logits.float(), y).backward()
        opt.step()
        opt.zero_grad()
    return step


def bare(table, arch, size, bs, n, **_):
    "Pictures a second of the bare step."
    step, steps = bare_step(arch, size, bs, table.label.nunique()), n//bs
    def run():
        start = time.perf_counter()
        for _ in range(steps): step()
        if default_device().type == 'cuda': torch.cuda.synchronize()
        return steps*bs/(time.perf_counter() - start)
    return run


def pictures(data, n, size, folder):
    "A table of about `n` training pictures and a few for validation."
    if data: table = as_table(data)
    else: table = as_table(springfield_mini(folder/f'mini{size}', n=round(n*1.5)))
    if not data and size > 100:
        for p in table.path: Image.open(p).resize((480, 360)).save(p, quality=90)
    table = split_table(table[table.split != 'test'].sample(frac=1, random_state=1).reset_index(drop=True), .1)
    train = table[table.split == 'train'].head(n)
    return pd.concat([train, table[(table.split == 'valid') & table.label.isin(train.label)].head(max(16, n//20))], ignore_index=True)


def measure(name, data, folder):
    "All contenders of a case, their rounds in turn."
    case = CASES[name]
    table = pictures(data, case['n'], case['size'], folder)
    runs = {f.__name__: f(table, **case) for f in (bare, ours, timms, stock)}
    for run in runs.values(): run()
    rates = {k: [] for k in runs}
    for _ in range(case['rounds']):
        for k, run in runs.items(): rates[k].append(run())
    mid = {k: statistics.median(v) for k, v in rates.items()}
    print(f"{name}: {case['arch']}, {case['size']}×{case['size']}, batch {case['bs']}, {speed_policy()}")
    for k, v in mid.items(): print(f'  {k:6} {v:8.1f} pictures/s   ({min(rates[k]):.1f} to {max(rates[k]):.1f})')
    ratios = dict(ours_over_bare=mid['ours']/mid['bare'], ours_over_stock=mid['ours']/mid['stock'], ours_over_timms=mid['ours']/mid['timms'], stock_over_bare=mid['stock']/mid['bare'])
    print('  ' + ', '.join(f"{k.replace('_', ' ')} {v:.2f}" for k, v in ratios.items()), flush=True)
    return dict(case=case, rates=rates, **ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', help='a folder of pictures')
    parser.add_argument('--case', action='append', choices=list(CASES), help='both unless told')
    parser.add_argument('--json', help='write the figures there')
    args = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    print(f'{device}; Python {platform.python_version()}, torch {torch.__version__}')
    with tempfile.TemporaryDirectory() as folder: res = {c: measure(c, args.data, Path(folder)) for c in args.case or CASES}
    if args.json: Path(args.json).write_text(json.dumps(dict(device=device, torch=torch.__version__, **res), indent=2))


if __name__ == '__main__': main()
