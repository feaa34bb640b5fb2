"""The README's table counts wins and losses the right way round."""

from __future__ import annotations

import pytest

from bench.comparison import BEGIN, END, groups, kept, markdown, with_section


def case(name: str, metric: str, ratio: float | None, **more: object) -> dict[str, object]:
    peer = "Peer" if ratio is not None else None
    return {"case": name, "metric": metric, "ratio": ratio, "peer_name": peer, **more}


RESULTS = [
    {
        "bench": "melange",
        "machine": {"cores": 2, "processor": "x"},
        "cases": [
            case("a", "mean_jct_h", 0.5, gap=0.1, violations=0),
            case("b", "mean_jct_h", 1.2, violations=1),
            case("c", "mean_jct_h", 1.001),
            case("d", "mean_jct_h", None),
        ],
    },
    {
        "bench": "helix",
        "machine": {},
        "cases": [case("e", "flow_tokens_per_s", 1.5), case("f", "flow_tokens_per_s", 0.9)],
    },
    {"bench": "fgd", "machine": {}, "cases": [case("g", "allocation_percent", 0.97)]},
    {
        "bench": "gavel",
        "machine": {},
        "cases": [case("fifo", "mean_jct_h", 1.1), case("optimizer", "mean_jct_h", 0.7)],
    },
    {"bench": "round", "machine": {}, "cases": [case("h", "utility", 9.0)]},
]


def test_groups_know_which_way_is_better() -> None:
    by_bench = {g.bench: g for g in groups(RESULTS)}
    assert by_bench["melange"].lost == ["b"]
    assert by_bench["melange"].gaps == (0.1,)
    assert by_bench["melange"].violations == 1
    assert by_bench["helix"].lost == ["f"]
    again, ours = (g for g in groups(RESULTS) if g.bench == "gavel")
    assert (again.aim, ours.aim) == ("same", "less")
    assert (by_bench["round"].aim, by_bench["round"].what) == ("more", "times faster")
    assert (by_bench["fgd"].aim, by_bench["fgd"].lost) == ("same", [])
    assert by_bench["fgd"].loss(0.97) == pytest.approx(0.03)


def test_the_section_names_every_lost_case_and_replaces_the_old_one() -> None:
    lines = list(markdown([kept(r) for r in RESULTS], "results.json"))
    text = "\n".join(lines)
    assert (
        "| melange | `mean_jct_h` | Peer | 3 | 1.001 | 0.500 | 1.200 | less | 1 | 10.0 % |" in text
    )
    assert "- `melange`, `mean_jct_h` against Peer: b." in text
    assert "- `helix`, `flow_tokens_per_s` against Peer: f." in text
    assert "- `helix`: both know the whole instance" in text
    readme = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = with_section(readme, lines)
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert "old" not in new
    assert with_section(new, lines) == new
    with pytest.raises(ValueError, match="one line"):
        with_section("no marks", lines)
