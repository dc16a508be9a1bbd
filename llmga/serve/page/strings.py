"""Everything that the page says, in each of its languages."""

from collections.abc import Mapping

from llmga.assistant.settings import SETTINGS, Setting

Strings = Mapping[str, str]  # by their keys

LANGUAGES = {"en": "English", "zh": "中文"}

# key -> (English, Chinese)
_TABLE: dict[str, tuple[str, str]] = {
    # the head
    "title": ("LLMGA", "LLMGA"),
    "subtitle": ("Talk, and see it painted.", "边聊边画。"),
    "language": ("Language", "语言"),
    "clear": ("New conversation", "新对话"),
    # before anything was said
    "welcome": ("What would you like to see?", "你想看到什么？"),
    "card say": ("Say what you want", "说出你想要的"),
    "card say help": ("Describe it in your words; it is painted.", "用自己的话描述，就会画出来。"),
    "card upload": ("Upload a picture", "上传图片"),
    "card upload help": ("Ask about it, or have it changed.", "可以提问，也可以让它改变。"),
    "card fill": ("Fill a part", "填充局部"),
    "card fill help": ("Mark a part of a picture and say what goes there.", "涂抹图片的一部分，再说那里该有什么。"),
    "card larger": ("Make it larger", "扩展画面"),
    "card larger help": ("Paint on beyond the edges of a picture.", "在图片的边缘之外继续画。"),
    "card story": ("Tell a story", "讲个故事"),
    "card story help": ("A picture for every part of it.", "每一段都配一幅画。"),
    "story": (
        "Tell a short story of a fox who finds a lantern, with a picture for every part.",
        "讲一个狐狸捡到灯笼的小故事，每一段配一幅画。",
    ),
    "examples": ("Or try one of these:", "或者试试这些："),
    "example 1": ("a lighthouse in a storm, oil painting", "暴风雨中的灯塔，油画"),
    "example 2": ("a cat in a spacesuit reads a book", "穿着宇航服看书的猫"),
    "example 3": ("hello, what can you do?", "你好，你会做什么？"),
    "paints": ("What this model paints", "这个模型会画什么"),
    # the message box
    "message": ("Message", "消息"),
    "placeholder": (
        "What do you want to see? (Shift+Enter: new line)",
        "说出你想看到的画面。按 Enter 发送，Shift+Enter 换行。",
    ),
    "waits": ("This is sent when the answer is done.", "当前回答结束后发送。"),
    "wait not": ("Do not send", "不发送"),
    # a message and what can be done with it
    "edit": ("Edit message", "编辑消息"),
    "retry": ("Try again", "重试"),
    "undo": ("Undo", "撤销"),
    "send": ("Send", "发送"),
    "bring back": ("Bring it back", "恢复"),
    "undone": ("The last message was taken back.", "已撤回上一条消息。"),
    "replaced": ("The answer before this one is kept.", "之前的回答仍保留着。"),
    "cleared": ("This is a new conversation; the one before is kept for now.", "这是新对话；之前的对话暂时保留。"),
    "stopped": ("Stopped.", "已停止。"),
    "queued": ("Others are answered first; your turn comes.", "正在排队，请稍候。"),
    # a picture and what can be done with it
    "picture": ("Picture", "图片"),
    "marked": ("with what was marked", "含涂抹区域"),
    "prompt": ("Prompt", "提示词"),
    "paint": ("Paint this prompt", "按此提示词绘制"),
    "waiting": ("Not painted yet: change the prompt if you like, then paint.", "尚未绘制：可先修改提示词，再绘制。"),
    "painting": ("Painting", "绘制中"),
    "step": ("Step {} of {}", "第 {} 步，共 {} 步"),
    "seconds left": ("about {} s left", "约剩 {} 秒"),
    "minutes left": ("about {} min left", "约剩 {} 分钟"),
    "similar": ("Variation", "变体"),
    "change": ("Change by words", "用文字修改"),
    "mark": ("Edit a part", "编辑局部"),
    "larger": ("Larger", "扩展画面"),
    "look": ("Ask", "提问"),
    "download": ("Download", "下载"),
    # the light box
    "open": ("Open", "打开"),
    "close": ("Close", "关闭"),
    "previous": ("Previous picture", "上一张"),
    "next": ("Next picture", "下一张"),
    "zoom in": ("Zoom in", "放大"),
    "zoom out": ("Zoom out", "缩小"),
    "fit": ("Fit the window", "适应窗口"),
    "compare": ("Before and after", "前后对比"),
    "before": ("Before", "之前"),
    "after": ("After", "之后"),
    "versions": ("All versions", "全部版本"),
    "copy": ("Copy prompt", "复制提示词"),
    "copied": ("Copied", "已复制"),
    "go to": ("Show in conversation", "在对话中显示"),
    "record": ("How it was made", "生成方式"),
    "request": ("Message", "消息"),
    "seed": ("Seed", "随机种子"),
    "size": ("Size", "尺寸"),
    "restorer": ("Restorer", "修复器"),
    # what the next message is about
    "about look": ("The next message is about picture {}.", "下一条消息针对图片 {}。"),
    "about change": ("The next message says what to change in picture {}.", "下一条消息说明如何修改图片 {}。"),
    "about mark": (
        "Mark a part of picture {}, or grow it; then say what should be there.",
        "请涂抹图片 {} 的一部分或将其扩展，再说明那里应画什么。",
    ),
    "about region": (
        "The next message repaints the same part of the same picture.",
        "下一条消息继续重绘同一图片的同一区域。",
    ),
    "put down": ("Never mind", "取消"),
    # the side: pictures
    "pictures": ("Pictures", "图片"),
    "no pictures": (
        "Pictures of this conversation appear here. Click one to see it large.",
        "本次对话的图片会显示在这里，点击即可放大。",
    ),
    # the side: canvas
    "canvas": ("Canvas", "画布"),
    "no canvas": (
        "Choose “Edit a part” under a picture, then draw on it here.",
        "点击图片下方的“编辑局部”，即可在此涂抹。",
    ),
    "canvas tools": ("Tools of the canvas", "画布工具"),
    "canvas brush": ("Brush", "画笔"),
    "canvas eraser": ("Eraser", "橡皮"),
    "canvas rectangle": ("Rectangle", "矩形"),
    "canvas lasso": ("Lasso", "套索"),
    "canvas grow": ("Make larger", "扩展画面"),
    "canvas undo": ("Undo", "撤销"),
    "canvas redo": ("Redo", "重做"),
    "canvas invert": ("Invert", "反选"),
    "canvas wipe": ("Wipe", "清除"),
    "canvas farther": ("Zoom out", "缩小"),
    "canvas nearer": ("Zoom in", "放大"),
    "canvas fit": ("Whole picture", "显示全图"),
    "canvas expand": ("Whole window", "铺满窗口"),
    "canvas width": ("Width", "粗细"),
    "canvas feather": ("Soft edge", "羽化"),
    "canvas aspects": ("Grow to", "扩展为"),
    "canvas paint": ("Paint", "绘制"),
    "canvas back": ("Back", "返回"),
    "canvas keys": ("Keys", "快捷键"),
    "canvas help": (
        "Mark with mouse, pen or finger, or with the arrow keys and Enter.",
        "用鼠标、触控笔或手指涂抹，也可用方向键和回车键。",
    ),
    "canvas begin": (
        "Mark what is to be painted anew, or make the picture larger.",
        "请涂抹要重绘的部分，或扩展画面。",
    ),
    "marked share": ("{} % of the picture is marked.", "已涂抹图片的 {}%。"),
    "grown to": ("The picture grows to {} × {} pixels.", "图片将扩展为 {} × {} 像素。"),
    "grown instead": ("What is marked waits until nothing grows.", "不扩展时，涂抹的部分才会生效。"),
    "say what": ("Say in the message what should be there.", "请在消息框中说明那里应画什么。"),
    "keys tools": ("brush, eraser, rectangle, lasso, larger", "画笔、橡皮、矩形、套索、扩展"),
    "keys width": ("thinner, thicker", "变细、变粗"),
    "keys undo": ("undo, redo", "撤销、重做"),
    "keys invert": ("invert what is marked", "反选"),
    "keys zoom": ("nearer, farther, whole picture; the wheel, too", "放大、缩小、全图；也可用滚轮"),
    "keys pan": ("held: move what is seen; tapped: mark", "按住可平移，轻按可涂抹"),
    "keys expand": ("whole window, back", "铺满窗口、返回"),
    "keys alt": ("held: take away", "按住可减去"),
    "keys shift": ("held: a straight line", "按住可画直线"),
    "keys cross": ("move the cross, mark there", "移动十字并涂抹"),
    "left": ("left", "左"),
    "top": ("top", "上"),
    "right": ("right", "右"),
    "bottom": ("bottom", "下"),
    # the side: settings
    "settings": ("Settings", "设置"),
    "aspect": ("Aspect", "画幅"),
    "dice": ("By chance", "随机"),
    "preset": ("Preset: choose or name one", "预设：选择或命名"),
    "preset save": ("Save", "保存"),
    "preset delete": ("Delete", "删除"),
    "preset saved": ("“{}” is kept in this browser.", "“{}”已保存在此浏览器中。"),
    "preset name": ("Type a name of 1 to {} letters first.", "请先输入 1 至 {} 个字的名称。"),
    "preset many": ("{} presets are kept at most; delete one first.", "最多保存 {} 个预设；请先删除一个。"),
    "field range": ("Use a number from {} to {}.", "请输入 {} 至 {} 之间的数。"),
    "field whole": ("Use a whole number from {} to {}.", "请输入 {} 至 {} 之间的整数。"),
    "field size": (
        "Write it as 64x48; each side is a multiple of 8 from {} to {}.",
        "请写成 64x48 的形式；每边是 {} 至 {} 之间的 8 的倍数。",
    ),
    "field form": ("Write it as {}.", "请写成 {} 的形式。"),
    "field text": ("This is too long.", "内容过长。"),
    "field too much": ("This is more than is done for one answer here.", "这超出了此处一次回答的上限。"),
    "advanced settings": ("Advanced", "高级"),
    "words settings": ("Words", "文字"),
    "painting settings": ("Painting", "绘画"),
    "changing settings": ("Repainting and changing", "重绘与修改"),
    "models": ("Models", "模型"),
    "language model": ("Language model", "语言模型"),
    "picture model": ("Picture model", "图片模型"),
    # the side: session
    "session": ("Session", "会话"),
    "save": ("Save this session", "保存会话"),
    "load": ("Load a session", "载入会话"),
    "session help": (
        "A saved session is a ZIP with the conversation, its pictures, masks and settings. Pictures carry how they "
        "were made.",
        "保存的会话是一个 ZIP，包含对话、图片、蒙版和设置；图片内记录了它的生成方式。",
    ),
    # the library: conversations that are kept
    "conversations": ("Conversations", "对话"),
    "new conversation": ("New conversation", "新对话"),
    "search": ("Search words and titles", "搜索内容和标题"),
    "no conversations": ("What you say and what is painted is kept here.", "你的对话和图片会保存在这里。"),
    "none found": ("Nothing was found.", "没有找到。"),
    "untitled": ("A picture", "一张图片"),
    "rename talk": ("Rename", "重命名"),
    "delete talk": ("Delete", "删除"),
    "talk deleted": ("“{}” was deleted.", "“{}”已删除。"),
    "undo delete": ("Undo", "撤销"),
    "more talks": ("More", "更多"),
    "today": ("Today", "今天"),
    "yesterday": ("Yesterday", "昨天"),
    "earlier": ("Earlier", "更早"),
    "interrupted": (
        "The server ended before this was finished. Try again, or go on.",
        "服务器在完成之前中断了。可重试，或继续对话。",
    ),
    "full": ("Too many are waiting; try again in a minute.", "等待的人太多，请稍后再试。"),
    # what can go wrong
    "told warning": ("Please note", "请注意"),
    "told info": ("Done", "完成"),
    "told error": ("This went wrong", "出错了"),
    "busy": ("The answer before is still being given; stop it or wait.", "上一个回答尚未结束；请停止或等待。"),
    "nothing to undo": ("There is nothing to take back.", "没有可以撤回的内容。"),
    "nothing said": ("There is nothing to answer yet; say something first.", "还没有内容；请先说点什么。"),
    "no picture": ("There is no such picture in this conversation.", "本次对话中没有这张图片。"),
    "nothing marked": (
        "Nothing is marked; draw on the picture or grow it first.",
        "尚未涂抹或扩展；请先在图片上操作。",
    ),
    "too long": ("The message has {} characters, {} are read at most.", "消息有 {} 个字符，最多读取 {} 个。"),
    "moderated": ("The moderation of this page does not let that through.", "该内容未通过本页面的审核。"),
    "defect": ("Something went wrong here (report {}); the conversation is kept.", "程序出错（编号 {}）；对话已保留。"),
    "gone": ("This visit has ended; reload the page.", "本次访问已结束；请刷新页面。"),
    "loaded": ("The session is back.", "会话已恢复。"),
}


def key_of(row: Setting, choice: str = "") -> str:
    """The key of a setting's label, or of that of one of its choices."""
    return f"setting {row.name} {choice}".rstrip()


def strings_of(rows: Mapping[str, Setting]) -> dict[str, Strings]:
    """All words by language, those of a table of settings included."""
    labels = {key_of(row): row.label for row in rows.values() if row.label is not None}
    choices = {key_of(row, choice): said for row in rows.values() for choice, said in row.choices.items()}
    examples = {key_of(row, "example"): row.example for row in rows.values() if row.example is not None}
    said = _TABLE | labels | choices | examples
    return {code: {key: each[place] for key, each in said.items()} for place, code in enumerate(LANGUAGES)}


STRINGS = strings_of(SETTINGS)


def code_of(strings: Strings) -> str:
    """The code of the language whose words these are."""
    return next(code for code, words in STRINGS.items() if words is strings)


def preferred_language(accepted: str) -> str:
    """The first of the page's languages in an Accept-Language header; English where there is none."""
    wanted = (part.strip().partition(";")[0].partition("-")[0].lower() for part in accepted.split(","))
    return next((code for code in wanted if code in LANGUAGES), "en")
