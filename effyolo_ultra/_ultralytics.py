"""Everything of Ultralytics that this package replaces: a few functions, each wrapped and never rewritten."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from effyolo_ultra.errors import UltralyticsVersionError, UnknownNameError, nearest


def register() -> None:
    """Make the modules, models, datasets and recipes of this package known to Ultralytics in this process.

    Starting the interpreter and importing this package do it too, unless EFFYOLO_ULTRA_NO_AUTOLOAD is set. Calling it
    again changes nothing.
    """
    import ultralytics.data.utils
    import ultralytics.engine.trainer
    import ultralytics.nn.tasks
    import ultralytics.utils.checks

    patch_checks(ultralytics.utils.checks)
    patch_tasks(ultralytics.nn.tasks)
    patch_data_utils(ultralytics.data.utils)
    patch_trainer(ultralytics.engine.trainer)


def patch_checks(checks: ModuleType) -> None:
    """Let `ultralytics.utils.checks` find our model YAMLs and recipes."""
    # How the file is found that `cfg=` names, and that of a model.
    stock_check_yaml = wrappable(checks, "check_yaml", "file", "suffix", "hard")
    if stock_check_yaml:

        @functools.wraps(stock_check_yaml)
        def check_yaml(file: str | Path, *args: Any, **kwargs: Any) -> Any:
            return find(stock_check_yaml, ("models", "recipes"), file, *args, **kwargs)

        wrap(checks, "check_yaml", check_yaml)


def patch_tasks(tasks: ModuleType) -> None:
    """Let `ultralytics.nn.tasks` find our model YAMLs, build our rows and load our checkpoints."""
    from ultralytics.utils import checks

    from effyolo_ultra._plugins import load_user_modules
    from effyolo_ultra.registry import IN_CHECKPOINTS, MODULES, WITH_FUSE, known_modules

    # The only place where Ultralytics turns a model YAML into layers.
    stock_parse_model = wrappable(tasks, "parse_model", "d", "ch", "verbose")
    # Reads the file that a model YAML's name means; its errors do not say what is wrong with a file.
    stock_yaml_model_load = wrappable(tasks, "yaml_model_load", "path")
    # Tells the task by the head's name, which has to be the stock name to the letter before Ultralytics 8.4.0.
    stock_guess_model_task = wrappable(tasks, "guess_model_task", "model")
    # Loads a checkpoint into a network; a tensor of another backbone can have the same name and shape.
    stock_load = wrappable(tasks.BaseModel, "load", "self", "weights", "verbose")
    # Prepares a network for inference, but folds only BatchNorms of Ultralytics' own classes.
    stock_fuse = wrappable(tasks.BaseModel, "fuse", "self", "verbose", optional=("imgsz",))
    if not stock_parse_model:
        return

    for name, cls in MODULES.items():
        vars(tasks).setdefault(name, cls)  # an Ultralytics that has one of this name, such as a fork, keeps its own
    if hasattr(tasks.torch.serialization, "add_safe_globals"):  # for ULTRALYTICS_SAFE_LOAD; torch has it since 2.4
        tasks.torch.serialization.add_safe_globals(IN_CHECKPOINTS)

    @functools.wraps(stock_parse_model)
    def parse_model(d: dict[str, Any], ch: int, verbose: bool = True) -> Any:
        from effyolo_ultra._activation import BUILDING
        from effyolo_ultra.parser import parse_model

        with BUILDING:
            return parse_model(stock_parse_model, tasks, known_modules(tasks), d, ch, verbose)

    @functools.wraps(stock_yaml_model_load)
    def yaml_model_load(path: str | Path) -> dict[str, Any]:
        from effyolo_ultra.parser import load_model_yaml

        return load_model_yaml(stock_yaml_model_load, tasks, known_modules(tasks), path)

    @functools.wraps(stock_guess_model_task)
    def guess_model_task(model: Any) -> str:
        from effyolo_ultra._heads import with_stock_head

        return stock_guess_model_task(with_stock_head(model, tasks))

    @functools.wraps(stock_load)
    def load(self: Any, weights: Any, verbose: bool = True) -> None:
        from effyolo_ultra.training import load_network

        load_network(self, weights, lambda: stock_load(self, weights, verbose))

    @functools.wraps(stock_fuse)
    def fuse(self: Any, *args: Any, **kwargs: Any) -> Any:
        for module in self.modules():  # first, because the stock function ends with a summary of the network
            if isinstance(module, WITH_FUSE):
                module.fuse()
        return stock_fuse(self, *args, **kwargs)

    wrap(tasks, "parse_model", parse_model)
    wrap(tasks.BaseModel, "load", load)
    wrap(tasks.BaseModel, "fuse", fuse)
    wrap(tasks, "yaml_model_load", yaml_model_load)
    wrap(tasks, "guess_model_task", guess_model_task)
    patch_checks(checks)
    tasks.check_yaml = checks.check_yaml  # imported by name, before this package where that comes after Ultralytics
    # Imports them by name; it is there already where this package is imported after Ultralytics.
    engine = sys.modules.get("ultralytics.engine.model")
    for stock, ours in ((stock_yaml_model_load, yaml_model_load), (stock_guess_model_task, guess_model_task)):
        if getattr(engine, ours.__name__, None) is stock:
            setattr(engine, ours.__name__, ours)
    load_user_modules()


def patch_data_utils(data_utils: ModuleType) -> None:
    """Let `ultralytics.data.utils` find our dataset YAMLs."""
    # How check_det_dataset finds the file that `data=` names.
    stock_check_file = wrappable(data_utils, "check_file", "file", "suffix", "download", "download_dir", "hard")
    if stock_check_file:

        @functools.wraps(stock_check_file)
        def check_file(file: str | Path, *args: Any, **kwargs: Any) -> Any:
            return find(stock_check_file, ("datasets",), file, *args, **kwargs)

        wrap(data_utils, "check_file", check_file)


def patch_trainer(trainer: ModuleType) -> None:
    """Let Ultralytics' trainer do what the backbones of a network ask for."""
    # Where the network stands complete, with the weights of a checkpoint if there is one, and nothing is built on it
    # yet: pretrained weights and frozen layers have to be there before the optimizer, the moving average and DDP.
    stock_setup_model = wrappable(trainer.BaseTrainer, "setup_model", "self")
    # Where parameter groups are made; a learning rate of its own for the backbone is one more group.
    stock_build_optimizer = wrappable(
        trainer.BaseTrainer, "build_optimizer", "self", "model", "name", "lr", "momentum", "decay", "iterations"
    )
    if not stock_setup_model:
        return

    @functools.wraps(stock_setup_model)
    def setup_model(self: Any) -> Any:
        from effyolo_ultra.fusion.course import watch
        from effyolo_ultra.training import prepare_network, save_whole

        checkpoint = stock_setup_model(self)
        prepare_network(self)
        watch(self)
        save_whole(self)
        return checkpoint

    @functools.wraps(stock_build_optimizer)
    def build_optimizer(self: Any, model: Any, name: str = "auto", *args: Any, **kwargs: Any) -> Any:
        from effyolo_ultra.phases import split_optimizer
        from effyolo_ultra.training import apply_lr_mult

        optimizer = stock_build_optimizer(self, model, split_optimizer(name)[0], *args, **kwargs)
        apply_lr_mult(optimizer, model)
        return optimizer

    wrap(trainer.BaseTrainer, "setup_model", setup_model)
    wrap(trainer.BaseTrainer, "build_optimizer", build_optimizer)


