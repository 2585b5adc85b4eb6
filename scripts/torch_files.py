"""The tensors of PyTorch's files, read by NumPy: without torch, and without running any code that is in them."""
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np


class Module:
    """Stands for each class of a TorchScript file; unpickling fills its attributes, in the order of their names."""


class Unpickler(pickle.Unpickler):
    """Knows only what plain tensors and the modules that hold them are made of."""
    known = {("collections", "OrderedDict"): OrderedDict, ("torch", "FloatStorage"): np.float32,
             ("torch", "LongStorage"): np.int64, ("torch._utils", "_rebuild_tensor_v2"): lambda *saved: saved,
             ("torch.jit._pickle", "build_intlist"): list}

    def find_class(self, module, name):
        if module.startswith("__torch__."):
            return Module
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}; only plain tensors are read")
        return self.known[module, name]

    def persistent_load(self, identity):
        return identity  # ("storage", type, key, device, count, ...)


def array(saved: tuple, storages: dict[str, np.ndarray]) -> np.ndarray:
    """What torch saved of a tensor (storage, offset, shape, strides, ...) as an array of its own."""
    identity, offset, shape, strides, *_ = saved
    storage = storages[identity[2]]
    steps = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a legacy state dict (.pth), name -> float32 or int64 array.

    The file is five pickles (magic number, protocol, system, tensors, storage keys), then each storage as an int64
    count and its raw values.
    """
    with open(path, "rb") as file:
        tensors, keys = [Unpickler(file).load() for _ in range(5)][3:]
        types = {identity[2]: identity[1] for identity, *_ in tensors.values()}
        storages = {}
        for key in keys:
            count, = struct.unpack("<q", file.read(8))
            storages[key] = np.frombuffer(file.read(count * np.dtype(types[key]).itemsize), types[key])
    return {name: array(saved, storages) for name, saved in tensors.items()}


def read_script(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a TorchScript file (.pt), name -> float32 or int64 array, modules in the order of their making.

    The file is a zip: data.pkl holds the tree of modules, data/KEY the raw values of each storage.
    """
    tensors = {}
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]

        def collect(module, prefix):
            for name, value in vars(module).items():
                if isinstance(value, Module):
                    collect(value, f"{prefix}{name}.")
                elif isinstance(value, tuple):
                    _, kind, key, *_ = value[0]
                    values = np.frombuffer(archive.read(f"{root}/data/{key}"), kind)
                    tensors[prefix + name] = array(value, {key: values})
        with archive.open(f"{root}/data.pkl") as file:
            collect(Unpickler(file).load(), "")
    return tensors
