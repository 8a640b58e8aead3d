"""The standard form of addresses (trivial-rewrite(8), postconf(5) swap_bangpath ... append_dot_mydomain)."""

from __future__ import annotations

from pymta.model.address import Address
from pymta.model.frozen import frozen


@frozen
class StandardForm:
    """The rules for one context. `origin` and `domain` empty mean that nothing is appended.

    Local mail is completed with `$myorigin` and `$mydomain`, remote headers with `remote_header_rewrite_domain`.
    """

    origin: str
    domain: str
    swap_bangpath: bool
    percent_hack: bool

    def apply(self, address: Address) -> Address:
        """Complete `address`; the null address and those that are complete come back as they are. Pure."""
        local_part, domain = address.local_part, address.domain
        if not domain:
            if not local_part:
                return address
            local_part, domain = self._with_domain(local_part)
            if not domain:
                return address if local_part == address.local_part else Address(local_part)
        if self.domain and "." not in domain and domain[0] != "[" and domain[-1] != "]":
            domain = f"{domain}.{self.domain}"
        if domain[-1] == ".":
            domain = without_final_dot(domain)
        if domain is address.domain:
            return address
        return Address(local_part, domain)

    def _with_domain(self, local_part: str) -> tuple[str, str]:
        """`site!user` and `user%site` as `user@site`, else `user@origin`; a domain that is empty stays so."""
        if self.swap_bangpath and "!" in local_part:
            site, _, user = local_part.partition("!")
            return user, site
        if self.percent_hack and "%" in local_part:
            user, _, site = local_part.rpartition("%")
            return user, site
        return local_part, self.origin


def without_final_dot(domain: str) -> str:
    """`example.com.` without its dot; `.` and `example..` are broken and stay so, for whoever complains about them."""
    return domain[:-1] if domain.endswith(".") and domain not in (".", "") and domain[-2] != "." else domain
