"Planted faults are found, nothing is deleted, and the page of findings works in a real browser."
import csv, shutil
import numpy as np
import pytest
pytest.importorskip('cleanlab')
from PIL import Image


def contents(folder): return {p: p.read_bytes() for p in sorted(folder.rglob('*.jpg'))}


@pytest.fixture(scope='module')
def faulty(tmp_path_factory):
    "Five of the townsfolk with faults: (their folder, the faults by name)."
    from simpsons_fastai.pictures.drawn import springfield_mini
    mini = springfield_mini(tmp_path_factory.mktemp('clean')/'mini', n=400)
    for split in ('train', 'test'):
        for o in sorted((mini/split).iterdir())[5:]: shutil.rmtree(o)
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
    out = clean(mini, mini.parent/'cleaned.csv', folds=3, epochs=8, bs=16, size=48, arch='resnet10t', aug='reflection', mix='none', verbose=False)
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
    from simpsons_fastai.judge.review import gallery
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


def few(*rows):
    "A table of some pictures: (path, split) each."
    import pandas as pd
    return pd.DataFrame([(str(p), 'x', s) for p, s in rows], columns=['path', 'label', 'split'])


def test_the_test_part_stays_whole(faulty, tmp_path):
    from simpsons_fastai.pictures.duplicates import find_duplicates
    mini, faults = faulty
    original, leak = faults['leak']
    two = find_duplicates(few((original, 'test'), (shutil.copy(original, tmp_path/'twin.jpg'), 'test'), (leak, 'train')))
    assert two.kind.tolist() == ['', 'exact', 'exact'] and two.leak.tolist() == ['train', 'train', 'test']
    assert len(find_duplicates(few((faults['exact'][0], 'train'), (faults['near'][0], 'train')))) == 0
    assert len(find_duplicates(few((faults['broken'], 'train')))) == 0


def test_without_folds_the_labels_are_left_alone(faulty, cleaned, tmp_path):
    import pandas as pd
    from simpsons_fastai.pictures.table import read_table
    from simpsons_fastai.train.clean import clean
    ready = read_table(cleaned[0])
    quick = pd.read_csv(clean(ready, tmp_path/'elsewhere/quick.csv', folds=0), keep_default_na=False)
    assert quick.keep.all() and (quick.suggested == '').all() and all(o.startswith('/') for o in quick.path)
    assert set(read_table(tmp_path/'elsewhere/quick.csv').path) == set(ready.path)


def test_of_suspected_labels_only_training_pictures_are_dropped(monkeypatch):
    import pandas as pd
    from simpsons_fastai.train import clean as module
    found = lambda table, **kwargs: table[['path', 'label']].assign(suggested='c', quality=.1, flagged=True)
    monkeypatch.setattr(module, 'find_label_errors', found)
    marked = pd.DataFrame(dict(path=list('pq'), label=['a', 'b'], split=['train', 'test'], keep=True, issue=['', 'near duplicate of x']))
    assert module._doubts(marked, True)[['keep', 'issue']].values.tolist() == [[False, 'label error?'], [True, 'near duplicate of x; label error?']]
    assert module._doubts(marked, False).keep.tolist() == [True, True]


def test_the_only_picture_of_a_class_is_not_judged(monkeypatch, capsys):
    import pandas as pd
    from simpsons_fastai.train import clean as module, doubts
    probs = np.array([[.9, .1], [.02, .98], [.8, .2], [.1, .9], [.3, .7], [.05, .95]])
    monkeypatch.setattr(doubts, 'out_of_fold', lambda table, *args, **kwargs: (['bart', 'lisa'], probs[:len(table)]))
    rows = pd.DataFrame(dict(path=list('abcdefg'), label=['bart']*3 + ['lisa']*3 + ['hermit'], split='train', keep=True, issue=''))
    assert module._doubts(rows, True)[['path', 'keep']].values.tolist()[1::5] == [['b', False], ['g', True]]
    assert 'the first is g, hermit' in capsys.readouterr().out


def test_what_clean_refuses(faulty, cleaned):
    import pandas as pd
    from simpsons_fastai.core import SimpsonsError
    from simpsons_fastai.pictures.table import read_table
    from simpsons_fastai.train.clean import clean
    from simpsons_fastai.train.doubts import find_label_errors, out_of_fold
    ready = read_table(cleaned[0])
    def refused(said, f, *args, **kwargs):
        with pytest.raises(SimpsonsError, match=said): f(*args, **kwargs)
    refused('is not the name of a .csv file', clean, faulty[0], cleaned[0].with_suffix('.txt'))
    refused('folds=1 is too few', find_label_errors, ready, folds=1, check=False)
    refused("there is no method 'guess'", find_label_errors, ready, method='guess')
    refused('the pictures have 1 label', find_label_errors, ready[ready.label == ready.label[0]], check=False)
    refused('the pictures have 0 label', find_label_errors, ready[:3].assign(label=list('abc')), check=False)
    refused("the class 'hermit' has a single picture", out_of_fold, pd.concat([ready, ready[:1].assign(label='hermit')]))


def test_no_name_becomes_markup_and_a_part_of_the_findings_can_be_shown(cleaned, tmp_path):
    import pandas as pd
    from simpsons_fastai.core import SimpsonsError
    from simpsons_fastai.judge.review import gallery
    evil = '</script><img src=x onerror=alert(1)>"\'&'
    row = dict(path='gone.jpg', label=evil, split='train', keep='True', issue='label error?', duplicate_of='', suggested=evil + '2', quality=.1)
    pd.DataFrame([row]).to_csv(tmp_path/'evil.csv', index=False)
    text = gallery(tmp_path/'evil.csv', tmp_path/'evil.html').read_text(encoding='utf-8')
    assert text.count('<img') == 0 and text.count('</script>') == 2
    assert gallery(cleaned[0], tmp_path/'few.html', limit=6, page=2).read_text(encoding='utf-8').count('<fieldset') == 6
    with pytest.raises(SimpsonsError, match='is not the name of a page'): gallery(cleaned[0], tmp_path/'cleaned.csv')
    with pytest.raises(SimpsonsError, match='is missing'): gallery(tmp_path/'absent.csv', tmp_path/'absent.html')
