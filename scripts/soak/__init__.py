"""What the loop survives: kills, faults at every write, power loss, shares that vanish, hostile files, lost workers.

    make soak                                        # all parts, 20 minutes at most; writes docs/reliability.md
    python -m scripts.soak --only kills --minutes 2  # one part, printed alone

Each part is a module of this folder with one function ``rows(seconds: float) -> list[Row]`` (see `rows.Row`).
"""
