"""From a recipe to an evaluated agent, for one seed or several; and the check of verified agents."""
