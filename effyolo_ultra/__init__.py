"""EfficientNet backbones and BiFPN necks for Ultralytics YOLO, described in a model YAML.

This file runs at every interpreter start of an environment that holds the package. It therefore imports nothing but
`_autoload`, and hands out the public names when they are first asked for (PEP 562).
"""

from effyolo_ultra._autoload import install as _install

__version__ = "0.1.0"

# Public name -> "module:attribute"; without an attribute, the module itself.
_LAZY = {
    "check": "effyolo_ultra.checking.check:check",
    "compare": "effyolo_ultra.comparison:compare",
    "compose": "effyolo_ultra.composing.text:compose",
    "describe": "effyolo_ultra.network:describe",
    "diagnose": "effyolo_ultra.doctor:diagnose",
    "draw": "effyolo_ultra.drawing.picture:draw",
    "features": "effyolo_ultra.feature_maps.pictures:features",
    "fusion_weights": "effyolo_ultra.fusion.edges:fusion_weights",
    "list_models": "effyolo_ultra.zoo:list_models",
    "model_info": "effyolo_ultra.info:model_info",
    "model_path": "effyolo_ultra.zoo:model_path",
    "model_records": "effyolo_ultra.zoo_records:model_records",
    "nn": "effyolo_ultra.nn",
    "pack": "effyolo_ultra.sharing.pack:pack",
    "plot_fusion_weights": "effyolo_ultra.fusion.plot:plot_fusion_weights",
    "prune": "effyolo_ultra.pruning:prune",
    "pull": "effyolo_ultra.sharing.hub:pull",
    "push": "effyolo_ultra.sharing.hub:push",
    "register": "effyolo_ultra._ultralytics:register",
    "register_module": "effyolo_ultra.user_modules:register_module",
    "shapes": "effyolo_ultra.shapes",
    "unpack": "effyolo_ultra.sharing.unpack:unpack",
    "write_model": "effyolo_ultra.composing.files:write_model",
}

# For type checkers, which take any variable of this name for typing's; importing typing would cost every start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from effyolo_ultra import nn as nn
    from effyolo_ultra import shapes as shapes
    from effyolo_ultra._ultralytics import register as register
    from effyolo_ultra.checking.check import check as check
    from effyolo_ultra.comparison import compare as compare
    from effyolo_ultra.composing.files import write_model as write_model
    from effyolo_ultra.composing.text import compose as compose
    from effyolo_ultra.doctor import diagnose as diagnose
    from effyolo_ultra.drawing.picture import draw as draw
    from effyolo_ultra.feature_maps.pictures import features as features
    from effyolo_ultra.fusion.edges import fusion_weights as fusion_weights
    from effyolo_ultra.fusion.plot import plot_fusion_weights as plot_fusion_weights
    from effyolo_ultra.info import model_info as model_info
    from effyolo_ultra.network import describe as describe
    from effyolo_ultra.pruning import prune as prune
    from effyolo_ultra.sharing.hub import pull as pull
    from effyolo_ultra.sharing.hub import push as push
    from effyolo_ultra.sharing.pack import pack as pack
    from effyolo_ultra.sharing.unpack import unpack as unpack
    from effyolo_ultra.user_modules import register_module as register_module
    from effyolo_ultra.zoo import list_models as list_models
    from effyolo_ultra.zoo import model_path as model_path
    from effyolo_ultra.zoo_records import model_records as model_records


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module_name, _, attribute = _LAZY[name].partition(":")
    value = import_module(module_name)
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


# Last, because it may import our own modules at once, and those may use the names above.
_install()
