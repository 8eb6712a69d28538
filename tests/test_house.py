"The house: rooms that import only what stands above them, modules that fit in one sitting, notebooks that read like articles."
import ast
import json
import re
import statistics
import subprocess
import sys
import pytest
import yaml
from conftest import ROOT

PACKAGE = ROOT/'simpsons_fastai'
NBS = ROOT/'nbs'
ROOMS = 'text core column target pictures model judge learn train serve'.split()
TOP = 'cli commands gradio_app all'.split() # beside each other, above nobody
MODULES = [p for p in sorted(PACKAGE.rglob('*.py')) if p.name not in ('_modidx.py', '__init__.py')]
NOTEBOOKS = [p for p in sorted(NBS.rglob('*.ipynb')) if '.ipynb_checkpoints' not in p.parts]
TREES = {p: ast.parse(p.read_text()) for p in MODULES}


def name_of(path): return '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)

def rank(module):
    "How far down the list a module's room stands; what is at the top may import everything."
    room = module.split('.')[0]
    return len(ROOMS) if room in TOP else ROOMS.index(room)

def imports(path):
    "The modules of the package that a module imports, inside functions, too."
    here = ['simpsons_fastai', *name_of(path).split('.')[:-1]]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import): found = [o.name for o in node.names]
        elif not isinstance(node, ast.ImportFrom): continue
        elif not node.level: found = [f'{node.module}.{o.name}' for o in node.names] + [node.module]
        else:
            base = '.'.join([*here[:len(here) - node.level + 1], *([node.module] if node.module else [])])
            found = [f'{base}.{o.name}' for o in node.names] + [base]
        known = {name_of(o) for o in MODULES}
        yield from {o.removeprefix('simpsons_fastai.') for o in found} & known


def test_a_room_imports_only_what_stands_above_it():
    wrong = [f'{name_of(p)} imports {o}' for p in MODULES for o in set(imports(p)) if rank(o) > rank(name_of(p))]
    assert not wrong, '\n'.join(wrong)


def test_inside_a_room_nothing_imports_itself_round_a_corner():
    graph = {name_of(p): set(imports(p)) - {name_of(p)} for p in MODULES}
    seen = {}
    def visit(module, way):
        assert module not in way, ' -> '.join([*way[way.index(module):], module])
        if module in seen: return
        for o in graph[module]: visit(o, [*way, module])
        seen[module] = True
    for module in graph: visit(module, [])


@pytest.mark.parametrize('room', ['text', 'core', 'column', 'target', 'pictures', 'model', 'judge'])
def test_upstairs_there_is_neither_torch_nor_fastai(room):
    for p in MODULES:
        if name_of(p).split('.')[0] != room: continue
        for node in ast.walk(TREES[p]):
            names = [o.name for o in node.names] if isinstance(node, ast.Import) else [node.module or ''] if isinstance(node, ast.ImportFrom) and not node.level else []
            heavy = [o for o in names if o.split('.')[0] in ('torch', 'torchvision', 'fastai', 'timm')]
            assert not heavy, f'{name_of(p)} line {node.lineno} imports {heavy[0]}'


def functions():
    for p, tree in TREES.items():
        lines = p.read_text().splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                text = lines[node.lineno - 1:node.end_lineno]
                yield f'{name_of(p)}.{node.name}', len(text), sum(map(len, text))

def test_modules_fit_in_one_sitting():
    sizes = {name_of(p): len(p.read_text().splitlines()) for p in MODULES}
    assert max(sizes.values()) <= 300, max(sizes, key=sizes.get)
    assert statistics.median(sizes.values()) <= 120


def test_functions_need_no_scroll():
    rows = list(functions())
    long = [f'{name}: {n} lines, {chars} characters' for name, n, chars in rows if n > 30 or chars > 1300]
    assert not long, '\n'.join(long)
    assert statistics.median(n for _, n, _ in rows) <= 6


def test_lines_are_for_reading():
    widths = [(len(line), f'{name_of(p)} line {i + 1}') for p in MODULES for i, line in enumerate(p.read_text().splitlines()) if line.strip()]
    over = [where for n, where in widths if n > 160]
    assert not over, '\n'.join(over)
    assert sum(n > 120 for n, _ in widths)/len(widths) <= .015


