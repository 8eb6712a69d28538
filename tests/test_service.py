"The service as a real process: real pictures, many clients, bad ones among them, a stop and a new model in the middle of it."
import asyncio, json, os, re, shutil, signal, socket, subprocess, sys, threading, time
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
import numpy as np
import pytest
from PIL import Image
from conftest import ROOT, simpsons
from simpsons_fastai.serve.client import ask
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.target import OneOf, Target, one_label
from simpsons_fastai.model.predictor import Predictor
sys.path.insert(0, str(ROOT/'benchmarks'))
import hostile
from service import Load

SERVE = '''import json, sys
from simpsons_fastai.core import exit_on_error
from simpsons_fastai.serve.limits import ServiceLimits
from simpsons_fastai.serve.server import serve
options = json.loads(sys.argv[2])
exit_on_error(serve, sys.argv[1], **dict(port=0) | options, limits=ServiceLimits(**json.loads(sys.argv[3])))'''
KEY = 'a key for tests'


def started(*args, key='', cwd=None):
    env = os.environ | dict(SIMPSONS_API_KEY=key) | (dict(TMPDIR=str(cwd)) if cwd else {})
    return subprocess.Popen([sys.executable, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=env)

def process(bundle, key='', cwd=None, limits={}, **options): return started('-c', SERVE, bundle, json.dumps(options), json.dumps(limits), key=key, cwd=cwd)

@contextmanager
def served(bundle, key='', cwd=None, limits={}, **options):
    "A service on a free port: its address, process and log."
    p, log = process(bundle, key, cwd, limits, **options), []
    line = p.stdout.readline()
    assert line, p.stderr.read()
    threading.Thread(target=lambda: log.extend(p.stderr), daemon=True).start()
    try: yield SimpleNamespace(url=line.split()[-1], process=p, pid=p.pid, log=log, memory=lambda what='VmRSS': int(Path(f'/proc/{p.pid}/status').read_text().split(f'{what}:')[1].split()[0])/1024)
    finally: p.terminate(); p.wait(60)


def call(url, path, body=None, method=None, **headers):
    "(status, headers, body) of one request."
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname, address.port, timeout=60)
    try:
        connection.request(method or ('GET' if body is None else 'POST'), path, body, {k.replace('_', '-'): v for k, v in headers.items()})
        r = connection.getresponse()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
    finally: connection.close()

def post(url, *pictures, path='/predict', **headers):
    status, headers, body = call(url, path, hostile.form(*[hostile.part(*(o if isinstance(o, tuple) else (o,))) for o in pictures]), Content_Type=hostile.FORM, **headers)
    return status, headers, json.loads(body)


@pytest.fixture(scope='module')
def pictures(mini): return [o.read_bytes() for o in sorted(mini.rglob('*.jpg'))[:24]]

def untrained(folder, head, target, **facts):
    from simpsons_fastai.learn.export import bundle_model
    from simpsons_fastai.pictures.preprocess import Preprocess
    from simpsons_fastai.learn.models import build_model
    return bundle_model(build_model('resnet18', target.sizes, head), folder, 'resnet18', head, target, Preprocess(48, 'bicubic', (.485, .456, .406), (.229, .224, .225)), **facts)

@pytest.fixture(scope='module')
def bundle(tmp_path_factory): return untrained(tmp_path_factory.mktemp('served')/'bundle', 'fastai', one_label([f'name {i}' for i in range(10)]))

@pytest.fixture(scope='module')
def server(bundle, tmp_path_factory):
    "A service with a key and the usual limits; its temporary folder is its working folder."
    with served(bundle, KEY, tmp_path_factory.mktemp('cwd')) as o: yield o

@pytest.fixture(scope='module')
def label(bundle, pictures): return Predictor(bundle).predict(pictures[0]).label


