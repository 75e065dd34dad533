from __future__ import annotations

from slvr_data.requests.metrics import Load, parse_load

TWO_ENGINES = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="org/model {x}"} 12.0
vllm:num_requests_running{engine="1",model_name="org/model {x}"} 10.0
vllm:num_requests_waiting{engine="0",model_name="org/model {x}"} 3.0
vllm:num_requests_waiting{engine="1",model_name="org/model {x}"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 3.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1e+03
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.7e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 400.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} 99.0
process_open_fds 62.0
"""


def test_engines_are_summed_and_like_names_are_told_apart() -> None:
    assert parse_load(TWO_ENGINES) == Load(22, 3, cache=0.75, prefix_hits=400, prefix_queries=1000)


def test_older_names_and_samples_without_labels() -> None:
    text = """vllm:num_requests_running 1
vllm:num_requests_waiting 2
vllm:gpu_cache_usage_perc{model_name="m"} 0.5 1700000000000
vllm:gpu_prefix_cache_hits_total 7
vllm:gpu_prefix_cache_queries_total 9
"""
    assert parse_load(text) == Load(1, 2, cache=0.5, prefix_hits=7, prefix_queries=9)


def test_what_is_no_figure_is_no_load() -> None:
    assert parse_load("") is None
    assert parse_load("<html>Not Found</html>") is None
    assert parse_load("vllm:num_requests_running 3\n") is None
    assert parse_load("vllm:num_requests_running NaN\nvllm:num_requests_waiting 1\n") is None
    assert parse_load("vllm:num_requests_running x\nvllm:num_requests_waiting 1\n") is None
    assert parse_load("vllm:num_requests_running 3\nvllm:num_requests_waiting 1\n") == Load(3, 1)
