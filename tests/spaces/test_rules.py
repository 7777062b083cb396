"""What a search space file may say, and the one line that each broken rule gets."""

import pytest

from cnn_tuner.errors import SpaceError
from cnn_tuner.spaces.rules import Range, parse
from cnn_tuner.spaces.tree import from_text

TOP = "description, blocks, block, dense, training, augmentation, limits, search, start"
TRAINING = "optimizer, learning_rate, schedule, warmup, weight_decay, label_smoothing, class_weights, batch_size"
BLOCK = "convolutions, filters, kernel_size, strides, padding, pool_size, pool_strides, dropout"
OR = "a list of them, or {min, max, step, sampling}"

# (key, least, most, whole numbers only)
NUMBERS = [
    ("blocks", 1, 20, True),
    ("block.convolutions", 1, 8, True),
    ("block.filters", 1, 4096, True),
    ("block.kernel_size", 1, 31, True),
    ("block.strides", 1, 16, True),
    ("block.pool_size", 1, 16, True),
    ("block.pool_strides", 1, 16, True),
    ("block.dropout", 0, 0.95, False),
    ("dense.layers", 0, 8, True),
    ("dense.units", 1, 65536, True),
    ("dense.dropout", 0, 0.95, False),
    ("training.learning_rate", 1e-8, 10, False),
    ("training.warmup", 0, 0.9, False),
    ("training.weight_decay", 0, 1, False),
    ("training.label_smoothing", 0, 0.5, False),
    ("training.batch_size", 1, 65536, True),
    ("augmentation.shift", 0, 0.5, False),
    ("augmentation.rotate", 0, 180, False),
    ("augmentation.zoom", 0, 0.5, False),
    ("augmentation.erase", 0, 1, False),
]
WORDS = {
    "block.padding": ("same", "valid"),
    "training.optimizer": ("adam", "nadam", "rmsprop", "sgd"),
    "training.schedule": ("constant", "cosine", "one_cycle"),
    "training.class_weights": ("none", "balanced", "sampled"),
    "augmentation.flip": ("none", "horizontal", "vertical", "both"),
}


def file_with(key, value):
    """The data of a file in which `key` ("section.name") has `value`."""
    data = {"description": "For tests.", "block": {"filters": 8}}
    section, _, name = key.rpartition(".")
    (data.setdefault(section, {}) if section else data)[name] = value
    return data


def read(key, value):
    """What a file in which `key` has `value` says there."""
    found = parse(file_with(key, value), "space.yaml")
    for name in key.split("."):
        found = getattr(found, name)
    return found


def message_of(data):
    with pytest.raises(SpaceError) as caught:
        parse(data, "space.yaml")
    return str(caught.value)


def message_of_text(text):
    with pytest.raises(SpaceError) as caught:
        from_text(text, "space.yaml")
    return str(caught.value)


@pytest.mark.parametrize(("key", "least", "most", "whole"), NUMBERS)
def test_a_number_is_taken_up_to_its_bounds_and_refused_beyond_them(key, least, most, whole):
    assert read(key, [least, most]) == (least, most)
    kind = "a whole number" if whole else "a number"
    for value in (least - 1, most + 1):
        rule = f"must be {kind} from {least:g} to {most:g}, {OR}"
        assert message_of(file_with(key, value)) == f"space.yaml: {key}: {rule}, got {value!r}"


@pytest.mark.parametrize(
    "value", [True, "many", None, 2.0, [2, "many"], [[2]], {"min": 2, "max": "many"}, float("nan")]
)
def test_a_whole_number_must_be_one(value):
    got = {list: lambda: value[-1], dict: lambda: value["max"]}.get(type(value), lambda: value)()
    rule = f"must be a whole number from 1 to 4096, {OR}"
    assert message_of(file_with("block.filters", value)) == f"space.yaml: block.filters: {rule}, got {got!r}"