def test_answers_are_the_predictors(server, bundle, pictures):
    predictor = Predictor(bundle)
    status, _, answer = post(server.url, *pictures[:10], path='/predict?k=3', X_API_Key=KEY)
    assert status == 200 and answer['model'] == 'resnet18' and len(answer['version']) == 12 and answer['milliseconds'] > 0
    for data, row in zip(pictures, answer['pictures'], strict=False):
        expected = predictor.predict(data)
        assert row['confidence'] == pytest.approx(expected.confidence, abs=.02) and row['refused'] is False
        assert [o['label'] for o in row['top']][0] == row['label'] and len(row['top']) == 3
        assert expected.probs[predictor.vocab.index(row['label'])] == pytest.approx(expected.confidence, abs=.02)
    for picture, row in zip(pictures, ask(server.url, pictures, key=KEY)): assert row['confidence'] == pytest.approx(predictor.predict(picture).confidence, abs=.02)
    assert post(server.url, pictures[0], path='/prediction', X_API_Key=KEY)[2] == {'label': ask(server.url, pictures[:1], key=KEY)[0]['label']}


def test_a_broken_picture_costs_the_others_nothing(server, pictures):
    rows = ask(server.url, [pictures[0], b'no picture', pictures[1], b''], key=KEY)
    assert [o.get('error') for o in rows] == [None, 'not a picture', None, 'empty file (0 bytes)']
    status, _, answer = post(server.url, b'no picture', path='/prediction', X_API_Key=KEY)
    assert status == 422 and 'not a picture' in answer['error']


def test_a_tag_model_answers_a_value_a_column(tmp_path, pictures):
    tags = dict(glasses=['no', 'yes'], hair=['blue', 'brown', 'none'])
    bundle = untrained(tmp_path/'tags', 'tags', Target(tuple(OneOf(k, tuple(v)) for k, v in tags.items())))
    predictor = Predictor(bundle, 'onnxruntime')
    with served(bundle, runtime='onnxruntime') as o:
        for data in pictures[:3]:
            expected = predictor.predict(data)
            assert post(o.url, data, path='/prediction')[2] == {column: v.label for column, v in expected.items()}
            row, = post(o.url, data)[2]['pictures']
            assert row['tags']['hair'] == dict(label=expected['hair'].label, confidence=pytest.approx(expected['hair'].confidence, abs=1e-4), refused=False)
        assert json.loads(call(o.url, '/model')[2])['tags'] == tags
        assert post(o.url, *pictures[:2], path='/prediction')[0] == 400


def test_every_address_asks_for_the_key_but_the_signs_of_life(server):
    for path in ('/health', '/ready'): assert call(server.url, path)[0] == 200
    for method, paths in dict(GET=['/model', '/metrics', '/openapi.json', '/docs', '/redoc', '/', '/nothing', '/predict'], POST=['/predict', '/prediction', '/admin/reload', '/health/../model']).items():
        for path in paths:
            for headers in ({}, dict(X_API_Key=''), dict(X_API_Key=KEY[:-1]), dict(X_API_Key=KEY + 'x'), dict(Authorization=f'Basic {KEY}'), dict(Authorization='Bearer '), dict(Cookie=f'X-API-Key={KEY}')):
                status, _, body = call(server.url, path, b'' if method == 'POST' else None, method, **headers)
                assert status == 401 and set(json.loads(body)) == {'error'}, (path, headers)
            for headers in (dict(X_API_Key=KEY), dict(Authorization=f'Bearer {KEY}')): assert call(server.url, path, b'' if method == 'POST' and 'reload' not in path else None, method if 'reload' not in path else 'GET', **headers)[0] != 401
    with pytest.raises(SimpsonsError, match='refuses the key'): ask(server.url, [b'x'], key='another')


