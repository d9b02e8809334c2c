"""Recipes, games and agents by name; training, judging and what is drawn of them."""
