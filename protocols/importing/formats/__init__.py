"""Formats that need their own library: one module per format, and the catalogue of them.

To add a format: a module here with a model of its options and a function of the signature of `Read`, and a row in
`FORMATS`. Libraries are imported inside the function (`needs` names them, `extra` the extra of the package that brings
them); what the function returns is written and read back through the one reader of responses, which makes all checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from protocols.importing.contract import ImportedTable

from .bids import BidsOptions, read_bids
from .brainio import BrainioOptions, read_brainio
from .neo_block import NeoOptions, read_neo
from .nwb import NwbOptions, read_nwb
from .phy import PhyOptions, read_phy
from .spikeinterface import SpikeinterfaceOptions, read_spikeinterface
from .suite2p import Suite2pOptions, read_suite2p

__all__ = ["FORMATS", "Format", "Read"]


class Read(Protocol):
    """Reads files of one format: ``(files, options) -> ImportedTable``. Raises `DataError`."""

    def __call__(self, files: Sequence[Path], options: Any, /) -> ImportedTable:
        """Read `files` as `options` say."""


@dataclass(frozen=True)
class Format:
    """One row of the catalogue.

    Parameters
    ----------
    about : str
        One sentence: what files these are.
    options : subclass of BaseModel
        What ``[NAME]`` of map.toml may say, unknown keys forbidden.
    read : Read
    needs : tuple of str
        Modules that the format's library brings.
    extra : str
        The extra of the package that installs them, "" where none is needed.
    """

    about: str
    options: type[BaseModel]
    read: Read
    needs: tuple[str, ...] = ()
    extra: str = ""


FORMATS: dict[str, Format] = {
    "bids": Format(
        about="fMRI: betas and a mask as NIfTI, and a table of the images",
        options=BidsOptions,
        read=read_bids,
        needs=("nibabel",),
        extra="bids",
    ),
    "brainio": Format(
        about="BrainIO assembly of Brain-Score (netCDF), with the CSV and zip of its stimulus set",
        options=BrainioOptions,
        read=read_brainio,
        needs=("xarray", "h5netcdf"),
        extra="brainio",
    ),
    "neo": Format(
        about="spikes in a file that neo reads (Blackrock, Plexon ...), and its events or an event table",
        options=NeoOptions,
        read=read_neo,
        needs=("neo",),
        extra="neo",
    ),
    "nwb": Format(
        about="NWB file of one session: units or ROIs, and a table of presentations or an IndexSeries",
        options=NwbOptions,
        read=read_nwb,
        needs=("pynwb",),
        extra="nwb",
    ),
    "phy": Format(
        about="a folder of Kilosort or phy, and an event table",
        options=PhyOptions,
        read=read_phy,
    ),
    "spikeinterface": Format(
        about="a folder of a sorting or a SortingAnalyzer saved by SpikeInterface, and an event table",
        options=SpikeinterfaceOptions,
        read=read_spikeinterface,
    ),
    "suite2p": Format(
        about="folders of planes of suite2p, and an event table",
        options=Suite2pOptions,
        read=read_suite2p,
    ),
}
"""Every format by the name that ``format = ...`` in map.toml takes."""
