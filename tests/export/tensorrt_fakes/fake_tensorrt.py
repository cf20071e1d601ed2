"""Native TensorRT as it looks from Python, version by version, without its libraries.

Each ``tensorrt_<version>.json`` beside this file holds the names that one release really offers.
It was written by importing the extension module of that release's bindings wheel from PyPI (named
in it under ``distribution``) against empty stand-ins for NVIDIA's libraries, and listing ``dir()``
of the module and of the classes a build goes through. The fake offers exactly those names: any
other raises AttributeError, as it would on the device. What a build touches and calls is recorded.
"""

from __future__ import annotations

import json
import types
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

ENGINE = b"an engine"
NEW_CACHE = b"kernel times"


@dataclass
class Behaviour:
    """What a fake is told to do."""

    input_shape: tuple[int, ...] = (1, 3, 64, 64)
    output_shape: tuple[int, ...] = (1, 7, 84)
    input_type: str = "FLOAT"
    num_inputs: int = 1
    dla_cores: int = 0
    parser_errors: list[tuple[str, str, str]] = field(default_factory=list)  # operator, node, text
    builds: bool = True
    logs: list[tuple[str, str]] = field(default_factory=list)  # severity, text; while building
    refused_caches: tuple[bytes, ...] = ()
    refusal: str = "none"  # of a cache: "none", "false" or "log"


class FakeTensorRT(types.ModuleType):
    """A module that offers what one release offers, and remembers what was used of it."""

    def __init__(self, release: str, behaviour: Behaviour | None = None) -> None:
        super().__init__("tensorrt")
        surface = json.loads(Path(__file__).with_name(f"tensorrt_{release}.json").read_text())
        self.__spec__ = ModuleSpec("tensorrt", None)
        self.__version__ = surface["version"]
        self.names = frozenset(surface["module"])
        self.members = {name: frozenset(found) for name, found in surface["classes"].items()}
        self.behaviour = behaviour or Behaviour()
        self.touched: set[str] = set()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.loggers: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.names:
            raise AttributeError(f"TensorRT {self.__version__} has no {name}")
        self.touched.add(name)
        if name == "ILogger":
            return _make_logger_class(self)
        if name in _CLASSES:
            return lambda *arguments: _CLASSES[name](self, *arguments)
        return FakeEnum(self, name)

    def called(self, method: str) -> list[tuple[Any, ...]]:
        """Arguments of every call of one method, in order."""
        return [arguments for name, arguments in self.calls if name == method]


class FakeEnum:
    """Members of an enumeration; equal names are equal members."""

    def __init__(self, api: FakeTensorRT, name: str) -> None:
        self._api, self._name = api, name

    def __getattr__(self, member: str) -> FakeMember:
        if member not in self._api.members[self._name]:
            raise AttributeError(f"TensorRT {self._api.__version__} has no {self._name}.{member}")
        self._api.touched.add(f"{self._name}.{member}")
        return FakeMember(self._name, member)

    def __dir__(self) -> list[str]:
        return sorted(self._api.members[self._name])


@dataclass(frozen=True)
class FakeMember:
    """One member of an enumeration."""

    enum: str
    name: str

    def __int__(self) -> int:
        return 1 if self.name == "STRONGLY_TYPED" else 0


