"""JSON Schemas of the YAML files, for editors.

The records of `tbv8.config.files` supply the keys, types, defaults and descriptions. Names of the
project's own venues and strategies are offered as choices, but other names are valid too: a file
may be newer than the schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

import msgspec

from tbv8.config import files
from tbv8.config.files import JsonSchema
from tbv8.config.source import STRATEGIES, classes, config_params, module_path, strategy_modules

FOLDER = ".schemas"
"""The folder of the schemas below `config/`."""

_FILES: dict[str, type] = {
    "data": files.DataFile,
    "history": files.HistoryFile,
    "venue": files.VenueFile,
    "strategy": files.StrategyFile,
    "experiment": files.ExperimentFile,
}


def schemas(venues: Iterable[str]) -> dict[str, JsonSchema]:
    """Return the schema of each kind of file: data, history, venue, strategy, experiment.

    Args:
        venues: The names of the configured venues, offered as choices.
    """
    by_kind = {name: _schema(record) for name, record in _FILES.items()}
    named = {"anyOf": [{"enum": sorted(venues)}, {"type": "string", "pattern": files.NAME}]}
    optional = {"anyOf": [*named["anyOf"], {"type": "null"}]}
    _properties(by_kind["history"], "HistorySection")["market_data_venue"].update(named)
    strategy = by_kind["strategy"]
    routing = _properties(strategy, "Routing")
    routing["primary"].update(named)
    for properties, key in (
        (routing, "secondary"),
        (_properties(strategy, "BacktestSection"), "market_data_venue"),
    ):
        properties[key].update(optional)
    strategy["$defs"]["Routing"] |= {
        "if": {
            "properties": {"mode": {"const": "PRIMARY_LIVE_SECONDARY_SHADOW"}},
            "required": ["mode"],
        },
        "then": {"properties": {"secondary": {"type": "string"}}, "required": ["secondary"]},
    }
    strategy["$defs"]["StrategyFile"]["anyOf"] = [
        {"required": ["symbol"]},
        {"required": ["symbols"]},
    ]
    _offer_classes(strategy)
    return {name: _at_top(schema, _FILES[name]) for name, schema in by_kind.items()}


def _schema(record: type) -> JsonSchema:
    """Return msgspec's schema, with the constraints of each key in place of its type's."""
    schema: JsonSchema = msgspec.json.schema(record)
    for name, definition in schema["$defs"].items():
        del definition["title"]
        hints = get_type_hints(getattr(files, name), include_extras=True)
        for key, property_ in definition["properties"].items():
            (meta,) = hints[key].__metadata__
            constraints = meta.extra_json_schema or {}
            if constraints.keys() & {"type", "anyOf", "enum"}:
                for generated in {"type", "anyOf", "format"} & property_.keys():
                    del property_[generated]
            property_.update(constraints)
    return schema


def _at_top(schema: JsonSchema, record: type) -> JsonSchema:
    """Return the schema with the file's own record at the top, in draft 7 for editors."""
    top = schema["$defs"].pop(record.__name__)
    dialect = {"$schema": "http://json-schema.org/draft-07/schema#"}
    return {**dialect, **top, "$defs": schema["$defs"]}


def _properties(schema: JsonSchema, record: str) -> dict[str, JsonSchema]:
    properties: dict[str, JsonSchema] = schema["$defs"][record]["properties"]
    return properties


def _offer_classes(strategy: JsonSchema) -> None:
    """Add the known strategies as choices, and the params of each."""
    file = strategy["$defs"]["StrategyFile"]
    params_by_class = _strategy_params()
    file["properties"]["strategy"] |= {
        "anyOf": [{"enum": sorted(params_by_class)}, {"type": "string", "pattern": files.CLASS}]
    }
    default = file["properties"]["strategy"]["default"]
    file["allOf"] = [
        {
            "if": {
                "properties": {"strategy": {"const": name}},
                **({} if name == default else {"required": ["strategy"]}),
            },
            "then": {
                "properties": {
                    "params": {
                        "properties": {param: {} for param in accepted.required},
                        "required": [
                            param for param, needed in accepted.required.items() if needed
                        ],
                        "additionalProperties": not accepted.closed,
                    }
                },
                **({"required": ["params"]} if any(accepted.required.values()) else {}),
            },
        }
        for name, accepted in sorted(params_by_class.items())
    ]


def _strategy_params() -> Mapping[str, Any]:
    accepted_by_class = {}
    for module in strategy_modules():
        classes_by_name = classes(module_path(module, root=STRATEGIES))
        for name in classes_by_name:
            if f"{name}Config" in classes_by_name:
                accepted_by_class[f"{module}.{name}"] = config_params(
                    classes_by_name[f"{name}Config"], classes_by_name
                )
    return accepted_by_class