def test_answers_tell_nothing_of_the_machine(server, bundle, pictures):
    answers = [call(server.url, path, X_API_Key=KEY, Origin='http://elsewhere') for path in ('/health', '/ready', '/model', '/metrics', '/openapi.json', '/nothing', '/docs')]
    answers += [call(server.url, path, body, Content_Type=hostile.FORM, X_API_Key=KEY, Origin='http://elsewhere') for path in ('/predict', '/prediction', '/predict?k=x') for body in (b'', b'--x', hostile.form(hostile.part(pictures[0])), hostile.form(hostile.part(b'x', '/etc/x')))]
    answers.append(call(server.url, '/predict', method='OPTIONS', X_API_Key=KEY, Origin='http://elsewhere', Access_Control_Request_Method='POST'))
    for _, headers, body in answers:
        assert 'server' not in headers and not [o for o in headers if o.startswith('access-control')]
        for word in (str(bundle.parent), str(ROOT), '.py', 'Traceback', 'uvicorn', 'fastapi', 'starlette', 'openvino 2', '/tmp', '/etc'): assert word not in body.decode(), (word, body[:200])
    assert (answers[5][0], answers[6][0]) == (404, 200)


def test_no_key_no_strangers_and_no_reload(bundle, tmp_path):
    for host in ('0.0.0.0', '::', ''):
        p = process(bundle, host=host)
        _, said = p.communicate(timeout=60)
        assert p.returncode == 2 and 'SIMPSONS_API_KEY' in said and 'Traceback' not in said
    with served(bundle, host='0.0.0.0', insecure=True, runtime='onnxruntime') as o:
        port = urlsplit(o.url).port
        assert call(f'http://127.0.0.1:{port}', '/model')[0] == 200
        assert call(f'http://127.0.0.1:{port}', '/admin/reload', b'')[0] == 403


def test_a_bundle_that_is_not_sound_is_not_served(bundle, tmp_path):
    from simpsons_fastai.model.bundle import _write_sums
    changed, newer, odd = (shutil.copytree(bundle, tmp_path/o) for o in ('changed', 'newer', 'odd'))
    (changed/'model.onnx').write_bytes((changed/'model.onnx').read_bytes()[:-1] + b'x')
    (newer/'config.json').write_text(json.dumps(json.loads((newer/'config.json').read_text()) | dict(schema=99))); _write_sums(newer)
    (odd/'model.pkl').write_bytes(b"cos\nsystem\n(S'touch owned'\ntR."); _write_sums(odd)
    (tmp_path/'export.pkl').write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    for path, says in ((changed, 'checksum'), (newer, 'schema 99'), (odd, 'is refused'), (tmp_path/'export.pkl', 'is refused')):
        p = process(path, cwd=tmp_path)
        out, said = p.communicate(timeout=60)
        assert p.returncode == 2 and says in said and not out and 'Traceback' not in said
    assert not (tmp_path/'owned').exists()


def test_limits_hold(bundle, pictures):
    with served(bundle, limits=dict(body=200_000, files=3, parts=5, pixels=1_000_000, queue=8), runtime='onnxruntime') as o:
        status, _, answer = post(o.url, bytes(300_000))
        assert status == 413 and '200,000 bytes' in answer['error']
        def endless():
            yield hostile.form(hostile.part(b''), end=b'')
            for _ in range(20): yield bytes(50_000)
        status, _, body = call(o.url, '/predict', endless(), Content_Type=hostile.FORM) # chunked
        assert status == 413 and '200,000 bytes' in json.loads(body)['error']
        assert [o.get('error') for o in ask(o.url, [*pictures[:4], bytes(300_000), pictures[4]])] == [None]*4 + ['too large for the service (300,000 bytes)', None]
        assert post(o.url, *pictures[:3])[0] == 200 and post(o.url, *pictures[:4])[0] == 413
        other = b'Content-Disposition: form-data; name="note"\r\n\r\nx'
        for n, status in ((4, 200), (5, 413)): assert call(o.url, '/predict', hostile.form(*[other]*n, hostile.part(pictures[0])), Content_Type=hostile.FORM)[0] == status
        before = o.memory()
        for data in (hostile.png(50_000, 50_000), hostile.written(Image.new('1', (1001, 1000)), 'PNG')): assert 'too many pixels' in post(o.url, data)[2]['pictures'][0]['error']
        assert o.memory() - before < 50
        assert 'confidence' in post(o.url, pictures[0])[2]['pictures'][0]


