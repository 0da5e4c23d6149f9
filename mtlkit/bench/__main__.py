"""``python -m mtlkit.bench``: the same as ``python -m mtlkit bench``."""

import sys

from mtlkit.bench.commands import main

if __name__ == "__main__":
    sys.exit(main())
