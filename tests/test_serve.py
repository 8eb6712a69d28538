"The parts of the service, each in this process; tests/test_service.py has it as a real one."
import asyncio, io, os, socket, subprocess, sys, threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import numpy as np
import pytest
from starlette.testclient import TestClient
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.model.bundle import load_bundle, restate_bundle
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.drawn import mini_frame
from simpsons_fastai.pictures.open import PictureError
from simpsons_fastai.serve.app import make_app
from simpsons_fastai.serve.batches import Batcher
from simpsons_fastai.serve.client import _form, _groups, ask
from simpsons_fastai.serve.connection import Places
from simpsons_fastai.serve.form import Form
from simpsons_fastai.serve.guard import OPEN
from simpsons_fastai.serve.limits import Refusal, ServiceLimits
from simpsons_fastai.serve.replies import Answers, Picture, picture_row, result
from simpsons_fastai.serve.server import check_host, serve
from simpsons_fastai.target import AnyOf, OneOf, Target, answer_row, answers, facts


def jpeg(i):
    out = io.BytesIO()
    mini_frame(i)[1].save(out, 'JPEG')
    return out.getvalue()


@pytest.fixture(scope='module')
def pictures(): return [jpeg(i) for i in range(20)]


@pytest.fixture(scope='module')
def predictor(): return Predictor('demo', 'onnxruntime')


@pytest.fixture(scope='module')
def client(predictor): return TestClient(make_app(predictor))


def form_of(*parts):
    return b''.join(b'--x\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n' % o for o in parts) + b'--x--\r\n'


def parsed(body, step=1, kind='multipart/form-data; boundary=x', **limits):
    form = Form(kind, ServiceLimits(**limits))
    for i in range(0, len(body), step): form.feed(body[i:i+step])
    return form.finish()


BODY = form_of((b'name="files"; filename="../../etc/lisa.jpg"', b'one\r\n--y'), (b'name="note"', b'left out'), (b'name="files"', b''))


def test_a_form_is_the_same_in_any_pieces():
    assert parsed(BODY) == parsed(BODY, 1000) == [('lisa.jpg', b'one\r\n--y'), ('picture 2', b'')]


@pytest.mark.parametrize(['given', 'status', 'says'], [
    (dict(body=BODY, files=1), 413, 'more than 1 pictures'), (dict(body=BODY, parts=2), 413, 'more than 2 parts'), (dict(body=BODY[:-4]), 400, 'has no end'),
    (dict(body=b'--x\r\nno header'), 400, 'is damaged'), (dict(body=b'no form'), 400, 'is damaged'), (dict(body=form_of((b'name="note"', b''))), 400, 'no picture'),
    (dict(body=b'', kind='image/jpeg'), 415, 'no multipart form'), (dict(body=b'', kind='multipart/form-data'), 415, 'no multipart form')])
def test_what_is_no_form_is_told(given, status, says):
    with pytest.raises(Refusal, match=says) as e: parsed(**given)
    assert e.value.status == status


def at_once(predictor, pictures, **limits):
    sizes = []
    async def run():
        batcher = Batcher(predictor, ServiceLimits(**limits), sizes.append)
        found = await asyncio.gather(*[batcher.answer([o]) for o in pictures], return_exceptions=True)
        await batcher.close()
        return found
    return asyncio.run(run()), sizes


def test_requests_share_batches(predictor, pictures):
    found, sizes = at_once(predictor, pictures*2)
    for (a,), b in zip(found, list(predictor.predict_many(pictures))*2): np.testing.assert_allclose(a.probs, b.probs, atol=2e-2)
    assert sum(sizes) == 40
    found, _ = at_once(predictor, pictures*2, queue=10)
    assert [isinstance(o, Refusal) for o in found] == [False]*10 + [True]*30
    found, _ = at_once(predictor, [pictures[0], b'no picture', pictures[1]])
    assert [isinstance(o[0], PictureError) for o in found] == [False, True, False]


def test_rows_of_every_target(predictor):
    assert picture_row(predictor, 'b.jpg', PictureError('b.jpg', 'damaged (a long story)')) == dict(name='b.jpg', error='damaged')
    looks = Target((OneOf('glasses', ('no', 'yes'), threshold=.9), AnyOf('who', ('bart', 'lisa'))))
    (answer,), single = answers(looks, np.array([[0, 1, 3, -3]], np.float32)), Target((AnyOf('who', ('bart', 'lisa')),))
    row = dict(name='a') | answer_row(looks, answer)
    tags = Picture(**row).tags
    assert tags['glasses'].refused and not tags['who'].refused and [o.label for o in tags['who'].labels] == ['bart'] and result(row) == 'answered'
    only = dict(name='a') | answer_row(single, answers(single, np.array([[3, 3]], np.float32))[0])
    assert [o.label for o in Picture(**only).labels] == ['bart', 'lisa'] and result(only) == 'answered'
    unsure = Target((OneOf('glasses', ('no', 'yes'), threshold=.9), OneOf('hat', ('no', 'yes'), threshold=.9)))
    assert result(answer_row(unsure, answers(unsure, np.zeros((1, 4)))[0])) == 'refused'
    assert facts(looks)['tags'] == dict(glasses=['no', 'yes'], who=['bart', 'lisa']) and facts(looks)['rejection_threshold'] is None
    assert facts(single)['tags'] is None and facts(single)['vocab'] == ['bart', 'lisa']