def test_one_connection_too_many_is_told_to_come_again(bundle, pictures):
    with served(bundle, limits=dict(connections=5, head_seconds=60), runtime='onnxruntime') as o:
        address = urlsplit(o.url)
        def got(connection, path): connection.request('GET', path); r = connection.getresponse(); return r.status, r.read().decode()
        held = [HTTPConnection(address.hostname, address.port, timeout=60) for _ in range(5)]
        assert [got(c, '/model')[0] for c in held] == [200]*5
        status, headers, answer = post(o.url, pictures[0])
        assert status == 503 and headers['retry-after'] == '1' and 'busy' in answer['error']
        assert [call(o.url, path)[0] for path in ('/health', '/ready')] == [200, 200]
        with pytest.raises(SimpsonsError, match='the service is busy.*status 503; start more services'): ask(o.url, pictures[:1], retries=0)
        assert 'simpsons_requests_total{path="/predict",status="503"} 2.0' in got(held[0], '/metrics')[1]
        waiting = HTTPConnection(address.hostname, address.port, timeout=60)
        assert got(waiting, '/model')[0] == 503
        held.pop().close()
        for _ in range(100):
            if got(waiting, '/model')[0] == 200: break
            time.sleep(.05)
        else: pytest.fail('the place that became free was not given on')
        more = [socket.create_connection((address.hostname, address.port), timeout=20) for _ in range(6)]
        assert more[-1].recv(1) == b'' and got(held[0], '/model')[0] == 200
        for c in (*held, waiting, *more): c.close()


def silent(url):
    "A connection whose client reads next to nothing."
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    s.connect((urlsplit(url).hostname, urlsplit(url).port))
    s.setblocking(False)
    return s

def send_until_stuck(connections, data, seconds=25):
    "Send at leisure as long as it goes."
    last = dict.fromkeys(connections, time.monotonic())
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(time.monotonic() - o < 1 for o in last.values()):
        for s in connections:
            try: s.send(data); last[s] = time.monotonic()
            except OSError: pass # stuck, or closed
        time.sleep(.03)

HEALTH = b'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'


def test_clients_without_the_key_take_no_place(bundle, pictures):
    "They ask for signs of life, or with a wrong key, and stay; a client with the key is answered."
    with served(bundle, KEY, limits=dict(connections=5), runtime='onnxruntime') as o:
        address = urlsplit(o.url)
        idle = [socket.create_connection((address.hostname, address.port), timeout=20) for _ in range(10)]
        for i, s in enumerate(idle):
            s.sendall(HEALTH if i % 2 else HEALTH.replace(b'health', b'model'))
            assert s.recv(4096).startswith(b'HTTP/1.1 200' if i % 2 else b'HTTP/1.1 401')
        time.sleep(1.1)
        for _ in range(3): assert call(o.url, '/model', X_API_Key=KEY)[0] == 200
        for s in idle: s.close()


def test_clients_that_never_read_hold_up_nobody(bundle, pictures):
    with served(bundle, KEY, limits=dict(connections=1, write_seconds=2), runtime='onnxruntime') as o:
        sockets = lambda: sum(os.readlink(p).startswith('socket:') for p in Path(f'/proc/{o.pid}/fd').iterdir())
        before = sockets()
        held = [silent(o.url) for _ in range(2)]
        send_until_stuck(held, HEALTH*80)
        for _ in range(3): assert call(o.url, '/model', X_API_Key=KEY)[0] == 200
        for _ in range(100): # each is cut, at the latest `write_seconds` after it was stuck
            if sockets() == before: break
            time.sleep(.1)
        else: pytest.fail('clients that never read are still connected')
        for s in held: s.close()


