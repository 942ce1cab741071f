"""examples/python against tilefit-bench: the same flags for every row of a file of upstream calls.

    python3 python_door_test.py <examples/python> <library> <tilefit-bench> <opt_flags_cases.csv>
"""

import csv
import io
import subprocess
import sys

folder, library_path, bench, cases = sys.argv[1:]
sys.path.insert(0, folder)
sys.dont_write_bytecode = True
import tilefit  # noqa: E402

WORDS = {"True": True, "False": False}


def constraints_of(text):
    pairs = (pair.split("=") for pair in text.split(";") if pair)
    return {name: WORDS[value] if value in WORDS else int(value) for name, value in pairs}


def cells_of(choice, amd):
    if not choice.ok:
        return {"status": choice.status}
    flags = choice.flags
    cells = {name: str(flags[name]) for name in ("block_m", "block_n", "block_k", "num_warps", "num_stages", "group_m",
                                                 "xcd_swizzle", "split_k", "is_persistent")}
    cells["epilogue_subtile"] = str(flags["epilogue_subtile"]) if flags["epilogue_subtile"] > 0 else ""
    cells["waves_per_eu"] = str(flags["waves_per_eu"]) if amd else ""
    return {"status": choice.status, **cells, "need_bytes": str(choice.need_bytes)}


def main():
    library = tilefit.load(library_path)
    answered = subprocess.run([bench, "select", "--cases", cases], check=True, capture_output=True, text=True).stdout
    rows = different = 0
    for row in csv.DictReader(io.StringIO(answered)):
        choice = library.select(
            row["arch"], int(row["m"]), int(row["n"]), int(row["k"]), experts=int(row["experts"]),
            topk=int(row["topk"]), x=row["x_dtype"], y=row["y_dtype"], x_transposed=row["x_transpose"] == "1",
            accumulate=row["y_acc_in"] == "1", sm_count=int(row["sm_count"]), smem_optin=int(row["smem_budget"]),
            constraints=constraints_of(row["constraints"]), policy="triton-" + row["version"],
            scale_layout=row["scale_layout"], has_tma=row["tma"] == "1", mx_output=row["mx_out"] == "1",
            effective_itemsize=float(row["effective_itemsize"] or 0))
        ours = cells_of(choice, row["arch"].startswith("gfx"))
        theirs = {name: row["tf_" + name] for name in ours}
        rows += 1
        if ours != theirs:
            different += 1
            if different < 5:
                print(f"row {rows}: {ours} is not {theirs}")
    print(f"{rows} rows, {different} different")

    # The dictionaries do what they say, where something is wrong without one.
    matmuls = [dict(n=5760, k=2880, experts=32, topk=4, swiglu=True, gather=True, bias=True)]
    found = {}
    for arch, release in (("sm_120", "triton-3.4.0"), ("gfx950", "triton-2025-12"), ("sm_90", "triton-3.4.0")):
        found[arch] = library.triton_constraints(arch, matmuls, release=release)
        chosen = [library.select(arch, 4 * tokens, constraints=found[arch], policy=release, **matmuls[0])
                  for tokens in (1, 64, 512, 519, 520, 1024, 4096, 8192)]
        overflows = sum(choice.status != "ok" for choice in chosen)
        print(f"{arch}, {release}: {found[arch]}, {overflows} tiles that do not fit")
        different += overflows
    if found["sm_90"] != {} or not found["sm_120"] or not found["gfx950"]:
        print("sm_90 needs nothing, sm_120 and gfx950 do")
        different += 1
    return 0 if rows > 18000 and different == 0 else 1


sys.exit(main())