def test_answers_are_in_order(client, predictor, pictures):
    files = [('files', (f'{i}.jpg', o)) for i, o in enumerate([*pictures[:8], b'no picture'])]
    done = client.post('/predict?k=2', files=files)
    assert done.status_code == 200
    Answers(**done.json())
    rows = done.json()['pictures']
    assert [(o['name'], o['label']) for o in rows[:8]] == [(f'{i}.jpg', predictor.predict(o).label) for i, o in enumerate(pictures[:8])]
    assert rows[8] == {'name': '8.jpg', 'error': 'not a picture'} and len(rows[0]['top']) == 2
    assert client.post('/prediction', files=files[:1]).json() == dict(label=rows[0]['label'])
    assert client.post('/prediction', files=files[8:]).status_code == 422
    assert (client.get('/health').json(), client.get('/ready').json()) == (dict(status='alive'), dict(status='ready'))
    assert client.get('/model').json()['tags'] is None and client.get('/model').json()['vocab'] == list(predictor.vocab)


def test_what_goes_wrong_gets_a_status(predictor, pictures):
    small = TestClient(make_app(predictor, ServiceLimits(body=100_000, files=2, pixels=100)))
    form = dict(files=pictures[0])
    asked = [small.post('/predict', files=dict(files=bytes(200_000))), small.post('/predict', files=[('files', b'')]*3), small.post('/predict', content=b'no form'),
             small.post('/predict?k=0', files=form), small.post('/prediction', files=form), small.post('/admin/reload'), small.get('/nothing'), small.get('/predict')]
    assert [o.status_code for o in asked] == [413, 413, 415, 422, 422, 403, 404, 405] and all(set(o.json()) == {'error'} for o in asked)
    assert small.post('/predict', files=form).json()['pictures'][0]['error'].startswith('too many pixels')


def test_with_a_key_only_the_signs_of_life_are_open(predictor, client):
    keyed = TestClient(make_app(predictor, key='a secret'))
    for method, paths in dict(GET=['/model', '/metrics', '/docs', '/openapi.json', '/nothing'], POST=['/predict', '/prediction', '/admin/reload']).items():
        for path in paths:
            for headers in ({}, {'X-API-Key': 'a secre'}, {'Authorization': 'Basic a secret'}): assert keyed.request(method, path, headers=headers).status_code == 401
            for headers in ({'X-API-Key': 'a secret'}, {'Authorization': 'Bearer a secret'}): assert keyed.request(method, path, headers=headers).status_code != 401
    assert [getattr(keyed, how)(o).status_code for o in OPEN for how in ('get', 'head')] == [200]*4
    schema = keyed.get('/openapi.json', headers={'X-API-Key': 'a secret'}).json()
    assert [path for path, ways in schema['paths'].items() if not any('security' in o for o in ways.values())] == list(OPEN)
    assert schema['components']['securitySchemes'] == {'APIKeyHeader': {'type': 'apiKey', 'in': 'header', 'name': 'X-API-Key'}, 'HTTPBearer': {'type': 'http', 'scheme': 'bearer'}}
    assert 'securitySchemes' not in client.get('/openapi.json').json()['components']


def test_a_new_bundle_takes_over_and_a_broken_one_does_not(tmp_path, pictures, capsys):
    known = load_bundle('demo')
    bundle = restate_bundle(known, dest=tmp_path/'bundle')
    client = TestClient(make_app(bundle.path, runtime='onnxruntime'))
    reload, old = client.app.state.service.reload, client.get('/model').json()['version']
    restate_bundle(bundle, target=Target((replace(known.target.columns[0], threshold=1.),)))
    assert asyncio.run(reload()) is True and client.get('/model').json()['version'] != old
    row, = client.post('/predict', files=dict(files=pictures[0])).json()['pictures']
    assert row['refused'] is True and client.get('/model').json()['rejection_threshold'] == 1
    (bundle.path/'model.onnx').write_bytes(b'broken')
    assert asyncio.run(reload()) is False and 'the old one answers on' in capsys.readouterr().err
    assert client.post('/predict', files=dict(files=pictures[0])).json()['pictures'][0]['label'] == row['label']
    assert 'simpsons_pictures_total{result="refused"} 2.0' in client.get('/metrics').text


