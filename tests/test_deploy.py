"What can be known of deploy/ without docker: that it agrees with the package and the program."
import json, re, shlex, shutil, subprocess
from configparser import ConfigParser
import pytest
from conftest import ROOT
from typer.main import get_command

DEPLOY = ROOT/'deploy'


def serve_options():
    from simpsons_fastai.cli import app
    return {o for p in get_command(app).commands['serve'].params for o in p.opts if o.startswith('-')}

def asked(command):
    "What a command line of ours asks of the program: its name, the command, the options."
    program, name, *rest = command
    return program.rpartition('/')[2], name, [o for o in rest if o.startswith('-')]

def dockerfile(word): return [o.split(maxsplit=1)[1] for o in (DEPLOY/'Dockerfile').read_text().replace('\\\n', ' ').splitlines() if o.startswith(f'{word} ')]

def unit():
    ini = ConfigParser(delimiters=['='], interpolation=None, strict=False)
    ini.optionxform = str
    ini.read(DEPLOY/'simpsons.service')
    return ini


def test_the_image_installs_what_there_is_and_starts_what_there_is():
    ini = ConfigParser(delimiters=['=']); ini.read(ROOT/'settings.ini')
    extras = re.search(r"\.\[([\w,-]+)\]", ' '.join(dockerfile('RUN'))).group(1).split(',')
    assert sorted(extras) == ['predict', 'serve'] and set(extras) <= {o.replace('_', '-') for o in ini['DEFAULT']['extras'].split()}
    assert 'torch' not in ' '.join(ini['DEFAULT'][f'{o}_requirements'] for o in extras)
    for o in dockerfile('COPY'):
        *sources, _ = o.split()
        assert all((ROOT/s).exists() for s in sources), o
    program, name, options = asked(json.loads(dockerfile('ENTRYPOINT')[0]))
    assert (program, name) == ('simpsons', 'serve') and set(options) <= serve_options()
    user, = dockerfile('USER')
    assert user not in ('root', '0') and f'--uid {user}' in ' '.join(dockerfile('RUN'))
    assert dockerfile('FROM') == ['python:3.12-slim'] and '/ready' in dockerfile('HEALTHCHECK')[0] and 'urlopen' in dockerfile('HEALTHCHECK')[0]


def test_the_image_listens_to_all_with_a_key_only():
    from simpsons_fastai.core import SimpsonsError
    from simpsons_fastai.serve.server import check_host
    command = json.loads(dockerfile('ENTRYPOINT')[0])
    host = command[command.index('--host') + 1]
    check_host(host, 'a key', False)
    with pytest.raises(SimpsonsError, match='SIMPSONS_API_KEY'): check_host(host, '', False)


def test_the_compose_file_runs_the_image():
    yaml = pytest.importorskip('yaml')
    service, = yaml.safe_load((DEPLOY/'compose.yaml').read_text())['services'].values()
    assert (DEPLOY/service['build']['context']/service['build']['dockerfile']).resolve() == DEPLOY/'Dockerfile'
    assert service['environment']['SIMPSONS_API_KEY'].startswith('${SIMPSONS_API_KEY:?') and service['volumes'][0].endswith(':/bundle:ro')
    assert service['ports'] == [f"127.0.0.1:{o}:{o}" for o in dockerfile('EXPOSE')]
    assert service['read_only'] is True and service['cap_drop'] == ['ALL']


def test_the_time_to_stop_is_longer_than_the_service_takes():
    from simpsons_fastai.serve.limits import ServiceLimits
    limits = ServiceLimits()
    needed = limits.drain + limits.body_seconds + limits.answer_seconds
    grace = int(re.search(r'stop_grace_period: (\d+)s', (DEPLOY/'compose.yaml').read_text()).group(1))
    assert grace > needed and int(unit()['Service']['TimeoutStopSec']) > needed


def test_the_unit_starts_and_reloads_the_program(tmp_path):
    service = unit()['Service']
    program, name, options = asked(shlex.split(service['ExecStart']))
    assert (program, name) == ('simpsons', 'serve') and set(options) <= serve_options()
    assert '-HUP' in service['ExecReload'] and service['RestartForceExitStatus'] == 'SIGHUP' and service['NoNewPrivileges'] == service['DynamicUser'] == 'yes'
    if not (analyze := shutil.which('systemd-analyze')): return
    (tmp_path/'simpsons.service').write_text((DEPLOY/'simpsons.service').read_text().replace('/opt/simpsons/bin/simpsons', '/bin/true'))
    done = subprocess.run([analyze, 'verify', tmp_path/'simpsons.service'], capture_output=True, text=True)
    assert 'simpsons.service:' not in done.stderr, done.stderr


def test_the_page_says_the_limits_that_hold():
    from simpsons_fastai.serve.limits import ServiceLimits
    limits, page = ServiceLimits(), (DEPLOY/'README.md').read_text()
    for o in (f'{limits.body//10**6} MB, {limits.files} pictures, {limits.parts} parts', f'{limits.pixels//10**6} million pixels', f'{limits.queue}; {limits.held//10**6} MB; {limits.connections:,}',
              f'{limits.head_seconds:g} s and 64 kB; {limits.body_seconds:g} s', f'| {limits.answer_seconds:g} s |', f'client_max_body_size {limits.body//10**6}m'): assert o in page, o
