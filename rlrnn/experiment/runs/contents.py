"""Names of the files in a run's folder."""

RECIPE, GAME, VERSIONS, SCORE, AGENT = "recipe.toml", "game.toml", "versions.json", "score.json", "agent.zip"
EPISODES, PROGRESS, CURVE = "episodes.csv", "progress.csv", "curve.png"
EVALUATIONS = "evaluations.npz"  # where the recipe asks for evaluations while it trains
EPISODE_FIELDS = ("step", "points", "length")  # step of the training at which the episode ended