@pytest.mark.parametrize("value", [False, "fast", None, float("nan"), float("inf"), 10**400], ids=str)
def test_a_fraction_must_be_a_finite_number(value):
    rule = f"must be a number from 1e-08 to 10, {OR}"
    found = message_of(file_with("training.learning_rate", value))
    assert found == f"space.yaml: training.learning_rate: {rule}, got {value!r}"


@pytest.mark.parametrize("key", WORDS)
@pytest.mark.parametrize("value", ["full", True, None, ["full"], {"min": 1, "max": 2}], ids=str)
def test_a_word_is_one_of_some(key, value):
    got = value[-1] if isinstance(value, list) else value
    rule = f"must be one of {', '.join(WORDS[key])}, or a list of them"
    assert message_of(file_with(key, value)) == f"space.yaml: {key}: {rule}, got {got!r}"
    assert read(key, list(WORDS[key])) == WORDS[key]


def test_a_warmup_beside_one_cycle_alone_is_refused():
    data = file_with("training", {"schedule": "one_cycle", "warmup": 0.1})
    rule = "warmup has no effect where schedule is one_cycle, which has its own; leave it out"
    assert message_of(data) == f"space.yaml: training: {rule}"


def test_warmup_is_active_where_the_schedule_has_none_of_its_own():
    text = "{description: x, block: {filters: 2}, training: {schedule: [cosine, one_cycle], warmup: [0, 0.1]}}"
    [warmup] = [p for p in from_text(text, "toy").parameters if p.name == "warmup"]
    assert (warmup.parent, warmup.parent_values) == ("schedule", ("cosine",))
    alone = from_text("{description: x, block: {filters: 2}, training: {schedule: one_cycle}}", "toy")
    assert "warmup" not in {parameter.name for parameter in alone.parameters}


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("blok", 3, f"unknown key (did you mean block?); choices: {TOP}"),
        ("oven", 3, f"unknown key; choices: {TOP}"),
        ("block.filter", 3, f"unknown key (did you mean filters?); choices: {BLOCK}"),
        ("dense.unit", 3, "unknown key (did you mean units?); choices: layers, units, dropout"),
        ("training.momentum", 3, f"unknown key; choices: {TRAINING}"),
        (
            "limits.max_parms",
            3,
            "unknown key (did you mean max_params?); choices: max_params, max_macs, max_activation_bytes",
        ),
        ("search.epoch", 3, "unknown key (did you mean epochs?); choices: oracle, sampler, budget, max_trials, epochs"),
        ("description", 3, "input should be a valid string, got 3"),
        ("block", 3, "must be a mapping of keys to values, got 3"),
        ("dense", None, "must be a mapping of keys to values, got None"),
        ("limits", [1], "must be a mapping of keys to values, got [1]"),
        ("block.filters", [], "a list of choices must not be empty, got []"),
        ("block.padding", [], "a list of choices must not be empty, got []"),
        ("block.filters", [16, 32, 16], "choices must differ, got [16, 32, 16]"),
        ("block.padding", ["same", "same"], "choices must differ, got ['same', 'same']"),
        ("block.dropout", [0, 0.0], "choices must differ, got [0, 0.0]"),
        ("block.filters", {"min": 64, "max": 32}, "min must be <= max, got min=64, max=32"),
        ("block.dropout", {"min": 0.5, "max": 0.25}, "min must be <= max, got min=0.5, max=0.25"),
        ("block.filters", {"min": 8}, "a range needs min and max, got {'min': 8}"),
        ("block.filters", {"max": 8}, "a range needs min and max, got {'max': 8}"),
        ("block.filters", {}, "a range needs min and max, got {}"),
        (
            "block.filters",
            {"min": 1, "max": 8, "stride": 2},
            "unknown key 'stride' in a range; choices: min, max, step, sampling",
        ),
        ("block.filters", {"min": 1, "max": 8, "step": 0}, "step must be a step > 0, got 0"),
        ("block.filters", {"min": 1, "max": 8, "step": -2}, "step must be a step > 0, got -2"),
        ("block.filters", {"min": 1, "max": 8, "step": 0.5}, "step must be a step > 0, got 0.5"),
        ("block.filters", {"min": 1, "max": 8, "step": True}, "step must be a step > 0, got True"),
        ("block.filters", {"min": 8, "max": 8, "step": 0}, "step must be a step > 0, got 0"),
        ("block.dropout", {"min": 0, "max": 0.5, "step": 0}, "step must be a step > 0, got 0"),
        (
            "block.filters",
            {"min": 1, "max": 8, "step": 1, "sampling": "log"},
            "step must be a factor > 1, got 1",
        ),
        (
            "block.filters",
            {"min": 1, "max": 8, "sampling": "LOG"},
            "sampling must be one of linear, log, got 'LOG'",
        ),
        (
            "dense.layers",
            {"min": 0, "max": 4, "sampling": "log"},
            "a log range needs min > 0, got min=0",
        ),
        (
            "block.dropout",
            {"min": 0, "max": 0.5, "sampling": "log"},
            "a log range needs min > 0, got min=0",
        ),
        ("block.filters", {"min": 1, "max": 1001}, "a range may have at most 1000 values, got about 1001"),
        ("block.filters", {"min": 1, "max": 4096}, "a range may have at most 1000 values, got about 4096"),
        (
            "training.learning_rate",
            {"min": 1, "max": 2, "step": 1e-4},
            "a range may have at most 1000 values, got about 10001",
        ),
        (
            "training.learning_rate",
            {"min": 1, "max": 2, "step": 1e-320},
            "a range may have at most 1000 values, got about inf",
        ),
        ("limits.max_params", 0, "input should be greater than or equal to 1, got 0"),
        ("limits.max_macs", 1.5, "input should be a valid integer, got 1.5"),
        ("limits.max_activation_bytes", True, "input should be a valid integer, got True"),
        ("search.max_trials", 0, "input should be greater than or equal to 1, got 0"),
        ("search.epochs", 0, "input should be greater than or equal to 1, got 0"),
        ("search.oracle", 3, "input should be a valid string, got 3"),
    ],
)
def test_a_broken_rule_is_told_with_file_key_rule_and_value(key, value, problem):
    assert message_of(file_with(key, value)) == f"space.yaml: {key}: {problem}"


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"block": {"filters": 8}}, "description"),
        ({"description": ""}, "block"),
        (file_with("block", {}), "block.filters"),
    ],
)
def test_a_missing_required_key_is_named(data, key):
    assert message_of(data) == f"space.yaml: {key}: missing, and there is no default"


