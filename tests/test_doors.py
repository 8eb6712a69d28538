"What a stranger may send or name, at every door: a bundle, a file's name, a damaged shard, a file of the wrong kind."
import asyncio
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from conftest import ten
from simpsons_fastai.core import SimpsonsError, write_json
from simpsons_fastai.model.bundle import _write_sums, load_bundle, restate_bundle
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.drawn import mini_frame
from simpsons_fastai.pictures.open import PictureError, check_upload, open_image, readable_formats
from simpsons_fastai.pictures.sheet import read_back, write_sheet
from simpsons_fastai.text import disarmed, restored, visible

FORMULA = '=HYPERLINK("http:x")'
ESCAPE = 'a\x1b]0;owned\x07.png'


@pytest.fixture(scope='module')
def base(tmp_path_factory): return restate_bundle(load_bundle(ten()), dest=tmp_path_factory.mktemp('base')/'bundle').path


@pytest.fixture
def changed(base, tmp_path):
    "A bundle after a change, its checksums right."
    def make(change):
        shutil.copytree(base, tmp_path/'bundle', dirs_exist_ok=True)
        change(tmp_path/'bundle')
        _write_sums(tmp_path/'bundle')
        return tmp_path/'bundle'
    return make


def facts(**values):
    "Other values of the configuration; a function changes the one that is there."
    def change(path):
        cfg = json.loads((path/'config.json').read_text())
        cfg |= {k: v(cfg[k]) if callable(v) else v for k, v in values.items()}
        (path/'config.json').write_text(json.dumps(cfg))
    return change

def column(**values): return facts(columns=lambda o: [o[0] | {k: v(o[0][k]) if callable(v) else v for k, v in values.items()}])

def content(name, data): return lambda path: (path/name).write_bytes(data)

def nested(n): return json.loads('{"a":'*n + '1' + '}'*n)


HOSTILE = dict(
    hub=(facts(arch='hf-hub:somebody/model'), 'arch'), folder=(facts(arch='local-dir:/etc'), 'arch'),
    slash=(facts(arch='../resnet18'), 'arch'), endless_name=(facts(arch='a'*1000), 'arch'),
    member=(facts(members=[dict(arch='hf-hub:a/b', head='fastai', share=1)]), 'members'),
    huge=(facts(preprocess=lambda o: o | dict(size=100_000)), 'preprocess'),
    beyond=(facts(preprocess=lambda o: o | dict(mean=[10**400]*3)), 'preprocess'),
    no_temperature=(column(temperature=float('nan')), 'columns'), no_threshold=(column(threshold=float('nan')), 'columns'),
    odd_kind=(column(kind=['one']), 'columns'), long_label=(column(values=lambda o: [*o[1:], 'a'*5000]), 'columns'),
    deep=(facts(metrics=nested(200)), 'metrics'), no_metric=(facts(metrics=dict(f1=float('inf'))), 'metrics'),
    deepest=(content('config.json', b'['*100_000), 'not readable JSON'),
    more_labels=(column(values=lambda o: [*o, 'stranger']), 'names for 11 outputs'),
    fewer_labels=(column(values=lambda o: o[1:]), 'names for 9 outputs'),
    other_size=(facts(preprocess=lambda o: o | dict(size=100)), 'cannot be run by onnxruntime'),
    garbage=(content('model.onnx', b'garbage'), 'no ONNX network'), nothing=(content('model.onnx', b''), 'no ONNX network'),
    hollow=(content('model.onnx', b'\x08\x08:\x02\x0a\x00'), 'cannot be run by onnxruntime'))

@pytest.mark.parametrize('kind', HOSTILE)
def test_a_bundle_that_is_not_what_it_says_is_refused_when_it_is_opened(changed, kind):
    change, says = HOSTILE[kind]
    with pytest.raises(SimpsonsError, match=says) as e: Predictor(changed(change), 'onnxruntime')
    assert '\n' not in str(e.value) and len(str(e.value)) < 500


