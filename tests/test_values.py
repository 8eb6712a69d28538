"What people typed into a table: errors, words for not knowing, and how values are made one."
import numpy as np, pandas as pd
import pytest
from hypothesis import given, strategies as st
from conftest import real
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.pictures.values import doubtful, merged, one_letter_apart

WORD = st.text('abcde', min_size=1, max_size=7)


def table(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame(dict(path=[f'{i}.jpg' for i in range(n)], **columns))


def edits(word):
    "All that one letter makes of a word."
    for i in range(len(word) + 1):
        for c in 'abcde':
            yield word[:i] + c + word[i:]
            yield word[:i] + c + word[i+1:]
        yield word[:i] + word[i+1:]
        yield word[:i] + word[i+1:i+2] + word[i:i+1] + word[i+2:]


@given(WORD, WORD)
def test_one_letter_apart_is_what_it_says(a, b):
    assert one_letter_apart(a, b) == (a != b and b in set(edits(a))) == one_letter_apart(b, a)


def test_each_kind_of_doubt_is_told_with_its_picture_and_the_way_out():
    found = doubtful(table(season=['spring']*8 + ['springl', 'not clear', 'Spring ', 'bhutan', 'fall', 'fall'], short=['red']*13 + ['bed']), ['season', 'short'])
    said = {(o.column, o.value): str(o) for o in found}
    assert said['season', 'springl'] == 'season: \'springl\' (8.jpg) is one letter from \'spring\' (8 pictures): --merge "season:springl=spring"'
    assert "says that it is not known" in said['season', 'not clear'] and said['season', 'not clear'].endswith('"season:not clear="')
    assert 'but for capitals and spaces' in said['season', 'Spring '] and 'occurs once' in said['season', 'bhutan']
    assert ('season', 'fall') not in said and ('season', 'spring') not in said
    assert 'occurs once' in said['short', 'bed'], 'short values are not held to be errors'


def test_the_values_of_a_set_are_looked_at_one_by_one():
    found = doubtful(table(who=['homer|marge']*8 + ['homr|marge', '', np.nan]), ['who'])
    assert [(o.value, o.instead, o.first) for o in found] == [('homr', 'homer', '8.jpg')]


def test_values_are_made_one():
    before = table(season=['fall', 'autumn', np.nan, 'not clear'], who=['a|b', 'b|c', 'c', 'b'])
    after = merged(before, 'season:fall=autumn, season:not clear=,who:b=c')
    assert after.season.fillna('-').tolist() == ['autumn', 'autumn', '-', '-'] and after.who.tolist() == ['a|c', 'c', 'c', 'c']
    assert before.season[0] == 'fall' and merged(before, '').equals(before)


@pytest.mark.parametrize('text, says', [
    ('fall=autumn', 'is no list of COLUMN:VALUE=OTHER'), ('season:fall', 'is no list'),
    ('weather:fall=autumn', 'names no column of the table: it has path, season'), ('season:winter=fall', "no picture has 'winter'")])
def test_what_cannot_be_merged_is_told_in_a_sentence(text, says):
    with pytest.raises(SimpsonsError, match=says) as refused: merged(table(season=['fall']), text)
    assert '\n' not in str(refused.value)


def test_a_real_table_typed_by_people():
    from simpsons_fastai.pictures.table import read_table
    path = real('tags')/'travel.csv'
    rows = read_table(path, label=None)
    names = ['weather', 'season', 'mood']
    found = {(o.column, o.value): o for o in doubtful(rows, names)}
    assert any('one letter' in o.why for o in found.values()) and any('not known' in o.why for o in found.values())
    text = ','.join(f'{o.column}:{o.value}={o.instead}' for o in found.values() if 'one letter' in o.why)
    again = doubtful(merged(rows, text), names)
    assert not any('one letter' in o.why for o in again)


def test_a_training_says_so_before_it_begins(mini, tmp_path, capsys, caplog):
    from simpsons_fastai.train.prepare import prepare_recipe, recipe_table, say_source
    from simpsons_fastai.pictures.table import scan
    frames = scan(mini).head(30)
    frames.assign(hat=['straw']*20 + ['strwa'] + ['bowler']*9, label=None).drop(columns=['label', 'split']).to_csv(tmp_path/'typed.csv', index=False)
    recipe = prepare_recipe('tags', columns='hat')
    say_source(recipe, tmp_path/'typed.csv', recipe_table(recipe, tmp_path/'typed.csv'), [])
    said = caplog.text + capsys.readouterr().out
    assert "'strwa'" in said and '--merge "hat:strwa=straw"' in said
    mended = prepare_recipe('tags', columns='hat', merge='hat:strwa=straw')
    assert set(recipe_table(mended, tmp_path/'typed.csv').hat) == {'straw', 'bowler'}


def test_clean_lists_them_in_a_table_of_several_columns(tmp_path, capsys):
    import numpy as np
    from PIL import Image
    from simpsons_fastai.core import SimpsonsError
    from simpsons_fastai.judge.review import gallery
    from simpsons_fastai.train.clean import clean
    rng = np.random.default_rng(0)
    rows = []
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(tmp_path/f'{i}.png')
        rows.append(dict(path=f'{i}.png', season='springl' if i == 3 else 'spring' if i%2 else 'autumn', weather='not clear' if i == 5 else 'sunny' if i%3 else 'rainy'))
    pd.DataFrame(rows).to_csv(tmp_path/'travel.csv', index=False)
    out = clean(tmp_path/'travel.csv', tmp_path/'cleaned.csv', columns='all')
    found = pd.read_csv(out, keep_default_na=False).set_index('path').issue
    assert found['3.png'] == "season: 'springl' is one letter from 'spring' (11 pictures)" and found['5.png'] == "weather: 'not clear' says that it is not known"
    assert (found != '').sum() == 2 and pd.read_csv(out).keep.all(), 'a question, and nothing is left out'
    said = capsys.readouterr().out
    assert '--merge "season:springl=spring"' in said and '--merge "weather:not clear="' in said
    assert 'springl' in gallery(out, tmp_path/'page.html').read_text()
    again = clean(tmp_path/'travel.csv', tmp_path/'weather.csv', columns='weather')
    assert (pd.read_csv(again, keep_default_na=False).issue != '').sum() == 1
    with pytest.raises(SimpsonsError): clean(tmp_path/'travel.csv', tmp_path/'label.csv')
