"""Laws of many copies: a batch equals its single games, and a round is each seed's first episode."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from rlrnn.common.batches import take
from rlrnn.envs.vec import from_envs, from_vector_env
from rlrnn.games.array_game import ArrayGame
from rlrnn.testing.failing import fail, running
from rlrnn.testing.game_part import GamePart, actions, seen

COPIES, STEPS = 5, 75
NAMES = "observations", "rewards", "terminated", "truncated"
ROUND = [7, 3, 2**31 + 5, 7]


def batches(part: GamePart) -> None:
    """Copy b of an array game is the single game with its seed, bit for bit, through ends of episodes."""
    game = part.batch(COPIES)
    if game is None:
        return
    if game.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
        fail(f"{part} does not say autoreset_mode SAME_STEP in its metadata: keep that of ArrayGame.")
    game.action_space.seed(0)
    rows = [game.action_space.sample() for _ in range(STEPS)]
    with running(f"a batch of {part}"):
        first, _ = game.reset(seed=7)
        kept = [(first, first.copy())]
        answers = []
        for row in rows:
            answers.append(game.step(row))
            kept.append((answers[-1][0], answers[-1][0].copy()))
    for shown, was in kept:
        if not np.array_equal(shown, was):
            fail(
                f"a batch of {part} writes into observations that it gave before: let observe make a new "
                "array."
            )
    _check_forms(part, game, answers)
    for b in range(COPIES):
        single = part.make()
        moment = part.reset(single, 7 + b)
        _same(part, b, "first observation", moment.observation, first[b])
        for t, (row, (observations, rewards, terminated, truncated, infos)) in enumerate(
            zip(rows, answers, strict=True), start=1
        ):
            moment = part.step(single, row[b], f"step {t}")
            where, ended = f"at step {t}", bool(terminated[b] or truncated[b])
            _same(part, b, f"reward {where}", moment.reward, float(rewards[b]))
            _same(part, b, f"terminated {where}", moment.terminated, bool(terminated[b]))
            _same(part, b, f"truncated {where}", moment.truncated, bool(truncated[b]))
            if ended:
                if "final_obs" not in infos or not infos["_final_obs"][b]:
                    fail(
                        f"a batch of {part} does not hand out copy {b}'s last observation {where}: leave "
                        "step() to ArrayGame."
                    )
                _same(part, b, f"last observation {where}", moment.observation, infos["final_obs"][b])
                moment = part.reset(single)
            _same(part, b, f"observation {where}", moment.observation, observations[b])


def states(part: GamePart) -> None:
    """A batch resumes from its state in another batch, to the same bytes."""
    game, other = part.batch(COPIES), part.batch(COPIES)
    if game is None or other is None:
        return
    game.action_space.seed(1)
    rows = [game.action_space.sample() for _ in range(STEPS)]
    with running(f"a batch of {part}, saved and restored,"):
        game.reset(seed=3)
        for row in rows[: STEPS // 2]:
            game.step(row)
        other.set_state(game.get_state())
        pairs = [(game.step(row), other.step(row)) for row in rows[STEPS // 2 :]]
    for t, (one, two) in enumerate(pairs, start=1):
        for what, a, b in zip(NAMES, one, two, strict=False):
            if seen(a) != seen(b):
                fail(
                    f"a batch of {part} resumes from its saved state to other {what} after {t} steps: keep "
                    "all that changes in `state`, by the names in `variables`, and draw from the given "
                    "numbers alone."
                )


def rounds(part: GamePart) -> None:
    """In a round, each seed plays the first episode that a copy alone plays with it, whichever have ended."""
    game = part.batch(len(ROUND))
    with running(f"a round of {part}"):
        env = from_envs([part.make] * len(ROUND)) if game is None else from_vector_env(game)
        observations = env.open(ROUND)
        shown = [[(seen(take(observations, b)), 0.0, False)] for b in range(len(ROUND))]
        playing = np.arange(len(ROUND))
        plans = [actions(env.action_space, STEPS, seed % 1000) for seed in ROUND]
        for t in range(STEPS):
            observations, rewards, ended = env.play(np.array([plans[b][t] for b in playing]))
            for row, b in enumerate(playing.tolist()):
                shown[b].append((seen(take(observations, row)), float(rewards[row]), bool(ended[row])))
            if ended.all():
                break
            if ended.any():
                env.keep(np.flatnonzero(~ended))
                playing = playing[~ended]
    for b, seed in enumerate(ROUND):
        alone = from_envs([part.make])
        alone.seed(seed)
        expected = [(seen(take(alone.reset(), 0)), 0.0, False)]
        for t in range(len(shown[b]) - 1):
            now, points, dones, infos = alone.step(np.array([plans[b][t]]))
            last = infos[0]["terminal_observation"] if dones[0] else take(now, 0)
            expected.append((seen(last), float(points[0]), bool(dones[0])))
        for t, (one, two) in enumerate(zip(shown[b], expected, strict=True)):
            if one[0] != two[0] or one[2] != two[2] or not np.isclose(one[1], two[1], rtol=1e-6):
                fail(
                    f"a round of {part} with the seed {seed} differs at step {t} from a copy alone: what a "
                    "copy does may depend on no other copy."
                )


def _check_forms(part: GamePart, game: ArrayGame, answers: list[Any]) -> None:
    shape = (COPIES, *game.single_observation_space.shape)
    for observations, rewards, terminated, truncated, _ in answers:
        if observations.shape != shape or observations.dtype != game.single_observation_space.dtype:
            fail(
                f"a batch of {part} shows {observations.dtype} of shape {observations.shape}, where its "
                f"space is {game.single_observation_space.dtype} of {shape}: mend observe."
            )
        for name, flags in (("terminated", terminated), ("truncated", truncated)):
            if flags.shape != (COPIES,) or flags.dtype != np.bool_:
                fail(f"a batch of {part} gives {name} as {flags.dtype} of {flags.shape}: give bools [B].")
        if rewards.shape != (COPIES,) or not np.isfinite(rewards).all():
            fail(f"a batch of {part} gives rewards of shape {rewards.shape}: give finite numbers [B].")


def _same(part: GamePart, copy: int, what: str, found: Any, wanted: Any) -> None:
    if seen(found) != seen(wanted):
        fail(
            f"copy {copy} of {part} in a batch of {COPIES} has the {what} {wanted}, where the single game "
            f"with its seed has {found}: compute each copy by itself, and draw for the given copies alone."
        )


LAWS = {law.__name__: law for law in (batches, states, rounds)}
