"""Lookup tables, ordered search in them, and match lists: everything that `type:table` and a list of patterns mean."""

from pymta.tables.factory import TableFactory
from pymta.tables.lists import AddressList, DomainList, NetworkList, StringList
from pymta.tables.maps import Maps
from pymta.tables.search import AddressMatch, Find, KeyForm, Parents, split_extension

__all__ = [
    "AddressList",
    "AddressMatch",
    "DomainList",
    "Find",
    "KeyForm",
    "Maps",
    "NetworkList",
    "Parents",
    "StringList",
    "TableFactory",
    "split_extension",
]
