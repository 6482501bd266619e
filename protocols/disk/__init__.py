"""Bytes that another machine may read: atomic files, tables, PNG, TOML, figures as files."""
