"Promises about the project itself."
import ast, re, statistics, subprocess, sys
from configparser import ConfigParser
import pytest
import simpsons_fastai
from conftest import ROOT

MODULES = {re.sub(r'^\d+[a-z]?_', '', p.stem): p for p in sorted((ROOT/'nbs').glob('[0-9]*.ipynb'))}


def test_version_is_that_of_settings_ini():
    ini = ConfigParser(); ini.read(ROOT/'settings.ini')
    assert simpsons_fastai.__version__ == ini['DEFAULT']['version']


@pytest.mark.parametrize('module', ['predictor', 'service', 'client', 'gradio_app', 'bundle', 'cli'])
def test_no_fastai_and_no_torch_at_load_time(module):
    code = f"import sys, simpsons_fastai.{module}; print([o for o in ('torch', 'fastai', 'timm') if o in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'


def test_a_module_imports_only_modules_before_it():
    order = list(MODULES)
    for name in order:
        tree = ast.parse((ROOT/f'simpsons_fastai/{name}.py').read_text())
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.level: assert order.index(node.module) < order.index(name), (name, node.module)


def test_functions_fit_on_a_screen():
    lengths = [n.end_lineno - n.lineno + 1 for m in MODULES for n in ast.walk(ast.parse((ROOT/f'simpsons_fastai/{m}.py').read_text()))
               if isinstance(n, ast.FunctionDef)]
    assert statistics.median(lengths) <= 8 and max(lengths) <= 40


def test_no_path_of_a_machine_in_what_is_committed():
    files = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True).stdout.split('\0')
    for name in filter(None, files):
        if (ROOT/name).is_file() and (ROOT/name).suffix in {'.py', '.ipynb', '.md', '.ini', '.toml', '.yaml', ''}:
            found = re.search(r'/(?:root|home)/\w|site-packages/|/work/', (ROOT/name).read_text(errors='ignore'))
            assert not found or name == 'tests/test_project.py', (name, found[0])
