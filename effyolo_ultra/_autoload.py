"""The import hook: waits for four modules of Ultralytics and extends each as soon as its body has run.

Starting the interpreter (effyolo_ultra.pth, effyolo_ultra.start) and importing the package call `install()`. It runs in
every process of the environment, so this file imports os and sys alone.
"""

import os
import sys

OPT_OUT = "EFFYOLO_ULTRA_NO_AUTOLOAD"

# Module of Ultralytics -> the function of `effyolo_ultra._ultralytics` that extends it.
HOOKS = {
    "ultralytics.utils.checks": "patch_checks",
    "ultralytics.nn.tasks": "patch_tasks",
    "ultralytics.data.utils": "patch_data_utils",
    "ultralytics.engine.trainer": "patch_trainer",
}

# Module of Ultralytics -> the fault of its hook, "" if there was none. A name that is missing: its hook has not run.
hooked: dict[str, str] = {}

# Modules that some other loader had begun to import before we were there: nothing tells us when they are complete.
_unfinished: set[str] = set()


def install() -> None:
    """Extend Ultralytics now if it is imported, else when it will be; a second call changes nothing.

    Does nothing when the environment variable EFFYOLO_ULTRA_NO_AUTOLOAD is set to anything but "", "0", "false", "no"
    or "off".
    """
    if opted_out():
        return
    if _finder not in sys.meta_path:
        # A copy of this module that was dropped from sys.modules has left its own finder behind.
        sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != __name__]
        sys.meta_path.insert(0, _finder)
    _unfinished.update(name for name in HOOKS if name in sys.modules and name not in hooked)
    _run_unfinished()


def opted_out() -> bool:
    """Whether the environment switches the hook off."""
    return os.environ.get(OPT_OUT, "").strip().lower() not in ("", "0", "false", "no", "off")


class _Finder:
    """Answers for the modules of HOOKS alone, with the spec of whoever really owns them."""

    def __init__(self):
        self._asking = set()

    def find_spec(self, fullname, path=None, target=None):
        if _unfinished:
            _run_unfinished()
        if fullname not in HOOKS or opted_out():
            return None
        from _thread import get_ident

        # Another finder may ask all finders in its turn, us among them.
        question = (get_ident(), fullname)
        if question in self._asking:
            return None
        self._asking.add(question)
        try:
            spec = self._ask_the_others(fullname, path, target)
        finally:
            self._asking.discard(question)
        if spec is not None and spec.loader is not None and not isinstance(spec.loader, _Loader):
            spec.loader = _Loader(spec)
        return spec

    def _ask_the_others(self, fullname, path, target):
        for finder in list(sys.meta_path):
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None


class _Loader:
    """Stands before the real loader until the module is executed, then steps aside.

    The real loader is left as it is: a zip or frozen loader is shared by many modules, and some refuse attributes.
    """

    _real = None

    def __init__(self, spec):
        self._spec = spec
        self._real = real = spec.loader
        # The import system chooses between the two by looking which exists.
        if hasattr(real, "exec_module"):
            self.exec_module = self._exec_module
        else:
            self.load_module = self._load_module

    def __getattr__(self, name):
        return getattr(self._real, name)

    def _exec_module(self, module):
        self._step_aside(module)
        self._real.exec_module(module)
        _run_hook(module.__name__, module)

    def _load_module(self, fullname):
        module = self._real.load_module(fullname)
        self._step_aside(module)
        _run_hook(fullname, module)
        return module

    def _step_aside(self, module):
        self._spec.loader = self._real
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._real


def _run_unfinished():
    for name in HOOKS:
        if name not in _unfinished:
            continue
        module = sys.modules.get(name)
        if getattr(getattr(module, "__spec__", None), "_initializing", False):
            continue
        _unfinished.discard(name)
        if module is not None:
            _run_hook(name, module)


def _run_hook(name, module):
    _unfinished.discard(name)
    try:
        from effyolo_ultra import _ultralytics

        getattr(_ultralytics, HOOKS[name])(module)
    except Exception as error:
        fault = hooked[name] = f"{type(error).__name__}: {error}"
        _warn(
            f"effyolo_ultra could not extend {name} ({fault}). Ultralytics works as it does without effyolo_ultra; "
            f"set {OPT_OUT}=1 to switch the attempt off."
        )
    else:
        hooked[name] = ""


def _warn(message):
    import warnings

    try:
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    except RuntimeWarning:
        # Warnings are errors here (-W error), but `import ultralytics` has to go on.
        print(f"RuntimeWarning: {message}", file=sys.stderr)


_finder = _Finder()
