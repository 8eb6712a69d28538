"""The oldest versions that settings.ini admits: what they are, and whether the whole way works on them.

    python tests/oldest.py pins      one requirement a line, as pip takes them
    python tests/oldest.py smoke     train, bundle, predict, label, serve, with whatever is installed

`make oldest` makes an environment of the first and runs the second in it.
"""
import configparser, json, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = 'predict train serve archive app'.split()


def pin(requirement:str) -> str:
    "A requirement with its lower bound as the version; without one, as it is."
    from packaging.requirements import Requirement
    o = Requirement(requirement)
    lower = [s.version for s in o.specifier if s.operator in ('>=', '==')]
    extras = f"[{','.join(sorted(o.extras))}]" if o.extras else ''
    return f'{o.name}{extras}=={lower[0]}' if lower else requirement


def pins() -> list: # of str
    "What the base and the extras need, each at its oldest."
    settings = configparser.ConfigParser()
    settings.read(ROOT/'settings.ini')
    o = settings['DEFAULT']
    every = o['requirements'].split() + [r for e in EXTRAS for r in o[f'{e}_requirements'].split()]
    return [pin(r) for r in dict.fromkeys(every)]


def simpsons(*args):
    "The command line; what it says where it fails."
    done = subprocess.run([sys.executable, '-m', 'simpsons_fastai.cli', *map(str, args)], capture_output=True, text=True, timeout=600)
    if done.returncode: sys.exit(f'simpsons {args[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}')
    print(f'simpsons {args[0]}: {(done.stdout.strip().splitlines() or ["done"])[-1][:120]}', flush=True)


def served(bundle:Path):
    "Start the service, ask whether it lives, and end it."
    args = [sys.executable, '-m', 'simpsons_fastai.cli', 'serve', str(bundle), '--port', '0']
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as p:
        url = next(word for line in p.stdout for word in line.split() if word.startswith('http://'))
        said = json.load(urllib.request.urlopen(f"{url.rstrip('/.,')}/health", timeout=60))
        p.terminate()
        if p.wait(30): sys.exit(f'simpsons serve ended with {p.returncode}')
    print(f'simpsons serve: {said}', flush=True)


def smoke():
    "The whole way on a small drawn set."
    versions = subprocess.run([sys.executable, '-m', 'pip', 'list', '--format', 'freeze'], capture_output=True, text=True).stdout
    names = 'fastai torch torchvision timm numpy pandas pillow onnx onnxscript onnxruntime gradio fastapi av pyarrow'.split()
    print(*[o for o in versions.split() if o.split('==')[0].lower() in names], sep=', ')
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        simpsons('mini', here/'mini')
        simpsons('train', here/'mini', '--arch', 'resnet18', '--size', 32, '--epochs', 2, '--bs', 32, '--weights', 'none',
                 '--out', here/'run')
        if not (here/'run/bundle/model.onnx').is_file(): sys.exit('the bundle has no model.onnx')
        simpsons('bundle', here/'run')
        simpsons('predict', here/'run', *sorted((here/'mini').rglob('*.jpg'))[:3])
        simpsons('label', here/'run', here/'mini', '-o', here/'labels')
        served(here/'run')
    print(f'all of it in {time.monotonic() - start:.0f} s')


if __name__ == '__main__':
    if sys.argv[1:] == ['pins']: print(*pins(), sep='\n')
    elif sys.argv[1:] == ['smoke']: smoke()
    else: sys.exit(__doc__)
