"An archive is labelled by real processes that are killed: real pictures, real videos, damaged ones among them."
import json, os, random, shutil, signal, subprocess, sys, tempfile, time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import pytest
pytest.importorskip('av'); pytest.importorskip('pyarrow')
import pandas as pd
import pyarrow as pa, pyarrow.parquet as pq
from PIL import Image
from conftest import simpsons, ten
from simpsons_fastai.column import AnyOf, OneOf
from simpsons_fastai.serve.archive import Plan, label, label_here, read_labels
from simpsons_fastai.serve.archive_begin import begin
from simpsons_fastai.serve.pace import Pace
from simpsons_fastai.model.bundle import load_bundle, restate_bundle
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.pictures.drawn import springfield_video
from simpsons_fastai.serve.appearances import seconds_f1
from simpsons_fastai.serve.timeline import timeline
from simpsons_fastai.pictures.preprocess import Preprocess
from simpsons_fastai.target import Target, answers

HOW = dict(shard=8, bs=8, runtime='onnxruntime')
PROGRAM = [sys.executable, '-m', 'simpsons_fastai.cli', 'label', ten()]


def damaged(good, dest):
    "A video with a hole of noise in its middle."
    data = bytearray(good.read_bytes())
    a, b = len(data)*2//5, len(data)*3//5
    data[a:b] = np.random.default_rng(0).integers(0, 256, b - a, dtype=np.uint8).tobytes()
    dest.write_bytes(data)

def film(path, shown, begin=0., turned=False):
    "A video of stills: shown is [(picture, times in seconds)]; turned, it lies on its side as a phone stores it."
    import av
    with av.open(str(path), 'w') as file:
        stream = file.add_stream('libx264', rate=10, options=dict(crf='10', bf='0', g='10'))
        stream.width, stream.height = (160, 120) if turned else (120, 160)
        stream.codec_context.time_base = Fraction(1, 1000)
        if turned: stream.set_display_rotation(-90)
        for picture, times in shown:
            im = Image.open(picture).convert('RGB').resize((120, 160))
            for t in times:
                frame = av.VideoFrame.from_image(im.transpose(Image.Transpose.ROTATE_90) if turned else im)
                frame.pts, frame.time_base = round((t + begin)*1000), Fraction(1, 1000)
                file.mux(stream.encode(frame))
        file.mux(stream.encode())

def even(a, b): return np.arange(round(a*10), round(b*10))/10

def on_screen(out):
    "The timeline, short: [(first name, from, to)]."
    return [(who.split('_')[0], round(a, 2), round(b, 2)) for who, a, b in timeline(out)[['character', 'from', 'to']].values]

def same(a, b):
    "Are the rows of two folders the same?"
    a, b = (read_labels(o) for o in (a, b))
    return a.drop(columns='top').equals(b.drop(columns='top')) and [list(o) if o is not None else None for o in a.top] == [list(o) if o is not None else None for o in b.top]


@pytest.fixture(scope='module')
def bart(mnist): return mnist/'test/bart_simpson/pic_0094.jpg'

@pytest.fixture(scope='module')
def marge(mnist): return mnist/'test/marge_simpson/pic_0030.jpg'

def named(picture):
    "The first name that the model gives a picture in a film, which is coded and decoded."
    with tempfile.TemporaryDirectory() as folder:
        film(Path(folder)/'one.mp4', [(picture, even(0, 1))])
        (label_,) = set(read_labels(label(ten(), Path(folder)/'one.mp4', Path(folder)/'out', runtime='onnxruntime')).label)
        return label_.split('_')[0]

