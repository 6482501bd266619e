"""BrainIO files, as Brain-Score packages them: an assembly in netCDF, and its stimulus set as CSV and zip."""

from .assembly import read_brainio
from .options import BrainioOptions

__all__ = ["BrainioOptions", "read_brainio"]
