"""Memory of a training step, counted tensor by tensor."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, from their making to their end."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and count the storages that it makes."""
        result = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)}
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in given | self._seen:
                    self._add(storage)
        return result

    def _add(self, storage):
        key, size = storage._cdata, storage.nbytes()
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key, size):
        self._seen.discard(key)
        self.now -= size


def peak_bytes(model: torch.nn.Module, image: torch.Tensor) -> int:
    """Return the peak of the bytes that a forward and backward pass holds besides parameters and their gradients."""
    model.train()
    sum(x.mean() for x in model(image)).backward()  # makes the gradients
    with LiveBytes() as live:
        sum(x.mean() for x in model(image)).backward()
    return live.peak
