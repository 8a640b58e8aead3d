"""What pickup reads of main.cf."""

from __future__ import annotations

from pymta.model.frozen import frozen


@frozen(kw_only=True)
class PickupSettings:
    """Parameters of pickup(8), sendmail(1) and postdrop(1) as the running program uses them."""

    authorized_submit_users: str
    message_size_limit: int
    myhostname: str
    mail_name: str