@pytest.mark.parametrize('kind', ['more_labels', 'other_size', 'hollow'])
def test_so_by_openvino(changed, kind):
    pytest.importorskip('openvino')
    with pytest.raises(SimpsonsError): Predictor(changed(HOSTILE[kind][0]), 'openvino')


def answering(values):
    "An ONNX file that gives the same numbers whatever it is asked."
    pytest.importorskip('onnx')
    from onnx import TensorProto, helper, numpy_helper
    node = helper.make_node('Constant', [], ['logits'], value=numpy_helper.from_array(np.float32(values)))
    given = helper.make_tensor_value_info('pixels', TensorProto.UINT8, ['n', 28, 28, 3])
    graph = helper.make_graph([node], 'g', [given], [helper.make_tensor_value_info('logits', TensorProto.FLOAT, None)])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    return content('model.onnx', made.SerializeToString())


def test_answers_that_are_no_numbers_or_too_few_are_told(changed):
    with pytest.raises(SimpsonsError, match='answers with no numbers'): Predictor(changed(answering([[np.nan]*10])), 'onnxruntime')
    for odd in ([0.]*10, [[[0.]*10]], [[0.]*10]*2):
        with pytest.raises(SimpsonsError, match='in the shape'): Predictor(changed(answering(odd)), 'onnxruntime')
    liar = Predictor(changed(answering([[0.]*10])), 'onnxruntime', tta='none') # one answer, however many are asked
    assert liar.predict(mini_frame(6)[1]).index == 0
    with pytest.raises(SimpsonsError, match='answers 2 pictures in the shape'): list(liar.predict_many([mini_frame(6)[1]]*2))


def test_a_pipe_in_a_bundle_is_not_waited_for(changed):
    def pipe(path):
        (path/'README.md').unlink(missing_ok=True)
        _write_sums(path)
        os.mkfifo(path/'README.md')
    path = changed(lambda path: None)
    pipe(path)
    with pytest.raises(SimpsonsError, match='README.md is refused'): load_bundle(path)


def test_a_reload_that_meets_a_bad_bundle_keeps_the_old_one(changed):
    pytest.importorskip('fastapi')
    from simpsons_fastai.serve.limits import ServiceLimits
    from simpsons_fastai.serve.service import Service
    async def serve():
        service = Service(changed(lambda path: None), ServiceLimits(batch=1), runtime='onnxruntime', n_workers=1)
        old = service.loaded
        for kind in ('more_labels', 'fewer_labels', 'garbage', 'hub'):
            changed(HOSTILE[kind][0])
            assert not await service.reload() and service.loaded is old
        changed(lambda path: None)
        out = io.BytesIO()
        mini_frame(6)[1].save(out, 'PNG')
        row, = await service.rows(old.batcher, [('a.png', out.getvalue())])
        await service.close()
        return row
    assert 'label' in asyncio.run(serve())


def test_every_name_is_read_back_and_none_is_a_formula(tmp_path):
    cells = [o + s for o in ('=1', '+a', '-b', '@c', '\tx', '\ry', '\nz', "'=", "''=", "'", "'tis", 'moe', '=', '-') for s in ('', ',"\n')]
    assert [restored(disarmed(o)) for o in cells] == cells
    assert not [o for o in map(disarmed, cells) if o.startswith(tuple('=+-@\t\r\n'))]
    numbers = ['-1', '+2.5', '-1e-5', -3.5, 7, None, True]
    assert [disarmed(o) for o in numbers] == numbers
    table = pd.DataFrame({'path': cells, '=name': range(len(cells)), 'share': np.float32(.1)})
    write_sheet(tmp_path/'a.csv', table)
    back = read_back(pd.read_csv(tmp_path/'a.csv', keep_default_na=False, lineterminator='\n'))
    assert list(back) == list(table) and back['=name'].tolist() == table['=name'].tolist() and back.share.iloc[0] == .1
    assert [o.replace('\r', '') for o in back.path] == [o.replace('\r', '') for o in cells]
    empty = pd.DataFrame(dict(a=np.array([None, np.nan], object)))
    assert read_back(empty).a.dtype == object # an empty column of texts stays one


