"""The substrate, shown."""

from __future__ import annotations

from kvmabi.probing.report import Json
from kvmabi.probing.show.model import Block, Cell, Fact, Flow, Pairs, thousands, yes_no


def blocks(data: Json) -> list[Block]:
    """What to show of the section's data."""
    kernel, cpu, back_end = data["kernel"], data["cpu"], data["back_end"]
    rows = [
        ("kernel", Cell(f"{kernel['release']} {kernel['machine']}", "strong")),
        ("build", Cell(kernel["build"] or kernel["version"])),
        ("device", _device(data["device"])),
        ("back end", _back_end(back_end)),
        ("CPU", Cell(_cpu(cpu))),
        ("CPU itself offers", Cell(cpu["virtualisation"] or "neither vmx nor svm")),
        ("inside", _inside(data["hypervisor"])),
        ("nesting", _nesting(data["nested"])),
    ]
    if kernel["cmdline_kvm"]:
        rows.append(("boot parameters", Cell(" ".join(kernel["cmdline_kvm"]))))
    found: list[Block] = [Pairs(tuple(rows))]
    flags = tuple(f"{name} ({what})" for name, what in cpu["flags"].items())
    found.append(Flow("CPU flags that matter", flags))
    for name, module in data["modules"].items():
        parameters = tuple(f"{key}={value}" for key, value in module["parameters"].items())
        state = "module" if module["loadable"] else "built in"
        found.append(Flow(f"Parameters of {name} ({state})", parameters))
    return found


def _device(device: Json) -> Cell:
    if not device["present"]:
        return Cell(f"{device['path']}: {device['error']}", "bad")
    access = f"{device['path']} {device['mode']} {device['owner']}:{device['group']}"
    access += ", with an ACL" if device["acl"] else ""
    if "api_version" in device:
        size = thousands(device["mmap_size_bytes"])
        return Cell(f"{access}; API {device['api_version']}, kvm_run mapping {size} bytes")
    return Cell(f"{access}; {device.get('error', 'not asked')}", "bad")


def _back_end(back_end: Json) -> Cell:
    if not back_end["module"]:
        return Cell("none", "bad")
    text = f"{back_end['module']} ({back_end['virtualisation']})"
    return Cell(f"{text}, {back_end['mode']}" if back_end["mode"] else text)


def _cpu(cpu: Json) -> str:
    numbers = [cpu["family"], cpu["number"], cpu["stepping"]]
    place = f" (family/model/stepping {'/'.join(numbers)})" if all(numbers) else ""
    return f"{cpu['model'] or cpu['vendor']}{place}, {cpu['usable']} of {cpu['online']} CPUs usable"


def _inside(hypervisor: Json) -> Cell:
    parts = [f"a VM ({hypervisor['name']})"] if hypervisor["inside"] else []
    parts += [f"a container ({hypervisor['container']})"] if hypervisor["container"] else []
    return Cell(" and ".join(parts) or "bare metal", "warn" if parts else "")


def _nesting(nested: Json) -> Cell:
    if nested["enabled"] is None:
        return Cell("the back end has no switch for it", "dim")
    text = ", ".join(
        f"{name} nested={'Y' if value else 'N'}" for name, value in nested["parameters"].items()
    )
    return Cell(text, yes_no(nested["enabled"]).style)


def facts(data: Json) -> dict[str, Fact]:
    """What to compare: all of it may differ without loss, but for nesting."""
    found = {
        "back end": Fact("value", "back end", data["back_end"]["module"]),
        "nesting": Fact("offer", "nesting", int(bool(data["nested"]["enabled"]))),
    }
    for module, body in data["modules"].items():
        for name, value in body["parameters"].items():
            label = f"parameter {module}.{name}"
            found[label] = Fact("value", label, value)
    return found
