"""Ingest hooks: a media server asks whether somebody may publish, and what is published comes out protected.

    hooks = Hooks(control, settings.hooks)     # hooks.update(settings.hooks) after a reload, hooks.close() at the end
    app.include_router(hooks_router(hooks))    # POST /hooks/NAME, authenticated by the hook's own secret

`messages` has the words, one file a dialect reads and answers them, `service` decides, `screening` watches verdicts.
"""

from .router import hooks_router
from .service import Hooks

__all__ = ["Hooks", "hooks_router"]
