"""The benchmark's arithmetic and its table: a wrong ratio there would be a wrong claim in the docs."""

import pytest


def measured(**medians):
    return {name: {"seconds": [value, value / 2, value * 2]} for name, value in medians.items()}


@pytest.fixture
def results():
    return {
        "date": "2026-01-02",
        "machine": {"kernel": "6.1", "cpus": 2, "cpu": "x", "memory": 4, "cgroup": "v2"},
        "versions": {"reconciler": "reconciler 1", "slow": "slow 2", "quick": "quick 3"},
        "rounds": {"pair": 3},
        "titles": {"reconciler": "us", "slow": "slow", "quick": "quick"},
        "stacks": {"pair": "pair", "crowd": "10 independent"},
        "sizes": {"crowd": 10},
        "measured": {
            "pair/up": measured(reconciler=0.25, slow=2.0, quick=1.0),
            "pair/change": measured(reconciler=0.5, slow=2.0, quick=1.0),
            "pair/unchanged": measured(reconciler=0.07),
        },
        "memory": {"crowd": {"reconciler": {"conmon": 10 << 20}, "slow": {"daemon": 60 << 20, "shim": 40 << 20}}},
    }


def rows(text):
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells}


def test_table_compares_medians_with_the_best_peer(report, results):
    table = rows(report.markdown(results))
    assert table["pair: first up"] == [
        "0.250 (0.125 to 0.500)",
        "2.00 (1.00 to 4.00)",
        "1.00 (0.500 to 2.00)",
        "4.0x",
        "3x: reached",
    ]
    assert table["pair: one change"][3:] == ["2.0x", "3x: **missed**"]


def test_without_a_peer_only_the_time_counts(report, results):
    assert rows(report.markdown(results))["pair: no-op"][1:] == ["-", "-", "", "2x, < 80 ms: reached"]
    results["measured"]["pair/unchanged"] = measured(reconciler=0.09)
    assert rows(report.markdown(results))["pair: no-op"][4] == "2x, < 80 ms: **missed**"


def test_memory_counts_every_process_and_divides_by_containers(report, results):
    table = rows(report.markdown(results))
    assert table["10 independent: altogether"] == ["10 MiB", "100 MiB", "-"]
    assert table["10 independent: a container"] == ["1,024 KiB", "10,240 KiB", "-"]


def test_figures_replace_only_what_is_between_the_marks(report):
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.put_between_marks(text, "new")
    assert once == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.put_between_marks(once, "new") == once
    with pytest.raises(ValueError, match="must be in the document"):
        report.put_between_marks("no marks", "new")
