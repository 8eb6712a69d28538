"What the tests share: real pictures, a small trained run, and the program as a real process."
import atexit, json, os, shutil, signal, subprocess, sys, tempfile
from functools import cache
from pathlib import Path
import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
DATA = Path(os.environ.get('SIMPSONS_TEST_DATA', ROOT.parent/'shared/data'))

_home = tempfile.TemporaryDirectory()
os.environ['XDG_CACHE_HOME'] = _home.name # caches of pictures made by tests go with the tests


# the files that take longest are begun first, so that two workers end together
LONGEST = 'resume recipes clean service ray bundle tags report cli demo archive distributed study quiet'.split()

def pytest_collection_modifyitems(items):
    rank = {f'test_{o}.py': i for i, o in enumerate(LONGEST)}
    items.sort(key=lambda o: rank.get(o.path.name, len(rank)))


@cache
def forking():
    "A process that has imported what trains, and forks itself for a command; see forked.py."
    env = os.environ | dict(COLUMNS='200', TERM='dumb')
    p = subprocess.Popen([sys.executable, ROOT/'tests/forked.py'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert p.stdout.readline() == 'ready\n'
    atexit.register(p.stdin.close)
    return p


def ask_forking(what) -> int:
    "A process that begins a command, or how a process ended."
    p = forking()
    p.stdin.write(json.dumps(what) + '\n')
    p.stdin.flush()
    return int(p.stdout.readline())


class Started:
    "A command line in a process of its own, which goes on while the test looks at it; `said` is what it wrote."
    def __init__(self, *args, cwd=None):
        self.folder = tempfile.TemporaryDirectory()
        files = [Path(self.folder.name)/o for o in ('stdout', 'stderr')]
        env = os.environ | dict(COLUMNS='200', TERM='dumb')
        self.files = files
        self.pid = ask_forking(dict(args=[*map(str, args)], cwd=str(cwd or os.getcwd()), env=env, said=[*map(str, files)]))

    @property
    def said(self): return ''.join(o.read_text() for o in self.files if o.exists())

    @property
    def goes_on(self): return Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'

    def wait(self): return ask_forking(self.pid)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL


def simpsons(*args, cwd=None, fresh=False):
    "Run the command line as a user does, in a process of its own; in a `fresh` one everything is imported anew."
    if not fresh and sys.platform == 'linux':
        p = Started(*args, cwd=cwd)
        return subprocess.CompletedProcess([*map(str, args)], p.wait(), *(o.read_text() for o in p.files))
    command, env = [sys.executable, '-m', 'simpsons_fastai.cli', *map(str, args)], os.environ | dict(COLUMNS='200', TERM='dumb')
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=600)


MNIST = ('bart_simpson charles_montgomery_burns homer_simpson krusty_the_clown lisa_simpson marge_simpson milhouse_van_houten '
         'moe_szyslak ned_flanders principal_skinner').split()

@cache
def ten() -> str:
    "The bundle of a small, quick model of ten residents, which learnt nothing, but says different things of different pictures."
    import torch
    from simpsons_fastai.learn.export import bundle_model
    from simpsons_fastai.learn.models import build_model
    from simpsons_fastai.pictures.preprocess import Preprocess
    from simpsons_fastai.target import OneOf, Target
    target, pre = Target((OneOf('label', tuple(MNIST), threshold=.15),)), Preprocess(28, 'bicubic', (.5,)*3, (.25,)*3)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(11)
        net = build_model('frames_small', 10, 'plain').eval()
        seen = torch.nn.functional.interpolate(torch.randn(64, 3, 4, 4), 28, mode='bicubic')*2
        features, linear = net[1][:-1](net[0](seen)), net[1][-1]
        torch.nn.init.normal_(linear.weight)
        linear.weight.mul_(2/(features@linear.weight.T).std(0)[:, None])
        linear.bias.copy_(-linear.weight@features.mean(0))
    return str(bundle_model(net, Path(_home.name)/'ten', 'frames_small', 'plain', target, pre, tta='flip'))


@pytest.fixture(autouse=True)
def own_environment():
    "What a test leaves in the environment would reach the tests after it."
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys(): del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def refused(monkeypatch, capfd, tmp_path):
    "The one sentence that the program ends with, run in this process: to start one takes longer than to refuse."
    from simpsons_fastai.cli import main
    def ask(*args):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['simpsons', *map(str, args)])
        with pytest.raises(SystemExit) as ended: main()
        said = capfd.readouterr().err.strip()
        assert ended.value.code == 2 and len(said.splitlines()) == 1, said
        return said
    return ask


def real(name):
    if not (DATA/name).is_dir(): pytest.skip(f'{name} is not at {DATA}: set SIMPSONS_TEST_DATA to the folder that holds it')
    return DATA/name


@pytest.fixture(scope='session')
def mnist(): return real('simpsons-mnist')

@pytest.fixture(scope='session')
def family(): return real('simpsons-family')

@pytest.fixture(scope='session')
def once(tmp_path_factory):
    "Made by the first that asks, of all workers: a folder, and what `make(folder)` returned."
    shared = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ: shared = shared.parent
    def get(name, make):
        folder, told = shared/f'once-{name}', shared/f'once-{name}.json'
        with FileLock(f'{folder}.lock'):
            if not told.exists():
                shutil.rmtree(folder, ignore_errors=True) # begun, and broken off
                folder.mkdir()
                told.write_text(json.dumps(make(folder)))
        return folder, json.loads(told.read_text())
    return get

@pytest.fixture(scope='session')
def mini(once):
    "The built-in set, small."
    from simpsons_fastai.pictures.drawn import springfield_mini
    folder, _ = once('data', lambda folder: str(springfield_mini(folder/'mini', n=240)))
    return folder/'mini'

@pytest.fixture(scope='session')
def small_run(once, mini):
    "A run of the command line, made once: (its folder, the finished process); tests that change it copy it."
    def get(name, *args, fresh=False):
        options = ('train', mini, *args, '--weights', 'none')
        folder, done = once(name, lambda folder: vars(simpsons(*options, '--out', folder/name, fresh=fresh)))
        return folder/name, subprocess.CompletedProcess(**done)
    return get

@pytest.fixture(scope='session')
def cli_run(small_run):
    "A run made by the command line as a user starts it: (its folder, the finished process)."
    return small_run('cli', '--arch', 'resnet18', '--size', 64, '--epochs', 2, '--bs', 32, fresh=True)

@pytest.fixture(scope='module')
def browser():
    "A real one, without a window."
    if not CHROMIUM: pytest.skip('no chromium on this machine')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
                                    '--disable-background-networking', '--disable-component-update', '--disable-sync'])
        yield browser
        browser.close()
