"""The cuBLAS stand-ins: handles keep their state, wrong arguments have the documented codes, nothing is computed."""

import subprocess
from pathlib import Path

import pytest
from support.compile import compile_program
from support.runtime import MAJORS, header_flags

from vgpu_harness.shims.paths import cudalib_path

EACH_MAJOR = pytest.mark.parametrize("major", MAJORS)
SUCCESS, NOT_INITIALIZED, INVALID_VALUE, NOT_SUPPORTED = 0, 1, 7, 15
SETUP = '#include <stdio.h>\n#include "cublas.h"\n#define SAY(call) printf("%d\\n", (call))\n'
TEXTS = {
    0: "success",
    1: "the library was not initialized",
    7: "an unsupported value or parameter was passed to the function",
    15: "the requested functionality is not supported",
    2: "unknown error",
}


def said(major: int, body: str, directory: Path) -> list[str]:
    """What a program prints whose main function has this body; `handle` is a handle, `one` a number."""
    source = f"""{SETUP}
    int main(void) {{
        cublasHandle_t handle = NULL;
        float one = 1;
        SAY(cublasCreate_v2(&handle));
        {body}
        return one != 1;
    }}
    """
    library = cudalib_path(f"libcublas.so.{major}")
    program = compile_program(source, f"cublas-{major}", *header_flags(major), str(library))
    environment = {"LD_LIBRARY_PATH": str(library.parent)}
    done = subprocess.run(
        [program], capture_output=True, text=True, timeout=60, check=True, env=environment, cwd=directory
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@EACH_MAJOR
def test_a_handle_lives_until_it_is_destroyed(major, tmp_path):
    """Every call with another handle, or with one that is gone, is not initialised; NULL for the answer is invalid."""
    body = """
        cublasHandle_t other = (cublasHandle_t)&one;
        SAY(cublasSetStream_v2(handle, NULL));
        SAY(cublasSetMathMode(handle, CUBLAS_TF32_TENSOR_OP_MATH));
        SAY(cublasSetWorkspace_v2(handle, NULL, 0));
        SAY(cublasSetStream_v2(other, NULL));
        SAY(cublasSetMathMode(other, 0));
        SAY(cublasSetWorkspace_v2(other, NULL, 0));
        SAY(cublasDestroy_v2(other));
        SAY(cublasDestroy_v2(NULL));
        SAY(cublasDestroy_v2(handle));
        SAY(cublasDestroy_v2(handle));
        SAY(cublasSetStream_v2(handle, NULL));
        SAY(cublasCreate_v2(NULL));
    """
    codes = [int(line) for line in said(major, body, tmp_path)]
    assert codes == [0, 0, 0, 0, *[NOT_INITIALIZED] * 5, 0, NOT_INITIALIZED, NOT_INITIALIZED, INVALID_VALUE]


@EACH_MAJOR
def test_several_handles_are_apart(major, tmp_path):
    """One is destroyed in the middle of others, and they stay."""
    body = """
        cublasHandle_t second = NULL, third = NULL;
        SAY(cublasCreate_v2(&second));
        SAY(cublasCreate_v2(&third));
        SAY(cublasDestroy_v2(second));
        SAY(cublasSetMathMode(handle, 0));
        SAY(cublasSetMathMode(second, 0));
        SAY(cublasSetMathMode(third, 0));
    """
    assert [int(line) for line in said(major, body, tmp_path)] == [0, 0, 0, 0, 0, NOT_INITIALIZED, 0]


@EACH_MAJOR
def test_math_modes_and_workspaces_are_checked(major, tmp_path):
    """An unknown mode, and a workspace that is not aligned to 256 bytes, are invalid."""
    modes = (0, 1, 2, 3, 4, 16, 19, 5, 32, -1)
    body = "".join(f"SAY(cublasSetMathMode(handle, {mode}));\n" for mode in modes)
    body += "SAY(cublasSetWorkspace_v2(handle, (void *)512, 1));\nSAY(cublasSetWorkspace_v2(handle, (void *)264, 1));"
    codes = [int(line) for line in said(major, body, tmp_path)[1:]]
    assert codes == [0] * 7 + [INVALID_VALUE] * 3 + [0, INVALID_VALUE]


GEMM = "SAY(cublasSgemm_v2({handle}, {ta}, {tb}, {m}, {n}, {k}, {alpha}, &one, {lda}, &one, {ldb}, &one, &one, {ldc}));"
SOUND = {"handle": "handle", "ta": 0, "tb": 0, "m": 4, "n": 3, "k": 2, "alpha": "&one", "lda": 4, "ldb": 2, "ldc": 4}
CASES = [
    ({}, NOT_SUPPORTED),
    ({"ta": 1, "lda": 2, "tb": 2, "ldb": 3}, NOT_SUPPORTED),
    ({"m": 0, "lda": 1, "ldc": 1}, SUCCESS),
    ({"n": 0}, SUCCESS),
    ({"k": 0, "ldb": 1}, NOT_SUPPORTED),
    ({"handle": "NULL"}, NOT_INITIALIZED),
    ({"ta": 3}, INVALID_VALUE),
    ({"tb": -1}, INVALID_VALUE),
    ({"m": -1}, INVALID_VALUE),
    ({"n": -1}, INVALID_VALUE),
    ({"k": -1}, INVALID_VALUE),
    ({"alpha": "NULL"}, INVALID_VALUE),
    ({"lda": 3}, INVALID_VALUE),
    ({"ldb": 1}, INVALID_VALUE),
    ({"ldc": 3}, INVALID_VALUE),
    ({"ta": 1, "lda": 1}, INVALID_VALUE),
]


@EACH_MAJOR
def test_a_product_is_checked_and_not_computed(major, tmp_path):
    """Sound arguments are not supported, an empty product is done, and wrong arguments are invalid."""
    body = "\n".join(GEMM.format(**SOUND | changed) for changed, _ in CASES)
    assert [int(line) for line in said(major, body, tmp_path)[1:]] == [code for _, code in CASES]


@EACH_MAJOR
def test_every_other_product_is_checked_alike(major, tmp_path):
    """Sound, with a bad handle, and with a negative count or size."""
    calls = [
        "cublasSgemmBatched({h}, 0, 0, 4, 3, 2, &one, NULL, 4, NULL, 2, &one, NULL, 4, {count})",
        "cublasSgemmStridedBatched({h}, 0, 0, 4, 3, 2, &one, NULL, 4, 8, NULL, 2, 6, &one, NULL, 4, 12, {count})",
        "cublasGemmEx({h}, 0, 0, 4, {count}, 2, &one, NULL, 0, 4, NULL, 0, 2, &one, NULL, 0, 4, 64, -1)",
        "cublasGemmBatchedEx({h}, 0, 0, 4, 3, 2, &one, NULL, 0, 4, NULL, 0, 2, &one, NULL, 0, 4, {count}, 64, -1)",
        "cublasGemmStridedBatchedEx({h}, 0, 0, 4, 3, 2, &one, 0, 0, 4, 8, 0, 0, 2, 6, &one, 0, 0, 4, 9, {count}, 0, 0)",
        "cublasStrsmBatched({h}, 0, 0, 0, 0, 4, 3, &one, NULL, 4, NULL, 4, {count})",
    ]
    cases = [("handle", 5), ("NULL", 5), ("handle", 0), ("handle", -1)]
    body = "\n".join(f"SAY({call.format(h=handle, count=count)});" for call in calls for handle, count in cases)
    codes = [int(line) for line in said(major, body, tmp_path)[1:]]
    assert codes == [NOT_SUPPORTED, NOT_INITIALIZED, SUCCESS, INVALID_VALUE] * len(calls)


@EACH_MAJOR
def test_statuses_have_texts(major, tmp_path):
    """Known ones and an unknown one."""
    body = "\n".join(f"puts(cublasGetStatusString((cublasStatus_t){status}));" for status in TEXTS)
    assert said(major, body, tmp_path)[1:] == list(TEXTS.values())
