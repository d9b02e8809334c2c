"""Ways to run a memory over whole rows of steps faster than the loop of ``sequence``, each equal to it."""
