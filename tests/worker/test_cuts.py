"""A listener that is cut off amid bursts misses nothing."""

from reactorcide.benchmarks.cuts import cut_often


async def test_a_listener_cut_off_often_misses_nothing(database_uri: str) -> None:
    """Neither those who ring nor those who wait; what was rung in between is seen soon."""
    figures = await cut_often(database_uri, 20)
    assert figures["connections_cut"] >= 20
    assert (figures["jobs"], figures["missed"]) == (100, 0)
    assert figures["p99_ms"] < 3000  # a machine of tests; the full measure says 1000
