"""Recipes, games and agents by name; training, evaluation and pictures of them."""
