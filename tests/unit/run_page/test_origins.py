"""Where settings come from, and licences."""

from urllib.parse import unquote

from semiovs.config import load_config
from semiovs.run_page.origins import find_cards, list_settings, list_weights
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary


def reload(loaded, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(loaded.dump(), "utf-8")
    return load_config(str(folder))


def test_settings_have_the_origin_that_the_run_noted(tmp_path):
    (tmp_path / "my.yaml").write_text("extends: pascal/92\noptim:\n  lr: 0.5\n")
    loaded = load_config(str(tmp_path / "my.yaml"), ["train.seed=3", "run.name=a  # b"], cwd=tmp_path)
    found = {row.key: row for row in list_settings(reload(loaded, tmp_path / "run"))}
    assert (found["optim.lr"].value, found["optim.lr"].default, found["optim.lr"].origin) == (
        "0.5",
        "0.001",
        "my.yaml:3",
    )
    assert (found["train.seed"].value, found["train.seed"].origin) == ("3", "command line")
    assert found["run.name"].origin == "command line"
    assert found["train.epochs"].origin == "preset paper/voc"
    assert all(row.origin != "default" and row.value != row.default for row in found.values())
    order = [row.origin.startswith("preset ") for row in found.values()]
    assert order == sorted(order)


def test_a_file_without_comments_names_its_lines(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("train:\n  seed: 4\n")
    (row,) = [row for row in list_settings(load_config(str(folder))) if row.key == "train.seed"]
    assert row.origin.endswith("config.yaml:2")


def test_weights_are_looked_up_in_the_catalogue(tmp_path):
    teacher = {"name": "sed", "weights": "0" * 64}
    PseudoLabelStore.create(tmp_path / "store", Vocabulary(("a", "b")), teacher=teacher)
    values = ["model.encoder=resnet50s", "model.pretrained=true", f"data.root={tmp_path}", "ood.labels=store"]
    found = dict(list_weights(load_config(None, values).config))
    assert "licence Apache-2.0; https://huggingface.co/" in found["encoder resnet50s"]
    assert "not in the catalogue" in found["teacher sed of the OOD labels"]
    PseudoLabelStore.create(tmp_path / "other", Vocabulary(("a", "b")), teacher={"name": "metaclip2"})
    found = dict(list_weights(load_config(None, [f"data.root={tmp_path}", "ood.labels=other"]).config))
    assert "licence CC-BY-NC-4.0; not for commercial use" in found["teacher metaclip2 of the OOD labels"]
    found = dict(list_weights(load_config(None, ["model.encoder=small", "model.pretrained=true"]).config))
    assert "comes with semiovs" in found["encoder small"]
    assert list(list_weights(load_config(None, ["model.encoder=tiny"]).config)) == []
    assert list(list_weights(load_config(None, ["ood.labels=nowhere"]).config)) == []


def test_a_card_beside_the_labels_is_linked_from_where_the_page_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(None, [f"data.root={tmp_path}/my data", "ood.labels=store"]).config
    card = tmp_path / "my data" / "teacher-card" / "card.html"
    assert find_cards(tmp_path / "run", config, tmp_path / "pages") == []
    card.parent.mkdir(parents=True)
    card.touch()
    ((path, link),) = find_cards(tmp_path / "run", config, tmp_path / "pages")
    assert path == str(card)
    assert link == "../my%20data/teacher-card/card.html"
    assert (tmp_path / "pages" / unquote(link)).resolve() == card
