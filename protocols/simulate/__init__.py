"""A simulated subject and its rig: a process of its own that the toolkit never imports. Start it with ``python -m
protocols.simulate``.
"""
