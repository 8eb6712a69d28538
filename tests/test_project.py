"Promises about the project itself."
import re, subprocess, sys
from configparser import ConfigParser
import pytest
import simpsons_fastai
from conftest import ROOT

def test_version_is_that_of_settings_ini():
    ini = ConfigParser(); ini.read(ROOT/'settings.ini')
    assert simpsons_fastai.__version__ == ini['DEFAULT']['version']


@pytest.mark.parametrize('module', ['model.run', 'model.bundle', 'model.predictor', 'judge.evaluate', 'judge.compare', 'serve.service', 'serve.app', 'serve.client',
                                    'serve.timeline', 'gradio_app', 'cli'])
def test_no_fastai_and_no_torch_at_load_time(module):
    code = f"import sys, simpsons_fastai.{module}; print([o for o in ('torch', 'fastai', 'timm') if o in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'


def test_no_path_of_a_machine_in_what_is_committed():
    files = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True).stdout.split('\0')
    for name in filter(None, files):
        if (ROOT/name).is_file() and (ROOT/name).suffix in {'.py', '.ipynb', '.md', '.ini', '.toml', '.yaml', ''}:
            found = re.search(r'/(?:root|home)/\w|site-packages/|/work/', (ROOT/name).read_text(errors='ignore'))
            assert not found or name == 'tests/test_project.py', (name, found[0])


def test_the_oldest_versions_are_stated():
    from oldest import pin, pins
    assert pin('fastai>=2.8.1,<3') == 'fastai==2.8.1' and pin('uvicorn[standard]<0.55') == 'uvicorn[standard]<0.55'
    assert {o.split('==')[0] for o in pins() if '==' in o} >= {'torch', 'fastai', 'timm', 'pillow', 'onnxruntime', 'av', 'pyarrow', 'gradio'}
