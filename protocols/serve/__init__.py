"""A local page of a project: views of it, how its round stands, its log, and decisions, over HTTP on this machine."""
