"""Everything that the page says, in each of its languages."""

from collections.abc import Mapping

from llmga.assistant.settings import SETTINGS, Setting

Strings = Mapping[str, str]  # by their keys

LANGUAGES = {"en": "English", "zh": "中文"}

# key -> (English, Chinese)
_TABLE: dict[str, tuple[str, str]] = {
    # the conversation
    "title": ("LLMGA", "LLMGA"),
    "subtitle": ("Talk, and see it painted.", "边聊边画。"),
    "message": ("Message", "消息"),
    "placeholder": (
        "Say what you want to see. Enter sends, Shift+Enter is a new line.",
        "说出你想看到的画面。按 Enter 发送，Shift+Enter 换行。",
    ),
    "welcome": ("What would you like to see?", "你想看到什么？"),
    "example 1": ("a big red circle on a blue background", "a big red circle on a blue background"),
    "example 2": ("paint a small yellow star in the center", "paint a small yellow star in the center"),
    "example 3": ("hello, what can you do?", "hello, what can you do?"),
    "retry": ("Answer again", "重新回答"),
    "repaint": ("Paint again", "重新绘制"),
    "undo": ("Undo", "撤销"),
    "clear": ("Clear", "清空"),
    "stopped": ("Stopped.", "已停止。"),
    "queued": ("Others are answered first; your turn comes.", "正在排队，请稍候。"),
    # a picture and what can be done with it
    "prompt": ("Prompt", "提示词"),
    "paint": ("Paint this prompt", "按此提示词绘制"),
    "waiting": ("Not painted yet: change the prompt if you like, then paint.", "尚未绘制：可先修改提示词，再绘制。"),
    "painting": ("Painting", "绘制中"),
    "seed": ("Seed", "随机种子"),
    "similar": ("Similar", "相似图"),
    "change": ("Change", "修改"),
    "mark": ("Repaint", "重绘"),
    "look": ("Ask", "提问"),
    "download": ("Download", "下载"),
    "picture": ("Picture", "图片"),
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
    "no pictures": ("Pictures of this conversation appear here.", "本次对话的图片会显示在这里。"),
    # the side: canvas
    "canvas": ("Canvas", "画布"),
    "no canvas": (
        "Choose “Repaint” under a picture, then draw on it here.",
        "点击图片下方的“重绘”，即可在此涂抹。",
    ),
    "brush": ("Brush", "画笔"),
    "eraser": ("Eraser", "橡皮"),
    "grow": ("Grow", "扩展"),
    "width": ("Width", "粗细"),
    "unmark": ("Undo", "撤销"),
    "wipe": ("Wipe", "清除"),
    "canvas help": (
        "Draw with mouse or finger; or move the cross with the arrow keys and press Space. "
        "“Grow” has a handle on each side.",
        "用鼠标或手指涂抹；也可用方向键移动十字并按空格键。“扩展”在四边各有一个手柄。",
    ),
    "left": ("left", "左"),
    "top": ("top", "上"),
    "right": ("right", "右"),
    "bottom": ("bottom", "下"),
    # the side: settings
    "settings": ("Settings", "设置"),
    "painting settings": ("Painting", "绘画"),
    "changing settings": ("Repainting and changing", "重绘与修改"),
    "models": ("Models", "模型"),
    "language model": ("Language model", "语言模型"),
    "picture model": ("Picture model", "图片模型"),
    # the side: session
    "session": ("Session", "会话"),
    "language": ("Language", "语言"),
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
        "The server ended before this was finished. Answer again, or go on.",
        "服务器在完成之前中断了。可重新回答，或继续对话。",
    ),
    "full": ("Too many are waiting; try again in a minute.", "等待的人太多，请稍后再试。"),
    # what can go wrong
    "busy": ("The answer before is still being given; stop it or wait.", "上一个回答尚未结束；请停止或等待。"),
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
    said = _TABLE | labels | choices
    return {code: {key: each[place] for key, each in said.items()} for place, code in enumerate(LANGUAGES)}


STRINGS = strings_of(SETTINGS)


def preferred_language(accepted: str) -> str:
    """The first of the page's languages in an Accept-Language header; English where there is none."""
    wanted = (part.strip().partition(";")[0].partition("-")[0].lower() for part in accepted.split(","))
    return next((code for code in wanted if code in LANGUAGES), "en")
