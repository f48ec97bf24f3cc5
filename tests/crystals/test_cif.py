"""CIF files as laboratories and databases write them, and what a crystallographer expects of each."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from icsg3d.crystals.cif import merged_sites, read_cif
from icsg3d.crystals.reading import crystal_of_cif, notes_of, read_quietly, read_structure
from icsg3d.crystals.settings import named_settings
from icsg3d.errors import InputError

XYZ = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")


def cif(cell, *lines, columns=XYZ, sites=(), name="x"):
    """Text of a CIF: lattice parameters, lines of its head, and a loop of sites."""
    a, b, c, alpha, beta, gamma = cell
    head = [f"data_{name}", f"_cell_length_a {a}", f"_cell_length_b {b}", f"_cell_length_c {c}"]
    head += [f"_cell_angle_alpha {alpha}", f"_cell_angle_beta {beta}", f"_cell_angle_gamma {gamma}", *lines]
    return "\n".join([*head, "loop_", *(f"_atom_site_{column}" for column in columns), *sites, ""])


def cubic(a, *lines, **more):
    return cif((a, a, a, 90, 90, 90), *lines, **more)


def hexagonal(a, c, *lines, **more):
    return cif((a, a, c, 90, 90, 120), *lines, **more)


def counts(structure):
    return {str(element): int(amount) for element, amount in structure.composition.items()}


def shortest(structure):
    return min(neighbour.nn_distance for site in structure for neighbour in structure.get_neighbors(site, 4))


SALT = ("Na1 Na 0 0 0", "Cl1 Cl .5 .5 .5")
PEROVSKITE = ("Sr1 Sr 0 0 0", "Ti1 Ti .5 .5 .5", "O1 O .5 .5 0")
CORUNDUM = ("Al1 Al 0 0 0.3523", "O1 O 0.3064 0 0.25")
SPINEL_1 = ("Mg1 Mg 0 0 0", "Al1 Al .625 .625 .625", "O1 O .3875 .3875 .3875")
SPINEL_2 = ("Mg1 Mg .125 .125 .125", "Al1 Al .5 .5 .5", "O1 O .2625 .2625 .2625")
SILICON = ("Si1 Si .125 .125 .125",)
NUMBER = "_symmetry_Int_Tables_number {}"
NAME = "_symmetry_space_group_name_H-M '{}'"
FORMULA = "_chemical_formula_sum '{}'"
OPS = "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,-y,-z'"
DOT = (*XYZ, "occupancy")

# Text, atoms in the cell, words of the notes (None for none), shortest distance in angstrom by hand.
READ = {
    "number alone": (cubic(5.64, NUMBER.format(225), sites=SALT), {"Na": 4, "Cl": 4}, None, 2.82),
    "old symbol": (cubic(5.64, NAME.format("F m 3 m"), sites=SALT), {"Na": 4, "Cl": 4}, None, 2.82),
    "dots for occupancies": (
        cubic(4.212, NAME.format("F m -3 m"), columns=DOT, sites=("Mg1 Mg2+ 0 0 0 .", "O1 O2- .5 .5 .5 .")),
        {"Mg": 4, "O": 4},
        None,
        2.106,
    ),
    "occupancies unknown": (
        cubic(5.64, NUMBER.format(225), columns=DOT, sites=[f"{site} ?" for site in SALT]),
        {"Na": 4, "Cl": 4},
        "occupancies that are not known were taken as 1",
        2.82,
    ),
    "hexagonal axes by suffix": (
        hexagonal(4.758, 12.993, NAME.format("R -3 c :H"), sites=CORUNDUM),
        {"Al": 12, "O": 18},
        None,
        1.853,
    ),
    "hexagonal axes by suffix of the ICSD": (
        hexagonal(4.758, 12.993, NAME.format("R -3 c H"), sites=CORUNDUM),
        {"Al": 12, "O": 18},
        None,
        1.853,
    ),
    "hexagonal axes by Hall symbol": (
        hexagonal(4.758, 12.993, "_space_group_name_Hall '-R 3 2\"c'", sites=CORUNDUM),
        {"Al": 12, "O": 18},
        None,
        1.853,
    ),
    "rhombohedral axes": (
        cif(
            (5.13, 5.13, 5.13, 55.28, 55.28, 55.28),
            NAME.format("R -3 c :R"),
            sites=("Al1 Al .3523 .3523 .3523", "O1 O .5564 .9436 .25"),
        ),
        {"Al": 4, "O": 6},
        None,
        1.853,
    ),
    "origin 1": (cubic(8.08, NAME.format("F d -3 m :1"), sites=SPINEL_1), {"Mg": 8, "Al": 16, "O": 32}, None, 1.924),
    "origin 2": (cubic(8.08, NAME.format("F d -3 m :2"), sites=SPINEL_2), {"Mg": 8, "Al": 16, "O": 32}, None, 1.924),
    "origin 2 of the ICSD": (
        cubic(8.08, NAME.format("F d -3 m Z"), sites=SPINEL_2),
        {"Mg": 8, "Al": 16, "O": 32},
        None,
        1.924,
    ),
    "origin 1 by formula": (
        cubic(8.08, NUMBER.format(227), FORMULA.format("Al2 Mg O4"), sites=SPINEL_1),
        {"Mg": 8, "Al": 16, "O": 32},
        "origin 1\\) was taken, where it makes sense",
        1.924,
    ),
    "origin 2 by multiplicity": (
        cubic(5.43, NUMBER.format(227), columns=(*XYZ, "symmetry_multiplicity"), sites=("Si1 Si .125 .125 .125 8",)),
        {"Si": 8},
        "",
        2.351,
    ),
    "monoclinic by full symbol": (
        cif(
            (5.15, 5.21, 5.32, 90, 99.2, 90),
            NAME.format("P 1 21/c 1"),
            sites=("Zr Zr .2754 .0395 .2083", "O1 O .0700 .3317 .3447", "O2 O .4496 .7569 .4792"),
        ),
        {"Zr": 4, "O": 8},
        None,
        2.05,
    ),
    "other cell choice": (
        cif((5.15, 5.21, 5.32, 90, 99.2, 90), NAME.format("P 21/n"), sites=("Zr Zr .2754 .0395 .2083",)),
        {"Zr": 4},
        None,
        3.2,
    ),
    "listed operations": (
        cif((4, 5, 6, 80, 95, 100), OPS, sites=("Na1 Na .1 .2 .3", "Cl1 Cl .5 .5 .5")),
        {"Na": 2, "Cl": 1},
        None,
        2.0,
    ),
    "three digits": (
        hexagonal(
            3.19,
            5.19,
            NUMBER.format(186),
            FORMULA.format("Ga N"),
            sites=("Ga1 Ga 0.333 0.667 0", "N1 N 0.333 0.667 0.377"),
        ),
        {"Ga": 2, "N": 2},
        "8 atoms within 0.25 angstrom of another of their element were merged",
        1.948,
    ),
    "off a special position": (
        cubic(3.905, NUMBER.format(221), FORMULA.format("Sr Ti O3"), sites=(*PEROVSKITE[:2], "O1 O .5 .5 .012")),
        {"Sr": 1, "Ti": 1, "O": 3},
        "3 atoms within",
        1.9525,
    ),
    "the same atom twice": (
        cubic(4.12, NUMBER.format(1), sites=("Cs1 Cs 0 0 0", "Cs2 Cs 1 1 .999", "Cl1 Cl .5 .5 .5")),
        {"Cs": 1, "Cl": 1},
        "1 atoms within",
        3.566,
    ),
    "hydrogens missing": (
        cubic(
            4.72,
            NUMBER.format(1),
            FORMULA.format("Ca O2 H2"),
            sites=("Ca1 Ca 0 0 0", "O1 O .3333 .6667 .2339", "O2 O .6667 .3333 .7661"),
        ),
        {"Ca": 1, "O": 2},
        "it is Ca1 O2, while its sum formula is Ca O2 H2",
        3.5,
    ),
    "attached hydrogens": (
        cubic(
            4.2, NUMBER.format(221), columns=(*XYZ, "attached_hydrogens"), sites=("Na1 Na 0 0 0 0", "O1 O .5 .5 .5 1")
        ),
        {"Na": 1, "O": 1},
        "hydrogens without places of their own",
        3.637,
    ),
    "deuterium and tritium": (
        cubic(4.08, NUMBER.format(225), FORMULA.format("Li H"), sites=("Li1 Li 0 0 0", "D1 D .5 .5 .5")),
        {"Li": 4, "H": 4},
        None,
        2.04,
    ),
    "two blocks": (
        cubic(5.64, NUMBER.format(225), sites=SALT, name="salt")
        + cubic(3.905, NUMBER.format(221), sites=PEROVSKITE, name="other"),
        {"Na": 4, "Cl": 4},
        "holds 2 crystals, and the first of them \\(salt\\) was taken",
        2.82,
    ),
    "a block of words first": (
        "data_global\n_journal_name_full 'Acta'\n" + cubic(5.64, NUMBER.format(225), sites=SALT),
        {"Na": 4, "Cl": 4},
        None,
        2.82,
    ),
    "a dummy": (
        cubic(
            5.64,
            NUMBER.format(225),
            columns=(*XYZ, "calc_flag"),
            sites=[*(f"{site} d" for site in SALT), "Cg1 C .25 .25 .25 dum"],
        ),
        {"Na": 4, "Cl": 4},
        "the dummies Cg1 were left out",
        2.82,
    ),
    "Windows": (cubic(5.64, NUMBER.format(225), sites=SALT).replace("\n", "\r\n"), {"Na": 4, "Cl": 4}, None, 2.82),
    "a byte-order mark": ("\ufeff" + cubic(5.64, NUMBER.format(225), sites=SALT), {"Na": 4, "Cl": 4}, None, 2.82),
    "labels only": (
        cubic(5.64, NUMBER.format(225), columns=("label", *XYZ[2:]), sites=("Na1 0 0 0", "CL1 .5 .5 .5")),
        {"Na": 4, "Cl": 4},
        None,
        2.82,
    ),
    "types only": (
        cubic(5.64, NUMBER.format(225), columns=XYZ[1:], sites=("Na 0 0 0", "Cl .5 .5 .5")),
        {"Na": 4, "Cl": 4},
        None,
        2.82,
    ),
    "standard uncertainties": (
        cubic("5.6402(3)", NUMBER.format(225), sites=("Na1 Na 0 0 0", "Cl1 Cl .5000(2) .5 .5")),
        {"Na": 4, "Cl": 4},
        None,
        2.8201,
    ),
    "no symmetry": (
        cubic(3.905, FORMULA.format("Cs Cl"), sites=("Cs1 Cs 0 0 0", "Cl1 Cl .5 .5 .5")),
        {"Cs": 1, "Cl": 1},
        "no symmetry is given, so P1 was taken",
        3.382,
    ),
}


@pytest.mark.parametrize(("text", "atoms", "note", "distance"), READ.values(), ids=READ)
def test_it_is_read_as_it_is_meant(text, atoms, note, distance):
    found = read_cif(text.replace("\r\n", "\n"))
    assert counts(found.structure) == atoms
    if note is None:
        assert found.notes == ()
    else:
        assert any(note.replace("\\", "") in each for each in found.notes)
    if distance not in {2.0, 3.2, 3.5, 2.05}:  # roughly known only
        assert shortest(found.structure) == pytest.approx(distance, abs=0.02)


REFUSED = {
    "two atoms on one site": (
        cubic(
            3.905,
            NUMBER.format(221),
            columns=DOT,
            sites=("Sr1 Sr 0 0 0 1", "Ba1 Ba 0 0 0 1", "Ti1 Ti .5 .5 .5 1", "O1 O .5 .5 0 1"),
        ),
        "Occupancy 2.0 exceeded",
    ),
    "symmetry missing": (
        cubic(3.905, FORMULA.format("Sr Ti O3"), sites=PEROVSKITE),
        "no symmetry is given, and without any it is Sr1 Ti1 O1, while its sum formula is Sr Ti O3",
    ),
    "an unknown symbol": (cubic(5.64, NAME.format("F q -3 z"), sites=SALT), r"space group \(F q -3 z\) is not under"),
    "a symbol that the cell cannot have": (
        hexagonal(4.758, 12.993, NAME.format("F m -3 m"), sites=CORUNDUM),
        "is not understood for its cell",
    ),
    "two origins and nothing that decides": (
        cubic(8.2, NUMBER.format(227), sites=("Na1 Na 0 0 0",)),
        "leaves a choice of .*origin 1.*origin 2",
    ),
    "labels of groups": (
        cubic(4.8, NUMBER.format(1), columns=("label", *XYZ[2:]), sites=("Na1 0 0 0", "Oh1 .5 .5 .5")),
        "label Oh1 stands for a group with hydrogens",
    ),
    "water": (
        cubic(4.8, NUMBER.format(1), columns=("label", *XYZ[2:]), sites=("Na1 0 0 0", "Wat1 .5 .5 .5")),
        "label Wat1 stands for a group",
    ),
    "a coordinate that is not known": (
        cubic(5.64, NUMBER.format(225), sites=("Na1 Na 0 0 0", "Cl1 Cl ? ? ?")),
        "cannot be read",
    ),
    "merged to another formula": (
        cubic(3.905, NUMBER.format(221), FORMULA.format("Sr Ti O6"), sites=(*PEROVSKITE[:2], "O1 O .5 .5 .012")),
        "merged they are Sr1 Ti1 O3 while the sum formula is Sr Ti O6|it is Sr1 Ti1 O3",
    ),
    "no atoms": (cubic(5.64, NUMBER.format(225)), "cannot be read|no atoms"),
    "too much to do": (
        cif(
            (90, 90, 90, 90, 90, 90),
            "loop_\n_symmetry_equiv_pos_as_xyz\n" + "'x,y,z'\n" * 192,
            sites=["C1 C 0 0 0"] * 2000,
        ),
        "2000 atoms and 192 operations",
    ),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_the_crystal_that_is_meant_is_refused(text, reason):
    with pytest.raises(InputError, match=reason):
        read_cif(text)


def test_what_was_read_before_is_read_alike():
    triclinic = Structure(
        Lattice.from_parameters(4.1, 5.2, 6.3, 75, 82, 97),
        ["La", "O", "F"],
        [[0.1, 0.2, 0.3], [0.6, 0.1, 0.8], [0.3, 0.7, 0.55]],
    )
    for text in (triclinic.to(fmt="cif"), cubic(5.64, NUMBER.format(225), sites=SALT)):
        one, other = Structure.from_str(text, fmt="cif"), read_cif(text).structure
        assert one.lattice.matrix.tolist() == other.lattice.matrix.tolist()
        assert one.frac_coords.tolist() == other.frac_coords.tolist()
        assert one.species == other.species


def test_notes_reach_the_user_with_the_name_of_the_file(tmp_path, caplog):
    path = tmp_path / "Bariumtitanat für Anna.cif"
    path.write_text(READ["off a special position"][0])
    structure = read_structure(path)
    assert any("für Anna.cif: 3 atoms within 0.25 angstrom" in each.getMessage() for each in caplog.records)
    assert "3 atoms" in notes_of(structure)[0]
    caplog.clear()
    assert notes_of(read_quietly(path)) == notes_of(structure)
    assert not caplog.records
    assert notes_of(crystal_of_cif(READ["number alone"][0])) == ()
    # No second reader hides what the first one found.
    path.write_text(REFUSED["two atoms on one site"][0])
    with pytest.raises(InputError, match=r"für Anna.cif holds no crystal that is read: .*Occupancy 2.0 exceeded"):
        read_structure(path)


def test_merging_is_at_the_mean_and_spares_other_elements_and_partial_atoms():
    cell = Lattice.cubic(4)
    merged, fewer = merged_sites(Structure(cell, ["O", "O", "Ti"], [[0, 0, 0.99], [0, 0, 0.01], [0.5, 0.5, 0.5]]))
    assert fewer == 1
    assert merged[0].frac_coords % 1 == pytest.approx([0, 0, 0], abs=1e-9) or merged[0].frac_coords[2] == 1
    for species in (["O", "F"], [{"O": 0.5}, {"O": 0.5}]):
        same, fewer = merged_sites(Structure(cell, species, [[0, 0, 0.99], [0, 0, 0.01]]))
        assert (len(same), fewer) == (2, 0)


@pytest.mark.parametrize(
    ("names", "numbers", "parameters", "sizes"),
    [
        (["F m -3 m"], [], (4, 4, 4, 90, 90, 90), [192]),
        (["Fm3m"], ["225"], (4, 4, 4, 90, 90, 90), [192]),
        (["R -3 m"], [], (4, 4, 9, 90, 90, 120), [36]),
        (["R -3 m"], [], (4, 4, 4, 60, 60, 60), [12]),
        (["P b n m"], [], (5, 6, 7, 90, 90, 90), [8]),
        ([], ["62"], (5, 6, 7, 90, 90, 90), [8]),
        ([], ["227"], (5, 5, 5, 90, 90, 90), [192, 192]),
        ([], ["14"], (5, 6, 7, 90, 99, 90), [4]),
        (["P 1 1 21/b"], [], (5, 6, 7, 90, 90, 99), [4]),
        (["F m -3 m"], ["62"], (4, 4, 4, 90, 90, 90), []),
        (["P 9 z"], [], (4, 4, 4, 90, 90, 90), []),
    ],
)
def test_settings_are_found_by_name_and_metric(names, numbers, parameters, sizes):
    found = named_settings(names, numbers, parameters)
    assert [len(each.operations) for each in found] == sizes
    for each in found:
        identity = [op for op in each.operations if np.allclose(op.affine_matrix, np.eye(4))]
        assert len(identity) == 1
