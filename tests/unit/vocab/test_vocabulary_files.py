"""Vocabulary files: every form that is read, variants of others, and one line with file, line and key for every
mistake.
"""

import pytest

from semiovs.errors import ConfigError
from semiovs.vocab import Vocabulary, shipped_vocabularies
from semiovs.vocab.yaml_writer import to_yaml


@pytest.fixture
def load(tmp_path):
    def read(text: str, name: str = "my.yaml") -> Vocabulary:
        (tmp_path / name).write_text(text, "utf-8")
        return Vocabulary.load(tmp_path / name)

    return read


@pytest.mark.parametrize(
    "text",
    [
        "[road, car]",
        "classes: [road, car]",
        "names: {1: car, 0: road}",
        "classes: {road: , car: }",
        "classes:\n  - road\n  - {name: car}",
        "classes: {0: {name: road}, 1: car}",
        "\ufeffclasses:\n- road   # grey\n- 'car'\n",
    ],
)
def test_plain_names(load, text):
    assert load(text) == Vocabulary.of(["road", "car"])


def test_a_text_file(load, tmp_path):
    assert load("road\n\n car \r\n", "c.txt") == Vocabulary.of(["road", "car"])
    for numbered in ("0 road\n1 car\n", "0: road\n1:car\n", "0, road\n1, car"):
        assert load(numbered, "c.txt") == Vocabulary.of(["road", "car"])
    with pytest.raises(ConfigError, match=r"^vocabulary: .*c\.txt:3: class 'road' is listed twice$"):
        load("road\ncar\nroad\n", "c.txt")
    with pytest.raises(ConfigError, match=r"^vocabulary: .*c\.txt: no classes"):
        load("\n", "c.txt")


@pytest.mark.parametrize("name", ["c.txt", "c.csv", "obj.names"])
@pytest.mark.parametrize(
    "text",
    [
        "__ignore__\nroad\ncar\n",
        "# of the site\n#\nroad\n\ncar   # red ones\n",
        "names:\n  0: road\n  1: car\n",
        "# ids\nnames: [road, car]\nnc: 2\npath: ../data\ntrain: images\n",
        "- road\n- car\n",
        "['road', 'car']",
        "road 0\ncar 1\n",
        "car: 1\nroad: 0\n",
        "1 car\n0 road\n",
        "Pixel Value, Class\n 0, road\n 1, car\n",
        "name,id\nroad,0\ncar,1\n",
        "class\n0 road\n1 car\n",
        "0) road\n1) car\n",
        "1 - car\n0 - road\n",
        '"road"\n"car"\n',
        'id,name,kind\n0,road,flat\n1,car,"big, fast"\n',
        "Class_Name\tindex\ncar\t1\nroad\t0\n",
        "class,label\nroad,0\ncar,1\n",
    ],
)
def test_class_files_of_other_programs(load, text, name):
    assert load(text, name) == Vocabulary.of(["road", "car"])


@pytest.mark.parametrize(
    "text",
    [
        "# label:color_rgb:parts:actions\nroad:128,64,128::\ncar:0,0,142::\n",
        "road 128 64 128\ncar 0 0 142\n",
        "name,r,g,b\nroad,128,64,128\ncar,0,0,142\n",
        "128 64 128\troad\n0 0 142\tcar\n",
        "0 road 128 64 128\n1 car 0 0 142\n",
        "1;car;0;0;142\n0;road;128;64;128\n",
        "0 128 64 128 road\n1 0 0 142 car\n",
        "name,b,g,r\nroad,128,64,128\ncar,142,0,0\n",
        "name,r,g,b,id\ncar,0,0,142,1\nroad,128,64,128,0\n",
    ],
)
def test_class_files_with_colours(load, text):
    assert load(text, "c.txt").names == ("road", "car")
    assert load(text, "c.txt").colors == ((128, 64, 128), (0, 0, 142))


