"""Moving: a store copied to another place beside its running servers, with a final switch.

    source   open ─────────────────────────► held ──────────► moved
    target   (unused) ──► filling ─────────────────► verified ──► open

While the source is open, passes copy its rows and its blobs, each taking what the one before has not.
Then the source is held: triggers in its database refuse every change, by whatever process, in the moment
in which they are committed. What was acknowledged until then is in the last pass, and nothing comes
after it. Rows and blobs are verified; only then the source becomes `moved`, and after it the target opens.
So at no time both take changes. Each step is a row that is committed before the next one begins: a move that
was interrupted goes on where it was, and one that is given up (`abandon`) gives the source back.
"""

from __future__ import annotations

from storage.moving.abandon import abandon
from storage.moving.migrate import migrate
from storage.moving.places import place_of
from storage.moving.plan import Moved, Plan, Progress

__all__ = ["Moved", "Plan", "Progress", "abandon", "migrate", "place_of"]
