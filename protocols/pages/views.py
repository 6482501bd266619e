"""The views of a project, by name, in the order of their tabs.

A page loads `SCRIPTS` in their order and `STYLE`, and calls ``stimsynth.views[name](root, data, context)`` with an
empty element of the class ``ss``, what `View.build` gave, and a context:

- ``image(id, full)`` gives the address of an image, or null; ``full``: not a reduced one, where there is a choice;
- ``go(view, query)`` shows another view; ``query`` is that of this view;
- ``frozen`` is true where there is no server, ``blind`` where a closed round cannot be asked for;
- ``decide(decision)``, where it is there, records a decision and gives a promise of ``{text}``.
"""

from __future__ import annotations

from .array_map import array_map
from .gallery import gallery
from .learning import frozen_learning, learning
from .planner import frozen_planner, planner
from .population import frozen_population, population
from .site import frozen_sites, site
from .view import View

__all__ = ["SCRIPTS", "STYLE", "VIEWS", "View"]

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("gallery", "Gallery", gallery),
        View("site", "Sites", site, frozen_sites),
        View("array", "Array", array_map),
        View("population", "Responses", population, frozen_population),
        View("planner", "Plan", planner, frozen_planner),
        View("learning", "Rounds", learning, frozen_learning),
    )
}
SCRIPTS = ("views.js", "table.js", "gallery.js", "site.js", "array.js", "population.js", "planner.js", "learning.js")
STYLE = "views.css"
"""Files of ``protocols/pages/static``."""
