"""A picture of a cart with poles: the places of all, and as arrows the speeds that must be remembered."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlrnn.games.drawing import Canvas, Point

HINGE = 0.12  # m above the rail
FAN = math.pi / 5  # rad, where a pole is given up
LENS, REACH, ZOOM = (2.05, 2.12), 0.82, 9.0  # place and radius of the magnifying glass, and what it does


def draw_poles(
    state: Sequence[float], lengths: Sequence[float], step: int, velocities: bool
) -> NDArray[np.uint8]:
    """A picture of x, x', theta_1, theta_1', theta_2, theta_2' and the action; a length of 0 m is no pole."""
    x, x_dot, theta_1, speed_1, theta_2, speed_2, action = state
    canvas = Canvas(600, 400, left=-3.0, right=3.0, bottom=-0.75)
    speed = "leaf" if velocities else "rail"
    canvas.line([(-2.4, 0.0), (2.4, 0.0)], "rail", 0.04)
    for end in (-1, 1):
        canvas.box(end * 2.45, 0.1, 0.1, 0.34, "rail", round_by=0.03)
    hinge = (x, HINGE)
    _fan(canvas, hinge, lengths[0])
    canvas.box(x, 0.0, 0.5, 2 * HINGE, "dark", round_by=0.05)
    _arrow(canvas, (x, -0.25), (0.25 * x_dot, 0.0), speed)
    side = math.copysign(0.27, -action)  # the force comes from behind
    _arrow(canvas, (x + side - 0.8 * action, 0.0), (0.8 * action, 0.0), "sun")
    _pole(canvas, hinge, lengths[0], theta_1, speed_1, "warm", speed)
    if lengths[1]:
        _pole(canvas, hinge, lengths[1], theta_2, 0.0, "cool", speed)
        _ray(canvas, hinge, LENS, REACH)
        canvas.disc(*LENS, REACH, "paper")
        foot = (LENS[0], LENS[1] - 0.5)
        _fan(canvas, foot, ZOOM * lengths[1])
        canvas.box(foot[0], foot[1] - 0.07, 0.9, 0.14, "dark", round_by=0.04)
        _pole(canvas, foot, ZOOM * lengths[1], theta_2, 0.2 * speed_2, "cool", speed)
        canvas.ring(*LENS, REACH, "rail", 0.05)
    canvas.number(step, -2.4 + 0.12 * len(str(step)), 2.75, 0.06, "dark")
    return canvas.picture()


def _tip(foot: Point, length: float, theta: float) -> Point:
    return foot[0] + length * math.sin(theta), foot[1] + length * math.cos(theta)


def _fan(canvas: Canvas, foot: Point, length: float) -> None:
    """All the places where a pole is still up."""
    edge = [_tip(foot, 1.08 * length, FAN * i / 12) for i in range(-12, 13)]
    canvas.shape([foot, *edge], "ground")


def _pole(
    canvas: Canvas, foot: Point, length: float, theta: float, speed: float, colour: str, arrow: str
) -> None:
    """A pole, and how fast its tip moves (m in 0.4 s)."""
    tip = _tip(foot, length, theta)
    along = 0.4 * length * speed
    _arrow(canvas, tip, (along * math.cos(theta), -along * math.sin(theta)), arrow)
    canvas.line([foot, tip], colour, 0.075 if length > 0.2 else 0.05)
    canvas.disc(*foot, 0.03, "light")


def _arrow(canvas: Canvas, start: Point, way: Point, colour: str) -> None:
    """An arrow; none where it would be shorter than its head."""
    size = math.hypot(*way)
    if size < 0.08:
        return
    ahead, aside = (way[0] / size, way[1] / size), (-way[1] / size, way[0] / size)
    neck = (start[0] + way[0] - 0.12 * ahead[0], start[1] + way[1] - 0.12 * ahead[1])
    canvas.line([start, neck], colour, 0.05)
    head = [(neck[0] + s * 0.1 * aside[0], neck[1] + s * 0.1 * aside[1]) for s in (1, -1)]
    canvas.shape([*head, (start[0] + way[0], start[1] + way[1])], colour)


def _ray(canvas: Canvas, hinge: Point, lens: Point, reach: float) -> None:
    """From the short pole to the glass that magnifies it."""
    canvas.ring(hinge[0], hinge[1] + 0.05, 0.14, "rail", 0.02)
    way = (lens[0] - hinge[0], lens[1] - hinge[1])
    size = math.hypot(*way)
    start = (hinge[0] + 0.15 * way[0] / size, hinge[1] + 0.05 + 0.15 * way[1] / size)
    canvas.line([start, (lens[0] - reach * way[0] / size, lens[1] - reach * way[1] / size)], "rail", 0.02)
