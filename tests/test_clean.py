"Planted faults are found, nothing is deleted, and the page of findings works in a real browser."
import csv, shutil
import numpy as np
import pytest
pytest.importorskip('cleanlab')
from PIL import Image


def contents(folder): return {p: p.read_bytes() for p in sorted(folder.rglob('*.jpg'))}


@pytest.fixture(scope='module')
def faulty(tmp_path_factory):
    "A mini set with faults: (its folder, the faults by name)."
    from simpsons_fastai.pictures.drawn import springfield_mini
    mini = springfield_mini(tmp_path_factory.mktemp('clean')/'mini', n=500)
    train, test = (sorted((mini/o).rglob('*.jpg')) for o in ('train', 'test'))
    rng = np.random.default_rng(0)
    some = [train[i] for i in rng.choice(len(train), 14, replace=False)]
    people = sorted(o.name for o in (mini/'train').iterdir())
    def put(path, name, size=None, quality=70):
        dest = mini/'train'/path.parent.name/name
        shutil.copy(path, dest) if size is None else Image.open(path).resize(size).save(dest, quality=quality)
        return dest
    broken, first, second, conflict, *moved = some
    other = next(o for o in people if o != conflict.parent.name)
    faults = dict(broken=broken, exact=(first, put(first, 'again.jpg')), near=(second, put(second, 'smaller.jpg', (120, 90))),
                  conflict=(conflict, shutil.copy(conflict, mini/'train'/other/'conflict.jpg')),
                  leak=(test[3], put(test[3], 'leak.jpg')), near_leak=(test[9], put(test[9], 'near_leak.jpg', (150, 112))))
    faults['swapped'] = {shutil.move(o, mini/'train'/rng.choice([p for p in people if p != o.parent.name])): o.parent.name for o in moved}
    broken.write_bytes(broken.read_bytes()[:1200])
    return mini, faults


@pytest.fixture(scope='module')
def cleaned(faulty):
    "The CSV file that `clean` wrote, its rows by absolute path, and the files as they were before."
    from simpsons_fastai.train.clean import clean
    mini, _ = faulty
    before = contents(mini)
    out = clean(mini, mini.parent/'cleaned.csv', folds=3, epochs=14, bs=32, size=48, cache='off', verbose=False)
    with open(out, newline='', encoding='utf-8') as f: rows = {out.parent/o['path']: o for o in csv.DictReader(f)}
    return out, rows, before


def test_nothing_is_deleted_or_changed(faulty, cleaned):
    assert contents(faulty[0]) == cleaned[2] and set(cleaned[1]) == set(cleaned[2])


def test_a_broken_file_is_found(faulty, cleaned):
    row = cleaned[1][faulty[1]['broken']]
    assert row['issue'] == 'unreadable: truncated' and row['keep'] == 'False'


@pytest.mark.parametrize('kind', ['exact', 'near'])
def test_one_of_two_copies_is_kept(faulty, cleaned, kind):
    out, rows, _ = cleaned
    original, copy = (rows[o] for o in faulty[1][kind])
    kept, dropped = (original, copy) if original['keep'] == 'True' else (copy, original)
    assert (kept['keep'], dropped['keep']) == ('True', 'False')
    assert dropped['issue'] == f'{kind} duplicate of {kept["path"]}' and dropped['duplicate_of'] == kept['path']
    assert kind == 'exact' or kept is original # the larger


def test_a_copy_with_another_label_says_so(faulty, cleaned):
    a, b = (cleaned[1][o] for o in faulty[1]['conflict'])
    kept, dropped = (a, b) if a['keep'] == 'True' else (b, a)
    assert dropped['issue'] == f'exact duplicate of {kept["path"]}, which is labelled {kept["label"]}' and dropped['keep'] == 'False'


@pytest.mark.parametrize('kind, said', [('leak', 'exact'), ('near_leak', 'near')])
def test_of_a_leak_the_training_copy_goes(faulty, cleaned, kind, said):
    test, train = (cleaned[1][o] for o in faulty[1][kind])
    assert test['keep'] == 'True' and test['issue'].startswith('leak: also in train')
    assert train['keep'] == 'False' and train['issue'] == f'{said} duplicate of {test["path"]}; leak: also in test'


def test_no_innocent_picture_is_left_out(faulty, cleaned):
    faults = faulty[1]
    left_out = {p for p, o in cleaned[1].items() if o['keep'] == 'False'}
    pairs = [set(map(lambda p: cleaned[0].parent/p, faults[o])) for o in ('exact', 'near', 'conflict')]
    assert all(len(left_out & o) == 1 for o in pairs)
    assert left_out - set.union(*pairs) == {faults['broken'], faults['leak'][1], faults['near_leak'][1]}