@pytest.mark.parametrize(
    "text",
    [
        "traffic light\ncar\n",
        "3d model\nC#\n",
        "boeing 747\nairbus 320\n",
        "class 0\nclass 1\n",
        "_background_\nroad\n",
        "void\nroad\n",
        "red\ngreen\nblue\n",
        "bus\n2 wheeler\n",
        "background 0\n",
    ],
)
def test_plain_names_stay_what_they_are(load, text):
    assert load(text, "c.txt").hash == Vocabulary.of(text.splitlines()).hash


def test_the_background_of_labelme(load):
    assert load("__ignore__\n_background_\ncar\n", "c.txt").names == ("background", "car")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("1 road\n2 car\n", 1, "the ids go from 1, those of masks from 0; add a line for 0"),
        ("\nroad 1\ncar 2\n", 2, "the ids go from 1"),
        ("id name\n1 road\n2 car\n", 2, "the ids go from 1"),
        ("0 road\n7 car\n", 2, "id 7 where 1 follows"),
        ("road 0\ncar 2\n", 2, "id 2 where 1 follows"),
        ("0 road\n0 car\n", 2, "id 0 where 1 follows"),
        ("background\n1 road\n2 car\n", 1, "'background' has no id, but other lines have"),
        ("0 road\n1 car\nvoid\n", 3, "'void' has no id, but other lines have"),
        ("road\n__ignore__\n", 2, "LabelMe has it on the first line alone"),
        ("labels\nroad\ncar\n", 1, "'labels' looks like a heading"),
        ("road:128,64,128::\ncar\n", 2, "'car': expected 'name:red,green,blue:parts:actions'"),
        ("road:::\ncar:::\n", 1, "'road:::': expected"),
        ("names:\n  1: road\n  2: car\n", 2, "id 1 where 0 follows"),
        ("name,trainId,id\nroad,0,7\ncar,1,26\n", 1, "the column 'trainId' may be meant in two ways"),
        ("class,name\nroad,street\ncar,auto\n", 1, "the column 'class' may be meant in two ways"),
        ("id,name\n0.0,road\n1.0,car\n", 2, "'0.0': an id or a part of a colour is a whole number"),
        ("id,name\n0,road,flat\n1,car\n", 2, "3 columns below a heading of 2"),
        ('id,name\n0,"road\n2,car\n', 3, "id 2 where 1 follows"),
        ("name,r,g\nroad,1,2\ncar,3,4\n", 2, "no colour or one of red, green, blue"),
        ("road,car,tree\n", 1, "'road,car,tree' may be several columns"),
        ("road,7,0\nwalk,8,1\n", 1, "'road,7' may be several columns"),
        ("# name id trainId\nroad 7 0\nwalk 8 1\n", 2, "'road 7' may be several columns"),
        ("road 128 64 128 0\ncar 0 0 142 1\n", 1, "'road 128' may be several columns"),
        ("name,r,g,b\nroad,1,2,3\ncar,1,2,3\n", 3, "'car' has the colour 1,2,3 of 'road'"),
    ],
)
def test_class_files_that_would_shift_the_ids(load, text, line, said):
    with pytest.raises(ConfigError) as caught:
        load(text, "c.txt")
    assert f"c.txt:{line}: " in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_concepts_and_everything_else(load):
    found = load("""
classes:
  background:
  road: "road, street"                     # one concept of two synonyms
  car: [car, "lorry, truck"]               # two concepts
  no: {concepts: [7], color: [1, 2, 3]}    # words, not a boolean and a number
background: {threshold: 0.4}
templates: ["a photo of a {}.", "{}"]
colors: {car: '#102030', road: 405060}
ignore: void
""")
    assert found.names == ("background", "road", "car", "no")
    assert found.concepts == ((), ("road, street",), ("car", "lorry, truck"), ("7",))
    assert found.colors == ((0, 0, 0), (64, 80, 96), (16, 32, 48), (1, 2, 3))
    assert (found.background, found.templates, found.ignore) == (0.4, ("a photo of a {}.", "{}"), ("void",))


