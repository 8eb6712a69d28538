"The main job from the shell: train, evaluate, predict, and what a user's mistakes are told."
import json, shutil
import pandas as pd
import pytest
from conftest import simpsons


def test_train_leaves_a_complete_run(cli_run):
    out, done = cli_run
    assert done.returncode == 0, done.stderr
    for name in ('config.json', 'table.csv', 'history.csv', 'curves.png', 'report.json', 'confusion.png', 'top_losses.png', 'checkpoints/best.safetensors',
                 'bundle/config.json', 'bundle/model.safetensors', 'bundle/SHA256SUMS'):
        assert (out/name).stat().st_size > 0, name
    report = json.loads((out/'report.json').read_text())
    assert report['split'] == 'test' and set(report['splits']) == {'valid', 'test'}
    for part in (report, *report['splits'].values()):
        assert {'macro_f1', 'accuracy', 'weighted_f1', 'per_class', 'n', 'seconds', 'images_per_second'} <= set(part)
    assert sum(o['support'] for o in report['per_class'].values()) == report['n'] == 39
    assert f"macro F1 {report['macro_f1']:.4f}" in done.stdout and str(out) in done.stdout


def test_a_log_gets_one_line_an_epoch(cli_run):
    _, done = cli_run
    assert '\r' not in done.stdout and len(done.stdout.splitlines()) < 20
    assert [o.split()[0] for o in done.stdout.splitlines() if o.strip()[:1].isdigit()] == ['0', '1']


def test_evaluate_gives_the_report_again(cli_run, mini, tmp_path):
    out, _ = cli_run
    done = simpsons('evaluate', out/'bundle', mini, '--out', tmp_path/'scores.json')
    assert done.returncode == 0, done.stderr
    report, again = json.loads((out/'report.json').read_text()), json.loads((tmp_path/'scores.json').read_text())
    assert again['split'] == 'test' and again['macro_f1'] == report['macro_f1'] and again['per_class'] == report['per_class']


def test_predict_answers_a_json_line_a_picture(cli_run, mini, tmp_path):
    out, _ = cli_run
    files = sorted((mini/'test').rglob('*.jpg'))[:3]
    (tmp_path/'broken.jpg').write_bytes(files[0].read_bytes()[:500])
    done = simpsons('predict', out/'bundle', files[0], tmp_path/'broken.jpg', *files[1:])
    rows = [json.loads(o) for o in done.stdout.splitlines()]
    assert [o['path'] for o in rows] == [str(o) for o in (files[0], tmp_path/'broken.jpg', *files[1:])]
    assert rows[1]['error'] == 'truncated' and done.returncode == 1
    for row in (rows[0], *rows[2:]):
        assert row['label'] == row['top'][0]['label'] and len(row['top']) == 5
        assert 0 < row['confidence'] <= 1 and row['top'] == sorted(row['top'], key=lambda o: -o['confidence'])


def test_a_bundle_made_again_stays_calibrated(cli_run, mini, tmp_path):
    "Strangers need no label: a flat folder of pictures does."
    run = shutil.copytree(cli_run[0], tmp_path/'run')
    (tmp_path/'strangers').mkdir()
    for i, o in enumerate(sorted((mini/'test').rglob('*.jpg'))[:6]): shutil.copy(o, tmp_path/f'strangers/{i}.jpg')
    done = simpsons('calibrate', run, '--strangers', tmp_path/'strangers')
    assert done.returncode == 0 and 'taken for somebody' in done.stdout, done.stderr
    facts = lambda: {k: v for k, v in json.loads((run/'bundle/config.json').read_text()).items() if k in ('temperature', 'rejection_threshold', 'metrics')}
    calibrated = facts()
    assert calibrated['rejection_threshold'] and calibrated['metrics']['calibration']['strangers']['fitted_n'] == 3
    assert simpsons('bundle', run).returncode == 0 and facts() == calibrated


def test_the_same_seed_gives_the_same_history(mini, tmp_path):
    "However many threads decode."
    def history(name, seed, workers):
        done = simpsons('train', mini, '--arch', 'resnet18', '--size', 48, '--epochs', 2, '--bs', 32, '--weights', 'none', '--seed', seed,
                        '--num-workers', workers, '--out', tmp_path/name)
        assert done.returncode == 0, done.stderr
        return (tmp_path/name/'table.csv').read_text(), pd.read_csv(tmp_path/name/'history.csv', dtype=str).drop(columns='seconds')
    (split1, first), (split2, second), (split3, third) = history('a', 7, 0), history('b', 7, 2), history('c', 8, 2)
    assert split1 == split2
    pd.testing.assert_frame_equal(first, second)
    assert split3 != split1 and not third.train_loss.equals(first.train_loss)


@pytest.mark.parametrize('args, says', [
    (('train', 'MINI', '--arch', 'resnet_18', '--weights', 'none'), 'did you mean resnet18'),
    (('train', 'MINI', '--arch', 'resnet18', '--weights', 'absent.pth'), 'absent.pth are missing'),
    (('train', 'MINI', '--weights', 'none', '--aug', 'wild'), "no augmentation set 'wild'"),
    (('train', 'MINI', '--weights', 'none', '--epochs', '0'), '--epochs 0 makes no sense'),
    (('train', 'MINI', '--weights', 'none', '--valid', '1.5'), 'valid=1.5 is no share'),
    (('train', 'MINI', '--weights', 'none', '--device', 'abacus'), "the device 'abacus' is not on this machine"),
    (('evaluate', 'MINI', 'MINI'), 'no bundle'),
    (('predict', 'export.pkl', 'MINI'), 'could run code'),
    (('mini', 'MINI'), 'exists already'),
    (('mini', 'new', '--n', '5'), 'too few'),
])
def test_a_mistake_is_told_in_one_sentence(args, says, mini, tmp_path, refused):
    (tmp_path/'export.pkl').write_bytes(b'\x80\x04.')
    assert says in refused(*(mini if o == 'MINI' else o for o in args))


def test_a_mistake_from_the_shell_has_no_traceback(tmp_path):
    done = simpsons('train', 'nowhere', cwd=tmp_path)
    assert done.returncode == 2 and 'nowhere is not a folder' in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_imagenet_weights_out_of_reach_fail_within_seconds(mini, tmp_path, monkeypatch):
    "The hub is a port of this machine where nobody listens."
    import time
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9'); monkeypatch.setenv('HF_HOME', str(tmp_path/'empty'))
    start = time.monotonic()
    done = simpsons('train', mini, '--size', 64, '--out', tmp_path/'run')
    assert done.returncode == 2 and time.monotonic() - start < 60  # most of it is the import of fastai
    assert "weights='none'" in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path/'run').exists()
