"""``python -m frugalseg`` is the command ``frugalseg``."""

from frugalseg.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