def test_an_idle_client_gives_its_place(bundle, pictures):
    with served(bundle, KEY, limits=dict(connections=2, head_seconds=1), runtime='onnxruntime') as o:
        address = urlsplit(o.url)
        held = [HTTPConnection(address.hostname, address.port, timeout=60) for _ in range(2)]
        def got(c): c.request('GET', '/model', headers={'X-API-Key': KEY}); r = c.getresponse(); r.read(); return r.status
        assert [got(c) for c in held] == [200, 200] and call(o.url, '/model', X_API_Key=KEY)[0] == 503
        time.sleep(1.1)
        assert call(o.url, '/model', X_API_Key=KEY)[0] == 200 and got(held[0]) == 200 # whichever gave its place takes the free one
        for c in held: c.close()


def test_a_head_is_not_endless(server):
    address = urlsplit(server.url)
    for n, answered in ((60_000, True), (70_000, False), (100_000, False)):
        with socket.create_connection((address.hostname, address.port), timeout=20) as s:
            s.sendall(b'GET /health HTTP/1.1\r\nHost: a\r\nX: ' + b'x'*n + b'\r\n\r\n')
            try: assert s.recv(100).startswith(b'HTTP/1.1 200') == answered
            except ConnectionResetError: assert not answered
    assert [call(server.url, path, method='HEAD')[::2] for path in ('/health', '/ready')] == [(200, b'')]*2


def test_hostile_uploads_do_no_harm(bundle, pictures, label, tmp_path):
    "300 of them, 8 at once: no 5xx, right answers meanwhile, bounded memory, nothing on the disk, nothing run."
    with served(bundle, cwd=tmp_path) as o:
        for _ in range(20): post(o.url, pictures[0])
        before = o.memory()
        statuses, failures = hostile.send_all(o.url, pictures[0], label, 300)
        assert not failures and sum(statuses.values()) == 300 and statuses[200] > 150 and statuses[413] > 2 and statuses[400] > 10, (failures[:3], statuses)
        assert o.process.poll() is None and post(o.url, pictures[0])[2]['pictures'][0]['label'] == label
        assert o.memory('VmHWM') - before < 200, o.memory('VmHWM') - before
        assert not list(tmp_path.iterdir()) and not [line for line in o.log if 'Traceback' in line]
        assert 'simpsons_queue_pictures 0.0' in call(o.url, '/metrics')[2].decode()
    assert not Path('/tmp/owned').exists()


def test_names_are_shown_and_never_used(server, pictures):
    shown = [post(server.url, (pictures[0], name), X_API_Key=KEY)[2]['pictures'][0]['name'] for name in ('../../etc/passwd', '..\\x.jpg', '/etc/cron.d/x', 'a\0b.jpg', 'x'*500, '')]
    assert shown == ['passwd', 'x.jpg', 'x', 'ab.jpg', 'x'*100, 'picture 1']


def test_an_upload_never_touches_the_disk(server):
    "15 MB, all but the end of it sent: no new file is open, the temporary folder is empty."
    cwd, address = Path(f'/proc/{server.pid}/cwd').resolve(), urlsplit(server.url)
    def files():
        "What the program has open, but pipes and sockets; one that is closed meanwhile is none."
        open_now = set()
        for p in Path(f'/proc/{server.pid}/fd').iterdir():
            with suppress(FileNotFoundError): open_now.add(os.readlink(p))
        return {o for o in open_now if not o.startswith(('socket:', 'anon_inode:', 'pipe:'))}

    before, data = files(), hostile.request(hostile.form(hostile.part(hostile.written(Image.new('RGB', (2500, 2000), 'teal'), 'BMP'))), more=f'X-API-Key: {KEY}\r\n')
    assert len(data) > 15_000_000
    with socket.create_connection((address.hostname, address.port)) as s:
        s.sendall(data[:-5])
        time.sleep(.5)
        assert files() == before and not list(cwd.iterdir())
        s.sendall(data[-5:])
        assert s.recv(100).startswith(b'HTTP/1.1 200')
    assert files() == before and not list(cwd.iterdir())


