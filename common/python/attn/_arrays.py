# SPDX-License-Identifier: MIT
"""One view of the arrays that callers have: torch's CPU tensors, NumPy's arrays, and whatever else
has Python's buffer protocol (array.array, memoryview). Neither torch nor NumPy is imported here:
who has such an array has imported it."""
import ctypes
import math
import sys

from ._errors import BadArgument

# Of the buffer protocol (struct's codes), and of torch.
_FORMATS = {"f": "float32", "e": "float16", "d": "float64", "?": "bool", "B": "uint8"}
_FORMATS |= {"q": "int64", "l": "int64", "i": "int32"}
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "bool": 1, "uint8": 1, "int64": 8}
_PYBUF_WRITABLE, _PYBUF_FORMAT, _PYBUF_STRIDES = 0x1, 0x4, 0x18


class _PyBuffer(ctypes.Structure):
    """Py_buffer of Python's stable interface."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("suboffsets", ctypes.POINTER(ctypes.c_ssize_t)),
        ("internal", ctypes.c_void_p),
    ]


def integer(name, value):
    """The value, if 64 bits hold it (ctypes would cut off what they do not)."""
    if not isinstance(value, int) or not -(2**63) <= value < 2**63:
        bad(f"{name} = {value!r}: allowed: an integer of 64 bits")
    return value


def number(name, value):
    """The value as a float."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return bad(f"{name} = {value!r}: allowed: a number")


def bad(message):
    """Raises BadArgument."""
    raise BadArgument(message)


def is_torch(array):
    """Whether it is a tensor of torch's."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def is_numpy(array):
    """Whether it is an array of NumPy's."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(array, numpy.ndarray)


class View:
    """Where the elements of one array lie. `bytes`: from the first one to the end of its memory."""

    def __init__(self, name, element, address, shape, strides, nbytes, readonly):
        self.name = name
        self.element = element
        self.address = address
        self.shape = tuple(shape)
        self.strides = tuple(strides)  # in elements
        self.bytes = nbytes
        self.readonly = readonly

    def contiguous(self):
        """Whether the elements lie in the order of their indices without gaps."""
        if 0 in self.shape:
            return True
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides)):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True

    def row_strides(self):
        """Strides of batch, head and row for attn_c_call; zeros for an array without gaps."""
        if self.contiguous():
            return (0, 0, 0)
        for size, stride in zip(self.shape, self.strides):
            if stride < 0 and size > 1:
                bad(f"{self.name}: strides {self.strides}; allowed: 0 or more, so copy it first")
        if self.shape[-1] > 1 and self.strides[-1] != 1:
            bad(
                f"{self.name}: strides {self.strides}; allowed: rows whose elements lie side by "
                "side, so copy it first"
            )
        strides = [s if n > 1 else 0 for n, s in zip(self.shape[:3], self.strides)]
        if not any(strides):
            if math.prod(self.shape[:3]) > 1:
                bad(f"{self.name}: strides {self.strides}, one row for all; allowed: a copy")
            return (0, 0, 0)
        return tuple(strides)


def _torch_view(name, tensor):
    torch = sys.modules["torch"]
    if tensor.device.type != "cpu":
        bad(f"{name}: device = {tensor.device}; allowed: cpu")
    if tensor.layout != torch.strided:
        bad(f"{name}: layout = {tensor.layout}; allowed: torch.strided")
    if tensor.is_neg() or tensor.is_conj():
        bad(f"{name}: its sign is not applied yet; allowed: {name}.resolve_neg()")
    try:
        address = tensor.data_ptr()
        storage = tensor.untyped_storage().nbytes()
    except RuntimeError as error:  # a tensor without memory, while a model is being compiled
        bad(f"{name}: {str(error).splitlines()[0]}; allowed: a tensor with memory")
    nbytes = storage - tensor.storage_offset() * tensor.element_size()
    element = str(tensor.dtype).removeprefix("torch.")
    return View(name, element, address, tensor.shape, tensor.stride(), nbytes, False)


