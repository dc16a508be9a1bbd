"""How changes are said. `{it}` is a thing of the picture, `{x}` the new value, `{other}` another thing."""

from llmga.toyworld.world.talk.voice import Row, row

SAID: dict[str, Row] = {
    "colour": row(
        ("make {it} {x}", "change {it} to {x}", "paint {it} {x}", "turn {it} {x}", "{it} should be {x}",
         "i want {it} {x}", "can {it} be {x}?", "colour {it} {x}", "could you make {it} {x}?", "{x} for {it}",
         "recolour {it} {x}", "i would prefer {it} in {x}"),
        ("把{it}改成{x}", "{it}要{x}的", "把{it}涂成{x}", "{it}换成{x}", "能把{it}变成{x}吗？", "{it}的颜色改为{x}",
         "我想让{it}是{x}", "给{it}上{x}"),
    ),
    "size": row(
        ("make {it} {x}", "{it} should be {x}", "change the size of {it} to {x}", "can {it} be drawn {x}?",
         "i want {it} {x}", "let {it} be {x}", "draw {it} {x}", "resize {it} to {x}", "i would prefer {it} {x}"),
        ("把{it}画成{x}的", "{it}的大小改成{x}的", "我想让{it}是{x}的", "{it}要{x}的", "把{it}的尺寸改为{x}的",
         "能让{it}变成{x}的吗？"),
    ),
    "bigger": row(
        ("make {it} bigger", "make {it} a little bigger", "{it} could be larger", "a bit bigger please, {it}",
         "enlarge {it}", "can {it} be a little larger?", "{it} is too small", "grow {it} a little",
         "i need {it} bigger"),
        ("把{it}画大一点", "{it}再大一些", "{it}太小了", "放大{it}", "能把{it}变大一点吗？", "让{it}稍微大一点"),
    ),
    "smaller": row(
        ("make {it} smaller", "make {it} a little smaller", "{it} could be smaller", "shrink {it} a bit",
         "can {it} be a little smaller?", "{it} is too big", "reduce {it} a little", "i need {it} smaller"),
        ("把{it}画小一点", "{it}再小一些", "{it}太大了", "缩小{it}", "能把{it}变小一点吗？", "让{it}稍微小一点"),
    ),
    "double": row(
        ("make {it} twice as big", "double the size of {it}", "double {it}", "make {it} much bigger",
         "{it} should be twice the size", "as big as {it} can be", "make {it} really huge"),
        ("把{it}放大一倍", "{it}要两倍大", "让{it}大很多", "把{it}画到最大", "{it}加倍大小", "{it}要大得多"),
    ),
    "half": row(
        ("make {it} half as big", "halve the size of {it}", "half the size for {it}", "make {it} much smaller",
         "{it} should be half the size", "as small as {it} can be", "make {it} really tiny"),
        ("把{it}缩小一半", "{it}只要一半大", "让{it}小很多", "把{it}画到最小", "{it}大小减半", "{it}要小得多"),
    ),
    "place": row(
        ("move {it} {x}", "put {it} {x}", "place {it} {x}", "{it} should be {x}", "can you put {it} {x}?",
         "i want {it} {x}", "shift {it} so that it is {x}", "i would rather see {it} {x}", "have {it} {x}"),
        ("把{it}移到{x}", "把{it}放到{x}", "{it}放在{x}", "{it}应该在{x}", "能把{it}放在{x}吗？", "我想让{it}在{x}",
         "让{it}待在{x}"),
    ),
    "further": row(
        ("move {it} further {x}", "{it} further {x} please", "a bit {x} with {it}", "shift {it} {x}",
         "move {it} a little {x}", "push {it} {x}", "{it} should go {x}"),
        ("把{it}再往{x}一点", "{it}往{x}移一些", "{it}再靠{x}一点", "把{it}向{x}移动", "让{it}往{x}挪挪",
         "{it}往{x}去一点"),
    ),
    "opposite": row(
        ("put {it} on the other side", "move {it} to the opposite side", "{it} on the opposite side please",
         "the other corner for {it}", "send {it} to the far side", "move {it} across to the other side"),
        ("把{it}放到对面", "把{it}移到另一边", "{it}换到对角", "让{it}去另一边", "{it}放在相反的位置", "{it}挪到对侧"),
    ),
    "beside": row(
        ("put {it} {rel} {other}", "move {it} {rel} {other}", "{it} should be {rel} {other}",
         "place {it} {rel} {other}", "i want {it} {rel} {other}", "can {it} go {rel} {other}?"),
        ("把{it}放到{other}的{rel}", "把{it}移到{other}的{rel}", "{it}应该在{other}的{rel}", "{it}放在{other}{rel}",
         "让{it}到{other}的{rel}去", "能把{it}放在{other}的{rel}吗？"),
    ),
    "kind": row(
        ("make {it} {x}", "{x} instead of {it}", "turn {it} into {x}", "replace {it} with {x}", "change {it} to {x}",
         "i want {x} instead of {it}", "swap {it} for {x}", "could {it} be {x}?", "let {it} become {x}"),
        ("把{it}换成{x}", "不要{it}，要{x}", "把{it}变成{x}", "用{x}代替{it}", "{it}改成{x}", "能把{it}换作{x}吗？",
         "让{it}变为{x}"),
    ),
    "add": row(
        ("add {x}", "and {x} please", "put {x} there, too", "also draw {x}", "i would like {x} as well",
         "{x} in addition", "now with {x}", "there should also be {x}", "could you add {x}?"),
        ("再加{x}", "再画{x}", "还要{x}", "加上{x}", "也画{x}", "能再加{x}吗？", "添{x}", "另外再放{x}"),
    ),
    "add beside": row(
        ("add {x} {rel} {other}", "put {x} {rel} {other}", "draw {x} {rel} {other}", "{rel} {other} i want {x}",
         "there should be {x} {rel} {other}", "can you add {x} {rel} {other}?", "place {x} {rel} {other}"),
        ("在{other}的{rel}加{x}", "在{other}的{rel}画{x}", "{other}的{rel}再放{x}", "{other}{rel}还要{x}",
         "给{other}的{rel}添{x}", "能在{other}的{rel}加{x}吗？"),
    ),
    "remove": row(
        ("remove {it}", "take {it} away", "delete {it}", "without {it}", "no more {it} please", "erase {it}",
         "i don't want {it} any more", "get rid of {it}", "leave {it} out"),
        ("去掉{it}", "把{it}拿走", "删除{it}", "不要{it}了", "擦掉{it}", "把{it}去除", "别画{it}了", "移除{it}"),
    ),
    "swap colours": row(
        ("swap their colours", "swap the colours of {it} and {other}", "exchange the colours",
         "switch the two colours", "{it} and {other} should trade colours", "let them swap colours"),
        ("交换它们的颜色", "把{it}和{other}的颜色对调", "颜色互换", "两个的颜色换一下", "让{it}和{other}交换颜色",
         "对换颜色"),
    ),
    "swap places": row(
        ("swap their places", "swap {it} and {other}", "exchange their positions",
         "{it} and {other} should trade places", "let {it} and {other} change places", "switch the positions"),
        ("交换它们的位置", "把{it}和{other}的位置对调", "位置互换", "两个的位置换一下", "让{it}和{other}交换位置",
         "对换位置"),
    ),
    "pattern": row(
        ("make {it} {x}", "{it} should be {x}", "give {it} a {x} pattern", "can {it} be patterned {x}?",
         "i want {it} {x}", "let {it} be {x}", "how about {it} being {x}?", "a {x} pattern on {it} please"),
        ("给{it}加上{x}花纹", "{it}要{x}的", "把{it}变成{x}的", "{it}换成{x}花纹", "能让{it}有{x}花纹吗？",
         "我想让{it}是{x}的"),
    ),
    "ground": row(
        ("make the background {x}", "change the background to {x}", "the background should be {x}",
         "{x} as the background", "put it all before {x}", "can the background be {x}?", "with {x} behind it",
         "i would prefer {x} as the background", "swap the background for {x}"),
        ("把背景改成{x}", "背景换成{x}", "背景要{x}", "用{x}做背景", "能把背景换成{x}吗？", "背景改为{x}", "后面画{x}",
         "我想要{x}的背景"),
    ),
    "style": row(
        ("make the style {x}", "draw it in a {x} style", "change the style to {x}", "in {x} style please",
         "the same in {x} style", "can it be in a {x} style?", "i would prefer a {x} style"),
        ("改成{x}风格", "用{x}风格画", "风格换成{x}", "画成{x}风格", "能用{x}风格吗？", "我想要{x}风格", "换{x}画风"),
    ),
    "back": row(
        ("go back to the one before", "undo that", "go back", "back to the previous picture",
         "the one before was better", "i liked the last one more, go back", "take that back", "revert that",
         "return to the version before"),
        ("回到上一张", "撤销", "退回去", "还是前一张好", "恢复到之前那张", "返回上一版", "改回去",
         "刚才那张更好，回去吧"),
    ),
    "first": row(
        ("the first one again", "go back to the first picture", "show me the first one again", "back to the beginning",
         "i want the very first picture again", "paint the first one once more", "return to the first version"),
        ("再来第一张", "回到第一张", "再画一次第一张", "回到最开始", "我还是要第一张", "恢复最初的那张", "返回第一版"),
    ),
    "again": row(
        ("another like it", "one more like that", "another one like that", "again", "do it again", "paint it again",
         "a similar one please", "once more", "repeat that", "something like it again"),
        ("再来一张类似的", "再画一张这样的", "再来一次", "重画一张", "来张相似的", "再画一遍", "照样再来一张",
         "一样的再来一张"),
    ),
    "two of them": row(
        ("two of them", "make it two", "i want two of them", "draw two of them", "two please", "can there be two?",
         "let there be two of them", "double the number"),
        ("要两个", "画两个", "变成两个", "我想要两个", "能画两个吗？", "来两个一样的", "数量改成两个"),
    ),
    "three of them": row(
        ("three of them", "make it three", "i want three of them", "draw three of them", "three please",
         "can there be three?", "let there be three of them"),
        ("要三个", "画三个", "变成三个", "我想要三个", "能画三个吗？", "来三个一样的", "数量改成三个"),
    ),
    "only one": row(
        ("only one of them", "just one", "one is enough", "make it only one", "i want just one of them",
         "a single one"),
        ("只要一个", "一个就够了", "只画一个", "变成一个", "我只想要一个", "留一个就好"),
    ),
}  # fmt: skip
# As short as people say it when there is only one thing.
SHORT: dict[str, Row] = {
    "colour": row(
        ("{x} instead", "in {x}", "the same in {x}", "{x}", "rather {x}", "make that {x}", "not that colour, {x}",
         "a {x} one"),
        ("换{x}", "{x}的", "改{x}", "还是{x}好", "要{x}", "同样的，{x}", "来个{x}的"),
    ),
    "size": row(
        ("{x}", "a {x} one", "rather {x}", "the same but {x}", "as a {x} one", "in {x} size"),
        ("{x}的", "要{x}一号的", "换成{x}的", "同样的，{x}的", "来个{x}的吧", "{x}的就好"),
    ),
    "bigger": row(
        ("bigger", "larger", "a bit bigger", "a little larger", "too small", "it needs to grow", "one size up"),
        ("大一点", "再大点", "大一些", "稍大一点", "太小了", "放大一点", "大一号"),
    ),
    "smaller": row(
        ("smaller", "a bit smaller", "a little smaller", "too big", "too large", "shrink a bit", "one size down"),
        ("小一点", "再小点", "小一些", "稍小一点", "太大了", "缩小一点", "小一号"),
    ),
    "double": row(
        ("twice as big", "double size", "much bigger", "really huge", "double it", "two times larger"),
        ("大一倍", "加倍", "大得多", "特别大", "放大两倍", "大很多"),
    ),
    "half": row(
        ("half as big", "half size", "much smaller", "really tiny", "halve it", "only half of it"),
        ("小一半", "减半", "小得多", "特别小", "缩到一半", "小很多"),
    ),
    "place": row(
        ("{x}", "rather {x}", "the same but {x}", "not there, {x}", "better {x}", "it belongs {x}"),
        ("{x}", "放{x}", "不在那里，在{x}", "同样的，在{x}", "还是{x}好", "换到{x}", "{x}更好"),
    ),
    "further": row(
        ("further {x}", "more to the {x}", "a bit {x}", "a little {x}", "{x} a bit more", "one step {x}"),
        ("再往{x}", "往{x}一点", "靠{x}一点", "向{x}挪", "{x}一点", "再{x}一步"),
    ),
    "kind": row(
        ("{x} instead", "rather {x}", "the same with {x}", "not that, {x}", "better {x}", "use {x} instead"),
        ("换成{x}", "还是{x}吧", "同样的，{x}", "不是这个，{x}", "改成{x}", "要{x}，别的不变"),
    ),
    "pattern": row(
        ("{x}", "rather {x}", "the same but {x}", "a {x} one", "with a {x} pattern"),
        ("{x}的花纹", "要{x}", "同样的，{x}的", "换{x}花纹", "加{x}"),
    ),
}  # fmt: skip
# Where it all is, said of everything at once.
WHERE_ALL = row(
    ("now {x}", "the same {x}", "let it be {x}", "put it all {x}", "{x} please", "how would it look {x}?",
     "move it all {x}",
     "can it be {x}?", "i want it {x}", "rather {x}"),
    ("换成{x}", "改{x}", "同样的，{x}", "让它们都{x}", "要{x}", "放{x}看看", "全部移到别处，{x}", "能{x}吗？",
     "还是{x}好"),
)  # fmt: skip
SHORTENED = 0.35  # how often what can be said in short is
# What stands around a change; most of the time nothing.
AROUND = row(
    ("{x}", "{x}", "{x}", "now {x}", "please {x}", "{x}, please", "no, {x}", "ok, {x}", "hmm, {x}",
     "i like it very much, but {x}, if that is not too much trouble", "thank you, it is lovely; {x} now",
     "very nice! one more wish: {x}", "my daughter asks: {x}", "sorry to bother you again, {x}",
     "would you be so kind: {x}", "that is good already, still, {x}, i would be so grateful"),
    ("{x}", "{x}", "{x}", "现在{x}", "请{x}", "麻烦{x}", "不，{x}", "好的，{x}", "嗯，{x}",
     "我很喜欢，不过{x}，如果不太麻烦的话", "谢谢，很好看；现在{x}", "真不错！还有一个愿望：{x}",
     "不好意思又打扰你，{x}", "劳驾，{x}", "已经很好了，但是{x}，非常感谢"),
)  # fmt: skip
BOTH = row(("{one} and {two}", "{one}, and {two}", "{one}. also, {two}", "{one}, then {two}"),
           ("{one}，{two}", "{one}，并且{two}", "{one}，再{two}", "{one}，同时{two}"))  # fmt: skip
WAYS = {"left": ("left", "左"), "right": ("right", "右"), "up": ("up", "上"), "down": ("down", "下")}
