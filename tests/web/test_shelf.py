"""What is kept between two questions: never more than the bound, the oldest goes first."""

from openvocab.web.looks import Shelf


def test_what_was_not_used_for_longest_goes_first():
    shelf = Shelf(10)
    for key in "abc":
        shelf.put(key, key.upper(), 3)
    assert shelf.find("a") == "A"
    shelf.put("d", "D", 4)
    assert [shelf.find(key) for key in "abcd"] == ["A", None, "C", "D"] and shelf.nbytes == 10


def test_a_thing_replaces_what_was_under_its_key():
    shelf = Shelf(10)
    shelf.put("a", 1, 8)
    shelf.put("a", 2, 4)
    assert shelf.find("a") == 2 and shelf.nbytes == 4


def test_what_is_larger_than_the_bound_is_not_kept_and_drives_nothing_out():
    shelf = Shelf(10)
    shelf.put("a", 1, 5)
    shelf.put("b", 2, 11)
    assert shelf.find("b") is None and shelf.find("a") == 1


def test_secrets_differ_and_are_long():
    shelf = Shelf(10)
    keys = {shelf.put_secret(number, 1) for number in range(8)}
    assert len(keys) == 8 and all(len(key) == 22 for key in keys)
    assert sorted(map(shelf.find, keys)) == list(range(8))