def test_few_assignments_are_packed():
    nodes = [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    packed = [o for o in nodes if isinstance(o, ast.Assign) and isinstance(o.targets[0], ast.Tuple) and isinstance(o.value, ast.Tuple)]
    assert 1000*len(packed)/len(nodes) <= 15


ASKS = re.compile(r"""\bis_single\b|\bis_plain\b|\.kind\s*(==|!=)\s*['"](one|any)|isinstance\([^)]*\b(OneOf|AnyOf)\b|\.tags\b"""
                  r"""|\blen\([^()]*(target|target_in\(dls\))\)\s*(==|!=|>|<)|\bkind\s*(==|!=)\s*['"](label|tags|one|any)""")
ITS_TORCH_HALF = ['learn.columns', 'learn.losses', 'learn.batches', 'learn.blocks']

def test_hardly_anybody_asks_what_kind_of_model_it_is():
    asking = [f'{name_of(p)}: {line.strip()}' for p in MODULES if name_of(p) not in ['column', 'target', *ITS_TORCH_HALF]
              for line in p.read_text().splitlines() if ASKS.search(line.split('#')[0]) and 'import' not in line]
    assert len(asking) <= 5, '\n'.join(asking)


def cells(path): return json.loads(path.read_text())['cells']

def text(cell): return ''.join(cell['source'])

def test_exported_cells_are_small():
    sizes = [(len(text(c).splitlines()), f'{p.relative_to(NBS)}') for p in NOTEBOOKS for c in cells(p)
             if c['cell_type'] == 'code' and text(c).lstrip().startswith(('#| export', '#|export'))]
    assert max(sizes)[0] <= 45, max(sizes)
    assert statistics.median(n for n, _ in sizes) <= 12


def has_picture_or_table(cell):
    if cell['cell_type'] == 'markdown': return '![' in text(cell) or re.search(r'^\|.*\|\n\|[ :|-]+\|', text(cell), re.M) is not None
    shown = [kind for o in cell.get('outputs', []) for kind in o.get('data', {})]
    return any(o.startswith('image/') or o == 'text/html' for o in shown)

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: str(p.relative_to(NBS)))
def test_a_notebook_shows_something_early_and_names_its_neighbours(path):
    first = cells(path)[:6]
    assert any(map(has_picture_or_table, first)), 'no picture or table in the first six cells'
    assert re.match(r'# .+\n\n> .+', text(first[0])), 'a notebook begins with a title and a subtitle'
    links = re.findall(r'(?:Before|After): \[[^]]+\]\(([^)]+)\)', text(first[0]))
    assert links, 'the first cell names no neighbour'
    for o in links: assert (path.parent/o).is_file(), f'{o} is not there'
    if path.name != 'index.ipynb': assert 'main path' in text(first[0]) or 'side room' in text(first[0])


def test_navigation_is_up_to_date():
    done = subprocess.run([sys.executable, NBS/'navigation.py', '--check'], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_that_the_site_names_exists():
    site = yaml.safe_load((NBS/'_quarto.yml').read_text())
    sidebar = yaml.safe_load((NBS/'sidebar.yml').read_text())
    def pages(o):
        if isinstance(o, str): yield from [o] if o.endswith(('.ipynb', '.md', '.qmd')) else []
        elif isinstance(o, dict): yield from (p for v in o.values() for p in pages(v))
        elif isinstance(o, list): yield from (p for v in o for p in pages(v))
    named = [*pages(site), *pages(sidebar)]
    assert len(named) > 40
    missing = [o for o in named if not (NBS/o).is_file()]
    assert not missing, missing
    assert {p.relative_to(NBS).as_posix() for p in NOTEBOOKS} <= set(named), 'a notebook is on no page of the site'


def test_all_replaces_nothing_of_fastai():
    code = '''import fastai.vision.all as theirs, simpsons_fastai.all as ours
both = [o for o in dir(theirs) if not o.startswith('_') and hasattr(ours, o)]
print([o for o in both if getattr(theirs, o) is not getattr(ours, o)])
new = [o for o in ours.__all__ if not hasattr(theirs, o)]
print(len(new))'''
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=True)
    replaced, new = done.stdout.splitlines()[-2:]
    assert replaced == '[]' and 20 <= int(new) <= 40, done.stdout


def test_what_is_typed_often_comes_from_the_package_itself():
    code = '''import sys, simpsons_fastai
from simpsons_fastai import Predictor, ask
print([o for o in ('torch', 'fastai', 'timm', 'pandas') if o in sys.modules])'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: str(p.relative_to(NBS)))
def test_outputs_name_no_path_of_a_machine(path):
    said = json.dumps([o for c in cells(path) for o in c.get('outputs', [])])
    found = re.search(r'.{0,40}(site-packages|/root/|/home/\w|/Users/\w).{0,40}', said)
    assert not found, found[0]
