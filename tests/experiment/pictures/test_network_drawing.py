"""Pictures of networks: drawn whole, in every format, with a legend for what they show."""

import re

import pytest
from gymnasium import spaces
from matplotlib.patches import Circle
from tiny_networks import network

import rlrnn
from rlrnn.errors import UserError
from rlrnn.experiment.pictures.network_diagram import diagram_of
from rlrnn.experiment.pictures.network_drawing import LESS, MORE, THICK, UNSIGNED, draw, draw_network
from rlrnn.experiment.pictures.network_graph import wiring


def words(figure):
    return [
        text.get_text() for text in (*figure.texts, *figure.axes[0].texts, *figure.legends[0].get_texts())
    ]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize("size", [4, 64])
def test_a_network_is_drawn_to_the_same_bytes(tmp_path, suffix, size):
    net = network(cell="gru", hidden_size=size)
    paths = [rlrnn.draw_network(net, tmp_path / f"{n}" / f"a.{suffix}", "a title") for n in range(2)]
    assert len({path.read_bytes() for path in paths}) == 1 and paths[0].stat().st_size > 5000
    assert [path.name for path in paths[0].parent.iterdir()] == [f"a.{suffix}"]


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a.xyz should end in .png, .pdf or .svg"):
        draw_network(network(), tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())


def test_widths_colours_and_dashes_are_those_of_the_weights():
    net = network(hidden_size=1)
    cell = net.memory.layers[0]
    cell.weight_input.data[:] = cell.weight_input.new_tensor([[0.5], [-1.0], [0.0]])
    cell.weight_hidden.data[:] = -4.0
    net.actuators.output.weight.data[:] = 0.0
    net.value.weight.data[:] = 2.0
    figure = draw(diagram_of(wiring(net)))
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    assert len(lines) == 4  # rising: the strongest lies above
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted(widths) and widths[-1] == THICK
    assert [line.is_dashed() for line in lines] == [False, False, False, True]
    assert lines[-1].get_color() == pytest.approx([int(LESS[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    assert (
        lines[0].get_color()[2] > lines[0].get_color()[0]
        and lines[1].get_color()[0] > lines[1].get_color()[2]
    )
    assert sum(isinstance(patch, Circle) for patch in figure.axes[0].patches) == len(
        diagram_of(wiring(net)).nodes
    )


def test_the_legend_says_what_occurs_and_nothing_else():
    def legend(**how):
        figure = draw(diagram_of(wiring(network(**how))))
        return {handle.get_label(): handle.get_color() for handle in figure.legends[0].legend_handles}

    elman, gru = legend(), legend(cell="gru")
    assert elman["positive weight"] == MORE and elman["negative weight"] == LESS
    assert "delay 1 step" in elman and "norm of weights over all gates" not in elman
    assert gru["norm of weights over all gates"] == UNSIGNED
    assert "delay 1 step" not in legend(cell="none")
    fir = legend(cell="fir", cell_options={"taps": 2, "dilation": 3})
    assert "delay 3 steps" in fir and "delay 1 step" not in fir
    assert list(legend(cell="gru", hidden_size=64)) == ["connections × RMS weight, over all gates"]
    assert list(legend(cell="fir", hidden_size=64)) == [
        "connections × RMS weight",
        "bars: RMS weight by delay",
    ]


def test_inputs_outputs_delays_and_the_caption_are_written():
    edges = [["x", "h0"], ["h0", "h1", 4]]
    options = {"edges": edges, "outputs": ["h1"]}
    net = network(acts=spaces.Discrete(3), cell="graph", hidden_size=2, cell_options=options)
    texts = words(draw(diagram_of(wiring(net)), "a title"))
    for text in ("a title", "input 2", "action 2", "value", "h0", "4", "delay 4 steps", "inputs x"):
        assert text in texts
    caption = "graph, 2 units; 14 parameters, 2 of them of the value head; finite impulse response: 5 steps"
    assert caption in texts
    large = words(draw(diagram_of(wiring(network(cell="fir", hidden_size=64)))))
    for text in ("inputs x\n3 numbers", "hidden y\n64 units", "actions\n2 actions"):
        assert text in large
    assert any(re.fullmatch(r"1,536 × 0\.\d+( to 0\.\d+)?\ndelays 0 to 7 steps", text) for text in large)


def test_everything_lies_within_the_picture():
    for how in ({}, {"cell": "fir", "hidden_size": 64}, {"acts": spaces.Box(-1, 1, (2,))}):
        figure = draw(diagram_of(wiring(network(**how))), "title")
        figure.canvas.draw()
        width, height = figure.bbox.width, figure.bbox.height
        for text in (*figure.texts, *figure.axes[0].texts, *figure.legends[0].get_texts()):
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
