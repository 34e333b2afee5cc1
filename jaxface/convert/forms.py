"""The forms in which people keep a checkpoint, brought into the one that its family reads.

A network alone instead of the dictionary around it, keys behind the prefix of a wrapper, a state
dictionary under another name. Whatever is done is said in the report.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxface.convert.families import nvidia_states
from jaxface.convert.formats.checkpoint import PersistentObject
from jaxface.convert.formats.pickle_machine import Foreign
from jaxface.convert.formats.tensors import ArrayRecord
from jaxface.convert.formats.words import one_line

# What wrappers put before every key: DataParallel, torch.compile, DeepSpeed, Lightning's averages.
WRAPPERS = ("module.", "_orig_mod.", "_forward_module.", "ema_model.")
# Names under which trainers keep the one state dictionary of a file.
HOLDERS = ("state_dict", "model", "model_state_dict", "params_ema", "params", "net", "network")
# Keys that only rosinality's networks have.
ROSINALITY_G, ROSINALITY_D = (
    ("input.input", "to_rgb1.bias"),
    ("final_conv.0.weight", "convs.0.0.weight"),
)
_MOST = 1_000_000  # objects that are looked at
_MOST_PLACES, _DEEPEST = 64, 3  # where networks are looked for


def forms(root: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The root object in each form that a family may know, the plainest first, with notes."""
    root, notes = _unwrapped(root)
    yield root, notes
    for inner, said in _inner(root):
        inner, more = _unwrapped(inner)
        yield from _whole(inner, (*notes, *said, *more))
    if isinstance(root, dict) and (prefix := _common_prefix(root)):
        stripped, more = _unwrapped({str(k)[len(prefix) :]: v for k, v in root.items()})
        said = f"the prefix {one_line(prefix)} of every key was taken off"
        yield stripped, (*notes, said, *more)
        yield from _whole(stripped, (*notes, said, *more))
    yield from _deeper(root, notes)


def foreign_classes(root: Any) -> list[str]:
    """Classes of other packages whose instances stay unread in the file, by name."""
    names, seen, waiting = set(), set(), [root]
    while waiting and len(seen) < _MOST:
        value = waiting.pop()
        if id(value) in seen:
            continue
        if isinstance(value, Foreign):
            seen.add(id(value))
            names.add(one_line(value.path))
            waiting += [value.args, value.state]
        elif isinstance(value, PersistentObject):
            seen.add(id(value))
            waiting.append(value.state)
        elif isinstance(value, dict | list | tuple):
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
    return sorted(names)


