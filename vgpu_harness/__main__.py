"""`python -m vgpu_harness` is the command line."""

from vgpu_harness.cli import main

if __name__ == "__main__":
    main()