class Guarded:
    """An object with the attributes of one TensorRT class and no others."""

    kind = ""

    def __init__(self, api: FakeTensorRT) -> None:
        object.__setattr__(self, "api", api)
        object.__setattr__(self, "values", {})

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name in ("api", "values", "kind", "call"):
            return object.__getattribute__(self, name)
        api: FakeTensorRT = object.__getattribute__(self, "api")
        kind = object.__getattribute__(self, "kind")
        if name not in api.members[kind]:
            raise AttributeError(f"TensorRT {api.__version__} has no {kind}.{name}")
        api.touched.add(f"{kind}.{name}")
        try:
            return object.__getattribute__(self, f"do_{name}")
        except AttributeError:
            values = object.__getattribute__(self, "values")
            return values[name] if name in values else self.call(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.api.members[self.kind]:
            raise AttributeError(f"TensorRT {self.api.__version__} has no {self.kind}.{name}")
        self.api.touched.add(f"{self.kind}.{name}")
        self.api.calls.append((f"{self.kind}.{name}", (value,)))
        self.values[name] = value

    def call(self, name: str) -> Any:
        """A method that only remembers that it was called."""

        def method(*arguments: Any) -> Any:
            self.api.calls.append((f"{self.kind}.{name}", arguments))

        return method


class FakeBuilder(Guarded):
    kind = "Builder"

    def __init__(self, api: FakeTensorRT, logger: Any) -> None:
        super().__init__(api)
        assert isinstance(logger, tuple(api.loggers)), "TensorRT takes an ILogger only"
        api.calls.append(("Builder", (logger,)))
        self.values["num_DLA_cores"] = api.behaviour.dla_cores
        object.__setattr__(self, "logger_", logger)

    def do_create_network(self, flags: int = 0) -> FakeNetwork:
        self.api.calls.append(("Builder.create_network", (flags,)))
        return FakeNetwork(self.api)

    def do_create_builder_config(self) -> FakeConfig:
        return FakeConfig(self.api)

    def do_create_optimization_profile(self) -> FakeProfile:
        return FakeProfile(self.api)

    def do_build_serialized_network(self, network: FakeNetwork, config: FakeConfig) -> bytes | None:
        assert isinstance(network, FakeNetwork)
        assert isinstance(config, FakeConfig)
        self.api.calls.append(("Builder.build_serialized_network", (network, config)))
        logger = object.__getattribute__(self, "logger_")
        for severity, text in self.api.behaviour.logs:
            logger.log(FakeMember("Severity", severity), text)
        return ENGINE if self.api.behaviour.builds else None


class FakeNetwork(Guarded):
    kind = "INetworkDefinition"

    def __init__(self, api: FakeTensorRT) -> None:
        super().__init__(api)
        self.values.update(num_inputs=api.behaviour.num_inputs, num_outputs=1)

    def do_get_input(self, index: int) -> FakeTensor:
        assert index == 0
        told = self.api.behaviour
        return FakeTensor(self.api, "pixels", told.input_shape, told.input_type)

    def do_get_output(self, index: int) -> FakeTensor:
        assert index == 0
        return FakeTensor(self.api, "output0", self.api.behaviour.output_shape, "FLOAT")


class FakeTensor(Guarded):
    kind = "ITensor"

    def __init__(self, api: FakeTensorRT, name: str, shape: tuple[int, ...], dtype: str) -> None:
        super().__init__(api)
        self.values.update(name=name, shape=shape, dtype=FakeMember("DataType", dtype))


class FakeParser(Guarded):
    kind = "OnnxParser"

    def __init__(self, api: FakeTensorRT, network: FakeNetwork, logger: Any) -> None:
        super().__init__(api)
        assert isinstance(network, FakeNetwork)
        assert isinstance(logger, tuple(api.loggers))
        self.values["num_errors"] = len(api.behaviour.parser_errors)

    def do_parse_from_file(self, model: str) -> bool:
        assert isinstance(model, str), "the bindings take no Path"
        self.api.calls.append(("OnnxParser.parse_from_file", (model,)))
        return not self.api.behaviour.parser_errors

    def do_get_error(self, index: int) -> FakeParserError:
        return FakeParserError(self.api, *self.api.behaviour.parser_errors[index])


class FakeParserError(Guarded):
    kind = "ParserError"

    def __init__(self, api: FakeTensorRT, operator: str, node: str, text: str) -> None:
        super().__init__(api)
        told = {"node_operator": operator, "node_name": node, "desc": text}
        for name, value in told.items():
            self.values[name] = lambda value=value: value


class FakeConfig(Guarded):
    kind = "IBuilderConfig"

    def do_create_timing_cache(self, saved: bytes) -> FakeTimingCache | None:
        self.api.calls.append(("IBuilderConfig.create_timing_cache", (saved,)))
        told = self.api.behaviour
        if saved in told.refused_caches and told.refusal == "none":
            return None
        return FakeTimingCache(self.api, saved)

    def do_set_timing_cache(self, cache: FakeTimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch, "timings of another GPU are not timings"
        saved = cache.values["saved"]
        self.api.calls.append(("IBuilderConfig.set_timing_cache", (saved,)))
        return not (
            saved in self.api.behaviour.refused_caches and self.api.behaviour.refusal == "false"
        )


class FakeTimingCache(Guarded):
    kind = "ITimingCache"

    def __init__(self, api: FakeTensorRT, saved: bytes) -> None:
        super().__init__(api)
        self.values["saved"] = saved

    def do_serialize(self) -> bytes:
        return NEW_CACHE


class FakeProfile(Guarded):
    kind = "IOptimizationProfile"


def _make_logger_class(api: FakeTensorRT) -> type:
    class ILogger:
        def __init__(self) -> None:
            api.calls.append(("ILogger", ()))

    api.loggers.append(ILogger)
    return ILogger


_CLASSES: dict[str, Any] = {"Builder": FakeBuilder, "OnnxParser": FakeParser}
