"""What every other folder uses: files, settings, arrays, processes, compiling; knows errors alone."""
