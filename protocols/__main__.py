"""``python -m protocols`` equals ``stimsynth``."""

from protocols.cli.app import main

if __name__ == "__main__":
    main()
