"""The root file system of a kernel under test: what is in it, and the archive that it comes as."""
