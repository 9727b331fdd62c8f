"""The table of timm's families in docs/families.md.

python -m benchmarks.families             checks every family and prints the table
python -m benchmarks.families resnet18    checks this model only
python -m benchmarks.families --write     writes the table into docs/families.md
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import timm
import torch
import ultralytics

from benchmarks import family_checks as checks
from benchmarks.page import write_between
from effyolo_ultra.errors import ModelYAMLError

PAGE = Path(__file__).parent.parent / "docs" / "families.md"
LEVELS = [3, 4, 5]
LIMIT_S = 300

# A small model of each.
FAMILIES = {
    "BEiT": "beit_base_patch16_224",
    "CAFormer (MetaFormer)": "caformer_s18",
    "CaiT": "cait_xxs24_224",
    "CoaT": "coat_tiny",
    "CoAtNet": "coatnet_nano_rw_224",
    "ConvMixer": "convmixer_768_32",
    "ConvNeXt": "convnext_atto",
    "ConvNeXt V2": "convnextv2_atto",
    "CPUBone": "cpubone_nano",
    "CrossViT": "crossvit_tiny_240",
    "CS3DarkNet": "cs3darknet_s",
    "CSATv2": "csatv2",
    "CSPDarkNet": "cspdarknet53",
    "CSPNeXt": "cspnext_tiny",
    "CSPResNet": "cspresnet50",
    "DarkNet": "darknet53",
    "DaViT": "davit_tiny",
    "DenseNet": "densenet121",
    "DINOv3": "vit_tiny_patch16_dinov3_qkvb",
    "DLA": "dla46_c",
    "DPN": "dpn48b",
    "EdgeNeXt": "edgenext_xx_small",
    "EfficientFormer": "efficientformer_l1",
    "EfficientFormerV2": "efficientformerv2_s0",
    "EfficientNet": "efficientnet_b0",
    "EfficientNet EdgeTPU": "efficientnet_es",
    "EfficientNet lite": "efficientnet_lite0",
    "EfficientNetV2": "efficientnetv2_rw_t",
    "EfficientViM": "efficientvim_m1",
    "EfficientViT (MIT)": "efficientvit_b0",
    "EfficientViT (MSRA)": "efficientvit_m0",
    "FasterNet": "fasternet_t0",
    "FastViT": "fastvit_t8",
    "FBNet": "fbnetc_100",
    "FocalNet": "focalnet_tiny_srf",
    "GCViT": "gcvit_xxtiny",
    "GENet": "gernet_s",
    "GhostNet": "ghostnet_050",
    "GhostNetV2": "ghostnetv2_100",
    "GhostNetV3": "ghostnetv3_050",
    "HaloNet": "halonet_h1",
    "HardCoRe-NAS": "hardcorenas_a",
    "HGNet": "hgnet_tiny",
    "HGNetV2": "hgnetv2_b0",
    "Hiera": "hiera_tiny_224",
    "HRNet": "hrnet_w18_small",
    "iFormer": "iformer_t",
    "Inception": "inception_v3",
    "InceptionNeXt": "inception_next_atto",
    "LambdaNet": "lambda_resnet26t",
    "LCNet": "lcnet_035",
    "LeViT": "levit_conv_128s",
    "LowFormer": "lowformer_b0",
    "MambaOut": "mambaout_femto",
    "MaxViT": "maxvit_nano_rw_256",
    "MixNet": "mixnet_s",
    "MLP-Mixer": "mixer_s32_224",
    "MNASNet": "mnasnet_050",
    "MobileNetV2": "mobilenetv2_035",
    "MobileNetV3": "mobilenetv3_small_050",
    "MobileNetV4 conv": "mobilenetv4_conv_small_035",
    "MobileNetV4 hybrid": "mobilenetv4_hybrid_medium_075",
    "MobileOne": "mobileone_s1",
    "MobileViT": "mobilevit_xxs",
    "MobileViTV2": "mobilevitv2_050",
    "MViTv2": "mvitv2_tiny",
    "NesT": "nest_tiny",
    "Next-ViT": "nextvit_small",
    "NFNet": "nf_regnet_b0",
    "PiT": "pit_ti_224",
    "PoolFormer": "poolformer_s12",
    "PVT v2": "pvt_v2_b0",
    "RDNet": "rdnet_tiny",
    "RegNetX": "regnetx_002",
    "RegNetY": "regnety_002",
    "RegNetZ": "regnetz_b16",
    "RepGhost": "repghostnet_050",
    "RepVGG": "repvgg_a0",
    "RepViT": "repvit_m0_9",
    "Res2Net": "res2net50_14w_8s",
    "ResNeSt": "resnest14d",
    "ResNet": "resnet18",
    "ResNeXt": "resnext26ts",
    "ResNetV2": "resnetv2_18",
    "ReXNet": "rexnet_100",
    "SAM ViT": "samvit_base_patch16_224",
    "SAM 2 Hiera": "sam2_hiera_tiny",
    "SelecSLS": "selecsls42",
    "SE-ResNeXt": "seresnext26t_32x4d",
    "Sequencer": "sequencer2d_s",
    "SHViT": "shvit_s1",
    "SKNet": "skresnet18",
    "StarNet": "starnet_s050",
    "SwiftFormer": "swiftformer_xs",
    "Swin": "swin_tiny_patch4_window7_224",
    "Swin V2": "swinv2_tiny_window8_256",
    "TinyNet": "tinynet_e",
    "TinyViT": "tiny_vit_5m_224",
    "TResNet": "tresnet_m",
    "Twins": "twins_svt_small",
    "VGG": "vgg11_bn",
    "Visformer": "visformer_tiny",
    "ViT": "vit_tiny_patch16_224",
    "VoVNet": "ese_vovnet19b_dw",
    "Xception": "xception41",
    "XCiT": "xcit_nano_12_p8_224",
}


def reason(error: Exception) -> str:
    """Return what an error says, in one line that fits into a table."""
    text = str(error).split("\n  ", 1)[-1] if isinstance(error, ModelYAMLError) else str(error)
    text = " ".join(text.split()).split(". Please")[0].split(" [Caused")[0]
    return (text or type(error).__name__).replace("|", "/")


def check(name: str) -> tuple[list[str], str]:
    """Run all checks of a model.

    Returns:
        The cells levels, channels, parameters, build, train, checkpoint, export; and the error that P3 to P5 give.
    """
    torch.manual_seed(0)
    has = checks.levels_of(name)
    cells = [", ".join(f"P{k}" for k in has) or "none"]
    refused = ""
    with tempfile.TemporaryDirectory() as folder:
        levels = LEVELS
        try:
            yolo = checks.build(name, levels, Path(folder))
        except Exception as error:
            refused = reason(error)
            levels = [k for k in LEVELS if k in has]
            if levels in ([], LEVELS):
                return [*cells, "", "", "no", "", "", ""], refused
            try:
                yolo = checks.build(name, levels, Path(folder))
            except Exception as second:
                return [*cells, "", "", "no", "", "", ""], f"{refused} Then: {reason(second)}"
        backbone = yolo.model.model[0]
        channels = dict(zip(levels, backbone.out_channels))
        cells += [", ".join(str(channels.get(k, "-")) for k in LEVELS)]
        cells += [f"{sum(p.numel() for p in backbone.parameters()) / 1e6:.1f}"]
        cells += [f"with {{levels: {levels}}}" if refused else "yes"]
        images = torch.rand(4, 3, *checks.IMAGE_HW)
        cells += [answer(checks.check_training, yolo.model)]
        checks.make_realistic(yolo.model, images)
        cells += [answer(checks.check_checkpoint, yolo.model, levels, images)]
        cells += [answer(checks.check_export, yolo, images)]
    return cells, refused


def answer(function, *arguments) -> str:
    """Return "yes" and what there is to note, or what went wrong."""
    try:
        return function(*arguments) or "yes"
    except Exception as error:
        return f"no: {reason(error)}"


def quiet() -> None:
    """Leave stdout and stderr to the table: an exporter prints its graph."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def table(families: dict[str, str]) -> str:
    """Check the families, each in a process of its own, and return the table and the errors."""
    torch.set_num_threads(1)  # a forked process does not inherit the threads
    lines, errors = [], []
    for family, name in families.items():
        with multiprocessing.get_context("fork").Pool(1, quiet) as pool:
            try:
                cells, error = pool.apply_async(check, [name]).get(LIMIT_S)
            except Exception as problem:
                cells, error = ["", "", "", "no", "", "", ""], f"{type(problem).__name__}: {problem}"
        lines.append(f"| {family} | `{name}` | {' | '.join(cells)} |\n")
        print(lines[-1], end="", file=sys.stderr)
        if error:
            errors.append(f"| `{name}` | {error} |\n")
    head = "| family | model | levels | channels | parameters (M) | build | train | checkpoint | export |\n"
    head += "| --- | --- | --- | --- | ---: | --- | --- | --- | --- |\n"
    refused = "\nWhat is said when P3, P4 and P5 are asked of the others:\n\n| model | error |\n| --- | --- |\n"
    versions = (
        f"timm {timm.__version__}, torch {torch.__version__.split('+')[0]}, Ultralytics {ultralytics.__version__}"
    )
    head = f"With {versions}:\n\n{head}"
    return head + "".join(lines) + (refused + "".join(errors) if errors else "")


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help="timm models to check instead")
    parser.add_argument("--write", action="store_true", help="write the table into docs/families.md")
    arguments = parser.parse_args()
    if arguments.write and arguments.names:
        parser.error("--write is for the whole table")
    family_of = {name: family for family, name in FAMILIES.items()}
    found = table({family_of.get(name, name): name for name in arguments.names} or FAMILIES)
    if not arguments.write:
        print(found, end="")
        return
    write_between("docs/families.md", "families", found)


if __name__ == "__main__":
    main()
