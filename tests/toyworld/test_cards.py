import json

from llmga.toyworld import cards

REPORT = {
    "figures": {"describe.all": 0.95, "request.picture.shape": 0.99, "stage2.base.all": 0.4},
    "bars": {"describe.all": 0.92},
    "cases": {"pictures": 3},
    "seed": 0,
}


def test_a_card_shows_the_figures_of_its_own_claims():
    text = cards.card("llmga-toy-mllm", REPORT, {"vae": {"held_out_psnr_db": 42.0}})
    assert "| describe.all | 0.950 | 0.92 |" in text
    assert "request.picture.shape" not in text
    assert "42.0" in text


def test_cards_are_written_beside_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "INFERENCE", tmp_path)
    for name in cards.ABOUT:
        (tmp_path / name).mkdir()
    (tmp_path / "scores.json").write_text(json.dumps(REPORT))
    assert cards.main(["--scores", str(tmp_path / "scores.json")]) == 0
    assert (tmp_path / "llmga-toy-sdxl-t2i" / "README.md").read_text().startswith("# llmga-toy-sdxl-t2i")


def test_missing_scores_are_one_sentence(tmp_path, capsys):
    assert cards.main(["--scores", str(tmp_path / "none.json")]) == 2
    assert "llmga.evaluation.toyworld" in capsys.readouterr().err
