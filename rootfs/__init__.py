"""How the offline images are made: see README.md in this directory."""
