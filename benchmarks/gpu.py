"""What needs a GPU, in one script: speed, answering, recipes, resume, memory, two processes, time to a score.

    python benchmarks/gpu.py [--device cuda] [--small] [--only NAME ...] [--journey FOLDER] [--minutes 6] [--json FILE]

Every check prints its rows as soon as it has them and writes them into --json, so that a broken connection loses
nothing; a check that fails is a row that says so, and the others go on. `--device cpu --small` runs the same code on
small work, to see that the script itself works before a GPU is paid for. What this device cannot do is told as
`not here`, with the reason. The status is 1 where a check failed.
"""
import argparse, re, signal, subprocess, sys, tempfile, time, traceback, warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

warnings.filterwarnings('ignore')
import torch
from simpsons_fastai.core import write_json
from simpsons_fastai.pictures.drawn import springfield_mini


class NotHere(Exception):
    "This device, or this folder of data, cannot answer."


@dataclass
class Row:
    "A line of the table."
    check:str
    what:str
    value:float|str
    unit:str = ''
    ok:bool|None = None # None: nothing was asked

    def __str__(self) -> str:
        value = f'{self.value:,.3f}' if isinstance(self.value, float) else str(self.value)
        return f"{self.check:12} {self.what:52} {value:>14} {self.unit:12} {({True: 'ok', False: 'NOT MET'}).get(self.ok, '')}"


@dataclass
class Setting:
    "Where and how large."
    device:str
    small:bool
    folder:Path
    journey:Path|None

    @property
    def is_cuda(self) -> bool: return self.device.startswith('cuda')

    def mini(self, n:int) -> Path:
        "The drawn set, of about `n` frames."
        place = self.folder/f'mini{n}'
        return place if place.is_dir() else springfield_mini(place, n=n)


def simpsons(*args, **kwargs):
    "The command line, as a user calls it."
    return subprocess.run([sys.executable, '-m', 'simpsons_fastai.cli', *map(str, args)],
                          capture_output=True, text=True, timeout=600, **kwargs)


def told(done) -> str:
    "The last line of a process."
    return (done.stderr.strip() or done.stdout.strip()).splitlines()[-1][:200]


# ---------------------------------------------------------------------------------------------------- training's speed

def captured_rate(arch:str, size:int, bs:int, steps:int) -> float:
    "Pictures a second of the bare step as a CUDA graph: the limit, as nothing waits for the CPU."
    from training import bare_step
    step = bare_step(arch, size, bs, capturable=True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3): step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph): step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps): graph.replay()
    torch.cuda.synchronize()
    return steps*bs/(time.perf_counter() - start)


def training_speed(o:Setting):
    "Ours beside the bare step, timm's pieces and stock fastai."
    import training
    cases = dict(small=dict(arch='resnet18', size=64, bs=256, n=16_384, rounds=2),
                 large=dict(arch='resnext50_32x4d', size=224, bs=64, n=2048, rounds=2))
    if o.small: cases = dict(small=dict(arch='resnet18', size=32, bs=16, n=64, rounds=1))
    for name, case in cases.items():
        training.CASES[name] = case
        got = training.measure(name, None, o.folder)
        for k, rates in got['rates'].items(): yield Row('training', f"{case['arch']} {case['size']} px, {k}", max(rates), 'pictures/s')
        asked = o.is_cuda and not o.small
        over_bare, over_stock = (1.3, 4.) if name == 'small' else (.95, 0.)
        for what, least in (('bare', over_bare), ('stock', over_stock)):
            value = got[f'ours_over_{what}']
            yield Row('training', f'{name}: ours over {what} (asked {least:g})', value, 'times', value >= least if asked else None)
        if o.is_cuda:
            yield Row('training', f'{name}: the step captured, as the limit', captured_rate(case['arch'], case['size'], case['bs'], 50), 'pictures/s')


# ------------------------------------------------------------------------------------------------------------ answering