def test_of_several_broken_rules_the_first_is_told_and_the_others_are_counted():
    data = file_with("block", {"filters": 0, "strides": 0, "padding": "none"})
    problem = f"must be a whole number from 1 to 4096, {OR}, got 0 (and 2 more)"
    assert message_of(data) == f"space.yaml: block.filters: {problem}"


def test_a_line_break_in_a_key_does_not_break_the_message():
    assert message_of({"a\nb": 1} | file_with("blocks", 1)) == f"space.yaml: 'a\\nb': unknown key; choices: {TOP}"


def test_a_key_that_is_no_text_is_refused():
    assert message_of({7: 1} | file_with("blocks", 1)) == "space.yaml: 7: keys should be strings, got 7"


VALID = "description: x\nblock: {filters: 8}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be a mapping of keys to values, got NoneType"),
        ("# only a comment\n", "must be a mapping of keys to values, got NoneType"),
        ("- block\n", "must be a mapping of keys to values, got list"),
        ("quick\n", "must be a mapping of keys to values, got str"),
        (
            VALID + "dense: {units: [8\n",
            "line 4: not valid YAML: expected ',' or ']', but got '<stream end>'",
        ),
        (
            VALID + "dense:\n\tunits: 8\n",
            "line 4: not valid YAML: found character '\\t' that cannot start any token",
        ),
        (VALID + "dense: {units: *a}\n", "line 3: not valid YAML: found undefined alias 'a'"),
        (VALID + "---\n" + VALID, "line 3: not valid YAML: but found another document"),
        (VALID + "dense: {[1]: 2}\n", "line 3: not valid YAML: found unhashable key"),
        (VALID + "block: {filters: 16}\n", "line 3: not valid YAML: key 'block' stands twice"),
        (
            "description: x\nblock:\n  filters: 8\n  strides: 1\n  filters: 16\n",
            "line 5: not valid YAML: key 'filters' stands twice",
        ),
        (
            VALID + "dense: {units: !!python/name:os.system }\n",
            "line 3: not valid YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("description: 2024-13-45\n", "not valid YAML: month must be in 1..12"),
        (
            "description: \0\n",
            "not valid YAML: unacceptable character #x0000: special characters are not allowed in "
            '"<unicode string>", position 13',
        ),
    ],
)
def test_text_that_is_no_yaml_mapping_is_told_in_one_line(text, problem):
    assert message_of_text(text) == f"space.yaml: {problem}"


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "1.e-3", "0.1e-2", "1.0e-3", "0.001", "+1e-03"])
def test_a_number_may_be_written_with_an_exponent(written):
    [rate] = [
        p
        for p in from_text(f"{VALID}training: {{learning_rate: {written}}}", "s").parameters
        if p.name == "learning_rate"
    ]
    assert rate.values == (0.001,) and type(rate.values[0]) is float


