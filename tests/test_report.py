"A run's report in a real browser: it opens offline, on a phone, and shows odd names as text."
import os, re, shutil, time
import pytest

ODD = '<b>&"'


@pytest.fixture(scope='module')
def report(cli_run, tmp_path_factory):
    "The report of the run of the command line."
    from simpsons_fastai.judge.report import write_html
    assert cli_run[1].returncode == 0, cli_run[1].stderr
    return write_html(cli_run[0], tmp_path_factory.mktemp('report')/'report.html')


@pytest.fixture(scope='module')
def odd_report(tmp_path_factory):
    "The report of a run with a class whose name looks like HTML."
    from simpsons_fastai.judge.report import write_html
    from simpsons_fastai.pictures.drawn import springfield_mini
    from simpsons_fastai.train.train import train
    folder = tmp_path_factory.mktemp('odd')
    mini = springfield_mini(folder/'mini', n=120)
    first = sorted(o.name for o in (mini/'test').iterdir())[0]
    for split in ('train', 'test'): (mini/split/first).rename(mini/split/ODD)
    return write_html(train(mini, out=folder/'run <i>', arch='resnet18', size=32, epochs=1, bs=32, weights='none', cache='off'))


@pytest.fixture
def opened(browser):
    "Open a file: (page, requests, complaints)."
    pages = []
    def open_(path, width=1100):
        page = browser.new_page(viewport=dict(width=width, height=800))
        pages.append(page)
        asked, said = [], []
        page.on('request', lambda o: asked.append(o.url))
        page.on('console', lambda o: said.append(o.text))
        page.on('pageerror', lambda o: said.append(str(o)))
        page.goto(path.as_uri(), wait_until='networkidle')
        if folder := os.environ.get('SIMPSONS_SCREENSHOTS'): page.screenshot(path=f'{folder}/{time.time():.0f}-{width}.png', full_page=True)
        return page, [o for o in asked if not o.startswith('data:')], said
    yield open_
    for page in pages: page.close()


def test_it_opens_offline_with_all_its_pictures(report, opened):
    page, asked, said = opened(report)
    assert asked == [report.as_uri()] and said == []
    widths = page.eval_on_selector_all('img', 'all => all.map(o => o.naturalWidth)')
    assert len(widths) > 10 and min(widths) > 0
    assert all(page.eval_on_selector_all('img', 'all => all.map(o => o.alt)'))
    titles = page.locator('h2').all_inner_texts()
    assert {'Scores', 'Learning curves', 'Confusion on test', 'Classes', 'Most confused', 'Largest losses', 'Confidence', 'What the network looks at', 'Recipe', 'Data'} == set(titles)


def test_its_numbers_are_those_of_the_run(report, cli_run, opened):
    from simpsons_fastai.model.run import Run
    run, (page, *_) = Run(cli_run[0]), opened(report)
    row = page.locator('tr', has=page.locator('th', has_text=re.compile('^test$'))).first.inner_text().split('\t')
    assert row[:3] == ['test', f"{run.metrics['test']['macro_f1']:.3f}", f"{run.metrics['test']['accuracy']:.3f}"]
    assert page.locator('.confusion tbody tr').count() == len(run.config['vocab'])


def test_tables_have_captions_and_headers(report, opened):
    page, *_ = opened(report)
    n = page.locator('table').count()
    assert n > 5 and page.locator('table > caption').count() == n
    assert page.eval_on_selector_all('th', 'all => all.every(o => o.scope == "col" || o.scope == "row")')


@pytest.mark.parametrize('which', ['report', 'odd_report'])
def test_it_fits_a_phone(which, request, opened):
    page, *_ = opened(request.getfixturevalue(which), width=390)
    page.eval_on_selector_all('details', 'all => all.forEach(o => o.open = true)')
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    assert page.eval_on_selector_all('img', 'all => all.every(o => o.getBoundingClientRect().right <= 390)')


def test_a_name_that_looks_like_html_is_text(odd_report, opened):
    page, asked, said = opened(odd_report)
    assert asked == [odd_report.as_uri()] and said == []
    assert page.locator('b, i').count() == 0
    assert page.inner_text('h1') == 'run <i>'
    assert ODD in [o.inner_text() for o in page.locator('.confusion tbody th').all()]
    assert page.get_by_role('rowheader', name=ODD, exact=True).count() >= 2
    assert min(page.eval_on_selector_all('img', 'all => all.map(o => o.naturalWidth)')) > 0


def test_moved_and_damaged_pictures_are_left_out_with_a_note(cli_run, tmp_path, opened):
    import pandas as pd
    from simpsons_fastai.judge.report import write_html
    shutil.copytree(cli_run[0], tmp_path/'run')
    answers = pd.read_csv(tmp_path/'run/answers.csv')
    (tmp_path/'damaged.jpg').write_bytes(b'no picture')
    answers['path'] = [str(tmp_path/('gone.jpg' if i%3 else 'damaged.jpg')) if i%2 else p for i,p in enumerate(answers.path)]
    answers.to_csv(tmp_path/'run/answers.csv', index=False)
    page, asked, said = opened(write_html(tmp_path/'run'))
    notes = ' '.join(page.locator('.note').all_inner_texts())
    assert 'are left out' in notes and 'could not be asked again' in notes and said == []
    assert min(page.eval_on_selector_all('img', 'all => all.map(o => o.naturalWidth)')) > 0


def test_many_classes_and_a_bundle_that_does_not_fit(cli_run, tmp_path, opened):
    "42 classes with long names, made up; the bundle's sections say why they are empty."
    import numpy as np, pandas as pd
    from simpsons_fastai.core import read_json, write_json
    from simpsons_fastai.judge.evaluate import scores
    from simpsons_fastai.judge.report import write_html
    run = tmp_path/'run'
    shutil.copytree(cli_run[0], run)
    vocab, rng = [f'a_rather_long_class_name_{i:02}' for i in range(42)], np.random.default_rng(0)
    answers = pd.read_csv(run/'answers.csv')
    answers['label'], answers['predicted'] = rng.choice(vocab, (2, len(answers)))
    answers.to_csv(run/'answers.csv', index=False)
    splits = {s: scores(o.label, o.predicted, vocab) for s,o in answers.groupby('split')}
    write_json(run/'report.json', read_json(run/'report.json') | splits['test'] | dict(splits=splits))
    write_json(run/'config.json', read_json(run/'config.json') | dict(vocab=vocab))
    page, asked, said = opened(write_html(run), width=390)
    assert page.locator('.confusion tbody tr').count() == 42 and said == []
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    assert sum('does not know the label' in o for o in page.locator('.note').all_inner_texts()) == 2
