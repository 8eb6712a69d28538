"The demo as a real process: real HTTP calls, and pictures uploaded in a real browser, on a phone and on a large screen."
import csv, io, os, socket, subprocess, sys, tempfile, time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote
from urllib.request import urlopen
import pytest

WIDTHS = pytest.mark.parametrize('width', [390, 1280])
BARE = "import sys; sys.modules.update(dict.fromkeys(('torch', 'fastai', 'timm', 'matplotlib'))); from simpsons_fastai.gradio_app import main; main()"


@contextmanager
def serve(*models):
    "The address of a demo in a process that has neither fastai nor torch; stopped, it leaves no upload."
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    options, url = [x for o in models for x in ('--model', str(o))], f'http://127.0.0.1:{port}'
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([sys.executable, '-c', BARE, *options, '--port', str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   env=os.environ | dict(TMPDIR=folder))
        try:
            for _ in range(240):
                assert process.poll() is None, process.stdout.read()
                try: urlopen(url, timeout=2).read(); break
                except OSError: time.sleep(.25)
            yield url
        finally: process.terminate(); said = process.communicate(timeout=20)[0]
        assert process.returncode == 0 and 'Traceback' not in said, said
        assert [f for *_,files in os.walk(folder) for f in files] == []


@pytest.fixture(scope='module')
def demo():
    "The demo of the model that comes with the package."
    with serve('demo') as url: yield url


@pytest.fixture(scope='module')
def tagged(tmp_path_factory):
    "A tag model that learnt nothing: its bundle."
    from simpsons_fastai.learn.export import bundle_model
    from simpsons_fastai.pictures.preprocess import Preprocess
    from simpsons_fastai.learn.models import build_network
    from simpsons_fastai.target import OneOf, Target
    target = Target((OneOf('hair', ('blue', 'none', 'grey')), OneOf('glasses', ('no', 'yes'))))
    return bundle_model(build_network('resnet18', target, 'tags'), tmp_path_factory.mktemp('tagged')/'looks', 'resnet18', 'tags', target,
                        Preprocess(32, 'bilinear', (.5,)*3, (.5,)*3), metrics=dict(valid=dict(macro_f1=.25, accuracy=.5, n=40)))


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "One that the model of the package takes for somebody, one that it refuses, and one that is none."
    from simpsons_fastai.pictures.drawn import mini_frame
    folder = tmp_path_factory.mktemp('pictures')
    for name,i in (('sure', 7), ('refused', 5)): mini_frame(i)[1].save(folder/f'{name}.png')
    (folder/'=1+1.jpg').write_text('no picture')
    return folder/'sure.png', folder/'refused.png', folder/'=1+1.jpg'


@pytest.fixture(scope='module')
def known():
    from simpsons_fastai.model.predictor import Predictor
    return Predictor('demo')


@pytest.fixture(scope='module')
def client(demo):
    from gradio_client import Client
    return Client(demo, verbose=False)


def test_it_answers_a_real_http_call(client, pictures, known):
    from gradio_client import handle_file
    answer = known.predict(pictures[0])
    result = client.predict(handle_file(str(pictures[0])), api_name='/predict')
    assert result['label'] == answer.label and not known.refuses(answer)
    assert [o['label'] for o in result['confidences']][0] == answer.label and len(result['confidences']) == 5
    assert abs(result['confidences'][0]['confidence'] - answer.confidence) < 1e-3
    result = client.predict(handle_file(str(pictures[1])), api_name='/predict')
    assert result['label'] == 'nobody I know' and len(result['confidences']) == 5 and result['confidences'][0]['confidence'] < known.target.columns[0].threshold


def test_a_program_gets_a_sentence_and_only_one_way_in(client, pictures, tmp_path):
    from gradio_client import handle_file
    from PIL import Image
    assert list(client.view_api(return_format='dict', print_info=False)['named_endpoints']) == ['/predict']
    Image.new('L', (6000, 5000)).save(tmp_path/'huge.png')
    for file,says in ((pictures[2], 'not a picture'), (tmp_path/'huge.png', 'too many pixels')):
        with pytest.raises(Exception, match=says): client.predict(handle_file(str(file)), api_name='/predict')
    with pytest.raises(Exception, match='address cannot be used'):
        client.predict(dict(path='http://127.0.0.1:1/moe.jpg', meta=dict(_type='gradio.FileData')), api_name='/predict')


@pytest.fixture
def opened(browser, request, tmp_path):
    "Open an address; afterwards: no complaint, nothing asked of another host, nothing wider than the page, a screenshot."
    pages, asked, said = [], [], []
    def open_(url, width=1280):
        page = browser.new_page(viewport=dict(width=width, height=800))
        pages.append((page, width))
        page.on('request', lambda o: asked.append(o.url))
        page.on('console', lambda o: said.append(o.text) if o.type == 'error' else None)
        page.on('pageerror', lambda o: said.append(str(o)))
        page.goto(url)
        page.wait_for_selector('input[type=file]', state='attached', timeout=60_000)
        return page
    yield open_
    for page,width in pages:
        page.screenshot(path=f"{os.environ.get('SIMPSONS_SCREENSHOTS', tmp_path)}/{request.node.originalname}-{width}.png", full_page=True)
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        page.close()
    assert said == [] and all(o.startswith(('http://127.0.0.1:', 'data:', 'blob:')) for o in asked)


def upload(page, *files):
    "Choose files in the field that is to be seen."
    page.locator('button[aria-label*="upload"]:visible input[type=file]').set_input_files([str(o) for o in files])
    shows = f'text={files[-1].stem}' if len(files) > 1 else 'img[alt="The picture to name"]'
    page.wait_for_selector(shows, state='attached', timeout=30_000)


def submit(page):
    page.get_by_role('button', name='Submit').click()
    page.wait_for_selector('[data-testid="label-output-value"]', timeout=60_000)
    return page.inner_text('[data-testid="label-output-value"]').strip()


@WIDTHS
def test_an_upload_gets_its_name_and_what_spoke_for_it(demo, opened, pictures, known, width):
    page, answer = opened(demo, width), known.predict(pictures[0])
    upload(page, pictures[0])
    assert submit(page) == answer.label
    page.locator('[data-testid$="confidence-set"]').nth(4).wait_for()
    assert page.locator('[data-testid$="confidence-set"]').count() == 5
    page.get_by_role('button', name='Where did it look?').click()
    figure = page.locator('figure.looked')
    figure.wait_for(timeout=60_000)
    assert answer.label in figure.inner_text() and answer.label in figure.locator('img').get_attribute('alt')
    assert figure.locator('img').evaluate('o => o.naturalWidth') == 480
    page.get_by_role('button', name='About this model').click()
    page.wait_for_selector('text=The Simpsons Characters Data')


@WIDTHS
def test_a_drawn_example_is_nobody_it_knows(demo, opened, width):
    page = opened(demo, width)
    page.get_by_text('Drawn by the project; this model knows none of them').wait_for()
    page.locator('button.gallery-item').nth(1).click()
    page.wait_for_selector('img[alt="The picture to name"]')
    assert submit(page) == 'nobody I know'
    page.locator('[data-testid$="confidence-set"]').nth(4).wait_for()
    assert page.locator('[data-testid$="confidence-set"]').count() == 5


@WIDTHS
def test_several_pictures_become_a_gallery_and_a_table(demo, opened, pictures, known, width):
    page = opened(demo, width)
    page.get_by_role('tab', name='Several pictures').click()
    upload(page, *pictures)
    page.get_by_role('button', name='Name them all').click()
    page.wait_for_selector('.several figure', timeout=60_000)
    sure, refused, broken = page.locator('.several figure').all_inner_texts()
    assert known.predict(pictures[0]).label in sure and 'nobody I know' in refused and 'cannot be used: not a picture' in broken
    assert page.eval_on_selector_all('.several img', 'all => all.map(o => o.alt)') == ['sure.png', 'refused.png']
    with page.expect_download() as download: page.get_by_text('Download as CSV').click()
    rows = list(csv.DictReader(io.StringIO(open(download.value.path(), encoding='utf-8-sig').read())))
    assert list(rows[0]) == ['name', 'label', 'confidence', 'refused', 'error'] and download.value.suggested_filename == 'answers.csv'
    assert [o['name'] for o in rows] == ['sure.png', 'refused.png', "'=1+1.jpg"]
    assert [o['refused'] for o in rows] == ['False', 'True', ''] and [o['error'] for o in rows] == ['', '', 'not a picture']
    page.get_by_role('button', name='Clear').click() # other pictures, and nothing of these is left
    page.locator('.several figure').first.wait_for(state='detached', timeout=30_000)
    page.locator('button[disabled]', has_text='Download as CSV').wait_for(timeout=30_000)


@pytest.fixture(scope='module')
def two(tagged):
    "The demo of two models."
    with serve('demo', tagged) as url: yield url


@WIDTHS
def test_a_tag_model_has_a_tab(two, opened, pictures, width):
    page = opened(two, width)
    assert page.get_by_role('tab', name='demo').get_attribute('aria-selected') == 'true'
    page.get_by_role('tab', name='looks').click()
    page.get_by_text('trained to tell 2 columns: hair, glasses').wait_for()
    upload(page, pictures[0])
    page.get_by_role('button', name='Submit').click()
    page.get_by_role('gridcell', name='glasses').wait_for(timeout=20_000)
    cells = [o.strip() for o in page.get_by_role('gridcell').all_inner_texts()]
    assert cells[::3] == ['hair', 'glasses'] and cells[1] in ('blue', 'none', 'grey') and 0 < float(cells[2]) <= 1
    page.get_by_label('Column to look at').click()
    page.get_by_role('option', name='glasses').click()
    page.get_by_role('button', name='Where did it look?').click()
    page.locator('figure.looked').wait_for(timeout=20_000)
    assert page.locator('figure.looked').inner_text().startswith(('What speaks for glasses: no', 'What speaks for glasses: yes'))
    page.get_by_role('button', name='About this model').click()
    page.wait_for_selector('text=valid: macro F1 0.2500, accuracy 0.5000, on 40 pictures')


CARD = """# A model
![a]({0}/inline) ![b][r] <img src="{0}/image" srcset="{0}/set 2x"><video poster="{0}/poster" src="{0}/video" autoplay></video>
<svg><image href="{0}/svg"/></svg><table background="{0}/table"><tr><td>a</td></tr></table><object data="{0}/object"></object>
<div style="background:url({0}/css)">d</div><style>@import url({0}/import); body{{background:url({0}/body)}}</style>
<form action="{0}/form"><button>Send it</button></form><iframe src="{0}/frame"></iframe><link rel=stylesheet href="{0}/sheet">
<meta http-equiv=refresh content="0;url={0}/refresh"><script>fetch('{0}/script')</script><a href="javascript:fetch('{0}/link')">l</a>
<p>It ends here.</p>

[r]: {0}/reference
"""


@pytest.fixture(scope='module')
def elsewhere():
    "Another host, and what it was asked."
    asked = []
    class Asked(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header('Content-Length', '0')
            self.end_headers()
        do_POST = do_GET
        def log_message(self, *args): pass
    server = ThreadingHTTPServer(('127.0.0.1', 0), Asked)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://localhost:{server.server_port}', asked
    server.shutdown()


@pytest.fixture(scope='module')
def tricked(elsewhere, tmp_path_factory):
    "The demo of a model whose card wants everything from elsewhere."
    from simpsons_fastai.model.bundle import load_bundle, restate_bundle
    files = {'README.md': lambda p: p.write_text(CARD.format(elsewhere[0]))}
    made = restate_bundle(load_bundle('demo'), files, tmp_path_factory.mktemp('tricked')/'bundle')
    with serve(made.path) as url: yield url


def test_a_card_loads_nothing_from_elsewhere_and_posts_nowhere(tricked, elsewhere, opened):
    page = opened(tricked)
    page.get_by_role('button', name='About this model').click()
    page.get_by_text('It ends here.').wait_for()
    page.wait_for_timeout(500)
    assert page.get_by_role('button', name='Send it').count() == page.locator('.card form, .card img, .card video').count() == 0
    assert page.url.startswith(tricked) and elsewhere[1] == []


def test_the_page_forbids_what_a_sanitiser_would_miss(tricked, elsewhere, browser):
    page = browser.new_page()
    page.goto(tricked)
    page.wait_for_selector('input[type=file]', state='attached', timeout=60_000)
    page.evaluate("""there => {const form = document.createElement('form'); form.action = there + '/post'; form.method = 'post'
        const image = document.createElement('img'); image.src = there + '/late'; image.alt = ''
        document.body.append(form, image); form.submit(); fetch(there + '/fetch').catch(() => 0)}""", elsewhere[0])
    page.wait_for_timeout(500)
    assert page.url.startswith(tricked) and elsewhere[1] == []
    page.goto(f'{elsewhere[0]}/asked')
    assert elsewhere[1][0] == '/asked' # it does hear what it is asked; a browser asks for the page's icon, too
    page.close()


@WIDTHS
def test_a_file_that_is_no_picture_gets_a_sentence(demo, opened, pictures, width):
    page = opened(demo, width)
    upload(page, pictures[2])
    page.get_by_role('button', name='Submit').click()
    page.get_by_text('This file cannot be used: not a picture. Please choose another picture.').wait_for(timeout=30_000)
    page.wait_for_timeout(500) # until the message has slid in, for the screenshot


def test_no_picture_and_a_deleted_one_get_a_sentence(demo, opened, pictures):
    page = opened(demo)
    for button in ('Submit', 'Where did it look?'):
        page.get_by_role('button', name=button).click()
        page.get_by_text('There is no picture yet: please choose one.').wait_for(timeout=30_000)
        page.get_by_test_id('toast-close').click()
        page.get_by_text('There is no picture yet: please choose one.').wait_for(state='detached')
    upload(page, pictures[0])
    Path(unquote(page.get_attribute('img[alt="The picture to name"]', 'src').partition('file=')[2])).unlink()
    page.get_by_role('button', name='Submit').click()
    page.get_by_text('This file cannot be used: it was uploaded over an hour ago and is deleted. Please choose it again.').wait_for(timeout=30_000)


def test_keys_reach_everything_and_everything_has_a_name(demo, opened, pictures):
    page = opened(demo)
    reached, choosers = [], []
    page.on('filechooser', lambda o: choosers.append(o))
    while 'Submit' not in reached and len(reached) < 20:
        page.keyboard.press('Tab')
        reached.append(page.evaluate('document.activeElement.ariaLabel || document.activeElement.innerText'))
        if reached[-1] == 'Drop an image file here to upload':
            page.keyboard.press('Enter')
            for _ in range(50):
                if not choosers: page.wait_for_timeout(100)
            choosers[0].set_files(str(pictures[0]))
            page.wait_for_selector('img[alt="The picture to name"]', timeout=30_000)
    assert reached[0] == 'One picture' and reached[-1] == 'Submit', reached
    page.keyboard.press('Enter')
    page.wait_for_selector('[data-testid="label-output-value"]', timeout=60_000)
    unnamed = page.eval_on_selector_all('button, input, textarea, select, [role=tab]', '''all => all.filter(o => o.checkVisibility() &&
        !(o.ariaLabel || o.innerText || o.title || o.labels?.length)).map(o => o.outerHTML.slice(0, 200))''')
    assert unnamed == []
    assert page.eval_on_selector_all('img', 'all => all.every(o => o.hasAttribute("alt"))')


def test_without_a_run_the_model_of_the_package_answers(tmp_path):
    from simpsons_fastai.model.bundle import DEMO
    with subprocess.Popen([sys.executable, '-m', 'simpsons_fastai.gradio_app'], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        said = process.stdout.readline(), process.stdout.readline()
        url = said[1].split()[-1]
        try:
            assert said[0].strip() == f'model: {DEMO}' and 'ned_flanders' in urlopen(url, timeout=20).read().decode()
        finally: process.kill()
