"The download from Kaggle, from a small server that answers as Kaggle does."
import io, logging, os, sys, zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
import pytest
from PIL import Image
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.pictures.kaggle import download_journey
from simpsons_fastai.pictures.scan import journey

pytest.importorskip('kagglehub')


@pytest.fixture
def user(tmp_path, monkeypatch):
    "An environment with nothing of Kaggle's in it; called with what is to be."
    for k in list(os.environ):
        if 'proxy' in k.lower() or k.startswith('KAGGLE'): monkeypatch.delenv(k)
    monkeypatch.setenv('HOME', str(tmp_path/'home')); monkeypatch.setenv('KAGGLE_CONFIG_DIR', str(tmp_path/'home/.kaggle'))
    return lambda **env: [monkeypatch.setenv(k, v) for k,v in env.items()]


def archive(*names):
    picture, res = io.BytesIO(), io.BytesIO()
    Image.new('RGB', (8, 8), 'gold').save(picture, 'JPEG')
    with zipfile.ZipFile(res, 'w') as z:
        for o in names: z.writestr(o, picture.getvalue())
    return res.getvalue()

ARCHIVES = dict(good=archive('train/simpsons_dataset/moe/pic_0.jpg', 'train/simpsons_dataset/bart/pic_0.jpg', 'testset/testset/img0.jpg'),
                odd=archive('a.jpg'), broken=b'PK no archive')


class TownHall(BaseHTTPRequestHandler):
    "Answers as Kaggle's download does: the token says how."
    def do_HEAD(self): self.send_response(404); self.end_headers()
    def log_message(self, *args): pass
    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        token = self.headers['Authorization'].removeprefix('Bearer ')
        self.send_response(int(token) if token.isdigit() else 200); self.end_headers()
        if not token.isdigit(): self.wfile.write(ARCHIVES[token])


@pytest.fixture
def town_hall(user, monkeypatch):
    from kagglesdk import kaggle_env
    logging.getLogger('kagglehub').setLevel(logging.ERROR)
    server = ThreadingHTTPServer(('127.0.0.1', 0), TownHall)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, f'http://127.0.0.1:{server.server_port}')
    yield lambda token: user(KAGGLE_API_TOKEN=token, KAGGLE_API_ENVIRONMENT='LOCALHOST')
    server.shutdown(); server.server_close()


def refused(dest, said):
    with pytest.raises(SimpsonsError) as e: download_journey(dest)
    assert said in str(e.value) and not dest.exists(), str(e.value)


def test_what_is_lacking_is_told_at_once(user, tmp_path, monkeypatch):
    refused(tmp_path/'data', 'Kaggle is not told who you are: make an API token at')
    (tmp_path/'home/.kaggle').mkdir(parents=True); (tmp_path/'home/.kaggle/kaggle.json').write_text('{')
    refused(tmp_path/'data', 'Invalid Kaggle credentials file')
    user(KAGGLE_API_TOKEN='x', HTTPS_PROXY='http://127.0.0.1:9')
    refused(tmp_path/'data', 'https://api.kaggle.com is not within reach: connect to the network, or download by hand from')
    for o in ('kagglehub', 'kagglehub.config'): monkeypatch.setitem(sys.modules, o, None)
    refused(tmp_path/'data', "this needs kagglehub, which is not installed: pip install 'simpsons_fastai[train]'")
    (tmp_path/'out').mkdir(); (tmp_path/'out/a.txt').touch()
    with pytest.raises(SimpsonsError, match='exists and is not the data: give another folder, or remove it first'): download_journey(tmp_path/'out')


@pytest.mark.parametrize('token, said', [('401', 'Kaggle refuses the API token'), ('403', 'only to those who accepted its rules: join the competition at'),
    ('404', "Kaggle has no competition 'journey-springfield'"), ('odd', 'are not laid out as'), ('broken', 'failed ('), ('500', '500 Server Error')])
def test_a_download_that_fails(town_hall, tmp_path, token, said):
    town_hall(token)
    refused(tmp_path/'data', said)
    assert [o.name for o in tmp_path.iterdir() if o.name != 'home'] == []


def test_a_download(town_hall, tmp_path):
    town_hall('good')
    data = download_journey(tmp_path/'data')
    assert download_journey(data) == data # what is there is not asked for again
    table = journey(data).fillna('')
    assert [(os.path.relpath(o.path, data), o.label, o.split) for o in table.itertuples()] == [
        ('testset/testset/img0.jpg', '', 'test'), ('train/simpsons_dataset/bart/pic_0.jpg', 'bart', 'train'),
        ('train/simpsons_dataset/moe/pic_0.jpg', 'moe', 'train')]
    assert [o.name for o in tmp_path.iterdir() if o.name.startswith('.')] == []
