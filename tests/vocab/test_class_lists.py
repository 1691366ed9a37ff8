"""Files of words: lists of annotation tools are called by name, and nothing shifts the classes."""

import pytest

from openvocab.data.checking.folders import check_folder
from openvocab.data.folders import FolderDataset
from openvocab.vocab.vocabulary import Vocabulary, named_vocabulary


def file(tmp_path, text, suffix="txt"):
    path = tmp_path / f"words.{suffix}"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("text", "message"), [
    ("__ignore__\n_background_\ngrass\n", "line 1: got '__ignore__', a mark of labelme"),
    ("sky\n_background_\n", "line 2: got '_background_', a mark of labelme"),
    ("background:0,0,0::\ngrass:48,112,32::\n", "line 1: got 'background:0,0,0::', a line of CVAT"),
    ("sky\nroad: 128, 64, 128 ::drive\n", "line 2: got 'road: 128, 64, 128 ::drive', a line of CVAT"),
    ("0: sky\n1: grass\n", "line 1: got '0: sky', a number before the word"),
    ("0\tsky\n1\tgrass\n", "line 1: got '0.tsky', a number before the word"),
    ("12,sky\n", "line 1: got '12,sky', a number"), ("3 = house\n", "line 1: got '3 = house', a number"),
    ("-1: nothing\n", "line 1: got '-1: nothing', a number"),
    ("0 sky\n1 grass\n2 house\n", "every line has a number that counts up .'0 sky'.*; expected words"),
    ("1. sky\n2. grass\n", "every line has a number"), ("sky,0\ngrass,1\n", "every line has a number"),
])  # fmt: skip
@pytest.mark.parametrize("numbered", [True, False])
def test_lists_of_tools(tmp_path, text, message, numbered):
    path = file(tmp_path, text)
    with pytest.raises(ValueError, match=message.replace(".t", r"\\t")) as error:
        Vocabulary.from_file(path, numbered)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_the_head_of_a_list_of_cvat(tmp_path):
    path = file(tmp_path, "# label:color_rgb:parts:actions\nsky:0,0,0::\n")
    with pytest.raises(ValueError, match="line 1: got '# label:color_rgb:parts:actions', the head of CVAT"):
        Vocabulary.from_file(path, numbered=True)


def test_lists_of_tools_as_json(tmp_path):
    with pytest.raises(ValueError, match="entry 2: got '1: grass', a number before the word"):
        Vocabulary.from_file(file(tmp_path, '["sky", ["grass", "1: grass"]]', "json"))


@pytest.mark.parametrize(("text", "message"), [
    ("sky\n\ngrass\n", "line 2: got a blank line, expected the word of class 1"),
    ("\nsky\n", "line 1: got a blank line, expected the word of class 0"),
    ("sky\n \t\n\ngrass\n", "line 2: got a blank line"),
    ("# my classes\nsky\n", "line 1: got the comment '# my classes', expected the word of class 0"),
    ("sky\n#2 gravel\ngrass\n", "line 2: got the comment '#2 gravel', expected the word of class 1"),
])  # fmt: skip
def test_where_the_line_is_the_class_none_may_be_without_a_word(tmp_path, text, message):
    path = file(tmp_path, text)
    assert len(Vocabulary.from_file(path)) >= 1  # a list of words to ask for may have them
    entry = {"NAME": "own", "IMAGES": "a", "LABELS": "b", "WORDS": str(path)}
    for read in (lambda: Vocabulary.from_file(path, numbered=True), lambda: named_vocabulary(str(path))):
        with pytest.raises(ValueError, match=message):
            read()
    assert message.partition(",")[0] in str(check_folder(FolderDataset.from_config(entry)))


@pytest.mark.parametrize(
    "text",
    [
        "sky\ngrass\nhouse",
        "\ufeffsky \r\ngrass\t\r\nhouse\r\n\r\n",
        "sky\ngrass\nhouse\n\n\n",
        " sky\n grass\n house \n",
    ],
)
def test_healthy_files(tmp_path, text):
    for numbered in (True, False):
        assert Vocabulary.from_file(file(tmp_path, text), numbered).names == ("sky", "grass", "house")


def test_words_that_only_look_odd(tmp_path):
    assert len(Vocabulary.from_file(file(tmp_path, "type 1\ntype 2\n"), numbered=True)) == 2
    words = ("7-eleven", "route 66", "2 dogs", "ratio 3:2", "_", "snake_case", "a:b", "4x4")
    assert Vocabulary.from_file(file(tmp_path, "\n".join(words)), numbered=True).names == words