def drip(url, data, every=.1, until=20):
    "Send a byte now and then: what comes back, and after how long."
    address, start = urlsplit(url), time.monotonic()
    with socket.create_connection((address.hostname, address.port)) as s:
        s.settimeout(every)
        for i in range(len(data)):
            try:
                s.sendall(data[i:i+1])
                if got := s.recv(1000): return got, time.monotonic() - start
                return b'', time.monotonic() - start
            except TimeoutError: pass
            except OSError: return b'', time.monotonic() - start
            if time.monotonic() - start > until: return None, until


def test_slow_clients_hold_up_nobody(bundle, pictures):
    whole = hostile.request(hostile.form(hostile.part(pictures[0])))
    body = whole.index(b'\r\n\r\n') + 4
    with served(bundle, limits=dict(head_seconds=2, body_seconds=6)) as o:
        got = {}
        def slow(name, data): got[name] = drip(o.url, data)
        def half(i):
            address = urlsplit(o.url)
            with socket.create_connection((address.hostname, address.port)) as s: s.sendall(whole[:body + 1000]); got[i] = s.recv(1000), 0
        threads = [threading.Thread(target=half, args=(i,)) for i in range(40)] + [threading.Thread(target=slow, args=('head', b'GET /health HTTP/1.1\r\nX: ' + b'x'*500))]
        for t in threads: t.start()
        time.sleep(.5)
        times = []
        for _ in range(15): start = time.monotonic(); assert post(o.url, pictures[0])[0] == 200; times.append(time.monotonic() - start)
        assert not [i for i in range(40) if i in got] and np.median(times) < .5, times
        for t in threads: t.join(30)
        assert all(got[i][0].startswith(b'HTTP/1.1 408') for i in range(40))
        assert got['head'][0] == b'' and got['head'][1] < 6


@pytest.fixture(scope='module')
def program(bundle, tmp_path_factory):
    "What `simpsons serve` says, its address, and a folder with two pictures."
    folder = tmp_path_factory.mktemp('program')
    p = started('-m', 'simpsons_fastai.cli', 'serve', bundle, '--port', 0, '--runtime', 'onnxruntime')
    said = p.stdout.readline(), p.stdout.readline()
    yield SimpleNamespace(said=said, url=said[1].split()[-1], folder=folder)
    p.terminate()
    assert p.wait(30) == 0


def test_the_program_serves_and_asks(program, bundle, pictures, tmp_path):
    assert program.said[0].strip() == f'model: {bundle}' and re.fullmatch(r'resnet18 \w{12} answers at http://127.0.0.1:\d+\n', program.said[1])
    for i, data in enumerate([pictures[0], b'no picture', *pictures[1:12]]): (tmp_path/f'{i:02}.jpg').write_bytes(data)
    far, near = simpsons('predict', '--url', program.url, tmp_path), simpsons('predict', bundle, tmp_path, '--runtime', 'onnxruntime')
    assert far.returncode == near.returncode == 1 and not far.stderr, far.stderr
    far, near = ([json.loads(line) for line in o.stdout.splitlines()] for o in (far, near))
    assert len(far) == 13 and far[1] == near[1] == dict(path=str(tmp_path/'01.jpg'), error='not a picture')
    for a, b in zip(far, near):
        assert list(a) == list(b) and a['path'] == b['path'] and a.get('label') == b.get('label')
        assert a.get('confidence', 0) == pytest.approx(b.get('confidence', 0), abs=1e-4)
    (tmp_path/'12.jpg').write_bytes(bytes(21_900_000))
    far = simpsons('predict', '--url', program.url, *(tmp_path/o for o in ('00.jpg', 'missing.jpg', '12.jpg', '02.jpg')))
    assert [json.loads(line).get('error') for line in far.stdout.splitlines()] == [None, 'cannot be read (No such file or directory)', 'too large for the service (21,900,000 bytes)', None] and far.returncode == 1, far.stderr
    for args, says in ((['predict', '--url', 'http://127.0.0.1:9', tmp_path], 'nothing answers'), (['predict', bundle], '--url'), (['serve', tmp_path], 'is no bundle'), (['serve', bundle, '--host', '0.0.0.0'], 'SIMPSONS_API_KEY')):
        done = simpsons(*args)
        assert done.returncode == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_without_the_extra_a_sentence_says_so():
    code = "import sys; sys.modules['uvicorn'] = None; from simpsons_fastai.cli import main; sys.argv = ['simpsons', 'serve', 'demo']; main()"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'simpsons_fastai[serve]'" in done.stderr and 'Traceback' not in done.stderr


