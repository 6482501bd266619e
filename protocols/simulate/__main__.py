"""``python -m protocols.simulate``: the simulated rig as a process of its own."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
