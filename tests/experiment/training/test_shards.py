"""Parts of a list: together they are all of it, and a scheduler's numbers mean what they say."""

import pytest

from rlrnn.errors import UserError
from rlrnn.experiment.training.shards import Shard, in_words, parse, scheduled


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("length", [0, 1, 5, 50])
def test_each_item_is_in_one_part_and_parts_are_alike(length: int, count: int) -> None:
    parts = [parse(f"{k}/{count}").of(range(length)) for k in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == list(range(length))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1 and parse("all").of(range(length)) == list(range(length))


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/2/3", "1.5/3", "every"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"the shard '{text}' is none: give I/N, such as 3/10"):
        parse(text)


def slurm(number: int, first: int, last: int, count: int, step: int | None = None) -> dict[str, str]:
    told = {"ID": number, "MIN": first, "MAX": last, "COUNT": count}
    told |= {} if step is None else {"STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in told.items()}


def engine(number: object, first: object, last: object, step: object) -> dict[str, str]:
    names = ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE")
    return dict(zip(names, map(str, (number, first, last, step)), strict=True))


@pytest.mark.parametrize(
    ("environment", "means"),
    [
        ({}, Shard()),
        (slurm(3, 1, 10, 10), Shard(3, 10, "SLURM_ARRAY_TASK_ID")),
        (slurm(0, 0, 9, 10), Shard(1, 10, "SLURM_ARRAY_TASK_ID")),
        (slurm(11, 1, 20, 4, 5), Shard(3, 4, "SLURM_ARRAY_TASK_ID")),
        (slurm(4, 4, 4, 1), Shard()),
        (engine(7, 3, 11, 2), Shard(3, 5, "SGE_TASK_ID")),
        (engine("undefined", "undefined", "undefined", "undefined"), Shard()),
        ({"PBS_ARRAY_INDEX": "3"}, Shard()),  # of how many is not told
        ({"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "10"}, Shard()),
    ],
)
def test_what_schedulers_say(environment: dict[str, str], means: Shard) -> None:
    assert scheduled(environment) == means


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (slurm(3, 1, 7, 3), "SLURM_ARRAY_TASK_ID is 3 of an array without regular steps from 1 to 7"),
        (slurm(3, 1, 9, 3, 4), "without regular steps"),
        ({"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_ID is 3, but SLURM_ARRAY_TASK_MIN is not set"),
        (engine(3, 1, "many", 1), "SGE_TASK_LAST is many"),
    ],
)
def test_an_array_that_cannot_be_read_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UserError) as refused:
        scheduled(environment)
    assert said in str(refused.value) and str(refused.value).endswith("--shard I/N, or --shard all.")


def test_seeds_in_words() -> None:
    assert in_words([]) == "none of the seeds"
    assert in_words([4]) == "seed 4"
    assert in_words([1, 3, 5]) == "seeds 1, 3 and 5"
    assert in_words(range(0, 100, 2)) == "seeds 0, 2, 4, 6, 8, ... 98 (50 in all)"
