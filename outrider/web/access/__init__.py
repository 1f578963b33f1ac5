"""The door: who may come in, what they may do, and what is written down of it.

::

    request ─► gate ─┬─ limits     too long an address or body?                      413, 414
                     ├─ origin     sent by another site's page?                      403
                     ├─ people     the token, a password, or a session's cookie?     401, 429
                     ├─ roles      does the route ask for more than they may?        403
                     ├─ origin     does what changes something carry its token?      403
                     └─► route     with ``request.state.person``

Everything is closed unless its route says otherwise: what is safe needs a viewer, any other method
an operator (see ``roles``). ``record`` keeps logins, refusals and actions.
"""

from outrider.web.access.door import Door, User
from outrider.web.access.gate import SECURITY, Gate
from outrider.web.access.people import Person, check
from outrider.web.access.roles import ANYONE, OPERATOR, VIEWER, requires

__all__ = [
    "ANYONE",
    "OPERATOR",
    "SECURITY",
    "VIEWER",
    "Door",
    "Gate",
    "Person",
    "User",
    "check",
    "requires",
]