@pytest.mark.parametrize(
    ("key", "raw", "values"),
    [
        ("blocks", 3, (3,)),
        ("block.filters", [32, 8], (32, 8)),
        ("block.padding", "valid", ("valid",)),
        ("block.padding", ["valid", "same"], ("valid", "same")),
        ("block.filters", {"min": 2, "max": 5}, (2, 3, 4, 5)),
        ("block.filters", {"min": 2, "max": 7, "step": 3}, (2, 5)),
        ("block.filters", {"min": 4, "max": 4}, (4,)),
        ("block.filters", {"min": 16, "max": 128, "sampling": "log"}, (16, 32, 64, 128)),
        ("block.filters", {"min": 3, "max": 250, "step": 3, "sampling": "log"}, (3, 9, 27, 81, 243)),
        ("block.filters", {"min": 10, "max": 30, "sampling": "log"}, (10, 20)),
        ("dense.layers", {"min": 0, "max": 2, "sampling": "linear"}, (0, 1, 2)),
        ("block.dropout", 0, (0.0,)),
        ("block.dropout", {"min": 0, "max": 0.5, "step": 0.1}, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        ("block.dropout", {"min": 0, "max": 0.4, "step": 0.15}, (0.0, 0.15, 0.3)),
        ("block.dropout", {"min": 0.25, "max": 0.25}, (0.25,)),
        ("block.dropout", {"min": 0, "max": 1e-12, "step": 5e-13}, (0.0, 5e-13, 1e-12)),
        (
            "training.learning_rate",
            {"min": 1e-4, "max": 0.1, "step": 10, "sampling": "log"},
            (0.0001, 0.001, 0.01, 0.1),
        ),
    ],
)
def test_a_hyperparameter_becomes_its_values_in_order(key, raw, values):
    found = read(key, raw)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize("first", [1, 7])
def test_a_range_may_have_a_thousand_values(first):
    found = read("dense.units", {"min": first, "max": first + 999})
    assert found == tuple(range(first, first + 1000))


@pytest.mark.parametrize(("sampling", "is_log"), [("linear", False), ("log", True)])
def test_a_range_of_fractions_without_a_step_stays_continuous(sampling, is_log):
    found = read("training.learning_rate", {"min": 0.001, "max": 0.1, "sampling": sampling})
    assert found == Range(min=0.001, max=0.1, is_log=is_log)


def test_the_defaults_of_a_short_file():
    file = parse({"description": "x", "block": {"filters": 8}}, "space.yaml")
    assert file.model_dump(exclude={"description"}) == {
        "blocks": (2,),
        "block": {
            "convolutions": (1,),
            "filters": (8,),
            "kernel_size": (3,),
            "strides": (1,),
            "padding": ("same",),
            "pool_size": (2,),
            "pool_strides": None,
            "dropout": (0.0,),
        },
        "dense": {"layers": (1,), "units": (64,), "dropout": (0.0,)},
        "training": {
            "optimizer": ("adam",),
            "learning_rate": (0.002,),
            "schedule": ("one_cycle",),
            "warmup": (0.0,),
            "weight_decay": (0.01,),
            "label_smoothing": (0.1,),
            "class_weights": None,
            "batch_size": (32,),
        },
        "augmentation": {"flip": ("none",), "shift": (0.0,), "rotate": (0.0,), "zoom": (0.0,), "erase": (0.0,)},
        "limits": {"max_params": None, "max_macs": None, "max_activation_bytes": None},
        "search": {"oracle": "asha", "sampler": None, "budget": None, "max_trials": None, "epochs": 10},
        "start": (),
    }


def started(**start):
    return parse({"description": "x", "block": {"filters": 8}, "start": [start]}, "x.yaml").start[0]


def test_a_start_names_values_for_all_blocks_or_one_each_and_the_last_holds_for_further_ones():
    start = started(
        blocks=2,
        block={"filters": [16, 32], "padding": "valid"},
        dense={"layers": 2, "units": [64, 32], "dropout": 0.5},
        training={"learning_rate": 0.01},
        augmentation={"flip": "both"},
    )
    expected = {
        "blocks": 2,
        "block_1.filters": 16,
        "block_2.filters": 32,
        "block_3.filters": 32,
        "block_2.padding": "valid",
        "block_1.dropout": None,
        "dense_layers": 2,
        "dense_2.units": 32,
        "dense_1.dropout": 0.5,
        "learning_rate": 0.01,
        "batch_size": None,
        "flip": "both",
    }
    assert {name: start.wanted(name) for name in expected} == expected
    assert started().wanted("blocks") is None


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"blocks": 0}, "x.yaml: start.0.blocks: input should be greater than or equal to 1, got 0"),
        ({"filters": 3}, "x.yaml: start.0.filters: unknown key; choices: blocks, block, dense, training, augmentation"),
        ({"block": {"units": 3}}, f"x.yaml: start.0.block: unknown key 'units'; choices: {BLOCK}"),
        ({"block": 3}, "x.yaml: start.0.block: must be a mapping of keys to values, got 3"),
        ({"block": {"filters": 0}}, "x.yaml: start.0.block: filters: must be a whole number from 1 to 4096, got 0"),
        (
            {"block": {"padding": ["same", "sane"]}},
            "x.yaml: start.0.block: padding: must be one of same, valid, or a list of them, got 'sane'",
        ),
        (
            {"block": {"dropout": {"min": 0, "max": 1}}},
            "x.yaml: start.0.block: dropout: must be one value, or a list of one a block or layer, got "
            "{'min': 0, 'max': 1}",
        ),
        ({"training": {"batch_size": [1, 2]}}, "x.yaml: start.0.training: batch_size: must be one value, got [1, 2]"),
    ],
)
def test_a_start_that_breaks_a_rule_is_told(start, message):
    with pytest.raises(SpaceError) as caught:
        started(**start)
    assert str(caught.value) == message


def test_a_misspelt_key_is_told_before_the_one_that_it_leaves_missing():
    with pytest.raises(SpaceError, match=r"^x.yaml: block.filtres: unknown key \(did you mean filters\?\); choices: "):
        parse({"description": "x", "block": {"filtres": 8}}, "x.yaml")