@pytest.fixture(scope='module')
def cleaned(tmp_path_factory):
    "The table of a folder whose classes and files are formulas."
    from simpsons_fastai.train.clean import clean
    town = tmp_path_factory.mktemp('named')/'town'
    for i, label in enumerate((FORMULA, '@moe')):
        for j in range(2):
            file = town/label/f'-{j}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(10*i + j).integers(0, 256, (64, 64, 3), np.uint8)).save(file)
    return clean(town, town/'cleaned.csv', folds=0)

def cells_of(text): return [o for row in csv.reader(io.StringIO(text)) for o in row]


def test_a_cleaned_table_runs_nothing_and_trains_on_the_same(cleaned):
    from simpsons_fastai.pictures.table import as_table
    cells = cells_of(cleaned.read_text())
    assert not [o for o in cells if o.startswith(('=', '+', '-', '@'))] and f"'{FORMULA}" in cells
    table = as_table(cleaned)
    assert set(table.label) == {FORMULA, '@moe'} and all(map(os.path.isfile, table.path))


def test_so_does_the_table_that_its_page_gives(cleaned, browser, tmp_path):
    from simpsons_fastai.judge.review import gallery
    page = browser.new_page()
    page.goto(gallery(cleaned, tmp_path/'a.html').as_uri())
    with page.expect_download() as download: page.click('#save')
    text = open(download.value.path(), encoding='utf-8', newline='').read()
    page.close()
    assert cells_of(text) == cells_of(cleaned.read_text())


def test_a_page_in_a_file_posts_nowhere():
    from simpsons_fastai.judge.page import html_page
    assert "default-src 'none'" in html_page('a') and "form-action 'none'" in html_page('a')


def test_other_tables_run_nothing_either(tmp_path):
    from simpsons_fastai.model.run import Run
    from simpsons_fastai.serve.demo_answers import csv_text
    from simpsons_fastai.serve.timeline_page import write_timeline
    found = pd.DataFrame({'character': [FORMULA], 'video': ['-a.mp4'], 'from': [0.], 'to': [2.], 'frames': [3], 'confidence': [.5]})
    write_timeline(tmp_path, found, {'-a.mp4': 4.})
    write_sheet(tmp_path/'table.csv', pd.DataFrame(dict(path=['@a.png'], label=[FORMULA], split=['train'])))
    for text in ((tmp_path/'timeline.csv').read_text(), (tmp_path/'table.csv').read_text(), csv_text([['name'], [FORMULA]])):
        assert "'=HYPERLINK" in text and not [o for row in csv.reader(io.StringIO(text)) for o in row if o.startswith(('=', '-a', '@'))]
    row, = Run(tmp_path).table.to_dict('records')
    assert (os.path.basename(row['path']), row['label']) == ('@a.png', FORMULA)


def test_what_a_terminal_would_obey_is_written_out():
    for odd in ('\x1b[2J', '\x07', '\r', '\n', '\x9b', '\u202e', '\u2066', '\u200f', '\u2028', os.fsdecode(b'\xff')):
        said = visible(f'a{odd}b')
        assert said.isprintable() and said.isascii() and json.loads(visible(json.dumps(odd, ensure_ascii=False))) == odd
    assert visible('ホーマー é 👍') == 'ホーマー é 👍'


def test_names_reach_no_terminal_as_they_are(tmp_path):
    "An escape sequence, and bytes that are no UTF-8: a line of JSON each, which says the very name."
    names = [ESCAPE.encode(), b'latin \xfc.png']
    for o in names: mini_frame(6)[1].save(os.fsdecode(bytes(tmp_path) + b'/' + o), 'PNG')
    command = [sys.executable, '-m', 'simpsons_fastai.cli', 'predict', 'demo', '--runtime', 'onnxruntime', *names, '/no\x1b[2Jthing']
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 1 and b'Traceback' not in done.stderr, done.stderr
    assert b'\x1b' not in done.stdout + done.stderr
    rows = [json.loads(o) for o in done.stdout.decode().splitlines()]
    assert [os.fsencode(o['path']) for o in rows] == [*names, b'/no\x1b[2Jthing'] and [('label' in o) for o in rows] == [True, True, False]


