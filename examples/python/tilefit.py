"""tilefit's choice of tiles through its C door, by ctypes: nothing to build but one shared library.

    c++ -std=c++20 -O2 -fPIC -shared -I include -o libtilefit_c.so examples/c/tilefit_c.cpp -lfmt

load("libtilefit_c.so").select(...) is one choice; triton_constraints(...) is what to hand to triton_kernels'
update_opt_flags_constraints so that its own chooser stays within a chip's shared memory.
"""

import ctypes
import itertools
import math

DTYPES = ("fp32", "bf16", "fp16", "e4m3", "mxfp8", "mxfp4")
POLICIES = ("tilefit", "triton-3.4.0", "triton-2025-12")
SCALE_LAYOUTS = ("strided", "hopper4", "hopper8", "blackwell", "cdna4")
SUCCESSES = ("ok", "ok_fallback", "ok_constraint_relaxed", "empty")


def _structure(name, *fields):
    return type(name, (ctypes.Structure,), {"_fields_": list(fields)})


def _ints(*names):
    return [(name, ctypes.c_int32) for name in names]


def _longs(*names):
    return [(name, ctypes.c_int64) for name in names]


_SIZE = ("struct_size", ctypes.c_size_t)

# include/tilefit/c/types.h, member by member.
Flags = _structure(
    "Flags",
    *_ints("block_m", "block_n", "block_k", "num_warps", "num_stages", "group_m", "xcd_swizzle", "split_k",
           "is_persistent", "epilogue_subtile", "idle_sms", "waves_per_eu", "w_cache"),
    ("reserved", ctypes.c_int32 * 3))
Device = _structure(
    "Device", _SIZE, ("arch", ctypes.c_char_p), *_ints("sm_count", "xcd_count"),
    *_longs("smem_optin", "smem_per_sm", "smem_reserved", "l2_bytes"), *_ints("clock_mhz", "dram_gbps"))
Problem = _structure(
    "Problem", _SIZE, *_longs("m", "n", "k"), *_ints("experts", "topk", "batch", "x_dtype", "w_dtype", "y_dtype",
                                                     "activation", "gather", "scatter", "bias", "x_transposed",
                                                     "accumulate"),
    *_longs("rows_per_expert"), ("expert_rows", ctypes.POINTER(ctypes.c_int32)))
Constraints = _structure(
    "Constraints", _SIZE, *_ints("block_m", "block_n", "block_k", "num_warps", "num_stages", "split_k",
                                 "epilogue_subtile", "idle_sms"),
    *_longs("max_allowable_mn"), *_ints("is_persistent", "batch_invariant", "strict", "use_environment"),
    ("text", ctypes.c_char_p))
Policy = _structure(
    "Policy", _SIZE, *_ints("kind", "scale_layout", "has_tma", "mx_output"), ("effective_itemsize", ctypes.c_double))
Selection = _structure(
    "Selection", _SIZE, *_ints("status", "limiter"), ("flags", Flags), *_longs("need_bytes", "budget_bytes"),
    ("wished", Flags), *_longs("wished_bytes", "predicted_ps"), ("reason", ctypes.c_char * 400))


def _made(structure, **members):
    return structure(struct_size=ctypes.sizeof(structure), **members)


class Choice:
    """Answer of one selection: status and reason (words), flags (a dictionary), bytes, predicted microseconds."""

    def __init__(self, status, raw):
        self.status = status
        self.reason = raw.reason.decode()
        self.flags = {name: getattr(raw.flags, name) for name, _ in Flags._fields_ if name != "reserved"}
        self.wished = {name: getattr(raw.wished, name) for name, _ in Flags._fields_ if name != "reserved"}
        self.need_bytes, self.budget_bytes = raw.need_bytes, raw.budget_bytes
        self.wished_bytes = raw.wished_bytes
        self.predicted_us = raw.predicted_ps / 1e6

    @property
    def ok(self):
        return self.status in SUCCESSES


def load(path):
    """The library at `path`; OSError where there is none."""
    return Library(ctypes.CDLL(str(path)))


