"""The writers of the file formats. Each is imported when its format is used, since some need a package."""
