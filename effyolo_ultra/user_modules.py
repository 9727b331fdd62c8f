"""Modules of users: registered by name with a channel rule, then valid in a model YAML in every process.

A package announces them by the entry-point group `effyolo_ultra.modules`, a project by the environment variable
EFFYOLO_ULTRA_MODULES (see _plugins.py). A YAML never imports anything.
"""

from __future__ import annotations

import copyreg
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Union

import torch
from torch import nn

from effyolo_ultra._trial import trial_run
from effyolo_ultra._user_state import reduce_user_module
from effyolo_ultra.errors import ModuleRegistrationError, nearest
from effyolo_ultra.row import Built, Output, Pyramid, Row, pyramid_needs_level

Rule = Union[str, Callable[..., Any]]

RULES = ("same", "first_arg", "sum")
REPEATS = ("stack", "argument", "none")
USER_MODULES: dict[str, UserModule] = {}


def register_module(
    cls: type | None = None,
    *,
    name: str | None = None,
    channels: Rule = "same",
    inputs: Sequence[str] | None = ("x",),
    pyramid: bool = False,
    repeats: str = "stack",
) -> Any:
    """Make a module of yours valid in a model YAML. Plain, or as a decorator of the class.

    The class is built with the channels that it takes, c1, then the args of the row; its options are keyword arguments.
    c1 is a number, for a list in `from` a list of numbers, and for a pyramid the list of its levels' channels. Where
    `from` is a list, `forward` is given a list of tensors.

        @register_module(channels="first_arg")
        class Squeeze(nn.Module):
            def __init__(self, c1, c2, ratio=4): ...

    is built by `[-1, 1, Squeeze, [128, {ratio: 8}]]`.

    Args:
        cls: A subclass of torch.nn.Module.
        name: Its name in a YAML; by default that of the class.
        channels: How many channels it gives. 'same': as many as it takes. 'first_arg': the first arg of the row, scaled
            by the file's width and capped by its max_channels; the class is built with (c1, c2, other args). 'sum':
            those of its inputs together. Or a function of what the class is built with, (c1, *args, **options), that
            returns the number, for a pyramid a list.
        inputs: Names of the inputs. One name: `from` is one layer; several: a list of as many layers; None: a list of
            two layers or more.
        pyramid: Whether `forward` returns a list of feature maps, finest first, whose strides are powers of 2.
        repeats: What the row's repeats, scaled by the file's depth, mean. 'stack': so many modules one after another.
            'argument': the class is built with that number behind the channels, as C3 is. 'none': they must be 1.

    Returns:
        The class, or the decorator.

    Raises:
        ModuleRegistrationError: If this cannot be registered; the message says why.
    """
    if cls is None:
        return lambda cls: register_module(
            cls, name=name, channels=channels, inputs=inputs, pyramid=pyramid, repeats=repeats
        )
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ModuleRegistrationError(f"only a subclass of torch.nn.Module can be registered, not {cls!r}")
    name = cls.__name__ if name is None else name
    given = UserModule(cls, name, channels, tuple(inputs) if inputs is not None else None, pyramid, repeats)
    given.check()
    USER_MODULES[name] = given
    if cls.__module__ != "__main__":  # which is another one where it is loaded
        copyreg.pickle(cls, reduce_user_module)
    if hasattr(torch.serialization, "add_safe_globals"):  # for ULTRALYTICS_SAFE_LOAD; torch has it since 2.4
        torch.serialization.add_safe_globals([cls])
    return cls