def _inner(root: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """What stands for the whole file: itself, or the one state dictionary in it."""
    yield root, ()
    if isinstance(root, dict):
        for name in HOLDERS:
            if isinstance(root.get(name), dict | Foreign | PersistentObject):
                yield root[name], (f"read what the file holds as {name}",)


def _whole(root: Any, notes: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """A network alone, and the dictionary that its family puts around it."""
    if isinstance(root, Foreign) and isinstance(root.state, dict) and "_modules" in root.state:
        root, notes = module_state(root), (*notes, f"a module of {one_line(root.path)} alone")
    yield root, notes
    if isinstance(root, PersistentObject):
        name = "D" if root.class_name == "Discriminator" else "G_ema"
        yield {name: root}, (*notes, "a network alone, without the dictionary around it")
    elif isinstance(root, dict):
        said = (*notes, "a state dictionary alone")
        if all(key in root for key in ROSINALITY_G):
            yield {"g_ema": root}, said
        elif all(key in root for key in ROSINALITY_D):
            yield {"d": root}, said
        elif nvidia_states.is_generator(root):
            yield {"G_ema": nvidia_states.generator(root)}, (*said, nvidia_states.NOTE)


def module_state(module: Foreign) -> dict[str, Any]:
    """The state dictionary of a pickled PyTorch module, whose class was never looked at."""
    arrays: dict[str, Any] = {}
    waiting, seen = [("", module)], set()
    while waiting:
        prefix, part = waiting.pop()
        if id(part) in seen or not isinstance(part.state, dict):
            continue
        seen.add(id(part))
        for kind in ("_parameters", "_buffers"):
            held = part.state.get(kind)
            for name, value in held.items() if isinstance(held, dict) else ():
                if isinstance(value, ArrayRecord):
                    arrays[f"{prefix}{name}"] = value
        children = part.state.get("_modules")
        for name, child in children.items() if isinstance(children, dict) else ():
            if isinstance(child, Foreign):
                waiting.append((f"{prefix}{name}.", child))
    return arrays


def _deeper(root: Any, notes: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Networks that lie somewhere in a file, as trainers of all kinds keep them.

    Under names of their own, in lists, or with the keys of several networks in one dictionary. Of
    several generators an average comes first.
    """
    generators, discriminators = _networks(root)
    named = sorted(generators, key=lambda place: "ema" not in place.lower())
    if not named:
        return
    place, others = named[0], [one_line(each) for each in named[1:4]]
    said = [*notes, f"read the generator that lies in {one_line(place)}"]
    said += [f"passed over the generators in {', '.join(others)}"] if others else []
    generator = generators[place]
    if isinstance(generator, PersistentObject):
        yield {"G_ema": generator}, tuple(said)
    elif nvidia_states.is_generator(generator):
        yield {"G_ema": nvidia_states.generator(generator)}, (*said, nvidia_states.NOTE)
    else:
        mean = root.get("latent_avg") if isinstance(root, dict) else None
        whole = {"g_ema": generator} | ({} if mean is None else {"latent_avg": mean})
        if discriminators:
            whole["d"] = next(iter(discriminators.values()))
        yield whole, tuple(said)


def _networks(root: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Generators and discriminators by their places in a file, a few levels down."""
    generators: dict[str, Any] = {}
    discriminators: dict[str, Any] = {}
    waiting, looked = [("", root)], 0
    while waiting and looked < _MOST_PLACES:
        place, value = waiting.pop(0)
        looked += 1
        if isinstance(value, PersistentObject):
            if value.class_name == "Generator":
                generators[place] = value
            continue
        if isinstance(value, Foreign):
            value = module_state(value)
        elif isinstance(value, list | tuple):
            value = {f"{number}": each for number, each in enumerate(value[:_MOST_PLACES])}
        if not isinstance(value, dict):
            continue
        for marks, into in (
            (ROSINALITY_G, generators),
            (nvidia_states.MARKS, generators),
            (ROSINALITY_D, discriminators),
        ):
            for prefix in _prefixes(value, marks):
                part = {k[len(prefix) :]: v for k, v in value.items() if _begins(k, prefix)}
                into[".".join(filter(None, (place, prefix.rstrip("."))))] = part
        if place.count(".") < _DEEPEST:
            waiting += [
                (f"{place}.{name}" if place else f"{name}", each)
                for name, each in value.items()
                if isinstance(each, dict | list | tuple | Foreign | PersistentObject)
            ]
    return generators, discriminators


def _prefixes(state: Mapping[Any, Any], marks: tuple[str, ...]) -> list[str]:
    """What stands before all of these keys in a dictionary."""
    first = marks[0]
    ends = [key for key in state if isinstance(key, str) and key.endswith(first)]
    found = [key[: -len(first)] for key in ends[:_MOST_PLACES]]
    return [
        prefix
        for prefix in found
        if (not prefix or prefix.endswith("."))
        and all(isinstance(state.get(prefix + mark), ArrayRecord) for mark in marks)
    ]


def _begins(key: Any, prefix: str) -> bool:
    return isinstance(key, str) and key.startswith(prefix)


def _unwrapped(root: Any) -> tuple[Any, tuple[str, ...]]:
    """Without the wrappers' prefixes, in the root and in the dictionaries that it holds."""
    if not isinstance(root, dict):
        return root, ()
    root, notes = _without_wrappers(root, "")
    for name, value in root.items():
        if isinstance(value, dict):
            stripped, said = _without_wrappers(value, f" in {one_line(name)}")
            if said:
                root, notes = {**root, name: stripped}, (*notes, *said)
    return root, notes


def _without_wrappers(state: dict[Any, Any], where: str) -> tuple[dict[Any, Any], tuple[str, ...]]:
    notes: list[str] = []
    while state:
        shared = [p for p in WRAPPERS if all(isinstance(k, str) and k.startswith(p) for k in state)]
        if not shared:
            break
        state = {key[len(shared[0]) :]: value for key, value in state.items()}
        notes.append(f"the prefix {shared[0]} of every key{where} was taken off")
    return state, tuple(notes)


def _common_prefix(state: Mapping[Any, Any]) -> str:
    """What all keys share up to a dot; "" where there is nothing, or one key alone."""
    keys = [key for key in state if isinstance(key, str)]
    if len(keys) < 2 or len(keys) != len(state):
        return ""
    first, last = min(keys), max(keys)
    count = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    return first[: first.rfind(".", 0, count) + 1]
