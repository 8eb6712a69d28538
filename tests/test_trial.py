"What is fastest on this machine, measured."
import json
import pytest, timm, torch
from torch import nn
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.learn.speed import SpeedPolicy, speed_policy
from simpsons_fastai.learn.trial import measured_policy, memory_file, policies, race, verdict
from simpsons_fastai.model.run import Run


@pytest.fixture(autouse=True)
def own_memory(monkeypatch, tmp_path): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))


class Slow(nn.Module):
    "A network that one memory format costs dear."
    def __init__(self, slow):
        super().__init__()
        self.slow = slow
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        if x.is_contiguous(memory_format=self.slow):
            for _ in range(40): torch.randn(100, 100) @ torch.randn(100, 100)
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize('slow, last', [(torch.channels_last, False), (torch.contiguous_format, True)])
def test_the_faster_format_is_chosen_and_remembered(slow, last):
    policy = measured_policy(Slow(slow), 'slow', 32, 8, 'cpu')
    assert policy.channels_last == last and policy.why.startswith('measured here: ')
    other = torch.contiguous_format if slow == torch.channels_last else torch.channels_last
    assert measured_policy(Slow(other), 'slow', 32, 8, 'cpu') == policy # the memory answers
    assert measured_policy(Slow(other), 'slow', 48, 8, 'cpu').channels_last != last # another size is measured


def test_the_training_after_it_is_as_without():
    model = timm.create_model('mobilenetv3_small_050', num_classes=3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(3)
    drawn = torch.rand(4)
    torch.manual_seed(3)
    measured_policy(model, 'mobilenetv3_small_050', 32, 4, 'cpu')
    assert torch.equal(torch.rand(4), drawn) and model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(o.grad is None for o in model.parameters())


def test_the_rule_keeps_its_place_in_a_tie():
    rule, other = policies('cpu')[:2]
    assert rule == speed_policy('cpu')
    chosen = verdict({rule: 1., other: .98})
    assert chosen.channels_last == rule.channels_last and chosen.dtype == rule.dtype
    assert verdict({rule: 1., other: .9}).channels_last == other.channels_last


def test_bfloat16_runs_beside_float32_where_the_rule_says_bfloat16(monkeypatch):
    rule = SpeedPolicy(torch.bfloat16, True, 'a CPU')
    monkeypatch.setattr('simpsons_fastai.learn.trial.speed_policy', lambda device: rule)
    runners = policies('cpu')
    assert runners[0] == rule and {(o.dtype, o.channels_last) for o in runners} == {
        (d, l) for d in (torch.bfloat16, None) for l in (True, False)}
    times = race(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1)), torch.randn(2, 3, 16, 16), runners, seconds=0)
    assert set(times) == set(runners) and all(0 < o < 10 for o in times.values())


def test_where_a_pass_fails_the_rule_is_taken():
    class Odd(nn.Module):
        def forward(self, x): raise RuntimeError('no such kernel')
    policy = measured_policy(Odd(), 'odd', 32, 4, 'cpu')
    assert policy.dtype == speed_policy('cpu').dtype and 'not measured: RuntimeError' in policy.why
    assert not memory_file().exists()


@pytest.mark.parametrize('text', ['{"a": ', '[]', '{}'])
def test_a_damaged_memory_is_written_anew(text):
    memory_file().parent.mkdir(parents=True)
    memory_file().write_text(text)
    policy = measured_policy(nn.Sequential(nn.Conv2d(3, 4, 3)), 'net', 16, 2, 'cpu')
    (kept,) = json.loads(memory_file().read_text()).values()
    assert SpeedPolicy.read(kept) == policy


def test_a_policy_survives_its_config():
    for o in (SpeedPolicy(torch.bfloat16, True, 'x'), SpeedPolicy(None, False, 'y'), SpeedPolicy(torch.float16, False, '')):
        assert SpeedPolicy.read(json.loads(json.dumps(o.config()))) == o
    assert SpeedPolicy(torch.bfloat16, True, 'x').name == 'bfloat16, channels last'


def test_a_learner_takes_a_policy_as_it_is(mini):
    policy = SpeedPolicy(None, False, 'as told')
    dls = simpsons_dls(mini, size=32, bs=16, arch='resnet18', cache='off', device='cpu')
    learn = simpsons_learner(dls, 'resnet18', 'none', speed=policy, verbose=False)
    assert learn.speed == policy and not {'ChannelsLast', 'CPUPrecision'} & {type(o).__name__ for o in learn.cbs}


def test_a_run_keeps_what_it_began_with(cli_run):
    out, done = cli_run
    kept = SpeedPolicy.read(Run(out).config['environment']['speed'])
    assert str(kept) in done.stdout
