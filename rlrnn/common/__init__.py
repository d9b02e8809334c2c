"""The ground that all stand on: files, settings, arrays, processes, compiling; knows errors alone."""
