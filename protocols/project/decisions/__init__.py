"""What people decided about images and sites of a project: one append-only record per decision."""