@pytest.mark.parametrize(
    ("text", "concepts", "constant"),
    [
        ("{concepts: [sky, tree]}", ("sky", "tree"), None),
        ("{concepts: 'sky, tree'}", ("sky, tree",), None),
        ("{threshold: 0.4}", (), 0.4),
        ("none", ("bg",), None),
        ("", ("bg",), None),
    ],
)
def test_background_policies(load, text, concepts, constant):
    found = load(f"classes: [bg, car]\nbackground: {text}\n")
    assert (found.concepts[0], found.background) == (concepts, constant)


@pytest.mark.parametrize(
    ("text", "templates"),
    [
        ("imagenet", ()),
        ("plain", ("{}",)),
        ("photo", ("a photo of a {}",)),
        ("a {} here", ("a {} here",)),
        ("['{}', 'my {}']", ("{}", "my {}")),
    ],
)
def test_templates(load, text, templates):
    assert load(f"classes: [a]\ntemplates: {text}\n").templates == templates


def test_a_variant_of_a_shipped_one(load):
    base = Vocabulary.load("voc21")
    found = load("""
extends: voc21
classes:
  dog: [dog, puppy]
  tree: [tree trunk]
background: {threshold: 0.3}
ignore: [boat]
merge: {vehicle: [car, bus, motorbike], seat: [chair, sofa]}
rename: {person: human, cow: cat, cat: cow}
colors: {vehicle: [9, 8, 7]}
""")
    assert found.names == (
        "background", "aeroplane", "bicycle", "bird", "bottle", "vehicle", "cow", "seat", "cat", "dining table", "dog",
        "horse", "human", "potted plant", "sheep", "train", "tv monitor", "tree",
    )  # fmt: skip
    concepts = dict(zip(found.names, found.concepts, strict=True))
    assert concepts["background"] == ()
    assert concepts["vehicle"] == tuple(
        base.concepts[base.index(n)][0] for n in ("bus", "car", "motorbike")
    )  # in the order of ids
    assert concepts["human"] == base.concepts[base.index("person")]
    assert concepts["cow"] == base.concepts[base.index("cat")]
    assert concepts["dog"] == ("dog", "puppy")
    assert found.colors[5] == (9, 8, 7)
    assert found.ignore == ("boat",)


