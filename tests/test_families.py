"What stays of a timm network is what fastai's body runs: a small member of every family of timm's."
import warnings
import pytest
import torch
from fastai.vision.learner import create_timm_model
from simpsons_fastai.learn.models import load_state
from simpsons_fastai.learn.unused import drop_unused, used_parameters

warnings.filterwarnings('ignore')
FAMILIES = '''
    coat_tiny convit_tiny convmixer_768_32 cpubone_nano crossvit_tiny_240 cs3darknet_focus_s csatv2 cspnext_tiny
    davit_tiny deit_tiny_patch16_224 dla46x_c dpn48b edgenext_xx_small efficientformer_l1 efficientvim_m1
    efficientvit_b0 ese_vovnet19b_slim_dw eva02_tiny_patch14_224 fasternet_t0 focalnet_tiny_srf gcvit_xtiny hgnetv2_b0
    inception_next_atto lcnetv2_small legacy_seresnet18 legacy_xception levit_128 lowformer_b0 mixer_s16_224
    mobilenetv3_small_050 mobilevit_xxs pit_xs_224 poolformerv2_s12 pvt_v2_b0 rdnet_tiny resnest14d resnetv2_50x1_bit
    rexnet_100 sam2_hiera_tiny selecsls42 shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224
    test_byobnet test_coatnet test_convnext test_efficientnet test_mambaout test_nfnet test_resnet test_vit'''.split()
# members of the other families, larger or slower: `make families`
LARGE = '''
    beit_base_patch16_224 botnet26t_256 cait_xxs24_224 deepseek_vit_412m densenet121 efficientformerv2_s0 efficientvit_m0
    fastvit_t8 gemma4_vit_167m ghostnet_050 hardcorenas_a hiera_tiny_224 hrnet_w18_small iformer_t inception_resnet_v2
    inception_v3 inception_v4 mobilenetv5_base mvitv2_tiny naflexvit_base_patch16_gap nasnetalarge nest_tiny nextvit_small
    pnasnet5large qwen3_vit_88m regnetx_002 repghostnet_050 repvit_m0_9 res2net50_14w_8s sequencer2d_s
    swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m twins_svt_small vgg11 visformer_tiny
    vit_tiny_r_s16_p8_224 test_vit_relpos samvit_base_patch16_224 vitamin_small_224 volo_d1_224 xception41
    xcit_nano_12_p8_224'''.split()
SIZES = dict(deepseek_vit_412m=70, inception_resnet_v2=160, inception_v3=160, inception_v4=160) # where 64 px do not go
ENDS = 'convnext_atto mobilenetv3_small_050 mobilenetv4_conv_small_050 efficientvit_b0 hgnetv2_b0 inception_next_atto vgg11'.split()


def network(arch):
    torch.manual_seed(0)
    return create_timm_model(arch, 3, pretrained=False)

def unused(model, cfg):
    "Parameters that get no gradient in a real training step."
    size = cfg['input_size'][-1] if cfg.get('fixed_input_size') else SIZES.get(cfg['architecture'], 64)
    model[0](torch.randn(2, 3, size, size)).sum().backward()
    return [k for k, p in model[0].named_parameters() if p.grad is None]


def stays_what_runs(arch):
    model, cfg = network(arch)
    names = {k for k, _ in model[0].named_parameters()}
    drop_unused(model)
    kept = {k for k, _ in model[0].named_parameters()}
    assert unused(model, cfg) == [] and kept == names - set(model[0].dropped)

@pytest.mark.parametrize('arch', FAMILIES)
def test_what_stays_is_what_runs(arch): stays_what_runs(arch)

@pytest.mark.families
@pytest.mark.parametrize('arch', LARGE)
def test_what_stays_of_a_large_one_is_what_runs(arch): stays_what_runs(arch)

@pytest.mark.families
def test_no_family_is_missing():
    from timm.models import _registry
    seen = {_registry._model_to_module[o] for o in FAMILIES + LARGE} | {'nets'} # ours
    assert set(_registry._module_to_models) - seen == set()


@pytest.mark.parametrize('arch', ENDS)
def test_what_goes_never_ran(arch):
    model, cfg = network(arch)
    x = torch.randn(2, 3, 64, 64)
    whole = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad(): before = model.eval()(x)
    lost = {k for k, _ in model[0].named_parameters()} - used_parameters(model[0])
    assert lost and not lost - set(drop_unused(model)[0].dropped)
    with torch.no_grad(): assert torch.equal(model.eval()(x), before)
    load_state(model, whole)
    with pytest.raises(RuntimeError): load_state(model, whole | {'0.model.another': torch.zeros(1)})