@dataclass(frozen=True)
class UserModule:
    """A registered class, with what `register_module` was told of it."""

    cls: type
    name: str
    channels: Rule
    inputs: tuple[str, ...] | None
    pyramid: bool
    repeats: str

    def check(self) -> None:
        """Raise a ModuleRegistrationError unless it can be registered."""
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ModuleRegistrationError(
                f"{self.home}: the name must be one of Python's identifiers, not {self.name!r}"
            )
        if not callable(self.channels) and self.channels not in RULES:
            raise ModuleRegistrationError(
                f"{self.home}: channels must be one of {', '.join(RULES)} or a function, not {self.channels!r}."
                f"{nearest(str(self.channels), RULES)}"
            )
        if self.repeats not in REPEATS:
            raise ModuleRegistrationError(
                f"{self.home}: repeats must be one of {', '.join(REPEATS)}, not {self.repeats!r}"
            )
        if self.inputs is not None and not (self.inputs and all(isinstance(x, str) for x in self.inputs)):
            raise ModuleRegistrationError(f"{self.home}: inputs must be names or None, not {self.inputs!r}")
        if self.channels == "sum" and self.inputs is not None and len(self.inputs) == 1:
            raise ModuleRegistrationError(
                f"{self.home}: channels='sum' needs several inputs; name them, or inputs=None"
            )
        there = USER_MODULES.get(self.name)
        # The same class again is what a reloaded module or a cell run twice gives.
        if there and (there.cls.__module__, there.cls.__qualname__) != (self.cls.__module__, self.cls.__qualname__):
            raise ModuleRegistrationError(
                f"{self.home} cannot be registered as '{self.name}': {there.home} is. Give one of them another `name`."
            )
        if owner := owner_of(self.name):
            raise ModuleRegistrationError(
                f"{self.home} cannot be registered as '{self.name}': {owner} has a module of this name. Give it another"
                " `name`."
            )

    @property
    def home(self) -> str:
        """Where the class is written."""
        where = f"{self.cls.__module__}.{self.cls.__qualname__}"
        try:
            return f"{where} ({inspect.getsourcefile(self.cls)})"
        except (TypeError, OSError):  # made in a notebook or at a prompt
            return where

    def from_row(self, row: Row) -> Built:
        """Build the module of a row, and see that it gives what its rule says."""
        self.check_inputs(row)
        given = [channels_of(output) for output in row.inputs]
        c1 = given if row.is_list else given[0]
        repeats = row.scaling.repeats(row.repeats)
        if self.repeats == "none":
            row.no_repeats()
        stacked = repeats if self.repeats == "stack" else 1
        if stacked > 1 and (row.is_list or self.pyramid or isinstance(c1, list)):
            row.error(f"repeats must be 1, not {row.repeats}: {self.name} does not take what it gives.")
        args = list(row.args)
        c2 = self.given_channels(row, c1, args)
        behind = [repeats] if self.repeats == "argument" else []

        def build(c1: Any) -> nn.Module:
            widths = [c1, c2] if self.channels == "first_arg" else [c1]
            return self.construct(row, [*widths, *behind, *args])

        modules = [build(c1), *(build(c2) for _ in range(stacked - 1))]
        module = modules[0] if stacked == 1 else nn.Sequential(*modules)
        return Built(module, self.checked_output(row, module, c2), row.all_args)

    def check_inputs(self, row: Row) -> None:
        """Raise a ModelYAMLError unless `from` has the inputs that were registered."""
        if self.inputs is None:
            if len(row.inputs) < 2 or not row.is_list:
                row.error(f"{self.name} needs a list of at least 2 layers in 'from'.")
        elif len(self.inputs) == 1:
            row.one_input()
        elif len(row.inputs) != len(self.inputs) or not row.is_list:
            names = ", ".join(self.inputs)
            row.error(
                f"{self.name} takes a list of {len(self.inputs)} layers in 'from' ({names}), not {len(row.inputs)}."
            )

    def given_channels(self, row: Row, c1: Any, args: list[Any]) -> Any:
        """Return the channels that the rule promises; take the first arg away where it is the rule."""
        if self.channels == "same":
            if row.is_list and len(set(map(str, c1))) > 1:
                row.error(f"inputs of {self.name} must have equal channels, but they have {c1}.")
            return c1[0] if row.is_list else c1
        if self.channels == "sum":
            if any(isinstance(c, list) for c in c1):
                row.tensors()
            return sum(c1)
        if self.channels == "first_arg":
            if not args or isinstance(args[0], bool) or not isinstance(args[0], int) or args[0] < 1:
                row.error(f"the first arg of {self.name} must be its number of channels, not {args[:1]}.")
            return row.scaling.channels(args.pop(0))
        try:
            return self.channels(c1, *args, **row.options)
        except Exception as error:  # whatever a function of a user makes of these args
            self.refuse(row, f"the channel rule of {self.name} fails: {type(error).__name__}: {error}", error)

    def construct(self, row: Row, args: list[Any]) -> nn.Module:
        """Call the class."""
        signature = inspect.signature(self.cls)
        try:
            signature.bind(*args, **row.options)
        except TypeError as error:
            names = signature.parameters
            hint = "".join(nearest(str(name), names) for name in row.options if name not in names)
            options = "".join(f", {name}={value!r}" for name, value in row.options.items())
            called = f"{self.name}({', '.join(map(repr, args))}{options})"
            row.error(f"{called} does not fit {self.name}{signature}: {error}.{hint}")
        try:
            return self.cls(*args, **row.options)
        except Exception as error:  # of a user's own code; on numbers, it says what it does not take
            if any(isinstance(given, Pyramid) for given in row.inputs):
                self.refuse(row, f"{type(error).__name__}: {error}", error)
            raise

    def checked_output(self, row: Row, module: nn.Module, promised: Any) -> Output:
        """Return what the module gives on a trial run, which must be what the rule promised."""
        try:
            output = trial_run(module, row.inputs, row.is_list)
        except Exception as error:  # whatever a module of a user makes of its inputs
            self.refuse(row, f"{self.name} cannot run on what its inputs give: {type(error).__name__}: {error}", error)
        if isinstance(output, Pyramid) != self.pyramid:
            kinds = {True: "a list of feature maps", False: "one feature map"}
            self.refuse(
                row,
                f"{self.name} gives {kinds[not self.pyramid]}, but is registered for {kinds[self.pyramid]}:"
                f" register it with pyramid={not self.pyramid}.",
            )
        if channels_of(output) != promised:
            self.refuse(
                row,
                f"{self.name} gives {channels_of(output)} channels, but its channel rule says {promised}: mend"
                f" `channels` where it is registered, {self.home}.",
            )
        return output

    def refuse(self, row: Row, message: str, cause: Exception | None = None) -> NoReturn:
        """Raise a ModelYAMLError; where an input is a pyramid, that is likely what the module was not made for."""
        for source, given in zip(row.sources, row.inputs):
            if isinstance(given, Pyramid):
                message = f"{pyramid_needs_level(source, given)} If {self.name} is made for pyramids: {message}"
                break
        row.error(message, cause)


def channels_of(output: Output) -> Any:
    """Return the channels of a feature map, or those of each level of a pyramid."""
    return list(output.values()) if isinstance(output, Pyramid) else output.channels


def owner_of(name: str) -> str | None:
    """Return who else has a module of this name, None if nobody."""
    import ultralytics.nn.tasks as tasks

    from effyolo_ultra._refusals import is_stock
    from effyolo_ultra.nn.light_head import light_heads
    from effyolo_ultra.registry import MODULES

    if name in MODULES or name in light_heads(tasks):
        return "effyolo_ultra"
    return "Ultralytics" if is_stock(tasks, name) else None
