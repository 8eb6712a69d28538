"A run's report in a real browser: it opens offline, on a phone, and shows odd names as text."
import os, re, shutil, time
import pytest

ODD = '<b>&"'


@pytest.fixture(scope='module')
def report(cli_run, tmp_path_factory):
    "The report of the run of the command line."
    from simpsons_fastai.judge.report import write_html
    from simpsons_fastai.learn.explain import heat_maps
    assert cli_run[1].returncode == 0, cli_run[1].stderr
    return write_html(cli_run[0], tmp_path_factory.mktemp('report')/'report.html', heat_maps)


@pytest.fixture(scope='module')
def odd_report(tmp_path_factory):
    "The report of a run with a class whose name looks like HTML."
    from simpsons_fastai.judge.report import write_html
    from simpsons_fastai.learn.explain import heat_maps
    from simpsons_fastai.pictures.drawn import springfield_mini
    from simpsons_fastai.train.train import train
    folder = tmp_path_factory.mktemp('odd')
    mini = springfield_mini(folder/'mini', n=120)
    first = sorted(o.name for o in (mini/'test').iterdir())[0]
    for split in ('train', 'test'): (mini/split/first).rename(mini/split/ODD)
    return write_html(train(mini, out=folder/'run <i>', arch='test_resnet', size=32, epochs=1, bs=32, weights='none', cache='off'), explain=heat_maps)


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
    assert page.locator('.confusion tbody tr').count() == len(run.target.vocab)


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
    from simpsons_fastai.learn.explain import heat_maps
    from simpsons_fastai.target import one_label
    run = tmp_path/'run'
    shutil.copytree(cli_run[0], run)
    vocab, rng = [f'a_rather_long_class_name_{i:02}' for i in range(42)], np.random.default_rng(0)
    answers = pd.read_csv(run/'answers.csv')
    answers['label'], answers['predicted'] = rng.choice(vocab, (2, len(answers)))
    answers.to_csv(run/'answers.csv', index=False)
    splits = {s: scores(o.label, o.predicted, vocab) for s,o in answers.groupby('split')}
    write_json(run/'report.json', read_json(run/'report.json') | splits['test'] | dict(splits=splits))
    write_json(run/'config.json', read_json(run/'config.json') | dict(columns=one_label(vocab).config()))
    page, asked, said = opened(write_html(run, explain=heat_maps), width=390)
    assert page.locator('.confusion tbody tr').count() == 42 and said == []
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    assert sum('does not know the label' in o for o in page.locator('.note').all_inner_texts()) == 2


def test_what_a_run_keeps_is_not_asked_again(cli_run, monkeypatch, tmp_path):
    from simpsons_fastai.judge.report import write_html
    from simpsons_fastai.model.predictor import Predictor
    def asked(*args, **kwargs): raise AssertionError('a picture was asked again')
    monkeypatch.setattr(Predictor, 'logits', asked)
    assert 'Reliability diagram on test' in write_html(cli_run[0], tmp_path/'report.html').read_text()


def looks_like(table):
    "A run of two columns, made up: one of kind one, one of kind any."
    import numpy as np
    from simpsons_fastai.target import AnyOf, OneOf, Target
    target = Target((OneOf('hair', ('blue', 'grey')), AnyOf('who', ('bart', 'lisa'))))
    rng = np.random.default_rng(0)
    rows = table.assign(hair=rng.choice(['blue', 'grey'], len(table)), who=rng.choice(['bart', 'bart|lisa', 'lisa'], len(table)))
    said = {'hair predicted': rng.choice(['blue', 'grey'], len(table)), 'who predicted': rng.choice(['bart', 'lisa', ''], len(table))}
    return target, rows.assign(**said, **{'hair confidence': .8, 'who confidence': .6})


def test_columns_of_both_kinds_have_their_mistakes(mini):
    from fastcore.xml import Div, to_xml
    from simpsons_fastai.judge.mistakes import Thumbnails, confused, confusions
    from simpsons_fastai.pictures.table import scan
    target, answers = looks_like(scan(mini)[:40])
    hair, who = (to_xml(o, indent=False) for o in confusions(target, answers))
    assert 'class="confusion"' in hair and 'hair: percent of each true value' in hair
    assert 'named wrongly' in who and 'who: pictures of each value' in who
    html = to_xml(Div(*confused(target, answers, Thumbnails())), indent=False)
    assert 'grey taken for blue' in html and 'lisa taken for bart' in html


