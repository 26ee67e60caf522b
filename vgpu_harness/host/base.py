"""What all models of a host file have in common: strict, frozen, and wrong values end in a ``HostError``."""

from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic._internal._model_construction import ModelMetaclass
from pydantic_core import PydanticCustomError

from vgpu_harness.host.messages import host_error

TEMPLATE = "{what}; {instead}"
"""The form of our own errors: what is wrong with the value, and what to write instead."""


class _ReportedModel(ModelMetaclass):
    """Turns the ``ValidationError`` of a call ``Gpu(...)`` into a ``HostError``.

    An ``__init__`` of our own would do so too, but pydantic would then call it for each nested table and lose the place
    of an error; the call of a class is used only by people.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise host_error(error, cast("type[BaseModel]", self), source=self.__name__) from None


class Model(BaseModel, metaclass=_ReportedModel):
    """Base of the tables of a host file: unknown keys and conversions (``"80"`` for 80) are errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def wrong(problem: str, remedy: str) -> PydanticCustomError:
    """The error that a validator raises: what is wrong with the value, and what to write instead."""
    return PydanticCustomError("wrong", TEMPLATE, {"what": problem, "instead": remedy})
