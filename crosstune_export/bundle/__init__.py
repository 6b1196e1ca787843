"""The bundle format: manifest, files, archive, label bank and the checks before anything is loaded."""
