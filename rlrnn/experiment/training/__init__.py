"""From a recipe to a judged agent, for one seed or several; and whether a verified agent keeps its word."""
