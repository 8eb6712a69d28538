"What to label next is chosen by doubt and diversity; the page is worked by keyboard in a real browser, and its file is trained on."
import json, os
import numpy as np
import pandas as pd
import pytest
from conftest import simpsons
from simpsons_fastai.column import AnyOf, OneOf
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.judge.ask import ask, ask_page, chosen
from simpsons_fastai.judge.doubt import doubt, far_apart, to_ask
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.drawn import springfield_mini
from simpsons_fastai.pictures.label_studio import read_label_studio
from simpsons_fastai.pictures.table import as_table

NAMES = ('bart', 'homer', 'lisa', 'marge', 'maggie', 'abe', 'patty', 'selma', 'herb', 'ling', 'mona')


@pytest.mark.parametrize('seed', range(5))
def test_greedy_centres_are_the_farthest_each_time(seed):
    rng = np.random.default_rng(seed)
    points, known = rng.normal(size=(60, 5)), rng.normal(size=(4, 5))
    unit = lambda o: o/np.linalg.norm(o, axis=-1, keepdims=True)
    found = far_apart(points, 12, known)
    taken = list(unit(known))
    for i in found:
        nearest = (unit(points)@np.array(taken).T).max(1)
        nearest[found[:found.index(i)]] = np.inf
        assert nearest[i] == pytest.approx(nearest.min(), abs=1e-5)
        taken.append(unit(points[i]))
    assert len(set(found)) == 12


def test_doubt_is_the_lead_of_the_likeliest():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    one = doubt(OneOf('who', tuple('abcd')), probs)
    assert np.allclose(one, [1 - (sorted(o)[-1] - sorted(o)[-2]) for o in probs]) and one.argmin() == np.argmin(one)
    several = doubt(AnyOf('who', tuple('abcd')), probs)
    assert np.allclose(several, [max(1 - 2*abs(p - .5) for p in o) for o in probs])


def test_copies_are_asked_about_once():
    "Twenty doubtful copies, and three others that are doubtful as well."
    features = np.concatenate([np.tile([[1., 0, 0]], (20, 1)), np.eye(3)[1:], [[-1., 0, 0]]])
    found = to_ask(np.concatenate([np.full(20, .9), [.5, .5, .5]]), features, 4, among=6)
    assert sum(i < 20 for i in found) == 1 and set(found) > {20, 21, 22}


@pytest.fixture(scope='module')
def town(tmp_path_factory): return springfield_mini(tmp_path_factory.mktemp('town')/'town', n=80)


@pytest.fixture(scope='module')
def rows(town):
    "Fifty pictures with made-up proposals."
    rng = np.random.default_rng(1)
    files = sorted(map(str, town.rglob('*.jpg')))[:50]
    probs = np.sort(rng.dirichlet(np.ones(len(NAMES)), 50), 1)[:, ::-1]
    return [(f, dict(zip(rng.permutation(NAMES).tolist(), map(float, p)))) for f, p in zip(files, probs)]


@pytest.fixture
def page(browser, rows, town):
    file = ask_page(rows, NAMES, town.parent/'ask.html')
    context = browser.new_context()
    page = context.new_page()
    page.said, page.asked = [], []
    page.on('pageerror', lambda e: page.said.append(str(e)))
    page.on('console', lambda m: page.said.append(m.text) if m.type == 'error' else None)
    page.on('request', lambda r: page.asked.append(r.url))
    page.goto(file.as_uri())
    yield page
    context.close()


def status(page): return page.inner_text('#status')

def saved(page, path):
    with page.expect_download() as got: page.keyboard.press('Enter') # the button has the focus when all is done
    got.value.save_as(path)
    return pd.read_csv(path)


def test_fifty_pictures_by_keyboard_alone(page, rows, town):
    "Numbers, Enter, names by letters, a new class, skipping, going back, and a reload in the middle."
    said, wanted = [list(o) for _, o in rows], {}
    assert status(page) == 'Picture 1 of 50, 0 labelled'
    for i in range(50):
        if i == 25:
            page.reload()
            assert status(page) == f'Picture 26 of 50, {len(wanted)} labelled', 'a reload keeps the work'
        likely = said[i]
        if i % 10 == 9: page.keyboard.press('ArrowRight')
        elif i == 4:
            page.keyboard.type('krusty')
            page.keyboard.press('Enter')
            wanted[i] = 'krusty'
        elif i % 10 == 3:
            page.keyboard.type('mona')
            page.keyboard.press('Enter')
            wanted[i] = 'mona'
        elif i % 2:
            page.keyboard.press('3')
            wanted[i] = likely[2]
        else:
            page.keyboard.press('Enter')
            wanted[i] = likely[0]
        if i == 12: # taken back, and answered otherwise
            page.keyboard.press('Backspace')
            assert status(page).startswith('Picture 13 of 50')
            page.keyboard.press('2')
            wanted[i] = likely[1]
    assert status(page) == f'All 50 seen, {len(wanted)} labelled. Save them.'
    table = saved(page, town.parent/'ask.csv')
    assert list(table.columns) == ['path', 'label'] and len(table) == 45 == len(wanted)
    assert list(table.label) == [wanted[i] for i in sorted(wanted)]
    known = as_table(town.parent/'ask.csv')
    assert [os.path.realpath(o) for o in known.path] == [os.path.realpath(rows[i][0]) for i in sorted(wanted)]
    assert page.said == [] and [o for o in page.asked if not o.startswith(('file:', 'data:', 'blob:'))] == []


