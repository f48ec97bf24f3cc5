"""Figures: what is drawn agrees with what was given; labels neither clip nor overlap."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from icsg3d import plot
from icsg3d.errors import InputError
from icsg3d.generation.candidates import Candidate
from icsg3d.generation.prototypes import prototype_structure
from icsg3d.plot.crystals import species_labels
from icsg3d.plot.elements import place


@pytest.fixture
def axes():
    return Figure(figsize=(5, 4), layout="constrained").add_subplot()


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def text_boxes(axes):
    """Boxes of all texts of an axes that are shown, in pixels."""
    figure = axes.figure
    figure.draw_without_rendering()
    texts = [axes.title, *axes.texts]
    if axes.axison:
        texts += [axes.xaxis.label, axes.yaxis.label]
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = sorted(limits)
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]


def assert_tidy(axes):
    boxes = text_boxes(axes)
    page = axes.figure.bbox
    for box in boxes:
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y0 >= page.y0 - 1
        assert box.y1 <= page.y1 + 1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9))


def test_hull_distances_count(axes):
    assert plot.hull_distances([0.0, 0.05, 0.1, 0.4, np.nan], axes, bins=4) is axes
    assert axes.get_title() == "3 of 4 within 0.1 eV/atom; 1 unknown"
    assert [patch.get_height() for patch in axes.patches] == [2, 1, 0, 1]
    assert_tidy(axes)
    with pytest.raises(InputError, match="no energy above the hull"):
        plot.hull_distances([np.nan])


def test_parity_states_the_mean_difference(axes):
    plot.parity([-2.0, -1.0, np.nan], [-1.5, -1.5, 0.0], axes, uncertainties=[0.1, 0.2, 0.3], name="$x")
    assert axes.get_title() == "$x\nmean |difference| 0.5, n = 2"
    assert axes.get_xlim() == axes.get_ylim()
    assert_tidy(axes)
    with pytest.raises(InputError, match="got 1 computed and 2"):
        plot.parity([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="nothing to compare"):
        plot.parity([np.nan], [1.0])


def test_a_learning_curve_shows_the_loss_and_what_validation_crystals_say(axes):
    curve = {"step": [1, 2, 3], "loss": [3.0, 2.0, 1.5], "validation_loss": [np.nan, 2.5, 2.0]}
    plot.learning_curve(curve, axes)
    training, validation = axes.lines
    assert training.get_ydata().tolist() == [3.0, 2.0, 1.5]
    assert validation.get_xdata().tolist() == [2, 3]
    assert validation.get_ydata().tolist() == [2.5, 2.0]
    other = Figure().add_subplot()
    plot.learning_curve({"step": [1, 2], "loss": [3.0, 2.0], "validation_rebuilt": [0.4, 0.8]}, other)
    share = other.figure.axes[1]
    assert share.lines[0].get_ydata().tolist() == [0.4, 0.8]
    assert share.get_ylim() == (0, 1)
    with pytest.raises(InputError, match="has the columns step and loss and at least one row"):
        plot.learning_curve({"step": [], "loss": []})


def test_property_path_leaves_gaps(axes):
    plot.property_path([-1.0, None, -2.0], axes, uncertainties=[0.1, 0.1, 0.1], formulas=["NaCl", "", "MgO"])
    assert np.isnan(axes.lines[0].get_ydata()).tolist() == [False, True, False]
    assert [text.get_text() for text in axes.texts] == ["NaCl", "MgO"]
    assert_tidy(axes)
    with pytest.raises(InputError, match="at least 2 steps"):
        plot.property_path([1.0])


def test_figure_s2(axes):
    plot.atom_counts({0: 9, 2: 1}, axes)
    assert axes.get_title() == "Algorithm S1: 90.0 % right"
    assert sorted(patch.get_height() for patch in axes.patches) == [10, 90]
    assert_tidy(axes)
    with pytest.raises(InputError, match="no crystal"):
        plot.atom_counts({})


def test_places_in_the_periodic_table_are_different_and_right():
    symbols = list(plot.periodic_table({}).texts)
    assert len(symbols) == 94
    places = {place(text.get_text()) for text in symbols}
    assert len(places) == 94
    assert (place("H"), place("He"), place("Ti")) == ((1, 1), (18, 1), (4, 4))
    assert place("La")[1] == place("Lu")[1] == place("U")[1] - 1
    assert place("Lu")[0] - place("La")[0] == 14


def test_periodic_table_writes_the_numbers():
    axes = plot.periodic_table({"Sr": 3, "O": 12.0})
    texts = [text.get_text() for text in axes.texts]
    assert (texts.count("3"), texts.count("12")) == (1, 1)
    assert_tidy(axes)
    with pytest.raises(InputError, match="Xx is no element"):
        plot.periodic_table({"Xx": 1})


def test_principal_plane_of_a_known_cloud():
    random = np.random.default_rng(0)
    cloud = random.standard_normal((4000, 3)) * [3.0, 2.0, 0.5] + [1, 2, 3]
    plane = plot.principal_plane(cloud)
    assert plane.shares == pytest.approx([9 / 13.25, 4 / 13.25], abs=0.02)
    assert np.abs(plane.directions[0]) == pytest.approx([1, 0, 0], abs=0.06)
    assert plane.project(plane.centre) == pytest.approx(np.zeros((1, 2)))
    with pytest.raises(InputError, match="three points"):
        plot.principal_plane(cloud[:2])


def test_latent_map(axes):
    random = np.random.default_rng(0)
    plot.latent_map(
        random.standard_normal((4, 5)), random.standard_normal((50, 5)), axes, base=np.zeros((1, 5)), labels=["a"]
    )
    assert [len(line.get_xdata()) for line in axes.lines] == [50, 4, 1]
    assert_tidy(axes)


def test_structure_draws_every_atom():
    axes = plot.structure(prototype_structure("NaCl"))
    drawn = sum(len(collection.get_offsets()) for collection in axes.collections)
    # Rock salt in its conventional cell: 14 ions on corners and faces, 13 on edges and in the centre.
    assert drawn == 27
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"Na", "Cl"}


def test_candidates_are_drawn_side_by_side():
    crystal = prototype_structure("NaCl")
    drawn = plot.candidates([Candidate(0, crystal), Candidate(1, None, "flat"), Candidate(2, crystal)])
    assert [axes.get_title().partition("\n")[0] for axes in drawn] == ["0: NaCl", "2: NaCl"]
    with pytest.raises(InputError, match="no candidate has a crystal"):
        plot.candidates([Candidate(1, None, "flat")])


def test_slices(axes):
    grid = np.zeros((6, 6, 6))
    grid[1, 4, 2] = 1.0
    plot.density_slice(grid, 2, axes)
    assert np.argwhere(axes.images[0].get_array() == 1).tolist() == [[4, 1]]  # row 4 from below, column 1
    species = np.zeros((6, 6, 6), dtype=int)
    species[0:3, 0:3, 2], species[5, 5, 2] = 22, 8
    assert species_labels(species[:, :, 2]) == [("O", 5, 5), ("Ti", 1, 1)]
    drawn = plot.species_slice(species, 2)
    assert [text.get_text() for text in drawn.texts] == ["O", "Ti"]
    for plane in (-1, 6):
        with pytest.raises(InputError, match="there is no plane"):
            plot.density_slice(grid, plane)


def test_new_axes_belong_to_pyplot():
    axes = plot.hull_distances([0.0, 0.1])
    assert axes.figure.number in plt.get_fignums()


def test_names_of_crowded_points_neither_overlap_nor_clip(axes):
    random = np.random.default_rng(1)
    x, y = random.uniform(0, 1, (2, 40))
    axes.plot(x, y, "o", ms=4)
    named = plot.label_points(axes, [f"Ba{n}TiO3" for n in range(40)], x, y)
    assert 10 < named <= 40
    assert len(axes.texts) == named
    assert_tidy(axes)
    pixels = axes.transData.transform(np.column_stack([x, y]))
    for box in text_boxes(axes)[: len(axes.texts)]:
        assert not any(box.contains(*point) for point in pixels)


def test_every_name_is_written_where_there_is_room(axes):
    axes.plot([0, 1, np.nan], [0, 1, 0], "o")
    assert plot.label_points(axes, ["NaCl", "MgO", "none"], [0, 1, np.nan], [0, 1, 0]) == 2
    assert [text.get_text() for text in axes.texts] == ["NaCl", "MgO"]
    assert_tidy(axes)
