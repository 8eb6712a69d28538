"One listing of a folder, for every door."
import os, shutil, subprocess
from pathlib import Path
import pytest
from PIL import Image
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.pictures.walk import media_below, named_pictures, natural_key, pictures_below, pictures_of


def picture(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (8, 8), 'gold').save(file)


@pytest.fixture
def town(tmp_path):
    "Two classes, odd files, something hidden, and links: to a folder elsewhere (twice), back, and to files."
    for o in ('moe/img10.png', 'moe/img2.PNG', 'bart/deep/a.jpg', '.thumbs/t.jpg', 'bart/.b.png', '../elsewhere/1.jpg'):
        picture(tmp_path/'town'/o)
    for o in ('town/notes.txt', 'town/clip.mp4', 'town/.clip.mp4'): (tmp_path/o).touch()
    links = {'lisa': '../elsewhere', 'again': '../elsewhere', 'round': '.', 'up': '..', 'bart/in': '../moe',
             'moe/linked.png': 'img10.png', 'moe/gone.jpg': 'nowhere.jpg'}
    for o, to in links.items(): (tmp_path/'town'/o).symlink_to(to)
    return tmp_path/'town'

LISTED = ['again/1.jpg', 'bart/deep/a.jpg', 'moe/gone.jpg', 'moe/img10.png', 'moe/img2.PNG', 'moe/linked.png']


def names(paths, root): return [str(Path(o).relative_to(root)) for o in paths]


def test_every_door_lists_the_same(town):
    "Training, a submission, predict and an archive; videos are an archive's alone, and a table has a row a file."
    from simpsons_fastai.pictures.scan import scan
    from simpsons_fastai.pictures.footage import scan_sources
    assert names(pictures_below(town), town) == LISTED
    assert names(named_pictures([town]), town) == LISTED
    (town.parent/'out').mkdir()
    archived = [o['source'] for o in scan_sources([town], town.parent/'out')]
    assert archived == sorted([*LISTED, 'clip.mp4'])
    assert sorted(names(pictures_of(town).values(), town)) == sorted(LISTED)
    (town/'moe/gone.jpg').unlink() # a link to nowhere: no table has that
    aside = []
    rows = scan(town, aside=aside)
    same = [o.path for o in aside if o.why == 'the same file as another']
    assert sorted([*names(rows.path, town), *names(same, town)]) == [o for o in LISTED if o != 'moe/gone.jpg']


def test_a_table_has_a_row_a_file(town):
    from simpsons_fastai.pictures.scan import scan
    (town/'moe/gone.jpg').unlink()
    assert names(scan(town).path, town) == [o for o in LISTED if o not in ('moe/gone.jpg', 'moe/linked.png')]


def test_what_is_left_out_is_told_a_line_a_reason(town, capsys):
    said = []
    pictures_below(town, said.append)
    assert [o.removeprefix(f'left out: {town}/') for o in said] == [
        '.thumbs and 1 more: hidden', 'bart/in and 2 more: it leads back to a folder of the source',
        'lisa: a folder that is listed already, under another name'] and not capsys.readouterr().out
    pictures_below(town)
    assert capsys.readouterr().out.count('left out: ') == 3


def test_folders_that_are_nobodys(town, capsys):
    "Thumbnails of a network storage, leavings in a zip, deleted files, a run, a study: at every door."
    for o in ('@eaDir', '__MACOSX', '$RECYCLE.BIN', 'moe/@eaDir/img2.PNG', 'System Volume Information'): picture(town/o/'x.jpg')
    for o, signs in (('runs/one', 'config.json table.csv'), ('studies/arch', 'study.json study.csv')):
        picture(town/o/'bundle/plot.png')
        for name in signs.split(): (town/o/name).touch()
    assert names(pictures_below(town), town) == LISTED
    assert 'runs/one: a run of simpsons_fastai' in capsys.readouterr().out
    assert names(pictures_below(town/'runs/one'), town) == ['runs/one/bundle/plot.png'] # somebody named it


def test_formats_that_are_not_read_are_told(town, capsys):
    for o in 'a.psd b.PSD c.tga d.ico e.cr2 f.jp2 g.avif'.split(): (town/'moe'/o).touch()
    assert names(pictures_below(town), town) == sorted([*LISTED, 'moe/f.jp2', 'moe/g.avif'])
    out = capsys.readouterr().out
    assert 'moe/a.psd and 1 more: in PSD, which is not read here; save it as PNG or JPEG' in out
    assert 'moe/c.tga: in TGA' in out and 'moe/d.ico: in ICO' in out and "moe/e.cr2: in a camera's raw format" in out


def test_a_tree_that_is_deeper_than_any_stack(tmp_path):
    depth = 1200
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(depth):
            os.mkdir('d')
            os.chdir('d')
        Image.new('RGB', (8, 8)).save('a.png')
        os.chdir(tmp_path)
        assert len(pictures_below('.')) == 1
    finally:
        os.chdir(tmp_path)
        subprocess.run(['rm', '-rf', 'd'], check=True) # shutil goes down by recursion
        os.chdir(here)


def test_a_folder_is_visited_once_over_several_sources(town):
    seen = {}
    assert len(list(media_below(town, seen))) == len(LISTED) + 1
    assert list(media_below(town.parent/'elsewhere', seen)) == list(media_below(town/'moe', seen)) == []


def test_a_folder_that_cannot_be_opened(town, monkeypatch):
    from simpsons_fastai.pictures.scan import scan
    real = os.scandir
    def scandir(path):
        if str(path).endswith('bart'): raise PermissionError(13, 'Permission denied', str(path))
        return real(path)
    monkeypatch.setattr(os, 'scandir', scandir)
    for door in (pictures_below, pictures_of, scan):
        with pytest.raises(SimpsonsError, match='bart cannot be opened: get the right to read it'): door(town)
    assert str(town/'bart') in media_below(town)


def test_pictures_to_answer_by_name(tmp_path):
    place = tmp_path/'journey/testset/testset'
    for i in range(12): picture(place/f'img{i}.jpg')
    (place/'notes.txt').write_text('no picture')
    assert list(pictures_of(tmp_path/'journey')) == [f'img{i}.jpg' for i in range(12)]
    assert pictures_of(tmp_path/'journey') == pictures_of(place)
    for o in ('two/a', 'two/b', 'two/c/.ipynb_checkpoints'): shutil.copytree(place, tmp_path/o)
    (tmp_path/'empty').mkdir()
    assert len(pictures_of(tmp_path/'two/a')) == 12
    (tmp_path/'two/a'/os.fsdecode(b'\x8f\xe0.png')).touch()
    for folder, said in (('two/a', 'is not named in UTF-8'), ('two', 'img0.jpg is in .* more than once'),
                         ('two/c', 'there is no picture'), ('empty', 'there is no picture'), ('absent', 'is not a folder')):
        with pytest.raises(SimpsonsError, match=said): pictures_of(tmp_path/folder)
    with pytest.raises(SimpsonsError, match='there is no picture in .*empty: name pictures, or folders that hold some'):
        named_pictures([tmp_path/'empty'])
    assert sorted(['b2', 'b10', 'a'], key=natural_key) == ['a', 'b2', 'b10']


def test_predict_lists_what_the_others_list(town, capsys):
    from simpsons_fastai.commands.judging import pictures_in
    assert names(pictures_in([town]), town) == LISTED
    said = capsys.readouterr()
    assert said.out == '' and said.err.count('left out: ') == 3
