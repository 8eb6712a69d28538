"What the tests share: real pictures, a small trained run, and the program as a real process."
import os, shutil, subprocess, sys, tempfile
from pathlib import Path
import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
DATA = Path(os.environ.get('SIMPSONS_TEST_DATA', ROOT.parent/'shared/data'))

_home = tempfile.TemporaryDirectory()
os.environ['XDG_CACHE_HOME'] = _home.name # caches of pictures made by tests go with the tests


def simpsons(*args, cwd=None):
    "Run the command line as a user does."
    env = os.environ | dict(COLUMNS='200', TERM='dumb')
    return subprocess.run([sys.executable, '-m', 'simpsons_fastai.cli', *map(str, args)], capture_output=True, text=True, cwd=cwd, env=env, timeout=600)


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
def mini(tmp_path_factory):
    "The built-in set, small."
    from simpsons_fastai.pictures.drawn import springfield_mini
    return springfield_mini(tmp_path_factory.mktemp('data')/'mini', n=240)

@pytest.fixture(scope='session')
def cli_run(mini, tmp_path_factory):
    "A run made by the command line: (its folder, the finished process)."
    out = tmp_path_factory.mktemp('runs')/'cli'
    return out, simpsons('train', mini, '--arch', 'resnet18', '--size', 64, '--epochs', 2, '--bs', 32, '--weights', 'none', '--out', out)

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
