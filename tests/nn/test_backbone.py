"""Backbones: timm's numbers, the input normalised, and a pickle that does without timm's classes."""

import copy
import io
import pickletools
import re
import zipfile

import pytest
import timm
import torch
import torch.nn.utils.prune

from benchmarks.memory import peak_bytes
from effyolo_ultra.nn import EfficientNetBackbone, TimmBackbone
from effyolo_ultra.nn.timm_models import any_size


def test_features_equal_timm_on_the_normalised_image():
    torch.manual_seed(0)
    reference = timm.create_model("tf_efficientnet_b0", features_only=True, out_indices=(2, 3, 4)).eval()
    ours = EfficientNetBackbone("b0").eval()
    ours.body.load_state_dict(reference.state_dict())
    image = torch.rand(2, 3, 96, 128)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    torch.testing.assert_close(ours(image), reference((image - mean) / std), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(65, 97), (64, 97), (33, 33)])
def test_odd_sizes_equal_timm(size):
    reference = timm.create_model("tf_efficientnet_b0", features_only=True, out_indices=(2, 3, 4)).eval()
    ours = EfficientNetBackbone("b0").eval()
    ours.body.load_state_dict(reference.state_dict())
    image = torch.rand(1, 3, *size)
    torch.testing.assert_close(ours(image), reference((image - ours.mean) / ours.std), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "mean", "std"),
    [
        ("b0", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("tf_efficientnet_b0.ap_in1k", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_normalisation_is_that_of_the_weights(variant, mean, std):
    model = EfficientNetBackbone(variant)
    assert timm.get_pretrained_cfg(model.model_name).mean == mean
    torch.testing.assert_close([model.mean.flatten(), model.std.flatten()], [torch.tensor(mean), torch.tensor(std)])


@pytest.mark.parametrize(("channels", "mean"), [(1, [0.449]), (4, [0.485, 0.456, 0.406, 0.485])])
def test_other_numbers_of_channels(channels, mean):
    model = EfficientNetBackbone("b0", channels)
    torch.testing.assert_close(model.mean.flatten(), torch.tensor(mean), rtol=1e-3, atol=1e-3)
    assert [x.shape for x in model(torch.rand(1, channels, 64, 64))] == [(1, 40, 8, 8), (1, 112, 4, 4), (1, 320, 2, 2)]


VARIANTS = {**EfficientNetBackbone.variants, "efficientnet_b0": "efficientnet_b0"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_its_levels(variant):
    with torch.device("meta"):
        model = EfficientNetBackbone(variant, levels=[2, 3, 4, 5]).eval()
        assert model.model_name == VARIANTS[variant]
        pyramid = model(torch.zeros(1, 3, 256, 384))
    assert [x.shape for x in pyramid] == [
        (1, c, 256 // 2**k, 384 // 2**k) for k, c in zip(model.levels, model.out_channels)
    ]


def test_b3_has_the_channels_of_the_openmmlab_config():
    with torch.device("meta"):
        assert EfficientNetBackbone("b3").out_channels == (48, 136, 384)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("resnet18", (3, 4, 5)),
        ("convnext_atto", (3, 4, 5)),
        ("mobilenetv3_small_050", (3, 4, 5)),
        ("swin_tiny_patch4_window7_224", (3, 4, 5)),  # channels last, and made for one size
        ("vit_tiny_patch16_224", (4,)),
    ],
)
def test_any_timm_model_with_features(name, levels):
    model = TimmBackbone(name, levels=levels).eval()
    pyramid = model(torch.rand(1, 3, 256, 320))
    assert [x.shape for x in pyramid] == [(1, c, 256 // 2**k, 320 // 2**k) for k, c in zip(levels, model.out_channels)]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("coatnet_nano_rw_224", "takes images of 224 x 224 pixels only. Name another model."),
        ("mvitv2_tiny", "takes images of 224 x 224 pixels only"),  # reads beyond the end of its table of positions
        ("halonet_h1", "takes no image of 416 x 352 pixels (AssertionError"),  # wants whole blocks of 8 x 8
        ("inception_v3", "[(41, 49), (20, 24), (9, 11)] for an image of (352, 416)"),  # does not pad
        (
            "mobilevitv2_050",
            "(12, 14)] for an image of (352, 416), not [(44, 52), (22, 26), (11, 13)]",
        ),  # rounds to even sizes
    ],
)
def test_model_that_does_not_take_every_size_is_refused(name, problem):
    with pytest.raises(ValueError, match=f"^{name}.*{re.escape(problem)}"):
        TimmBackbone(name)


def test_check_of_the_size_leaves_the_random_state_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    any_size("swin_tiny_patch4_window7_224", (3,))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("cls", "name"), [(EfficientNetBackbone, "b0"), (TimmBackbone, "mobilenetv3_small_050"), (TimmBackbone, "resnet18")]
)
def test_stages_behind_the_last_level_are_left_out(cls, name):
    model = cls(name, levels=[2, 3])
    sum(x.sum() for x in model(torch.rand(1, 3, 64, 64))).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_stem_is_the_first_parameter_and_no_child_is_called_model():
    model = EfficientNetBackbone("b0")
    assert next(model.parameters()).shape == (32, 3, 3, 3)  # Ultralytics counts FLOPs by it
    assert "model" not in dict(model.named_children())  # Ultralytics' freeze looks for "model.<number>."


def test_drop_path_is_active_in_training_only():
    model = EfficientNetBackbone("b0", drop_path_rate=0.9)
    image = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(model(image)[-1], model(image)[-1])
        model.eval()
        assert torch.equal(model(image)[-1], model(image)[-1])


def saved(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return file


@pytest.mark.parametrize(("cls", "name"), [(EfficientNetBackbone, "b0"), (TimmBackbone, "resnet18")])
def test_pickle_holds_no_class_of_timm_and_restores_everything(cls, name):
    model = cls(name, 4, levels=[3, 5], drop_path_rate=0.1, bn_eps=0.01, lr_mult=0.5).half().eval()
    model.i, model.f, model.type, model.np, model.weights_from = 0, -1, "backbone", 7, "a file"
    next(model.parameters()).requires_grad_(False)
    model.body.bn1.train()
    file = saved(model)
    with zipfile.ZipFile(file) as archive:
        pickle = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
    assert "timm" not in {str(arg).split(".")[0] for _, arg, _ in pickletools.genops(pickle) if isinstance(arg, str)}
    file.seek(0)
    torch.manual_seed(5)
    random_state = torch.get_rng_state()
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert type(loaded) is cls and (loaded.i, loaded.f, loaded.type, loaded.np) == (0, -1, "backbone", 7)
    assert (loaded.drop_path_rate, loaded.body.bn1.eps, loaded.lr_mult) == (0.1, 0.01, 0.5)
    assert loaded.weights_from == model.weights_from == "a file"
    assert not loaded.training and not loaded.body.training and loaded.body.bn1.training
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]
    assert {k: v.dtype for k, v in loaded.state_dict().items()} == {k: v.dtype for k, v in model.state_dict().items()}
    model.eval(), loaded.eval()
    image = torch.rand(1, 4, 64, 64)
    for a, b in zip(loaded.float()(image), model.float()(image)):
        assert torch.equal(a, b)
    file.seek(0)
    elsewhere = torch.load(file, map_location="meta", weights_only=False)  # stands for a GPU
    assert all(tensor.is_meta for tensor in (*elsewhere.parameters(), *elsewhere.buffers()))


def test_buffers_outside_the_state_dict_keep_the_dtype():
    model = TimmBackbone("swin_tiny_patch4_window7_224", levels=[4]).to(torch.bfloat16).eval()
    loaded = torch.load(saved(model), weights_only=False)
    image = torch.rand(1, 3, 64, 96, dtype=torch.bfloat16)
    assert torch.equal(loaded(image)[0], model(image)[0])


def test_copies_do_not_share_weights():
    model = EfficientNetBackbone("b0")
    clone = copy.deepcopy(model)
    next(clone.parameters()).data.zero_()
    assert next(model.parameters()).abs().sum() > 0
    assert type(clone.body) is type(model.body) and clone.body is not model.body


def test_ultralytics_leaves_the_batch_norm_of_the_backbone_alone():
    from ultralytics.nn.tasks import DetectionModel

    head = [[0, 1, "PyramidLevel", [4]], [[-1], 1, "Detect", ["nc"]]]
    for row in ["EfficientNetBackbone", "b0"], ["TimmBackbone", "resnet18"]:
        plain = {
            n: (m.eps, m.momentum)
            for n, m in getattr(__import__("effyolo_ultra.nn", fromlist=["nn"]), row[0])(
                row[1], levels=[4]
            ).named_modules()
            if isinstance(m, torch.nn.BatchNorm2d)
        }
        d = {"nc": 1, "backbone": [[-1, 1, row[0], [row[1], {"levels": [4]}]]], "head": copy.deepcopy(head)}
        built = DetectionModel(d, verbose=False).model[0]
        assert plain and plain == {
            n: (m.eps, m.momentum) for n, m in built.named_modules() if isinstance(m, torch.nn.BatchNorm2d)
        }


@pytest.mark.parametrize(
    ("cls", "name", "stages", "frozen"),
    [
        (EfficientNetBackbone, "b0", 0, ["conv_stem", "bn1"]),
        (EfficientNetBackbone, "b0", 2, ["conv_stem", "bn1", "blocks.0", "blocks.1"]),
        (TimmBackbone, "resnet18", 1, ["conv1", "bn1", "layer1"]),
        (TimmBackbone, "convnext_atto", 1, ["stem_0", "stem_1", "stages_0"]),
    ],
)
def test_frozen_stages_do_not_train(cls, name, stages, frozen):
    model = cls(name, frozen_stages=stages, drop_path_rate=0.0).train()
    fixed = {n.removeprefix("body.") for n, p in model.named_parameters() if not p.requires_grad}
    assert fixed == {n for n, _ in model.body.named_parameters() if n.startswith(tuple(f"{f}." for f in frozen))}
    before = copy.deepcopy(model.body.state_dict())
    sum(x.sum() for x in model(torch.rand(2, 3, 64, 64))).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    for key, value in model.body.state_dict().items():
        if key.startswith(tuple(f"{f}." for f in frozen)):
            assert torch.equal(value, before[key]), key
    learning = [n for n, p in model.body.named_parameters() if p.requires_grad]
    assert not torch.equal(model.body.state_dict()[learning[-1]], before[learning[-1]])


def test_all_stages_can_be_frozen():
    model = EfficientNetBackbone("b0", frozen_stages=7)
    assert not any(p.requires_grad for p in model.parameters())


def test_norm_eval_survives_train():
    model = EfficientNetBackbone("b0", norm_eval=True)
    for _ in range(2):
        model.train()
        before = copy.deepcopy(dict(model.named_buffers()))
        model(torch.rand(2, 3, 64, 64))
        assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
        assert model.body.training and all(p.requires_grad for p in model.parameters())


def test_sync_batch_norm_keeps_the_activations_and_the_pickle():
    model = EfficientNetBackbone("b0", sync_bn=True, bn_eps=0.01).eval()
    image = torch.rand(1, 3, 64, 64)
    before = model(image)
    model.use_sync_batch_norm()
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(m, torch.nn.SyncBatchNorm) and m.eps == 0.01 for m in norms)
    torch.testing.assert_close(model(image), before)
    loaded = torch.load(saved(model), weights_only=False)
    assert not any(isinstance(m, torch.nn.SyncBatchNorm) for m in loaded.modules())
    torch.testing.assert_close(loaded(image), before)


@pytest.mark.parametrize(("cls", "name"), [(EfficientNetBackbone, "b0"), (TimmBackbone, "resnet18")])
def test_eps_and_momentum_of_batch_norm_under_ultralytics(cls, name):
    from ultralytics.nn.tasks import DetectionModel

    options = {"levels": [4], "bn_eps": 0.002, "bn_momentum": 0.05}
    head = [[0, 1, "PyramidLevel", [4]], [[-1], 1, "Detect", ["nc"]]]
    d = {"nc": 1, "backbone": [[-1, 1, cls.__name__, [name, options]]], "head": head}
    norms = [m for m in DetectionModel(d, verbose=False).model[0].modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and {(m.eps, m.momentum) for m in norms} == {(0.002, 0.05)}


@pytest.mark.parametrize(("cls", "name"), [(EfficientNetBackbone, "b0"), (TimmBackbone, "resnet18")])
def test_gradient_checkpointing_gives_the_same_gradients(cls, name):
    torch.manual_seed(0)
    plain = cls(name)
    saving = cls(name, grad_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    image = torch.rand(2, 3, 64, 64)
    for model in plain, saving:
        sum(x.square().mean() for x in model(image)).backward()
    for (key, a), b in zip(plain.named_parameters(), saving.parameters()):
        torch.testing.assert_close(b.grad, a.grad, msg=key)


@pytest.mark.skipif(
    not hasattr(torch.serialization, "safe_globals"), reason="storages cannot be tracked before torch 2.5"
)
def test_gradient_checkpointing_saves_memory():
    peaks = [
        peak_bytes(EfficientNetBackbone("b0", grad_checkpointing=on), torch.rand(2, 3, 128, 128))
        for on in (False, True)
    ]
    assert peaks[1] < 0.7 * peaks[0]


@pytest.mark.parametrize(
    ("cls", "name", "options", "message"),
    [
        (EfficientNetBackbone, "b0", {"frozen_stages": 8}, "number of stages, up to 7"),
        (EfficientNetBackbone, "b0", {"frozen_stages": 6, "levels": [3, 4]}, "number of stages, up to 5"),
        (EfficientNetBackbone, "v2-s", {"frozen_stages": 7}, "number of stages, up to 6"),
        (TimmBackbone, "resnet18", {"frozen_stages": 5}, "number of stages, up to 4"),
        (EfficientNetBackbone, "b0", {"frozen_stages": True}, "must be a whole number"),
        (EfficientNetBackbone, "b0", {"norm_eval": 1}, "must be true or false"),
        (EfficientNetBackbone, "b0", {"bn_eps": 0}, "above 0"),
        (EfficientNetBackbone, "b0", {"bn_momentum": 1}, "below 1"),
        (EfficientNetBackbone, "b0", {"lr_mult": 0}, "above 0"),
        (EfficientNetBackbone, "b0", {"pretrained": "ns_jft"}, "Did you mean ns_jft_in1k"),
        (EfficientNetBackbone, "b0", {"pretrained": 3}, "must be auto, true, false"),
        (EfficientNetBackbone, "b0", {"pretrained": "https://host/b0.pth"}, "download the file"),
        (EfficientNetBackbone, "tf_efficientnet_b0.ap_in1k", {"pretrained": "in1k"}, "two different weights"),
        (EfficientNetBackbone, "efficientnet_b8", {"pretrained": "ra_in1k"}, "timm has none for efficientnet_b8"),
        (EfficientNetBackbone, "tf_efficientnet_b0.ap_1k", {}, "has the tags aa_in1k, ap_in1k, in1k, ns_jft_in1k; not"),
        (TimmBackbone, "convnext_atto", {"norm_eval": True}, "convnext_atto has no BatchNorm: leave out norm_eval"),
        (TimmBackbone, "vgg11", {"drop_path_rate": 0.1}, "vgg11 has no drop_path_rate"),
    ],
)
def test_bad_options(cls, name, options, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        cls(name, **options)


@pytest.mark.parametrize("model", ["b0", "tf_efficientnet_b0", "tf_efficientnet_b0.ap_in1k"])
def test_tag_of_the_weights_decides_the_normalisation(model):
    assert EfficientNetBackbone(model, pretrained="ap_in1k").mean.flatten().tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("name", "what_to_do"),
    [
        (
            "vit_tiny_patch16_224",
            "P3 (stride 8), P5 (stride 32); its feature maps have the strides 16. Ask for {levels: [4]}",
        ),
        ("nest_tiny", "P5 (stride 32); its feature maps have the strides 4, 8, 16. Ask for {levels: [3, 4]}"),
        ("convmixer_1024_20_ks9_p14", "the strides 14. Name another model."),
    ],
)
def test_missing_level_says_what_to_ask_for(name, what_to_do):
    with pytest.raises(ValueError, match=re.escape(what_to_do)):
        TimmBackbone(name)


def test_body_that_was_changed_survives_a_pickle():
    model = EfficientNetBackbone("b0").eval()
    torch.nn.utils.prune.l1_unstructured(model.body.blocks[1][0].conv_pw, "weight", amount=0.5)
    model.body.conv_stem = torch.nn.Conv2d(3, 32, 3, 2, 1)
    image = torch.rand(1, 3, 64, 64)
    loaded = torch.load(saved(model), weights_only=False)
    torch.testing.assert_close(loaded(image), model(image), rtol=0, atol=0)
