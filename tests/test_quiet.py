"Nothing calls home: no name is looked up, and nothing is left in the home folder, by anything that people start."
import os
import signal
import subprocess
import sys
import pytest
from conftest import ROOT

LISTEN = '''import os, socket, subprocess
def note(host):
    if host not in (None, '', 'localhost', '127.0.0.1', '::1', '0.0.0.0', socket.gethostname(), b'localhost', b'127.0.0.1'):
        with open(os.environ['ASKED'], 'a') as f: f.write(repr(host) + '\\n')
def heard(f, at=0):
    def g(*args, **kwargs):
        host = args[at] if len(args) > at else kwargs.get('host')
        note(host[0] if isinstance(host, tuple) else host)
        return f(*args, **kwargs)
    return g
for name in ('getaddrinfo', 'gethostbyname', 'gethostbyname_ex', 'create_connection'): setattr(socket, name, heard(getattr(socket, name)))
class Listened(socket.socket):
    def connect(self, address):
        if isinstance(address, tuple): note(address[0])
        return super().connect(address)
    def connect_ex(self, address):
        if isinstance(address, tuple): note(address[0])
        return super().connect_ex(address)
    def sendto(self, *args):
        if isinstance(args[-1], tuple): note(args[-1][0])
        return super().sendto(*args)
socket.socket = Listened
'''


@pytest.fixture
def listened(tmp_path):
    "Environment in which every Python process notes the names it looks up; and what was noted, and left at home."
    (tmp_path/'site').mkdir()
    (tmp_path/'home').mkdir()
    (tmp_path/'site/sitecustomize.py').write_text(LISTEN)
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(tmp_path/'site'), str(ROOT), os.environ.get('PYTHONPATH', '')]), HOME=str(tmp_path/'home'),
                            XDG_CACHE_HOME=str(tmp_path/'cache'), ASKED=str(tmp_path/'asked'), TERM='dumb')
    for name in ('CI', 'NNCF_CI', 'GRADIO_ANALYTICS_ENABLED', 'HF_HUB_OFFLINE'): env.pop(name, None)
    def said():
        asked = (tmp_path/'asked').read_text() if (tmp_path/'asked').is_file() else ''
        left = [str(o.relative_to(tmp_path/'home')) for o in (tmp_path/'home').rglob('*') if o.is_file()]
        return asked, [o for o in left if 'telemetry' in o.lower() or 'intel' in o.lower() or 'client' in o.lower()]
    return env, said

def start(env, *args, **kwargs):
    return subprocess.Popen([sys.executable, '-m', 'simpsons_fastai.cli', *map(str, args)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)


def test_the_listener_hears(listened):
    env, said = listened
    code = "import socket\ntry: socket.getaddrinfo('example.invalid', 80)\nexcept OSError: pass"
    subprocess.run([sys.executable, '-c', code], env=env, check=True)
    assert "'example.invalid'" in said()[0]


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_predict_and_label_ask_nobody(listened, mini, tmp_path, runtime):
    pytest.importorskip(runtime)
    env, said = listened
    pictures = sorted((mini/'test').rglob('*.jpg'))[:3]
    for args in (('predict', 'demo', *pictures, '--runtime', runtime), ('label', 'demo', pictures[0].parent, '-o', tmp_path/'labels', '--runtime', runtime)):
        p = start(env, *args)
        text, _ = p.communicate(timeout=120)
        assert p.returncode == 0, text
    assert said() == ('', [])


def test_a_training_asks_nobody(listened, mini, tmp_path):
    env, said = listened
    p = start(env, 'train', mini, '--arch', 'test_resnet', '--size', 32, '--epochs', 1, '--bs', 64, '--weights', 'none', '--out', tmp_path/'run')
    text, _ = p.communicate(timeout=300)
    assert p.returncode == 0, text
    assert said() == ('', [])


@pytest.mark.parametrize('args, ready', [(('serve', 'demo', '--port', 0), 'answers at'), (('app', '--model', 'demo', '--port', 7899), 'http')])
def test_the_service_and_the_demo_ask_nobody(listened, tmp_path, args, ready):
    env, said = listened
    p = start(env, *args, cwd=tmp_path)
    try:
        for line in p.stdout:
            if ready in line: break
        else: pytest.fail('it ended before it answered')
        p.send_signal(signal.SIGINT)
        p.wait(30)
    finally:
        p.kill()
        p.stdout.close()
    assert said() == ('', [])
