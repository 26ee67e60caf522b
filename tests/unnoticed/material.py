"""What lies in the working directory when a command line starts. All files are as old as each other, but for `old`."""

import hashlib
import os
from pathlib import Path

_WORDS = "banana\napple\ncherry\napple\ndate\n"
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQPf9oOkhKroNtm9FeAbIt1wN86t9cPRlJQ2VEjbf5G someone@example.com"

FILES: dict[str, str | bytes] = {
    "words.txt": _WORDS,
    "numbers.txt": "".join(f"{n}\n" for n in range(1, 8)),
    "table.csv": "a,3\nb,1\nc,2\n",
    "tabs.txt": "one\ttwo\n\tthree\n",
    "pairs.txt": "a b b c a d\n",
    "latin.txt": b"caf\xe9 na\xefve \xff\n",
    "data.json": '{"list": [1, {"two": 2}], "text": "caf\\u00e9"}\n',
    "words.patch": "--- words.txt\n+++ words.txt\n@@ -1,3 +1,3 @@\n banana\n-apple\n+apricot\n cherry\n",
    "sums.txt": f"{hashlib.md5(_WORDS.encode()).hexdigest()}  words.txt\n",
    "sum.bc": "scale = 20\n1 / 7\nquit\n",
    "macros.m4": "define(`twice', `$1 $1')dnl\ntwice(hello)\ninclude(`words.txt')dnl\n",
    "script": "echo sourced\n",
    "script.tcl": "puts [lsort [glob *.txt]]; puts [file size words.txt]; set f [open words.txt]; puts [read $f]\n",
    "script.cmake": (
        'file(GLOB found RELATIVE "${CMAKE_SOURCE_DIR}" *.txt)\n'
        'file(READ words.txt text)\nmessage("${found} ${text}")\n'
    ),
    "hello.c": (
        "#include <stdio.h>\n"
        'int main(int n, char **v) {\n    FILE *f = n > 1 ? fopen(v[1], "r") : NULL;\n'
        '    printf("%d\\n", f != NULL ? fgetc(f) : n);\n    return 3;\n}\n'
    ),
    "rules.mk": "all: numbers.sum words.sum missing.sum\n%.sum: %.txt\n\tcksum < $< > $@\n",
    "empty.s": ".globl start\nstart: ret\n",
    "key.pub": f"{_KEY}\n",
    "ssh.conf": "Host somewhere\n  HostName example.com\n  Port 2222\n",
    "page.1": ".TH PAGE 1\n.SH NAME\npage \\- of a manual\n",
    "messages.po": 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\nmsgid "one"\nmsgstr "eins"\n',
    "old": "",
    "tree/one.txt": "one\n",
    "tree/inner/two.txt": "two\n",
    "tree/inner/a b.txt": "a name with a space\n",
}  # fmt: skip
LINKS = {"link": "missing.txt", "tree/to-words": "../words.txt", "tree/inner/up": ".."}
_WHEN = 1_600_000_000


def lay_out(folder: Path) -> None:
    """Puts the material into an empty folder."""
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "tree/empty").mkdir()
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (_WHEN, _WHEN - (path.name == "old")), follow_symlinks=False)