def answering(o:Setting):
    "`predict_many` by torch on the device, beside the network alone."
    from simpsons_fastai.learn.export import save_bundle
    from simpsons_fastai.learn.learner import simpsons_learner
    from simpsons_fastai.learn.loaders import simpsons_dls
    from simpsons_fastai.model.predictor import Predictor
    arch, size, n, bs = ('resnet18', 32, 64, 16) if o.small else ('resnext50_32x4d', 224, 4096, 64)
    mini = o.mini(120)
    learn = simpsons_learner(simpsons_dls(mini, size, arch=arch, cache='off', check=False, device=o.device), arch, 'none', verbose=False)
    predictor = Predictor(save_bundle(learn, o.folder/'bundle'), 'torch', device=o.device)
    files = sorted(mini.rglob('*.jpg'))
    many = (files*(n//len(files) + 1))[:n]
    for _ in predictor.predict_many(many[:2*bs], bs=bs): pass
    start = time.perf_counter()
    for _ in predictor.predict_many(many, bs=bs): pass
    whole = n/(time.perf_counter() - start)
    alone = network_alone(predictor, size, bs, n)
    yield Row('answering', f'{arch} {size} px: predict_many', whole, 'pictures/s')
    yield Row('answering', f'{arch} {size} px: the network alone', alone, 'pictures/s')
    yield Row('answering', 'share of the network alone (asked 0.8)', whole/alone, 'times', whole >= .8*alone if o.is_cuda and not o.small else None)


def network_alone(predictor, size:int, bs:int, n:int) -> float:
    "Pictures a second of the runtime on pixels that lie in memory."
    import numpy as np
    net = predictor.network
    x = np.random.default_rng(0).integers(0, 256, (bs, size, size, 3), dtype=np.uint8)
    net(x)
    start = time.perf_counter()
    for _ in range(n//bs): net(x)
    return n/(time.perf_counter() - start)


# -------------------------------------------------------------------------------------------------- recipes, end to end

def recipes(o:Setting):
    "Every recipe, quickly, from the shell."
    from simpsons_fastai.learn.recipes import RECIPES
    names = ['frames'] if o.small else [k for k in RECIPES if k != 'cars'] + ['cars']
    for name in names:
        start = time.perf_counter()
        done = simpsons('train', o.mini(240), '--recipe', name, '--quick', '--weights', 'none', '--device', o.device, '--out', o.folder/f'run-{name}')
        yield Row('recipe', f'{name} --quick', time.perf_counter() - start if not done.returncode else told(done), 's', not done.returncode)


# ------------------------------------------------------------------------------------------------- killed and gone on with

def losses(run:Path) -> list: # of floats
    "The training loss of every epoch."
    import csv
    with open(run/'history.csv') as f: return [float(o['train_loss']) for o in csv.DictReader(f)]


def kill_after_an_epoch(cmd:list, out:Path):
    "Start a training and end it with SIGKILL inside its second epoch."
    with subprocess.Popen(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        end = time.monotonic() + 300
        while time.monotonic() < end and p.poll() is None and not (out/'history.csv').is_file(): time.sleep(.05)
        p.send_signal(signal.SIGKILL)


def resuming(o:Setting):
    "kill -9 in the second epoch, then --resume: how far from the training that nothing happened to?"
    args = ['train', o.mini(240), '--arch', 'resnet18', '--size', 32, '--epochs', 3, '--bs', 16, '--weights', 'none',
            '--device', o.device, '--seed', 1]
    whole = simpsons(*args, '--out', o.folder/'whole')
    if whole.returncode: raise RuntimeError(told(whole))
    out = o.folder/'killed'
    kill_after_an_epoch([sys.executable, '-m', 'simpsons_fastai.cli', *map(str, args), '--out', str(out)], out)
    done = simpsons('train', '--resume', out)
    if done.returncode: raise RuntimeError(told(done))
    far = max(abs(a - b) for a, b in zip(losses(o.folder/'whole'), losses(out), strict=True))
    yield Row('resume', 'largest difference of a training loss after kill -9', far, '', far < .05 if o.is_cuda else far == 0)


# ----------------------------------------------------------------------------------------------------------- memory for real

SCARCE = '''import sys, torch
torch.cuda.set_per_process_memory_fraction(float(sys.argv[1]))
sys.argv = ['simpsons', *sys.argv[2:]]
from simpsons_fastai.cli import main
main()'''


def scarce_memory(o:Setting):
    "A training in two hundredths of the GPU's memory: its batch is trained in parts."
    if not o.is_cuda: raise NotHere('memory is halved for real on a GPU alone')
    args = ['train', o.mini(240), '--arch', 'resnet50', '--size', 224, '--epochs', 1, '--bs', 128, '--weights', 'none',
            '--device', o.device, '--out', o.folder/'scarce']
    done = subprocess.run([sys.executable, '-c', SCARCE, '.02', *map(str, args)], capture_output=True, text=True, timeout=300)
    parts = re.findall(r'.*memory.*', done.stdout)
    yield Row('memory', parts[0].strip()[:52] if parts else 'no line about memory', 'trained' if not done.returncode else told(done), '', bool(parts) and not done.returncode)


def two_processes(o:Setting):
    "torchrun with two processes on this one device."
    args = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'simpsons_fastai.cli', 'train', str(o.mini(240)),
            '--arch', 'resnet18', '--size', '32', '--epochs', '1', '--bs', '16', '--weights', 'none', '--device', o.device, '--out', str(o.folder/'two')]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=300)
    if done.returncode and o.is_cuda: raise NotHere(f'one GPU does not take two processes: {told(done)}')
    yield Row('processes', 'two on one device', time.perf_counter() - start if not done.returncode else told(done), 's', not done.returncode)


# ------------------------------------------------------------------------------------------------------- time to a score

def time_to_accuracy(o:Setting):
    "Seconds of training until 0.90 of the validation rows of `journey` are named."
    if o.small or not o.journey: raise NotHere('needs --journey FOLDER, and no --small')
    from simpsons_fastai.model.run import Run
    out = o.folder/'journey'
    done = simpsons('train', o.journey/'pictures.csv', '--arch', 'resnext50_32x4d', '--size', 128, '--bs', 128, '--epochs', 10,
                    '--weights', 'none', '--device', o.device, '--out', out)
    if done.returncode: raise RuntimeError(told(done))
    history = Run(out).history
    spent = history.seconds.cumsum()[history.accuracy >= .9]
    yield Row('journey', 'ResNeXt-50, 128 px: time to 0.90 on validation', float(spent.iloc[0]) if len(spent) else 'not reached', 's', bool(len(spent)))
    yield Row('journey', 'accuracy on the held-out test rows', float(Run(out).report['accuracy']))


CHECKS = dict(training=training_speed, answering=answering, resume=resuming, recipes=recipes, memory=scarce_memory,
              processes=two_processes, journey=time_to_accuracy)


@contextmanager
def kept(file:Path|None, facts:dict):
    "A list of rows that lies in a file after every one."
    rows = []
    def add(row:Row):
        print(row, flush=True)
        rows.append(asdict(row))
        if file: write_json(file, facts | dict(rows=rows))
    yield rows, add


def machine(device:str) -> dict:
    cpu = f'{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads'
    return dict(device=torch.cuda.get_device_name(device) if device.startswith('cuda') else f'CPU, {cpu}', torch=torch.__version__)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--device', default='cuda')
    p.add_argument('--small', action='store_true', help='small work, to try the script itself')
    p.add_argument('--only', nargs='+', choices=CHECKS, default=list(CHECKS))
    p.add_argument('--journey', type=Path, help='the folder of journey, with pictures.csv')
    p.add_argument('--minutes', type=float, default=6., help='begin no check after so many')
    p.add_argument('--json', type=Path)
    a = p.parse_args()
    if a.device.startswith('cuda') and not torch.cuda.is_available():
        sys.exit('there is no GPU here: add --device cpu --small to try the script itself')
    facts = machine(a.device)
    print(*facts.values(), sep=', ')
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, kept(a.json, facts) as (rows, add):
        o = Setting(a.device, a.small, Path(folder), a.journey)
        for name in a.only:
            if time.monotonic() - start > 60*a.minutes:
                add(Row(name, 'not begun: the time was up', 'not measured'))
                continue
            try:
                for row in CHECKS[name](o): add(row)
            except NotHere as e: add(Row(name, str(e), 'not here'))
            except Exception as e:
                traceback.print_exc()
                add(Row(name, f'{type(e).__name__}: {e}'[:52], 'failed', '', False))
    print(f'{time.monotonic() - start:.0f} s')
    sys.exit(any(o['ok'] is False for o in rows))


if __name__ == '__main__': main()