def test_who_may_listen():
    for host in ('0.0.0.0', '::', ''):
        with pytest.raises(SimpsonsError, match='there is no key'): serve('demo', host=host)
    for host in ('127.0.0.1', '::1', 'localhost'): check_host(host, None, False)
    check_host('0.0.0.0', 'a secret', False)
    check_host('0.0.0.0', None, True)
    with socket.create_server(('127.0.0.1', 0)) as taken:
        with pytest.raises(SimpsonsError, match='nothing can listen'): serve('demo', port=taken.getsockname()[1])


class Made:
    "A connection that has been idle for some seconds."
    def __init__(self, idle=0): self.idle = idle
    def idle_for(self): return self.idle


def test_an_idle_connection_gives_its_place():
    busy, idle, new, more = Made(), Made(), Made(), Made()
    places = Places(2, patience=10)
    assert [places.take(o) for o in (busy, idle, new, busy)] == [True, True, False, True]
    idle.idle = 11
    assert places.take(new) and not places.take(idle) and not places.take(more)
    places.leave(busy)
    places.leave(more)
    assert places.take(more)


class Play(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass
    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        status, data = self.server.script.pop(0)
        self.send_response(status)
        for k, v in {'Retry-After': 0, 'Content-Length': len(data)}.items(): self.send_header(k, v)
        self.end_headers()
        self.wfile.write(data)


def played(*script, pictures=(b'...',), **kwargs):
    "What the client says of a service that answers by a script."
    with ThreadingHTTPServer(('127.0.0.1', 0), Play) as play:
        play.daemon_threads, play.script = True, list(script)
        threading.Thread(target=play.serve_forever, kwargs=dict(poll_interval=.01), daemon=True).start()
        try: return ask(f'http://127.0.0.1:{play.server_port}', pictures, **kwargs)
        finally: play.shutdown()


FULL = 503, b'{"error": "the service is busy"}'
MOE = 200, b'{"pictures": [{"name": "picture 1", "label": "moe"}]}'


def test_the_client_is_patient():
    assert played(FULL, FULL, MOE) == [dict(name='picture 1', label='moe')] == played((503, b'<html>'), MOE)
    assert played((413, b'<html>')) == [dict(name='picture 1', error='too large for the service (3 bytes)')]
    with pytest.raises(SimpsonsError, match=r'does not take the pictures \(the service is busy\): status 503; start more services'): played(FULL, FULL, retries=1)
    with pytest.raises(SimpsonsError, match=r'\(it is busy\): status 503'): played((503, b'<html>'), retries=0)


@pytest.mark.parametrize('odd', [(200, b'<html>'), (404, b'nothing'), (200, b'[]'), (302, b'')])
def test_the_client_knows_its_service(odd):
    with pytest.raises(SimpsonsError, match='not as a service of ours'): played(odd)


@pytest.mark.parametrize('rows', [b'[{"name": "picture 1", "label": "moe"}]', b'[]', b'[1, 2, 3]', b'null', b'{"a": 1, "b": 2, "c": 3}', b'"abc"', b'[{"name": "a"}, {"name": "b"}, {"name": "c"}]', b'[{"label": "moe"}, {"label": "moe"}, {"label": "moe"}]'])
def test_the_client_wants_a_row_a_picture(rows):
    with pytest.raises(SimpsonsError, match='for 3 pictures'): played((200, b'{"pictures": ' + rows + b'}'), pictures=[b'a', b'b', b'c'])


def test_what_is_no_address_is_told():
    for odd in ('127.0.0.1:8081', 'http://[::1', 'http://127.0.0.1:8099/ü', 'http://exämple..com', 'http://a:99999', 'ftp://a'):
        with pytest.raises(SimpsonsError, match='is no address of a service'): ask(odd, [b'...'])


def test_pictures_travel_together():
    assert [len(o) for o in _groups([b'x']*20)] == [8, 8, 4] and [len(o) for o in _groups([bytes(5_000_000)]*3)] == [1, 1, 1]
    assert b'filename="li_sa.jpg"' in _form([('li"sa.jpg', b'...')])[1]


@pytest.mark.parametrize('runtime', ['onnxruntime', 'auto'])
def test_a_runtime_leaves_nothing_behind(runtime, tmp_path):
    code = f"from simpsons_fastai.model.predictor import Predictor; Predictor('demo', '{runtime}')"
    env = {k: v for k, v in os.environ.items() if k != 'ORT_DISABLE_TELEMETRY'} | dict(TMPDIR=str(tmp_path), HOME=str(tmp_path))
    subprocess.run([sys.executable, '-c', code], check=True, env=env)
    assert list(tmp_path.rglob('*')) == []