@pytest.fixture(scope='module')
def archive(mini, tmp_path_factory):
    "A tree as archives are: (its folder, who is in the video when)."
    root = tmp_path_factory.mktemp('archive')/'the archive'
    shutil.copytree(mini, root/'Staffel 1 – Übersicht')
    known = springfield_video(root/'ep 01.mp4', seconds=40, seed=3)
    springfield_video(root/'whole.mkv', seconds=20, seed=4)
    data = (root/'whole.mkv').read_bytes()
    (root/'cut off.mkv').write_bytes(data[:len(data)*3//5])
    damaged(root/'whole.mkv', root/'hole.mkv')
    (root/'no video.mp4').write_bytes(b'nothing of the kind'*50); (root/'empty.mp4').touch()
    picture = next(root.rglob('*.jpg')).read_bytes()
    (root/'cut off.jpg').write_bytes(picture[:700]); (root/'empty.jpg').touch()
    (root/'日本 🎬.jpg').write_bytes(picture)
    with open(os.path.join(os.fsencode(root), b'latin \xfc.jpg'), 'wb') as f: f.write(picture)
    (root/'loop').symlink_to(root, target_is_directory=True)
    (root/'up').symlink_to(root.parent, target_is_directory=True)
    (root/'self.jpg').symlink_to(root/'self.jpg'); (root/'dangling.jpg').symlink_to(root/'gone.jpg')
    return root, known

@pytest.fixture(scope='module')
def whole(archive, tmp_path_factory):
    "The labels of a run that nothing happened to."
    return label(ten(), archive[0], tmp_path_factory.mktemp('labels')/'whole', **HOW)


def test_every_file_has_its_rows(archive, whole):
    rows = read_labels(whole)
    per = rows.groupby('source', sort=False).size()
    assert per['ep 01.mp4'] == 40 and per['whole.mkv'] == 20 and '日本 🎬.jpg' in per and 'latin \\xfc.jpg' in per
    pictures = rows[rows.time.isna() & rows.error.isna()]
    assert len(pictures) == 242 and pictures.source.is_unique and not per.index.str.contains('loop/|up/').any()
    assert set(map(tuple, pictures[['width', 'height']].values)) == {(200, 150)}
    good = rows[rows.error.isna()]
    assert [o[0]['label'] for o in good.top] == good.label.tolist() and good.confidence.between(0, 1).all()
    video = rows[rows.source == 'ep 01.mp4']
    assert video.time.tolist() == list(range(40)) and video.frame.tolist() == [12*i for i in range(40)]


def test_what_cannot_be_read_is_a_row_with_an_error(whole):
    rows = read_labels(whole)
    errors = rows[rows.error.notna()].groupby('source').error.agg(list).to_dict()
    assert errors['cut off.jpg'] == ['truncated'] and errors['empty.jpg'] == errors['empty.mp4'] == ['empty file (0 bytes)']
    assert errors['dangling.jpg'] == ['missing file'] and 'symbolic links' in errors['self.jpg'][0]
    assert errors['no video.mp4'][0].startswith(('damaged video', 'no video')) and errors['cut off.mkv'][-1].startswith('ends at')
    assert 'whole.mkv' not in errors and 'ep 01.mp4' not in errors
    assert 5 < len(rows[(rows.source == 'cut off.mkv') & rows.error.isna()]) < 20 and 5 < len(rows[(rows.source == 'hole.mkv') & rows.error.isna()]) <= 20


def test_a_video_without_a_frame_is_a_row(tmp_path):
    import av
    with av.open(str(tmp_path/'a void.avi'), 'w') as file:
        stream = file.add_stream('mpeg4', rate=12)
        stream.width, stream.height, stream.pix_fmt = 200, 150, 'yuv420p'
        file.start_encoding()
    (tmp_path/'broken.jpg').write_bytes(b'no picture')
    rows = read_labels(label(ten(), tmp_path, tmp_path/'out', **HOW))
    assert dict(rows.set_index('source').error) == {'a void.avi': 'no frame in it', 'broken.jpg': 'not a picture'}


def test_a_shard_is_at_most_as_large_as_it_was_planned(whole):
    plan = Plan(whole)
    planned = {o.number: o.rows for o in plan.shards()}
    assert set(planned) == {int(o.stem[6:]) for o in whole.glob('shard-*')} and max(planned.values()) == 8
    assert all(plan.is_done(o) for o in planned)


def test_killed_ten_times_the_rows_are_the_same(archive, whole, tmp_path):
    "By SIGKILL, three times while it begins and seven times after some shards."
    rng, out, kills = random.Random(5), tmp_path/'killed', 0
    command = [*PROGRAM, archive[0], '-o', out, *[o for k, v in HOW.items() for o in (f'--{k}', v)]]
    while True:
        there = len(list(out.glob('shard-*')))
        p = subprocess.Popen([str(o) for o in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        until, more = time.monotonic() + rng.uniform(.05, 1.2), rng.randint(1, 2)
        while kills < 10 and p.poll() is None and (kills >= 3 or time.monotonic() < until) and len(list(out.glob('shard-*'))) < there + more: time.sleep(.001)
        time.sleep(rng.uniform(0, .01)*(3 <= kills < 10))
        if kills < 10 and p.poll() is None: p.send_signal(signal.SIGKILL)
        said = p.communicate()[0]
        if p.returncode != -signal.SIGKILL: break
        kills += 1
    assert kills == 10 and p.returncode == 0, said
    assert same(out, whole) and not list(out.glob('.shard-*'))


def test_a_shard_that_is_not_whole_is_made_again(archive, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path/'again')
    first, second, *_, last = sorted(out.glob('shard-*'))
    first.unlink(); second.write_bytes(b''); last.write_bytes(last.read_bytes()[:-20])
    kept = {o: o.stat().st_mtime_ns for o in out.glob('shard-*')}
    label(ten(), archive[0], out, **HOW)
    assert same(out, whole)
    assert {o for o in kept if o.stat().st_mtime_ns != kept[o]} == {second, last}


@pytest.fixture
def begun(tmp_path):
    "Three pictures and a large file, labelled: (their folder, go on with them)."
    files = tmp_path/'files'
    files.mkdir()
    for i, name in enumerate('abc'): Image.new('RGB', (40, 30), (80*i, 90, 200)).save(files/f'{name}.bmp')
    Image.new('RGB', (700, 500), (200, 90, 0)).save(files/'large.bmp')
    def go_on(): return label(ten(), files, tmp_path/'out', **HOW)
    go_on()
    return files, go_on

def painted_over(path):
    "Another content of the same size."
    data = path.read_bytes()
    path.write_bytes(data[:-3000] + bytes(255 - o for o in data[-3000:]))

def with_its_old_time(path):
    "The same by a program that puts the file's time back, as `rsync -t` or an editor of photographs does."
    was = path.stat()
    painted_over(path)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))

def exchanged(path):
    "Another file in its place, of the same size and time."
    was = path.stat()
    shutil.copy(path, path.with_suffix('.new'))
    painted_over(path.with_suffix('.new'))
    os.utime(path.with_suffix('.new'), ns=(was.st_atime_ns, was.st_mtime_ns))
    path.with_suffix('.new').replace(path)

@pytest.mark.parametrize('name', ['b.bmp', 'large.bmp'])
@pytest.mark.parametrize('change', [painted_over, with_its_old_time, exchanged])
def test_a_picture_that_changed_at_the_same_size_is_told(begun, change, name):
    files, go_on = begun
    change(files/name)
    with pytest.raises(SimpsonsError, match=f'^{name} has changed since .*another folder to write to$'): go_on()


def test_touched_and_copied_files_are_the_same(begun, tmp_path):
    "A new time is no new content."
    files, go_on = begun
    os.utime(files/'a.bmp')
    shutil.copytree(files, tmp_path/'copy')
    shutil.rmtree(files)
    (tmp_path/'copy').rename(files)
    go_on()


def test_a_plan_without_checksums_goes_on(begun, tmp_path):
    "As version 0.4.0 wrote them: a size is all there is."
    files, go_on = begun
    lines = [json.loads(o) for o in (tmp_path/'out/sources.jsonl').read_text().splitlines()]
    assert all(len(o['checksum']) == 16 and len(o['stamp']) == 2 for o in lines)
    short = [dict(source=o['source'], size=o['size']) for o in lines]
    (tmp_path/'out/sources.jsonl').write_text(''.join(json.dumps(o) + '\n' for o in short))
    painted_over(files/'a.bmp')
    go_on()


def test_something_else_is_refused(archive, whole, tmp_path):
    def refused(said, bundle=ten(), source=archive[0], out=whole, **how):
        with pytest.raises(SimpsonsError, match=said) as e: label(bundle, source, out, **HOW | how)
        assert '\n' not in str(e.value)
    refused('was begun with fps 1.0, not 2.0', fps=2)
    refused('was begun with scenes None, not 0.2', scenes=.2)
    refused('give that again, or another folder', source=archive[0]/'ep 01.mp4')
    other = shutil.copytree(ten(), tmp_path/'other')
    hot = [replace(o, temperature=2.) for o in load_bundle(other).target]
    restate_bundle(load_bundle(other), target=Target(tuple(hot)))
    refused('another model', bundle=other)
    (archive[0]/'zz new.jpg').write_bytes(b'')
    try: refused('zz new.jpg comes where 日本 🎬.jpg came')
    finally: (archive[0]/'zz new.jpg').unlink()
    data = (archive[0]/'empty.jpg').read_bytes(); (archive[0]/'empty.jpg').write_bytes(b'more')
    try: refused('empty.jpg has changed since')
    finally: (archive[0]/'empty.jpg').write_bytes(data)
    (tmp_path/'nothing').mkdir(); (tmp_path/'a file').touch(); (tmp_path/'list.csv').write_text('file\nx.jpg\n')
    refused('no picture and no video', source=tmp_path/'nothing', out=tmp_path/'x')
    refused('does not exist', source=tmp_path/'nowhere', out=tmp_path/'x')
    refused('cannot be written to', out=tmp_path/'a file'/'x')
    refused('no plan: give a new folder', out=archive[0])
    refused('no column path', source=tmp_path/'list.csv', out=tmp_path/'y')
    with pytest.raises(SimpsonsError, match='holds no labels'): timeline(tmp_path)


def test_a_full_disk_is_told_and_gone_on_from(archive, whole, tmp_path):
    "As on a full disk, no file can grow beyond a kilobyte once the shards are written."
    out = tmp_path/'full'
    code = ('import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))\n'
            'from simpsons_fastai.core import exit_on_error; from simpsons_fastai.serve import archive, archive_plan\n'
            'write = archive_plan.pq.write_table\n'
            'def small(*args, **kwargs): resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY)); return write(*args, **kwargs)\n'
            'archive_plan.pq.write_table = small\n'
            f'exit_on_error(archive.label, {ten()!r}, {str(archive[0])!r}, {str(out)!r}, **{HOW!r})')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and f'{out} cannot be written to' in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert not list(out.glob('shard-*'))
    label(ten(), archive[0], out, **HOW)
    assert same(out, whole)


def test_two_processes_do_not_share_a_folder(archive, whole):
    import fcntl
    with open(whole/'.lock') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        with pytest.raises(SimpsonsError, match='is being written by'): label(ten(), archive[0], whole, **HOW)


def test_thousands_of_files_in_one_folder(archive, tmp_path):
    (tmp_path/'many').mkdir()
    Image.open(archive[0]/'日本 🎬.jpg').resize((28, 28)).save(tmp_path/'many/00000.jpg')
    for i in range(1, 4_000): os.link(tmp_path/'many/00000.jpg', tmp_path/f'many/{i:05}.jpg')
    rows = read_labels(label(ten(), tmp_path/'many', tmp_path/'out', bs=64, tta='none', k=1))
    assert rows.source.tolist() == [f'{i:05}.jpg' for i in range(4_000)] and rows.label.nunique() == 1


def test_a_list_keeps_its_order(archive, tmp_path):
    files = ['日本 🎬.jpg', 'ep 01.mp4', 'gone.jpg', '日本 🎬.jpg']
    for name, text in {'list.txt': '\n'.join(files), 'list.csv': 'note,path\n' + ''.join(f'x,{o}\n' for o in files)}.items():
        (archive[0]/name).write_text(text)
        rows = read_labels(label(ten(), archive[0]/name, tmp_path/name, **HOW))
        (archive[0]/name).unlink()
        assert list(dict.fromkeys(rows.source)) == files[:3] and len(rows) == 43 and rows.source.iloc[-1] == files[0]


def test_the_timeline_is_what_was_shown(archive, tmp_path):
    "The labels are those drawn, one in eight of them wrong."
    root, known = archive
    out, rng = label(ten(), root/'ep 01.mp4', tmp_path/'four', fps=4, **HOW), np.random.default_rng(1)
    for file in sorted(out.glob('shard-*')):
        table = pq.read_table(file)
        who = [next((o['character'] for _, o in known.iterrows() if o['from'] <= t < o['to']), 'nobody') for t in table['time'].to_pylist()]
        who = [rng.choice(known.character) if rng.random() < .125 else o for o in who]
        for column, values in dict(label=pa.array(who), refused=pa.array([False]*len(who))).items(): table = table.set_column(table.schema.get_field_index(column), column, values)
        pq.write_table(table, file)
    found = timeline(out)
    assert seconds_f1(found, known) >= .95
    assert pd.read_csv(out/'timeline.csv')[['character', 'video', 'frames']].equals(found[['character', 'video', 'frames']])
    page = (out/'timeline.html').read_text()
    assert all(o in page for o in known.character.unique()) and 'ep 01.mp4' in page and 'http://' not in page and 'https://' not in page
    assert (out/'timeline.png').read_bytes()[:4] == b'\x89PNG'


def test_few_frames_count_by_the_time_they_stand(bart, marge, tmp_path):
    "More frames asked for than there are; a frame every three seconds, or ten."
    first, second = named(bart), named(marge)
    assert first != second, 'else nothing is seen'
    film(tmp_path/'ten.mp4', [(bart, even(0, 8)), (marge, even(8, 11)), (bart, even(11, 19))])
    film(tmp_path/'fewer.mkv', [(bart, even(0, 10)), (marge, range(10, 40, 3)), (bart, even(40, 45))])
    film(tmp_path/'stills.mp4', [(bart, (0, 10)), (marge, (20, 30)), (bart, (40, 50, 60))])
    seen = lambda name, fps: on_screen(label(ten(), tmp_path/name, tmp_path/f'{name} {fps}', fps=fps, runtime='onnxruntime'))
    assert seen('ten.mp4', 10) == [(first, 0, 7.95), (second, 7.95, 10.95), (first, 10.95, 19)]
    assert seen('ten.mp4', 60) == [(first, 0, 7.99), (second, 7.99, 10.99), (first, 10.99, 19)]
    assert seen('fewer.mkv', 1) == [(first, 0, 9.5), (second, 9.5, 39.5), (first, 39.5, 45)]
    assert seen('fewer.mkv', 4) == [(first, 0, 9.9), (second, 9.9, 39.88), (first, 39.88, 45)]
    assert [o[:2] for o in seen('stills.mp4', 1)] == [(first, 0), (second, 19.5), (first, 39.5)]


@pytest.mark.parametrize('scenes', [None, .2])
def test_what_was_not_read_is_nobodys(scenes, bart, marge, tmp_path):
    "A video that was broken off, and one of which a part is not labelled yet."
    how, shown = dict(scenes=scenes, bs=8, shard=8 if scenes is None else 1, runtime='onnxruntime'), [(bart, even(0, 4)), (marge, even(4, 8)), (bart, even(8, 20))]
    film(tmp_path/'whole.mkv', shown)
    data = (tmp_path/'whole.mkv').read_bytes()
    (tmp_path/'half.mkv').write_bytes(data[:len(data)//2])
    out = label(ten(), tmp_path/'half.mkv', tmp_path/'half', **how)
    end = read_labels(out).time.iloc[-1]
    assert 8 < end < 15 and 0 <= on_screen(out)[-1][2] - end < 1
    out = label(ten(), tmp_path/'whole.mkv', tmp_path/'whole', **how)
    assert on_screen(out)[-1][2] == 20
    *_, last = Plan(out).shards()
    Plan(out).file(last.number).unlink()
    assert on_screen(out)[-1][2] <= last.units[0].first/(10 if scenes else 1) < 20


def test_a_matroska_file_that_begins_late_is_as_long_as_it_is(bart, tmp_path):
    film(tmp_path/'late.mkv', [(bart, even(0, 20))], begin=100)
    out = label(ten(), tmp_path/'late.mkv', tmp_path/'out', scenes=.2, runtime='onnxruntime')
    assert read_labels(out).error.isna().all() and on_screen(out) == [(named(bart), 0, 20)]


def test_a_phones_video_stands_upright(bart, tmp_path):
    for turned in (False, True): film(tmp_path/f'{turned}.mp4', [(bart, even(0, 3))], turned=turned)
    rows = read_labels(label(ten(), tmp_path, tmp_path/'out', runtime='onnxruntime'))
    assert set(map(tuple, rows[['label', 'width', 'height']].values)) == {(rows.label[0], 120, 160)} and len(rows) == 6 and rows.label[0].startswith(named(bart))


def test_an_archive_that_0_4_0_began_is_read_and_gone_on_with(archive, whole, tmp_path):
    "Its plan, of schema 1, does not say what the model answers."
    out = shutil.copytree(whole, tmp_path/'old')
    facts = json.loads((out/'plan.json').read_text())
    (out/'plan.json').write_text(json.dumps({k: v for k, v in facts.items() if k != 'columns'} | dict(schema=1)))
    label(ten(), archive[0], out, **HOW)
    assert same(out, whole) and Plan(out).facts['schema'] == 1 and all(Plan(out).is_done(o.number) for o in Plan(out).shards())
    assert timeline(out).equals(timeline(shutil.copytree(whole, tmp_path/'new')))


class Knows:
    "Stands in for a predictor of several columns: it names in each frame what `said` has for its second."
    target = Target((OneOf('coat', ('blue', 'red')), AnyOf('who', ('ada', 'bo'))))
    bundle = SimpleNamespace(preprocess=Preprocess(32, 'bilinear', (.5,)*3, (.5,)*3), path=Path('/a model'), arch='none', sums={}, target=target)

    def __init__(self, said): self.said = said

    def predict_many(self, items, bs, errors):
        for o in items:
            coat, who = self.said[int(o.time)] if o.time is not None else ('red', '')
            logits = [*(4 if c == coat else 0 for c in ('blue', 'red')), *(4 if w in who.split('|') else -4 for w in ('ada', 'bo'))]
            yield answers(self.target, np.array([logits], np.float32))[0]


def test_every_column_is_followed_for_itself(tmp_path):
    "Two columns, of one of which both values may be true at the same time."
    springfield_video(tmp_path/'ep.mp4', seconds=20, seed=3)
    (tmp_path/'out').mkdir()
    who = Knows([('blue' if t < 8 else 'red', '|'.join(n for n, a, b in (('ada', 2, 12), ('bo', 6, 16)) if a <= t < b)) for t in range(20)])
    plan = begin(tmp_path/'out', [tmp_path/'ep.mp4'], who.bundle, dict(fps=1., scenes=None, k=3, bs=8, shard=8))
    label_here(plan, Pace(20), who)
    rows = read_labels(tmp_path/'out')
    assert {'coat: label', 'who: label', 'who: confidence', 'coat: refused'} <= set(rows) and 'label' not in rows
    assert rows['who: label'].tolist() == [o[1] for o in who.said] and rows['coat: label'].tolist() == [o[0] for o in who.said]
    assert {o['label'] for o in rows.top[7]} == {'coat: blue', 'who: ada|bo'}
    found = timeline(tmp_path/'out').set_index('character')[['from', 'to']]
    assert {k: tuple(o) for k, o in zip(found.index, found.values.tolist())} == {
        'coat: blue': (0, 7.5), 'coat: red': (7.5, 20), 'who: ada': (1.5, 11.5), 'who: bo': (5.5, 15.5)}


def test_the_page_is_readable_on_a_phone(archive, whole, tmp_path, browser):
    out = shutil.copytree(whole, tmp_path/'page')
    timeline(out)
    page = browser.new_page(viewport=dict(width=360, height=700))
    page.goto((out/'timeline.html').as_uri())
    assert page.evaluate('document.querySelector("img").getBoundingClientRect().width') >= 640
    assert page.evaluate('document.documentElement.scrollWidth') <= 360
    page.close()


def test_the_program_says_what_it_did(archive, tmp_path):
    done = simpsons('label', ten(), archive[0]/'ep 01.mp4', archive[0]/'日本 🎬.jpg', '-o', tmp_path/'out', '--fps', 2, '--runtime', 'onnxruntime')
    assert done.returncode == 0 and 'labelled 81 pictures and frames, 0 of them with an error' in done.stdout, done.stderr
    done = simpsons('timeline', tmp_path/'out')
    assert done.returncode == 0 and 'timeline.html' in done.stdout, done.stderr
    done = simpsons('label', ten(), tmp_path/'nowhere', '-o', tmp_path/'none')
    assert done.returncode == 2 and 'does not exist' in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize('module, those', [('archive', 'torch fastai timm pandas matplotlib'), ('timeline', 'torch fastai timm')])
def test_neither_fastai_nor_torch_is_imported(module, those):
    code = f'import sys, simpsons_fastai.serve.{module}; print([o for o in {those.split()} if o in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'