def find(stock: Callable[..., Any], kinds: tuple[str, ...], file: str | Path, *args: Any, **kwargs: Any) -> Any:
    """Find a file as Ultralytics does, and where it finds none, by its bare name among ours."""
    from effyolo_ultra import zoo

    name = str(file).strip()
    try:
        found = stock(file, *args, **kwargs)
    except FileNotFoundError as error:
        if ours := zoo.find(name, *kinds):
            return str(ours)
        # Of a model, the error of yaml_model_load says it.
        hint = nearest(Path(name).name, [file for kind in kinds if kind != "models" for file in zoo.list_files(kind)])
        if hint:
            raise UnknownNameError(f"{error}.{hint}") from None
        raise
    return found or str(zoo.find(name, *kinds) or "") or found


def wrappable(
    owner: ModuleType | type, name: str, *parameters: str, optional: tuple[str, ...] = ()
) -> Callable[..., Any] | None:
    """Return a function of Ultralytics that is to be wrapped, None if it is wrapped already.

    Args:
        owner: The module or class that has it.
        name: Its name.
        parameters: The names of its parameters.
        optional: More parameters that only newer versions have.

    Raises:
        UltralyticsVersionError: If it is not there, or does not have the expected form.
    """
    function = getattr(owner, name, None)
    if hasattr(function, "wrapped_by_effyolo_ultra"):
        return None
    found = list(inspect.signature(function).parameters) if callable(function) else None
    if found not in (list(parameters), [*parameters, *optional]):
        from effyolo_ultra import __version__

        version = getattr(sys.modules.get("ultralytics"), "__version__", "of unknown version")
        form = f"takes ({', '.join(found)})" if found is not None else "is missing"
        raise UltralyticsVersionError(
            f"ultralytics {version} cannot be extended by effyolo_ultra {__version__}: {owner.__name__}.{name} {form},"
            f" expected ({', '.join(parameters)}). Install a version that this effyolo_ultra supports, or a newer"
            " effyolo_ultra."
        )
    return function


def wrap(owner: ModuleType | type, name: str, function: Callable[..., Any]) -> None:
    """Put `function` in the place of an attribute of Ultralytics."""
    function.wrapped_by_effyolo_ultra = True
    setattr(owner, name, function)
