"In a plain Python, as a fastai user types it."
import subprocess, sys
import numpy as np

CODE = '''
from simpsons_fastai.all import *
path = {path!r}
dls = simpsons_dls(path, size=32, bs=32, arch='resnet18')
learn = simpsons_learner(dls, arch='resnet18', weights='none')
learn.fine_tune(1)
print('f1', learn.recorder.values[-1][-1], len(dls.vocab), dls.train.n, dls.valid.n)
'''


def test_three_lines_and_fine_tune(mnist, tmp_path):
    for label in (mnist/'train').iterdir(): # every fourth picture
        (tmp_path/'train'/label.name).mkdir(parents=True)
        for o in sorted(label.iterdir())[::4]: (tmp_path/'train'/label.name/o.name).symlink_to(o)
    done = subprocess.run([sys.executable, '-c', CODE.format(path=str(tmp_path))], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    f1, classes, train, valid = map(float, done.stdout.splitlines()[-1].split()[1:])
    assert (classes, train, valid) == (10, 1600, 400)
    assert f1 > .15  # chance is 0.10


def test_predictor_answers_as_the_learner(mnist, tmp_path):
    "200 real pictures, float32: the bundle read back gives the learner's probabilities."
    from simpsons_fastai.all import Predictor, save_bundle, simpsons_dls, simpsons_learner, scan, split_table
    table = split_table(scan(mnist)).groupby(['split', 'label']).head(20)
    dls = simpsons_dls(table, size=64, arch='resnet18', device='cpu', check=False)
    learn = simpsons_learner(dls, arch='resnet18', weights='none', speed='off', verbose=False)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    files = list(table[table.split == 'test'].path)
    theirs = learn.get_preds(dl=dls.test_dl(files))[0].numpy()
    bundle = save_bundle(learn, tmp_path/'bundle')
    for runtime in ('onnxruntime', 'openvino', 'torch'):
        answers = list(Predictor(bundle, runtime, precision='float32', device='cpu').predict_many(files))
        assert len(files) == 200 == len(answers), runtime
        assert abs(np.stack([o.probs for o in answers]) - theirs).max() <= 1e-4, runtime
        assert [o.index for o in answers] == list(theirs.argmax(1)), runtime
        alone = Predictor(bundle, runtime, precision='float32', device='cpu').predict(files[0])
        assert abs(alone.probs - theirs[0]).max() <= 1e-4, runtime
    label, index, probs = learn.predict(files[0])
    assert (label, int(index)) == answers[0][:2]
