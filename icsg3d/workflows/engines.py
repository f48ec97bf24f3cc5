"""Engines that compute energies, each by its name: CHGNet, GPAW, VASP, or any atomate2 maker."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import packages_distributions
from importlib.util import find_spec

from jobflow import Maker

from icsg3d.errors import InputError
from icsg3d.workflows.calculations import MP2020
from icsg3d.workflows.formation import FormationEnergyMaker


def chgnet_engine() -> FormationEnergyMaker:
    """Return CHGNet (Deng et al. 2023, doi:10.1038/s42256-023-00716-3), the default: its weights are in its package.

    Its energies follow the Materials Project's corrected scale, on which the elements are uncorrected.

    Raises:
        InputError: if it is not installed.
    """
    _need("chgnet", "icsg3d[workflows]")
    return FormationEnergyMaker()


def gpaw_engine() -> FormationEnergyMaker:
    """Return GPAW: plane waves and PBE, uncorrected.

    Raises:
        InputError: if it is not installed.
    """
    from icsg3d.workflows.gpaw import GpawRelaxMaker, GpawStaticMaker

    _need("gpaw", "icsg3d[gpaw]", "; docs/install-gpaw.md says what it needs")
    return FormationEnergyMaker(
        relax_maker=GpawRelaxMaker(),
        static_maker=GpawStaticMaker(),
        engine="gpaw",
        packages=["gpaw", "gpaw-data", "ase"],
        relax_elements=False,
    )


def vasp_engine() -> FormationEnergyMaker:
    """Return VASP with the Materials Project's GGA and GGA+U sets, PBE, energies corrected by MP2020.

    Raises:
        InputError: if pymatgen does not know where the POTCAR files are.
    """
    from atomate2.vasp.jobs.mp import MPGGARelaxMaker, MPGGAStaticMaker
    from pymatgen.core import SETTINGS

    if not SETTINGS.get("PMG_VASP_PSP_DIR"):
        msg = (
            "the engine vasp needs POTCAR files; make them known with 'pmg config -p RAW_FOLDER POTCAR_FOLDER' and "
            "'pmg config --add PMG_VASP_PSP_DIR POTCAR_FOLDER'"
        )
        raise InputError(msg)
    relax, static = MPGGARelaxMaker(), MPGGAStaticMaker()
    for maker in (relax, static):
        # The sets take PBE from the POTCAR files alone; say so, as other sets of atomate2 mean PBEsol.
        maker.input_set_generator.user_incar_settings["GGA"] = "PE"
    return FormationEnergyMaker(
        relax_maker=relax, static_maker=static, engine="vasp", packages=["pymatgen", "custodian"], correction=MP2020
    )


ENGINES = {"chgnet": chgnet_engine, "gpaw": gpaw_engine, "vasp": vasp_engine}
"""Engines by name."""


def engine_named(name: str) -> FormationEnergyMaker:
    """Return an engine by its name, or one around a maker given as ``module:Maker``.

    A maker given so relaxes, and the energy is that of its last step; or it is a
    :class:`~icsg3d.workflows.formation.FormationEnergyMaker`, or a function that returns one.

    Raises:
        InputError: if there is no such engine or maker, or it is not installed.
    """
    if name in ENGINES:
        return ENGINES[name]()
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        msg = f"there is no engine {name!r}; give one of {', '.join(ENGINES)}, or module:Maker"
        raise InputError(msg)
    try:
        made = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        msg = (
            f"the engine {name} cannot be made ({error}); name an atomate2 maker that can be imported, as module:Maker"
        )
        raise InputError(msg) from error
    if isinstance(made, FormationEnergyMaker):
        return made
    if not isinstance(made, Maker):
        msg = f"{name} is no maker but {type(made).__name__}; name an atomate2 maker, as module:Maker"
        raise InputError(msg)
    packages = sorted(set(packages_distributions().get(module.partition(".")[0], [])))
    return FormationEnergyMaker(relax_maker=made, static_maker=None, engine=name, packages=packages)


def _need(module: str, extra: str, more: str = "") -> None:
    if find_spec(module) is None:
        msg = f"the engine {module} is not installed; install it with pip install '{extra}'{more}"
        raise InputError(msg)