class Library:
    def __init__(self, library):
        self._library = library
        library.tilefit_status_name.restype = ctypes.c_char_p
        library.tilefit_backend.restype = ctypes.c_char_p
        pointer = ctypes.POINTER
        library.tilefit_select.argtypes = [pointer(Device), pointer(Problem), pointer(Constraints), pointer(Policy),
                                           pointer(Selection)]

    @property
    def backend(self):
        return self._library.tilefit_backend().decode()

    def select(self, arch, m, n, k, *, experts=1, topk=1, x="bf16", w="mxfp4", y="bf16", swiglu=False, gather=False,
               scatter=False, bias=False, x_transposed=False, accumulate=False, rows_per_expert=0, expert_rows=None,
               sm_count=0, smem_optin=0, constraints=None, policy="tilefit", scale_layout="strided", has_tma=False,
               mx_output=False, effective_itemsize=0.0):
        """One choice. m counts rows: tokens * topk. `constraints`: a dictionary, or text as in TILEFIT_CONSTRAINTS.
        Nothing raises for a choice that cannot be made: its status and reason say so."""
        rows = None
        if expert_rows is not None:
            experts = len(expert_rows)
            rows = (ctypes.c_int32 * experts)(*expert_rows)
        problem = _made(Problem, m=m, n=n, k=k, experts=experts, topk=topk, batch=1, x_dtype=DTYPES.index(x),
                        w_dtype=DTYPES.index(w), y_dtype=DTYPES.index(y), activation=int(swiglu), gather=gather,
                        scatter=scatter, bias=bias, x_transposed=x_transposed, accumulate=accumulate,
                        rows_per_expert=rows_per_expert, expert_rows=rows)
        device = _made(Device, arch=arch.encode(), sm_count=sm_count, smem_optin=smem_optin)
        chooser = _made(Policy, kind=POLICIES.index(policy), scale_layout=SCALE_LAYOUTS.index(scale_layout),
                        has_tma=has_tma, mx_output=mx_output, effective_itemsize=effective_itemsize)
        selection = _made(Selection)
        status = self._library.tilefit_select(device, problem, _constraints(constraints), chooser, selection)
        return Choice(self._library.tilefit_status_name(status).decode(), selection)

    def triton_constraints(self, arch, matmuls, *, tokens=None, release="triton-3.4.0", **how):
        """The dictionary for triton_kernels' update_opt_flags_constraints with which its own chooser picks a tile that
        fits `arch` for every matmul at every token count, and whose predicted times are the least (geometric mean):
        {} where nothing has to be constrained, None where no dictionary does it. `matmuls`: dictionaries of n, k,
        experts, topk and whatever else `select` takes. `tokens`: counts to look at; otherwise 1 to 16,384, around powers of two and
        wherever rows per expert pass one."""
        counts = sorted(set(tokens if tokens is not None else _token_counts(matmuls)))
        calls = [(count * matmul.get("topk", 1), matmul) for matmul in matmuls for count in counts]

        def choices(constraints):
            for m, matmul in calls:
                yield self.select(arch, m, constraints=constraints, policy=release, **matmul, **how)

        fitting = [choice.predicted_us for choice in choices({})]  # where it does not fit, the tile that replaces it
        best, best_cost = None, None
        for wished in _dictionaries():
            cost = 0.0
            for choice, least in zip(choices(wished), fitting):
                if choice.status != "ok":
                    break
                cost += math.log(choice.predicted_us / least)
            else:
                if best is None or (cost, len(wished)) < best_cost:
                    best, best_cost = wished, (cost, len(wished))
                if not wished:
                    break
        return best


def _constraints(given):
    if given is None:
        return None
    if isinstance(given, str):
        return _made(Constraints, text=given.encode())
    members = dict(given)
    for name in ("is_persistent", "batch_invariant", "strict"):
        if members.get(name) is not None:
            members[name] = 1 if members[name] else -1
    return _made(Constraints, **{name: value for name, value in members.items() if value is not None})


def _dictionaries():
    """What upstream lets a caller constrain, fewest words first."""
    values = {"block_k": (32, 64, 128), "block_m": (16, 32, 64, 128), "block_n": (64, 128, 256)}
    yield {}
    for count in range(1, len(values) + 1):
        for names in itertools.combinations(values, count):
            for chosen in itertools.product(*(values[name] for name in names)):
                yield dict(zip(names, chosen))


def _token_counts(matmuls):
    counts = {1}
    for power in (1 << i for i in range(15)):
        counts.update((power, power + 1))
        for matmul in matmuls:
            per_expert = power * matmul.get("experts", 1) // matmul.get("topk", 1)
            counts.update((per_expert, per_expert + 1))
    return [count for count in counts if 0 < count <= 16384]