class Arrays:
    """The arrays of one call, which stay where they are until it ends."""

    def __init__(self):
        self._buffers = []
        self._objects = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for buffer in self._buffers:
            ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
        self._buffers.clear()
        self._objects.clear()

    def view(self, name, array, *, elements, written=False):
        """A View of an array whose element is one of `elements`."""
        self._objects.append(array)
        view = _torch_view(name, array) if is_torch(array) else self._buffer_view(name, array)
        if view.element not in elements:
            bad(f"{name}: its elements are {view.element}; allowed: {', '.join(elements)}")
        if written and view.readonly:
            bad(f"{name}: read-only; allowed: an array that can be written")
        if written and is_torch(array) and array.requires_grad:
            bad(f"{name}: requires_grad; allowed: a tensor without, to be written")
        if view.address and view.address % _BYTES[view.element] != 0:
            bad(f"{name}: at {view.address:#x}; allowed: a multiple of {_BYTES[view.element]}")
        return view

    def _buffer_view(self, name, array):
        buffer = _PyBuffer()
        flags = _PYBUF_FORMAT | _PYBUF_STRIDES
        try:
            ctypes.pythonapi.PyObject_GetBuffer(
                ctypes.py_object(array), ctypes.byref(buffer), ctypes.c_int(flags)
            )
        except (BufferError, TypeError, ValueError) as error:
            bad(f"{name}: {type(array).__name__}: {error}; allowed: an array")
        self._buffers.append(buffer)
        code = (buffer.format or b"B").decode().lstrip("@=<")
        element = _FORMATS.get(code, f"of format {code}")
        shape = buffer.shape[: buffer.ndim]
        steps = buffer.strides[: buffer.ndim]
        each = buffer.itemsize
        if any(n > 1 and step % each for n, step in zip(shape, steps)):
            bad(f"{name}: strides of {tuple(steps)} bytes; allowed: multiples of {each}")
        # As many bytes as its sizes and strides reach; the owner of the memory vouches for them.
        reach = 0
        if 0 not in shape:
            reach = each + sum((n - 1) * step for n, step in zip(shape, steps) if step > 0)
        strides = [step // each for step in steps]
        return View(name, element, buffer.buf, shape, strides, reach, bool(buffer.readonly))

    def integers(self, name, values):
        """An array of int64 in order: an array of such, or any nested sequence of integers."""
        if is_torch(values) or is_numpy(values):
            view = self.view(name, values, elements=("int64",))
            if not view.contiguous():
                bad(f"{name}: strides {view.strides}; allowed: an array without gaps")
            return view
        flat = []

        def collect(part):
            if isinstance(part, int):
                flat.append(part)
                return
            if isinstance(part, (str, bytes)):
                raise TypeError(repr(part))
            for one in part:
                collect(one)

        try:
            collect(values)
            numbers = (ctypes.c_int64 * len(flat))(*flat)
        except (TypeError, OverflowError) as error:
            bad(f"{name}: {error}; allowed: integers of 64 bits")
        if any(not -(2**63) <= x < 2**63 for x in flat):
            bad(f"{name}: allowed: integers of 64 bits")
        self._objects.append(numbers)
        address = ctypes.addressof(numbers)
        return View(name, "int64", address, (len(flat),), (1,), 8 * len(flat), True)

    def pairs(self, name, array, *, elements):
        """A view of an array that is broadcast to [B, H, Nq, Nk], and the four sizes it has."""
        view = self.view(name, array, elements=elements)
        if len(view.shape) > 4:
            bad(f"{name}: {len(view.shape)} axes; allowed: at most 4")
        missing = 4 - len(view.shape)
        strides = (0,) * missing + view.strides
        sizes = (1,) * missing + view.shape
        # An axis along which nothing moves holds one element.
        sizes = tuple(1 if step == 0 and n > 1 else n for n, step in zip(sizes, strides))
        squeezed = View(name, view.element, view.address, sizes, strides, view.bytes, True)
        if not squeezed.contiguous():
            bad(f"{name}: strides {view.strides}; allowed: an array without gaps, so copy it first")
        return view, sizes


def empty(like, shape, element="float32"):
    """A new array of the same kind as `like`."""
    if is_torch(like):
        torch = sys.modules["torch"]
        return torch.empty(shape, dtype=getattr(torch, element))
    if is_numpy(like):
        return sys.modules["numpy"].empty(shape, dtype=element)
    memory = memoryview(bytearray(math.prod(shape) * _BYTES[element]))
    if memory.nbytes == 0:
        return memory
    return memory.cast({"float32": "f", "float16": "e"}[element], shape)


def empty_as(like, view):
    """A new array that lies as `like` does, gaps included; `view` is its View."""
    if view.contiguous() or 0 in view.strides:
        return empty(like, view.shape, view.element)
    if is_torch(like):
        return like.new_empty(_reach(view)).as_strided(view.shape, view.strides)
    numpy = sys.modules.get("numpy")
    if numpy is None:
        bad(f"{view.name}: strides {view.strides}; allowed without NumPy: an array without gaps")
    memory = numpy.empty(_reach(view), dtype=view.element)
    strides = [stride * memory.itemsize for stride in view.strides]
    return numpy.lib.stride_tricks.as_strided(memory, view.shape, strides)


def _reach(view):
    """Elements from the first one to behind the last."""
    return 1 + sum((n - 1) * stride for n, stride in zip(view.shape, view.strides))
