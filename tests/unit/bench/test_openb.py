"""The experiment on GPU fragmentation, on a tiny made-up trace."""

from __future__ import annotations

import json

import pytest

from bench.__main__ import main
from bench.openb import MARKS, POLICIES, played, read, wanted_milli
from bench.results import ResultsError

NODES = """sn,cpu_milli,memory_mib,gpu,model
b,8000,16384,2,T4
a,16000,32768,4,A10
c,4000,8192,0,
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos
half,1000,1024,1,500,,LS
whole,2000,2048,1,1000,A10|T4,BE
pair,4000,4096,2,1000,,LS
cpu,500,512,0,0,,LS
nowhere,1,1,1,100,H100,LS
"""


@pytest.fixture
def files(tmp_path):
    nodes, pods = tmp_path / "nodes.csv", tmp_path / "openb_pod_list_tiny.csv"
    nodes.write_text(NODES)
    pods.write_text(PODS)
    return nodes, pods


def test_a_trace_is_read(files):
    trace = read(*files)
    assert trace.gpu_milli == 6000
    assert [len(devices) for devices in trace.devices] == [4, 2, 0]  # in the order of names
    assert trace.capacity[:, 1].tolist() == [8000, 16384 << 20, 10_000]
    assert [wanted_milli(pod) for pod in trace.pods] == [500, 1000, 2000, 0, 100]
    assert trace.pods[1].devices[0].require == 'model in ("A10", "T4")'


def test_columns_may_come_in_any_order_with_others_between(tmp_path, files):
    nodes, _ = files
    pods = tmp_path / "other.csv"
    pods.write_text("gpu_milli,x,num_gpu,memory_mib,cpu_milli,name\n250.0,?,1,1024,1000,a\n")
    assert [wanted_milli(pod) for pod in read(nodes, pods).pods] == [250]


@pytest.mark.parametrize("policy", POLICIES)
def test_no_more_is_allocated_than_arrived_or_is_there(files, policy):
    outcome = played(read(*files), policy, seed=1)
    assert set(outcome.allocated) == set(MARKS)
    assert 0 < outcome.allocated[100] <= outcome.allocated[130] <= 100
    assert 0 < outcome.dropped < outcome.arrived  # nothing offers the model that one pod wants


def test_the_same_seed_gives_the_same(files):
    trace = read(*files)
    again = [played(trace, "ours", seed=7).allocated for _ in range(2)]
    assert again[0] == again[1]


def test_the_command_writes_medians_and_every_seed(files, tmp_path, capsys):
    nodes, pods = files
    path = tmp_path / "out.json"
    words = ["openb", "--nodes", str(nodes), "--pods", str(pods), "--seeds", "3"]
    assert main([*words, "--json", str(path)]) == 0
    case = json.loads(path.read_text())["cases"]["openb_tiny"]
    assert case["samples"] == 3
    assert {"ours", "bestfit", "random"} <= set(case)
    assert len(case["raw"]["ours"]["100"]) == 3
    assert "openb_tiny" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("nodes", "pods", "message"),
    [
        (NODES.replace("gpu,", "gpus,"), PODS, "nodes.csv has no column gpu, found sn,"),
        (NODES, PODS.replace("500,,LS", "half,,LS"), "line 2: gpu_milli is 'half'"),
        (NODES, PODS.replace("1,500", "1,1500"), "line 2: gpu_milli is 1500"),
        (NODES, PODS.replace("1000,1024,", "-1,1024,"), "line 2: cpu_milli is '-1'"),
        (NODES, PODS[: PODS.index("half")], "no pod that asks for a GPU"),
        (NODES[: NODES.index("b,8000")], PODS, "no node with a GPU"),
        ("", PODS, "found no head"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_with_its_place(tmp_path, nodes, pods, message):
    paths = (tmp_path / "nodes.csv", tmp_path / "pods.csv")
    for path, text in zip(paths, (nodes, pods), strict=True):
        path.write_text(text)
    with pytest.raises(ResultsError, match=message):
        read(*paths)


def test_a_missing_file_is_named(tmp_path, files, capsys):
    nodes, _ = files
    words = ["openb", "--nodes", str(nodes), "--pods", str(tmp_path / "none.csv")]
    assert main([*words, "--json", str(tmp_path / "out.json")]) == 2
    assert "none.csv" in capsys.readouterr().err
