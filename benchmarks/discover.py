"""How long `vgpu-harness discover --json` takes, interpreter start included, beside the start of Python alone.

Both are run once a round, in random order, so that a slow moment of the machine hits both. Usage: discover.py [ROUNDS]
"""

import random
import subprocess
import sys
import time
from statistics import median

COMMANDS = {
    "python -c pass": [sys.executable, "-I", "-c", "pass"],
    "import vgpu_harness": [sys.executable, "-I", "-c", "import vgpu_harness"],
    "discover --json": [sys.executable, "-I", "-m", "vgpu_harness", "discover", "--json"],
}


def main(rounds: int) -> None:
    """Prints the median, the least and the most seconds of each command."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name in random.sample(list(COMMANDS), len(COMMANDS)):
            started = time.perf_counter()
            subprocess.run(COMMANDS[name], stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    for name, taken in seconds.items():
        print(f"{name:20} median {median(taken):.3f} s   {min(taken):.3f} to {max(taken):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