def test_a_confusion_matrix_is_normalised_by_rows():
    import pandas as pd
    from fastcore.xml import to_xml
    from simpsons_fastai.judge.mistakes import confusion
    from simpsons_fastai.target import OneOf
    column, answers = OneOf('label', ('a', 'b', '<c>')), pd.DataFrame(dict(truth=list('aaab'), predicted=list('aabb')))
    page = to_xml(confusion(column, answers), indent=False)
    assert re.findall(r'title="([^"]*)">(\d+)<', page) == [('a taken for a: 2 of 3', '67'), ('a taken for b: 1 of 3', '33'), ('b taken for b: 1 of 1', '100')]
    assert '<c>' not in page


@pytest.fixture(scope='module')
def tag_run(mini, tmp_path_factory):
    "A run of two columns."
    from simpsons_fastai.pictures.table import scan
    from simpsons_fastai.train.train import train
    table = scan(mini)[::2].reset_index(drop=True)
    table = table.assign(twin=['yes' if 'twin' in o else 'no' for o in table.label], long=[str(len(o) > 8) for o in table.label]).drop(columns='label')
    return train(table, out=tmp_path_factory.mktemp('tags')/'run', recipe='tags', arch='resnet18', size=32, epochs=1, bs=32, weights='none', cache='off')


def test_a_tag_model_is_explained(tag_run):
    from simpsons_fastai.judge.report import write_html
    from simpsons_fastai.learn.explain import heat_maps
    html = write_html(tag_run, explain=heat_maps).read_text()
    assert html.count('class="confusion"') == 2 and 'all columns' in html
    assert 'What the network looks at' in html and html.count('class="cam"') >= 2
    assert re.search(r'What speaks for \w+ in a picture of \w+', html) and re.search(r'<figcaption>(twin|long): ', html)
    assert 'Left out' not in html


def test_a_map_is_of_one_output(tag_run):
    import numpy as np
    from simpsons_fastai.learn.explain import cam_network, grad_cam
    from simpsons_fastai.model.bundle import load_bundle
    bundle = load_bundle(tag_run.bundle)
    network, x = cam_network(bundle), bundle.preprocess(tag_run.table.path[0])
    maps = [grad_cam(network, x, i) for i in range(len(bundle.target.vocab))]
    assert all(o.shape == (32, 32) and o.dtype == np.float32 and o.min() >= 0 and o.max() <= 1 for o in maps)
    assert any((maps[0] != o).any() for o in maps[1:]) and all(p.grad is None for p in network.parameters())


def test_a_map_shows_what_is_bright_in_its_channel():
    "A network made by hand: its body passes the picture on, smaller, and its head averages."
    import numpy as np, torch
    from simpsons_fastai.learn.explain import grad_cam
    head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2, bias=False))
    head[2].weight.data = torch.tensor([[1., 0, 0], [-1., 0, 0]])
    spot = np.zeros((3, 8, 8), np.float32)
    spot[0, :2, 6:] = 1
    spot[1] = 1
    cam = grad_cam(torch.nn.Sequential(torch.nn.AvgPool2d(2), head), spot, 0)
    row, column = np.unravel_index(cam.argmax(), cam.shape)
    assert row < 2 <= 6 <= column and cam[4:].max() < 1e-6


def test_what_is_no_finished_run_is_refused(cli_run, mini, tmp_path):
    from simpsons_fastai.core import SimpsonsError
    from simpsons_fastai.judge.report import write_html
    def refused(said, *args):
        with pytest.raises(SimpsonsError, match=said): write_html(*args)
    refused('has no report.json', mini)
    refused('is a folder', cli_run[0], tmp_path)
    shutil.copytree(cli_run[0], tmp_path/'run')
    (tmp_path/'run/answers.csv').unlink()
    refused('has no answers.csv', tmp_path/'run')
    assert not (tmp_path/'run/report.html').exists()
