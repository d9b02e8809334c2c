"""Simon: repeat the colours that the machine shows, one more in every round, until a button is wrong."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from rlrnn.common.settings import check_number, check_whole
from rlrnn.games.array_game import Array, ArrayGame, SingleGame
from rlrnn.games.drawing import Canvas
from rlrnn.games.randomness import Randomness

HUES = ("leaf", "warm", "cool", "sun")  # of the buttons in the picture, clockwise, over and over
TILES = 12  # of the sequence in the picture


class Simon(ArrayGame):
    """Round n shows n colours in n steps, then takes n buttons; its sequence is the last one and one more.

    After the toy (Baer & Morrison 1978). A completed round wins 1 point. A wrong button ends the episode, and
    so does the round of `longest` colours: `longest` points are a win, in longest * (longest + 1) steps.

    The agent sees the colour as a one-hot vector, and then a bit: it is your turn. A colour takes one step,
    so that two equal ones in a row are two steps; buttons pressed while the machine shows do nothing. In its
    turn the agent sees the bit alone. Unlike the toy's, a button does not light up: in an episode that
    goes on all were right; and so no observation depends on an action, until the end.
    """

    metadata = ArrayGame.metadata | {"render_fps": 4}
    variables = (
        "round",  # colours in the sequence
        "turn",  # 0 while the machine shows, 1 in the agent's turn
        "place",  # in the sequence, from 0
        "colour",  # at that place: shown, or to be pressed
        "mistake",  # the wrong button that ended the episode, -1 before
    )

    def __init__(self, colours: int = 4, longest: int = 12, **kwargs: Any) -> None:
        check_whole("colours", colours, 2)
        check_number("longest", longest, 1)
        self.single_observation_space = Box(0.0, 1.0, (colours + 1,))
        self.single_action_space = Discrete(colours)
        super().__init__(**kwargs)
        self.colours, self.longest = colours, longest

    def begin(self, copies: NDArray[np.intp], draws: Randomness) -> None:
        self.state[:, copies] = np.array([1.0, 0.0, 0.0, 0.0, -1.0])[:, None]
        self.state[3, copies] = self.sequence(np.zeros(len(copies)), copies, draws)

    def advance(self, actions: Array, draws: Randomness) -> tuple[Array, NDArray[np.bool_]]:
        length, turn, place, colour, mistake = self.state
        mine = turn == 1
        wrong = mine & (actions != colour)
        mistake[wrong] = actions[wrong]
        place += ~wrong
        through = place == length
        completed = mine & through
        ended = wrong | (completed & (length == self.longest))
        onward = through & ~ended  # to the agent's turn or to the next round
        length += completed & onward
        turn[onward] = 1 - turn[onward]
        place[onward] = 0
        colour[:] = self.sequence(place, self.everyone, draws)
        return completed.astype(np.float64), ended

    def sequence(self, place: Array, copies: NDArray[np.intp], draws: Randomness) -> Array:
        """The colours at these places: drawn again each time, as the game itself keeps no sequence."""
        then = Randomness(draws.seeds[copies])
        then.episode[:] = draws.episode[copies]
        then.drawn[:] = place  # one draw per place
        colours: Array = np.floor(self.colours * then.uniform(np.arange(len(copies)), 1)[0])
        return colours

    def observe(self) -> Array:
        _, turn, _, colour, _ = self.state
        lit = np.where(turn == 1, self.colours, colour).astype(np.intp)
        observation = np.zeros((self.num_envs, self.colours + 1), np.float32)
        observation[self.everyone, lit] = 1.0
        return observation

    def draw(self, copy: int) -> NDArray[np.uint8]:
        assert self.draws is not None
        length, turn, place, _, mistake = (int(value) for value in self.state[:, copy])
        here = np.full(length, copy)
        colours = self.sequence(np.arange(length), here, self.draws).astype(int).tolist()  # of this round
        lit = mistake if mistake >= 0 else ([-1, *colours] if turn else colours)[place]
        canvas = Canvas(560, 208, left=0.0, right=28.0, bottom=0.0)
        _machine(canvas, self.colours, lit, listening=bool(turn))
        first = max(0, min(place - TILES + 4, length - TILES))  # place that the leftmost tile shows
        for tile in range(first, min(first + TILES, length)):
            x, button = 11.7 + 1.35 * (tile - first), colours[tile]
            now, done = tile == place and not turn, tile < place and turn == 1
            canvas.box(x, 7.4, 1.15, 1.15, _hue(button) if now or done else "ground", round_by=0.2)
            if done:
                canvas.line([(x - 0.25, 7.35), (x - 0.07, 7.15), (x + 0.28, 7.6)], "light", 0.14)
            elif now or turn or tile < max(place, length - 1):  # it was shown already, in a round before
                _name(canvas, button, self.colours, x, 7.4, 0.24, "light" if now else _hue(button))
            if turn and tile == place:  # this one is due
                canvas.box(x, 5.6, 1.15, 1.15, "dark", round_by=0.2)
                canvas.box(x, 5.6, 0.95, 0.95, "paper" if mistake < 0 else _hue(mistake), round_by=0.14)
                if mistake >= 0:
                    canvas.line([(x - 0.22, 5.38), (x + 0.22, 5.82)], "light", 0.14)
                    canvas.line([(x - 0.22, 5.82), (x + 0.22, 5.38)], "light", 0.14)
        _bar(canvas, self.longest, length - 1 + (turn == 1 and place == length))
        return canvas.picture()


def _hue(button: int) -> str:
    return HUES[button % len(HUES)]


def _name(canvas: Canvas, button: int, buttons: int, x: float, y: float, size: float, colour: str) -> None:
    """What tells a button: its hue, and its number where there are more buttons than hues."""
    if buttons <= len(HUES):
        canvas.disc(x, y, size, colour)
    else:
        canvas.number(button + 1, x, y, 3 * size / (4 * len(str(button + 1)) + 1), colour)


def _machine(canvas: Canvas, buttons: int, lit: int, listening: bool) -> None:
    """A round board of buttons, one of them lit or none (-1); its middle is bright in the agent's turn."""
    x, y, radius = 5.2, 5.2, 4.7

    def point(turn: float, far: float) -> tuple[float, float]:
        """Clockwise from the left."""
        return x - far * float(np.cos(2 * np.pi * turn)), y + far * float(np.sin(2 * np.pi * turn))

    canvas.disc(x, y, radius, "ground")
    there = range(buttons) if buttons <= TILES else range(lit, lit + (lit >= 0))
    if lit >= 0:
        turns = (lit + np.linspace(0, 1, 2 + 120 // buttons)) / buttons
        canvas.shape([(x, y), *(point(turn, radius) for turn in turns.tolist())], _hue(lit))
    for button in there:
        for edge in (button, button + 1):
            canvas.line([(x, y), point(edge / buttons, radius + 0.3)], "paper", 0.2)
    for button in there:
        colour = "light" if button == lit and buttons <= TILES else _hue(button)
        _name(canvas, button, buttons, *point((button + 0.5) / buttons, 3.1), 0.6, colour)
    canvas.disc(x, y, 1.5, "paper")
    canvas.disc(x, y, 1.2, "dark")
    if listening:
        canvas.disc(x, y, 0.7, "light")


def _bar(canvas: Canvas, rounds: int, completed: int) -> None:
    """Of all rounds, those completed."""
    left, width = 11.1, 16.0
    canvas.box(left + width / 2, 2.2, width, 0.4, "ground")
    if completed:
        canvas.box(left + width * completed / rounds / 2, 2.2, width * completed / rounds, 0.4, "cool")


class SingleSimon(SingleGame):
    """One copy of Simon as a plain environment."""

    game = Simon