def test_moved_pictures_are_near_the_top(faulty, cleaned):
    ranking = sorted((p for p, o in cleaned[1].items() if o['quality']), key=lambda p: float(cleaned[1][p]['quality']))
    swapped = {type(ranking[0])(o) for o in faulty[1]['swapped']}
    places = [ranking.index(o) for o in swapped]
    assert len(places) == 10 and sum(o < .2*len(ranking) for o in places) >= 6, places # by chance it would be two
    assert any('label error?' in cleaned[1][o]['issue'] and cleaned[1][o]['keep'] == 'True' for o in swapped)


def test_training_reads_only_what_is_kept(cleaned):
    from simpsons_fastai.pictures.table import read_table
    from simpsons_fastai.learn.loaders import simpsons_dls
    out, rows, _ = cleaned
    table = read_table(out)
    assert {str(p) for p, o in rows.items() if o['keep'] == 'True'} == set(table.path) and 'keep' not in table
    dls = simpsons_dls(out, size=32, bs=32, cache='off', arch='resnet18')
    assert len(dls.table) == len(table) and len(dls.broken) == 0


def test_an_existing_table_is_not_overwritten(faulty, cleaned):
    from simpsons_fastai.train.clean import clean
    from simpsons_fastai.core import SimpsonsError
    before = cleaned[0].read_bytes()
    with pytest.raises(SimpsonsError, match='exists already'): clean(faulty[0], cleaned[0], folds=0)
    assert cleaned[0].read_bytes() == before


@pytest.fixture
def page(browser, cleaned, tmp_path):
    "The gallery in a browser, with what its console and its network said."
    from simpsons_fastai.train.clean import gallery
    path = gallery(cleaned[0], tmp_path/'cleaned.html')
    page = browser.new_page(viewport=dict(width=1100, height=800))
    page.said, page.asked = [], []
    page.on('console', lambda o: page.said.append(o.text)); page.on('pageerror', lambda o: page.said.append(str(o)))
    page.on('request', lambda o: page.asked.append(o.url))
    page.goto(path.as_uri())
    yield page
    page.close()


def saved(page, tmp_path):
    "The rows of the downloaded table."
    with page.expect_download() as download: page.get_by_role('button', name='Download the changed table').click()
    assert download.value.suggested_filename == 'cleaned-reviewed.csv'
    download.value.save_as(tmp_path/'reviewed.csv')
    with open(tmp_path/'reviewed.csv', newline='', encoding='utf-8') as f: return list(csv.DictReader(f))


def test_the_gallery_shows_every_finding_and_asks_nobody(page, cleaned):
    found = [o for o in cleaned[1].values() if o['issue']]
    assert page.locator('fieldset').count() == len(found)
    page.evaluate("document.querySelectorAll('details').forEach(o => o.open = true)")
    page.wait_for_function("[...document.images].every(o => o.complete)")
    widths = page.evaluate("[...document.images].map(o => o.naturalWidth)")
    assert len(widths) >= len(found) and min(widths) > 50
    assert page.said == [] and [o for o in page.asked if not o.startswith(('file:', 'data:'))] == []
    assert page.evaluate("[...document.images].every(o => o.alt) && [...document.querySelectorAll('input')].every(o => o.labels[0].innerText.trim())")


def test_unchanged_the_download_is_the_table(page, cleaned, tmp_path):
    assert saved(page, tmp_path) == list(cleaned[1].values())
    assert page.inner_text('#status') == 'no changes'


def test_ticks_are_in_the_download(page, cleaned, faulty, tmp_path):
    rows = list(cleaned[1].values())
    copy = next(o for o in rows if o['issue'].startswith('near duplicate') and 'leak' not in o['issue'])
    doubt = next(o for o in rows if o['issue'] == 'label error?')
    page.evaluate("document.querySelectorAll('details').forEach(o => o.open = true)")
    page.locator(f'fieldset[data-row="{rows.index(copy)}"] .keep').focus()
    page.keyboard.press('Space') # a box works without a mouse
    page.locator(f'fieldset[data-row="{rows.index(doubt)}"]').get_by_label(f'label it {doubt["suggested"]}').check()
    assert page.inner_text('#status') == '2 changed'
    changed = [(a, b) for a, b in zip(rows, saved(page, tmp_path)) if a != b]
    assert [b for _, b in changed] == sorted([copy | dict(keep='True'), doubt | dict(label=doubt['suggested'], issue=f'label was {doubt["label"]}')], key=lambda o: [r['path'] for r in rows].index(o['path']))
    assert page.said == []
    from simpsons_fastai.pictures.table import read_table
    shutil.copy(tmp_path/'reviewed.csv', cleaned[0].parent/'reviewed.csv')
    table = read_table(cleaned[0].parent/'reviewed.csv').set_index('path')
    assert table.label[str(cleaned[0].parent/doubt['path'])] == doubt['suggested'] and str(cleaned[0].parent/copy['path']) in table.index
