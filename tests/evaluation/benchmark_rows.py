"""Rows of our own in the schemas of GenEval, GenEval 2 and UniGenBench++."""

import csv
import json

COUCH_AND_CAT = {
    "tag": "position",
    "include": [{"class": "couch", "count": 1}, {"class": "cat", "count": 1, "position": ["left of", 0]}],
    "prompt": "a photo of a cat left of a couch",
}
FOUR_APPLES = {
    "tag": "counting",
    "include": [{"class": "apple", "count": 4}],
    "exclude": [{"class": "apple", "count": 5}],
    "prompt": "a photo of four apples",
}
GREEN_VASE_AND_RED_CLOCK = {
    "tag": "color_attr",
    "include": [{"class": "vase", "count": 1, "color": "green"}, {"class": "clock", "count": 1, "color": "red"}],
    "prompt": "a photo of a green vase and a red clock",
}
TWO_WOODEN_PIGS = {
    "prompt": "two wooden pigs under a green candle, and a fox chasing three sheeps",
    "atom_count": 9,
    "vqa_list": [
        ["How many pigs are in the image?", "two"],
        ["Are the pigs wooden?", "Yes"],
        ["Are there any pigs in the image?", "Yes"],
        ["Are the pigs under the candle?", "Yes"],
        ["How many candles are in the image?", "one"],
        ["Is the candle green?", "Yes"],
        ["Are there any candles in the image?", "Yes"],
        ["How many foxes are in the image?", "one"],
        ["Are there any foxes in the image?", "Yes"],
        ["Is the fox chasing the sheeps?", "Yes"],
        ["How many sheeps are in the image?", "three"],
        ["Are there any sheeps in the image?", "Yes"],
    ],
    "skills": ["count", "attribute", "object", "position", "count", "attribute", "object", "count", "object", "verb",
               "count", "object"],
}  # fmt: skip
ENGLISH = {
    "prompt": "Watercolour style, three owls in blue scarves read an old map, and there is no lamp.",
    "about": {
        "Primary Categories": "Illustration",
        "Testpoints": ["Style", "Attribute - Quantity", "Attribute - Color", "Grammar - Negation",
                       "Grammar - Pronoun Reference"],
        "Testpoint Description": ["Watercolour style", "three owls", "blue scarves", "there is no lamp", "it"],
    },
}  # fmt: skip
CHINESE = {
    "prompt": "水彩画风格，三只围着蓝色围巾的猫头鹰在看一张旧地图，没有台灯。",
    "about": {
        "一级垂类": "配图",
        "考点": ["风格", "属性-数量", "属性-颜色", "语法-否定", "语法-代词指代"],
        "考点对应描述": ["水彩画风格", "三只猫头鹰", "蓝色围巾", "没有台灯", "它"],
    },
}


def json_lines(path, *rows):
    """A file of GenEval or GenEval 2."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def table(path, language, *rows):
    """A file of UniGenBench++."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", f"prompt_{language}", f"sub_dims_{language}"])
        for index, row in enumerate(rows):
            writer.writerow([index, row["prompt"], json.dumps(row["about"], ensure_ascii=False)])
    return path
