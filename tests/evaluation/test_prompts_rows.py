"""Rows in the schemas of the benchmarks, read within bounds; and the test points of UniGenBench++."""

import json

import pytest

from llmga.errors import UserError
from llmga.evaluation.prompt_rules import rows
from llmga.evaluation.prompt_rules.judging import judge
from llmga.evaluation.prompt_rules.points import judge_point
from llmga.evaluation.prompt_rules.rows import Demand, read_rows
from tests.evaluation import benchmark_rows as own


def test_geneval(tmp_path):
    first, second = read_rows(own.json_lines(tmp_path / "m.jsonl", own.COUCH_AND_CAT, own.FOUR_APPLES))
    assert (first.benchmark, first.group, first.language, first.key) == ("geneval", "position", "en", "0")
    assert Demand("position", "cat", value="left of", other="couch") in first.demands
    assert second.demands == (Demand("object", "apple"), Demand("count", "apple", 4), Demand("exclusion", "apple", 5))


def test_geneval_2(tmp_path):
    (row,) = read_rows(own.json_lines(tmp_path / "g.jsonl", own.TWO_WOODEN_PIGS))
    assert (row.benchmark, row.group, len(row.demands)) == ("geneval2", "9 atoms", 12)
    assert Demand("position", "pig", value="under", other="candle") in row.demands
    assert Demand("verb", "fox", value="chasing", other="sheep") in row.demands
    assert Demand("attribute", "pig", value="wooden") in row.demands
    assert Demand("colour", "candle", value="green") in row.demands
    assert all(verdict.kept for verdict in judge(row, row.prompt))


def test_unigenbench_in_both_languages(tmp_path):
    (english,) = read_rows(own.table(tmp_path / "en.csv", "en", own.ENGLISH))
    (chinese,) = read_rows(own.table(tmp_path / "zh.csv", "zh", own.CHINESE))
    assert (english.key, english.language, english.group) == ("0", "en", "Illustration")
    assert (chinese.key, chinese.language, chinese.group) == ("0", "zh", "配图")
    assert chinese.demands[1] == Demand("test point", label="属性-数量", value="三只猫头鹰")
    for row in (english, chinese):
        assert [verdict.kept for verdict in judge(row, row.prompt)] == [True, True, True, True, None]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "no row of a benchmark"),
        ('{"prompt": "a dog"}', "neither `include`"),
        ('{"include": [], "prompt": "a dog"}', "tag is missing"),
        ('{"tag": "x", "include": [{"class": "dog"}], "prompt": "a dog"}', "count is missing"),
        ('{"tag": "x", "include": [{"class": "dog", "count": 0}], "prompt": "a dog"}', "allowed is 1 to 100"),
        ('{"tag": "x", "include": [{"class": "dog", "count": "2"}], "prompt": "a"}', "no whole number"),
        (json.dumps(own.COUCH_AND_CAT).replace('["left of", 0]', '["left of", 7]'), "below 2"),
        (json.dumps(own.COUCH_AND_CAT).replace('["left of", 0]', '["north of", 0]'), "a relation"),
        (json.dumps(own.TWO_WOODEN_PIGS).replace('"two"]', '"lots"]'), "which is no number"),
        (json.dumps(own.TWO_WOODEN_PIGS).replace('"skills": ["count", ', '"skills": ['), "each has one"),
        (json.dumps(own.TWO_WOODEN_PIGS).replace("Are the pigs wooden?", "What?"), "no question of that skill"),
    ],
)
def test_a_damaged_row_is_told_by_its_line(tmp_path, line, told):
    file = tmp_path / "m.jsonl"
    file.write_text(json.dumps(own.FOUR_APPLES) + "\n" + line + "\n", "utf-8")
    with pytest.raises(UserError, match="line 2 of") as problem:
        read_rows(file)
    assert told in str(problem.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "begins with ''"),
        ("id,text\n1,a\n", "which no benchmark does"),
        ("index,prompt_en,sub_dims_en\n", "has no rows"),
        ("index,prompt_en,sub_dims_en\n0,a\n", "columns of the first line"),
        ("index,prompt_en,sub_dims_en\n0,a,[]\n", "no JSON object"),
        ('index,prompt_en,sub_dims_en\n0,a,"{""Testpoints"": [""Style""]}"\n', "'Testpoint Description' is missing"),
        ('index,prompt_en,sub_dims_en\n0,a,"{""Testpoints"": [""Style""], ""Testpoint Description"": []}"\n',
         "each has one"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_told(tmp_path, text, told):
    file = tmp_path / "t.csv"
    file.write_text(text, "utf-8")
    with pytest.raises(UserError) as problem:
        read_rows(file)
    assert told in str(problem.value)


def test_bounds(tmp_path, monkeypatch):
    file = own.json_lines(tmp_path / "m.jsonl", own.FOUR_APPLES, own.FOUR_APPLES)
    for name, limit, told in (("MOST_ROWS", 0, "lines; the limit"), ("LONGEST_LINE", 40, "characters; the limit"),
                              ("LARGEST_FILE", 60, "more than 60 bytes")):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(rows, name, limit)
            with pytest.raises(UserError, match=told):
                read_rows(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    ("label", "described", "prompt", "right"),
    [
        ("Style", "ukiyo-e style", "A fox runs, drawn in ukiyo-e style", True),
        ("Style", "ukiyo-e style", "A fox runs, an oil painting", False),
        ("Attribute - Quantity", "two pandas", "two happy pandas eat", True),
        ("Attribute - Quantity", "two pandas", "three pandas eat", False),
        ("Attribute - Quantity", "nine tails made of dust", "a fox with nine huge tails made of dust", True),
        ("Attribute - Quantity", "nine tails made of dust", "a fox with seven tails made of dust", False),
        ("Attribute - Color", "yellow coat", "a girl in a yellow coat", True),
        ("Attribute - Color", "yellow coat", "a girl in a green coat under a yellow sun", False),
        ("Grammar - Negation", "no footprints on the sand", "smooth sand, no footprints on it", True),
        ("Grammar - Negation", "without a crown", "a king on his throne", True),  # left out
        ("Grammar - Negation", "without a crown", "a king with a golden crown", False),
        ("Relationship - Inclusion", "(the fox) sleeps in a crate", "a fox that sleeps in an old crate", True),
        ("Grammar - Pronoun Reference", "she", "a witch before her books", None),
        ("风格", "浮世绘风格", "一只狐狸，浮世绘风格", True),
        ("风格", "浮世绘风格", "一只狐狸，油画", False),
        ("属性-数量", "两只熊猫", "两只穿着宇航服的大熊猫", True),
        ("属性-数量", "两只熊猫", "三只大熊猫", False),
        ("属性-数量", "九条由星尘组成的巨大尾巴", "狐狸拖着九条由星尘组成的巨大尾巴", True),
        ("属性-颜色", "黄色雨衣", "穿着明黄色雨衣的女孩", True),
        ("属性-颜色", "黄色雨衣", "穿着绿色雨衣的女孩", False),
        ("语法-否定", "没有任何脚印", "沙地平滑，没有任何脚印", True),
        ("语法-否定", "没有任何脚印", "沙地上留下任何脚印", False),
        ("关系-包含关系", "（橘猫）蜷缩在纸箱里", "一只橘猫蜷缩在纸箱里", True),
        ("语法-代词指代", "它", "它在飞", None),
    ],
)
def test_test_points(label, described, prompt, right):
    assert judge_point(label, described, prompt)[0] is right
