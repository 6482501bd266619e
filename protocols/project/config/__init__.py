"""The file project.toml: one module per section, then the whole, its checks, reading it, and the commented template."""
