"""ONNX's own node tests: nothing that is imported may compute something else, and the page says what happens."""

from __future__ import annotations

from tests.lowering import conformance


def test_no_node_test_is_wrong_and_the_page_says_so() -> None:
    verdicts = conformance.run()
    assert [verdict for verdict in verdicts if verdict.outcome == conformance.WRONG] == []
    assert sum(verdict.outcome == conformance.PASSED for verdict in verdicts) >= 100
    written = conformance.PAGE.read_text("utf-8")
    # Another version of onnx has other tests; then only the verdicts above count.
    assert conformance.table(verdicts) in written or str(len(verdicts)) not in written
