"""Write the line that leads from each notebook to its neighbours, and the site's sidebar, from the order of files.

    python nbs/navigation.py            writes what has changed
    python nbs/navigation.py --check    says what would change, and ends with 1 if anything would
"""
import json
import os
import re
import sys
from pathlib import Path

NBS = Path(__file__).parent
ROOMS = dict(pictures='Pictures', learn='Learning', train='Training', model='Answering', judge='Judging', serve='Serving',
             commands='The command line', recipes='Tutorials')
FIRST = ['index', '00_text', '00_core', '01_column', '02_target']
LAST = ['gradio_app', 'cli', 'all']
MAIN = {'index', 'column', 'target', 'pictures/open', 'pictures/table', 'learn/loaders', 'learn/learner', 'train/train', 'model/run',
        'model/predictor', 'judge/report'}


def bare(path:Path) -> str:
    "A notebook's name without numbers, as 'pictures/table'."
    return re.sub(r'(^|/)\d+_', r'\1', path.relative_to(NBS).with_suffix('').as_posix())

def in_order() -> list:
    "All notebooks, in the order a reader takes."
    top = {bare(p): p for p in sorted(NBS.glob('*.ipynb'))}
    first = [top.pop(re.sub(r'^\d+_', '', o)) for o in FIRST]
    rooms = [p for o in ROOMS if o != 'recipes' for p in sorted((NBS/o).glob('*.ipynb'))]
    last = sorted(top.values(), key=lambda p: LAST.index(bare(p)) if bare(p) in LAST else -1)
    return [*first, *rooms, *last, *sorted((NBS/'recipes').glob('*.ipynb'))]

def title(path:Path) -> str:
    head = ''.join(json.loads(path.read_text(encoding='utf-8'))['cells'][0]['source'])
    return re.search(r'^# (.+)$', head, re.M)[1].strip()

def link(what:str, path:Path|None, here:Path) -> list:
    "The link to a neighbour, if there is one."
    if path is None: return []
    return [f'{what}: [{title(path)}]({Path(os.path.relpath(path, here.parent)).as_posix()})']

def place(path:Path) -> str:
    if path.name == 'index.ipynb': return 'The main path begins here.'
    return 'On the main path.' if bare(path) in MAIN else 'A tutorial, on the main path.' if 'recipes' in path.parts else 'A side room.'

def line(path:Path, before:Path|None, after:Path|None) -> str:
    return f"*{' · '.join([*link('Before', before, path), *link('After', after, path), place(path)])}*"

def with_line(source:str, line:str) -> str:
    "The first cell, with the line that leads on under its subtitle."
    source = re.sub(r'\n*^\*(Before|After): .*\*$', '', source, flags=re.M)
    head = re.match(r'# .+\n\n> .+(\n> .+)*', source)
    if not head: sys.exit(f'a notebook begins without a title and a subtitle: {source[:60]!r}')
    return f'{head[0]}\n\n{line}{source[head.end():]}'

def notebook(path:Path, line:str) -> str:
    "The text of a notebook, with the line in its first cell."
    nb = json.loads(path.read_text(encoding='utf-8'))
    first = nb['cells'][0]
    first['source'] = with_line(''.join(first['source']), line).splitlines(True)
    return json.dumps(nb, indent=1, ensure_ascii=False) + '\n'

def sidebar(paths:list) -> str:
    "The site's pages, a section a folder."
    rows = ['# written by navigation.py', 'website:', '  sidebar:', '    contents:']
    section = None
    for p in paths:
        room = p.parent.name if p.parent != NBS else None
        if room and room != section: rows += [f'      - section: {ROOMS[room]}', '        contents:']
        section = room
        rows.append(f"{'          ' if room else '      '}- {p.relative_to(NBS).as_posix()}")
    return '\n'.join(rows) + '\n'

def main():
    paths = in_order()
    lines = [line(*o) for o in zip(paths, [None, *paths], [*paths[1:], None])]
    texts = {p: notebook(p, o) for p,o in zip(paths, lines)} | {NBS/'sidebar.yml': sidebar(paths)}
    changed = [p for p,o in texts.items() if not p.exists() or p.read_text(encoding='utf-8') != o]
    if '--check' in sys.argv[1:]:
        for p in changed: print(f'{p.relative_to(NBS)} leads elsewhere: run python nbs/navigation.py')
        sys.exit(bool(changed))
    for p in changed: p.write_text(texts[p], encoding='utf-8')
    print(f'{len(changed)} of {len(texts)} files written')

if __name__ == '__main__': main()
