"""Results as one HTML page that stands alone: style and diagrams inside, no scripts.

Everything from a file of results is escaped: such files come from other people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.charts import RatioRow, SampleRow, ratios, samples
from bench.results import CPU
from bench.table import figure, reading, seconds, span

Found = Sequence[tuple[str, Mapping[str, Any]]]
"""Name of each file (without folder and ending) and what it holds."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #d5dae3; --back: #fff;
  --card: #f6f7f9; --ours: #2563eb; --peer: #d97706; --better: #15803d; --worse: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #333b4a;
  --back: #12161d; --card: #1a202a; --ours: #7aa7ff; --peer: #f0a64a; --better: #4ec47f;
  --worse: #f07f7f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
  max-width: 860px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
section { background: var(--card); border-radius: 10px; padding: .8rem 1.1rem; margin: 1rem 0; }
section h3 { margin: .2rem 0; } p { margin: .3rem 0; } .soft { color: var(--soft); }
svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line);
  font-size: 13px; vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
text { fill: var(--ink); font-size: 12px; } .label, .unit { text-anchor: end; }
.tick { text-anchor: middle; } .tick, .unit { fill: var(--soft); font-size: 11px; }
line { stroke: var(--line); } .even { stroke: var(--ink); stroke-dasharray: 4 3; }
.interval { stroke-width: 3; stroke-linecap: round; } .middle { stroke-width: 2.5; }
line.ours { stroke: var(--ours); } line.peer { stroke: var(--peer); }
line.better { stroke: var(--better); } line.worse { stroke: var(--worse); }
line.open { stroke: var(--soft); } line.target { stroke: var(--peer); stroke-width: 2; }
circle.ours { fill: var(--ours); fill-opacity: .55; }
circle.peer { fill: var(--peer); fill-opacity: .55; }
circle.better { fill: var(--better); } circle.worse { fill: var(--worse); }
circle.open { fill: var(--soft); }
.pass { color: var(--better); } .fail { color: var(--worse); }
"""

_INTRODUCTION = (
    "Each dot is a ratio of medians, peer to ours for times and ours to peer for rates: right of "
    "the dashed line ours is better. Bars are 95 % bootstrap intervals over paired samples; where "
    "a bar crosses the line or a target, the data decide nothing."
)


def page(found: Found) -> str:
    """Return the page that shows the results of one or several files."""
    names = sorted({name for _, results in found for name in results["cases"]})
    body = [
        "<h1>Bench results</h1>",
        _overview(found, names),
        "<h2>Cases</h2>",
        *(_case(name, found) for name in names),
        "<h2>Machines</h2>",
        *(_machine(source, results["machine"]) for source, results in found),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Bench results</title><style>{_STYLE}</style></head>\n"
        f"<body>{chr(10).join(body)}</body></html>\n"
    )


def _overview(found: Found, names: Sequence[str]) -> str:
    rows = [
        RatioRow(
            label=_titled(label, source, found),
            ratio=case["ratio"],
            low=case["ci95"][0],
            high=case["ci95"][1],
            target=case.get("target"),
        )
        for name in names
        for source, whole in _of(name, found)
        for label, case in (
            (name, whole),
            (f"{name}, cpu", whole.get("readings", {}).get(CPU, {})),
        )
        if case.get("ratio") and case.get("ci95")
    ]
    if not rows:
        return '<p class="soft">No case has a peer.</p>'
    return f'<p class="soft">{_INTRODUCTION}</p><section>{ratios(rows)}</section>'


def _case(name: str, found: Found) -> str:
    cases = _of(name, found)
    measured = [(source, case) for source, case in cases if case["samples"]]
    parts = [f"<h3>{escape(name)}</h3>"]
    parts += [
        f'<p class="soft">{escape(_titled(source, "", found))}: {escape(str(case[word]))}</p>'
        for source, case in cases
        for word in ("skipped", "failed")
        if word in case
    ]
    if measured:
        first = measured[0][1]
        peer = f" Peer: {first['peer_name']}." if first.get("peer_name") else ""
        parts.append(f'<p class="soft">{escape(_sentence(str(first.get("what", ""))) + peer)}</p>')
        rows = [
            SampleRow(
                label=_titled(side, source, found),
                side="peer" if side == "peer" else "ours",
                samples=values,
                middle=case[side],
            )
            for source, case in measured
            for side, values in case.get("raw", {}).items()
            if values
        ]
        parts.append(samples(rows, str(first["unit"])) if rows else "")
        parts.append(_figures(measured, found))
    return f"<section>{''.join(parts)}</section>"


def _figures(measured: Sequence[tuple[str, Mapping[str, Any]]], found: Found) -> str:
    head = ("", "median", "95 %", "first call", "cpu", "servers", "wait", "switches", "instr.")
    rows = []
    for source, case in measured:
        for side in ("ours", "peer"):
            if side not in case:
                continue
            cost = case.get("cost", {}).get(side, {})
            rows.append(
                (
                    _titled(side, source, found),
                    figure(case[side], case["unit"]),
                    span(case.get(f"{side}_ci95")),
                    figure(case.get("first", {}).get(side), case["unit"]),
                    _time(cost, "cpu_s", "children_cpu_s"),
                    _time(cost, "servers_cpu_s"),
                    _time(cost, "wait_s"),
                    figure(_sum(cost, "voluntary_switches", "involuntary_switches")),
                    figure(cost.get("instructions")),
                )
            )
    notes = [note for source, case in measured for note in _notes(source, case, found)]
    return _table(head, rows) + "".join(notes)


def _notes(source: str, case: Mapping[str, Any], found: Found) -> list[str]:
    where = f"{escape(source)}: " if len(found) > 1 else ""
    notes = []
    if "ratio" in case:
        verdict = str(case.get("verdict", ""))
        said = {
            "pass": "target met", "fail": "target missed",
            "none": "no verdict, the interval straddles the target",
        }.get(verdict)  # fmt: skip
        target = f", target {figure(case['target'])}: {said}" if said else ""
        notes.append(
            f'<p class="{escape(verdict)}">{where}ratio {figure(case["ratio"])} '
            f"({span(case.get('ci95'))}){target}</p>"
        )
    if "limit" in case:
        verdict = str(case.get("verdict", ""))
        notes.append(
            f'<p class="{escape(verdict)}">{where}limit {figure(case["limit"], case["unit"])}, '
            f"{escape(verdict)}</p>"
        )
    notes += [
        f'<p class="{escape(str(each.get("verdict", "")))}">{where}{escape(name)}: ours '
        f"{escape(reading(each))}</p>"
        for name, each in case.get("readings", {}).items()
    ]
    if figures := case.get("figures"):
        said = ", ".join(f"{name} {figure(value)}" for name, value in figures.items())
        notes.append(f"<p>{where}{escape(said)}</p>")
    if baseline := case.get("baseline"):
        notes.append(
            f"<p>{where}against baseline {escape(str(baseline['name']))}: "
            f"{figure(baseline['ratio'])} ({span(baseline['ci95'])}), "
            f"{escape(str(baseline['change']))}</p>"
        )
    return notes


def _machine(source: str, machine: Mapping[str, Any]) -> str:
    rows = [
        (name.replace("_", " "), _shown(name, value))
        for name, value in machine.items()
        if name != "packages"
    ]
    packages = machine.get("packages", {})
    rows.append(("packages", ", ".join(f"{name} {number}" for name, number in packages.items())))
    return f"<section><h3>{escape(source)}</h3>{_table(('', ''), rows)}</section>"


def _shown(name: str, value: object) -> str:
    if name == "memory_bytes" and isinstance(value, int):
        return f"{value / (1 << 30):.1f} GiB"
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value)
    return str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head) if any(head) else ""
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"


def _of(name: str, found: Found) -> list[tuple[str, Mapping[str, Any]]]:
    return [
        (source, results["cases"][name]) for source, results in found if name in results["cases"]
    ]


def _titled(name: str, source: str, found: Found) -> str:
    return f"{name} \u00b7 {source}" if len(found) > 1 and source else name


def _sum(cost: Mapping[str, float], *names: str) -> float | None:
    return sum(cost[name] for name in names) if set(names) <= set(cost) else None


def _time(cost: Mapping[str, float], *names: str) -> str:
    total = _sum(cost, *names)
    return "-" if not total else seconds(total)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