def test_a_sentence_steers_no_terminal(refused):
    said = refused('evaluate', '/no\x1b[2J', '.')
    assert '\x1b' not in said and '\\u001b[2J does not exist' in said


@pytest.fixture(scope='module')
def labels(tmp_path_factory):
    "Labels of five pictures in three files."
    pytest.importorskip('pyarrow')
    from simpsons_fastai.serve.archive import label
    tmp = tmp_path_factory.mktemp('labels')
    (tmp/'town').mkdir()
    for i in range(5): mini_frame(4 + i)[1].save(tmp/f'town/{i}.png')
    return label(ten(), tmp/'town', tmp/'out', shard=2, bs=2, runtime='onnxruntime', n_workers=1)


def test_a_damaged_shard_is_found_named_and_made_anew(labels, refused, capfd):
    from simpsons_fastai.serve.archive import Plan, label, read_labels, verify
    rows = read_labels(labels)
    assert verify(labels).startswith('3 of 3 files')
    bad = labels/'shard-000001.parquet'
    whole = bad.read_bytes()
    for start in (4, 60, 200): # its end is as it was, and some page is not
        bad.write_bytes(whole[:start] + bytes(o ^ 255 for o in whole[start:start + 40]) + whole[start + 40:])
        assert Plan(labels).is_done(1)
        with pytest.raises(SimpsonsError, match='shard-000001.parquet is damaged .*again'): read_labels(labels)
        with pytest.raises(SimpsonsError, match='1 of 3 files'): verify(labels)
    assert 'shard-000001.parquet is damaged' in capfd.readouterr().out
    assert '1 of 3 files' in refused('label', '--verify', '-o', labels)
    label(ten(), labels.parent/'town', labels, shard=2, bs=2, runtime='onnxruntime', n_workers=1)
    assert 'it is made anew' in capfd.readouterr().out and verify(labels).startswith('3 of 3')
    pd.testing.assert_frame_equal(rows.drop(columns='top'), read_labels(labels).drop(columns='top'))


@pytest.mark.parametrize('plan', [[], 'text', None, {}, dict(format='simpsons_fastai labels', schema=2),
                                  dict(format='simpsons_fastai labels', schema=2, root=7, options=dict(fps=1, shard=2)),
                                  dict(format='simpsons_fastai labels', schema=2, root='/', options=[1]),
                                  dict(format='simpsons_fastai labels', schema=2, root='/', options=dict(fps=1, shard=2), columns=[7])])
def test_a_plan_that_is_none_is_told(refused, tmp_path, plan):
    write_json(tmp_path/'plan.json', plan)
    assert 'is not a plan' in refused('timeline', tmp_path)


def test_times_that_are_none_are_told(refused, tmp_path):
    for option in ('window', 'gap', 'shortest'):
        for value in ('nan', '-1', 'inf'): assert f'{option}={value}' in refused('timeline', tmp_path, f'--{option}', value).replace('.0', '')
    assert 'sure=nan is no share' in refused('timeline', tmp_path, '--sure', 'nan')
    assert 'are not named' in refused('label', '-o', tmp_path)


def test_a_list_of_sources_that_is_damaged_is_told(labels, tmp_path, refused):
    shutil.copytree(labels, tmp_path/'out')
    for text in ('[1]\n', 'no JSON\n', '['*100_000, '{}\n'):
        (tmp_path/'out/sources.jsonl').write_text(text)
        assert 'sources.jsonl is damaged' in refused('label', '--verify', '-o', tmp_path/'out')


