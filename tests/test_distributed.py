"""One training in two processes, started by torchrun, on the CPU: its scores, its folder, killed and gone on with, its mistakes."""
import os, re, signal, subprocess, sys, time
import pytest

pytest.importorskip('accelerate')
psutil = pytest.importorskip('psutil')
pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='gloo between processes is tried on Linux only')
ARCH = 'mobilenetv3_small_050' # whose last layers never run in fastai's network
OPTIONS = f'--arch {ARCH} --size 32 --epochs 2 --bs 16 --valid .3 --weights none --speed off --device cpu'.split()


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    from simpsons_fastai.pictures.drawn import springfield_mini
    return springfield_mini(tmp_path_factory.mktemp('data')/'mini', n=120)


def start(*args):
    "`simpsons train` in two processes."
    env = os.environ | dict(OMP_NUM_THREADS='1', COLUMNS='200', TERM='dumb', CUDA_VISIBLE_DEVICES='')
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'simpsons_fastai.cli', 'train', *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def ended(p, status=0):
    "What it said."
    out,err = p.communicate(timeout=600)
    assert p.returncode == status, out + err
    return out,err


def kill(p):
    "torchrun and its processes, at once."
    family = [*psutil.Process(p.pid).children(recursive=True), psutil.Process(p.pid)]
    for o in family: o.suspend()
    for o in family: o.send_signal(signal.SIGKILL)
    psutil.wait_procs(family[:-1], timeout=30)
    p.communicate()


@pytest.fixture(scope='module')
def trained(drawn, tmp_path_factory):
    "A run that nothing happened to: (its folder, what was printed)."
    folder = tmp_path_factory.mktemp('runs')
    out,err = ended(start(drawn, '--out', folder/'run', *OPTIONS))
    return folder/'run', out


def history(folder):
    from simpsons_fastai.model.run import Run
    return Run(folder).history.drop(columns='seconds')


def measured(folder):
    "Scores of a run's best weights on its validation pictures, by this process alone."
    from simpsons_fastai.learn.loaders import simpsons_dls
    from simpsons_fastai.learn.learner import simpsons_learner
    from simpsons_fastai.model.run import Run
    from simpsons_fastai.train.record import load_best
    run = Run(folder)
    learn = simpsons_learner(simpsons_dls(run.table, size=32, bs=64, arch=ARCH, cache='off', device='cpu'), ARCH, 'none', speed='off', verbose=False)
    load_best(run, learn.model)
    with learn.no_bar(): return dict(zip(('valid_loss', 'accuracy', 'f1_score'), learn.validate())), learn.dls.valid.n


def test_the_scores_are_those_of_one_process(trained):
    "Of a network, too, whose last layers never run, which torch's wrapper for several processes would not wait for."
    folder,_ = trained
    rows = history(folder)
    best = rows.loc[rows.f1_score.idxmax()]
    found,n = measured(folder)
    assert n % 2, 'an odd number, so that one picture is padding'
    for name in ('accuracy', 'f1_score', 'valid_loss'): assert abs(best[name] - found[name]) <= (1e-6 if name != 'valid_loss' else 1e-5), name
    from simpsons_fastai.model.run import Run
    scores = Run(folder).metrics['valid']
    assert scores['n'] == n and abs(scores['accuracy'] - best.accuracy) <= 1e-6 and abs(scores['macro_f1'] - best.f1_score) <= 1e-6


def test_only_the_first_writes_and_speaks(trained):
    folder,out = trained
    assert [o.name for o in folder.parent.iterdir()] == ['run']
    assert (folder/'bundle').is_dir() and not list((folder/'checkpoints').glob('*resume-*'))
    for said in ('weights: none', 'valid_loss', 'the run lies in'): assert out.count(said) == 1, out
    from simpsons_fastai.model.run import Run
    assert Run(folder).config['options']['processes'] == 2


def test_killed_and_gone_on_with(drawn, trained, tmp_path):
    p = start(drawn, '--out', tmp_path/'run', *OPTIONS)
    file = tmp_path/'run/checkpoints/resume-000002/SHA256SUMS' # the first epoch's end
    while p.poll() is None and not file.exists(): time.sleep(.005)
    kill(p)
    assert len(history(tmp_path/'run')) >= 1 and not (tmp_path/'run/report.json').exists()
    out,_ = ended(start('--resume', tmp_path/'run'))
    assert len(re.findall('fit 1 goes on from (epoch 1, batch 0|its end)', out)) == 1, out # the end where this process was slow to kill
    again,whole = history(tmp_path/'run'),history(trained[0])
    assert list(again.epoch) == [0, 1]
    assert (again - whole).abs().max().max() <= 1e-6
    assert abs(measured(tmp_path/'run')[0]['f1_score'] - again.f1_score.max()) <= 1e-6


def test_a_mistake_ends_both_with_one_sentence(drawn, trained):
    _,err = ended(start(drawn, '--out', trained[0], *OPTIONS), 1)
    said = [o for o in err.splitlines() if o.startswith('simpsons: ')]
    assert said == [f'simpsons: {trained[0]} exists already: give another folder with --out, or remove it first']
    assert 'simpsons_fastai/' not in err, 'a traceback of ours: ' + err
