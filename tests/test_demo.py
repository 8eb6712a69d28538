"The demo as a real process: a real HTTP call, and a picture uploaded in a real browser."
import os, shutil, socket, subprocess, sys, time
from urllib.request import urlopen
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


@pytest.fixture(scope='module')
def demo(cli_run):
    "The demo's address, with the bundle of the run."
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    process = subprocess.Popen([sys.executable, '-m', 'simpsons_fastai.gradio_app', '--model', str(cli_run[0]/'bundle'), '--port', str(port)],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = f'http://127.0.0.1:{port}'
    for _ in range(240):
        assert process.poll() is None, process.stdout.read()
        try: urlopen(url, timeout=2).read(); break
        except OSError: time.sleep(.5)
    yield url
    process.terminate(); process.wait(20)


@pytest.fixture(scope='module')
def expected(cli_run, mini):
    "A picture and what the bundle says of it."
    from simpsons_fastai.predictor import Predictor
    picture = sorted((mini/'test').rglob('*.jpg'))[0]
    return picture, Predictor(cli_run[0]/'bundle').predict(picture)


def test_it_answers_a_real_http_call(demo, expected):
    from gradio_client import Client, handle_file
    picture, answer = expected
    result = Client(demo, verbose=False).predict(handle_file(str(picture)), api_name='/predict')
    assert result['label'] == answer.label
    assert [o['label'] for o in result['confidences']][0] == answer.label and len(result['confidences']) == 5
    assert abs(result['confidences'][0]['confidence'] - answer.confidence) < 1e-3


@pytest.fixture
def page(demo):
    if not CHROMIUM: pytest.skip('no chromium on this machine')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
                                    '--disable-background-networking', '--disable-component-update', '--disable-sync'])
        page = browser.new_page(viewport=dict(width=1100, height=800))
        page.goto(demo)
        page.wait_for_selector('input[type=file]', state='attached', timeout=60_000)
        yield page
        if folder := os.environ.get('SIMPSONS_SCREENSHOTS'): page.screenshot(path=f'{folder}/{time.time():.0f}.png')
        browser.close()


def test_a_picture_uploaded_in_a_browser_gets_its_name(page, expected):
    picture, answer = expected
    page.set_input_files('input[type=file]', str(picture))
    page.wait_for_selector('img[alt]', timeout=30_000)
    page.get_by_role('button', name='Submit').click()
    page.wait_for_selector('[data-testid="label-output-value"]', timeout=60_000)
    assert page.inner_text('[data-testid="label-output-value"]').strip() == answer.label
    assert page.locator('[data-testid$="confidence-set"]').count() == 5


def test_a_file_that_is_no_picture_gets_a_sentence(page, tmp_path):
    (tmp_path/'broken.jpg').write_text('no picture')
    page.set_input_files('input[type=file]', str(tmp_path/'broken.jpg'))
    page.wait_for_timeout(1000)
    page.get_by_role('button', name='Submit').click()
    page.wait_for_selector('text=cannot be used', timeout=30_000)


def test_without_a_run_the_model_of_the_package_answers(tmp_path):
    from simpsons_fastai.bundle import DEMO
    with subprocess.Popen([sys.executable, '-m', 'simpsons_fastai.gradio_app'], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        said = process.stdout.readline(), process.stdout.readline()
        url = said[1].split()[-1]
        try:
            assert said[0].strip() == f'model: {DEMO}' and 'ned_flanders' in urlopen(url, timeout=20).read().decode()
        finally: process.kill()
