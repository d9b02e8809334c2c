"""What the shell says about itself and its commands."""

DESCRIPTION = "Recurrent networks that learn games from reward: train an agent, judge it, watch it."

FIRST_STEPS = """
first steps:
  rlrnn list                             which games and agents there are
  rlrnn train cartpole-gru               learns, then prints the points that it wins
  rlrnn watch runs/cartpole-gru/seed0    a GIF of it at play
  rlrnn train --help                     every command explains itself
"""

LIST = """
Shows the games and the agents of the catalogue. An agent's points are those it was measured to win.

examples:
  rlrnn list
  rlrnn list pong        those with this word in their name, their game or what must be remembered
"""

SHOW = """
Prints the file of a game or of an agent's recipe, and in its first line where it lies: a beginning for
your own.

examples:
  rlrnn show pong                          the game
  rlrnn show pong-gru > my-agent.toml      the recipe, to be changed and trained: rlrnn train my-agent.toml
"""

TRAIN = """
Trains an agent by its recipe, judges it and draws its learning curve, all in runs/<agent>/seed<k>/.
Ctrl-C saves the agent as it is.

examples:
  rlrnn train pong-gru                                     an agent of the catalogue (see: rlrnn list)
  rlrnn train my-agent.toml --seed 3                       a recipe of your own
  rlrnn train pong-gru --seeds 5 --jobs 2                  seeds 0 to 4, two at a time
  rlrnn train --resume runs/pong-gru/seed0                 go on with a run that was killed
  rlrnn train pong-gru --set network.cell=lstm --set ppo.learning_rate=1e-3 --out runs/pong-lstm
  rlrnn train pong-gru --set 'ppo.clip_range={start = 0.2, end = 0.0}' --steps 100_000 --out runs/short
  rlrnn train my-agent.toml --import my_games.py           a game or a cell that your module registers
  rlrnn train pong-gru --control feedforward --seeds 3     its control: the same without memory
  rlrnn train pong-gru --control stacked --seeds 3         without memory, but with the last 4 observations
"""

VERIFY = """
Says whether a verified agent keeps its word: trains it again by its recipe, on the same seeds, into new runs,
or judges it again where its weights are attached. The mean of what it wins should lie where the mean of new
trainings falls 19 times in 20. Better is no failure. The exit status is 0, or 1 if it wins less.

examples:
  rlrnn verify cartpole-gru
  rlrnn verify pong-gru --seeds 2 --jobs 2        the first two seeds alone, side by side
  rlrnn verify pong-gru --retrain --out runs/check
"""

EVALUATE = """
Plays the evaluation games and prints the points: with memory, with the memory wiped before every step,
and of a random player. The run's own score.json stays as it is. An agent's file (.zip) of a script that
normalised with VecNormalize lacks those statistics and plays worse than it did there.

examples:
  rlrnn evaluate runs/pong-gru/seed0
  rlrnn evaluate runs/pong-gru/seed0 --episodes 1000 --sampled
  rlrnn evaluate logs/best_model.zip --game pong --out score.json
"""

PLOT = """
Draws learning curves into one picture: points per episode against steps of the game, one colour per agent,
with the game's reference scores. One or two seeds are drawn as they are, with their running mean; three and
more as their median and quartiles.

examples:
  rlrnn plot runs/pong-gru/seed0
  rlrnn plot runs/pong-gru runs/pong-gru-stacked --out pong.pdf      all seeds of two agents
  rlrnn plot logs/monitor.csv logs/progress.csv logs/evaluations.npz
"""

COMPARE = """
Prints what agents of one game won, over all their seeds: mean, median, interquartile mean, 95 % interval, the
score between a random player (0) and the game's ceiling (1), and how likely one agent beats another.

examples:
  rlrnn compare runs/pong-gru
  rlrnn compare runs/pong-gru runs/pong-gru-feedforward runs/pong-gru-stacked --out pong.svg
"""

INSPECT = """
Asks how far back an agent remembers: how much its action depends on what it saw k steps before, by gradient
and by putting another observation in its place. Writes memory.png, memory.json, and activations.png with the
hidden units over the first steps of an episode, into the run's folder.

examples:
  rlrnn inspect runs/pong-gru/seed0
  rlrnn inspect runs/pong-gru/seed0 --lags 100 --out pong-memory
"""

DRAW = """
Draws the network of an agent, trained or as its recipe begins it: inputs on the left, actions on the right,
between them every unit and connection of a small network, or the layers of a large one. Lines are as wide as
weights are strong; those that are heard later are dashed. Says whether its impulse response is finite.

examples:
  rlrnn draw runs/t-maze-20-evolved/seed0
  rlrnn draw runs/t-maze-20-evolved/seed0 --out network.svg
  rlrnn draw logs/best_model.zip
  rlrnn draw pong-gru --set network.cell=lstm --set network.hidden_size=4
"""

REPORT = """
Writes one HTML file on an agent for any browser, without a network: curves, scores, memory, a recorded game.

examples:
  rlrnn report runs/pong-gru                 all seeds; writes runs/pong-gru/report.html
  rlrnn report runs/pong-gru/seed0 --out pong.html
"""

WATCH = """
Records games played: a GIF, or an MP4 with pip install "rlrnn[video]".

examples:
  rlrnn watch runs/pong-gru/seed0
  rlrnn watch runs/pong-gru/seed0 --episodes 3 --out pong.mp4
  rlrnn watch runs/pong-gru/seed0 --activations      with its hidden units beside it
  rlrnn watch logs/best_model.zip --game pong
"""
