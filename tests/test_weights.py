"Weights that are what they are said to be: from an installed package where the hub is out of reach."
import pytest, torch
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.learn.offline import offline_file, offline_weights
from simpsons_fastai.learn.weights import require_imagenet
import simpsons_fastai.learn.weights as weights


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setattr(weights, '_cached', lambda cfg: False)
    monkeypatch.setattr(weights, '_reachable', lambda seconds: False)

def test_a_network_of_which_there_are_no_weights_is_refused(no_hub):
    with pytest.raises(SimpsonsError, match='neither on this machine nor within reach'): require_imagenet('resnet18')
    with pytest.raises(SimpsonsError, match='no pretrained weights for frames_small'): require_imagenet('frames_small')


@pytest.mark.skipif(offline_file('tf_efficientnet_lite0') is None, reason='the extra offline-weights is not installed')
def test_weights_of_a_package_are_taken_where_the_hub_is_out_of_reach(no_hub, mini, capsys):
    dls = simpsons_dls(mini, size=32, bs=32, arch='tf_efficientnet_lite0', cache='off', check=False)
    learn = simpsons_learner(dls, 'tf_efficientnet_lite0')
    assert 'ImageNet weights of the package efficientnet_lite0' in capsys.readouterr().out
    theirs, ours = offline_weights('tf_efficientnet_lite0'), learn.model[0].model.state_dict()
    assert ours and all(torch.equal(v.cpu(), theirs[k]) for k, v in ours.items())
    assert not learn.model[0].model.conv_stem.weight.requires_grad and learn.head == 'linear'
