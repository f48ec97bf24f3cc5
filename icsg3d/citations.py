"""BibTeX of what the package builds on."""

from __future__ import annotations

COURT = (
    "@article{court2020, author = {Court, Callum J. and Yildirim, Batuhan and Jain, Apoorv and Cole, Jacqueline M.}, "
    "title = {3-D Inorganic Crystal Structure Generation and Property Prediction via Representation Learning}, "
    "journal = {Journal of Chemical Information and Modeling}, volume = {60}, number = {10}, pages = {4518--4535}, "
    "year = {2020}, doi = {10.1021/acs.jcim.0c00464}}"
)
XIE = (
    "@article{xie2018, author = {Xie, Tian and Grossman, Jeffrey C.}, title = {Crystal Graph Convolutional Neural "
    "Networks for an Accurate and Interpretable Prediction of Material Properties}, journal = {Physical Review "
    "Letters}, volume = {120}, pages = {145301}, year = {2018}, doi = {10.1103/PhysRevLett.120.145301}}"
)
DRAUTZ = (
    "@article{drautz2019, author = {Drautz, Ralf}, title = {Atomic Cluster Expansion for Accurate and Transferable "
    "Interatomic Potentials}, journal = {Physical Review B}, volume = {99}, pages = {014104}, year = {2019}, "
    "doi = {10.1103/PhysRevB.99.014104}}"
)