def test_weights_of_the_wrong_kind_are_told(tmp_path):
    import torch
    from simpsons_fastai.learn.weights import read_weights
    for odd in (torch.zeros(3), [1, 2], {}, dict(a=1), {1: torch.zeros(1)}, dict(model=dict(a='text')), 'text'):
        torch.save(odd, tmp_path/'a.pth')
        with pytest.raises(SimpsonsError, match='holds no weights'): read_weights(tmp_path/'a.pth')


def test_a_checkpoint_of_the_wrong_kind_is_told(tmp_path):
    import torch
    from simpsons_fastai.train.checkpoint import _sha256, read_checkpoint, write_checkpoint
    write_checkpoint(tmp_path, 1, dict(state={}), dict(a=torch.zeros(1)))
    folder = tmp_path/'resume-000001'
    for text in ('[]', '7', 'null', '{"state": {"$": []}}', '{"state": {"$": "tensor"}}', '{"state": {"$": "none"}}', '['*100_000):
        (folder/'state.json').write_text(text)
        (folder/'SHA256SUMS').write_text(''.join(f'{_sha256(folder/o)}  {o}\n' for o in ('state.json', 'tensors.safetensors')))
        with pytest.raises(SimpsonsError, match='is damaged'): read_checkpoint(folder)
    for sums in ('', 'a b c\n', 'one\n', '\xff'):
        (folder/'SHA256SUMS').write_text(sums, encoding='latin-1')
        with pytest.raises(SimpsonsError, match='is damaged'): read_checkpoint(folder)


def saved(kind, size=(40, 30)):
    out = io.BytesIO()
    Image.new('RGB', size, 'gold').save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'AVIF', 'JPEG2000', 'HEIF'])
def test_every_door_opens_the_same_formats(kind):
    if kind not in readable_formats(): pytest.skip(f'this Pillow reads no {kind}')
    data = saved(kind)
    assert check_upload(data) and open_image(data).size == (40, 30)


@pytest.mark.parametrize('kind', ['EPS', 'ICO', 'DDS', 'ICNS'])
def test_a_format_that_is_not_opened_is_named(kind):
    for door in (open_image, check_upload):
        with pytest.raises(PictureError) as e: door(saved(kind))
        assert kind in e.value.reason and len(e.value.reason) < 80


def test_a_stream_of_jpeg_2000_is_believed_no_more_than_its_boxes():
    data = saved('JPEG2000')
    start = data.index(b'\xff\x4f\xff\x51')
    for place in (8, 12): # its width, its height; the boxes around it say 40 × 30
        odd = bytearray(data)
        odd[start + place:start + place + 4] = (60_000_000).to_bytes(4, 'big')
        for o in (bytes(odd), bytes(odd[start:])):
            for door in (open_image, check_upload):
                with pytest.raises(PictureError) as e: door(o)
                assert 'code stream' in e.value.reason


def test_a_picture_of_boxes_that_tells_of_too_many_pixels_is_refused():
    from simpsons_fastai.pictures.guard import structure_reason
    box = lambda kind, content: (len(content) + 8).to_bytes(4, 'big') + kind + content
    size = lambda side: box(b'ispe', bytes(4) + 2*side.to_bytes(4, 'big'))
    picture = lambda side: box(b'ftyp', b'heic' + bytes(4)) + box(b'meta', bytes(4) + size(64) + size(side))
    assert structure_reason(picture(4000), 10**8) == '' and 'too many pixels' in structure_reason(picture(60_000), 10**8)


def test_exif_among_the_pixels_is_looked_at_before_it_is_read():
    "AVIF and HEIC keep it where no walk over boxes finds it."
    from hostile_pictures import many_tags
    im = Image.new('RGB', (4, 2))
    im.info['exif'] = b'Exif\0\0' + many_tags(100, 500_000)
    read = []
    im.getexif = lambda: read.append(1) or {}
    assert open_image(im).size == (4, 2) and not read


def test_heic_without_its_plugin_is_named():
    if 'HEIF' in readable_formats(): pytest.skip('the plugin is installed')
    with pytest.raises(PictureError, match=r'HEIC, which is not read here; pip install'): open_image(b'\0\0\0\x1cftypheic' + bytes(60))