def test_the_lines_of_the_readme_work_as_written(program, pictures):
    section = (ROOT/'README.md').read_text().split('## Serve it')[1].split('\n## ')[0]
    shell, python = (re.findall(rf'```{o}\n(.*?)```', section, re.S)[-1].replace('8081', program.url.rpartition(':')[2]) for o in ('sh', 'python'))
    assert shell.count('curl') == 4 and 'ask(' in python
    for i in (1, 2): (program.folder/f'frame{i}.jpg').write_bytes(pictures[i])
    env = os.environ | dict(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", SIMPSONS_API_KEY='')
    lines = [subprocess.run(['bash', '-c', o], capture_output=True, text=True, cwd=program.folder, env=env, timeout=120) for o in shell.splitlines()]
    assert all(o.returncode == 0 for o in lines), lines
    ready, model, two, three = (json.loads(o.stdout) for o in lines[:4])
    assert ready == dict(status='ready') and model['vocab'][0] == 'name 0' and [o['name'] for o in two['pictures']] == ['frame1.jpg', 'frame2.jpg'] and len(three['pictures'][0]['top']) == 3
    assert [json.loads(o)['label'] for o in lines[4].stdout.splitlines()] == [o['label'] for o in two['pictures']]
    run = lambda: subprocess.run([sys.executable, '-c', python], capture_output=True, text=True, cwd=program.folder, env=env, timeout=120)
    done = run()
    assert [o.split()[0] for o in done.stdout.splitlines()] == ['frame1.jpg', 'frame2.jpg'] and two['pictures'][0]['label'] in done.stdout, done.stderr
    (program.folder/'frame1.jpg').write_text('no picture')
    done = run()
    assert done.stdout.splitlines()[0] == 'frame1.jpg cannot be used: not a picture' and done.stdout.splitlines()[1].startswith('frame2.jpg'), done.stderr


@contextmanager
def load(server, pictures, clients=12, seconds=3, path='/predict', key=None):
    "Requests all the while; afterwards the figures are in the dictionary."
    figures = {}
    thread = threading.Thread(target=lambda: figures.update(asyncio.run(Load(server.url, pictures, path, key).run(seconds, clients))))
    thread.start()
    time.sleep(1)
    yield figures
    thread.join(60)


def test_what_was_accepted_is_answered_before_the_end(bundle, pictures):
    with served(bundle, limits=dict(drain=5.)) as o: # what is asked below must come before the door is closed
        with load(o, pictures) as figures:
            o.process.terminate()
            while call(o.url, '/ready')[0] == 200: time.sleep(.01)
            status, headers, body = call(o.url, '/predict', b'')
            assert status == 503 and 'stopping' in json.loads(body)['error'] and headers['retry-after'] and headers['connection'] == 'close'
            assert call(o.url, '/ready')[0] == 503 and call(o.url, '/health')[0] == 200
        assert o.process.wait(30) == 0
        assert figures['lost'] == 0 and set(figures['statuses']) <= {200, 503} and figures['statuses'][200] >= 12, figures # each client once
    with pytest.raises(SimpsonsError, match='nothing answers'): ask(o.url, pictures[:1])


def test_a_new_bundle_takes_over_and_nothing_is_lost(tmp_path, bundle, pictures):
    from simpsons_fastai.model.bundle import load_bundle, restate_bundle
    path = shutil.copytree(bundle, tmp_path/'bundle')
    column, = load_bundle(path).target
    refusing = lambda threshold: Target((replace(column, threshold=threshold),))
    with served(path, KEY) as o:
        version = lambda: json.loads(call(o.url, '/model', X_API_Key=KEY)[2])['version']
        versions = [version()]
        with load(o, pictures, seconds=6, key=KEY) as figures:
            restate_bundle(load_bundle(path), target=refusing(1.))
            status, _, body = call(o.url, '/admin/reload', b'', X_API_Key=KEY)
            assert status == 200 and json.loads(body)['version'] == version()
            versions.append(version())
            restate_bundle(load_bundle(path), target=refusing(None), metrics=dict(macro_f1=.5))
            o.process.send_signal(signal.SIGHUP)
            for _ in range(100):
                if version() not in versions: break
                time.sleep(.1)
            versions.append(version())
            (path/'model.onnx').write_bytes(b'broken')
            status, _, body = call(o.url, '/admin/reload', b'', X_API_Key=KEY)
            assert status == 409 and 'old one answers on' in json.loads(body)['error'] and str(tmp_path) not in body.decode()
            assert version() == versions[-1]
            for _ in range(100): # the answer may come before the line that says why
                if any('does not have the checksum' in line for line in o.log): break
                time.sleep(.1)
            else: pytest.fail('\n'.join(o.log))
        assert len(set(versions)) == 3
        o.process.terminate()
        assert o.process.wait(30) == 0 # and not by a signal: networks were made and freed by now
        assert figures['lost'] == 0 and set(figures['statuses']) == {200} and figures['statuses'][200] > 20, figures


def test_a_hang_up_while_it_loads_ends_nothing(bundle):
    code = '''import os, signal, sys; from simpsons_fastai.serve import server as service
make_app = service.make_app
def hung_up(*args, **kwargs): os.kill(os.getpid(), signal.SIGHUP); return make_app(*args, **kwargs)
service.make_app = hung_up; service.serve(sys.argv[1], port=0, runtime='onnxruntime')'''
    p = started('-c', code, bundle)
    assert 'answers at' in p.stdout.readline() and 'answers now' in p.stderr.readline() # and the bundle is loaded again
    p.terminate()
    assert p.wait(30) == 0


def test_a_full_queue_says_come_again(bundle, pictures):
    with served(bundle, limits=dict(queue=4)) as o:
        with load(o, pictures, clients=24, seconds=2) as figures:
            seen = [call(o.url, '/predict', hostile.form(hostile.part(pictures[0])), Content_Type=hostile.FORM) for _ in range(60)]
            refused = [headers for status, headers, _ in seen if status == 503]
            assert {status for status, _, _ in seen} <= {200, 503} and refused and all(o['retry-after'] == '1' for o in refused)
        assert set(figures['statuses']) == {200, 503} and figures['lost'] == 0, figures
        assert 'confidence' in ask(o.url, pictures[:1])[0]
        metrics = call(o.url, '/metrics')[2].decode()
        assert 'simpsons_requests_total{path="/predict",status="503"}' in metrics and 'simpsons_batch_pictures_bucket' in metrics and 'simpsons_queue_pictures 0.0' in metrics


def test_the_service_keeps_to_its_openapi(server):
    schemathesis = pytest.importorskip('schemathesis')
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance
    schema = schemathesis.openapi.from_url(f'{server.url}/openapi.json', headers={'X-API-Key': KEY})
    operations = [o.ok() for o in schema.get_all_operations()]
    assert {(o.method.upper(), o.path) for o in operations} >= {('POST', '/predict'), ('POST', '/prediction'), ('GET', '/model')}
    for operation in operations:
        if operation.path == '/admin/reload': continue
        @given(case=operation.as_strategy())
        @settings(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        def check(case): case.call_and_validate(headers={'X-API-Key': KEY}, excluded_checks=[positive_data_acceptance]) # a schema cannot say what a picture is
        check()
