"""What every part of a configuration is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    """Base of every configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