def test_a_class_that_was_made_is_offered_from_then_on(page):
    page.keyboard.type('otto')
    assert '(new)' in page.inner_text('#choices')
    page.keyboard.press('Enter')
    page.keyboard.type('ot')
    assert page.inner_text('#choices button').split('\n')[0].replace('1', '').strip().startswith('otto')


def test_everything_undone_is_the_beginning(page):
    for _ in range(3): page.keyboard.press('Enter')
    for _ in range(5): page.keyboard.press('ArrowLeft')
    assert status(page) == 'Picture 1 of 50, 0 labelled'


@pytest.mark.parametrize('width', [390, 1280])
def test_axe_finds_nothing(page, width):
    from axe_playwright_python.sync_playwright import Axe
    page.set_viewport_size(dict(width=width, height=900))
    for _ in range(2):
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        for _ in range(50): page.keyboard.press('Enter')
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')


def test_names_are_text_and_no_markup(browser, rows, town):
    file = ask_page([(rows[0][0], {'<img src=x onerror=alert(1)>': .6, '</script><b>': .4})], ['</script><b>'], town.parent/'odd.html')
    page = browser.new_page()
    said = []
    page.on('dialog', lambda o: (said.append(o.message), o.dismiss()))
    page.on('pageerror', lambda e: said.append(str(e)))
    page.goto(file.as_uri())
    assert '<img src=x onerror=alert(1)>' in page.inner_text('#choices') and said == []
    page.close()


def test_the_command_chooses_and_leaves_out_what_is_known(cli_run, town, tmp_path):
    files = sorted(map(str, town.rglob('*.jpg')))
    pd.DataFrame(dict(path=files[:60], label='x')).to_csv(tmp_path/'known.csv', index=False)
    done = simpsons('ask', cli_run[0], town, '-n', 5, '-o', tmp_path/'tasks.json', '--known', tmp_path/'known.csv')
    assert done.returncode == 0, done.stderr
    tasks = json.loads((tmp_path/'tasks.json').read_text())
    asked = [o['data']['image'] for o in tasks]
    assert len(set(asked)) == 5 and not set(map(os.path.realpath, asked)) & set(map(os.path.realpath, files[:60]))
    predictor = Predictor(cli_run[0])
    for o in tasks:
        (result,) = o['predictions'][0]['result']
        assert result['value']['choices'] == [predictor.predict(o['data']['image']).label]
    done = simpsons('ask', cli_run[0], town, '-n', 5, '-o', tmp_path/'page.html')
    assert done.returncode == 0 and (tmp_path/'page.html').read_text().count('data:image/jpeg') == 5


def test_the_chosen_are_more_doubtful_than_the_rest(cli_run, town):
    predictor, files = Predictor(cli_run[0]), sorted(map(str, town.rglob('*.jpg')))
    lead = lambda o: (lambda p: p[-1] - p[-2])(np.sort(o))
    every = {f: lead(o.probs) for f, o in zip(files, predictor.predict_many(files))}
    found = [p for p, _ in chosen(predictor, files, 4)]
    assert np.mean([every[p] for p in found]) < np.mean(list(every.values()))


def test_label_studios_export_is_trained_on(town, tmp_path):
    files = sorted(town.rglob('*.jpg'))[:12]
    choice = lambda o: [dict(result=[dict(type='choices', value=dict(choices=[o]))])]
    tasks = [dict(data=dict(image=str(f)), annotations=choice(f.parent.name)) for f in files]
    (tmp_path/'export.json').write_text(json.dumps(tasks))
    table = as_table(tmp_path/'export.json')
    assert list(table.label) == [o.parent.name for o in files] and list(map(os.path.realpath, table.path)) == list(map(os.path.realpath, files))


@pytest.mark.parametrize('text, says', [('{}', 'list of tasks'), ('[]', 'list of tasks'), ('[{"data": {}}]', 'no picture in its task 1'), ('[1]', 'no picture'),
                                        ('[{"data": {"image": "s3://bucket/a.jpg"}}]', 'this machine alone')])
def test_what_is_no_export_is_told(tmp_path, text, says):
    (tmp_path/'odd.json').write_text(text)
    with pytest.raises(SimpsonsError, match=says): read_label_studio(tmp_path/'odd.json')


def test_mistakes_are_sentences(cli_run, town, tmp_path, refused):
    assert 'ends with .html' in refused('ask', cli_run[0], town, '-o', tmp_path/'page.txt')
    assert 'there is no column' in refused('ask', cli_run[0], town, '--column', 'hair', '-o', tmp_path/'page.html')
    pd.DataFrame(dict(path=sorted(map(str, town.rglob('*.jpg'))), label='x')).to_csv(tmp_path/'known.csv', index=False)
    with pytest.raises(SimpsonsError, match='nothing left to ask'):
        ask(cli_run[0], [town], out=tmp_path/'page.html', known=tmp_path/'known.csv')
