"The main job from the shell: train, evaluate, predict, and what a user's mistakes are told."
import json, shutil, subprocess, sys
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
    assert '\r' not in done.stdout and len(done.stdout.splitlines()) < 30 # the classes take a dozen
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
    facts = lambda: {k: v for k, v in json.loads((run/'bundle/config.json').read_text()).items() if k in ('columns', 'metrics')}
    calibrated = facts()
    assert calibrated['columns'][0]['threshold'] and calibrated['metrics']['calibration']['label']['strangers']['fitted_n'] == 3
    assert simpsons('bundle', run).returncode == 0 and facts() == calibrated


def test_the_same_seed_gives_the_same_history(mini, tmp_path):
    "However many threads decode."
    def history(name, seed, workers):
        done = simpsons('train', mini, '--arch', 'test_resnet', '--size', 32, '--epochs', 2, '--bs', 32, '--weights', 'none', '--seed', seed,
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
    done = simpsons('train', 'nowhere', cwd=tmp_path, fresh=True)
    assert done.returncode == 2 and 'nowhere is not a folder' in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_imagenet_weights_out_of_reach_fail_within_seconds(mini, tmp_path, monkeypatch):
    "The hub is a port of this machine where nobody listens."
    import time
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9'); monkeypatch.setenv('HF_HOME', str(tmp_path/'empty'))
    start = time.monotonic()
    done = simpsons('train', mini, '--size', 64, '--out', tmp_path/'run', fresh=True)
    assert done.returncode == 2 and time.monotonic() - start < 60  # most of it is the import of fastai
    assert "weights='none'" in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path/'run').exists()


OPTIONS = { # of every command: an argument by its name, an option as it is typed; FIELDS are those of a recipe
    'add-head': 'run table column --out|-o --epochs --lr --seed',
    'app': '--model --port',
    'ask': 'bundle unlabelled --n|-n --out|-o --column --known --runtime --precision --device --num-workers --tta',
    'bundle': 'run --out --small --int8 --max-loss',
    'calibrate': 'run --data --strangers --rate',
    'clean': 'data --out|-o --page --folds --recipe --epochs --arch --size --drop-label-errors --pattern --columns --like',
    'compare': 'runs --out|-o',
    'download': 'dest',
    'ensemble': 'members --out|-o --which --data --split',
    'embed': 'source --out|-o --bundle --fps --scenes --bs --shard --runtime --precision --device --num-workers --tta',
    'evaluate': 'bundle data --split --pattern --out',
    'label': 'bundle source --out|-o --fps --scenes --k --bs --shard --runtime --precision --device --num-workers --tta --engine --address --verify',
    'mini': 'path --n --seed',
    'predict': 'what --url --bs --runtime --precision --tta',
    'recipes': '',
    'report': 'run --out|-o',
    'runs': 'folder',
    'serve': 'bundle --host --port --insecure --runtime --precision --device --num-workers --tta',
    'study': 'data --vary --preset --out|-o --recipe --seeds --budget --prune|--no-prune --quick --seed --pattern --num-workers --device FIELDS',
    'publish': 'run dir --title --licence --push',
    'similar': 'out picture --k|-k --bundle',
    'submit': 'bundle test_dir --out|-o --sample --truth',
    'summary': 'bundle',
    'timeline': 'out --window --gap --shortest --sure --nobody --truth',
    'train': 'data --out --recipe --quick --folds --tune --seed --pattern --num-workers --cache --device --resume --force --minutes --within --nan --tensorboard FIELDS',
}

@pytest.mark.parametrize('name', OPTIONS)
def test_the_options_of_every_command_stay(name):
    "They are read from the functions' sources, so a parameter that is added there shows here."
    import typer
    from simpsons_fastai.cli import app
    from simpsons_fastai.learn.recipes import FIELDS, field_type
    switches = {k for k in FIELDS if field_type(k) is bool}
    fields = {'--' + k.replace('_', '-') + f'|--no-{k}'*(k in switches) for k in FIELDS}
    asked = set(OPTIONS[name].split())
    if 'FIELDS' in asked: asked = asked - {'FIELDS'} | fields
    command = typer.main.get_command(app).commands[name]
    there = {'|'.join([*o.opts, *o.secondary_opts]) for o in command.params if o.name != 'ctx'}
    assert there == asked


@pytest.mark.parametrize('typed, value', [('--progressive', True), ('--no-progressive', False), (None, None)])
def test_a_switch_of_a_recipe_can_be_turned_off(typed, value):
    import typer
    from simpsons_fastai.cli import app
    command = typer.main.get_command(app).commands['train']
    context = command.make_context('train', ['town', *filter(None, [typed])])
    assert context.params['progressive'] is value


def test_there_is_no_other_command():
    import typer
    from simpsons_fastai.cli import app
    assert set(typer.main.get_command(app).commands) == set(OPTIONS)


@pytest.mark.parametrize('args', ['mini town --seed -1', 'predict demo a.jpg --bs 0', 'label demo town -o out --k 0', 'serve --port 70000',
                                  'train town --speedy', 'clean town --folds -1'])
def test_what_no_option_may_be_is_told_with_the_usage(args, tmp_path):
    done = simpsons(*args.split(), cwd=tmp_path)
    assert done.returncode == 2 and 'Usage' in done.stderr and 'Traceback' not in done.stderr


def loaded(*args):
    "What of the heavy packages is in memory once a command has run, and what it printed."
    code = f"""if True:
        import sys
        from simpsons_fastai.cli import main
        sys.argv = ['simpsons', *{[*map(str, args)]!r}]
        try: main()
        except SystemExit as e: assert not e.code, e.code
        print([o for o in ('torch', 'fastai', 'timm') if o in sys.modules])"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said, there = done.stdout.rsplit('\n', 2)[:2]
    return there, said


def test_what_reads_tables_loads_no_torch(cli_run, mini, tmp_path):
    "Nor what is built on it."
    run, _ = cli_run
    other = shutil.copytree(run, tmp_path/'runs/other')
    (known := tmp_path/'known/test/bart_simpson').mkdir(parents=True)
    for o in sorted((mini/'test').rglob('*.jpg'))[:3]: shutil.copy(o, known)
    for args, says in ((('runs', tmp_path/'runs'), 'finished'), (('evaluate', 'demo', tmp_path/'known'), 'on 3 pictures'), (('compare', run, other), 'deploy')):
        there, said = loaded(*args)
        assert there == '[]' and says in said, (args, there, said)
