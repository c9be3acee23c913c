"""Which test of the contract is asked of which backend."""

from backends import Backend


def pytest_collection_modifyitems(config, items):
    """A test that is marked `apart` or `beside` is asked of those backends only whose calls run so."""
    left_out = [item for item in items if not is_meant_for(item, getattr(item, "callspec", None))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def is_meant_for(item, callspec):
    backend = callspec.params.get("backend") if callspec else None
    return not isinstance(backend, Backend) or all(
        getattr(backend, kind) or item.get_closest_marker(kind) is None for kind in ("apart", "beside")
    )
