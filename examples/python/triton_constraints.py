"""Prints the constraints with which Triton's matmul_ogs runs a model on a chip, and what goes wrong without them.

    python3 examples/python/triton_constraints.py libtilefit_c.so sm_120 [triton-3.4.0 | triton-2025-12]
"""

import sys

import tilefit

GPT_OSS_20B = [
    dict(n=5760, k=2880, experts=32, topk=4, swiglu=True, gather=True, bias=True),
    dict(n=2880, k=2880, experts=32, topk=4, scatter=True, bias=True),
]


def main(arguments):
    if len(arguments) not in (2, 3) or (len(arguments) == 3 and arguments[2] not in tilefit.POLICIES[1:]):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    path, arch = arguments[:2]
    release = arguments[2] if len(arguments) == 3 else "triton-3.4.0"
    try:
        library = tilefit.load(path)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    first = library.select(arch, 4 * 520, policy=release, **GPT_OSS_20B[0])
    print(f"gpt-oss-20b, 520 tokens, {arch}: {first.status}: {first.reason}")
    if not first.ok:
        return 1
    wanted = library.triton_constraints(arch, GPT_OSS_20B, release=release)
    if wanted is None:
        print("no constraints make every tile fit: choose per call, with Library.select")
        return 1
    print(f"update_opt_flags_constraints({wanted})" if wanted else "nothing has to be constrained")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
