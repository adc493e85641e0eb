"""Results have the promised shape, compare with a baseline, and become a page that stands alone."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.case import Case
from bench.cost import Cost
from bench.machine import describe
from bench.report import page
from bench.results import ResultsError, baseline_path, case_results, compare, load, save, skipped
from bench.runner import Measured
from bench.table import lines_of

NOTHING = Cost(
    cpu_s=0, children_cpu_s=0, servers_cpu_s=0, voluntary_switches=0, involuntary_switches=0
)


def measured(*samples_s: float) -> Measured:
    return Measured(
        first_s=1.0,
        samples_s=list(samples_s),
        elapsed_s=list(samples_s),
        costs=[NOTHING] * len(samples_s),
    )


def case(**fields: object) -> Case:
    return Case(**{"name": "c", "what": "what it does", "ours": lambda: None, **fields})


OURS, PEER = measured(1e-6, 2e-6, 3e-6, 2e-6, 2e-6), measured(4e-6, 6e-6, 5e-6, 6e-6, 6e-6)


def results(**fields: object) -> dict:
    one = case_results(case(**fields), {"ours": OURS, "peer": PEER}, seed=1)
    return {"machine": describe(), "cases": {"c": one}}


def test_a_case_has_the_promised_fields() -> None:
    result = results(target=2.0)["cases"]["c"]
    assert (result["unit"], result["samples"]) == ("us", 5)
    assert (result["ours"], result["peer"], result["ratio"]) == (2.0, 6.0, 3.0)
    assert result["ci95"][0] <= 3.0 <= result["ci95"][1]
    assert result["verdict"] in {"pass", "none"}
    assert result["raw"]["ours"] == [1.0, 2.0, 3.0, 2.0, 2.0]
    assert result["first"] == {"ours": 1e6, "peer": 1e6}
    assert json.loads(json.dumps(result)) == result


def test_a_rate_is_better_when_it_is_higher() -> None:
    result = results(unit="op/s")["cases"]["c"]
    assert result["ours"] == 500_000
    assert result["ratio"] == pytest.approx(3.0, rel=1e-4)


def test_a_case_without_peer_has_no_ratio() -> None:
    result = case_results(case(), {"ours": OURS}, seed=1)
    assert not {"peer", "ratio", "ci95", "verdict"} & set(result)


def test_the_machine_tells_neither_its_name_nor_paths() -> None:
    text = json.dumps(describe())
    assert {"cpu", "cores", "memory_bytes", "kernel", "python", "packages", "load_average"} <= set(
        describe()
    )
    assert str(Path.home()) not in text
    assert Path("/proc/sys/kernel/hostname").read_text().strip() not in text


def test_a_baseline_shows_what_became_better_and_what_the_data_leave_open() -> None:
    before, now = results(), results()
    before["cases"]["c"]["raw"]["ours"] = [20.0, 21.0, 22.0, 20.0, 21.0]
    compare(now, before, "old", seed=1)
    assert now["cases"]["c"]["baseline"]["change"] == "better"
    same = results()
    compare(same, results(), "old", seed=1)
    assert same["cases"]["c"]["baseline"]["change"] == "no difference shown"


def test_a_baseline_that_lacks_a_case_says_nothing_about_it() -> None:
    now = results()
    compare(now, {"machine": {}, "cases": {"c": skipped("us", "no tool")}}, "old", seed=1)
    assert "baseline" not in now["cases"]["c"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 65])
def test_a_baseline_is_named_like_a_file(name: str) -> None:
    with pytest.raises(ResultsError, match="is no name of a baseline"):
        baseline_path(name)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no results"),
        ('{"machine": {}}', "holds no results"),
        ('{"machine": {}, "cases": {"a": {}}}', "expected unit and samples in every case"),
    ],
)
def test_a_file_that_holds_no_results_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=reason):
        load(path)


class Tags(HTMLParser):
    """Collects the tags and attributes of a page and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_stands_alone_and_is_well_formed() -> None:
    html = page([("a", results(target=3.0)), ("b", results())])
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    names = {name for name, _ in tags.seen}
    assert "svg" in names
    assert not names & {"script", "link", "img", "iframe"}
    assert not [value for _, attrs in tags.seen for key, value in attrs.items() if key == "src"]
    assert "url(" not in html
    assert set(re.findall(r"https?://[^\"\s]+", html)) == {"http://www.w3.org/2000/svg"}


def test_the_report_escapes_what_a_stranger_wrote() -> None:
    evil = "<script>alert(1)</script>"
    found = results()
    found["machine"] = {"cpu": evil, "packages": {evil: evil}}
    found["cases"] = {evil: found["cases"]["c"] | {"what": evil, "unit": evil, "peer_name": evil}}
    assert "<script" not in page([(evil, found)])


def test_a_skipped_case_is_shown_with_its_reason() -> None:
    found = {"machine": {}, "cases": {"c": skipped("us", "no tool here")}}
    assert "no tool here" in page([("a", found)])
    assert lines_of(found["cases"])[-1] == "c: no tool here"


def test_an_unknown_bench_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nope"]) == 2
    said = capsys.readouterr().err
    assert "unknown name 'nope'" in said
    assert "kernel: codec_report, component_read, subjects" in said


def test_an_unknown_baseline_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["subjects", "--quick", "--baseline", "never-saved"]) == 2
    assert "never-saved.json: No such file or directory" in capsys.readouterr().err


def test_a_run_writes_results_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, html = tmp_path / "r.json", tmp_path / "r.html"
    assert main(["subjects", "--quick", "--json", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("subjects")
    written = load(path)
    assert set(written) == {"machine", "cases"}
    assert written["cases"]["subjects"]["samples"] >= 5
    save(written, path)
    assert main(["report", str(path), "-o", str(html)]) == 0
    assert html.read_text().startswith("<!doctype html>")
