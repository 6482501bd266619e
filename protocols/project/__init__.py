"""The experiment on disk: display, folders, key, outbox, photographs, configuration. It reads and writes; it decides
nothing.
"""