def test_variants_of_files_and_of_backgrounds(load, tmp_path):
    load("classes: [bg, car, bus]\nbackground: {threshold: 0.4}\n", "base.yaml")
    assert load("extends: base.yaml\n").background == 0.4
    assert load("extends: base.yaml\nbackground: {concepts: [sky]}").concepts == (("sky",), ("car",), ("bus",))
    named = load("extends: base.yaml\nbackground: none")
    assert (named.concepts[0], named.background) == (("bg",), None)
    without = load("extends: base.yaml\nignore: bg")
    assert (without.names, without.background, without.ignore) == (("car", "bus"), None, ("bg",))
    load("sky\nroad\n", "names.txt")
    assert load("extends: names.txt\nclasses: {road: [road, street]}").concepts == (("sky",), ("road", "street"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "my.yaml: expected a list of class names under 'classes'"),
        ("7", "my.yaml: expected a list of class names"),
        ("classes: []", "my.yaml: expected a list of class names"),
        ("classes: road", "my.yaml:1: classes: expected a list of class names"),
        ("classes:\n- a\nclases: [b]", "my.yaml:3: clases: unknown key (did you mean 'classes'?)"),
        ("classes:\n- a\n- b\n- a", "my.yaml:4: class 'a' is listed twice"),
        ("classes:\n  a: x\n  b: y\n  a: z", "my.yaml:4: key 'a' is given twice"),
        ("classes:\n- a\n-\n- b", "my.yaml:3: classes: empty; expected a word"),
        ("classes:\n- a\n- ''", "my.yaml:3: classes: empty; expected a word"),
        ("classes:\n  a: x\n  b: []", "my.yaml:3: class 'b' has no concepts"),
        ("classes:\n  a: x\n  b: ['', y]", "my.yaml:3: classes.b: empty"),
        ("classes:\n  a: x\n  b: [[y]]", "my.yaml:3: classes.b: expected text"),
        ("classes:\n  a: x\n  b: [y,\n    X]", "my.yaml:3: class 'b': concept 'X' belongs to class 'a' already"),
        ("classes:\n  a: x\n  b: 'y, , z'", "my.yaml:3: class 'b': concept 'y, , z' has an empty synonym"),
        (
            "classes:\n- {name: a, colour: [1, 2, 3]}",
            "my.yaml:2: classes.a.colour: unknown key (did you mean 'color'?)",
        ),
        ("classes:\n- {name: a, color: [1, 2, 256]}", "my.yaml:2: classes.a.color: colour [1, 2, 256]; expected"),
        ("classes:\n- {name: a, color: [1, 2]}", "my.yaml:2: classes.a.color: colour [1, 2]; expected"),
        ("classes:\n- {concepts: [a]}", "my.yaml:2: classes: an entry without 'name:'"),
        ("classes: {0: a, 2: b}", "my.yaml:1: classes: id 2 where 1 follows"),
        ("classes: [a, b]\nnames: [a]", "my.yaml:2: names: another word for classes"),
        ("classes: [a, b]\ncolors: [[1, 2, 3]]", "my.yaml:2: colors: expected one for each of the 2 classes, got 1"),
        ("classes: [a, b]\ncolors: []", "my.yaml:2: colors: expected one for each class, got none"),
        ("classes: [a, b]\ncolors: {c: [1, 2, 3]}", "my.yaml:2: colors: there is no class 'c'"),
        ("classes: [a]\ncolors:\n- #102030", "my.yaml:3: colors: colour None; expected"),
        ("classes: [a, b]\nbackground: 0.4", "my.yaml:2: background: expected concepts: [...], threshold: 0.4 or none"),
        ("classes: [a, b]\nbackground: {treshold: 1}", "background.treshold: unknown key (did you mean 'threshold'?)"),
        ("classes: [a, b]\nbackground: {threshold: 1, concepts: [x]}", "my.yaml:2: background: give either"),
        ("classes: [a, b]\nbackground: {}", "my.yaml:2: background: give either concepts or threshold"),
        ("classes: [a, null]", "my.yaml:1: classes: empty; expected a word (null in quotes"),
        ("classes: [a, b]\nbackground: {threshold: high}", "my.yaml:2: background.threshold: expected a number"),
        ("classes: [a, b]\nbackground: {threshold: 7}", "my.yaml:2: threshold 7.0 is not a score"),
        (
            "classes:\n  a: [x]\n  b: y\nbackground: {threshold: 0.4}",
            "my.yaml:2: class 'a' has concepts and a background threshold",
        ),
        (
            "classes:\n  a: [x]\n  b: y\nbackground: {concepts: [z]}",
            "my.yaml:4: background.concepts: class 'a' has concepts",
        ),
        ("classes: [a]\ntemplates: [a photo]", "my.yaml:2: templates: template 'a photo': expected a sentence with {}"),
        ("classes: [a]\ntemplates: [{}]", "my.yaml:2: templates: expected text; put '{}' in quotes"),
        ("classes: [a]\ntemplates: imagenot", "my.yaml:2: templates: 'imagenot' is neither a sentence"),
        ("extends: voc12\n", "my.yaml:1: extends: 'voc12' is neither a file nor shipped (did you mean 'voc21'?)"),
        ("extends: my.yaml\n", "my.yaml: extends itself"),
        ("extends: gone.yaml\n", "gone.yaml: cannot be read as a class list: No such file"),
        ("extends: voc21\n\nmerge: {x: [cat, bog]}", "my.yaml:3: merge: there is no class 'bog' (did you mean 'dog'?)"),
        ("extends: voc21\nmerge: {dog: [cat, cow]}", "my.yaml:2: merge: class 'dog' is there already"),
        ("extends: voc21\nmerge: {pet: []}", "my.yaml:2: merge: 'pet' of no classes"),
        ("extends: voc21\nrename: {cat: x, dog: x}", "my.yaml:2: rename: class 'x' is there already"),
        ("classes: [a]\nignore: a", "no classes"),
        ("extends: voc21\nbackground: {threshold: 0.4}\nmerge: {x: [background, cat]}", "and a background threshold"),
        ("extends: ../{folder}/my.yaml", "extends itself"),
        ("extends: voc21\nmerge: [cat, cow]", "my.yaml:2: merge: expected a mapping like {vehicle: [car, bus]}"),
        ("extends: voc21\nrename: {cat: dog}", "my.yaml:2: rename: class 'dog' is there already"),
        ("extends: voc21\nrename: {cot: x}", "my.yaml:2: rename: there is no class 'cot'"),
        (
            "extends: voc21\nbackground: {concepts: [bird]}",
            "class 'bird': concept 'bird' belongs to class 'background' already",
        ),
        ("classes: [a\n", "my.yaml:2:1: not valid YAML"),
        ("classes: !!python/object:os.system [a]", "tag 'tag:yaml.org,2002:python/object:os.system' is not supported"),
        (f"classes: [{', '.join(f'w{i}' for i in range(256))}]", "my.yaml:1: 256 classes; at most 255"),
    ],
)
def test_every_mistake_is_one_line(load, tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        load(text.replace("{folder}", tmp_path.name))
    line = str(caught.value)
    assert line.startswith("vocabulary: ")
    assert message in line
    assert "\n" not in line


def test_all_mistakes_of_a_file_are_told_at_once(load):
    with pytest.raises(ConfigError) as caught:
        load("classes:\n- a\n- {name: b, colour: 1}\nignor: c\nbackground: {threshold: high}\n")
    assert [line.partition("my.yaml:")[2] for line in str(caught.value).splitlines()] == [
        "3: classes.b.colour: unknown key (did you mean 'color'?)",
        "5: background.threshold: expected a number, got 'high'",
        "4: ignor: unknown key (did you mean 'ignore'?)",
    ]


def test_names_in_quotes_are_no_ids(load):
    assert load("classes: {0: zero, 1: one}").names == ("zero", "one")
    assert load("classes: {'0': zero, '1': one}").names == ("0", "1")
    with pytest.raises(ConfigError, match=r"my\.yaml:1: classes: class 'car' has its name already"):
        load("classes: {car: {name: auto}}")


def test_what_cannot_be_found(tmp_path):
    with pytest.raises(ConfigError, match=r"'voc12' is neither a file nor shipped \(did you mean 'voc21'\?\)"):
        Vocabulary.load("voc12")
    with pytest.raises(ConfigError, match="cannot be read as a class list"):
        Vocabulary.load(tmp_path / "gone.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        Vocabulary.load(tmp_path / "b.yaml")
    for name in ("x" * 5000, "a\0b", "a\0.yaml"):
        with pytest.raises(ConfigError):
            Vocabulary.load(name)


@pytest.mark.parametrize("name", shipped_vocabularies())
def test_yaml_reads_back(load, name):
    found = Vocabulary.load(name)
    assert load(to_yaml(found)) == found


def test_odd_words_read_back(load):
    odd = Vocabulary(
        ("no", "7", "a: b", "#x"), ((), ("7, 8",), ("{a}", "- b"), ("é", "null")), (), 0.25, ("a {}: b",), ("~",)
    )
    assert load(to_yaml(odd)) == odd
