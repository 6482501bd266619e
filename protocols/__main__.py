"""``python -m protocols`` equals ``stimsynth``."""

from .cli import main

if __name__ == "__main__":
    main()
