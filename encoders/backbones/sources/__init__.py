"""Where trained weights come from besides installed packages: files, and hubs that may be out of reach."""
