"""Facts: values that are made once and never changed."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def fact(cls: type[T]) -> type[T]:
    """A dataclass of named members that the type checker keeps from being changed.

    To have the interpreter do that makes each one take two to three times as long to make, and a call makes ten.
    """
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
